"""The served OpenAPI document is valid, and Schemathesis finds the gateway to be as it says, for a bounded time.

What Schemathesis checks is in `e2e/schemathesis/`. It makes requests that match the document and such that do not,
always the same ones (the seed is fixed). Usage: openapi.py [SECONDS]
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

from checks import expect, run
from gateway import DEVELOPMENT, REPOSITORY, Gateway
from openapi_spec_validator import validate

CONFIGURATION = REPOSITORY / "e2e" / "schemathesis"
DOCUMENT = REPOSITORY / "openapi" / "macp-gateway.v1.json"
SECONDS = int(sys.argv[1]) if len(sys.argv) > 1 else 40

# Tokens, so that a credential that is none can be told from one; limits that are out of the way.
TOKEN = "tok-schemathesis"
SETTINGS = {
    **DEVELOPMENT,
    "MACP_AUTH_TOKENS_JSON": json.dumps(
        [{"token": TOKEN, "sender": "agent://ann", "can_manage_mode_registry": True, "is_observer": True}]
    ),
    "MACP_MESSAGE_LIMIT_PER_MINUTE": "1000000",
    "MACP_SESSION_START_LIMIT_PER_MINUTE": "1000000",
}


def served(gateway: Gateway) -> None:
    """OpenAPI: the served document is the one that is checked in, and is valid."""
    with urllib.request.urlopen(f"http://{gateway.http}/openapi.json", timeout=10) as answer:
        expect(answer.headers["content-type"], "application/json", "content type")
        text = answer.read()
    assert text == DOCUMENT.read_bytes(), f"{DOCUMENT} is newer than the binary"
    validate(json.loads(text))


def schemathesis(gateway: Gateway) -> None:
    """OpenAPI: no 500, no undocumented status or code, answers match their schemas (Schemathesis)."""
    with tempfile.TemporaryDirectory(prefix="macp-schemathesis-") as folder:
        command = [
            str(Path(sys.executable).with_name("schemathesis")),
            *("--config-file", str(CONFIGURATION / "schemathesis.toml"), "--no-color"),
            *("run", f"http://{gateway.http}/openapi.json", "--max-time", str(SECONDS)),
            *("--header", f"Authorization: Bearer {TOKEN}"),
        ]
        # It leaves its notes in the working directory.
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(CONFIGURATION)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS + 60,
            check=False,
        )
    report = done.stdout
    assert done.returncode == 0, report
    cases = next((line.strip() for line in report.splitlines() if "generated" in line), "")
    assert cases, report
    print(cases)


def main() -> int:
    with Gateway(SETTINGS) as gateway:
        return 1 if run(gateway, served, schemathesis) else 0


if __name__ == "__main__":
    sys.exit(main())
