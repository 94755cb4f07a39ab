"""The same generated traffic to the gateway and to the reference server; every difference must be a documented one.

Usage: e2e/differential.py [--sessions N] [--seed S] [--only NUMBER] [--policies N] [--modes N] [--verbose]

First both servers get the same calls on their registries of modes and policies, then N sessions (default 1500), most of
them over gRPC and a quarter over HTTP. Compared are every Ack or status, the metadata of GetSession, the listings, and
each session's accepted history, replayed over gRPC and as server-sent events. Clocks and the words of messages are
not compared.

A difference passes when a row of ALLOWED explains it; each row is described in docs/compatibility.md under the same
name. `--only` repeats one session and prints all of it. `--verbose` counts every kind of answer.
"""

from __future__ import annotations

import argparse
import base64
import datetime
import http.client
import json
import math
import random
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
from checks import record
from gateway import REPOSITORY, Gateway, reference
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError
from macp.modes.decision.v1 import decision_pb2
from macp.v1 import core_pb2, core_pb2_grpc, envelope_pb2, policy_pb2
from traffic import (
    ADMIN,
    AGENTS,
    ANONYMOUS,
    DECISION,
    IMPLICIT,
    LIMITED,
    MAX_PAYLOAD,
    MODES,
    NOBODY,
    NOTES,
    OBSERVER,
    OUTSIDER,
    TOKENS,
    Plan,
    Step,
    as_json,
    make_modes,
    make_plan,
    make_policies,
    rules_for,
)

CALL_WITHIN = 20.0
WORKERS = 4
UNEXPECTED_SHOWN = 20

SETTINGS = {
    "MACP_ALLOW_INSECURE": "1",
    "MACP_MEMORY_ONLY": "1",
    "MACP_AUTH_TOKENS_JSON": json.dumps(TOKENS),
    "MACP_SESSION_START_LIMIT_PER_MINUTE": "10000000",
    "MACP_MESSAGE_LIMIT_PER_MINUTE": "10000000",
    "MACP_MAX_PAYLOAD_BYTES": str(MAX_PAYLOAD),
    "MACP_LIST_SESSIONS_MAX_PAGE_SIZE": "1000",
    "RUST_LOG": "error",
}
# The reference server lists every session to everybody; the gateway does so when told.
OURS = {"MACP_SESSION_VISIBILITY": "all"}

STATES = {number: name.removeprefix("SESSION_STATE_") for name, number in envelope_pb2.SessionState.items()}

View = dict[str, Any]


# --- one server -----------------------------------------------------------------------------------------------------


class Server:
    """A connection to one server; every answer becomes a View without clocks and wording."""

    def __init__(self, gateway: Gateway) -> None:
        options = [("grpc.use_local_subchannel_pool", 1)]
        self.channel = grpc.insecure_channel(gateway.grpc, options=options)
        self.stub = core_pb2_grpc.MACPRuntimeServiceStub(self.channel)
        self.http = http.client.HTTPConnection(gateway.http, timeout=CALL_WITHIN)

    def close(self) -> None:
        self.channel.close()
        self.http.close()

    def begin(self, name: str, request: Any, caller: str) -> Callable[[], View]:
        """Start a call over gRPC; the function waits for its answer."""
        metadata = [("authorization", f"Bearer tok-{caller}")] if caller != ANONYMOUS else []
        future = getattr(self.stub, name).future(request, metadata=metadata, timeout=CALL_WITHIN)

        def finish() -> View:
            try:
                return {"message": future.result()}
            except grpc.RpcError as failure:
                return status_of(failure)

        return finish

    def call(self, name: str, request: Any, caller: str) -> View:
        return self.begin(name, request, caller)()

    def post(self, name: str, body: Any, caller: str) -> tuple[http.client.HTTPResponse, bytes]:
        headers = {"Content-Type": "application/json"}
        if caller != ANONYMOUS:
            headers["Authorization"] = f"Bearer tok-{caller}"
        self.http.request("POST", f"/macp/v1/{name}", json.dumps(body), headers)
        answer = self.http.getresponse()
        text = answer.read()
        if answer.status != 200:
            # A server may close a connection whose request it answered without reading it to the end.
            self.http.close()
        return answer, text

    def post_json(self, name: str, body: Any, caller: str) -> View:
        answer, text = self.post(name, body, caller)
        return {
            "status": answer.status,
            "code": answer.headers.get("MACP-Error-Code"),
            "body": json.loads(text or b"{}"),
        }

    def stream(self, frames: list[core_pb2.StreamSessionRequest], plan: Plan, caller: str) -> View:
        """Send frames, half-close, and read what comes until the server ends the stream."""
        metadata = [("authorization", f"Bearer tok-{caller}")] if caller != ANONYMOUS else []
        view: View = {"envelopes": [], "errors": []}
        try:
            for response in self.stub.StreamSession(iter(frames), metadata=metadata, timeout=CALL_WITHIN):
                if response.HasField("error"):
                    view["errors"].append(error_of(response.error))
                else:
                    view["envelopes"].append(envelope_view(response.envelope, plan))
        except grpc.RpcError as failure:
            view |= status_of(failure)
        return view


