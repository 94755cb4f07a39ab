"""The published Python SDK against the gateway: Decision sessions, streams, cancel, expiry, signals, credentials."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from typing import Any

import grpc
from checks import WAIT, Feed, expect, refused, run
from gateway import DEVELOPMENT, Gateway
from macp.modes.decision.v1 import decision_pb2
from macp.v1 import core_pb2, envelope_pb2
from macp_sdk import (
    AsyncDecisionSession,
    AsyncMacpClient,
    AuthConfig,
    DecisionSession,
    MacpAckError,
    MacpClient,
    MacpTransportError,
    SessionLifecycleWatcher,
    SignalWatcher,
    macp_error_code,
)
from macp_sdk.agent.transports import GrpcTransportAdapter
from macp_sdk.constants import MODE_DECISION, STANDARD_MODES
from macp_sdk.envelope import build_envelope
from sdk import (
    ALICE,
    BOB,
    CANCELLED,
    EVERYONE,
    EXPIRED,
    INITIATOR,
    OPEN,
    OUTSIDER,
    RESOLVED,
    agent,
    connect,
    envelopes,
    take,
    token,
    types,
)

TOKENS = [
    {"token": "tok-coordinator", "sender": INITIATOR},
    {"token": "tok-alice", "sender": ALICE},
    {"token": "tok-bob", "sender": BOB},
    {"token": "tok-outsider", "sender": OUTSIDER},
    {"token": "tok-observer", "sender": "agent://observer", "can_start_sessions": False, "is_observer": True},
]


def start(client: MacpClient, *, ttl_ms: int = 60_000, auth: AuthConfig | None = None) -> DecisionSession:
    session = DecisionSession(client, auth=auth)
    ack = session.start(intent="pick a plan", participants=EVERYONE, ttl_ms=ttl_ms, context_id="release-42")
    assert ack.ok and not ack.duplicate, ack
    expect(ack.session_id, session.session_id, "session of the Ack")
    expect(ack.session_state, OPEN, "state after the start")
    return session


def discuss(session: DecisionSession) -> None:
    """Proposal, two Evaluations and two Votes: ordinals 2 to 6."""
    assert session.propose("p1", "deploy v2.1", rationale="tests passed").ok
    assert session.evaluate("p1", "approve", confidence=0.94, reason="low risk", sender=ALICE, auth=agent(ALICE)).ok
    assert session.evaluate("p1", "review", confidence=0.5, reason="look", sender=BOB, auth=agent(BOB)).ok
    assert session.vote("p1", "approve", reason="ship it", sender=ALICE, auth=agent(ALICE)).ok
    assert session.vote("p1", "approve", reason="ship it", sender=BOB, auth=agent(BOB)).ok


DISCUSSION = ["SessionStart", "Proposal", "Evaluation", "Evaluation", "Vote", "Vote"]


def commit(session: DecisionSession) -> envelope_pb2.Ack:
    return session.commit(action="decision.selected", authority_scope="release", reason="winner=p1")


def handshake(gateway: Gateway) -> None:
    """SDK: Initialize, ListModes, GetManifest."""
    with connect(gateway) as client:
        welcome = client.initialize()
        expect(welcome.selected_protocol_version, "1.0", "protocol version")
        assert welcome.runtime_info.name and welcome.runtime_info.version, welcome.runtime_info
        assert welcome.capabilities.sessions.stream, "sessions.stream must be advertised"
        assert welcome.capabilities.sessions.watch_sessions, "sessions.watch_sessions must be advertised"
        assert welcome.capabilities.cancellation.cancel_session, "cancel_session must be advertised"
        assert MODE_DECISION in welcome.supported_modes, welcome.supported_modes
        modes = {mode.mode: mode for mode in client.list_modes().modes}
        assert set(modes) <= set(STANDARD_MODES), sorted(modes)
        decision = modes[MODE_DECISION]
        expect(
            list(decision.message_types),
            ["SessionStart", "Proposal", "Evaluation", "Objection", "Vote", "Commitment"],
            "message types of the Decision mode",
        )
        expect(list(decision.terminal_message_types), ["Commitment"], "terminal types")
        assert MODE_DECISION in client.get_manifest().manifest.supported_modes
        failure = refused(grpc.RpcError, lambda: client.get_manifest("agent://nobody"))
        expect((failure.code(), macp_error_code(failure)), (grpc.StatusCode.NOT_FOUND, "AGENT_NOT_FOUND"), "manifest")


def decision_walk(gateway: Gateway) -> None:
    """SDK: a Decision session from start to commitment, with metadata."""
    with connect(gateway) as client:
        session = start(client)
        before = session.metadata().metadata
        expect((before.state, before.mode, before.initiator), (OPEN, MODE_DECISION, INITIATOR), "metadata at the start")
        expect(list(before.participants), EVERYONE, "participants")
        expect(before.context_id, "release-42", "context id")
        expect(before.expires_at_unix_ms - before.started_at_unix_ms > 50_000, True, "room until the deadline")
        discuss(session)
        expect(session.decision_projection.majority_winner(), "p1", "winner")
        ack = commit(session)
        expect((ack.ok, ack.session_state), (True, RESOLVED), "Ack of the commitment")
        assert session.projection.is_committed
        after = session.metadata().metadata
        expect(after.state, RESOLVED, "state after the commitment")
        expect(
            (after.mode_version, after.configuration_version, after.policy_version),
            ("1.0.0", "config.default", "policy.default"),
            "bound versions",
        )
        counts = {one.participant_id: one.message_count for one in after.participant_activity}
        expect((counts[ALICE], counts[BOB]), (2, 2), "participant activity")
        listed = {one.session_id: one.state for one in client.list_sessions(page_size=1)}
        expect(listed.get(session.session_id), RESOLVED, "state in ListSessions")


def refusals(gateway: Gateway) -> None:
    """SDK: duplicates and refusals leave the session as it was."""
    with connect(gateway) as client:
        session = start(client)
        proposal = session._propose_envelope("p1", "deploy")
        assert client.send(proposal).ok
        again = client.send(proposal)
        expect((again.ok, again.duplicate, again.message_id), (True, True, proposal.message_id), "duplicate Ack")

        def code(call: Any) -> str:
            return refused(MacpAckError, call).failure.code

        expect(code(lambda: session.propose("p1", "again")), "INVALID_ENVELOPE", "proposal id used twice")
        expect(code(lambda: session.vote("p9", "approve")), "INVALID_ENVELOPE", "vote on an unknown proposal")
        outsider = agent(OUTSIDER)
        expect(code(lambda: session.vote("p1", "approve", sender=OUTSIDER, auth=outsider)), "FORBIDDEN", "outsider")
        by_alice = session._commit_envelope(
            action="decision.selected",
            authority_scope="release",
            reason="mine",
            commitment_id=None,
            outcome_positive=None,
            sender=ALICE,
            auth=agent(ALICE),
        )
        expect(code(lambda: client.send(by_alice, auth=agent(ALICE))), "FORBIDDEN", "commitment by a participant")
        spoofed = build_envelope(
            mode=MODE_DECISION,
            message_type="Vote",
            session_id=session.session_id,
            sender=BOB,
            payload=decision_pb2.VotePayload(proposal_id="p1", vote="APPROVE").SerializeToString(),
        )
        expect(code(lambda: client.send(spoofed, auth=agent(ALICE))), "UNAUTHENTICATED", "spoofed sender")
        clash = DecisionSession(client, session_id=session.session_id)
        expect(
            code(lambda: clash.start(intent="again", participants=EVERYONE, ttl_ms=60_000)),
            "SESSION_ALREADY_EXISTS",
            "second start",
        )
        missing = refused(grpc.RpcError, DecisionSession(client).metadata)
        expect((missing.code(), macp_error_code(missing)), (grpc.StatusCode.NOT_FOUND, "SESSION_NOT_FOUND"), "unknown")
        hidden = refused(grpc.RpcError, lambda: session.metadata(auth=outsider))
        expect((hidden.code(), macp_error_code(hidden)), (grpc.StatusCode.PERMISSION_DENIED, "FORBIDDEN"), "hidden")
        expect(session.metadata().metadata.state, OPEN, "state after the refusals")
        assert commit(session).ok
        expect(code(lambda: session.propose("p2", "late")), "SESSION_NOT_OPEN", "message after the commitment")


def streams(gateway: Gateway) -> None:
    """SDK: streams that join early, late with after_sequence, and after the end see one order."""
    with connect(gateway) as client:
        session = start(client)
        early, early_feed = envelopes(client, session.session_id, 0, agent(ALICE))
        discuss(session)
        late, late_feed = envelopes(client, session.session_id, 3, agent(BOB))
        replayed = take(late_feed, 3)
        expect(types(replayed), DISCUSSION[3:], "replay after ordinal 3")
        assert commit(session).ok
        seen = take(early_feed, 7)
        expect(types(seen), [*DISCUSSION, "Commitment"], "live delivery")
        expect([m.message_id for m in replayed], [m.message_id for m in seen[3:6]], "identity of the replayed tail")
        expect(late_feed.next().message_id, seen[6].message_id, "live after the replay")
        after, after_feed = envelopes(client, session.session_id, 0, agent(INITIATOR))
        expect(take(after_feed, 7), seen, "history after the end")
        expect([m.sender for m in seen], [INITIATOR, INITIATOR, ALICE, BOB, ALICE, BOB, INITIATOR], "senders")
        for stream in (early, late, after):
            stream.close()


def two_way_stream(gateway: Gateway) -> None:
    """SDK: envelopes submitted on a stream are echoed; a refusal is inline and the stream goes on."""
    with connect(gateway) as client:
        session = start(client)
        stream = client.open_stream(auth=agent(INITIATOR))
        inline: list[Any] = []
        refusal = threading.Event()
        stream.on_inline_error(lambda error: (inline.append(error), refusal.set()))
        feed = Feed(stream.responses)
        bad = session._vote_envelope("nothing", "approve")
        stream.send(bad)
        assert refusal.wait(WAIT), "no inline error for the refused envelope"
        expect((inline[0].code, inline[0].message_id), ("INVALID_ENVELOPE", bad.message_id), "inline error")
        proposal = session._propose_envelope("p1", "deploy")
        stream.send(proposal)
        expect(feed.next().message_id, proposal.message_id, "echo of the accepted envelope")
        expect(len(inline), 1, "inline errors")
        stream.close()

        unknown = DecisionSession(client)
        _, lost = envelopes(client, unknown.session_id, 0, agent(ALICE))
        failure = refused(MacpTransportError, lost.next)
        expect((failure.code, failure.macp_code), ("NOT_FOUND", "SESSION_NOT_FOUND"), "unknown session")


def start_race(gateway: Gateway) -> None:
    """SDK: a participant that subscribes before the session exists retries and misses nothing."""
    with connect(gateway) as client:
        session = DecisionSession(client)
        adapter = GrpcTransportAdapter(client, session.session_id, auth=agent(ALICE))
        feed = Feed(adapter.start)
        assert session.start(intent="race", participants=EVERYONE, ttl_ms=60_000).ok
        assert session.propose("p1", "deploy").ok
        first, second = feed.next(), feed.next()
        expect((first.message_type, first.seq), ("SessionStart", 1), "first message")
        expect((second.message_type, second.proposal_id), ("Proposal", "p1"), "second message")
        adapter.cancel()


def cancel(gateway: Gateway) -> None:
    """SDK: cancel by the initiator only; watchers see CANCELLED."""
    with connect(gateway) as client:
        session = start(client)
        watch = Feed(SessionLifecycleWatcher(client).changes)
        watch.until(lambda event: event.is_created and event.session.session_id == session.session_id)
        denied = refused(MacpTransportError, lambda: session.cancel(reason="not mine", auth=agent(BOB)))
        expect((denied.code, denied.macp_code), ("PERMISSION_DENIED", "FORBIDDEN"), "cancel by a participant")
        ack = session.cancel(reason="no longer needed")
        expect((ack.ok, ack.session_state), (True, CANCELLED), "Ack of the cancel")
        event = watch.until(lambda event: event.session.session_id == session.session_id)
        expect((event.event_type, event.session.state), ("CANCELLED", CANCELLED), "lifecycle event")
        expect(session.metadata().metadata.state, CANCELLED, "state")
        expect(session.cancel(reason="again").session_state, CANCELLED, "second cancel")
        late = refused(MacpAckError, lambda: session.propose("p1", "late"))
        expect(late.failure.code, "SESSION_NOT_OPEN", "message after the cancel")


def lifecycle(gateway: Gateway) -> None:
    """SDK: a live lifecycle watch sees CREATED and RESOLVED once each."""
    with connect(gateway) as client:
        marker = start(client)
        watch = Feed(SessionLifecycleWatcher(client).changes)
        watch.until(lambda event: event.session.session_id == marker.session_id)
        session = start(client)
        discuss(session)
        assert commit(session).ok
        watch.until(lambda event: event.is_resolved and event.session.session_id == session.session_id)
        mine = [event.event_type for event in watch.seen if event.session.session_id == session.session_id]
        expect(mine, ["CREATED", "RESOLVED"], "events of the session")


def expiry(gateway: Gateway) -> None:
    """SDK: an unfinished session expires by itself, and SessionLifecycleWatcher tells."""
    with connect(gateway) as client:
        session = start(client, ttl_ms=1_500)
        assert session.propose("p1", "deploy").ok
        watch = Feed(SessionLifecycleWatcher(client).changes)
        created = watch.until(lambda event: event.session.session_id == session.session_id)
        expect(created.event_type, "CREATED", "first event of the watch")
        event = watch.until(lambda event: event.session.session_id == session.session_id)
        expect((event.event_type, event.session.state), ("EXPIRED", EXPIRED), "lifecycle event")
        late_ms = event.observed_at_unix_ms - created.session.expires_at_unix_ms
        assert 0 <= late_ms < 5_000, f"expired {late_ms} ms after the deadline"
        expect(session.metadata().metadata.state, EXPIRED, "state")
        late = refused(MacpAckError, lambda: session.vote("p1", "approve"))
        expect(late.failure.code, "SESSION_NOT_OPEN", "message after the expiry")


def signal_after_subscription(client: MacpClient, watch: Feed, sender: AuthConfig) -> Any:
    """Signals have no backlog and the watch no greeting: send until one arrives, then return a fresh one's event."""
    deadline = time.monotonic() + WAIT
    while not watch.arrived(timeout=0.05):
        assert time.monotonic() < deadline, "no signal reached the watch"
        assert client.send_signal(signal_type="e2e.hello", auth=sender).ok
    ack = client.send_signal(
        signal_type="e2e.latency",
        data=b"\x00\x01\xff",
        confidence=0.75,
        correlation_session_id="any-label",
        auth=sender,
    )
    expect((ack.ok, ack.duplicate, ack.session_id), (True, False, ""), "Ack of the signal")
    return watch.until(lambda event: event.envelope.message_id == ack.message_id)


