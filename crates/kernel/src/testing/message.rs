//! Payloads of every message type, with everything that a test does not care about filled in.

use bytes::Bytes;
use macp_wire::v1::{CommitmentPayload, Envelope, ModeDescriptor, PolicyDescriptor, SessionStartPayload};

use super::{A, B, CONFIGURATION, INITIATOR, SESSION, TTL};
use crate::envelope::core_type;
use crate::mode::BUILT_IN_MODE_VERSION;

/// A message type and its payload: all of an envelope that a mode's rules look at besides the sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The envelope's `message_type`.
    pub message_type: String,
    /// The envelope's `payload`.
    pub payload: Bytes,
}

impl Message {
    /// A message of any type with any payload.
    #[must_use]
    pub fn new(message_type: &str, payload: impl Into<Bytes>) -> Self {
        Self { message_type: message_type.to_owned(), payload: payload.into() }
    }

    fn of(message_type: &str, payload: &impl prost::Message) -> Self {
        Self::new(message_type, payload.encode_to_vec())
    }

    /// The same payload under another type.
    #[must_use]
    pub fn named(self, message_type: &str) -> Self {
        Self { message_type: message_type.to_owned(), ..self }
    }

    /// The same type with a payload that is no protobuf.
    #[must_use]
    pub fn garbled(self) -> Self {
        Self { payload: Bytes::from_static(b"\xff\xff\xff"), ..self }
    }

    /// An envelope with this message for the built session; it names no time of its own.
    #[must_use]
    pub fn envelope(&self, mode: &str, sender: &str, message_id: &str) -> Envelope {
        Envelope {
            macp_version: crate::PROTOCOL_VERSION.to_owned(),
            mode: mode.to_owned(),
            message_type: self.message_type.clone(),
            message_id: message_id.to_owned(),
            session_id: SESSION.to_owned(),
            sender: sender.to_owned(),
            timestamp_unix_ms: 0,
            payload: self.payload.clone(),
        }
    }
}

/// A start that every built-in mode accepts: the initiator, [`A`] and [`B`] take part.
#[must_use]
pub fn start_payload() -> SessionStartPayload {
    SessionStartPayload {
        participants: [INITIATOR, A, B].map(str::to_owned).into(),
        mode_version: BUILT_IN_MODE_VERSION.to_owned(),
        configuration_version: CONFIGURATION.to_owned(),
        ttl_ms: TTL,
        ..SessionStartPayload::default()
    }
}

/// `SessionStart` with this payload.
#[must_use]
pub fn start(payload: &SessionStartPayload) -> Message {
    Message::of(core_type::SESSION_START, payload)
}

/// A commitment that fits [`start_payload`].
#[must_use]
pub fn commitment_payload(action: &str, outcome_positive: bool) -> CommitmentPayload {
    CommitmentPayload {
        commitment_id: "c1".to_owned(),
        action: action.to_owned(),
        authority_scope: "test".to_owned(),
        reason: "done".to_owned(),
        mode_version: BUILT_IN_MODE_VERSION.to_owned(),
        configuration_version: CONFIGURATION.to_owned(),
        outcome_positive,
        ..CommitmentPayload::default()
    }
}

/// The descriptor of an extension mode with messages of type `Note`.
#[must_use]
pub fn extension_mode(mode: &str) -> ModeDescriptor {
    ModeDescriptor {
        mode: mode.to_owned(),
        mode_version: BUILT_IN_MODE_VERSION.to_owned(),
        message_types: [core_type::SESSION_START, "Note", core_type::COMMITMENT].map(str::to_owned).into(),
        terminal_message_types: vec![core_type::COMMITMENT.to_owned()],
        ..ModeDescriptor::default()
    }
}

/// A policy descriptor with these rules, for sessions of `mode`.
#[must_use]
pub fn policy(policy_id: &str, mode: &str, rules: &str) -> PolicyDescriptor {
    PolicyDescriptor {
        policy_id: policy_id.to_owned(),
        mode: mode.to_owned(),
        rules: rules.to_owned(),
        schema_version: 3,
        ..PolicyDescriptor::default()
    }
}

