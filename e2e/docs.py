"""Run the code blocks of README.md and docs/*.md, each document against a fresh `macp-gateway demo`.

The blocks of one document run in order in one shell, as a reader would type them, from the repository's root, and
each must end with status 0. Languages: `sh`, `bash`, `shell`, `console` (lines after `$ `), and `python` (each block
a program of its own, run by the Python that runs this script). Anything else is text. Not run:

* a block with the flag `no-run` in its info string, as in ```sh no-run;
* a block that starts the gateway (`cargo run ... demo`, `macp-gateway demo`): this script has started the release
  binary in its place, on the default ports;
* a block of nothing but `git clone`, `cd` and `cargo` lines: other steps of the CI do that.

The release binary's folder is in front of the PATH, so that `macp-gateway` is the one under test.

Usage: e2e/docs.py [--list] [FILE ...]
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path

from checks import record
from gateway import REPOSITORY, Gateway, binary

ADDRESSES = ("127.0.0.1:50051", "127.0.0.1:8080")
DOCUMENT_WITHIN = 300.0

FENCE = re.compile(r"^(?P<indent> *)(?P<fence>`{3,}|~{3,})(?P<info>[^`]*)$")
SHELLS = {"sh", "bash", "shell", "console"}
STARTS_SERVER = re.compile(r"\bcargo run\b.*\bdemo\b|\bmacp-gateway\s+demo\b")
BUILDS = re.compile(r"\s*(#|git clone\b|cd\b|cargo\b|$)")


@dataclass(frozen=True)
class Block:
    """One fenced code block."""

    line: int
    language: str
    flags: frozenset[str]
    text: str

    def skipped(self) -> str | None:
        """Why the block is not run, if it is not."""
        if self.language not in SHELLS | {"python"}:
            return "text"
        if "no-run" in self.flags:
            return "no-run"
        if self.language in SHELLS and STARTS_SERVER.search(self.commands()):
            return "starts the gateway"
        if self.language in SHELLS and all(BUILDS.match(line) for line in self.commands().splitlines()):
            return "build step"
        return None

    def commands(self) -> str:
        """The block as shell input; of a console transcript only what was typed."""
        if self.language != "console":
            return self.text
        typed, going_on = [], False
        for line in self.text.splitlines():
            if line.startswith("$ ") or (going_on and line.startswith("> ")):
                typed.append(line[2:])
                going_on = True
            else:
                going_on = False
        return "\n".join(typed)


def blocks(document: Path) -> list[Block]:
    """The fenced code blocks of a document, in order."""
    found: list[Block] = []
    opening: re.Match[str] | None = None
    began, body = 0, []
    for number, line in enumerate(document.read_text(encoding="utf-8").splitlines(), 1):
        fence = FENCE.match(line)
        if opening is None:
            if fence:
                opening, began, body = fence, number, []
        elif fence and fence["fence"].startswith(opening["fence"]) and not fence["info"].strip():
            language, *flags = re.split(r"[\s,{}]+", opening["info"].strip()) or [""]
            text = textwrap.dedent("\n".join(body)) + "\n"
            found.append(Block(began, language.lower(), frozenset(flags), text))
            opening = None
        else:
            body.append(line)
    if opening is not None:
        raise SystemExit(f"{document}:{began}: the code block never ends")
    return found


def run_document(document: Path, chosen: list[Block], gateway: Gateway) -> int:
    """Run the blocks of one document in one shell; the number of blocks that failed (0 or 1)."""
    name = document.relative_to(REPOSITORY)
    with tempfile.TemporaryDirectory(prefix="macp-docs-") as scratch:
        progress = Path(scratch, "progress")
        progress.touch()
        script = ["set -e", "trap 'echo \"status $? from: $BASH_COMMAND\"' ERR"]
        for block in chosen:
            script.append(f"echo '--- {name}:{block.line}'")
            if block.language == "python":
                program = Path(scratch, f"line_{block.line}.py")
                program.write_text(block.text, encoding="utf-8")
                script.append(f"'{sys.executable}' '{program}'")
            else:
                script.append(block.commands())
            script.append(f"date +%s.%N >> '{progress}'")
        reader = {name: value for name, value in os.environ.items() if not name.startswith("MACP_")}
        output = Path(scratch, "output")
        began = time.time()
        with output.open("wb") as sink:
            shell = subprocess.Popen(
                ["bash", "-c", "\n".join(script)],
                cwd=REPOSITORY,
                env={**reader, "PATH": f"{Path(sys.executable).parent}:{binary().parent}:{os.environ['PATH']}"},
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                status = str(shell.wait(DOCUMENT_WITHIN))
            except subprocess.TimeoutExpired:
                status = f"no end within {DOCUMENT_WITHIN:.0f} s"
            finally:
                try:
                    os.killpg(shell.pid, signal.SIGKILL)  # also what a block left in the background
                except ProcessLookupError:
                    pass
                shell.wait()
        ends = [float(line) for line in progress.read_text().split()]
        for block, start, end in zip(chosen, [began, *ends], ends):
            record(f"{name}:{block.line} {block.language}", True, end - start)
        if len(ends) == len(chosen):
            return 0
        failed = chosen[len(ends)]
        record(f"{name}:{failed.line} {failed.language}", False, time.time() - [began, *ends][-1])
        print(f"status: {status}; output of {name}:\n{output.read_text(errors='replace')}", file=sys.stderr)
        gateway.dump()
        return 1


def main(arguments: list[str]) -> int:
    listing = "--list" in arguments
    named = [Path(one).resolve() for one in arguments if one != "--list"]
    documents = named or [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
    failed = 0
    for document in documents:
        if not document.is_file():
            raise SystemExit(f"no such document: {document}")
        found = blocks(document)
        chosen = [block for block in found if not block.skipped()]
        if listing:
            for block in found:
                print(f"{document.relative_to(REPOSITORY)}:{block.line}: {block.skipped() or 'run'}: {block.language}")
        elif chosen:
            with Gateway({}, args=["demo"], addresses=ADDRESSES) as gateway:
                failed += run_document(document, chosen, gateway)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
