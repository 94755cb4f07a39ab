"""An independent WebSocket client against the gateway: a whole Decision session on `macp.v1.json`, and the edges."""

from __future__ import annotations

import base64
import json
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import yaml
from checks import WAIT, expect, refused, run
from gateway import DEVELOPMENT, REPOSITORY, Gateway, secret
from jsonschema import Draft7Validator
from jsonschema.exceptions import best_match
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT7
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

INITIATOR, ALICE, BOB, OUTSIDER = "agent://coordinator", "agent://alice", "agent://bob", "agent://outsider"
EVERYONE = [INITIATOR, ALICE, BOB]
MODE = "macp.mode.decision.v1"
VERSIONS = {"mode_version": "1.0.0", "configuration_version": "cfg-1", "policy_version": "policy.default"}

Frame = dict[str, Any]


def bearer(token: str) -> str:
    """The credential as an offered subprotocol: what a browser can send."""
    return "macp.bearer." + base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")


def envelope(session_id: str, message_type: str, payload: Frame, **other: Any) -> Frame:
    return {
        "macp_version": "1.0",
        "mode": MODE,
        "message_type": message_type,
        "message_id": str(uuid.uuid4()),
        "session_id": session_id,
        "sender": "",
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "payload": payload,
        **other,
    }


def start(session_id: str, ttl_ms: int = 60_000) -> Frame:
    payload = {"intent": "pick a plan", "participants": EVERYONE, "ttl_ms": ttl_ms, **VERSIONS}
    return envelope(session_id, "SessionStart", payload)


def proposal(session_id: str, proposal_id: str = "p1") -> Frame:
    return envelope(session_id, "Proposal", {"proposal_id": proposal_id, "option": "deploy", "rationale": "tests"})


def evaluation(session_id: str) -> Frame:
    payload = {"proposal_id": "p1", "recommendation": "APPROVE", "confidence": 0.9, "reason": "low risk"}
    return envelope(session_id, "Evaluation", payload)


def vote(session_id: str, proposal_id: str = "p1") -> Frame:
    return envelope(session_id, "Vote", {"proposal_id": proposal_id, "vote": "APPROVE", "reason": "ship it"})


def commitment(session_id: str) -> Frame:
    payload = {
        "commitment_id": "c1",
        "action": "decision.selected",
        "authority_scope": "release",
        "reason": "winner=p1",
        "outcome_positive": True,
        **VERSIONS,
    }
    return envelope(session_id, "Commitment", payload)


class Document:
    """The AsyncAPI document, as a judge of frames: whatever the server says here is what it describes."""

    def __init__(self) -> None:
        file = REPOSITORY / "openapi" / "macp-websocket.v1.yaml"
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
        resource = Resource(contents=document, specification=DRAFT7)
        registry = Registry().with_resource("urn:asyncapi", resource)
        reference = {"$ref": "urn:asyncapi#/components/schemas/ServerFrame"}
        self._frame = Draft7Validator(reference, registry=registry)
        messages = document["components"]["messages"].items()
        self.unseen = {message["name"] for key, message in messages if key.startswith("server")}

    def check(self, frame: Frame) -> None:
        fault = best_match(self._frame.iter_errors(frame))
        assert fault is None, f"not as described: {frame}: {fault}"
        self.unseen.difference_update(frame)


DOCUMENT = Document()


