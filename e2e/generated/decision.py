"""A Decision session with the generated client `macp_client`. Usage: decision.py URL, with the client on the path."""

from __future__ import annotations

import sys
import uuid
from typing import Any

from macp_client import AuthenticatedClient
from macp_client.api.messages import read_envelopes, send
from macp_client.api.sessions import get_session, read_session
from macp_client.models import (
    Ack,
    CommitmentPayload,
    DecisionProposalPayload,
    DecisionVotePayload,
    EnvelopesPage,
    ErrorBody,
    GetSessionRequest,
    GetSessionResponse,
    InlineEnvelopeInput,
    SendRequest,
    SendResponse,
    SessionStartPayload,
    SessionState,
)

ANN, BOB, EVE = "agent://ann", "agent://bob", "agent://eve"
SESSION = str(uuid.uuid4())
VERSIONS = {"mode_version": "1.0.0", "configuration_version": "1"}


def client(sender: str) -> AuthenticatedClient:
    return AuthenticatedClient(base_url=sys.argv[1], token=sender, raise_on_unexpected_status=True)


def submit(sender: str, message_type: str, payload: Any) -> Ack:
    """Sends an envelope; its Ack."""
    envelope = InlineEnvelopeInput(
        macp_version="1.0",
        mode="macp.mode.decision.v1",
        message_type=message_type,
        message_id=str(uuid.uuid4()),
        session_id=SESSION,
        payload=payload,
    )
    answer = send.sync(client=client(sender), body=SendRequest(envelope=envelope))
    assert isinstance(answer, SendResponse), answer
    assert isinstance(answer.ack, Ack), answer
    return answer.ack


def accept(sender: str, message_type: str, payload: Any) -> None:
    ack = submit(sender, message_type, payload)
    assert ack.ok, ack


start = SessionStartPayload(intent="release?", participants=[ANN, BOB], ttl_ms=60_000, **VERSIONS)
accept(ANN, "SessionStart", start)
accept(ANN, "Proposal", DecisionProposalPayload(proposal_id="p1", option="Monday"))
accept(BOB, "Vote", DecisionVotePayload(proposal_id="p1", vote="APPROVE"))

# A refused envelope is an answer, a refused request an error.
refused = submit(EVE, "Vote", DecisionVotePayload(proposal_id="p1", vote="REJECT"))
assert refused.error.code == "FORBIDDEN", refused
unknown = get_session.sync_detailed(client=client(ANN), body=GetSessionRequest(session_id=str(uuid.uuid4())))
assert unknown.status_code == 404, unknown
assert isinstance(unknown.parsed, ErrorBody), unknown
assert unknown.parsed.error.code == "SESSION_NOT_FOUND", unknown

commitment = CommitmentPayload(
    commitment_id="c1",
    action="release.approved",
    authority_scope="team",
    reason="agreed",
    outcome_positive=True,
    **VERSIONS,
)
accept(ANN, "Commitment", commitment)

session = read_session.sync(SESSION, client=client(BOB))
assert isinstance(session, GetSessionResponse), session
assert session.metadata.state == SessionState.SESSION_STATE_RESOLVED, session

page = read_envelopes.sync(SESSION, client=client(BOB), after=1)
assert isinstance(page, EnvelopesPage), page
history = [(entry.sequence, entry.envelope.message_type) for entry in page.envelopes]
assert history == [(2, "Proposal"), (3, "Vote"), (4, "Commitment")], history
print(f"{session.metadata.state} after {page.high_water_sequence} envelopes")
