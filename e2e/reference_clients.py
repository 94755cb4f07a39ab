"""The example clients published with the reference server, unchanged, against the gateway on the default ports.

The clients have the address 127.0.0.1:50051 built in. Each prints one line for every Ack and what GetSession says at
the end; it passes when it exits with 0, every Ack is ok and the session is resolved.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

from checks import record
from gateway import Gateway, reference

ADDRESSES = ("127.0.0.1:50051", "127.0.0.1:8080")
CLIENT_WITHIN = 30.0

# Program, and how many Acks it prints.
CLIENTS = {
    "client": 5,
    "proposal_client": 6,
    "task_client": 6,
    "handoff_client": 5,
    "quorum_client": 5,
    "multi_round_client": 5,
}

ACK = re.compile(
    r"^\[(?P<step>\w+)\] ok=(?P<ok>\w+) duplicate=(?P<duplicate>\w+) state=(?P<state>\d+) error='(?P<error>.*)'$", re.M
)
SESSION = re.compile(r"^\[?(?:get_session\]|GetSession:) state=(?P<state>\d+) mode=(?P<mode>\S+)", re.M)
OPEN, RESOLVED = "1", "2"


def complaints(program: Path, acks: int) -> list[str]:
    """Run one client; everything about its output that is not as it must be."""
    try:
        ended = subprocess.run(
            [str(program)], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=CLIENT_WITHIN, check=False
        )
    except subprocess.TimeoutExpired as late:
        return [f"not done within {CLIENT_WITHIN:.0f} s", f"output so far: {late.stdout!r}"]
    found = list(ACK.finditer(ended.stdout))
    states = [match["state"] for match in SESSION.finditer(ended.stdout)]
    wrong = [] if ended.returncode == 0 else [f"exit status {ended.returncode}"]
    if len(found) != acks:
        wrong.append(f"{len(found)} Acks, {acks} expected")
    for number, match in enumerate(found, start=1):
        expected = ("true", "false", RESOLVED if number == len(found) else OPEN, "")
        if match.group("ok", "duplicate", "state", "error") != expected:
            wrong.append(f"Ack {number} of {len(found)}: {match[0]}")
    if not states or states[-1] != RESOLVED:
        wrong.append(f"GetSession must end with state {RESOLVED}, got {states}")
    return [*wrong, f"stdout:\n{ended.stdout}", f"stderr:\n{ended.stderr}"] if wrong else []


def main() -> int:
    programs = {name: reference(name) for name in CLIENTS}
    failed = 0
    with Gateway(addresses=ADDRESSES) as gateway:
        for name, acks in CLIENTS.items():
            began = time.monotonic()
            wrong = complaints(programs[name], acks)
            record(f"published example {name}", not wrong, time.monotonic() - began)
            if wrong:
                failed += 1
                print(*wrong, sep="\n", file=sys.stderr)
        if failed:
            gateway.dump()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