def status_of(failure: grpc.RpcError) -> View:
    trailers = {name: value for name, value in failure.trailing_metadata() or ()}
    view = {"status": failure.code().name, "code": trailers.get("macp-error-code", "")}
    if details := trailers.get("macp-error-details-bin"):
        view["details"] = details_of(details)
    return view


def details_of(details: bytes) -> Any:
    """Structured details without their wording."""
    if not details:
        return None
    parsed = json.loads(details)
    if set(parsed) == {"reasons", "denials"}:
        return {
            "reasons": len(parsed["reasons"]),
            "denials": [[one["code"], one.get("participants", [])] for one in parsed["denials"]],
        }
    return parsed


def error_of(error: envelope_pb2.MACPError) -> View:
    view = {"code": error.code, "session_id": error.session_id, "message_id": error.message_id}
    return {**view, "details": details_of(error.details)}


def ack_view(ack: envelope_pb2.Ack) -> View:
    view = {
        "ok": ack.ok,
        "duplicate": ack.duplicate,
        "message_id": ack.message_id,
        "session_id": ack.session_id,
        "state": STATES[ack.session_state],
        "dated": ack.accepted_at_unix_ms != 0,
    }
    if ack.HasField("error"):
        view["error"] = error_of(ack.error)
    return view


def ack_from_json(ack: View) -> View:
    view = {
        "ok": ack["ok"],
        "duplicate": ack["duplicate"],
        "message_id": ack["message_id"],
        "session_id": ack["session_id"],
        "state": ack["session_state"].removeprefix("SESSION_STATE_"),
        "dated": ack["accepted_at_unix_ms"] != 0,
        "members": sorted(ack),
    }
    if "error" in ack:
        error = ack["error"]
        view["error"] = {
            **{name: error[name] for name in ("code", "session_id", "message_id")},
            "details": details_of(base64.b64decode(error["details"])),
            "members": sorted(error),
        }
    return view


def metadata_view(one: core_pb2.SessionMetadata, plan: Plan | None) -> View:
    view = {
        "session_id": one.session_id,
        "mode": one.mode,
        "state": STATES[one.state],
        "versions": [one.mode_version, one.configuration_version, one.policy_version],
        "participants": list(one.participants),
        "activity": {each.participant_id: each.message_count for each in one.participant_activity},
        "initiator": one.initiator,
        "context_id": one.context_id,
        # The reference server's order changes from answer to answer.
        "extension_keys": sorted(one.extension_keys),
        "started": one.started_at_unix_ms != 0,
    }
    if plan and plan.base_ms and not plan.paused:
        view["expires_at"] = one.expires_at_unix_ms
    return view


def stamp(value: Any, plan: Plan) -> Any:
    """A timestamp, unless it is none of the client's own."""
    sent = {step.envelope.timestamp_unix_ms for step in plan.steps if step.envelope}
    sent |= {frame.envelope.timestamp_unix_ms for step in plan.steps for frame in step.frames}
    if isinstance(value, str):
        value = round(datetime.datetime.fromisoformat(value).timestamp() * 1000)
    return value if value in sent or value == 0 else "the server's"


def envelope_view(one: envelope_pb2.Envelope, plan: Plan) -> View:
    return {
        "version": one.macp_version,
        "mode": one.mode,
        "type": one.message_type,
        "message_id": one.message_id,
        "session_id": one.session_id,
        "sender": one.sender,
        "timestamp": stamp(one.timestamp_unix_ms, plan),
        "payload": one.payload.hex(),
    }


# --- differences ----------------------------------------------------------------------------------------------------


@dataclass
class Difference:
    """One place where the answers to one step differ."""

    plan: Plan | None
    step: Step
    where: str
    theirs: Any
    ours: Any
    views: tuple[View, View] = field(repr=False, default_factory=lambda: ({}, {}))
    request: Any = None
    overdue: frozenset[str] = frozenset()

    @property
    def kind(self) -> str:
        return self.step.envelope.message_type if self.step.envelope else ""

    @property
    def note(self) -> str:
        return self.step.note

    def refused_by_both(self) -> bool:
        acks = [view.get("ack") for view in self.views]
        return all(ack is not None and not ack["ok"] for ack in acks)


