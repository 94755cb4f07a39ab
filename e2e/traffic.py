"""Generated traffic for the comparison of two servers: whole sessions, policies and modes from one seed.

A plan is made offline, from a random number generator seeded with the run's seed and the session's number, and knows
nothing of any answer; so both servers get the same bytes, and one session can be repeated alone. About a third of the
messages are wrong in some way, on purpose.
"""

from __future__ import annotations

import base64
import datetime
import json
import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import Message
from macp.modes.decision.v1 import decision_pb2 as decision
from macp.modes.handoff.v1 import handoff_pb2 as handoff
from macp.modes.multi_round.v1 import multi_round_pb2 as multi_round
from macp.modes.proposal.v1 import proposal_pb2 as proposal
from macp.modes.quorum.v1 import quorum_pb2 as quorum
from macp.modes.task.v1 import task_pb2 as task
from macp.v1 import core_pb2, envelope_pb2, policy_pb2

DECISION, PROPOSAL, TASK, HANDOFF, QUORUM = (
    f"macp.mode.{name}.v1" for name in ("decision", "proposal", "task", "handoff", "quorum")
)
MULTI_ROUND, NOTES, PROMOTED = "ext.multi_round.v1", "ext.diff.notes.v1", "diff.promoted.v1"
MODES = [DECISION, PROPOSAL, TASK, HANDOFF, QUORUM, MULTI_ROUND, NOTES, PROMOTED]

AGENTS = [f"agent://{name}" for name in ("ada", "ben", "cy", "dee", "eve")]
OUTSIDER, OBSERVER = "agent://outsider", "agent://observer"
LIMITED, NO_START, ADMIN = "agent://limited", "agent://no-start", "agent://admin"
NOBODY, ANONYMOUS = "agent://nobody", ""

MAX_PAYLOAD = 16_384
# A frozen clock for client timestamps: a session whose base is this far in the future never expires in a run, and one
# whose base is in the past has done so at its start.
PAST_MS = 600_000

TOKENS = [
    *({"token": f"tok-{name}", "sender": name} for name in [*AGENTS, OUTSIDER]),
    {"token": f"tok-{OBSERVER}", "sender": OBSERVER, "is_observer": True},
    {"token": f"tok-{LIMITED}", "sender": LIMITED, "allowed_modes": [DECISION, QUORUM]},
    {"token": f"tok-{NO_START}", "sender": NO_START, "can_start_sessions": False},
    {"token": f"tok-{ADMIN}", "sender": ADMIN, "can_manage_mode_registry": True},
]


@dataclass
class Step:
    """One call: `send`, `cancel`, `suspend`, `resume`, `get`, `stream`, or `wait` (in ms) between two calls."""

    call: str
    caller: str = ANONYMOUS
    envelope: envelope_pb2.Envelope | None = None
    note: str = ""
    ms: int = 0
    frames: list[core_pb2.StreamSessionRequest] = field(default_factory=list)

    def __str__(self) -> str:
        if self.frames:
            return f"{self.call} {self.caller} with frames\n      " + "\n      ".join(
                " ".join(str(frame).split()) for frame in self.frames
            )
        if self.envelope is None:
            return f"{self.call} {self.caller} {self.ms or ''}".rstrip()
        one = self.envelope
        shown = one.payload if len(one.payload) < 200 else one.payload[:60] + b"..."
        return (
            f"{self.call} {one.message_type or '(no type)'} by {self.caller or '(no credential)'}"
            f" id={one.message_id!r} {self.note}\n      mode={one.mode!r} version={one.macp_version!r}"
            f" sender={one.sender!r} t={one.timestamp_unix_ms} payload={shown!r}"
        )


@dataclass
class Plan:
    """One session's traffic."""

    seed: int
    number: int
    mode: str
    session_id: str
    initiator: str
    participants: list[str]
    policy: str
    binding: str
    steps: list[Step] = field(default_factory=list)
    paused: bool = False
    """Whether the deadline may have been moved by the server's clock."""
    base_ms: int = 0
    """The client's timestamp of the start; 0 if it has none."""
    overdue: bool = False
    """Whether the session was past its deadline when it started."""


def chance(rng: random.Random, share: float) -> bool:
    return rng.random() < share


# --- payloads -------------------------------------------------------------------------------------------------------

Made = tuple[str, Message]
VOTES = ["APPROVE", "APPROVE", "REJECT", "ABSTAIN"]


def pick(rng: random.Random, usual: list[Any], rare: list[Any], share: float = 0.07) -> Any:
    """Mostly a usual value, now and then one that should be refused."""
    return rng.choice(rare if chance(rng, share) else usual)


def decision_message(rng: random.Random, plan: Plan) -> Made:
    one = pick(rng, ["p1", "p1", "p2"], ["p9", "", " "])
    kind = rng.choice(["Proposal", "Proposal", "Evaluation", "Evaluation", "Objection", "Vote", "Vote", "Vote"])
    if kind == "Proposal":
        return kind, decision.ProposalPayload(
            proposal_id=one, option=pick(rng, ["deploy"], ["", " \t"]), supporting_data=b"\x00\xff"
        )
    if kind == "Evaluation":
        return kind, decision.EvaluationPayload(
            proposal_id=one,
            recommendation=pick(rng, ["APPROVE", "REVIEW", "BLOCK", "REJECT"], ["approve", "", "MAYBE"]),
            confidence=pick(rng, [0.0, 0.3, 0.8, 1.0], [1.0001, -0.1, float("inf"), float("nan")], 0.15),
        )
    if kind == "Objection":
        levels = ["low", "medium", "high", "critical", "critical"]
        return kind, decision.ObjectionPayload(
            proposal_id=one, reason="why", severity=pick(rng, levels, ["", "CRITICAL", "fatal"])
        )
    return kind, decision.VotePayload(proposal_id=one, vote=pick(rng, VOTES, ["approve", "", "YES"]))


