//! `macp.mode.decision.v1`: propose, evaluate, object, vote, commit (RFC-MACP-0007).

use std::collections::BTreeMap;
use std::sync::Arc;

use macp_wire::modes::decision::v1::{EvaluationPayload, ObjectionPayload, ProposalPayload, VotePayload};
use macp_wire::v1::Envelope;

use super::{BuiltIn, Context, Mode, Step, commitment};
use crate::envelope::{core_type, decode_payload};
use crate::ids::ParticipantId;
use crate::policy;
use crate::refusal::Refusal;
use crate::session::Binding;

/// The mode's id.
pub const MODE: &str = "macp.mode.decision.v1";

pub(super) const BUILT_IN: BuiltIn = BuiltIn {
    mode: MODE,
    title: "Decision Mode",
    description: "Participants propose options, evaluate them, object and vote; a Commitment binds the outcome.",
    determinism_class: "semantic-deterministic",
    participant_model: "declared",
    between: &["Proposal", "Evaluation", "Objection", "Vote"],
};

/// How far the session has come; never goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing proposed yet.
    Proposal,
    /// Proposed, not voted.
    Evaluation,
    /// Voted: proposing, evaluating and objecting are over.
    Voting,
    /// Bound.
    Committed,
}

/// An option on the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// Its id within the session.
    pub proposal_id: Arc<str>,
    /// What is proposed.
    pub option: String,
    /// Why.
    pub rationale: String,
    /// Who proposed it.
    pub sender: String,
}

/// A participant's assessment of a proposal.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// The proposal.
    pub proposal_id: Arc<str>,
    /// `APPROVE`, `REVIEW`, `BLOCK` or `REJECT`.
    pub recommendation: Recommendation,
    /// 0.0 to 1.0.
    pub confidence: f64,
    /// Who evaluated.
    pub sender: ParticipantId,
}

/// What an evaluation recommends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recommendation {
    /// `APPROVE`
    Approve,
    /// `REVIEW`: never qualifies for a policy.
    Review,
    /// `BLOCK`: no veto; only an objection vetoes.
    Block,
    /// `REJECT`
    Reject,
}

/// A participant's objection to a proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Objection {
    /// The proposal.
    pub proposal_id: Arc<str>,
    /// How grave.
    pub severity: Severity,
    /// Who objected.
    pub sender: ParticipantId,
}

/// Gravity of an objection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// `low`
    Low,
    /// `medium`
    Medium,
    /// `high`
    High,
    /// `critical`: may veto under a policy.
    Critical,
}

/// What a vote says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// `APPROVE`
    Approve,
    /// `REJECT`
    Reject,
    /// `ABSTAIN`
    Abstain,
}

impl Choice {
    /// The name as it travels.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Approve => "APPROVE",
            Self::Reject => "REJECT",
            Self::Abstain => "ABSTAIN",
        }
    }
}

/// State of a decision session.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// How far the session has come.
    pub phase: Phase,
    /// By proposal id.
    pub proposals: BTreeMap<Arc<str>, Arc<Proposal>>,
    /// In order of acceptance; several per sender are allowed.
    pub evaluations: Vec<Evaluation>,
    /// In order of acceptance; several per sender are allowed.
    pub objections: Vec<Objection>,
    /// Proposal id, then sender, to the vote.
    pub votes: BTreeMap<Arc<str>, BTreeMap<ParticipantId, Choice>>,
}

/// What an accepted message adds.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A new proposal.
    Proposed(Arc<Proposal>),
    /// A new evaluation.
    Evaluated(Evaluation),
    /// A new objection.
    Objected(Objection),
    /// A new vote.
    Voted {
        /// The proposal voted on.
        proposal_id: Arc<str>,
        /// The voter.
        sender: ParticipantId,
        /// The vote.
        choice: Choice,
    },
    /// The outcome is bound.
    Committed,
}

impl Mode for Decision {
    type Change = Change;

    /// An empty roster is legal and makes an inert session.
    fn start(_binding: &Binding) -> Result<Self, Refusal> {
        Ok(Self {
            phase: Phase::Proposal,
            proposals: BTreeMap::new(),
            evaluations: Vec::new(),
            objections: Vec::new(),
            votes: BTreeMap::new(),
        })
    }

    fn authorize(&self, binding: &Binding, sender: &str, message_type: &str) -> Result<(), Refusal> {
        match message_type {
            core_type::COMMITMENT => commitment::authorize(binding, sender),
            "Proposal" | "Evaluation" | "Objection" | "Vote" => {
                commitment::require_participant(binding, sender)
            }
            _ => Err(Refusal::forbidden("the Decision mode has no message of this type")),
        }
    }

    fn decide(&self, context: &Context<'_>, envelope: &Envelope) -> Result<Step<Change>, Refusal> {
        match envelope.message_type.as_str() {
            "Proposal" => self.propose(envelope),
            "Evaluation" => self.evaluate(context.binding(), envelope),
            "Objection" => self.object(context.binding(), envelope),
            "Vote" => self.vote(context.binding(), envelope),
            core_type::COMMITMENT => self.commit(context, envelope),
            _ => Err(Refusal::forbidden("the Decision mode has no message of this type")),
        }
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Proposed(proposal) => {
                self.phase = Phase::Evaluation;
                self.proposals.insert(Arc::clone(&proposal.proposal_id), Arc::clone(proposal));
            }
            Change::Evaluated(evaluation) => self.evaluations.push(evaluation.clone()),
            Change::Objected(objection) => self.objections.push(objection.clone()),
            Change::Voted { proposal_id, sender, choice } => {
                self.phase = Phase::Voting;
                self.votes.entry(Arc::clone(proposal_id)).or_default().insert(sender.clone(), *choice);
            }
            Change::Committed => self.phase = Phase::Committed,
        }
    }
}

