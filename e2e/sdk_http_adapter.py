"""The published Python SDK's own HTTP adapter, unmodified, against the gateway: a whole session, and coming in late."""

from __future__ import annotations

import sys
import threading
import urllib.error
import urllib.request
from typing import Any

from checks import WAIT, expect, refused, run
from gateway import Gateway
from macp_sdk import DecisionSession
from macp_sdk.agent.transports import HttpTransportAdapter
from sdk import ALICE, BOB, EVERYONE, INITIATOR, OUTSIDER, by, connect

TYPES = ["SessionStart", "Proposal", "Evaluation", "Vote", "Vote", "Commitment"]


class Polling:
    """An adapter in a thread of its own, as an agent runs it."""

    def __init__(self, gateway: Gateway, session_id: str, participant: str) -> None:
        # The documented base URL: what is behind it, the adapter knows.
        self._adapter = HttpTransportAdapter(
            base_url=f"http://{gateway.http}/macp/v1",
            session_id=session_id,
            participant_id=participant,
            poll_interval_ms=20,
            # A development identity: the token is its own sender.
            auth_token=participant,
        )
        self.messages: list[Any] = []
        self._arrived = threading.Condition()
        self._thread = threading.Thread(target=self._poll, daemon=True)
        self._thread.start()

    def _poll(self) -> None:
        for message in self._adapter.start():
            with self._arrived:
                self.messages.append(message)
                self._arrived.notify_all()

    def wait_for(self, count: int) -> list[Any]:
        """The first `count` messages."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self.messages) >= count, WAIT), self.messages
            return self.messages[:count]

    def stop(self) -> None:
        """End the thread."""
        self._adapter.stop()
        self._thread.join(WAIT)
        assert not self._thread.is_alive()


def discuss_and_decide(session: DecisionSession, live: Polling) -> None:
    """Everything behind the start; between two steps the adapter has polled, so that a repeat would be seen."""
    live.wait_for(1)
    assert session.propose("p1", "deploy v2.1", rationale="tests passed").ok
    assert session.evaluate("p1", "approve", confidence=0.94, reason="low risk", **by(ALICE)).ok
    live.wait_for(3)
    assert session.vote("p1", "approve", reason="ship it", **by(ALICE)).ok
    assert session.vote("p1", "approve", reason="ship it", **by(BOB)).ok
    live.wait_for(5)
    assert session.commit(action="decision.selected", authority_scope="release", reason="two votes").ok


def whole_session(gateway: Gateway) -> None:
    """The SDK's HTTP adapter receives a whole session, in order, each envelope once."""
    with connect(gateway) as client:
        session = DecisionSession(client)
        assert session.start(intent="pick a plan", participants=EVERYONE, ttl_ms=60_000).ok
        live = Polling(gateway, session.session_id, ALICE)
        discuss_and_decide(session, live)
    late = Polling(gateway, session.session_id, BOB)
    for polling in (live, late):
        polling.wait_for(len(TYPES))
        polling.stop()
        messages = polling.messages
        expect([message.message_type for message in messages], TYPES, "message types")
        expect([message.seq for message in messages], [1, 2, 3, 4, 5, 6], "sequences")
        senders = [INITIATOR, INITIATOR, ALICE, ALICE, BOB, INITIATOR]
        expect([message.sender for message in messages], senders, "senders")
        expect([message.proposal_id for message in messages], [None, "p1", "p1", "p1", "p1", None], "proposals")
        expect(messages[0].payload["intent"], "pick a plan", "payload of the start")
        expect(messages[1].payload["option"], "deploy v2.1", "payload of the proposal")
        expect(messages[2].payload["confidence"], 0.94, "payload of the evaluation")
        expect(messages[5].payload["action"], "decision.selected", "payload of the commitment")


def outsider(gateway: Gateway) -> None:
    """What the adapter asks for is refused to an outsider, with the code of the protocol."""
    with connect(gateway) as client:
        session = DecisionSession(client)
        assert session.start(intent="pick a plan", participants=EVERYONE, ttl_ms=60_000).ok
    request = urllib.request.Request(
        f"http://{gateway.http}/macp/v1/sessions/{session.session_id}/events?after=-1",
        headers={"Accept": "application/json", "Authorization": f"Bearer {OUTSIDER}"},
    )
    refusal = refused(urllib.error.HTTPError, lambda: urllib.request.urlopen(request, timeout=WAIT))
    expect((refusal.code, refusal.headers["MACP-Error-Code"]), (403, "FORBIDDEN"), "refusal")


def main() -> int:
    """Run against one gateway."""
    with Gateway() as gateway:
        return run(gateway, whole_session, outsider)


if __name__ == "__main__":
    sys.exit(main())
