//! `macp.mode.proposal.v1`: offer, counter, accept, reject, withdraw, commit (RFC-MACP-0008).

use std::collections::{BTreeMap, BTreeSet};

use macp_wire::modes::proposal::v1::{
    AcceptPayload, CounterProposalPayload, ProposalPayload, RejectPayload, WithdrawPayload,
};
use macp_wire::v1::Envelope;

use super::{BuiltIn, Context, Mode, Step, commitment};
use crate::envelope::{core_type, decode_payload};
use crate::ids::ParticipantId;
use crate::policy::evaluate;
use crate::policy::rules::Criterion;
use crate::refusal::Refusal;
use crate::session::Binding;

/// The mode's id.
pub const MODE: &str = "macp.mode.proposal.v1";

pub(super) const BUILT_IN: BuiltIn = BuiltIn {
    mode: MODE,
    title: "Proposal Mode",
    description: "Peers make offers and counter-offers, accept and reject them; a Commitment binds the outcome.",
    determinism_class: "semantic-deterministic",
    participant_model: "peer",
    between: &["Proposal", "CounterProposal", "Accept", "Reject", "Withdraw"],
};

/// Where the negotiation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing to bind yet.
    Negotiating,
    /// A live proposal has the accepts that the policy's criterion asks for.
    Converged,
    /// A proposal was rejected for good; wins over convergence until that proposal is withdrawn.
    TerminalRejected,
    /// Bound.
    Committed,
}

/// Whether a proposal can still be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// On the table, even when countered or rejected.
    Live,
    /// Taken back by its author; its id is never used again.
    Withdrawn,
}

/// An offer or counter-offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// Its id within the session.
    pub proposal_id: String,
    /// Who made it.
    pub proposer: String,
    /// The proposal that it counters.
    pub supersedes: Option<String>,
    /// Whether it can still be accepted.
    pub disposition: Disposition,
}

/// State of a proposal session. The phase is derived: see [`Negotiation::phase`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Negotiation {
    /// By proposal id.
    pub proposals: BTreeMap<String, Proposal>,
    /// Sender to the proposal of its latest accept.
    pub accepts: BTreeMap<String, String>,
    /// Proposals with a terminal reject.
    pub terminally_rejected: BTreeSet<String>,
    /// Whether the outcome is bound.
    pub committed: bool,
}

/// What an accepted message changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A new proposal or counter-proposal.
    Proposed(Proposal),
    /// The sender's accept, in place of an earlier one.
    Accepted {
        /// Who accepts.
        sender: String,
        /// What.
        proposal_id: String,
    },
    /// A reject; only a terminal one changes anything.
    Rejected {
        /// What.
        proposal_id: String,
        /// By the message itself or by the policy.
        terminal: bool,
    },
    /// The author took a proposal back, and with it the accepts and terminal rejects that name it.
    Withdrawn {
        /// What.
        proposal_id: String,
    },
    /// The outcome is bound.
    Committed,
}

impl Mode for Negotiation {
    type Change = Change;

    fn start(binding: &Binding) -> Result<Self, Refusal> {
        if binding.participants.is_empty() {
            return Err(Refusal::invalid_envelope("a proposal session needs at least one participant"));
        }
        Ok(Self::default())
    }

    fn authorize(&self, binding: &Binding, sender: &str, message_type: &str) -> Result<(), Refusal> {
        match message_type {
            core_type::COMMITMENT => commitment::authorize(binding, sender),
            _ => commitment::require_participant(binding, sender),
        }
    }

    fn decide(&self, context: &Context<'_>, envelope: &Envelope) -> Result<Step<Change>, Refusal> {
        match envelope.message_type.as_str() {
            "Proposal" => self.propose(envelope),
            "CounterProposal" => self.counter(context.binding(), envelope),
            "Accept" => self.accept(envelope),
            "Reject" => self.reject(context.binding(), envelope),
            "Withdraw" => self.withdraw(envelope),
            core_type::COMMITMENT => self.commit(context.binding(), envelope),
            other => Err(BUILT_IN.unknown_type(other)),
        }
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Proposed(proposal) => {
                self.proposals.insert(proposal.proposal_id.clone(), proposal.clone());
            }
            Change::Accepted { sender, proposal_id } => {
                self.accepts.insert(sender.clone(), proposal_id.clone());
            }
            Change::Rejected { proposal_id, terminal } => {
                if *terminal {
                    self.terminally_rejected.insert(proposal_id.clone());
                }
            }
            Change::Withdrawn { proposal_id } => {
                if let Some(proposal) = self.proposals.get_mut(proposal_id) {
                    proposal.disposition = Disposition::Withdrawn;
                }
                self.accepts.retain(|_, accepted| accepted != proposal_id);
                self.terminally_rejected.remove(proposal_id);
            }
            Change::Committed => self.committed = true,
        }
    }
}

impl Negotiation {
    /// Where the negotiation stands under the session's policy.
    #[must_use]
    pub fn phase(&self, binding: &Binding) -> Phase {
        if self.committed {
            Phase::Committed
        } else if !self.terminally_rejected.is_empty() {
            Phase::TerminalRejected
        } else if self.live().any(|proposal| self.meets_criterion(binding, proposal)) {
            Phase::Converged
        } else {
            Phase::Negotiating
        }
    }

    fn live(&self) -> impl Iterator<Item = &Proposal> {
        self.proposals.values().filter(|proposal| proposal.disposition == Disposition::Live)
    }

