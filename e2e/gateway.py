"""Start the gateway binary on free ports, wait until it serves, stop it and check how it ended.

As a library: `with Gateway() as gateway: ...` (see the other scripts in this folder).
As a command: `python3 e2e/gateway.py [NAME=VALUE ...] -- COMMAND ...` runs COMMAND beside a fresh gateway,
with `MACP_E2E_GRPC` and `MACP_E2E_HTTP` (both HOST:PORT) in its environment.

The binary is `$MACP_GATEWAY_BIN`, else `$CARGO_TARGET_DIR/release/macp-gateway`, else `target/release/macp-gateway`.
With `$MACP_E2E_LOGS`, a folder, logs are kept there, and beside them the credentials that were used: those of the
settings, and what is given to `secret`. `leaks.py` then looks for these in those.
Programs of the reference server's package are in `$MACP_REFERENCE`, else `target/tools/reference/bin`.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
READY_WITHIN = 30.0
STOP_WITHIN = 20.0
LOG_LINES = 200

DEVELOPMENT = {"MACP_ALLOW_INSECURE": "1", "MACP_MEMORY_ONLY": "1"}


def binary() -> Path:
    """The release binary under test."""
    if chosen := os.environ.get("MACP_GATEWAY_BIN"):
        return Path(chosen)
    target = Path(os.environ.get("CARGO_TARGET_DIR") or "target")
    return REPOSITORY / target / "release" / "macp-gateway"


def reference(name: str = "macp-runtime") -> Path:
    """A program of the reference server's package: in `$MACP_REFERENCE`, else where `.ci/run` installs them."""
    folder = os.environ.get("MACP_REFERENCE") or REPOSITORY / "target" / "tools" / "reference" / "bin"
    program = Path(folder, name)
    if not program.is_file():
        raise SystemExit(
            f"no {name} in {folder}; `bash .ci/run e2e` installs it, or: cargo install macp-runtime --version 0.13.0 "
            "--features http-listener --root target/tools/reference"
        )
    return program


def secret(*credentials: str) -> None:
    """Note credentials that no gateway may ever write: tokens, tickets, and of a JWT its signature."""
    if folder := os.environ.get("MACP_E2E_LOGS"):
        with Path(folder, "credentials").open("a", encoding="utf-8") as file:
            file.writelines(f"{credential}\n" for credential in credentials)


def secrets_of(settings: Mapping[str, str]) -> list[str]:
    """The credentials that settings hold."""
    tokens = json.loads(settings.get("MACP_AUTH_TOKENS_JSON") or "[]")
    entries = tokens["tokens"] if isinstance(tokens, dict) else tokens
    found = [entry["token"] for entry in entries]
    key = settings.get("MACP_RECEIPT_SIGNING_KEY") or ""
    if key.startswith("{"):
        found.append(json.loads(key)["d"])
    else:
        found += [line for line in key.splitlines() if line and not line.startswith("-----")]
    return found


def free_ports(count: int) -> list[int]:
    """Distinct free loopback ports; all are held at once so that none is handed out twice."""
    held = [socket.socket() for _ in range(count)]
    try:
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in held]
    finally:
        for one in held:
            one.close()


def accepts(address: str) -> bool:
    """Whether something accepts TCP connections at HOST:PORT."""
    host, port = address.rsplit(":", 1)
    try:
        with socket.create_connection((host, int(port)), timeout=1):
            return True
    except OSError:
        return False


@contextlib.contextmanager
def neighbour(
    command: Sequence[str],
    address: str,
    log: Path,
    environment: Mapping[str, str],
    stops_within: float,
    must_stop: bool = True,
) -> Iterator[None]:
    """Another program, with nothing but this environment, that serves at HOST:PORT while ours does. It is told to stop at
    the end, and killed if it does not; with `must_stop` that is a fault."""
    name = Path(command[0]).name
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=dict(environment)
        )
    try:
        deadline = time.monotonic() + READY_WITHIN
        while not accepts(address):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{name} does not serve: {log.read_text(errors='replace')}")
            time.sleep(0.02)
        yield
    finally:
        process.terminate()
        try:
            process.wait(stops_within)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            if must_stop:
                raise SystemExit(f"{name} has not stopped within {stops_within:.0f} s") from None


def serves_discovery(address: str, tls: bool = False) -> bool:
    """Whether the discovery document is served at HOST:PORT, in the clear or with any certificate."""
    if tls:
        # Who is there is not the question here.
        context = ssl._create_unverified_context()  # noqa: S323
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(address, timeout=2, context=context)
    else:
        connection = http.client.HTTPConnection(address, timeout=2)
    try:
        connection.request("GET", "/.well-known/macp.json")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


