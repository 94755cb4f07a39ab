"""The published Python SDK against the gateway: all modes, extension modes, policies, pauses, listings."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
from checks import WAIT, Feed, expect, refused, run
from gateway import DEVELOPMENT, Gateway
from macp.modes.handoff.v1 import handoff_pb2
from macp.v1 import core_pb2, envelope_pb2, policy_pb2
from macp_sdk import (
    DecisionSession,
    HandoffSession,
    MacpAckError,
    MacpClient,
    MacpTransportError,
    ModeRegistryWatcher,
    PolicyWatcher,
    ProposalSession,
    QuorumSession,
    SessionLifecycleWatcher,
    TaskSession,
    macp_error_code,
)
from macp_sdk.constants import MODE_DECISION, MODE_MULTI_ROUND, MODE_QUORUM, STANDARD_MODES
from macp_sdk.envelope import (
    build_commitment_payload,
    build_contribute_payload,
    build_envelope,
    build_session_start_payload,
    new_session_id,
)
from macp_sdk.policy import (
    CommitmentRules,
    CounterProposalRules,
    HandoffAcceptanceRules,
    ObjectionHandlingRules,
    ProposalAcceptanceRules,
    QuorumThreshold,
    TaskAssignmentRules,
    TaskCompletionRules,
    VotingRules,
    build_decision_policy,
    build_handoff_policy,
    build_proposal_policy,
    build_quorum_policy,
    build_task_policy,
)
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
    SUSPENDED,
    agent,
    by,
    code,
    connect,
    history,
)

TALLY = "ext.e2e.tally.v1"


def begin(session: Any, participants: list[str] = EVERYONE, **more: Any) -> Any:
    """Start a session of any mode."""
    ack = session.start(intent="e2e", participants=participants, ttl_ms=60_000, **more)
    expect((ack.ok, ack.duplicate, ack.session_state), (True, False, OPEN), "Ack of the start")
    return session


def commit(session: Any, action: str, **more: Any) -> None:
    """Commit, and see the session resolved."""
    ack = session.commit(action=action, authority_scope="e2e", reason="done", **more)
    expect((ack.ok, ack.session_state), (True, RESOLVED), "Ack of the commitment")
    expect(session.metadata().metadata.state, RESOLVED, "state after the commitment")
    assert session.projection.is_committed


def commit_refused(session: Any, action: str, **more: Any) -> str:
    """The code with which a commitment is refused; the session stays open."""
    refusal = code(lambda: session.commit(action=action, authority_scope="e2e", reason="early", **more))
    expect(session.metadata().metadata.state, OPEN, "state after a refused commitment")
    return refusal


def register(client: MacpClient, descriptor: policy_pb2.PolicyDescriptor) -> str:
    """Register a policy; its id."""
    answer = client.register_policy(descriptor)
    expect((answer.ok, answer.error), (True, ""), f"registration of {descriptor.policy_id}")
    return descriptor.policy_id


def proposal(gateway: Gateway) -> None:
    """SDK: a Proposal session with a counter, a withdrawal, and convergence before the commitment."""
    with connect(gateway) as client:
        session = begin(ProposalSession(client), [ALICE, BOB])
        assert session.propose("p1", "100 seats", tags=["seats"], **by(ALICE)).ok
        assert session.counter_propose("p2", "p1", "80 seats", summary="budget", **by(BOB)).ok
        assert session.counter_propose("p3", "p2", "90 seats", **by(ALICE)).ok
        expect(code(lambda: session.propose("p1", "again", **by(BOB))), "INVALID_ENVELOPE", "proposal id used twice")
        expect(code(lambda: session.accept("p3")), "FORBIDDEN", "accept by an initiator that is no participant")
        expect(code(lambda: session.withdraw("p2", **by(ALICE))), "FORBIDDEN", "withdrawal of another's proposal")
        assert session.reject("p1", reason="too many", **by(BOB)).ok
        assert session.withdraw("p2", **by(BOB)).ok
        expect(code(lambda: session.accept("p2", **by(ALICE))), "INVALID_ENVELOPE", "accept of a withdrawn proposal")
        assert session.accept("p3", **by(BOB)).ok
        expect(commit_refused(session, "proposal.accepted"), "INVALID_ENVELOPE", "commitment before convergence")
        assert session.accept("p3", **by(ALICE)).ok
        expect(session.proposal_projection.accepted_proposal(), "p3", "the SDK's view of what was accepted")
        commit(session, "proposal.accepted")
        middle = ["Proposal", "CounterProposal", "CounterProposal", "Reject", "Withdraw", "Accept", "Accept"]
        history(client, session.session_id, ["SessionStart", *middle, "Commitment"])


def proposal_rejected(gateway: Gateway) -> None:
    """SDK: a terminal Reject lets the initiator commit a negative outcome."""
    with connect(gateway) as client:
        session = begin(ProposalSession(client))
        assert session.propose("p1", "offer", **by(ALICE)).ok
        assert session.reject("p1", terminal=True, **by(BOB)).ok
        commit(session, "proposal.rejected")
        expect(session.projection.is_positive_outcome, False, "polarity")


def task(gateway: Gateway) -> None:
    """SDK: a Task session: decline, accept, progress, completion, commitment."""
    with connect(gateway) as client:
        session = begin(TaskSession(client))
        expect(code(lambda: session.request_task("t1", "no", **by(ALICE))), "FORBIDDEN", "request by a participant")
        assert session.request_task("t1", "build the index", instructions="all of it", input_data=b"\x00\xff").ok
        expect(code(lambda: session.request_task("t2", "another")), "INVALID_ENVELOPE", "second request")
        assert session.reject_task("t1", reason="busy", **by(BOB)).ok
        expect(code(lambda: session.accept_task("t1", **by(BOB))), "INVALID_ENVELOPE", "accept after a decline")
        assert session.accept_task("t1", **by(ALICE)).ok
        expect(code(lambda: session.update_task("t1", status="?", **by(BOB))), "FORBIDDEN", "update by a stranger")
        assert session.update_task("t1", status="running", progress=0.5, message="half", **by(ALICE)).ok
        expect(commit_refused(session, "task.completed"), "INVALID_ENVELOPE", "commitment before a report")
        assert session.complete_task("t1", output=b"\x01\x02", summary="built", **by(ALICE)).ok
        expect(session.task_projection.is_completed("t1"), True, "the SDK's view")
        commit(session, "task.completed")
        middle = ["TaskRequest", "TaskReject", "TaskAccept", "TaskUpdate", "TaskComplete"]
        history(client, session.session_id, ["SessionStart", *middle, "Commitment"], agent(BOB))


def task_failed(gateway: Gateway) -> None:
    """SDK: a failed task is committed as failed."""
    with connect(gateway) as client:
        session = begin(TaskSession(client))
        assert session.request_task("t1", "migrate", requested_assignee=BOB).ok
        expect(code(lambda: session.accept_task("t1", **by(ALICE))), "FORBIDDEN", "accept of another's task")
        assert session.accept_task("t1", **by(BOB)).ok
        assert session.fail_task("t1", error_code="E42", reason="disk full", retryable=True, **by(BOB)).ok
        expect(session.task_projection.is_retryable("t1"), True, "the SDK's view")
        expect(
            code(
                lambda: session.commit(action="task.failed", authority_scope="e2e", reason="x", outcome_positive=True)
            ),
            "INVALID_ENVELOPE",
            "polarity against the action",
        )
        commit(session, "task.failed")


def handoff(gateway: Gateway) -> None:
    """SDK: a Handoff session: a decline, a second offer with context, an accept, commitment."""
    with connect(gateway) as client:
        session = begin(HandoffSession(client))
        expect(code(lambda: session.offer("h0", BOB, **by(ALICE))), "FORBIDDEN", "offer by a participant")
        assert session.offer("h1", ALICE, scope="on-call", reason="holiday").ok
        expect(code(lambda: session.offer("h2", BOB)), "INVALID_ENVELOPE", "second offer beside an open one")
        expect(code(lambda: session.accept_handoff("h1", **by(BOB))), "FORBIDDEN", "accept by another")
        assert session.decline("h1", reason="away too", **by(ALICE)).ok
        expect(code(lambda: session.offer("h2", ALICE)), "INVALID_ENVELOPE", "offer to one that declined")
        assert session.offer("h3", BOB, scope="on-call").ok
        assert session.add_context("h3", content_type="text/plain", context=b"runbook").ok
        assert session.accept_handoff("h3", reason="mine", **by(BOB)).ok
        expect(session.handoff_projection.is_accepted("h3"), True, "the SDK's view")
        commit(session, "handoff.accepted")
        middle = ["HandoffOffer", "HandoffDecline", "HandoffOffer", "HandoffContext", "HandoffAccept"]
        history(client, session.session_id, ["SessionStart", *middle, "Commitment"])


def quorum(gateway: Gateway) -> None:
    """SDK: a Quorum session: ballots of three kinds, one each, commitment at the threshold."""
    with connect(gateway) as client:
        session = begin(QuorumSession(client))
        expect(code(lambda: session.approve("q1", **by(ALICE))), "INVALID_ENVELOPE", "ballot before the request")
        assert session.request_approval("q1", "rotate keys", summary="yearly", required_approvals=2).ok
        assert session.approve("q1", reason="yes", **by(ALICE)).ok
        expect(code(lambda: session.reject("q1", **by(ALICE))), "INVALID_ENVELOPE", "second ballot")
        expect(code(lambda: session.approve("q1", **by(OUTSIDER))), "FORBIDDEN", "ballot of an outsider")
        expect(commit_refused(session, "quorum.approved"), "INVALID_ENVELOPE", "commitment below the threshold")
        assert session.abstain("q1", reason="new here", **by(BOB)).ok
        assert session.approve("q1").ok
        expect(session.quorum_projection.has_quorum("q1"), True, "the SDK's view")
        commit(session, "quorum.approved")
        middle = ["ApprovalRequest", "Approve", "Abstain", "Approve"]
        history(client, session.session_id, ["SessionStart", *middle, "Commitment"])


def quorum_unreachable(gateway: Gateway) -> None:
    """SDK: a Quorum session whose threshold is out of reach is committed as rejected."""
    with connect(gateway) as client:
        session = begin(QuorumSession(client))
        assert session.request_approval("q1", "rotate keys", required_approvals=3).ok
        assert session.reject("q1", reason="no", **by(BOB)).ok
        commit(session, "quorum.rejected")


class Raw:
    """A session of a mode for which the SDK has no helper, from its envelope builders."""

    def __init__(self, client: MacpClient, mode: str, *, mode_version: str = "1.0.0") -> None:
        self.client, self.mode, self.mode_version, self.id = client, mode, mode_version, new_session_id()

    def send(self, kind: str, payload: bytes, sender: str = INITIATOR) -> envelope_pb2.Ack:
        envelope = build_envelope(mode=self.mode, message_type=kind, session_id=self.id, sender=sender, payload=payload)
        return self.client.send(envelope, auth=agent(sender))

    def start(self, participants: list[str], **more: Any) -> envelope_pb2.Ack:
        fields = {"mode_version": self.mode_version, **more}
        payload = build_session_start_payload(intent="e2e", participants=participants, ttl_ms=60_000, **fields)
        return self.send("SessionStart", payload.SerializeToString())

    def commit(self, action: str, sender: str = INITIATOR, **more: Any) -> envelope_pb2.Ack:
        fields = {"mode_version": self.mode_version, **more}
        payload = build_commitment_payload(action=action, authority_scope="e2e", reason="done", **fields)
        return self.send("Commitment", payload.SerializeToString(), sender)

    def metadata(self) -> core_pb2.SessionMetadata:
        return self.client.get_session(self.id).metadata


def multi_round(gateway: Gateway) -> None:
    """SDK: a multi-round session converges over two rounds, protobuf and JSON payloads alike."""
    with connect(gateway) as client:
        assert MODE_MULTI_ROUND in {mode.mode for mode in client.list_ext_modes().modes}
        session = Raw(client, MODE_MULTI_ROUND)
        expect(session.start([ALICE, BOB]).session_state, OPEN, "state")
        assert session.send("Contribute", build_contribute_payload("blue").SerializeToString(), ALICE).ok
        assert session.send("Contribute", b'{"value": "green"}', BOB).ok
        expect(code(lambda: session.commit("round.done")), "INVALID_ENVELOPE", "commitment before convergence")
        expect(code(lambda: session.send("Contribute", b"", BOB)), "INVALID_ENVELOPE", "empty contribution")
        assert session.send("Contribute", b'{"value": "blue"}', BOB).ok
        late = build_contribute_payload("red").SerializeToString()
        expect(code(lambda: session.send("Contribute", late, ALICE)), "INVALID_ENVELOPE", "contribution after it")
        expect(code(lambda: session.commit("round.done", ALICE)), "FORBIDDEN", "commitment by a participant")
        expect(session.commit("round.done").session_state, RESOLVED, "state after the commitment")
        history(client, session.id, ["SessionStart", "Contribute", "Contribute", "Contribute", "Commitment"])


def extension_mode(gateway: Gateway) -> None:
    """SDK: an extension mode is registered, listed, watched, used, promoted and unregistered."""
    descriptor = core_pb2.ModeDescriptor(
        mode=TALLY,
        mode_version="2.1.0",
        title="Tally",
        description="counts",
        determinism_class="structural-only",
        participant_model="declared",
        message_types=["SessionStart", "Add", "Commitment"],
        terminal_message_types=["Commitment"],
        schema_uris={"docs": "https://tally.example/docs"},
    )
    with connect(gateway) as client:
        watch = Feed(ModeRegistryWatcher(client).changes)
        expect(watch.next().change.registry, "modes", "greeting of the watch")
        assert client.register_ext_mode(descriptor).ok
        expect(watch.next().change.registry, "modes", "hint after the registration")
        again = client.register_ext_mode(descriptor)
        assert not again.ok and again.error, "a second registration of one mode must be refused in band"
        listed = {mode.mode: mode for mode in client.list_ext_modes().modes}
        expect(listed[TALLY], descriptor, "descriptor in ListExtModes")
        assert TALLY in client.initialize().supported_modes
        for reserved in ("macp.mode.e2e.v1", "  "):
            answer = client.register_ext_mode(
                core_pb2.ModeDescriptor(
                    mode=reserved,
                    mode_version="1",
                    message_types=["Commitment"],
                    terminal_message_types=["Commitment"],
                )
            )
            assert not answer.ok and answer.error, f"mode id {reserved!r} must be refused"

        session = Raw(client, TALLY, mode_version="2.1.0")
        assert session.start([ALICE], mode_version="", configuration_version="").ok
        expect(session.metadata().mode_version, "2.1.0", "version bound by an empty mode_version")
        assert session.send("Add", b"any bytes \x00\xff", ALICE).ok
        expect(code(lambda: session.send("Subtract", b"1", ALICE)), "INVALID_ENVELOPE", "type that is not declared")
        expect(code(lambda: session.send("Add", b"1", OUTSIDER)), "FORBIDDEN", "outsider")
        expect(code(lambda: session.commit("tally.done", ALICE)), "FORBIDDEN", "commitment by a participant")
        expect(session.commit("tally.done", configuration_version="").session_state, RESOLVED, "state")
        history(client, session.id, ["SessionStart", "Add", "Commitment"], agent(ALICE))

        expect(client.promote_mode("ext.nothing.v1").ok, False, "promotion of an unknown mode")
        promoted = client.promote_mode(TALLY, "tally.e2e.v1")
        expect((promoted.ok, promoted.mode), (True, "tally.e2e.v1"), "promotion")
        watch.next()
        names = [mode.mode for mode in client.list_modes().modes]
        expect(names, [*STANDARD_MODES, "tally.e2e.v1"], "ListModes after the promotion")
        assert TALLY not in {mode.mode for mode in client.list_ext_modes().modes}
        expect(code(lambda: Raw(client, TALLY).start([ALICE])), "MODE_NOT_SUPPORTED", "start under the old name")
        strict = Raw(client, "tally.e2e.v1", mode_version="2.1.0")
        expect(code(lambda: strict.start([ALICE], mode_version="")), "INVALID_ENVELOPE", "strict start")
        assert strict.start([ALICE]).ok
        expect(client.unregister_ext_mode("tally.e2e.v1").ok, False, "a promoted mode cannot be unregistered")
        expect(client.unregister_ext_mode(MODE_MULTI_ROUND).ok, False, "a built-in mode cannot be unregistered")


def unregistered_mode(gateway: Gateway) -> None:
    """SDK: sessions of a mode that was unregistered take no more messages."""
    name = "ext.e2e.short.v1"
    descriptor = core_pb2.ModeDescriptor(
        mode=name,
        mode_version="1.0.0",
        message_types=["SessionStart", "Note", "Commitment"],
        terminal_message_types=["Commitment"],
    )
    with connect(gateway) as client:
        assert client.register_ext_mode(descriptor).ok
        session = Raw(client, name)
        assert session.start([]).ok
        assert session.send("Note", b"from anyone", OUTSIDER).ok, "a mode session without participants takes everyone"
        assert client.unregister_ext_mode(name).ok
        expect(client.unregister_ext_mode(name).ok, False, "second removal")
        expect(code(lambda: session.send("Note", b"late")), "MODE_NOT_SUPPORTED", "message after the removal")
        expect(code(lambda: Raw(client, name).start([])), "MODE_NOT_SUPPORTED", "start after the removal")
        expect(client.cancel_session(session.id, reason="gone").session_state, CANCELLED, "cancel after the removal")


def policy_registry(gateway: Gateway) -> None:
    """SDK: policies are registered, fetched, listed, watched and unregistered."""
    with connect(gateway) as client:
        assert client.initialize().capabilities.policy_registry.register_policy
        watch = Feed(PolicyWatcher(client).changes)
        assert "policy.default" in {one.policy_id for one in watch.next().descriptors}
        mine = build_quorum_policy("policy.e2e.two", "two approvals", threshold=QuorumThreshold(value=2))
        register(client, mine)
        shown = {one.policy_id: one for one in watch.next().descriptors}
        expect(json.loads(shown["policy.e2e.two"].rules), json.loads(mine.rules), "rules in the watch")
        fetched = client.get_policy("policy.e2e.two").policy_descriptor
        expect(
            (fetched.mode, fetched.description, fetched.schema_version), (MODE_QUORUM, "two approvals", 1), "fetched"
        )
        expect(json.loads(fetched.rules), json.loads(mine.rules), "rules")
        ids = [one.policy_id for one in client.list_policies(MODE_QUORUM).descriptors]
        expect(ids, ["policy.default", "policy.e2e.two"], "policies for the Quorum mode")
        everything = [one.policy_id for one in client.list_policies().descriptors]
        expect(everything, sorted(everything), "order of ListPolicies")
        bad = [
            mine,
            build_quorum_policy("policy.default", "mine now"),
            build_quorum_policy("policy.std.mine", "mine now"),
            policy_pb2.PolicyDescriptor(policy_id="policy.e2e.bad", mode=MODE_QUORUM, rules=b"{", schema_version=9),
            policy_pb2.PolicyDescriptor(
                policy_id="policy.e2e.bad",
                mode=MODE_DECISION,
                rules=b'{"voting":{"algoritm":"none"}}',
                schema_version=3,
            ),
        ]
        for descriptor in bad:
            answer = client.register_policy(descriptor)
            assert not answer.ok and answer.error, f"must be refused: {descriptor!r}"
        expect(client.unregister_policy("policy.default").ok, False, "removal of policy.default")
        expect(client.unregister_policy("policy.e2e.none").ok, False, "removal of an unknown policy")
        session = begin(QuorumSession(client, policy_version="policy.e2e.two"))
        assert client.unregister_policy("policy.e2e.two").ok
        watch.until(lambda change: "policy.e2e.two" not in {one.policy_id for one in change.descriptors})
        gone = refused(grpc.RpcError, lambda: client.get_policy("policy.e2e.two"))
        expect((gone.code(), macp_error_code(gone)), (grpc.StatusCode.NOT_FOUND, "UNKNOWN_POLICY_VERSION"), "gone")
        expect(
            code(lambda: begin(QuorumSession(client, policy_version="policy.e2e.two"))),
            "UNKNOWN_POLICY_VERSION",
            "start under a removed policy",
        )
        # A session keeps the definition it was started with.
        assert session.request_approval("q1", "rotate", required_approvals=1).ok
        assert session.approve("q1", **by(ALICE)).ok
        expect(commit_refused(session, "quorum.approved"), "INVALID_ENVELOPE", "one approval of two")
        assert session.approve("q1", **by(BOB)).ok
        commit(session, "quorum.approved")


def denied_commitment(gateway: Gateway) -> None:
    """SDK: a policy denies a commitment with reasons and codes; votes make it pass."""
    with connect(gateway) as client:
        policy = register(
            client,
            build_decision_policy(
                "policy.e2e.strict",
                "majority of all, critical objections veto",
                voting=VotingRules(algorithm="majority", quorum_type="count", quorum_value=2),
                objection_handling=ObjectionHandlingRules(critical_severity_vetoes=True, veto_threshold=1),
                commitment=CommitmentRules(require_vote_quorum=True),
            ),
        )
        session = begin(DecisionSession(client, policy_version=policy))
        expect(session.metadata().metadata.policy_version, policy, "bound policy")
        assert session.propose("p1", "ship").ok
        early = refused(MacpAckError, lambda: session.commit(action="x", authority_scope="e2e", reason="r"))
        expect(early.failure.code, "POLICY_DENIED", "code")
        expect([one.code for one in early.denials], ["quorum_not_met", "no_votes"], "denials")
        expect(early.reasons, [one.message for one in early.denials], "reasons")
        assert all(early.reasons), early.reasons
        for voter in (ALICE, BOB):
            assert session.vote("p1", "approve", **by(voter)).ok
        commit(session, "decision.selected")

        vetoed = begin(DecisionSession(client, policy_version=policy))
        assert vetoed.propose("p1", "ship").ok
        assert vetoed.raise_objection("p1", reason="no rollback", severity="critical", **by(BOB)).ok
        for voter in (ALICE, BOB):
            assert vetoed.vote("p1", "approve", **by(voter)).ok
        veto = refused(MacpAckError, lambda: vetoed.commit(action="x", authority_scope="e2e", reason="r"))
        expect([(one.code, one.participants) for one in veto.denials], [("veto", (BOB,))], "denials")
        assert BOB not in veto.failure.message and not any(BOB in one for one in veto.reasons), veto.failure
        wrong_mode = QuorumSession(client, policy_version=policy)
        expect(code(lambda: begin(wrong_mode)), "INVALID_POLICY_DEFINITION", "policy of another mode")


def mode_policies(gateway: Gateway) -> None:
    """SDK: policies of the Proposal, Task and Quorum modes, and who may commit under them."""
    with connect(gateway) as client:
        limited = register(
            client,
            build_proposal_policy(
                "policy.e2e.one-counter",
                "one counter; the counterparty decides",
                acceptance=ProposalAcceptanceRules(criterion="counterparty"),
                counter_proposal=CounterProposalRules(max_rounds=1),
                commitment=CommitmentRules(authority="any_participant"),
            ),
        )
        session = begin(ProposalSession(client, policy_version=limited), [ALICE, BOB])
        assert session.propose("p1", "a", **by(ALICE)).ok
        assert session.counter_propose("p2", "p1", "b", **by(BOB)).ok
        third = code(lambda: session.counter_propose("p3", "p2", "c", **by(ALICE)))
        expect(third, "INVALID_ENVELOPE", "one counter too many")
        assert session.accept("p2", **by(ALICE)).ok
        commit(session, "proposal.accepted", **by(BOB))

        output = register(
            client,
            build_task_policy(
                "policy.e2e.output",
                "reassignable, with output",
                assignment=TaskAssignmentRules(allow_reassignment_on_reject=True),
                completion=TaskCompletionRules(require_output=True),
            ),
        )
        tasks = begin(TaskSession(client, policy_version=output))
        assert tasks.request_task("t1", "summarise").ok
        assert tasks.accept_task("t1", **by(ALICE)).ok
        assert tasks.reject_task("t1", reason="stuck", **by(ALICE)).ok
        assert tasks.accept_task("t1", **by(BOB)).ok
        assert tasks.complete_task("t1", summary="no output", **by(BOB)).ok
        denied = refused(MacpAckError, lambda: tasks.commit(action="task.completed", authority_scope="e", reason="r"))
        expect((denied.failure.code, denied.denials[0].code), ("POLICY_DENIED", "output_required"), "denial")
        commit(tasks, "task.failed")

        plain = begin(TaskSession(client))
        assert plain.request_task("t1", "summarise").ok
        assert plain.accept_task("t1", **by(ALICE)).ok
        kept = refused(MacpAckError, lambda: plain.reject_task("t1", **by(ALICE)))
        expect((kept.failure.code, kept.denials[0].code), ("POLICY_DENIED", "reassignment_not_allowed"), "denial")

        signers = register(
            client,
            build_quorum_policy(
                "policy.e2e.half",
                "half of all; bob signs",
                threshold=QuorumThreshold(type="percentage", value=50),
                commitment=CommitmentRules(authority="designated_role", designated_roles=[BOB]),
            ),
        )
        ballots = begin(QuorumSession(client, policy_version=signers))
        assert ballots.request_approval("q1", "rotate", required_approvals=1).ok
        assert ballots.approve("q1", **by(ALICE)).ok
        expect(commit_refused(ballots, "quorum.approved", **by(BOB)), "INVALID_ENVELOPE", "one approval of two")
        assert ballots.approve("q1").ok
        expect(commit_refused(ballots, "quorum.approved"), "FORBIDDEN", "commitment by the initiator")
        commit(ballots, "quorum.approved", **by(BOB))


def eventually(attempt: Callable[[], bool], what: str) -> None:
    """Try until it holds, with a deadline."""
    deadline = time.monotonic() + WAIT
    while not attempt():
        assert time.monotonic() < deadline, f"not within {WAIT:.0f} s: {what}"
        time.sleep(0.02)


def implicit_accept(gateway: Gateway) -> None:
    """SDK: an unanswered offer is accepted by time, and the accept is in the history."""
    with connect(gateway) as client:
        patience = HandoffAcceptanceRules(implicit_accept_timeout_ms=60)
        policy = register(client, build_handoff_policy("policy.e2e.silence", "silence is consent", acceptance=patience))
        session = begin(HandoffSession(client, policy_version=policy))
        assert session.offer("h1", ALICE).ok

        def committed() -> bool:
            try:
                return session.commit(action="handoff.accepted", authority_scope="e2e", reason="time").ok
            except MacpAckError as refusal:
                expect(refusal.failure.code, "INVALID_ENVELOPE", "commitment before the implicit accept")
                return False

        eventually(committed, "the implicit accept")
        stream = client.open_stream(auth=agent(BOB))
        stream.send_subscribe(session.session_id)
        feed = Feed(stream.responses)
        _, offer, accept, last = [feed.next() for _ in range(4)]
        expect((accept.message_type, accept.message_id), ("HandoffAccept", "implicit-accept:h1"), "synthetic envelope")
        payload = handoff_pb2.HandoffAcceptPayload.FromString(accept.payload)
        expect((accept.sender, payload.accepted_by, payload.implicit), (ALICE, ALICE, True), "synthetic envelope")
        assert accept.timestamp_unix_ms - offer.timestamp_unix_ms >= 50, (offer, accept)
        expect(last.message_type, "Commitment", "last envelope")
        stream.close()


def suspend_and_resume(gateway: Gateway) -> None:
    """SDK: a pause stops the clock and the messages; watchers see SUSPENDED and RESUMED."""
    with connect(gateway) as client:
        session = begin(DecisionSession(client))
        watch = Feed(SessionLifecycleWatcher(client).changes)
        mine = lambda event: event.session.session_id == session.session_id  # noqa: E731
        watch.until(mine)
        before = session.metadata().metadata
        denied = refused(MacpTransportError, lambda: session.suspend(auth=agent(ALICE)))
        expect((denied.code, denied.macp_code), ("PERMISSION_DENIED", "FORBIDDEN"), "suspend by a participant")
        expect(code(session.resume), "SESSION_NOT_OPEN", "resume of an open session")
        expect(session.suspend(reason="lunch").session_state, SUSPENDED, "state")
        expect(code(lambda: session.suspend(reason="again")), "SESSION_NOT_OPEN", "second suspend")
        expect(code(lambda: session.propose("p1", "now")), "SESSION_NOT_OPEN", "message in the pause")
        event = watch.until(mine)
        expect((event.event_type, event.session.state, event.is_terminal), ("SUSPENDED", SUSPENDED, False), "event")
        paused_at = time.monotonic()
        eventually(lambda: time.monotonic() - paused_at > 0.1, "a pause of 0.1 s")
        expect(session.resume(reason="back").session_state, OPEN, "state")
        event = watch.until(mine)
        expect((event.event_type, event.session.state), ("RESUMED", OPEN), "event")
        after = session.metadata().metadata
        assert after.expires_at_unix_ms - before.expires_at_unix_ms >= 100, (before, after)
        assert session.propose("p1", "now").ok
        commit(session, "decision.selected")
        history(client, session.session_id, ["SessionStart", "Proposal", "Commitment"])
        expect(code(session.suspend), "SESSION_NOT_OPEN", "suspend of a resolved session")


def long_pause(gateway: Gateway) -> None:
    """SDK: a pause longer than the session's cap ends it as EXPIRED."""
    with connect(gateway) as client:
        session = begin(DecisionSession(client), max_suspend_ms=1)
        expect(session.suspend().session_state, SUSPENDED, "state")
        eventually(lambda: session.metadata().metadata.state == EXPIRED, "the end of the pause")
        expect(code(session.resume), "SESSION_NOT_OPEN", "resume of an expired session")


