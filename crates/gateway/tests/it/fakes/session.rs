//! Envelopes of one Decision session.

use macp_wire::modes::decision::v1::{EvaluationPayload, ProposalPayload, VotePayload};
use macp_wire::v1::{CommitmentPayload, Envelope, SessionStartPayload, SignalPayload};
use prost::Message;

pub(crate) const MODE: &str = "macp.mode.decision.v1";

/// A session's id, from which its envelopes are made.
#[derive(Clone)]
pub(crate) struct Session {
    pub(crate) id: String,
}

impl Session {
    pub(crate) fn new() -> Self {
        Self { id: uuid::Uuid::new_v4().to_string() }
    }

    /// Without a time and a sender: the server sets both.
    pub(crate) fn envelope(&self, message_type: &str, payload: &impl Message) -> Envelope {
        Envelope {
            macp_version: "1.0".into(),
            mode: MODE.into(),
            message_type: message_type.into(),
            message_id: uuid::Uuid::new_v4().to_string(),
            session_id: self.id.clone(),
            payload: payload.encode_to_vec().into(),
            ..Envelope::default()
        }
    }

    pub(crate) fn start(&self, participants: &[&str]) -> Envelope {
        self.start_with(participants, |_| {})
    }

    /// A start whose payload was changed.
    pub(crate) fn start_with(
        &self,
        participants: &[&str],
        change: impl FnOnce(&mut SessionStartPayload),
    ) -> Envelope {
        let mut payload = SessionStartPayload {
            intent: "choose".into(),
            participants: participants.iter().map(|id| (*id).to_owned()).collect(),
            mode_version: "1.0.0".into(),
            configuration_version: "c1".into(),
            policy_version: "policy.default".into(),
            ttl_ms: 600_000,
            ..SessionStartPayload::default()
        };
        change(&mut payload);
        self.envelope("SessionStart", &payload)
    }

    pub(crate) fn proposal(&self, proposal_id: &str) -> Envelope {
        let payload = ProposalPayload {
            proposal_id: proposal_id.into(),
            option: "an \"option\"\u{2028}ü".into(),
            rationale: "r".into(),
            supporting_data: vec![0, 0xFF, 0x80].into(),
        };
        self.envelope("Proposal", &payload)
    }

    /// A signal, which is about no session.
    pub(crate) fn signal(&self) -> Envelope {
        let payload = SignalPayload { signal_type: "ping".into(), ..SignalPayload::default() };
        Envelope { session_id: String::new(), mode: String::new(), ..self.envelope("Signal", &payload) }
    }

    pub(crate) fn evaluation(&self, proposal_id: &str) -> Envelope {
        let payload = EvaluationPayload {
            proposal_id: proposal_id.into(),
            recommendation: "APPROVE".into(),
            confidence: 0.1,
            reason: "r".into(),
        };
        self.envelope("Evaluation", &payload)
    }

    pub(crate) fn vote(&self, proposal_id: &str) -> Envelope {
        let payload =
            VotePayload { proposal_id: proposal_id.into(), vote: "APPROVE".into(), reason: "r".into() };
        self.envelope("Vote", &payload)
    }

    pub(crate) fn commitment(&self) -> Envelope {
        self.commitment_under("policy.default")
    }

    pub(crate) fn commitment_under(&self, policy: &str) -> Envelope {
        let payload = CommitmentPayload {
            commitment_id: "c".into(),
            action: "decision.selected".into(),
            authority_scope: "release".into(),
            reason: "r".into(),
            mode_version: "1.0.0".into(),
            configuration_version: "c1".into(),
            policy_version: policy.into(),
            outcome_positive: true,
            ..CommitmentPayload::default()
        };
        self.envelope("Commitment", &payload)
    }
}
