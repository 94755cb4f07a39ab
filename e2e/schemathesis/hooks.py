"""One more check: a refusal has a code that its operation documents for this status."""

from __future__ import annotations

from typing import Any

import schemathesis

CODE = "MACP-Error-Code"


@schemathesis.check
def code_conformance(ctx: Any, response: Any, case: Any) -> None:
    codes = response.headers.get(CODE.lower())
    if codes is None:
        return
    documented = case.operation.definition.raw["responses"].get(str(response.status_code), {})
    examples = documented.get("content", {}).get("application/json", {}).get("examples", {})
    # A status that is answered with and without a body has the code in its description only.
    if codes[0] not in examples and f"`{codes[0]}`" not in documented.get("description", ""):
        raise AssertionError(f"{response.status_code} {codes[0]} is not documented, only {sorted(examples)}")