class Gateway:
    """One gateway process. `grpc` and `http` are its addresses as HOST:PORT."""

    def __init__(
        self,
        env: Mapping[str, str] | None = None,
        args: Sequence[str] = (),
        addresses: tuple[str, str] | None = None,
        program: Path | None = None,
    ) -> None:
        self._settings = DEVELOPMENT if env is None else env
        self._program = program
        self._args = list(args)
        self._addresses = addresses
        self._process: subprocess.Popen[bytes] | None = None
        self.log = Path()

    def __enter__(self) -> Gateway:
        for address in self._addresses or ():
            if accepts(address):
                raise SystemExit(f"something else listens on {address} already")
        # Another process can take a port between the probe and the server's own bind.
        for attempt in range(3):
            try:
                self._start()
                return self
            except EarlyExit as failure:
                if self._addresses or attempt == 2 or "in use" not in self.output().lower():
                    self.dump()
                    raise SystemExit(str(failure)) from None
        raise AssertionError("unreachable")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and kind is not SystemExit:
            self.dump()
        code = self.stop()
        if code != 0:
            if kind is None:
                self.dump()
            message = f"the gateway must exit with 0 on SIGTERM, got {code}"
            if kind is None:
                raise SystemExit(message)
            print(message, file=sys.stderr)
        self._keep_log()
        self.log.unlink(missing_ok=True)

    def _keep_log(self) -> None:
        """What the gateway has said, for `leaks.py`; what other servers say is their own affair."""
        folder = os.environ.get("MACP_E2E_LOGS")
        if folder and self._program is None and self.log.is_file():
            shutil.copy(self.log, Path(folder, f"{Path(sys.argv[0]).stem}-{self.log.stem}.log"))

    def _start(self) -> None:
        program = self._program or binary()
        if not program.is_file():
            raise SystemExit(f"no gateway at {program}: run `cargo build --release` or set MACP_GATEWAY_BIN")
        secret(*secrets_of(self._settings))
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("MACP_")}
        if self._addresses:
            self.grpc, self.http = self._addresses
            binds = {}
        else:
            self.grpc, self.http = (f"127.0.0.1:{port}" for port in free_ports(2))
            binds = {"MACP_BIND_ADDR": self.grpc, "MACP_HTTP_BIND_ADDR": self.http}
        self._workdir = tempfile.TemporaryDirectory(prefix="macp-e2e-")
        self.log = self.log if self.log.is_file() else Path(tempfile.mkstemp(prefix="macp-e2e-", suffix=".log")[1])
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [str(program), *self._args],
                env={**inherited, **binds, **self._settings},
                cwd=self._workdir.name,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        assert self._process
        deadline = time.monotonic() + READY_WITHIN
        while not (accepts(self.grpc) and serves_discovery(self.http, "MACP_TLS_CERT_PATH" in self._settings)):
            if (code := self._process.poll()) is not None:
                raise EarlyExit(f"the gateway ended with {code} before it was ready")
            if time.monotonic() > deadline:
                self.dump()
                self.stop()
                raise SystemExit(f"the gateway was not ready within {READY_WITHIN:.0f} s")
            time.sleep(0.02)

    @property
    def pid(self) -> int:
        """The process, for those who measure it."""
        assert self._process
        return self._process.pid

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process, for those who wait for its end."""
        assert self._process
        return self._process

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def stop(self) -> int:
        """Send SIGTERM, wait, and return the exit code; also fine when the process has ended already."""
        assert self._process
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            code = self._process.wait(STOP_WITHIN)
        except subprocess.TimeoutExpired:
            print(f"the gateway ignored SIGTERM for {STOP_WITHIN:.0f} s", file=sys.stderr)
            self._process.kill()
            code = self._process.wait()
        self._workdir.cleanup()
        return code

    def output(self) -> str:
        """What the gateway has written so far."""
        return self.log.read_text(errors="replace") if self.log.is_file() else ""

    def dump(self) -> None:
        """Print the end of the gateway's log, for the reader of a failure."""
        lines = self.output().splitlines()[-LOG_LINES:]
        print("---- gateway log ----", *lines, "---- end of gateway log ----", sep="\n", file=sys.stderr, flush=True)


class EarlyExit(Exception):
    """The process ended before it served."""


def main(arguments: list[str]) -> int:
    if "--" not in arguments or arguments[-1] == "--":
        print(__doc__, file=sys.stderr)
        return 2
    split = arguments.index("--")
    extra = dict(pair.split("=", 1) for pair in arguments[:split])
    with Gateway({**DEVELOPMENT, **extra}) as gateway:
        env = {**os.environ, "MACP_E2E_GRPC": gateway.grpc, "MACP_E2E_HTTP": gateway.http}
        code = subprocess.run(arguments[split + 1 :], env=env, check=False).returncode
        if code != 0:
            gateway.dump()
        return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