impl Decision {
    fn propose(&self, envelope: &Envelope) -> Result<Step<Change>, Refusal> {
        if self.phase == Phase::Voting {
            return Err(Refusal::invalid_envelope("voting has begun; no further Proposal is accepted"));
        }
        let payload: ProposalPayload = decode_payload(envelope)?;
        if payload.proposal_id.trim().is_empty() {
            return Err(Refusal::invalid_envelope("ProposalPayload.proposal_id is blank"));
        }
        if payload.option.trim().is_empty() {
            return Err(Refusal::invalid_envelope("ProposalPayload.option is blank"));
        }
        if self.proposals.contains_key(payload.proposal_id.as_str()) {
            return Err(Refusal::invalid_envelope("this proposal_id is already used in this session"));
        }
        Ok(Step::to(Change::Proposed(Arc::new(Proposal {
            proposal_id: payload.proposal_id.into(),
            option: payload.option,
            rationale: payload.rationale,
            sender: envelope.sender.clone(),
        }))))
    }

    fn evaluate(&self, binding: &Binding, envelope: &Envelope) -> Result<Step<Change>, Refusal> {
        let payload: EvaluationPayload = decode_payload(envelope)?;
        let recommendation = match payload.recommendation.as_str() {
            "APPROVE" => Recommendation::Approve,
            "REVIEW" => Recommendation::Review,
            "BLOCK" => Recommendation::Block,
            "REJECT" => Recommendation::Reject,
            _ => {
                return Err(Refusal::invalid_envelope(
                    "EvaluationPayload.recommendation must be exactly APPROVE, REVIEW, BLOCK or REJECT",
                ));
            }
        };
        // A range test refuses NaN as well.
        if !(0.0..=1.0).contains(&payload.confidence) {
            return Err(Refusal::invalid_envelope("EvaluationPayload.confidence must lie in 0.0..=1.0"));
        }
        self.require_evaluation_phase("Evaluation")?;
        let proposal_id = self.require_proposal(&payload.proposal_id)?;
        Ok(Step::to(Change::Evaluated(Evaluation {
            proposal_id,
            recommendation,
            confidence: payload.confidence,
            sender: binding.id_of(&envelope.sender),
        })))
    }

    fn object(&self, binding: &Binding, envelope: &Envelope) -> Result<Step<Change>, Refusal> {
        let payload: ObjectionPayload = decode_payload(envelope)?;
        let severity = match payload.severity.as_str() {
            "low" => Severity::Low,
            "medium" => Severity::Medium,
            "high" => Severity::High,
            "critical" => Severity::Critical,
            _ => {
                return Err(Refusal::invalid_envelope(
                    "ObjectionPayload.severity must be exactly low, medium, high or critical",
                ));
            }
        };
        self.require_evaluation_phase("Objection")?;
        let proposal_id = self.require_proposal(&payload.proposal_id)?;
        Ok(Step::to(Change::Objected(Objection {
            proposal_id,
            severity,
            sender: binding.id_of(&envelope.sender),
        })))
    }

    fn vote(&self, binding: &Binding, envelope: &Envelope) -> Result<Step<Change>, Refusal> {
        let payload: VotePayload = decode_payload(envelope)?;
        let choice = match payload.vote.as_str() {
            "APPROVE" => Choice::Approve,
            "REJECT" => Choice::Reject,
            "ABSTAIN" => Choice::Abstain,
            _ => {
                return Err(Refusal::invalid_envelope(
                    "VotePayload.vote must be exactly APPROVE, REJECT or ABSTAIN",
                ));
            }
        };
        if !matches!(self.phase, Phase::Evaluation | Phase::Voting) {
            return Err(Refusal::invalid_envelope(
                "nothing has been proposed yet; there is nothing to vote on",
            ));
        }
        let proposal_id = self.require_proposal(&payload.proposal_id)?;
        let sender = envelope.sender.as_str();
        if self.votes.get(&proposal_id).is_some_and(|votes| votes.contains_key(sender)) {
            return Err(Refusal::invalid_envelope("this sender has already voted on this proposal"));
        }
        Ok(Step::to(Change::Voted { proposal_id, sender: binding.id_of(sender), choice }))
    }

    fn commit(&self, context: &Context<'_>, envelope: &Envelope) -> Result<Step<Change>, Refusal> {
        let binding = context.binding();
        let payload = commitment::check(binding, envelope)?;
        if self.proposals.is_empty() {
            return Err(Refusal::invalid_envelope("nothing was proposed, so there is nothing to commit to"));
        }
        policy::evaluate::decision(binding, self, payload.outcome_positive)?;
        Ok(Step { change: Change::Committed, resolution: Some(envelope.payload.clone()) })
    }

    fn require_evaluation_phase(&self, message_type: &str) -> Result<(), Refusal> {
        match self.phase {
            Phase::Evaluation => Ok(()),
            Phase::Proposal => Err(Refusal::invalid_envelope(format!(
                "nothing has been proposed yet; no {message_type} is accepted"
            ))),
            Phase::Voting | Phase::Committed => Err(Refusal::invalid_envelope(format!(
                "voting has begun; no further {message_type} is accepted"
            ))),
        }
    }

    /// The proposal's id as it is kept.
    fn require_proposal(&self, proposal_id: &str) -> Result<Arc<str>, Refusal> {
        let proposal = self.proposals.get(proposal_id);
        let proposal = proposal
            .ok_or_else(|| Refusal::invalid_envelope("no proposal with this proposal_id is on the table"))?;
        Ok(Arc::clone(&proposal.proposal_id))
    }
}
