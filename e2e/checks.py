"""Named checks with a result line each, a shared tally, and waits that always have a deadline."""

from __future__ import annotations

import os
import queue
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

from gateway import Gateway

WAIT = 15.0

Check = Callable[[Gateway], None]


def record(name: str, passed: bool, seconds: float) -> None:
    """Print one result and add it to the tally file named by MACP_E2E_TALLY, if any."""
    print(f"{'ok    ' if passed else 'FAILED'} {name} ({seconds:.2f} s)", flush=True)
    if tally := os.environ.get("MACP_E2E_TALLY"):
        with open(tally, "a", encoding="utf-8") as file:
            file.write("pass\n" if passed else "fail\n")


def run(gateway: Gateway, *checks: Check) -> int:
    """Run every check, also after one failed; the number of failures."""
    failed = 0
    for check in checks:
        name = (check.__doc__ or check.__name__).strip().rstrip(".")
        began = time.monotonic()
        try:
            check(gateway)
        except Exception:  # noqa: BLE001 - a check may fail in any way
            failed += 1
            traceback.print_exc()
            record(name, False, time.monotonic() - began)
        else:
            record(name, True, time.monotonic() - began)
    if failed:
        gateway.dump()
    return failed


def expect(actual: Any, wanted: Any, what: str) -> None:
    """Assert equality and show both sides."""
    assert actual == wanted, f"{what}: wanted {wanted!r}, got {actual!r}"


def refused(kind: type[BaseException], call: Callable[[], Any]) -> Any:
    """Run `call`, which must raise `kind`; the exception."""
    try:
        answer = call()
    except kind as refusal:
        return refusal
    raise AssertionError(f"expected {kind.__name__}, but the call was answered: {answer!r}")


class Feed:
    """A blocking iterator drained by a thread, so that every wait for its next item has a deadline."""

    def __init__(self, source: Callable[[], Iterator[Any]]) -> None:
        self._items: queue.Queue[tuple[str, Any]] = queue.Queue()
        self.seen: list[Any] = []
        threading.Thread(target=self._drain, args=(source,), daemon=True).start()

    def _drain(self, source: Callable[[], Iterator[Any]]) -> None:
        try:
            for item in source():
                self._items.put(("item", item))
        except Exception as failure:  # noqa: BLE001 - handed to the reader
            self._items.put(("failure", failure))
        else:
            self._items.put(("end", None))

    def next(self, timeout: float = WAIT) -> Any:
        """The next item; the source's end or failure is an error."""
        try:
            kind, item = self._items.get(timeout=timeout)
        except queue.Empty:
            raise AssertionError(f"nothing arrived within {timeout:.0f} s; before that: {self.seen!r}") from None
        if kind == "failure":
            raise item
        assert kind == "item", f"the stream ended; before that: {self.seen!r}"
        self.seen.append(item)
        return item

    def until(self, wanted: Callable[[Any], bool], timeout: float = WAIT) -> Any:
        """The next item that satisfies `wanted`; others are skipped."""
        deadline = time.monotonic() + timeout
        while True:
            item = self.next(max(0.0, deadline - time.monotonic()))
            if wanted(item):
                return item

    def arrived(self, timeout: float) -> bool:
        """Whether an item is waiting, or comes within `timeout`; it is taken and kept in `seen`."""
        try:
            kind, item = self._items.get(timeout=timeout)
        except queue.Empty:
            return False
        if kind == "failure":
            raise item
        self.seen.append(item)
        return True