    /// Whether the accepts that the policy asks for are there (RFC-MACP-0012 §4.3). An accept is always explicit,
    /// the proposer's own included.
    fn meets_criterion(&self, binding: &Binding, proposal: &Proposal) -> bool {
        let accepted =
            |sender: &str| self.accepts.get(sender).is_some_and(|accepted| *accepted == proposal.proposal_id);
        let mut participants = binding.participants.iter().map(ParticipantId::as_str);
        match binding.policy.rules().proposal.criterion {
            Criterion::AllParties => participants.all(accepted),
            Criterion::Counterparty => {
                participants.all(|sender| sender == proposal.proposer || accepted(sender))
            }
            Criterion::Initiator => accepted(&binding.initiator),
        }
    }

    fn propose(&self, envelope: &Envelope) -> Result<Step<Change>, Refusal> {
        let payload: ProposalPayload = decode_payload(envelope)?;
        if payload.proposal_id.trim().is_empty() {
            return Err(Refusal::invalid_envelope("ProposalPayload.proposal_id is blank"));
        }
        self.require_unused(&payload.proposal_id)?;
        Ok(proposed(envelope, payload.proposal_id, None))
    }

    fn counter(&self, binding: &Binding, envelope: &Envelope) -> Result<Step<Change>, Refusal> {
        let payload: CounterProposalPayload = decode_payload(envelope)?;
        if payload.proposal_id.trim().is_empty() {
            return Err(Refusal::invalid_envelope("CounterProposalPayload.proposal_id is blank"));
        }
        if payload.supersedes_proposal_id.trim().is_empty() {
            return Err(Refusal::invalid_envelope("CounterProposalPayload.supersedes_proposal_id is blank"));
        }
        self.require_unused(&payload.proposal_id)?;
        // A withdrawn proposal may be countered; a superseded one stays on the table.
        self.require(&payload.supersedes_proposal_id)?;
        // Not POLICY_DENIED: only a Commitment is denied by policy here.
        let max_rounds = binding.policy.rules().proposal.max_rounds;
        if max_rounds > 0 && self.counter_proposals() as u64 >= max_rounds {
            return Err(Refusal::invalid_envelope(format!(
                "the session has {max_rounds} counter-proposals, as many as its policy allows"
            )));
        }
        Ok(proposed(envelope, payload.proposal_id, Some(payload.supersedes_proposal_id)))
    }

    fn accept(&self, envelope: &Envelope) -> Result<Step<Change>, Refusal> {
        let payload: AcceptPayload = decode_payload(envelope)?;
        self.require_live(&payload.proposal_id)?;
        let sender = envelope.sender.clone();
        Ok(Step::to(Change::Accepted { sender, proposal_id: payload.proposal_id }))
    }

    fn reject(&self, binding: &Binding, envelope: &Envelope) -> Result<Step<Change>, Refusal> {
        let payload: RejectPayload = decode_payload(envelope)?;
        self.require_live(&payload.proposal_id)?;
        let terminal = payload.terminal || binding.policy.rules().proposal.terminal_on_any_reject;
        Ok(Step::to(Change::Rejected { proposal_id: payload.proposal_id, terminal }))
    }

    fn withdraw(&self, envelope: &Envelope) -> Result<Step<Change>, Refusal> {
        let payload: WithdrawPayload = decode_payload(envelope)?;
        if payload.proposal_id.trim().is_empty() {
            return Err(Refusal::invalid_envelope("WithdrawPayload.proposal_id is blank"));
        }
        let proposal = self.require(&payload.proposal_id)?;
        if proposal.proposer != envelope.sender {
            return Err(Refusal::forbidden("only its author may withdraw a proposal"));
        }
        if proposal.disposition == Disposition::Withdrawn {
            return Err(Refusal::invalid_envelope("this proposal is already withdrawn"));
        }
        Ok(Step::to(Change::Withdrawn { proposal_id: payload.proposal_id }))
    }

    fn commit(&self, binding: &Binding, envelope: &Envelope) -> Result<Step<Change>, Refusal> {
        let payload = commitment::check(binding, envelope)?;
        if !matches!(self.phase(binding), Phase::Converged | Phase::TerminalRejected) {
            return Err(Refusal::invalid_envelope(
                "no proposal is accepted as the policy's criterion asks, and none is rejected terminally",
            ));
        }
        evaluate::proposal(binding, self.counter_proposals(), payload.outcome_positive)?;
        Ok(Step { change: Change::Committed, resolution: Some(envelope.payload.clone()) })
    }

    /// How many counter-proposals were ever accepted, withdrawn ones included.
    fn counter_proposals(&self) -> usize {
        self.proposals.values().filter(|proposal| proposal.supersedes.is_some()).count()
    }

    fn require_unused(&self, proposal_id: &str) -> Result<(), Refusal> {
        if self.proposals.contains_key(proposal_id) {
            return Err(Refusal::invalid_envelope("this proposal_id is already used in this session"));
        }
        Ok(())
    }

    fn require(&self, proposal_id: &str) -> Result<&Proposal, Refusal> {
        self.proposals
            .get(proposal_id)
            .ok_or_else(|| Refusal::invalid_envelope(format!("no proposal {proposal_id:?} was made here")))
    }

    fn require_live(&self, proposal_id: &str) -> Result<(), Refusal> {
        match self.require(proposal_id)?.disposition {
            Disposition::Live => Ok(()),
            Disposition::Withdrawn => Err(Refusal::invalid_envelope("this proposal is withdrawn")),
        }
    }
}

fn proposed(envelope: &Envelope, proposal_id: String, supersedes: Option<String>) -> Step<Change> {
    Step::to(Change::Proposed(Proposal {
        proposal_id,
        proposer: envelope.sender.clone(),
        supersedes,
        disposition: Disposition::Live,
    }))
}