def proposal_message(rng: random.Random, plan: Plan) -> Made:
    one = pick(rng, ["p1", "p1", "p2", "p3"], ["p9", "", " "])
    other = pick(rng, ["p1", "p2"], ["p9", ""])
    kinds = ["Proposal", "CounterProposal", "Accept", "Accept", "Accept", "Accept", "Reject", "Withdraw"]
    kind = rng.choice(kinds)
    if kind == "Proposal":
        return kind, proposal.ProposalPayload(proposal_id=one, title="t", tags=["a", "b"], details=b"\x80")
    if kind == "CounterProposal":
        return kind, proposal.CounterProposalPayload(proposal_id=one, supersedes_proposal_id=other, title="t")
    if kind == "Accept":
        return kind, proposal.AcceptPayload(proposal_id=one, reason="r")
    if kind == "Reject":
        return kind, proposal.RejectPayload(proposal_id=one, terminal=chance(rng, 0.3))
    return kind, proposal.WithdrawPayload(proposal_id=one)


def task_message(rng: random.Random, plan: Plan) -> Made:
    one = pick(rng, ["t1"], ["t2", ""])
    someone = pick(rng, ["", "", *plan.participants], [OUTSIDER, "x"])
    kinds = ["TaskRequest", "TaskAccept", "TaskAccept", "TaskReject", "TaskUpdate", "TaskComplete", "TaskFail"]
    kind = rng.choice(kinds)
    if kind == "TaskRequest":
        return kind, task.TaskRequestPayload(
            task_id=one, title="t", requested_assignee=someone, input=b"\x01", deadline_unix_ms=rng.choice([0, 5])
        )
    if kind == "TaskAccept":
        return kind, task.TaskAcceptPayload(task_id=one, assignee=pick(rng, [""], [someone]))
    if kind == "TaskReject":
        return kind, task.TaskRejectPayload(task_id=one, assignee=pick(rng, [""], [someone]), reason="busy")
    if kind == "TaskUpdate":
        return kind, task.TaskUpdatePayload(task_id=one, status="s", progress=pick(rng, [0.0, 0.5, 2.0], [-1.0]))
    if kind == "TaskComplete":
        return kind, task.TaskCompletePayload(
            task_id=one, assignee=pick(rng, [""], [someone]), output=rng.choice([b"", b"\xff\x00"]), summary="s"
        )
    return kind, task.TaskFailPayload(task_id=one, assignee=pick(rng, [""], [someone]), error_code="E", retryable=True)


def handoff_message(rng: random.Random, plan: Plan) -> Made:
    one = pick(rng, ["h1", "h1", "h2"], ["h9", "", " "])
    someone = pick(rng, plan.participants, [OUTSIDER, "", " "])
    kinds = ["HandoffOffer", "HandoffOffer", "HandoffContext", "HandoffAccept", "HandoffAccept", "HandoffDecline"]
    kind = rng.choice(kinds)
    if kind == "HandoffOffer":
        return kind, handoff.HandoffOfferPayload(handoff_id=one, target_participant=someone, scope="s")
    if kind == "HandoffContext":
        return kind, handoff.HandoffContextPayload(handoff_id=one, content_type="text/plain", context=b"c\xff")
    if kind == "HandoffAccept":
        return kind, handoff.HandoffAcceptPayload(
            handoff_id=one, accepted_by=pick(rng, [""], [someone]), implicit=chance(rng, 0.05)
        )
    return kind, handoff.HandoffDeclinePayload(handoff_id=one, declined_by=pick(rng, [""], [someone]))


def quorum_message(rng: random.Random, plan: Plan) -> Made:
    one = pick(rng, ["q1"], ["q2", ""])
    kind = rng.choice(["ApprovalRequest", "Approve", "Approve", "Approve", "Reject", "Abstain"])
    if kind == "ApprovalRequest":
        return kind, quorum.ApprovalRequestPayload(
            request_id=one, action="a", required_approvals=pick(rng, [1, 1, 2, 2, 3], [0, 9, 4_000_000_000])
        )
    kinds = {"Approve": quorum.ApprovePayload, "Reject": quorum.RejectPayload, "Abstain": quorum.AbstainPayload}
    return kind, kinds[kind](request_id=one, reason="r")


class Bytes:
    """A payload that is not a protobuf message."""

    def __init__(self, text: bytes) -> None:
        self._text = text

    def SerializeToString(self) -> bytes:  # noqa: N802 - named as protobuf does
        return self._text


def multi_round_message(rng: random.Random, plan: Plan) -> Made:
    value = rng.choice(["red", "red", "red", "blue"])
    usual = [multi_round.ContributePayload(value=value), Bytes(json.dumps({"value": value}).encode())]
    rare = [
        Bytes(b""),
        Bytes(b'{"value": 5}'),
        Bytes(b'["red"]'),
        Bytes(b'{"value":"red","more":1}'),
        Bytes(b'{"value":"a","value":"b"}'),
        Bytes(bytes.fromhex("0a0d7b2276616c7565223a2278227d")),
        Bytes(b' {"value": "red"} '),
        Bytes(b'"red"'),
        Bytes(b"\x12\x03red"),
    ]
    return "Contribute", pick(rng, usual, rare, 0.15)