/// `Commitment` with [`commitment_payload`].
#[must_use]
pub fn commitment(action: &str, outcome_positive: bool) -> Message {
    commit(&commitment_payload(action, outcome_positive))
}

/// `Commitment` with this payload.
#[must_use]
pub fn commit(payload: &CommitmentPayload) -> Message {
    Message::of(core_type::COMMITMENT, payload)
}

/// Messages of the Decision mode.
#[allow(missing_docs, reason = "each is named after its message type")]
pub mod decision {
    use macp_wire::modes::decision::v1 as wire;

    use super::Message;

    #[must_use]
    pub fn proposal(proposal_id: &str) -> Message {
        let option = "deploy".to_owned();
        let payload =
            wire::ProposalPayload { proposal_id: proposal_id.to_owned(), option, ..Default::default() };
        Message::of("Proposal", &payload)
    }

    #[must_use]
    pub fn evaluation(proposal_id: &str, recommendation: &str, confidence: f64) -> Message {
        let payload = wire::EvaluationPayload {
            proposal_id: proposal_id.to_owned(),
            recommendation: recommendation.to_owned(),
            confidence,
            reason: String::new(),
        };
        Message::of("Evaluation", &payload)
    }

    #[must_use]
    pub fn objection(proposal_id: &str, severity: &str) -> Message {
        let payload = wire::ObjectionPayload {
            proposal_id: proposal_id.to_owned(),
            severity: severity.to_owned(),
            reason: String::new(),
        };
        Message::of("Objection", &payload)
    }

    #[must_use]
    pub fn vote(proposal_id: &str, vote: &str) -> Message {
        let payload = wire::VotePayload {
            proposal_id: proposal_id.to_owned(),
            vote: vote.to_owned(),
            reason: String::new(),
        };
        Message::of("Vote", &payload)
    }
}

/// Messages of the Proposal mode.
#[allow(missing_docs, reason = "each is named after its message type")]
pub mod proposal {
    use macp_wire::modes::proposal::v1 as wire;

    use super::Message;

    #[must_use]
    pub fn proposal(proposal_id: &str) -> Message {
        let payload = wire::ProposalPayload { proposal_id: proposal_id.to_owned(), ..Default::default() };
        Message::of("Proposal", &payload)
    }

    #[must_use]
    pub fn counter_proposal(proposal_id: &str, supersedes: &str) -> Message {
        let payload = wire::CounterProposalPayload {
            proposal_id: proposal_id.to_owned(),
            supersedes_proposal_id: supersedes.to_owned(),
            ..Default::default()
        };
        Message::of("CounterProposal", &payload)
    }

    #[must_use]
    pub fn accept(proposal_id: &str) -> Message {
        let payload = wire::AcceptPayload { proposal_id: proposal_id.to_owned(), reason: String::new() };
        Message::of("Accept", &payload)
    }

    #[must_use]
    pub fn reject(proposal_id: &str, terminal: bool) -> Message {
        let payload =
            wire::RejectPayload { proposal_id: proposal_id.to_owned(), terminal, reason: String::new() };
        Message::of("Reject", &payload)
    }

    #[must_use]
    pub fn withdraw(proposal_id: &str) -> Message {
        let payload = wire::WithdrawPayload { proposal_id: proposal_id.to_owned(), reason: String::new() };
        Message::of("Withdraw", &payload)
    }
}

/// Messages of the Task mode. An empty assignee stands for the sender, or for anyone in a request.
#[allow(missing_docs, reason = "each is named after its message type")]
pub mod task {
    use macp_wire::modes::task::v1 as wire;

    use super::Message;

    #[must_use]
    pub fn request(task_id: &str, requested_assignee: &str) -> Message {
        let payload = wire::TaskRequestPayload {
            task_id: task_id.to_owned(),
            requested_assignee: requested_assignee.to_owned(),
            ..Default::default()
        };
        Message::of("TaskRequest", &payload)
    }

    #[must_use]
    pub fn accept(task_id: &str, assignee: &str) -> Message {
        let payload = wire::TaskAcceptPayload {
            task_id: task_id.to_owned(),
            assignee: assignee.to_owned(),
            reason: String::new(),
        };
        Message::of("TaskAccept", &payload)
    }