def signals(gateway: Gateway) -> None:
    """SDK: a signal reaches a watcher with its payload, from an unverified sender in development mode."""
    with connect(gateway) as client:
        watch = Feed(SignalWatcher(client, auth=agent(BOB)).events)
        event = signal_after_subscription(client, watch, agent(ALICE))
        payload = core_pb2.SignalPayload.FromString(event.envelope.payload)
        expect((payload.signal_type, payload.data), ("e2e.latency", b"\x00\x01\xff"), "signal payload")
        expect((payload.confidence, payload.correlation_session_id), (0.75, "any-label"), "signal payload")
        expect((event.envelope.sender, event.envelope.session_id), (ALICE, ""), "signal envelope")
        expect(event.sender_authenticated, False, "a development-mode sender is not verified")


def asynchronous(gateway: Gateway) -> None:
    """SDK: the asyncio client runs the same walk."""

    async def walk() -> int:
        async with AsyncMacpClient(
            target=gateway.grpc, allow_insecure=True, auth=agent(INITIATOR), default_timeout=WAIT
        ) as client:
            session = AsyncDecisionSession(client)
            await session.start(intent="async", participants=EVERYONE, ttl_ms=60_000)
            await session.propose("p1", "deploy")
            await session.evaluate("p1", "APPROVE", confidence=1.0, sender=ALICE, auth=agent(ALICE))
            await session.vote("p1", "APPROVE", sender=BOB, auth=agent(BOB))
            await session.commit(action="decision.selected", authority_scope="release", reason="async")
            return (await session.metadata()).metadata.state

    expect(asyncio.run(asyncio.wait_for(walk(), 2 * WAIT)), RESOLVED, "state")