def extension_message(rng: random.Random, plan: Plan) -> Made:
    return pick(rng, ["Note", "Tick"], ["Other", "Proposal"]), Bytes(rng.choice([b"", b"free \x00\xff", b"{}"]))


MESSAGES: dict[str, Callable[[random.Random, Plan], Made]] = {
    DECISION: decision_message,
    PROPOSAL: proposal_message,
    TASK: task_message,
    HANDOFF: handoff_message,
    QUORUM: quorum_message,
    MULTI_ROUND: multi_round_message,
    NOTES: extension_message,
    PROMOTED: extension_message,
}

INITIATOR_ONLY = {"TaskRequest", "HandoffOffer", "ApprovalRequest", "HandoffContext"}

POSITIVE = ["decision.selected", "x.accepted", "completed", "disapproved"]
NEGATIVE = ["x.rejected", "task.failed", "declined"]
HASH = "sha256:" + "0a" * 32


def commitment(rng: random.Random, plan: Plan) -> Made:
    positive = chance(rng, 0.7)
    action = rng.choice([*(POSITIVE if positive else NEGATIVE), "round.done"])
    payload = core_pb2.CommitmentPayload(
        commitment_id=pick(rng, ["c1"], ["", " "], 0.03),
        action=pick(rng, [action], [""], 0.03),
        authority_scope=pick(rng, ["scope"], ["", "\u00a0"], 0.03),
        reason=pick(rng, ["because"], [""], 0.03),
        mode_version=pick(rng, [VERSIONS[plan.mode]], ["", "9.9.9"], 0.03),
        configuration_version=pick(rng, ["cfg"], ["", "other"], 0.03),
        policy_version=pick(rng, ["", plan.policy or "policy.default"], ["policy.other"], 0.04),
        outcome_positive=pick(rng, [positive], [not positive], 0.08),
    )
    if chance(rng, 0.08):
        payload.supersedes.CopyFrom(
            core_pb2.CommitmentRef(
                session_id=pick(rng, ["earlier"], ["", " "], 0.2),
                commitment_hash=pick(rng, [HASH], [HASH.upper(), HASH[:-1], f" {HASH}", ""], 0.4),
            )
        )
    return "Commitment", payload


VERSIONS = dict.fromkeys(MODES, "1.0.0") | {NOTES: "3.1.4", PROMOTED: "0.0.1"}

# --- happy paths ----------------------------------------------------------------------------------------------------

Line = tuple[str, str, Message | Bytes]


def script(rng: random.Random, plan: Plan) -> list[Line]:
    """A sensible session's messages as (sender, type, payload), without start and commitment."""
    who, boss = plan.participants, plan.initiator
    some = who[0] if who else boss
    other = next((one for one in who if one != boss), some)
    if plan.mode == DECISION:
        lines: list[Line] = [(some, "Proposal", decision.ProposalPayload(proposal_id="p1", option="o"))]
        lines += [
            (one, "Evaluation", decision.EvaluationPayload(proposal_id="p1", recommendation="APPROVE", confidence=0.9))
            for one in who
            if chance(rng, 0.5)
        ]
        if chance(rng, 0.3):
            lines.append((other, "Objection", decision.ObjectionPayload(proposal_id="p1", severity="critical")))
        return lines + [
            (one, "Vote", decision.VotePayload(proposal_id="p1", vote=rng.choice(VOTES)))
            for one in who
            if chance(rng, 0.8)
        ]
    if plan.mode == PROPOSAL:
        lines = [(some, "Proposal", proposal.ProposalPayload(proposal_id="p1", title="t"))]
        target = "p1"
        if chance(rng, 0.5):
            counter = proposal.CounterProposalPayload(proposal_id="p2", supersedes_proposal_id="p1", title="t")
            lines.append((other, "CounterProposal", counter))
            target = rng.choice(["p1", "p2"])
        if chance(rng, 0.3):
            lines.append((other, "Reject", proposal.RejectPayload(proposal_id=target, terminal=chance(rng, 0.5))))
        return lines + [(one, "Accept", proposal.AcceptPayload(proposal_id=target)) for one in who]
    if plan.mode == TASK:
        named = other if chance(rng, 0.5) else ""
        lines = [(boss, "TaskRequest", task.TaskRequestPayload(task_id="t1", title="t", requested_assignee=named))]
        if chance(rng, 0.3):
            lines.append((rng.choice(who or [boss]), "TaskReject", task.TaskRejectPayload(task_id="t1")))
        lines.append((other, "TaskAccept", task.TaskAcceptPayload(task_id="t1")))
        if chance(rng, 0.3):
            lines.append((other, "TaskReject", task.TaskRejectPayload(task_id="t1")))
            lines.append((some, "TaskAccept", task.TaskAcceptPayload(task_id="t1")))
        lines.append((other, "TaskUpdate", task.TaskUpdatePayload(task_id="t1", progress=0.5)))
        done = task.TaskCompletePayload(task_id="t1", output=rng.choice([b"", b"out"]))
        failed = task.TaskFailPayload(task_id="t1", error_code="E")
        return [*lines, rng.choice([(other, "TaskComplete", done), (other, "TaskFail", failed)])]
    if plan.mode == HANDOFF:
        lines = []
        for number, target in enumerate(rng.sample(who, len(who)), start=1):
            name = f"h{number}"
            lines.append(
                (boss, "HandoffOffer", handoff.HandoffOfferPayload(handoff_id=name, target_participant=target))
            )
            if chance(rng, 0.4):
                lines.append((boss, "HandoffContext", handoff.HandoffContextPayload(handoff_id=name, context=b"c")))
            accept = (target, "HandoffAccept", handoff.HandoffAcceptPayload(handoff_id=name))
            decline = (target, "HandoffDecline", handoff.HandoffDeclinePayload(handoff_id=name))
            lines.append(rng.choice([accept, decline]))
        return lines
    if plan.mode == QUORUM:
        needed = rng.randint(1, max(1, len(who)))
        request = quorum.ApprovalRequestPayload(request_id="q1", action="a", required_approvals=needed)
        ballots = [quorum.ApprovePayload, quorum.ApprovePayload, quorum.RejectPayload, quorum.AbstainPayload]
        lines = [(boss, "ApprovalRequest", request)]
        for one in who:
            ballot = rng.choice(ballots)
            lines.append((one, ballot.DESCRIPTOR.name.removesuffix("Payload"), ballot(request_id="q1")))
        return lines
    if plan.mode == MULTI_ROUND:
        value = multi_round.ContributePayload(value="red")
        first = [(one, "Contribute", multi_round.ContributePayload(value=rng.choice(["red", "blue"]))) for one in who]
        return first + [(one, "Contribute", value) for one in who]
    return [(one, rng.choice(["Note", "Tick"]), Bytes(b"note")) for one in who or [boss]]


