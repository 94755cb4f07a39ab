"""The published Python SDK against the gateway: decision receipts, their keys, what-if replay."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from checks import expect, refused, run
from gateway import DEVELOPMENT, Gateway
from macp.v1 import policy_pb2
from macp_sdk import DecisionSession, MacpClient, MacpTransportError, verify_receipt
from macp_sdk.constants import MODE_DECISION
from macp_sdk.errors import parse_error_details
from macp_sdk.policy import CommitmentRules, VotingRules, build_decision_policy
from macp_sdk.receipt import trusted_keys_from_jwks
from sdk import ALICE, EVERYONE, OPEN, OUTSIDER, RESOLVED, agent, by, connect

# Keys that sign nothing but these tests: secret halves of 32 equal bytes.
FIRST = {
    "kty": "OKP",
    "crv": "Ed25519",
    "d": "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE",
    "x": "iojj3XQJ8ZX9UtstPLpdcspnCb8dlBIb83SIAbQPb1w",
}
SECOND_PEM = (
    "-----BEGIN PRIVATE KEY-----\n"
    "MC4CAQAwBQYDK2VwBCIEIAICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIC\n"
    "-----END PRIVATE KEY-----\n"
)


def decided(client: MacpClient) -> DecisionSession:
    """A session with one proposal and one approving vote, resolved by its initiator."""
    session = DecisionSession(client)
    assert session.start(intent="receipts", participants=EVERYONE, ttl_ms=60_000).ok
    assert session.propose("p1", "deploy", rationale="caf\u00e9 \U0001f702").ok
    assert session.vote("p1", "approve", reason="ship it", **by(ALICE)).ok
    assert session.commit(action="decision.selected", authority_scope="release", reason="winner=p1").ok
    return session


def code(call: Callable[[], Any]) -> str:
    """The code of the failed call."""
    return refused(MacpTransportError, call).macp_code


def unsigned(gateway: Gateway) -> None:
    """SDK: an unsigned receipt matches its Commitment, and stays the same."""
    with connect(gateway) as client:
        capability = client.initialize().capabilities.decision_receipt
        expect((capability.get_decision_receipt, capability.signed), (True, False), "capability")
        session = decided(client)
        receipt = client.get_decision_receipt(session.session_id)
        outcome = {"integrity": "match", "attestations": [], "verdict": "integrity_only"}
        expect(verify_receipt(receipt.receipt, {}), outcome, "verification")
        expect(receipt.receipt["commitment"]["reason"], "winner=p1", "commitment")
        again = client.get_decision_receipt(session.session_id, auth=agent(ALICE))
        expect(again.raw, receipt.raw, "second reader's receipt")
        expect(client.get_receipt_keys(), {"keys": []}, "published keys")
        tampered = {**receipt.receipt, "commitment": {**receipt.receipt["commitment"], "reason": "other"}}
        expect(verify_receipt(tampered, {})["integrity"], "mismatch", "a changed receipt")


def refusals(gateway: Gateway) -> None:
    """SDK: no receipt for unknown, foreign and unresolved sessions."""
    with connect(gateway) as client:
        client.initialize()
        session = DecisionSession(client)
        assert session.start(intent="open", participants=EVERYONE, ttl_ms=60_000).ok
        get = client.get_decision_receipt
        expect(code(lambda: get("no-such-session")), "SESSION_NOT_FOUND", "unknown session")
        expect(code(lambda: get(session.session_id, auth=agent(OUTSIDER))), "FORBIDDEN", "outsider")
        expect(code(lambda: get(session.session_id)), "RECEIPT_UNAVAILABLE", "open session")


def what_if(gateway: Gateway) -> None:
    """SDK: what-if replay tells what another policy would have denied, and changes nothing."""
    with connect(gateway) as client:
        session = decided(client)
        candidate = build_decision_policy("policy.e2e.unanimous", "tighter", voting=VotingRules(algorithm="unanimous"))
        report = client.what_if_replay(session.session_id, candidate)
        expect(report.recorded_policy_id, "policy.default", "recorded policy")
        expect(report.candidate_policy_id, candidate.policy_id, "candidate policy")
        expect((report.recorded.state, report.candidate.state), (RESOLVED, OPEN), "final states")
        assert report.HasField("first_divergence")
        expect((report.first_divergence, len(report.entries)), (3, 4), "divergence")
        (denial,) = report.denials
        expect(denial.history_index, 3, "denied entry")
        expect([one.code for one in parse_error_details(denial.details).denials], ["threshold_not_met"], "reasons")
        same = policy_pb2.PolicyDescriptor(policy_id="policy.default", mode="*", rules="{}", schema_version=1)
        report = client.what_if_replay(session.session_id, same)
        assert not report.HasField("first_divergence") and report.recorded == report.candidate, report
        rules = CommitmentRules(authority="designated_role", designated_roles=[ALICE])
        other = build_decision_policy("policy.e2e.role", "other committer", commitment=rules)
        report = client.what_if_replay(session.session_id, other)
        expect((report.entries[3].candidate.error_code, len(report.denials)), ("FORBIDDEN", 0), "authority breach")
        bad = policy_pb2.PolicyDescriptor(policy_id="x", mode=MODE_DECISION, rules='{"x":1}', schema_version=1)
        expect(code(lambda: client.what_if_replay(session.session_id, bad)), "INVALID_POLICY_DEFINITION", "bad rules")
        expect(session.metadata().metadata.state, RESOLVED, "state afterwards")


def signed(gateway: Gateway) -> None:
    """SDK: a signed receipt is attested by the published key."""
    with connect(gateway) as client:
        assert client.initialize().capabilities.decision_receipt.signed
        receipt = client.get_decision_receipt(decided(client).session_id)
        keys = trusted_keys_from_jwks(client.get_receipt_keys())
        expect(keys, {"first": FIRST["x"]}, "published keys")
        outcome = {"integrity": "match", "attestations": ["valid"], "verdict": "attested"}
        expect(verify_receipt(receipt.receipt, keys), outcome, "verification")
        expect(receipt.receipt["issuer"], "runtime:e2e", "issuer")
        renamed = {**receipt.receipt, "issuer": "runtime:else"}
        expect(verify_receipt(renamed, keys)["attestations"], ["invalid"], "a changed body")
        expect(verify_receipt(receipt.receipt, {})["attestations"], ["unknown_key"], "without trust")


def rotated(gateway: Gateway) -> None:
    """SDK: after a rotation both keys are published, the active one first."""
    with connect(gateway) as client:
        client.initialize()
        published = client.get_receipt_keys()["keys"]
        expect([key["kid"] for key in published], ["second", "first"], "published keys")
        assert not any("d" in key for key in published)
        keys = trusted_keys_from_jwks({"keys": published})
        receipt = client.get_decision_receipt(decided(client).session_id)
        expect(verify_receipt(receipt.receipt, keys)["verdict"], "attested", "verification")


def kept(settings: dict[str, str]) -> int:
    """Issue an unsigned receipt, restart with a signing key, and read it again; the number of failures."""
    served: list[tuple[str, str]] = []

    def issued(gateway: Gateway) -> None:
        """SDK: a receipt is issued"""
        with connect(gateway) as client:
            client.initialize()
            session = decided(client).session_id
            served.append((session, client.get_decision_receipt(session).raw))

    def unchanged(gateway: Gateway) -> None:
        """SDK: neither a restart nor a new key changes a receipt that was served"""
        with connect(gateway) as client:
            client.initialize()
            for session, raw in served:
                expect(client.get_decision_receipt(session).raw, raw, "receipt")
            assert served

    with Gateway(settings) as gateway:
        failed = run(gateway, issued)
    key = json.dumps({**FIRST, "kid": "first"})
    with Gateway({**settings, "MACP_RUNTIME_ID": "else", "MACP_RECEIPT_SIGNING_KEY": key}) as gateway:
        return failed + run(gateway, unchanged)


def main() -> int:
    with Gateway() as gateway:
        failed = run(gateway, unsigned, refusals, what_if)
    signing = {**DEVELOPMENT, "MACP_RUNTIME_ID": "e2e"}
    first = json.dumps({**FIRST, "kid": "first"})
    with Gateway({**signing, "MACP_RECEIPT_SIGNING_KEY": first}) as gateway:
        failed += run(gateway, signed)
    with tempfile.TemporaryDirectory(prefix="macp-e2e-keys-") as folder:
        key, retired = Path(folder, "key.pem"), Path(folder, "retired.json")
        key.write_text(SECOND_PEM, encoding="utf-8")
        public = {name: value for name, value in FIRST.items() if name != "d"}
        retired.write_text(json.dumps({"keys": [{**public, "kid": "first"}]}), encoding="utf-8")
        rotation = {
            "MACP_RECEIPT_SIGNING_KEY_PATH": str(key),
            "MACP_RECEIPT_SIGNING_KID": "second",
            "MACP_RECEIPT_PUBLIC_KEYS_PATH": str(retired),
        }
        with Gateway({**signing, **rotation}) as gateway:
            failed += run(gateway, rotated)
    with tempfile.TemporaryDirectory(prefix="macp-e2e-data-") as folder:
        failed += kept({"MACP_ALLOW_INSECURE": "1", "MACP_DATA_DIR": folder})
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
