"""The published conformance fixtures over gRPC, HTTP and WebSocket, against a fresh gateway each, and in process.

Usage: e2e/conform.py [FIXTURE ...]     names without .json; default: MACP_CONFORM_FIXTURES, else all

In process, the program plays them against the engine under a clock that it moves: what a server's clients cannot see
or steer (modes' states, deadlines, replay, commitment hashes) is checked there.

Environment:
  MACP_CONFORMANCE         the program that conformance/ builds; default target/tools/conformance/debug/conformance
  MACP_FIXTURES            folder with the fixtures; default ../shared/conformance beside the repository if that exists,
                           else e2e/fixtures
  MACP_PUBLISHED_FIXTURES  another edition, with vectors in cmt-hash; it is to reach the full claim on every target
  MACP_CONFORM_FIXTURES    names separated by spaces
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from checks import record
from gateway import REPOSITORY, Gateway

TARGETS = ["grpc", "http", "ws", "in-process"]
# What a client cannot make a server do: move its clock.
NOT_OVER_NETWORK = {"handoff_implicit_accept": "needs-clock-control"}
SCHEMAS = {"schema", "vector-schema"}
CLAIM = "Standard modes + multi_round, "
WITHIN = 120.0


def program() -> Path:
    """The program to use."""
    own = REPOSITORY / "target" / "tools" / "conformance" / "debug" / "conformance"
    chosen = Path(os.environ.get("MACP_CONFORMANCE") or own)
    if not chosen.is_file():
        raise SystemExit("no runner: (cd conformance && cargo build --target-dir ../target/tools/conformance)")
    return chosen


def source() -> Path:
    """The folder with the fixtures."""
    if chosen := os.environ.get("MACP_FIXTURES"):
        return Path(chosen)
    shared = REPOSITORY.parent / "shared" / "conformance"
    return shared if shared.is_dir() else REPOSITORY / "e2e" / "fixtures"


def names_in(folder: Path) -> list[str]:
    """Every fixture and vector of a folder."""
    files = [*folder.glob("*.json"), *folder.glob("cmt-hash/*.json")]
    return sorted(file.stem for file in files if file.stem not in SCHEMAS)


def play(target: str, folder: Path, names: list[str], url: str) -> tuple[dict, str]:
    """One run of the program; its report, and what it printed."""
    with tempfile.TemporaryDirectory(prefix="macp-conform-") as scratch:
        report = Path(scratch, "report.json")
        command = [str(program()), "--target", target, "--fixtures", str(folder), "--report", str(report)]
        command += ["--url", url] if url else []
        ended = subprocess.run(
            [*command, *names], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=WITHIN, check=False
        )
        printed = f"{' '.join(command)}\nstatus {ended.returncode}\n{ended.stdout}{ended.stderr}"
        return json.loads(report.read_text(encoding="utf-8")) if report.is_file() else {}, printed


def judge(target: str, edition: str, names: list[str], report: dict, seconds: float) -> bool:
    """Record a result for each name; whether all are as they must be."""
    outcomes = {Path(one["name"]).stem: one for one in report.get("fixtures", [])}
    good = True
    for name in names:
        one = outcomes.get(name, {"outcome": "not reported"})
        excused = target != "in-process" and NOT_OVER_NETWORK.get(name)
        passed = one["outcome"] == "pass" or bool(excused and one.get("reason") == excused)
        good &= passed
        note = "" if one["outcome"] == "pass" else f" ({one.get('reason') or one['outcome']})"
        record(f"{edition} fixtures over {target}: {name}{note}", passed, seconds / len(names))
    return good


def conform(target: str, edition: str, folder: Path, names: list[str]) -> bool:
    """These fixtures of an edition against one target; whether all passed."""
    if target == "in-process":
        return conform_at("", target, edition, folder, names)
    with Gateway() as gateway:
        address = gateway.grpc if target == "grpc" else gateway.http
        good = conform_at(f"{target}://{address}", target, edition, folder, names)
        if not good:
            gateway.dump()
        return good


def conform_at(url: str, target: str, edition: str, folder: Path, names: list[str]) -> bool:
    began = time.monotonic()
    report, printed = play(target, folder, names, url)
    good = judge(target, edition, names, report, time.monotonic() - began)
    if edition == "published" and names == names_in(folder):
        claim = report.get("claim") or "none"
        full = claim.startswith(CLAIM)
        record(f"published fixtures over {target}: claim: {claim}", full, 0.0)
        good &= full
    if not good:
        print(printed, file=sys.stderr)
    return good


def main(arguments: list[str]) -> int:
    wanted = arguments or os.environ.get("MACP_CONFORM_FIXTURES", "").split()
    editions = {"shared": source()}
    if published := os.environ.get("MACP_PUBLISHED_FIXTURES"):
        editions["published"] = Path(published)
    chosen = {
        edition: [name for name in names_in(folder) if not wanted or name in wanted]
        for edition, folder in editions.items()
    }
    if unknown := set(wanted).difference(*chosen.values()):
        raise SystemExit(f"no such fixture: {', '.join(sorted(unknown))}")
    good = [
        conform(target, edition, editions[edition], names)
        for target in TARGETS
        for edition, names in chosen.items()
        if names
    ]
    return 0 if good and all(good) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