# --- envelopes and steps --------------------------------------------------------------------------------------------


class Builder:
    """Makes one plan."""

    def __init__(self, seed: int, number: int, now_ms: int, policies: dict[str, list[str]]) -> None:
        self.rng = rng = random.Random(f"{seed}/{number}")
        self.now_ms = now_ms
        mode = MODES[number % len(MODES)]
        initiator = pick(rng, AGENTS, [LIMITED, NO_START, OBSERVER], 0.06)
        roster = rng.sample(AGENTS, rng.choice([1, 2, 2, 3, 3, 4]))
        if mode == HANDOFF and len(roster) < 2:
            roster = rng.sample(AGENTS, 3)
        if (mode == HANDOFF or chance(rng, 0.5)) and initiator in AGENTS and initiator not in roster:
            roster.append(initiator)
        if mode in (DECISION, NOTES) and chance(rng, 0.05):
            roster = []
        policy = rng.choice(["", "policy.default", *policies.get(mode, [])])
        identity = uuid.UUID(int=rng.getrandbits(128), version=4)
        self.plan = Plan(
            seed=seed,
            number=number,
            mode=mode,
            session_id=str(identity),
            initiator=initiator,
            participants=roster,
            policy=policy,
            binding="http" if chance(rng, 0.25) else "grpc",
        )
        self.sent: list[envelope_pb2.Envelope] = []
        self.counter = 0

    def identifier(self) -> str:
        self.counter += 1
        return f"m{self.counter}"

    def envelope(self, kind: str, payload: bytes) -> envelope_pb2.Envelope:
        return envelope_pb2.Envelope(
            macp_version="1.0",
            mode=self.plan.mode,
            message_type=kind,
            message_id=self.identifier(),
            session_id=self.plan.session_id,
            timestamp_unix_ms=self.now_ms + self.counter,
            payload=payload,
        )

    def step(self, caller: str, envelope: envelope_pb2.Envelope, note: str = "") -> None:
        if not note and not envelope.sender and chance(self.rng, 0.5):
            envelope.sender = caller
        self.sent.append(envelope)
        self.plan.steps.append(Step("send", caller, envelope, note))

    def sender(self, kind: str) -> str:
        rng, plan = self.rng, self.plan
        if chance(rng, 0.08):
            return rng.choice([OUTSIDER, OBSERVER, LIMITED, ADMIN, *AGENTS])
        if kind == "Commitment":
            return pick(rng, [plan.initiator], plan.participants or [OUTSIDER], 0.2)
        if kind in INITIATOR_ONLY and chance(rng, 0.85):
            return plan.initiator
        return rng.choice(plan.participants or [plan.initiator])

    # The start.

    def start(self) -> None:
        rng, plan = self.rng, self.plan
        payload = core_pb2.SessionStartPayload(
            intent=rng.choice(["", "compare"]),
            participants=plan.participants,
            mode_version=VERSIONS[plan.mode],
            configuration_version="cfg",
            policy_version=plan.policy,
            ttl_ms=3_600_000,
            context_id=rng.choice(["", "ctx-\u00e9"]),
        )
        if chance(rng, 0.2):
            payload.extensions["org.example.b"] = b"\x00"
            payload.extensions["org.example.a"] = b"x"
            payload.roots.add(uri="file:///r", name="r")
        if chance(rng, 0.1):
            payload.max_suspend_ms = 3_600_000
        envelope = self.envelope("SessionStart", b"")
        note = self.spoil_start(payload, envelope) if chance(rng, 0.16) else ""
        if not envelope.payload:
            envelope.payload = payload.SerializeToString() if note != "empty payload" else b""
        if chance(rng, 0.05) and not note:
            envelope.timestamp_unix_ms = self.now_ms - PAST_MS
            payload.ttl_ms, plan.overdue = 60_000, True
            envelope.payload, note = payload.SerializeToString(), "already past its deadline"
        elif chance(rng, 0.05):
            envelope.timestamp_unix_ms = 0
        plan.base_ms = envelope.timestamp_unix_ms
        self.step(plan.initiator, envelope, note)
        if note and note != "already past its deadline" and chance(rng, 0.7):
            # A second try under the same session id, without the mistake.
            payload = core_pb2.SessionStartPayload(
                participants=plan.participants,
                mode_version=VERSIONS[plan.mode],
                configuration_version="cfg",
                policy_version=plan.policy,
                ttl_ms=3_600_000,
            )
            again = self.envelope("SessionStart", payload.SerializeToString())
            if plan.base_ms:
                plan.base_ms = again.timestamp_unix_ms
            self.step(plan.initiator, again, "second try")

    def spoil_start(self, payload: core_pb2.SessionStartPayload, envelope: envelope_pb2.Envelope) -> str:
        """Make one mistake; what it is."""
        rng, plan = self.rng, self.plan

        def names(*values: str) -> None:
            del payload.participants[:]
            payload.participants.extend(values)

        def put(**fields: Any) -> Callable[[], None]:
            return lambda: [setattr(payload, name, value) for name, value in fields.items()] and None

        def session_id(value: str) -> Callable[[], None]:
            return lambda: setattr(envelope, "session_id", value)

        mistakes: dict[str, Callable[[], None]] = {
            "ttl 0": put(ttl_ms=0),
            "negative ttl": put(ttl_ms=-5),
            "ttl above a day": put(ttl_ms=86_400_001),
            "no mode_version": put(mode_version=""),
            "blank mode_version": put(mode_version=" "),
            "other mode_version": put(mode_version="1.0.1"),
            "no configuration_version": put(configuration_version=""),
            "blank configuration_version": put(configuration_version="\t"),
            "no participants": lambda: names(),
            "participant twice": lambda: names("agent://ada", "agent://ada"),
            "participant twice after trimming": lambda: names("agent://ada", " agent://ada"),
            "blank participant": lambda: names("agent://ada", " "),
            "participant with spaces": lambda: names("agent://ada", " agent://ben "),
            "1001 participants": lambda: names(*(f"agent://{one}" for one in range(1001))),
            "1000 participants": lambda: names(*(f"agent://{one}" for one in range(1000))),
            "only the initiator": lambda: names(plan.initiator),
            "unknown policy": put(policy_version="policy.unknown"),
            "reserved policy that is not there": put(policy_version="policy.std.none"),
            "policy of the Decision mode": put(policy_version="policy.std.majority"),
            "negative pause": put(max_suspend_ms=-1),
            "empty payload": lambda: None,
            "garbage payload": lambda: setattr(envelope, "payload", b"\xff\xff\xff"),
            "short id": session_id("s1"),
            "id of 22": session_id(f"Ab_-{plan.number:018d}"),
            "id of 21": session_id(f"Ab_-{plan.number:017d}"),
            "id of 128": session_id(f"{plan.number:0128d}"),
            "id of 129": session_id(f"{plan.number:0129d}"),
            "id with a slash": session_id(f"../{plan.number:020d}"),
            "upper-case UUID": session_id(plan.session_id.upper()),
            "UUID v1": session_id(f"c232ab00-9414-11ec-b3c8-{plan.number:012x}"),
            "UUID v7": session_id(f"01980000-0000-7000-8000-{plan.number:012x}"),
            "UUID without dashes": session_id(f"{plan.number:032x}"),
            "unknown mode": lambda: setattr(envelope, "mode", "macp.mode.unknown.v1"),
            "blank mode": lambda: setattr(envelope, "mode", " "),
            "too large": lambda: setattr(payload, "intent", "x" * (MAX_PAYLOAD + 1)),
            "other protocol version": lambda: setattr(envelope, "macp_version", "2.0"),
        }
        note = rng.choice(list(mistakes))
        mistakes[note]()
        if envelope.session_id != plan.session_id and len(envelope.session_id) > 21:
            # Where the odd id is legal the session goes on under it.
            plan.session_id = envelope.session_id
        return note

    # Later messages.

    def message(self, made: Made, caller: str) -> None:
        kind, payload = made
        envelope = self.envelope(kind, payload.SerializeToString())
        if chance(self.rng, 0.07):
            self.step(*self.spoil(caller, envelope))
        else:
            self.step(caller, envelope)

    def spoil(self, caller: str, envelope: envelope_pb2.Envelope) -> tuple[str, envelope_pb2.Envelope, str]:
        """Make one mistake in an envelope; what it is."""
        rng = self.rng

        def put(**fields: Any) -> Callable[[], None]:
            return lambda: [setattr(envelope, name, value) for name, value in fields.items()] and None

        mistakes: dict[str, Callable[[], None]] = {
            "other protocol version": put(macp_version="1.1"),
            "no protocol version": put(macp_version=""),
            "no message id": put(message_id=""),
            "no message type": put(message_type=""),
            "reserved message id": put(message_id="implicit-accept:h1"),
            "reserved message id in capitals": put(message_id="Implicit-Accept:h1"),
            "other mode": put(mode=rng.choice(MODES)),
            "unknown mode": put(mode="ext.nothing.v1"),
            "no mode": put(mode=""),
            "unknown session": put(session_id="00000000-0000-4000-8000-000000000000"),
            "no session": put(session_id=""),
            "garbage": put(payload=b"\xff\x01garbage"),
            "empty": put(payload=b""),
            "unknown field": put(payload=envelope.payload + b"\xfa\x3f\x03new"),
            "not UTF-8": put(payload=b"\x0a\x02\xc3\x28"),
            "too large": put(payload=b"\x0a" + bytes([0x81, 0x80, 0x01]) + b"x" * 16_385),
            "as large as may be": put(payload=b"\xfa\x3f" + bytes([0xFB, 0x7F]) + b"x" * (MAX_PAYLOAD - 5)),
            "spoofed sender": put(sender=OUTSIDER if caller != OUTSIDER else "agent://ada"),
            "Signal in a session": put(message_type="Signal"),
            "Progress in a session": put(
                message_type="Progress",
                payload=core_pb2.ProgressPayload(progress_token="t", progress=0.5).SerializeToString(),
            ),
            "SessionCancel by a client": put(message_type="SessionCancel"),
            "SessionSuspend by a client": put(message_type="SessionSuspend"),
            "SessionResume by a client": put(message_type="SessionResume"),
            "unknown type": put(message_type="Whatever"),
            "type in lower case": put(message_type=envelope.message_type.lower()),
            "type of another mode": put(message_type=rng.choice(["Vote", "Accept", "TaskUpdate", "Approve"])),
        }
        credentials = {"unknown credential": NOBODY, "no credential": ANONYMOUS}
        note = rng.choice([*mistakes, *credentials])
        if note in credentials:
            return credentials[note], envelope, note
        mistakes[note]()
        return caller, envelope, note

    def repeat(self) -> None:
        """An envelope once more: as it was, by somebody else, or with other content."""
        rng = self.rng
        again = envelope_pb2.Envelope()
        again.CopyFrom(rng.choice(self.sent))
        if len(again.payload) > MAX_PAYLOAD:
            return
        caller = self.sender(again.message_type)
        how = rng.choice(["as it was", "other payload", "other type"])
        again.sender = ""
        if how == "other payload":
            again.payload = b"other"
        elif how == "other type":
            again.message_type = "Vote"
        self.step(caller, again, f"repeated, {how}")

    def ambient(self) -> None:
        rng = self.rng
        signal = core_pb2.SignalPayload(signal_type=pick(rng, ["diff"], ["", " "], 0.3), data=b"d").SerializeToString()
        progress = core_pb2.ProgressPayload(progress_token="t", progress=0.1, total=1.0).SerializeToString()
        kind, payload = rng.choice([("Signal", signal), ("Signal", b""), ("Signal", b"\xff"), ("Progress", progress)])
        envelope = self.envelope(kind, payload)
        envelope.session_id, envelope.mode = "", ""
        self.plan.steps.append(Step("send", rng.choice([*AGENTS, LIMITED, NOBODY]), envelope, "ambient"))

    def control(self) -> None:
        rng, plan = self.rng, self.plan
        call = rng.choice(["suspend", "suspend", "resume", "resume", "resume", "cancel"])
        caller = pick(rng, [plan.initiator], [*AGENTS, OUTSIDER, OBSERVER, NOBODY], 0.25)
        plan.paused |= call == "resume"
        plan.steps.append(Step(call, caller))
        if call == "suspend" and chance(rng, 0.7):
            plan.steps.append(Step("resume", plan.initiator))
            plan.paused = True

    def look(self) -> None:
        plan = self.plan
        others = [OUTSIDER, OBSERVER, LIMITED, NOBODY, ANONYMOUS, *AGENTS]
        plan.steps.append(Step("get", pick(self.rng, [plan.initiator], others, 0.4)))

    def stream(self) -> None:
        """A stream with a few frames, some of them wrong, closed by the client."""
        rng, plan = self.rng, self.plan
        caller = pick(rng, [plan.initiator, *plan.participants], [OUTSIDER, OBSERVER, NOBODY], 0.15)
        frames = []
        for _ in range(rng.choice([1, 1, 2, 3, 4])):
            frame = core_pb2.StreamSessionRequest()
            kind = pick(
                rng, ["subscribe", "envelope", "envelope"], ["both", "neither", "ambient", "other session"], 0.1
            )
            if kind in ("subscribe", "both"):
                frame.subscribe_session_id = plan.session_id
                frame.after_sequence = rng.choice([0, 0, 1, 3, 50])
            if kind in ("envelope", "both"):
                made = rng.choice([MESSAGES[plan.mode], commitment])(rng, plan)
                envelope = self.envelope(made[0], made[1].SerializeToString())
                if chance(rng, 0.15):
                    _, envelope, _ = self.spoil(caller, envelope)
                frame.envelope.CopyFrom(envelope)
            elif kind == "ambient":
                frame.envelope.CopyFrom(
                    envelope_pb2.Envelope(macp_version="1.0", message_type="Signal", message_id="s")
                )
            elif kind == "other session":
                frame.subscribe_session_id = "00000000-0000-4000-8000-000000000000"
            frames.append(frame)
        plan.steps.append(Step("stream", caller, frames=frames))

    def noise(self) -> None:
        rng = self.rng
        kind = rng.random()
        if kind < 0.2:
            self.repeat()
        elif kind < 0.3:
            self.ambient()
        elif kind < 0.42:
            self.control()
        elif kind < 0.55:
            self.look()
        elif kind < 0.65:
            self.message(commitment(rng, self.plan), self.sender("Commitment"))
        else:
            made = MESSAGES[self.plan.mode](rng, self.plan)
            self.message(made, self.sender(made[0]))

    def build(self) -> Plan:
        rng, plan = self.rng, self.plan
        if chance(rng, 0.03):
            self.message(MESSAGES[plan.mode](rng, plan), rng.choice(AGENTS))
        self.start()
        if chance(rng, 0.6):
            for sender, kind, payload in script(rng, plan):
                while chance(rng, 0.25):
                    self.noise()
                if not chance(rng, 0.06):
                    self.message((kind, payload), sender)
                if plan.policy == IMPLICIT and kind == "HandoffOffer":
                    plan.steps.append(Step("wait", ms=IMPLICIT_MS + 15))
        else:
            for _ in range(rng.randint(3, 14)):
                self.noise()
        if chance(rng, 0.3) and plan.policy != IMPLICIT:
            self.stream()
        for _ in range(rng.choice([0, 1, 2, 3])):
            self.message(commitment(rng, plan), self.sender("Commitment"))
        for _ in range(rng.choice([0, 0, 1, 2])):
            self.noise()
        if chance(rng, 0.1) and plan.policy != IMPLICIT:
            self.stream()
        if plan.policy == IMPLICIT:
            # Whether the time is up must not depend on how fast a server answers.
            apart = [one for step in plan.steps for one in (step, Step("wait", ms=IMPLICIT_MS + 15))]
            plan.steps = apart
        plan.steps.append(Step("get", plan.initiator))
        return plan