    #[must_use]
    pub fn reject(task_id: &str, assignee: &str) -> Message {
        accept(task_id, assignee).named("TaskReject")
    }

    #[must_use]
    pub fn update(task_id: &str, progress: f64) -> Message {
        let payload = wire::TaskUpdatePayload { task_id: task_id.to_owned(), progress, ..Default::default() };
        Message::of("TaskUpdate", &payload)
    }

    #[must_use]
    pub fn complete(task_id: &str, assignee: &str, output: &'static [u8]) -> Message {
        let payload = wire::TaskCompletePayload {
            task_id: task_id.to_owned(),
            assignee: assignee.to_owned(),
            output: output.into(),
            summary: String::new(),
        };
        Message::of("TaskComplete", &payload)
    }

    #[must_use]
    pub fn fail(task_id: &str, assignee: &str) -> Message {
        let payload = wire::TaskFailPayload {
            task_id: task_id.to_owned(),
            assignee: assignee.to_owned(),
            ..Default::default()
        };
        Message::of("TaskFail", &payload)
    }
}

/// Messages of the Handoff mode. An empty `by` stands for the sender.
#[allow(missing_docs, reason = "each is named after its message type")]
pub mod handoff {
    use macp_wire::modes::handoff::v1 as wire;

    use super::Message;

    #[must_use]
    pub fn offer(handoff_id: &str, target_participant: &str) -> Message {
        let payload = wire::HandoffOfferPayload {
            handoff_id: handoff_id.to_owned(),
            target_participant: target_participant.to_owned(),
            ..Default::default()
        };
        Message::of("HandoffOffer", &payload)
    }

    #[must_use]
    pub fn context(handoff_id: &str) -> Message {
        let payload = wire::HandoffContextPayload { handoff_id: handoff_id.to_owned(), ..Default::default() };
        Message::of("HandoffContext", &payload)
    }

    #[must_use]
    pub fn accept(handoff_id: &str, by: &str) -> Message {
        accept_payload(handoff_id, by, false)
    }

    /// The acceptance that only the server may write.
    #[must_use]
    pub fn implicit_accept(handoff_id: &str, by: &str) -> Message {
        accept_payload(handoff_id, by, true)
    }

    fn accept_payload(handoff_id: &str, by: &str, implicit: bool) -> Message {
        let payload = wire::HandoffAcceptPayload {
            handoff_id: handoff_id.to_owned(),
            accepted_by: by.to_owned(),
            reason: String::new(),
            implicit,
        };
        Message::of("HandoffAccept", &payload)
    }

    #[must_use]
    pub fn decline(handoff_id: &str, by: &str) -> Message {
        let payload = wire::HandoffDeclinePayload {
            handoff_id: handoff_id.to_owned(),
            declined_by: by.to_owned(),
            reason: String::new(),
        };
        Message::of("HandoffDecline", &payload)
    }
}

/// Messages of the Quorum mode.
#[allow(missing_docs, reason = "each is named after its message type")]
pub mod quorum {
    use macp_wire::modes::quorum::v1 as wire;

    use super::Message;

    #[must_use]
    pub fn request(request_id: &str, required_approvals: u32) -> Message {
        let payload = wire::ApprovalRequestPayload {
            request_id: request_id.to_owned(),
            required_approvals,
            ..Default::default()
        };
        Message::of("ApprovalRequest", &payload)
    }

    #[must_use]
    pub fn approve(request_id: &str) -> Message {
        let payload = wire::ApprovePayload { request_id: request_id.to_owned(), reason: String::new() };
        Message::of("Approve", &payload)
    }

    #[must_use]
    pub fn reject(request_id: &str) -> Message {
        approve(request_id).named("Reject")
    }

    #[must_use]
    pub fn abstain(request_id: &str) -> Message {
        approve(request_id).named("Abstain")
    }
}

/// `Contribute` of `ext.multi_round.v1`.
#[must_use]
pub fn contribute(value: &str) -> Message {
    let payload = macp_wire::modes::multi_round::v1::ContributePayload { value: value.to_owned() };
    Message::of("Contribute", &payload)
}
