"""Search everything that the suite's gateways wrote for the credentials that its scripts used: none may be there.

The logs and the list of credentials are in `$MACP_E2E_LOGS`, where `gateway.py` and `browser/helpers/evidence.mjs` put
them; `.ci/run` sets it for the end-to-end steps and for those in a browser, and runs this after each. With no logs or no
credentials there was nothing to find, which is a failure, too.
"""

from __future__ import annotations

import base64
import os
import sys
import time
import urllib.parse
from pathlib import Path

from checks import record


def forms(credential: str) -> set[str]:
    """How a credential may be written."""
    raw = credential.encode()
    encoded = {base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode().rstrip("=")}
    return {credential, urllib.parse.quote(credential, safe="")} | encoded


def main() -> int:
    began = time.monotonic()
    folder = Path(os.environ["MACP_E2E_LOGS"])
    credentials = set((folder / "credentials").read_text(encoding="utf-8").split("\n")) - {""}
    logs = sorted(path for path in folder.iterdir() if path.name != "credentials")
    wanted = {form.encode(): credential for credential in credentials for form in forms(credential)}
    lines = 0
    leaks = []
    for log in logs:
        for number, line in enumerate(log.read_bytes().splitlines(), 1):
            lines += 1
            leaks += [f"{log.name}:{number}: {credential}" for form, credential in wanted.items() if form in line]
    for leak in leaks[:20]:
        print(leak, file=sys.stderr)
    print(f"{len(credentials)} credentials, {len(logs)} logs, {lines} lines")
    passed = not leaks and bool(credentials) and lines > 0
    record("No credential of the suite is in anything that a gateway wrote", passed, time.monotonic() - began)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