def make_plan(seed: int, number: int, now_ms: int, policies: dict[str, list[str]]) -> Plan:
    """The plan of one session."""
    return Builder(seed, number, now_ms, policies).build()


# --- policies -------------------------------------------------------------------------------------------------------

IMPLICIT, IMPLICIT_MS = "policy.diff.implicit", 20


def rules_for(rng: random.Random, mode: str) -> dict[str, Any]:
    """Rules that are mostly admissible."""

    def some(**members: Any) -> dict[str, Any]:
        return {name: value for name, value in members.items() if chance(rng, 0.6)}

    authority = pick(rng, ["initiator_only", "any_participant", "designated_role"], ["anyone", ""])
    commit: dict[str, Any] = {"authority": authority}
    if authority == "designated_role" and not chance(rng, 0.05):
        commit["designated_roles"] = rng.sample(AGENTS, 2)
    if mode == DECISION:
        algorithm = pick(
            rng, ["none", "majority", "supermajority", "unanimous", "weighted", "plurality"], ["ranked", "Majority"]
        )
        voting: dict[str, Any] = {"algorithm": algorithm}
        if algorithm == "supermajority" or chance(rng, 0.4):
            voting["threshold"] = pick(rng, [0.5, 0.6, 2 / 3, 1, 1.0], [0, -0.1, 1.01, 0.4, "0.5"], 0.15)
        if algorithm == "weighted" or chance(rng, 0.1):
            voting["weights"] = pick(
                rng, [{AGENTS[0]: 2, AGENTS[1]: 1.5, AGENTS[2]: 1}], [{}, {AGENTS[0]: 0}, {AGENTS[0]: -1}, []], 0.15
            )
        if chance(rng, 0.5):
            voting["quorum"] = pick(
                rng,
                [{"type": "count", "value": 2}, {"type": "percentage", "value": 60}, {"value": 1}],
                [{"type": "n_of_m"}, {"value": -1}, {"value": "2"}],
                0.15,
            )
        rules: dict[str, Any] = {"voting": voting}
        if chance(rng, 0.4):
            rules["objection_handling"] = some(
                critical_severity_vetoes=True,
                veto_threshold=pick(rng, [1, 2], [0, -1, 1.5, 1.0, "1"], 0.2),
                critical_objection_action=pick(rng, ["deny", "finalize_decline", "hold"], ["ignore"]),
            )
        if chance(rng, 0.3):
            rules["evaluation"] = some(
                minimum_confidence=pick(rng, [0, 0.5, 0.9], [1.1, -1]), required_before_voting=True
            )
        commit |= some(require_vote_quorum=chance(rng, 0.6), allow_decline_over_approval=chance(rng, 0.5))
    elif mode == PROPOSAL:
        rules = some(
            acceptance={"criterion": pick(rng, ["all_parties", "counterparty", "initiator"], ["first"])},
            counter_proposal={"max_rounds": pick(rng, [0, 1, 2], [-1, 0.5, 1.0, "1"], 0.15)},
            rejection={"terminal_on_any_reject": chance(rng, 0.5)},
        )
    elif mode == TASK:
        rules = some(
            assignment={"allow_reassignment_on_reject": chance(rng, 0.6)},
            completion={"require_output": pick(rng, [True, False], ["yes", 1])},
        )
    elif mode == HANDOFF:
        rules = some(acceptance={"implicit_accept_timeout_ms": pick(rng, [0, 86_400_000], [-1, 1.5, 5000.0], 0.15)})
    elif mode == QUORUM:
        rules = some(
            threshold={
                "type": pick(rng, ["n_of_m", "percentage"], ["weighted", "count"]),
                "value": pick(rng, [1, 2, 3, 50, 67, 75.0], [0, -1, 2.5, 101, "2"], 0.1),
            },
            abstention=some(
                counts_toward_quorum=True,
                interpretation=pick(rng, ["neutral", "implicit_reject", "ignored"], ["approve"]),
            ),
        )
    else:
        rules = some(anything=[1, {"at": "all"}])
    if chance(rng, 0.7):
        rules["commitment"] = commit
    if chance(rng, 0.06):
        rules[rng.choice(["_note", "$comment", "x-org.vendor", "x-vendor", "unknown", "audit"])] = rng.choice([{}, 1])
    if rules and chance(rng, 0.05):
        rules[rng.choice(list(rules))] = rng.choice([None, [], 5, "x", {"unknown": 1}, {"_note": 1}])
    return rules


