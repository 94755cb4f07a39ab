//! The rules of a policy as evaluation reads them: typed, with every default filled in (RFC-MACP-0012 §4.1-§4.5).

use std::collections::BTreeMap;

/// The rule trees of the five standards-track modes.
///
/// A policy for one mode fills that mode's tree; a policy for `*` fills all; the rest stay at their defaults, which
/// add nothing to a mode's own rules.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rules {
    /// For `macp.mode.decision.v1`.
    pub decision: DecisionRules,
    /// For `macp.mode.proposal.v1`.
    pub proposal: ProposalRules,
    /// For `macp.mode.task.v1`.
    pub task: TaskRules,
    /// For `macp.mode.handoff.v1`.
    pub handoff: HandoffRules,
    /// For `macp.mode.quorum.v1`.
    pub quorum: QuorumRules,
}

/// Rules of `macp.mode.decision.v1` (RFC-MACP-0012 §4.1).
#[derive(Clone, Debug, PartialEq)]
pub struct DecisionRules {
    /// `voting.algorithm`
    pub algorithm: Algorithm,
    /// `voting.threshold`: the share of approvals that passes.
    pub threshold: f64,
    /// `voting.quorum`: the participation floor; gates nothing unless `require_vote_quorum`.
    pub floor: Floor,
    /// `voting.weights`: the electorate of [`Algorithm::Weighted`]; who is not listed weighs nothing.
    pub weights: BTreeMap<Box<str>, f64>,
    /// `objection_handling.critical_severity_vetoes`
    pub critical_severity_vetoes: bool,
    /// `objection_handling.veto_threshold`: how many critical objections make a veto.
    pub veto_threshold: u64,
    /// `objection_handling.critical_objection_action`
    pub critical_objection_action: CriticalAction,
    /// `evaluation.minimum_confidence`; without effect unless `required_before_voting`.
    pub minimum_confidence: f64,
    /// `evaluation.required_before_voting`; judged at the commitment.
    pub required_before_voting: bool,
    /// `commitment.require_vote_quorum`
    pub require_vote_quorum: bool,
    /// `commitment.allow_decline_over_approval`
    pub allow_decline_over_approval: bool,
}

impl Default for DecisionRules {
    fn default() -> Self {
        Self {
            algorithm: Algorithm::None,
            threshold: 0.5,
            floor: Floor { kind: FloorKind::Count, value: 0.0 },
            weights: BTreeMap::new(),
            critical_severity_vetoes: false,
            veto_threshold: 1,
            critical_objection_action: CriticalAction::Deny,
            minimum_confidence: 0.0,
            required_before_voting: false,
            require_vote_quorum: false,
            allow_decline_over_approval: false,
        }
    }
}

/// How votes become a result (RFC-MACP-0012 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// `none`: votes gate nothing.
    None,
    /// `majority`
    Majority,
    /// `supermajority`
    Supermajority,
    /// `unanimous`
    Unanimous,
    /// `weighted`
    Weighted,
    /// `plurality`
    Plurality,
    /// A name that this release does not know; only stored policies can have one, and it never passes.
    Unknown,
}

/// The least participation: `voting.quorum`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Floor {
    /// What the value counts.
    pub kind: FloorKind,
    /// The least count, or the least percentage on a scale of 0 to 100.
    pub value: f64,
}

/// What a [`Floor`] counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FloorKind {
    /// `count`: voters.
    Count,
    /// `percentage`: voters in a hundred declared participants.
    Percentage,
    /// A name that this release does not know; only stored policies can have one, and it is never met.
    Unknown,
}

/// What a veto by critical objections does: `objection_handling.critical_objection_action`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CriticalAction {
    /// `deny`: no commitment, of either polarity.
    Deny,
    /// `finalize_decline`: only a decline, which then needs nothing else.
    FinalizeDecline,
    /// `hold`: no commitment, of either polarity; named apart in the denial.
    Hold,
}

/// Rules of `macp.mode.proposal.v1` (RFC-MACP-0012 §4.3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProposalRules {
    /// `acceptance.criterion`
    pub criterion: Criterion,
    /// `counter_proposal.max_rounds`; 0 is no limit.
    pub max_rounds: u64,
    /// `rejection.terminal_on_any_reject`
    pub terminal_on_any_reject: bool,
}

/// Whose accepts make a proposal accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Criterion {
    /// `all_parties`: every declared participant, the proposer included.
    #[default]
    AllParties,
    /// `counterparty`: every declared participant but the proposer.
    Counterparty,
    /// `initiator`
    Initiator,
}

/// Rules of `macp.mode.task.v1` (RFC-MACP-0012 §4.4).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskRules {
    /// `assignment.allow_reassignment_on_reject`
    pub allow_reassignment_on_reject: bool,
    /// `completion.require_output`
    pub require_output: bool,
}

/// Rules of `macp.mode.handoff.v1` (RFC-MACP-0012 §4.5).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HandoffRules {
    /// `acceptance.implicit_accept_timeout_ms`; 0 is never.
    pub implicit_accept_timeout_ms: u64,
}

/// Rules of `macp.mode.quorum.v1` (RFC-MACP-0012 §4.2). Its `abstention` keys affect no decision and are not kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QuorumRules {
    /// `threshold`; present only if it replaces the request's own number.
    pub threshold: Option<Threshold>,
}

/// The approvals that a policy demands in place of the request's own number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threshold {
    /// `n_of_m`: this many.
    NOfM(u64),
    /// `percentage`: this many in a hundred declared participants, rounded up.
    Percentage(u64),
    /// A type that this release does not know; only stored policies can have one.
    Unknown,
}

impl Threshold {
    /// How many approvals that is among `participants` declared ones, as they were fixed at the start; it may be
    /// more than there are. `None` if it cannot be evaluated (RFC-MACP-0011 §5 rule 6).
    ///
    /// Integers only: 7 % of 100 is 7, 28 % of 25 is 7, 50 % of 3 is 2.
    #[must_use]
    pub fn approvals(self, participants: usize) -> Option<u64> {
        match self {
            Self::NOfM(count) => Some(count.max(1)),
            Self::Percentage(_) if participants == 0 => None,
            Self::Percentage(value) => {
                let hundredths = u128::from(value) * participants as u128;
                Some(u64::try_from(hundredths.div_ceil(100)).unwrap_or(u64::MAX).max(1))
            }
            Self::Unknown => None,
        }
    }
}