def differences(theirs: Any, ours: Any, where: str = "") -> Iterator[tuple[str, Any, Any]]:
    """The innermost places where two answers differ."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for name in [*theirs, *(name for name in ours if name not in theirs)]:
            yield from differences(theirs.get(name), ours.get(name), f"{where}.{name}" if where else name)
    elif isinstance(theirs, list) and isinstance(ours, list) and len(theirs) == len(ours):
        for number, (one, other) in enumerate(zip(theirs, ours, strict=True)):
            yield from differences(one, other, f"{where}[{number}]")
    elif theirs != ours or type(theirs) is not type(ours):
        yield where, theirs, ours


Rule = Callable[[Difference], bool]

ALLOWED: dict[str, Rule] = {}


def explains(name: str) -> Callable[[Rule], Rule]:
    """Register a rule under the name of its row in docs/compatibility.md."""

    def add(rule: Rule) -> Rule:
        ALLOWED[name] = rule
        return rule

    return add


@explains("refusal-time")
def _(one: Difference) -> bool:
    return one.where == "ack.dated" and one.refused_by_both() and (one.theirs, one.ours) == (True, False)


@explains("refusal-state")
def _(one: Difference) -> bool:
    return one.where == "ack.state" and one.refused_by_both() and one.theirs == "UNSPECIFIED"


@explains("signal-state")
def _(one: Difference) -> bool:
    ambient = one.kind in ("Signal", "Progress")
    return one.where == "ack.state" and ambient and (one.theirs, one.ours) == ("OPEN", "UNSPECIFIED")


@explains("activity-counts-start")
def _(one: Difference) -> bool:
    match = re.fullmatch(r"metadata\.activity\.(.*)", one.where)
    initiator = one.views[1].get("metadata", {}).get("initiator")
    return bool(match) and match[1] == initiator and one.ours == (one.theirs or 0) + 1


@explains("client-lifecycle-types")
def _(one: Difference) -> bool:
    kinds = [one.kind, *(frame.envelope.message_type for frame in one.step.frames)]
    control = not {"SessionCancel", "SessionSuspend", "SessionResume"}.isdisjoint(kinds)
    code = re.fullmatch(r"(ack\.error|stream\.errors\[\d+\])\.code", one.where)
    return control and bool(code) and (one.theirs, one.ours) == ("FORBIDDEN", "INVALID_ENVELOPE")


@explains("prompt-expiry")
def _(one: Difference) -> bool:
    overdue = one.plan.overdue if one.plan else one.overdue.intersection(one.where.split("."))
    return bool(overdue) and one.where.endswith("state") and (one.theirs, one.ours) == ("OPEN", "EXPIRED")


@explains("multi-round-array")
def _(one: Difference) -> bool:
    sent = [one.step.envelope, *(frame.envelope for frame in one.step.frames)]
    array = any(each and each.message_type == "Contribute" and each.payload.startswith(b"[") for each in sent)
    return array and one.where.startswith(("ack.", "stream."))


def shorter(part: View, whole: View) -> bool:
    """Whether one stream delivered what another did, only less of it; which session an error names is another row."""

    def begins(some: list[View], more: list[View]) -> bool:
        return len(some) <= len(more) and all(
            one | anywhere == other | anywhere for one, other in zip(some, more, strict=False)
        )

    anywhere = {"session_id": ""}
    return begins(part["envelopes"], whole["envelopes"]) and begins(part["errors"], whole["errors"])


@explains("nan-confidence")
def _(one: Difference) -> bool:
    if one.kind != "Evaluation" or not one.where.startswith("ack."):
        return False
    return math.isnan(decision_pb2.EvaluationPayload.FromString(one.step.envelope.payload).confidence)


@explains("prompt-implicit-accept")
def _(one: Difference) -> bool:
    if one.where not in ("envelopes", "what_if.entries") or not one.plan or one.plan.policy != IMPLICIT:
        return False
    less = [entry for entry in one.ours if not entry["message_id"].startswith("implicit-accept:")]
    return less == one.theirs


@explains("stream-not-open")
def _(one: Difference) -> bool:
    theirs, ours = (view.get("stream") for view in one.views)
    if not theirs or theirs.get("code") != "INVALID_ENVELOPE" or not shorter(theirs, ours):
        return False
    more = ours["errors"][len(theirs["errors"]) :]
    return any(error["code"] == "SESSION_NOT_OPEN" for error in more)


@explains("stream-shape")
def _(one: Difference) -> bool:
    theirs, ours = (view.get("stream") for view in one.views)
    if not theirs or ours.get("code") != "INVALID_ENVELOPE" or not shorter(ours, theirs):
        return False
    unbound = [frame.envelope for frame in one.step.frames if frame.HasField("envelope")]
    return any(malformed(envelope) for envelope in unbound) or one.step.caller == LIMITED


def malformed(envelope: envelope_pb2.Envelope) -> bool:
    """Whether an envelope is wrong whatever session it belongs to."""
    ambient = envelope.message_type in ("Signal", "Progress")
    complete = envelope.macp_version == "1.0" and envelope.message_id and envelope.message_type
    return not complete or ambient == bool(envelope.session_id and envelope.mode.strip())


@explains("stream-other-mode")
def _(one: Difference) -> bool:
    theirs, ours = (view.get("stream") for view in one.views)
    if not theirs or theirs.get("code") != "INVALID_ENVELOPE" or not shorter(theirs, ours):
        return False
    readers = {one.plan.initiator, *one.plan.participants, OBSERVER}
    others = {f.envelope.message_id for f in one.step.frames if f.envelope.mode != one.plan.mode}
    # A later frame may end the gateway's stream, too.
    inline = ours["errors"][len(theirs["errors"]) :]
    return one.step.caller not in readers and any(error["message_id"] in others for error in inline)


@explains("stream-open-mode")
def _(one: Difference) -> bool:
    if one.where != "stream.envelopes" or one.plan.mode != NOTES:
        return False
    if not any(names_nobody(step.envelope) for step in one.plan.steps if step.envelope):
        return False
    return one.step.caller not in (one.plan.initiator, OBSERVER) and one.ours == []


def names_nobody(envelope: envelope_pb2.Envelope) -> bool:
    """Whether this is the start of a session without participants; a spoilt start differs from its plan."""
    try:
        start = core_pb2.SessionStartPayload.FromString(envelope.payload)
    except DecodeError:
        return False
    return envelope.message_type == "SessionStart" and not start.participants


@explains("stream-progress")
def _(one: Difference) -> bool:
    about = {f.envelope.message_id for f in one.step.frames if f.envelope.message_type == "Progress"}
    if not about:
        return False
    theirs, ours = (view["stream"]["errors"] for view in one.views)
    rest = [error for error in ours if error["message_id"] not in about]
    return one.where == "stream.errors" and len(theirs) == len(rest) < len(ours)


@explains("stream-error-session")
def _(one: Difference) -> bool:
    return re.fullmatch(r"stream\.errors\[\d+\]\.session_id", one.where) is not None


# Differences after which a session is no longer the same on both servers.
PARTING = {"stream-shape", "multi-round-array"}


def taken_by(one: Difference) -> tuple[bool, bool, str]:
    """Whether each server took the policy of a registration or a what-if replay, and the policy's rules."""
    taken = [view.get("ok", "what_if" in view) for view in one.views]
    descriptor = getattr(one.request, "policy_descriptor", None) or getattr(one.request, "candidate", None)
    return (*taken, descriptor.rules) if descriptor else (False, False, "{}")