def make_policies(seed: int, count: int) -> list[policy_pb2.PolicyDescriptor]:
    """Descriptors to register, good and bad."""
    rng = random.Random(f"{seed}/policies")
    made = [
        policy_pb2.PolicyDescriptor(
            policy_id=IMPLICIT,
            mode=HANDOFF,
            rules=json.dumps({"acceptance": {"implicit_accept_timeout_ms": IMPLICIT_MS}}),
            schema_version=1,
        )
    ]
    for number in range(count):
        mode = rng.choice([DECISION, DECISION, DECISION, PROPOSAL, TASK, HANDOFF, QUORUM, QUORUM, "*", NOTES])
        rules = rules_for(rng, rng.choice([DECISION, PROPOSAL, TASK, QUORUM]) if mode == "*" else mode)
        text = json.dumps(rules)
        if chance(rng, 0.06):
            text = rng.choice(["", "{", "[]", "null", "5", '{"voting":{},"voting":{}}', text + " ", "\ufeff{}"])
        names = ["policy.default", "policy.std.majority", "policy.std.mine", "", " ", "policy.diff.implicit"]
        made.append(
            policy_pb2.PolicyDescriptor(
                policy_id=pick(rng, [f"policy.diff.{number}"], names, 0.04),
                mode=pick(rng, [mode], ["", "unknown.mode"], 0.03),
                description="generated",
                rules=text,
                schema_version=pick(rng, [1, 2, 3, 3], [0, 4, 4_000_000_000], 0.05),
            )
        )
    return made


