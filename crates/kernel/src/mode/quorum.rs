//! `macp.mode.quorum.v1`: request approval, approve, reject or abstain, commit (RFC-MACP-0011).

use std::collections::BTreeMap;

use macp_wire::modes::quorum::v1::{AbstainPayload, ApprovalRequestPayload, ApprovePayload, RejectPayload};
use macp_wire::v1::Envelope;

use super::{BuiltIn, Context, Mode, Step, commitment};
use crate::envelope::{core_type, decode_payload};
use crate::policy::evaluate;
use crate::refusal::Refusal;
use crate::session::Binding;

/// The mode's id.
pub const MODE: &str = "macp.mode.quorum.v1";

pub(super) const BUILT_IN: BuiltIn = BuiltIn {
    mode: MODE,
    title: "Quorum Mode",
    description: "The initiator requests approval and participants cast ballots; a Commitment binds the outcome once \
                  the threshold is reached or out of reach.",
    determinism_class: "semantic-deterministic",
    participant_model: "quorum",
    between: &["ApprovalRequest", "Approve", "Reject", "Abstain"],
};

/// What is to be approved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its id within the session.
    pub request_id: String,
    /// Approvals that suffice, unless the policy names another number.
    pub required_approvals: u32,
}

/// What a ballot says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// `Approve`
    Approve,
    /// `Reject`
    Reject,
    /// `Abstain`: neither of the two, and one potential approver less.
    Abstain,
}

/// State of a quorum session. The declared participants are the voters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quorum {
    /// The one request.
    pub request: Option<Request>,
    /// Sender to its only ballot.
    pub ballots: BTreeMap<String, Choice>,
}

/// What an accepted message changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The request is there.
    Requested(Request),
    /// A ballot.
    Cast {
        /// Who.
        sender: String,
        /// What.
        choice: Choice,
    },
    /// The outcome is bound.
    Committed,
}

impl Mode for Quorum {
    type Change = Change;

    fn start(binding: &Binding) -> Result<Self, Refusal> {
        if binding.participants.is_empty() {
            return Err(Refusal::invalid_envelope("a quorum session needs at least one participant"));
        }
        Ok(Self::default())
    }

    fn authorize(&self, binding: &Binding, sender: &str, message_type: &str) -> Result<(), Refusal> {
        match message_type {
            "ApprovalRequest" => commitment::require_initiator(binding, sender, message_type),
            core_type::COMMITMENT => commitment::authorize(binding, sender),
            _ => commitment::require_participant(binding, sender),
        }
    }

    fn decide(&self, context: &Context<'_>, envelope: &Envelope) -> Result<Step<Change>, Refusal> {
        match envelope.message_type.as_str() {
            "ApprovalRequest" => self.request(context.binding(), envelope),
            "Approve" => {
                let payload: ApprovePayload = decode_payload(envelope)?;
                self.cast(&envelope.sender, &payload.request_id, Choice::Approve)
            }
            "Reject" => {
                let payload: RejectPayload = decode_payload(envelope)?;
                self.cast(&envelope.sender, &payload.request_id, Choice::Reject)
            }
            "Abstain" => {
                let payload: AbstainPayload = decode_payload(envelope)?;
                self.cast(&envelope.sender, &payload.request_id, Choice::Abstain)
            }
            core_type::COMMITMENT => self.commit(context.binding(), envelope),
            other => Err(BUILT_IN.unknown_type(other)),
        }
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Requested(request) => self.request = Some(request.clone()),
            Change::Cast { sender, choice } => {
                self.ballots.insert(sender.clone(), *choice);
            }
            Change::Committed => {}
        }
    }
}

impl Quorum {
    fn request(&self, binding: &Binding, envelope: &Envelope) -> Result<Step<Change>, Refusal> {
        let payload: ApprovalRequestPayload = decode_payload(envelope)?;
        if self.request.is_some() {
            return Err(Refusal::invalid_envelope("the session has its request already"));
        }
        if payload.request_id.is_empty() {
            return Err(Refusal::invalid_envelope("ApprovalRequestPayload.request_id is empty"));
        }
        // Also when the policy replaces the number (rule 6).
        let voters = binding.participants.len();
        if payload.required_approvals == 0 || payload.required_approvals as usize > voters {
            return Err(Refusal::invalid_envelope(format!(
                "ApprovalRequestPayload.required_approvals must lie in 1..={voters}, the number of participants"
            )));
        }
        let request =
            Request { request_id: payload.request_id, required_approvals: payload.required_approvals };
        if threshold(binding, &request).is_none() {
            return Err(Refusal::invalid_envelope(
                "the bound policy's threshold cannot be evaluated, so nothing can be approved here",
            ));
        }
        Ok(Step::to(Change::Requested(request)))
    }

    /// Ballots are welcome after the threshold is reached or out of reach.
    fn cast(&self, sender: &str, request_id: &str, choice: Choice) -> Result<Step<Change>, Refusal> {
        match &self.request {
            None => return Err(Refusal::invalid_envelope("no approval was requested yet")),
            Some(request) if request.request_id != request_id => {
                return Err(Refusal::invalid_envelope("request_id is not the id of this session's request"));
            }
            Some(_) => {}
        }
        if self.ballots.contains_key(sender) {
            return Err(Refusal::invalid_envelope("this sender has already cast its ballot"));
        }
        Ok(Step::to(Change::Cast { sender: sender.to_owned(), choice }))
    }

    fn commit(&self, binding: &Binding, envelope: &Envelope) -> Result<Step<Change>, Refusal> {
        let payload = commitment::check(binding, envelope)?;
        if !self.is_decided(binding) {
            return Err(Refusal::invalid_envelope(
                "the threshold of approvals is neither reached nor out of reach",
            ));
        }
        evaluate::quorum(binding, self.approvals(), payload.outcome_positive)?;
        Ok(Step { change: Change::Committed, resolution: Some(envelope.payload.clone()) })
    }

    /// Rules 4 and 4a: the threshold is reached, or the voters left cannot reach it. A threshold above the number of
    /// voters is out of reach from the start.
    fn is_decided(&self, binding: &Binding) -> bool {
        let Some(needed) = self.request.as_ref().and_then(|request| threshold(binding, request)) else {
            return false;
        };
        let approvals = self.approvals() as u64;
        let undecided = binding.participants.len().saturating_sub(self.ballots.len()) as u64;
        approvals >= needed || approvals + undecided < needed
    }

    fn approvals(&self) -> usize {
        self.ballots.values().filter(|choice| **choice == Choice::Approve).count()
    }
}

/// How many approvals it takes: the policy's number replaces the request's (RFC-MACP-0012 §4.2). `None` if a stored
/// policy's cannot be evaluated.
fn threshold(binding: &Binding, request: &Request) -> Option<u64> {
    match binding.policy.rules().quorum.threshold {
        Some(threshold) => threshold.approvals(binding.participants.len()),
        None => Some(request.required_approvals.into()),
    }
}