@explains("policy-text")
def _(one: Difference) -> bool:
    def unique(members: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(members)) != len(members):
            raise ValueError("a key that is there twice")
        return dict(members)

    theirs, ours, rules = taken_by(one)
    try:
        json.loads(rules, object_pairs_hook=unique)
    except ValueError:
        return (theirs, ours) == (True, False)
    return False


@explains("quorum-count-type")
def _(one: Difference) -> bool:
    theirs, ours, rules = taken_by(one)
    return (theirs, ours) == (True, False) and '"type": "count"' in rules and '"threshold"' in rules


@explains("policy-whole-numbers")
def _(one: Difference) -> bool:
    theirs, ours, rules = taken_by(one)
    whole = re.search(r'"(veto_threshold|max_rounds|implicit_accept_timeout_ms)": \d+\.0\b', rules)
    return (theirs, ours) == (False, True) and whole is not None


@explains("default-policy-rules")
def _(one: Difference) -> bool:
    return one.where.startswith("policies.policy.default.rules.")


@explains("policy-registered-at")
def _(one: Difference) -> bool:
    return one.where.endswith(".dated") and one.where.startswith("policies.") and one.ours is True


def undocumented() -> list[str]:
    """Rows of ALLOWED that docs/compatibility.md does not name, and rows there that are not in ALLOWED."""
    text = (REPOSITORY / "docs" / "compatibility.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^\| `([a-z0-9-]+)` \|", text, re.M))
    missing = [f"row {name} is not in docs/compatibility.md" for name in ALLOWED if name not in named]
    return missing + [f"docs/compatibility.md has a row {name} that nothing here uses" for name in named - set(ALLOWED)]