def credentials(gateway: Gateway) -> None:
    """SDK, static tokens: a token is its sender, an unknown one nobody, an observer reads only."""
    coordinator, alice = token("tok-coordinator", INITIATOR), token("tok-alice", ALICE)
    observer = token("tok-observer", "agent://observer")
    with connect(gateway, coordinator) as client:
        session = start(client)
        assert session.propose("p1", "deploy").ok
        assert session.vote("p1", "approve", sender=ALICE, auth=alice).ok
        _, feed = envelopes(client, session.session_id, 0, observer)
        expect(types(take(feed, 3)), ["SessionStart", "Proposal", "Vote"], "what the observer reads")
        expect(session.metadata(auth=observer).metadata.state, OPEN, "metadata for the observer")
        barred = refused(MacpAckError, lambda: session.vote("p1", "approve", sender=observer.sender, auth=observer))
        expect(barred.failure.code, "FORBIDDEN", "vote of the observer")
        own = DecisionSession(client, auth=observer)
        start_barred = refused(MacpAckError, lambda: own.start(intent="no", participants=EVERYONE, ttl_ms=60_000))
        expect(start_barred.failure.code, "FORBIDDEN", "start without the right to start")
        nobody = AuthConfig.for_bearer("tok-unknown")
        unknown = refused(grpc.RpcError, lambda: session.metadata(auth=nobody))
        expect(
            (unknown.code(), macp_error_code(unknown)),
            (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED"),
            "unknown token",
        )
        refused_send = refused(MacpAckError, lambda: session.vote("p1", "approve", sender=BOB, auth=nobody))
        expect(refused_send.failure.code, "UNAUTHENTICATED", "Send with an unknown token")
        watch = Feed(SignalWatcher(client, auth=nobody).events)
        expect(refused(MacpTransportError, watch.next).code, "UNAUTHENTICATED", "watch with an unknown token")
        signal_watch = Feed(SignalWatcher(client, auth=token("tok-bob", BOB)).events)
        event = signal_after_subscription(client, signal_watch, alice)
        expect((event.sender_authenticated, event.envelope.sender), (True, ALICE), "signal of a verified sender")


def drain(gateway: Gateway) -> None:
    """SDK: SIGTERM ends an idle stream and the process exits with 0."""
    with connect(gateway) as client:
        session = start(client)
        _, feed = envelopes(client, session.session_id, 0, agent(ALICE))
        expect(feed.next().message_type, "SessionStart", "first envelope")
        code = gateway.stop()
        expect(code, 0, "exit code after SIGTERM with an open stream")


def main() -> int:
    # The sweep is the reference server's only way to notice a deadline; the rest is the shortest sensible drain.
    common = {"MACP_CLEANUP_INTERVAL_SECS": "1", "MACP_SHUTDOWN_DRAIN_SECS": "2"}
    with Gateway({**DEVELOPMENT, **common}) as gateway:
        failed = run(
            gateway,
            handshake,
            decision_walk,
            refusals,
            streams,
            two_way_stream,
            start_race,
            cancel,
            lifecycle,
            expiry,
            signals,
            asynchronous,
            drain,
        )
    settings = {**DEVELOPMENT, **common, "MACP_AUTH_TOKENS_JSON": json.dumps(TOKENS)}
    with Gateway(settings) as gateway:
        failed += run(gateway, credentials)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