class Peer:
    """One connection. Frames are kept in arrival order until somebody takes them."""

    def __init__(self, gateway: Gateway, sender: str | None = None, **options: Any) -> None:
        options.setdefault("subprotocols", ["macp.v1.json", *([bearer(sender)] if sender else [])])
        self.socket = connect(f"ws://{gateway.http}/macp/v1/ws", open_timeout=WAIT, proxy=None, legacy=True, **options)
        self._waiting: list[tuple[str, Frame]] = []
        self._ids = 0
        kind, first = self._read(time.monotonic() + WAIT)
        expect(kind, "welcome", "first frame")
        self.welcome = first["welcome"]

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def _read(self, deadline: float) -> tuple[str, Frame]:
        text = self.socket.recv(timeout=max(0.0, deadline - time.monotonic()))
        assert isinstance(text, str), "the JSON subprotocol must use text messages"
        frame = json.loads(text)
        DOCUMENT.check(frame)
        kinds = [name for name in frame if name != "id"]
        assert len(kinds) == 1, f"a frame has one body: {text}"
        return kinds[0], frame

    def _take(self, wanted: Callable[[str, Frame], bool], what: str, timeout: float) -> Frame:
        for position, (kind, frame) in enumerate(self._waiting):
            if wanted(kind, frame):
                return self._waiting.pop(position)[1]
        deadline = time.monotonic() + timeout
        while True:
            try:
                kind, frame = self._read(deadline)
            except TimeoutError:
                raise AssertionError(f"no {what} within {timeout:.0f} s; waiting: {self._waiting}") from None
            if wanted(kind, frame):
                return frame
            self._waiting.append((kind, frame))

    def post(self, **body: Any) -> str:
        """Send a frame with a fresh id; the id."""
        self._ids += 1
        frame_id = f"f{self._ids}"
        self.socket.send(json.dumps({"id": frame_id, **body}))
        return frame_id

    def ask(self, kind: str, **body: Any) -> Any:
        """Send a frame and return the body of its answer, which must be of `kind`."""
        frame_id = self.post(**body)
        answer = self._take(lambda _, frame: frame.get("id") == frame_id, f"answer to {body}", WAIT)
        assert kind in answer, f"wanted {kind} for {body}, got {answer}"
        return answer[kind]

    def next(self, *kinds: str, timeout: float = WAIT) -> Frame:
        """The next frame of one of these kinds."""
        return self._take(lambda kind, _: kind in kinds, " or ".join(kinds), timeout)

    def send(self, message: Frame) -> Frame:
        """Submit an envelope that must be accepted; its Ack."""
        ack = self.ask("ack", send={"envelope": message})
        assert ack["ok"] and not ack["duplicate"], ack
        expect((ack["message_id"], ack["session_id"]), (message["message_id"], message["session_id"]), "Ack")
        return ack

    def refusal(self, message: Frame) -> str:
        """Submit an envelope that must be refused; the code in its Ack."""
        ack = self.ask("ack", send={"envelope": message})
        assert not ack["ok"], ack
        return ack["error"]["code"]

    def delivered(self, count: int) -> list[Frame]:
        """The next `count` frames about sessions, all of which must be envelopes."""
        bodies = []
        for _ in range(count):
            frame = self.next("envelope", "synced", "ended")
            assert "envelope" in frame, f"wanted an envelope, got {frame}"
            bodies.append(frame["envelope"])
        return bodies

    def told(self, kind: str) -> Frame:
        """The next frame about sessions, which must be of `kind`."""
        frame = self.next("envelope", "synced", "ended")
        assert kind in frame, f"wanted {kind}, got {frame}"
        return frame[kind]