def listing(gateway: Gateway) -> None:
    """SDK: list_sessions pages through everything once, in every state."""
    with connect(gateway) as client:
        opened = begin(DecisionSession(client), context_id="ctx-1", extensions={"org.example.a": b"1"})
        paused, ended = begin(QuorumSession(client)), begin(TaskSession(client))
        paused.suspend()
        ended.cancel()
        listed = client.list_sessions(page_size=2)
        ids = [one.session_id for one in listed]
        expect(len(ids), len(set(ids)), "every session once")
        states = {one.session_id: one.state for one in listed}
        mine = [states.get(one.session_id) for one in (opened, paused, ended)]
        expect(mine, [OPEN, SUSPENDED, CANCELLED], "states")
        shown = next(one for one in listed if one.session_id == opened.session_id)
        expect((shown.context_id, list(shown.extension_keys)), ("ctx-1", ["org.example.a"]), "labels")
        expect(shown, opened.metadata().metadata, "the same as GetSession")
        page, following = client.list_sessions_page(page_size=1)
        assert len(page) <= 1 and following, (page, following)
        bad = refused(grpc.RpcError, lambda: client.list_sessions_page(page_token="?"))
        expect((bad.code(), macp_error_code(bad)), (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"), "bad token")


def read_only_policies(gateway: Gateway) -> None:
    """SDK: a server started with a folder of policies has them, and takes no others."""
    with connect(gateway) as client:
        expect(client.initialize().capabilities.policy_registry.register_policy, False, "register_policy capability")
        assert "policy.e2e.file" in {one.policy_id for one in client.list_policies().descriptors}
        for call in (
            lambda: client.register_policy(build_quorum_policy("policy.e2e.x", "x")),
            lambda: client.unregister_policy("policy.e2e.file"),
        ):
            refusal = refused(MacpAckError, call)
            expect((refusal.failure.code, refusal.macp_code), ("FAILED_PRECONDITION", "REGISTRY_READ_ONLY"), "refusal")
        session = begin(QuorumSession(client, policy_version="policy.e2e.file"))
        assert session.request_approval("q1", "rotate", required_approvals=1).ok
        assert session.approve("q1", **by(ALICE)).ok
        expect(commit_refused(session, "quorum.approved"), "INVALID_ENVELOPE", "one approval of three")


POLICY_FILE = {
    "policy_id": "policy.e2e.file",
    "mode": MODE_QUORUM,
    "description": "three approvals",
    "rules": {"threshold": {"type": "n_of_m", "value": 3}},
    "schema_version": 1,
}


def main() -> int:
    # The reference server notices an overlong pause when it is touched; the sweep is for its other deadlines.
    common = {"MACP_CLEANUP_INTERVAL_SECS": "1", "MACP_SHUTDOWN_DRAIN_SECS": "2"}
    # One coordinator starts more sessions than the default of 60 in a minute.
    rates = {"MACP_SESSION_START_LIMIT_PER_MINUTE": "100000", "MACP_MESSAGE_LIMIT_PER_MINUTE": "100000"}
    with Gateway({**DEVELOPMENT, **common, **rates}) as gateway:
        failed = run(
            gateway,
            proposal,
            proposal_rejected,
            task,
            task_failed,
            handoff,
            quorum,
            quorum_unreachable,
            multi_round,
            extension_mode,
            unregistered_mode,
            policy_registry,
            denied_commitment,
            mode_policies,
            implicit_accept,
            suspend_and_resume,
            long_pause,
            listing,
        )
    with tempfile.TemporaryDirectory(prefix="macp-e2e-policies-") as folder:
        Path(folder, "policy.json").write_text(json.dumps(POLICY_FILE), encoding="utf-8")
        with Gateway({**DEVELOPMENT, **common, "MACP_POLICIES_DIR": folder}) as gateway:
            failed += run(gateway, read_only_policies)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
