"""Start and stop what is measured: the gateway, the reference server, the bare servers; each on ports of its own."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from workloads import BARE, DISK, DURABLE, Cell, Workload

READY_WITHIN = 60.0
FILES = 20_000

# No limit of a server's shall be what is measured. The same for both servers; a server ignores what it does not know.
LIMITS = {
    "MACP_ALLOW_INSECURE": "1",
    "MACP_MESSAGE_LIMIT_PER_MINUTE": "1000000000",
    "MACP_SESSION_START_LIMIT_PER_MINUTE": "1000000000",
    "MACP_MAX_CONCURRENT_STREAMS": "65536",
    "MACP_CONCURRENCY_LIMIT_PER_CONNECTION": "65536",
    "MACP_HTTP_MAX_CONNECTIONS": "20000",
    "RUST_LOG": "warn",
}


class Failed(Exception):
    """A run that gave no figures."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def on_core(core: int | None):
    """What a child does before it becomes the program: enough files, and its core."""

    def prepare() -> None:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(FILES, hard), hard))
        if core is not None:
            os.sched_setaffinity(0, {core})

    return prepare


def environment(settings: dict[str, str]) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MACP_")}
    return {**inherited, **settings}


class Server:
    """One server process, killed at the end: what is measured is over by then."""

    def __init__(self, programs: dict[str, Path], cell: Cell, bare: str, data: Path, core: int | None) -> None:
        self._log = tempfile.TemporaryFile()
        if cell.contestant == BARE:
            self._process = self._spawn([str(programs["bench"]), "ceiling", bare], {}, core, subprocess.PIPE)
            assert self._process.stdout
            said = self._process.stdout.readline().decode().strip()
            self.address = {bare: said.removeprefix("listening on ")}
            return
        grpc, http = (f"127.0.0.1:{free_port()}" for _ in range(2))
        settings = {**LIMITS, "MACP_BIND_ADDR": grpc, "MACP_HTTP_BIND_ADDR": http}
        if cell.storage == DURABLE:
            # A directory of its own, removed when all runs are over: on ext4 a tree that was just removed slows down
            # what comes next.
            settings["MACP_DATA_DIR"] = tempfile.mkdtemp(prefix=f"{cell.contestant}-", dir=data)
        else:
            settings["MACP_MEMORY_ONLY"] = "1"
        self.address = {"grpc": grpc, "http": http, "ws": http}
        self._process = self._spawn([str(programs[cell.contestant])], settings, core, self._log)
        deadline = time.monotonic() + READY_WITHIN
        while not (accepts(grpc) and accepts(http)):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise Failed(f"{cell}: the server does not serve:\n{self.output()}")
            time.sleep(0.02)

    def _spawn(self, command: list[str], settings: dict[str, str], core: int | None, out) -> subprocess.Popen:
        return subprocess.Popen(
            command,
            env=environment(settings),
            cwd=tempfile.gettempdir(),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=self._log,
            preexec_fn=on_core(core),
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def resident(self) -> int:
        """Resident memory in bytes."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        return 0

    def output(self) -> str:
        self._log.seek(0)
        return self._log.read().decode(errors="replace")[-3000:]

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
        self._process.wait()


def accepts(address: str) -> bool:
    host, port = address.rsplit(":", 1)
    try:
        with socket.create_connection((host, int(port)), timeout=1):
            return True
    except OSError:
        return False


def measure(
    programs: dict[str, Path], workload: Workload, cell: Cell, data: Path, seconds: float, warmup: float, short: bool
) -> dict:
    """The report of one run. One core for the server and one for the client if the cell is pinned."""
    arguments = workload.arguments.split()
    if short and workload.short:
        replaced = {name for name in workload.short.split() if name.startswith("--")}
        arguments = without(arguments, replaced) + workload.short.split()
    server_core, client_core = (0, 1) if cell.pinned else (None, None)
    if workload.timed:
        arguments += ["--duration", str(seconds)]
        if cell.contestant != DISK:
            arguments += ["--warmup", str(warmup)]
    if cell.contestant == DISK:
        return bench(programs, [*arguments, "--dir", str(data)], client_core, cell)
    server = Server(programs, cell, workload.bare, data, server_core)
    try:
        transport = arguments[arguments.index("--transport") + 1]
        base = server.resident()
        target = server.address[transport.removesuffix("-json")]
        arguments += ["--target", target, "--server-pid", str(server.pid)]
        report = bench(programs, arguments, client_core, cell)
        report["base_rss"] = base
        return report
    finally:
        server.stop()


def without(arguments: list[str], names: set[str]) -> list[str]:
    """The arguments but for some options and their values."""
    kept, skip = [], False
    for word in arguments:
        if skip:
            skip = False
        elif word in names:
            skip = True
        else:
            kept.append(word)
    return kept


def bench(programs: dict[str, Path], arguments: list[str], core: int | None, cell: Cell) -> dict:
    done = subprocess.run(
        [str(programs["bench"]), *arguments, "--json", "-"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        preexec_fn=on_core(core),
        check=False,
    )
    if done.returncode != 0:
        text = (done.stdout + done.stderr).decode(errors="replace")
        raise Failed(f"{cell}: macp-bench ended with {done.returncode}:\n{text[-3000:]}")
    return json.loads(done.stdout)