def http(gateway: Gateway, method: str, body: Frame, sender: str) -> Frame:
    request = urllib.request.Request(
        f"http://{gateway.http}/macp/v1/{method}",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json", "Authorization": f"Bearer {sender}"},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=WAIT) as response:
        return json.load(response)


def sequences(frames: list[Frame]) -> list[int]:
    return [frame["sequence"] for frame in frames]


def types(frames: list[Frame]) -> list[str]:
    return [frame["envelope"]["message_type"] for frame in frames]


def whole_session(gateway: Gateway) -> None:
    """WebSocket: a Decision session with three peers, live, late and afterwards."""
    session = str(uuid.uuid4())
    header = {"Authorization": f"Bearer {ALICE}"}
    with (
        Peer(gateway, INITIATOR) as initiator,
        Peer(gateway, additional_headers=header) as alice,
        Peer(gateway) as bob,
    ):
        expect(initiator.socket.subprotocol, "macp.v1.json", "echoed subprotocol")
        expect((initiator.welcome["sender"], alice.welcome["sender"]), (INITIATOR, ALICE), "senders")
        expect(bob.welcome["sender"], "", "sender before authentication")
        expect(bob.ask("authenticated", authenticate={"token": BOB})["sender"], BOB, "sender after authentication")

        expect(initiator.send(start(session))["session_state"], "SESSION_STATE_OPEN", "state after the start")
        subscribed = alice.ask("subscribed", subscribe={"session_id": session, "snapshot": True})
        expect((subscribed["after_sequence"], subscribed["high_water_sequence"]), (0, 1), "subscribed")
        expect(subscribed["metadata"]["state"], "SESSION_STATE_OPEN", "snapshot")
        expect(subscribed["metadata"]["participants"], EVERYONE, "snapshot")
        expect((types(alice.delivered(1)), alice.told("synced")["sequence"]), (["SessionStart"], 1), "replay")

        initiator.send(proposal(session))
        alice.send(evaluation(session))
        bob.send(evaluation(session))
        alice.send(vote(session))
        live = alice.delivered(4)
        expect(sequences(live), [2, 3, 4, 5], "live sequences")
        expect(types(live), ["Proposal", "Evaluation", "Evaluation", "Vote"], "live envelopes")
        expect([one["envelope"]["sender"] for one in live], [INITIATOR, ALICE, BOB, ALICE], "senders")
        expect(live[3]["envelope"]["payload"]["vote"], "APPROVE", "payload as JSON")

        late = bob.ask("subscribed", subscribe={"session_id": session, "after_sequence": 3})
        expect((late["after_sequence"], late["high_water_sequence"]), (3, 5), "late subscription")
        expect((bob.delivered(2), bob.told("synced")["sequence"]), (live[2:], 5), "replay after sequence 3")

        bob.send(vote(session))
        expect(initiator.send(commitment(session))["session_state"], "SESSION_STATE_RESOLVED", "state at the end")
        for peer in (alice, bob):
            last = peer.delivered(2)
            expect((sequences(last), types(last)), ([6, 7], ["Vote", "Commitment"]), "last envelopes")
            ended = peer.told("ended")
            expect(
                (ended["session_id"], ended["state"], ended["last_sequence"]),
                (session, "SESSION_STATE_RESOLVED", 7),
                "ended",
            )

        initiator.ask("subscribed", subscribe={"session_id": session})
        expect(sequences(initiator.delivered(7)), list(range(1, 8)), "history after the end")
        expect(initiator.told("synced")["sequence"], 7, "synced after the end")
        expect(initiator.told("ended")["last_sequence"], 7, "ended after the end")
        expect(initiator.refusal(vote(session)), "SESSION_NOT_OPEN", "vote after the end")


def refusals(gateway: Gateway) -> None:
    """WebSocket: duplicates, refused envelopes and refused frames leave the connection open."""
    session = str(uuid.uuid4())
    with Peer(gateway, INITIATOR) as initiator, Peer(gateway, OUTSIDER) as outsider:
        first = start(session)
        initiator.send(first)
        again = initiator.ask("ack", send={"envelope": first})
        expect((again["ok"], again["duplicate"]), (True, True), "duplicate Ack")
        expect(outsider.refusal(proposal(session)), "FORBIDDEN", "proposal of an outsider")
        expect(initiator.refusal(vote(session, "p9")), "INVALID_ENVELOPE", "vote on nothing")
        expect(initiator.refusal({**vote(session), "sender": ALICE}), "UNAUTHENTICATED", "spoofed sender")
        expect(initiator.refusal(vote(str(uuid.uuid4()))), "SESSION_NOT_FOUND", "unknown session")

        def error(peer: Peer, **body: Any) -> str:
            return peer.ask("error", **body)["code"]

        expect(error(outsider, subscribe={"session_id": session}), "FORBIDDEN", "subscription of an outsider")
        unknown = {"session_id": str(uuid.uuid4())}
        expect(error(initiator, subscribe=unknown), "SESSION_NOT_FOUND", "unknown subscription")
        expect(error(initiator), "INVALID_REQUEST", "no body")
        expect(error(initiator, ping={}, unwatch={"topic": "ROOTS"}), "INVALID_REQUEST", "two bodies")
        expect(error(initiator, call={"method": "Nope", "request": {}}), "INVALID_REQUEST", "unknown method")
        initiator.socket.send("{not json")
        expect(initiator.next("error")["error"]["code"], "INVALID_REQUEST", "not JSON")
        initiator.ask("subscribed", subscribe={"session_id": session})
        expect(error(initiator, subscribe={"session_id": session}), "INVALID_REQUEST", "subscribed twice")
        expect(len(initiator.ask("pong", ping={})["subscriptions"]), 1, "subscriptions in pong")


def calls(gateway: Gateway) -> None:
    """WebSocket: unary RPCs by name, cancel with `ended`, unsubscribe, and messages from other transports."""
    with Peer(gateway, INITIATOR) as peer:
        one, two = str(uuid.uuid4()), str(uuid.uuid4())
        for session in (one, two):
            ack = http(gateway, "Send", {"envelope": start(session)}, INITIATOR)["ack"]
            assert ack["ok"], ack
            peer.ask("subscribed", subscribe={"session_id": session})
            expect(sequences(peer.delivered(1)), [1], "replay")
            peer.told("synced")
        result = peer.ask("result", call={"method": "GetSession", "request": {"session_id": one}})
        expect((result["method"], result["response"]["metadata"]["session_id"]), ("GetSession", one), "GetSession")

        expect(peer.ask("unsubscribed", unsubscribe={"session_id": two})["session_id"], two, "unsubscribed")
        for session in (two, one):
            assert http(gateway, "Send", {"envelope": proposal(session)}, INITIATOR)["ack"]["ok"]
        (seen,) = peer.delivered(1)
        expect((seen["session_id"], seen["sequence"]), (one, 2), "only the subscribed session is delivered")
        heads = peer.ask("pong", ping={})["subscriptions"]
        expect(heads, [{"session_id": one, "high_water_sequence": 2}], "heads in pong")

        cancel = {"method": "CancelSession", "request": {"session_id": one, "reason": "no longer needed"}}
        ack = peer.ask("result", call=cancel)["response"]["ack"]
        expect((ack["ok"], ack["session_state"]), (True, "SESSION_STATE_CANCELLED"), "Ack of the cancel")
        ended = peer.told("ended")
        expect((ended["state"], ended["last_sequence"]), ("SESSION_STATE_CANCELLED", 2), "ended")
        missing = peer.ask("error", call={"method": "GetSession", "request": {"session_id": str(uuid.uuid4())}})
        expect(missing["code"], "SESSION_NOT_FOUND", "error of a call")


def expiry(gateway: Gateway) -> None:
    """WebSocket: an unfinished session ends as expired by itself."""
    session = str(uuid.uuid4())
    with Peer(gateway, INITIATOR) as peer:
        peer.send(start(session, ttl_ms=1_500))
        peer.ask("subscribed", subscribe={"session_id": session})
        expect((sequences(peer.delivered(1)), peer.told("synced")["sequence"]), ([1], 1), "replay")
        ended = peer.told("ended")
        expect((ended["state"], ended["last_sequence"]), ("SESSION_STATE_EXPIRED", 1), "ended")


def watches(gateway: Gateway) -> None:
    """WebSocket: watches of sessions and signals."""
    session = str(uuid.uuid4())
    with Peer(gateway, INITIATOR) as peer, Peer(gateway, ALICE) as alice:
        expect(peer.ask("watching", watch={"topic": "SIGNALS"})["topic"], "SIGNALS", "watching")
        signal = envelope("", "Signal", {"signal_type": "e2e.latency", "confidence": 0.5}, mode="")
        alice.send(signal)
        event = peer.next("event")["event"]
        expect((event["topic"], event["signal"]["envelope"]["message_id"]), ("SIGNALS", signal["message_id"]), "event")
        expect(event["signal"]["envelope"]["sender"], ALICE, "sender of the signal")
        expect(peer.ask("unwatched", unwatch={"topic": "SIGNALS"})["topic"], "SIGNALS", "unwatched")

        peer.ask("watching", watch={"topic": "SESSIONS"})
        alice.send(start(session))
        deadline = time.monotonic() + WAIT
        while True:
            seen = peer.next("event", timeout=deadline - time.monotonic())["event"]["session"]["event"]
            if seen["session"]["session_id"] == session:
                break
        expect(seen["event_type"], "EVENT_TYPE_CREATED", "lifecycle event")


def before_authentication(gateway: Gateway) -> None:
    """WebSocket: without a credential only the open calls answer."""
    with Peer(gateway) as peer:
        modes = peer.ask("result", call={"method": "ListModes", "request": {}})["response"]["modes"]
        assert MODE in [mode["mode"] for mode in modes], modes
        expect(
            peer.ask("error", call={"method": "ListSessions", "request": {}})["code"], "UNAUTHENTICATED", "closed call"
        )
        expect(
            peer.ask("error", subscribe={"session_id": str(uuid.uuid4())})["code"], "UNAUTHENTICATED", "subscription"
        )


def upgrades(gateway: Gateway) -> None:
    """WebSocket, static tokens: subprotocols, credentials, origins and message kinds."""

    def status(**options: Any) -> int:
        return refused(InvalidStatus, lambda: Peer(gateway, **options)).response.status_code

    with Peer(gateway, "tok-coordinator") as peer:
        expect((peer.socket.subprotocol, peer.welcome["sender"]), ("macp.v1.json", INITIATOR), "upgrade")
    with Peer(gateway, subprotocols=["other.v9", bearer("tok-coordinator"), "macp.v1.json"]) as peer:
        expect((peer.socket.subprotocol, peer.welcome["sender"]), ("macp.v1.json", INITIATOR), "first known one")
    with Peer(gateway, subprotocols=None) as peer:
        expect((peer.socket.subprotocol, peer.welcome["sender"]), (None, ""), "no subprotocol offered")
    expect(status(subprotocols=["other.v9"]), 400, "only unknown subprotocols")
    expect(status(sender="tok-unknown"), 401, "unknown token in the subprotocol")
    expect(status(additional_headers={"Authorization": "Bearer tok-unknown"}), 401, "unknown token in the header")
    expect(status(sender="tok-coordinator", origin="https://elsewhere.example"), 403, "foreign origin")
    with Peer(gateway, "tok-coordinator", origin=f"http://{gateway.http}") as peer:
        expect(peer.welcome["sender"], INITIATOR, "same origin")
    with Peer(gateway) as peer:
        peer.post(authenticate={"token": "tok-unknown"})
        expect(peer.next("error")["error"]["code"], "UNAUTHENTICATED", "unknown token in a frame")
        expect(refused(ConnectionClosed, lambda: peer.next("error")).rcvd.code, 4401, "close code")
    with Peer(gateway, "tok-coordinator") as peer:
        peer.socket.send(b"\x00")
        expect(refused(ConnectionClosed, lambda: peer.next("error")).rcvd.code, 1003, "binary message on JSON")


def drain(gateway: Gateway) -> None:
    """WebSocket: SIGTERM announces `draining`, closes with 1001, and the process exits with 0."""
    with Peer(gateway, INITIATOR) as peer:
        code = gateway.stop()
        assert "reconnect_after_ms" in peer.next("draining")["draining"]
        expect(refused(ConnectionClosed, lambda: peer.next("error")).rcvd.code, 1001, "close code")
        expect(code, 0, "exit code after SIGTERM with an open socket")


def described(_: Gateway) -> None:
    """WebSocket: every frame that the AsyncAPI document describes has come, and was as described."""
    expect(DOCUMENT.unseen, set(), "frames that no check has seen")


def main() -> int:
    common = {"MACP_SHUTDOWN_DRAIN_SECS": "2"}
    with Gateway({**DEVELOPMENT, **common}) as gateway:
        failed = run(gateway, whole_session, refusals, calls, expiry, watches, before_authentication, drain)
    tokens = json.dumps([{"token": "tok-coordinator", "sender": INITIATOR}])
    secret("tok-unknown")
    with Gateway({**DEVELOPMENT, **common, "MACP_AUTH_TOKENS_JSON": tokens}) as gateway:
        failed += run(gateway, upgrades, described)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