class Report:
    """What was seen, and which differences nothing explains."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.overdue: frozenset[str] = frozenset()
        """Sessions past their deadline at their start."""
        self.parted: set[str] = set()
        """Sessions that a documented difference has taken apart."""
        self.explained: Counter[str] = Counter()
        self.answers: Counter[str] = Counter()
        self.unexpected: Counter[str] = Counter()
        self.examples: dict[str, str] = {}

    def compare(
        self,
        plan: Plan | None,
        step: Step,
        theirs: View,
        ours: View,
        before: Sequence[str] = (),
        request: Any = None,
    ) -> bool:
        """Judge two answers; whether they agree so far that the session can go on."""
        same = True
        for where, one, other in differences(theirs, ours):
            found = Difference(plan, step, where, one, other, (theirs, ours), request, self.overdue)
            row = next((name for name, rule in ALLOWED.items() if rule(found)), None)
            parted = re.fullmatch(r"(ack\.)?(ok|status|ack|duplicate)|stream\.status", where)
            same &= (not parted or row == "stream-not-open") and row not in PARTING
            with self._lock:
                if row:
                    self.explained[row] += 1
                    continue
                sides = f"reference {short(one)}, gateway {short(other)}"
                kind = f"{where}: {sides}, on {short(found.kind or step.call)} {found.note}"
                self.unexpected[kind] += 1
                self.examples.setdefault(kind, self._describe(plan, step, found, before))
        return same

    def _describe(self, plan: Plan | None, step: Step, found: Difference, before: Sequence[str]) -> str:
        lines = [f"{found.where}: reference {short(found.theirs)}, gateway {short(found.ours)}"]
        if plan:
            lines.append(
                f"  session {plan.number} ({plan.mode} over {plan.binding}, policy {plan.policy or 'none'}, initiator"
                f" {plan.initiator}, participants {plan.participants});"
                f" repeat with --seed {plan.seed} --only {plan.number}"
            )
            lines += [f"    {one}" for one in before[-6:]]
        lines.append(f"  > {step}")
        return "\n".join(lines)

    def saw(self, what: str) -> None:
        with self._lock:
            self.answers[what] += 1


def short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 160 else f"{text[:160]}..."


# --- running --------------------------------------------------------------------------------------------------------

Pair = tuple[Server, Server]
CONTROL = {"cancel": "CancelSession", "suspend": "SuspendSession", "resume": "ResumeSession"}


def submit(server: Server, plan: Plan, step: Step) -> Callable[[], View]:
    """Start one step on one server."""
    if step.call == "stream":
        seen = server.stream(step.frames, plan, step.caller)
        return lambda: {"stream": seen}
    if step.call == "send" and plan.binding == "http":
        answer = server.post_json("Send", {"envelope": as_json(step.envelope)}, step.caller)

        def view() -> View:
            if "ack" in answer["body"]:
                return {"ack": ack_from_json(answer["body"]["ack"])}
            return {"status": answer["status"], "code": answer["code"], "members": sorted(answer["body"])}

        return view
    if step.call == "send":
        finish = server.begin("Send", core_pb2.SendRequest(envelope=step.envelope), step.caller)
    elif step.call == "get":
        finish = server.begin("GetSession", core_pb2.GetSessionRequest(session_id=plan.session_id), step.caller)
    else:
        name = CONTROL[step.call]
        request = getattr(core_pb2, f"{name}Request")(session_id=plan.session_id, reason="compare")
        finish = server.begin(name, request, step.caller)

    def view() -> View:
        answer = finish()
        message = answer.get("message")
        if message is None:
            return answer
        return (
            {"metadata": metadata_view(message.metadata, plan)}
            if step.call == "get"
            else {"ack": ack_view(message.ack)}
        )

    return view


def play(pair: Pair, plan: Plan, report: Report, show: bool = False) -> None:
    """One session on both servers: its steps, a cancel if it is still open, and its history."""
    before: list[str] = []
    ended = [*plan.steps, Step("cancel", plan.initiator), Step("get", plan.initiator)]
    for step in ended:
        if step.call == "wait":
            time.sleep(step.ms / 1000)
            continue
        theirs, ours = (finish() for finish in [submit(server, plan, step) for server in pair])
        ack = theirs.get("ack")
        outcome = (ack.get("error") or {}).get("code") if ack else theirs.get("stream", theirs).get("code")
        report.saw(f"{plan.mode} {step.call} {'duplicate' if ack and ack['duplicate'] else outcome or 'ok'}")
        if ack and ack["state"] == "RESOLVED" and step.envelope and step.envelope.message_type == "Commitment":
            report.saw(f"{plan.mode} resolved" if not ack["duplicate"] else "repeated commitments")
        if show:
            print(f"> {step}\n    reference {theirs}\n    gateway   {ours}")
        if not report.compare(plan, step, theirs, ours, before):
            report.saw("sessions that parted")
            report.parted.add(plan.session_id)
            return
        before.append(f"{step} -> {outcome or 'ok'}")
    everything = Step(
        "replay", plan.initiator, frames=[core_pb2.StreamSessionRequest(subscribe_session_id=plan.session_id)]
    )
    theirs, ours = (server.stream(everything.frames, plan, everything.caller) for server in pair)
    if show:
        print(f"> {everything}\n    reference {theirs}\n    gateway   {ours}")
    report.compare(plan, everything, theirs, ours, before)
    if plan.number % 2 == 0:
        theirs, ours = (events(server, plan) for server in pair)
        report.compare(plan, Step("replay as events", plan.initiator), theirs, ours, before)
    afterwards(pair, plan, report, before)
    report.saw("histories")
    report.answers["envelopes in histories"] += len(theirs.get("envelopes", []))


def afterwards(pair: Pair, plan: Plan, report: Report, before: list[str]) -> None:
    """What can be asked of a session that has ended: its receipt, and how it would have gone under another policy."""
    rng = random.Random(f"{plan.seed}/{plan.number}/afterwards")
    caller = rng.choice([plan.initiator] * 4 + [OUTSIDER, OBSERVER, NOBODY])
    request = core_pb2.GetDecisionReceiptRequest(session_id=plan.session_id)
    theirs, ours = (receipt_view(server.call("GetDecisionReceipt", request, caller)) for server in pair)
    report.compare(plan, Step("GetDecisionReceipt", caller), theirs, ours, before)
    report.saw(f"GetDecisionReceipt {theirs.get('code', 'ok')}")
    candidate = policy_pb2.PolicyDescriptor(
        policy_id="policy.what.if", mode=plan.mode, schema_version=rng.choice([1, 3])
    )
    candidate.rules = json.dumps(rules_for(rng, plan.mode))
    what_if = policy_pb2.WhatIfReplayRequest(session_id=plan.session_id, candidate=candidate)
    theirs, ours = (what_if_view(server.call("WhatIfReplay", what_if, caller)) for server in pair)
    report.compare(plan, Step(f"WhatIfReplay {candidate.rules}", caller), theirs, ours, before, what_if)
    report.saw(f"WhatIfReplay {theirs.get('code', 'ok')}")


def receipt_view(answer: View) -> View:
    message = answer.get("message")
    if message is None:
        return answer
    receipt = json.loads(message.receipt_json)
    # Who issued it, when, and under which numbering of its own rules, is each server's own.
    own = {name: bool(receipt.pop(name)) for name in ("issuer", "issued_at", "semantics_rev")}
    return {"receipt": receipt, "own": own}


def what_if_view(answer: View) -> View:
    message = answer.get("message")
    if message is None:
        return answer
    view = MessageToDict(message, preserving_proto_field_name=True)
    for entry in view.get("entries", []):
        for side in ("recorded", "candidate"):
            if "details" in entry.get(side, {}):
                entry[side]["details"] = details_of(base64.b64decode(entry[side]["details"]))
    for denial in view.get("denials", []):
        denial["details"] = details_of(base64.b64decode(denial["details"]))
    return {"what_if": view}


EVENT = re.compile(r"^(?:id: ?(?P<id>.*)\n)?(?:event: ?(?P<event>.*)\n)?(?:id: ?(?P<id2>.*)\n)?data: ?(?P<data>.*)$")


def events(server: Server, plan: Plan) -> View:
    """The history as server-sent events; it ends by itself because the session has ended."""
    answer, body = server.post("StreamSession", {"subscribe_session_id": plan.session_id}, plan.initiator)
    if answer.status != 200:
        return {"status": answer.status, "code": answer.headers.get("MACP-Error-Code")}
    seen = []
    for block in body.decode().split("\n\n"):
        block = "\n".join(line for line in block.splitlines() if not line.startswith(":"))
        if not block:
            continue
        match = EVENT.match(block)
        assert match, f"not an event as agreed: {block!r}"
        data = json.loads(match["data"])
        for error in [data["error"]] if "error" in data else []:
            error.pop("message")
        for envelope in [data["envelope"]] if "envelope" in data else []:
            envelope["timestamp"] = stamp(envelope["timestamp"], plan)
        seen.append({"event": match["event"], "id": match["id"] or match["id2"], "data": data})
    return {"envelopes": seen}


def registries(pair: Pair, arguments: argparse.Namespace, report: Report) -> dict[str, list[str]]:
    """The same calls on both registries; the policies that sessions may name, by mode."""
    calls: list[tuple[str, Any]] = []
    names = {"register": "RegisterExtMode", "unregister": "UnregisterExtMode", "promote": "PromoteMode"}
    for kind, what in make_modes(arguments.seed, arguments.modes):
        if kind == "register":
            request: Any = core_pb2.RegisterExtModeRequest(mode_descriptor=what)
        elif kind == "unregister":
            request = core_pb2.UnregisterExtModeRequest(mode=what)
        else:
            request = core_pb2.PromoteModeRequest(mode=what[0], promoted_mode_name=what[1])
        calls.append((names[kind], request))
        calls.append(("ListModes", core_pb2.ListModesRequest()))
        calls.append(("ListExtModes", core_pb2.ListExtModesRequest()))
    calls += [
        ("RegisterPolicy", policy_pb2.RegisterPolicyRequest(policy_descriptor=one))
        for one in make_policies(arguments.seed, arguments.policies)
    ]
    calls += [("ListPolicies", policy_pb2.ListPoliciesRequest(mode=mode)) for mode in ["", *MODES, "*", "unknown"]]
    gone = ["policy.default", "policy.std.majority", "policy.std.none", "policy.unknown", ""]
    calls += [("UnregisterPolicy", policy_pb2.UnregisterPolicyRequest(policy_id=one)) for one in gone]
    calls += [("GetPolicy", policy_pb2.GetPolicyRequest(policy_id=one)) for one in [*gone, "policy.diff.implicit"]]
    policies: dict[str, list[str]] = {}
    for name, request in calls:
        theirs, ours = (registry_view(server.call(name, request, ADMIN)) for server in pair)
        step = Step(f"{name}({' '.join(str(request).split())})", ADMIN)
        report.compare(None, step, theirs, ours, request=request)
        if name == "RegisterPolicy" and theirs.get("ok") != ours.get("ok"):
            # What only one server has would show in every listing from here on.
            undo = policy_pb2.UnregisterPolicyRequest(policy_id=request.policy_descriptor.policy_id)
            pair[0 if theirs.get("ok") else 1].call("UnregisterPolicy", undo, ADMIN)
        report.saw(f"{name} {'ok' if theirs.get('ok', True) and 'status' not in theirs else 'refused'}")
        if name == "RegisterPolicy" and theirs.get("ok") and ours.get("ok"):
            descriptor = request.policy_descriptor
            for mode in MODES if descriptor.mode == "*" else [descriptor.mode]:
                policies.setdefault(mode, []).append(descriptor.policy_id)
    for caller in (AGENTS[0], NOBODY, ANONYMOUS):
        for name, request in calls[:1] + calls[-1:] + [one for one in calls if one[0] == "RegisterPolicy"][:1]:
            theirs, ours = (registry_view(server.call(name, request, caller)) for server in pair)
            report.compare(None, Step(f"{name} without the right to", caller), theirs, ours)
    return policies


def registry_view(answer: View) -> View:
    message = answer.get("message")
    if message is None:
        return answer
    if hasattr(message, "ok"):
        prefixed = message.error.startswith("INVALID_POLICY_DEFINITION")
        view = {"ok": message.ok, "error": bool(message.error), "definition": prefixed}
        return {**view, "mode": message.mode} if hasattr(message, "mode") else view
    if hasattr(message, "modes"):
        return {"modes": [mode_view(one) for one in message.modes]}
    descriptors = message.descriptors if hasattr(message, "descriptors") else [message.policy_descriptor]
    return {
        "policies": {one.policy_id: policy_view(one) for one in descriptors},
        "order": [o.policy_id for o in descriptors],
    }


def mode_view(one: core_pb2.ModeDescriptor) -> View:
    return {
        **{name: getattr(one, name) for name in ("mode", "mode_version", "determinism_class", "participant_model")},
        "message_types": list(one.message_types),
        "terminal_message_types": list(one.terminal_message_types),
    }


def policy_view(one: policy_pb2.PolicyDescriptor) -> View:
    return {
        "mode": one.mode,
        "description": one.description,
        "schema_version": one.schema_version,
        "rules": json.loads(one.rules),
        "dated": one.registered_at_unix_ms != 0,
    }


def listings(pair: Pair, report: Report) -> None:
    """Every session, page by page, to somebody who may see all of them."""
    token = ["", ""]
    for number in range(10_000):
        pages = []
        for side, server in enumerate(pair):
            request = core_pb2.ListSessionsRequest(page_size=97, page_token=token[side])
            answer = server.call("ListSessions", request, AGENTS[0])
            message = answer.get("message")
            if message is None:
                pages.append(answer)
                continue
            token[side] = message.next_page_token
            shown = {one.session_id: metadata_view(one, None) for one in message.sessions}
            for name, one in shown.items():
                one.pop("activity")
                if name in report.parted:
                    one.pop("state")
            pages.append({"order": list(shown), "sessions": shown, "more": bool(message.next_page_token)})
        report.compare(None, Step(f"ListSessions, page {number + 1}", AGENTS[0]), pages[0], pages[1])
        if not all(token):
            return


def compare(arguments: argparse.Namespace, report: Report, servers: tuple[Gateway, Gateway]) -> None:
    def connect() -> Pair:
        return Server(servers[0]), Server(servers[1])

    pair = connect()
    policies = registries(pair, arguments, report)
    now_ms = int(time.time() * 1000)
    numbers = [arguments.only] if arguments.only is not None else range(arguments.sessions)
    plans = [make_plan(arguments.seed, number, now_ms, policies) for number in numbers]
    report.overdue = frozenset(plan.session_id for plan in plans if plan.overdue)
    waiting = list(reversed(plans))
    failures: list[BaseException] = []

    def work() -> None:
        mine = connect()
        try:
            while waiting and not failures:
                plan = waiting.pop()
                try:
                    play(mine, plan, report, arguments.only is not None)
                except BaseException as failure:
                    print(f"in session {plan.number} (--seed {plan.seed} --only {plan.number})", file=sys.stderr)
                    failures.append(failure)
        finally:
            for server in mine:
                server.close()

    workers = [threading.Thread(target=work, daemon=True) for _ in range(min(WORKERS, len(plans)))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if failures:
        raise failures[0]
    listings(pair, report)
    for server in pair:
        server.close()


def shallow(report: Report, sessions: int) -> list[str]:
    """What the traffic should have reached and did not; only asked of runs that are large enough."""
    if sessions < 200:
        return []
    wanted = [f"{mode} resolved" for mode in MODES]
    wanted += [
        f"{mode} send {code}" for mode in MODES for code in ("INVALID_ENVELOPE", "FORBIDDEN", "SESSION_NOT_OPEN")
    ]
    wanted += [f"{DECISION} send POLICY_DENIED", "RegisterPolicy ok", "RegisterPolicy refused"]
    return [f"the traffic never reached: {one}" for one in wanted if not report.answers[one]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, help="one session, with all its answers")
    parser.add_argument("--policies", type=int, default=150)
    parser.add_argument("--modes", type=int, default=60)
    parser.add_argument("--verbose", action="store_true")
    arguments = parser.parse_args()
    report = Report()
    began = time.monotonic()
    with Gateway(SETTINGS, program=reference()) as theirs, Gateway({**SETTINGS, **OURS}) as ours:
        compare(arguments, report, (theirs, ours))
    steps = sum(
        number
        for what, number in report.answers.items()
        if re.match(r"\S+ (send|get|cancel|suspend|resume|stream) ", what)
    )
    count = 1 if arguments.only is not None else arguments.sessions
    print(f"{count} sessions, {steps} calls, {report.answers['envelopes in histories']} envelopes replayed")
    if arguments.verbose:
        print(*(f"{number:8} {what}" for what, number in sorted(report.answers.items())), sep="\n")
    for row, number in sorted(report.explained.items()):
        print(f"{number:8} differences explained by {row}")
    problems = undocumented() + shallow(report, count)
    for kind, number in report.unexpected.most_common(UNEXPECTED_SHOWN):
        print(f"\n{number} x {report.examples[kind]}", file=sys.stderr)
    if kinds := report.unexpected:
        for kind, number in kinds.most_common(3 * UNEXPECTED_SHOWN):
            print(f"{number:8} {kind}", file=sys.stderr)
        problems.append(f"{kinds.total()} differences of {len(kinds)} kinds that no row explains")
    for problem in problems:
        print(problem, file=sys.stderr)
    record(f"{count} generated sessions: gateway and reference server agree", not problems, time.monotonic() - began)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
