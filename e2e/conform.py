"""The published conformance runner (macp-conform) over gRPC and over HTTP, against a fresh gateway each.

Usage: e2e/conform.py [FIXTURE ...]     names without .json; default: MACP_CONFORM_FIXTURES, else FIXTURES below.

Environment:
  MACP_CONFORM           the runner; default target/tools/bin/macp-conform, else the one in PATH
  MACP_FIXTURES          folder with the fixtures; default ../shared/conformance beside the repository if that exists,
                         else e2e/fixtures
  MACP_CONFORM_FIXTURES  names separated by spaces
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from checks import record
from gateway import REPOSITORY, Gateway

# Widen here as the gateway learns more. Next: decision_negative_outcome, which needs RegisterPolicy.
FIXTURES = ["decision_happy_path", "decision_reject_paths"]

RUNNER_WITHIN = 120.0


def runner() -> str:
    """The conformance runner to use."""
    own = REPOSITORY / "target" / "tools" / "bin" / "macp-conform"
    chosen = os.environ.get("MACP_CONFORM") or (str(own) if own.is_file() else shutil.which("macp-conform"))
    if not chosen:
        raise SystemExit("no macp-conform: cargo install macp-conform --version 0.13.0 --features grpc,http")
    return chosen


def source() -> Path:
    """The folder with the published fixtures."""
    if chosen := os.environ.get("MACP_FIXTURES"):
        return Path(chosen)
    shared = REPOSITORY.parent / "shared" / "conformance"
    return shared if shared.is_dir() else REPOSITORY / "e2e" / "fixtures"


def full_payload_type(short: str) -> str:
    """`decision.Proposal` and `Commitment`, as older fixtures write them, in the full names the runner reads."""
    if short.startswith("macp."):
        return short
    if match := re.fullmatch(r"(\w+)\.(\w+)", short):
        return f"macp.modes.{match[1]}.v1.{match[2]}Payload"
    return f"macp.v1.{short}Payload"


def prepare(name: str, folder: Path) -> None:
    """Copy one fixture to where the runner reads it, with nothing changed but the names of payload types."""
    fixture = json.loads((source() / f"{name}.json").read_text(encoding="utf-8"))
    for message in fixture.get("messages", []):
        if short := message.get("payload_type"):
            message["payload_type"] = full_payload_type(short)
    (folder / f"{name}.json").write_text(json.dumps(fixture), encoding="utf-8")


def conform(transport: str, names: list[str]) -> int:
    """One run over one transport; the number of fixtures that did not pass."""
    with tempfile.TemporaryDirectory(prefix="macp-conform-") as scratch, Gateway() as gateway:
        fixtures, report = Path(scratch, "fixtures"), Path(scratch, "report.json")
        fixtures.mkdir()
        for name in names:
            prepare(name, fixtures)
        target = f"grpc://{gateway.grpc}" if transport == "grpc" else f"http://{gateway.http}"
        # --level only adds groups: a fixture that is not there is not missed, one that is there is always judged.
        command = [runner(), "--transport", transport, "--target", target, "--fixtures", str(fixtures)]
        command += ["--level", "standard", "--multi-round", "--report", str(report)]
        began = time.monotonic()
        ended = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=RUNNER_WITHIN, check=False
        )
        seconds = time.monotonic() - began
        results = json.loads(report.read_text(encoding="utf-8"))["fixtures"] if report.is_file() else []
        outcomes = {one["name"].removesuffix(".json"): one for one in results}
        failed = 0
        for name in names:
            outcome = outcomes.get(name, {"outcome": "not reported"})
            passed = outcome["outcome"] == "pass"
            failed += not passed
            record(f"macp-conform over {transport}: {name}", passed, seconds / len(names))
            if not passed:
                print(json.dumps(outcome, indent=2), file=sys.stderr)
        if failed or ended.returncode != 0:
            print(f"{' '.join(command)}\nstatus {ended.returncode}\n{ended.stdout}{ended.stderr}", file=sys.stderr)
            gateway.dump()
        return failed or ended.returncode


def main(arguments: list[str]) -> int:
    names = arguments or os.environ.get("MACP_CONFORM_FIXTURES", "").split() or FIXTURES
    failed = [conform(transport, names) for transport in ("grpc", "http")]
    return 1 if any(failed) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
