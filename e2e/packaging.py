"""What deploy/ and the Dockerfile promise, as far as it can be tried without a container runtime: the binary's size and
libraries, the systemd unit, the Dockerfile's form and the skeleton that its dependencies are built from, and a data
directory that belongs to somebody else.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from checks import expect, run
from gateway import REPOSITORY, Gateway, binary

DEPLOY = REPOSITORY / "deploy"
LARGEST = 25 << 20
# What every Debian has, and the base image of the Dockerfile.
LIBRARIES = {"linux-vdso.so.1", "libc.so.6", "libm.so.6", "libgcc_s.so.1", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"}
# 0 is a unit that may do nothing, 10 one without limits.
EXPOSURE = 2.0
NOBODY = 65534


def output(*command: str | Path, ok: bool = True, **more) -> str:
    """What a command says; unless told otherwise it must end well."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, **more)
    text = done.stdout + done.stderr
    assert (done.returncode == 0) == ok, f"{command}: {done.returncode}\n{text}"
    return text


def size_and_libraries(_: Gateway) -> None:
    """The binary is small and needs libc, libm and libgcc only"""
    size = binary().stat().st_size
    print(f"       {size / (1 << 20):.1f} MiB, the page and the documents included", flush=True)
    if "release" in binary().parts:
        assert size <= LARGEST, f"{size} bytes; the most is {LARGEST}"
    needed = {Path(line.split()[0]).name for line in output("ldd", binary()).splitlines() if line.strip()}
    assert needed <= LIBRARIES, needed - LIBRARIES


def unit(_: Gateway) -> None:
    """The systemd unit is valid, and leaves little to be exposed"""
    # The binary that it names has to be there, for this process alone.
    script = 'mount -t tmpfs tmpfs /usr/local/bin && cp "$1" /usr/local/bin/macp-gateway && systemd-analyze verify "$2"'
    service = DEPLOY / "macp-gateway.service"
    said = output("unshare", "--mount", "sh", "-c", script, "-", binary(), service)
    about_it = [line for line in said.splitlines() if "macp-gateway" in line]
    assert not about_it, "\n".join(about_it)
    said = output("systemd-analyze", "security", "--offline=true", "--no-pager", service)
    level = re.search(r"Overall exposure level for .*: ([0-9.]+)", said)
    assert level and float(level[1]) <= EXPOSURE, said.splitlines()[-1]
    print(f"       exposure {level[1]} of 10", flush=True)


def settings(_: Gateway) -> None:
    """The example settings are usable, and end the drain before systemd and Docker lose patience"""
    with tempfile.TemporaryDirectory() as folder:
        example = (DEPLOY / "gateway.toml").read_text(encoding="utf-8")
        file = Path(folder, "gateway.toml")
        file.write_text(example.replace("/etc/macp-gateway", str(DEPLOY)), encoding="utf-8")
        output(binary(), "config", "check", "--config", file, env={"PATH": os.environ["PATH"]})
    drain = tomllib.loads(example)["shutdown_drain_secs"]
    service = (DEPLOY / "macp-gateway.service").read_text(encoding="utf-8")
    patience = re.search(r"^TimeoutStopSec=(\d+)$", service, re.MULTILINE)
    assert patience and drain < int(patience[1])
    image = re.search(r"MACP_SHUTDOWN_DRAIN_SECS=(\d+)", (REPOSITORY / "Dockerfile").read_text(encoding="utf-8"))
    assert image and int(image[1]) < 10


def dockerfile(_: Gateway) -> None:
    """The Dockerfile has no fault that hadolint knows, and copies what it ignores not"""
    output(Path(sys.executable).with_name("hadolint"), REPOSITORY / "Dockerfile")
    kept = [line[1:] for line in (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[:1] == "!"]
    missing = [path for path in kept if not (REPOSITORY / path).exists()]
    assert not missing, missing


def skeleton(_: Gateway) -> None:
    """The skeleton is a workspace with the same dependencies, whatever is in the sources"""
    with tempfile.TemporaryDirectory() as folder:
        output(DEPLOY / "skeleton.sh", folder, cwd=REPOSITORY)

        def dependencies(of: Path | str) -> str:
            tree = ("cargo", "tree", "--locked", "--offline", "-p", "macp-gateway", "-e", "normal,build", "--prefix", "none")
            # The workspace's own packages are named with their folders.
            return re.sub(r" \(/.*?\)", "", output(*tree, cwd=of))

        expect(dependencies(folder), dependencies(REPOSITORY), "the dependencies")
        sources = [path for path in Path(folder).rglob("*.rs") if path.read_text() not in ("", "fn main() {}\n")]
        assert not sources, sources


def foreign_directory(_: Gateway) -> None:
    """In a directory that belongs to root, another user is told what to do"""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        data = Path(folder, "data")
        data.mkdir(mode=0o755)
        program = shutil.copy(binary(), folder)
        environment = {
            "MACP_ALLOW_INSECURE": "1",
            "MACP_DATA_DIR": str(data),
            "MACP_BIND_ADDR": "127.0.0.1:0",
            "MACP_HTTP_BIND_ADDR": "127.0.0.1:0",
        }
        said = output(program, ok=False, user=NOBODY, group=NOBODY, extra_groups=[], env=environment, cwd="/")
        assert f"{data} belongs to user 0 and this process is user {NOBODY}: `chown -R {NOBODY} {data}`" in said, said


def main() -> int:
    checks = (size_and_libraries, unit, settings, dockerfile, skeleton, foreign_directory)
    with Gateway() as gateway:
        return 1 if run(gateway, *checks) else 0


if __name__ == "__main__":
    sys.exit(main())