# --- modes ----------------------------------------------------------------------------------------------------------


def make_modes(seed: int, count: int) -> list[tuple[str, Any]]:
    """Calls on the registry of modes: ("register", descriptor), ("unregister", id), ("promote", (id, name))."""
    rng = random.Random(f"{seed}/modes")

    def descriptor(name: str, version: str, messages: list[str], terminal: list[str]) -> core_pb2.ModeDescriptor:
        return core_pb2.ModeDescriptor(
            mode=name,
            mode_version=version,
            title="t",
            description="d",
            determinism_class="structural-only",
            participant_model="declared",
            message_types=messages,
            terminal_message_types=terminal,
            schema_uris={"docs": "https://modes.example/docs"},
        )

    usual = ["SessionStart", "Note", "Tick", "Commitment"]
    calls: list[tuple[str, Any]] = [
        ("register", descriptor(NOTES, VERSIONS[NOTES], usual, ["Commitment"])),
        ("register", descriptor("ext.diff.raw.v1", VERSIONS[PROMOTED], usual, ["Commitment"])),
        ("promote", ("ext.diff.raw.v1", PROMOTED)),
    ]
    pool = ["ext.a.v1", "ext.b.v1", "ext.c.v1"]
    rare = ["", " ", "macp.mode.x.v1", DECISION, MULTI_ROUND, "macp.mode.", "Macp.Mode.x", PROMOTED]
    for _ in range(count):
        name = pick(rng, pool, rare, 0.2)
        kind = rng.choice(["register", "register", "unregister", "promote"])
        if kind == "register":
            messages = pick(rng, [usual, ["Commitment"]], [[], ["Note"], ["commitment"]], 0.15)
            terminal = pick(
                rng, [["Commitment"]], [[], ["Note"], ["Commitment", "Note"], ["Commitment", "Commitment"]], 0.15
            )
            version = pick(rng, ["1.0.0"], ["", " "], 0.1)
            calls.append((kind, descriptor(name, version, messages, terminal)))
        elif kind == "unregister":
            calls.append((kind, name))
        else:
            target = pick(
                rng, ["", name, f"std.{rng.randint(0, 3)}.v1"], ["macp.mode.y.v1", " ", DECISION, MULTI_ROUND], 0.2
            )
            # The modes that sessions use later stay what they are.
            if name != MULTI_ROUND:
                calls.append((kind, (name, target)))
    return calls


def as_json(envelope: envelope_pb2.Envelope) -> dict[str, Any]:
    """An envelope for the HTTP binding, its payload in base64."""
    time_of = datetime.datetime.fromtimestamp(envelope.timestamp_unix_ms / 1000, datetime.UTC)
    stamp = {"timestamp": time_of.isoformat(timespec="milliseconds")} if envelope.timestamp_unix_ms else {}
    return {
        **stamp,
        "macp_version": envelope.macp_version,
        "mode": envelope.mode,
        "message_type": envelope.message_type,
        "message_id": envelope.message_id,
        "session_id": envelope.session_id,
        "sender": envelope.sender,
        "payload_b64": base64.b64encode(envelope.payload).decode(),
    }
