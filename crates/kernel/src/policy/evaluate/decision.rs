//! Decision commitments under a policy: evaluations, objections, participation, votes (RFC-MACP-0012 §4.1, §6.2).

use std::collections::BTreeSet;

use super::tally::{Outcome, Tally};
use super::{EMPTY_TALLY_DENIES, denial, refuse, rules_of};
use crate::mode::decision::{Decision, Recommendation, Severity};
use crate::policy::keys::Tree;
use crate::policy::rules::{Algorithm, CriticalAction, DecisionRules, FloorKind};
use crate::refusal::{Denial, Refusal};
use crate::session::Binding;

/// Judges a decision commitment of the given polarity. All reasons are collected, in the order of the rules.
///
/// # Errors
/// `POLICY_DENIED` with its denials.
pub fn decision(binding: &Binding, state: &Decision, outcome_positive: bool) -> Result<(), Refusal> {
    let policy = &binding.policy;
    let rules = &rules_of(policy, Tree::Decision)?.decision;
    if rules.veto_threshold < 1 || !(0.0..=1.0).contains(&rules.minimum_confidence) {
        return refuse(policy, denial("invalid_rules", "the policy's thresholds are outside their ranges"));
    }
    let veto = Veto::of(rules, state);
    let action = rules.critical_objection_action;
    if veto.is_some() && action == CriticalAction::FinalizeDecline && !outcome_positive {
        // The objections themselves authorize the decline; evaluations, participation and votes are waived.
        return Ok(());
    }
    let version = policy.descriptor().schema_version;
    let mut denials = Vec::new();
    denials.extend(unmet_evaluation(rules, state));
    denials.extend(veto.map(|veto| veto.denial(action)));
    denials.extend(unmet_floor(rules, state, binding.participants.len()));
    denials.extend(unmet_vote(rules, state, binding, version, outcome_positive));
    if denials.is_empty() { Ok(()) } else { Err(Refusal::policy_denied(policy.id(), &denials)) }
}

/// Critical objections, enough of them.
struct Veto<'a> {
    objections: usize,
    objectors: BTreeSet<&'a str>,
}

impl<'a> Veto<'a> {
    /// Objections count one by one, over all proposals; a sender may object several times.
    fn of(rules: &DecisionRules, state: &'a Decision) -> Option<Self> {
        if !rules.critical_severity_vetoes {
            return None;
        }
        let critical =
            || state.objections.iter().filter(|objection| objection.severity == Severity::Critical);
        let objections = critical().count();
        (objections as u64 >= rules.veto_threshold).then(|| Self {
            objections,
            objectors: critical().map(|objection| objection.sender.as_str()).collect(),
        })
    }

    fn denial(self, action: CriticalAction) -> Denial {
        let (code, message) = match action {
            CriticalAction::Deny => ("veto", "veto the commitment"),
            CriticalAction::FinalizeDecline => ("veto", "veto a positive commitment; a decline is allowed"),
            CriticalAction::Hold => ("veto_hold", "hold the session open"),
        };
        Denial {
            code,
            message: format!("{} critical objection(s) {message}", self.objections),
            participants: self.objectors.into_iter().map(str::to_owned).collect(),
        }
    }
}

/// `evaluation`: a `REVIEW` takes no stand, so it never qualifies.
fn unmet_evaluation(rules: &DecisionRules, state: &Decision) -> Option<Denial> {
    if !rules.required_before_voting {
        return None;
    }
    let mut qualifying = state.evaluations.iter().filter(|it| it.recommendation != Recommendation::Review);
    if rules.minimum_confidence > 0.0 {
        let met = qualifying.any(|evaluation| evaluation.confidence >= rules.minimum_confidence);
        (!met).then(|| {
            denial(
                "confidence_below_minimum",
                format!("no evaluation reaches the minimum confidence of {}", rules.minimum_confidence),
            )
        })
    } else {
        qualifying.next().is_none().then(|| {
            denial("evaluation_required", "an evaluation other than REVIEW is required and there is none")
        })
    }
}

/// `voting.quorum`. Every ballot is participation: abstentions and ballots of no weight as well.
fn unmet_floor(rules: &DecisionRules, state: &Decision, participants: usize) -> Option<Denial> {
    if !rules.require_vote_quorum {
        return None;
    }
    let voters = state.votes.values().flat_map(|ballots| ballots.keys()).collect::<BTreeSet<_>>().len();
    let floor = rules.floor;
    let (met, unit) = match floor.kind {
        FloorKind::Count => (voters as f64 >= floor.value, ""),
        FloorKind::Percentage if participants == 0 => (floor.value <= 0.0, " %"),
        FloorKind::Percentage => (voters as f64 / participants as f64 * 100.0 >= floor.value, " %"),
        FloorKind::Unknown => (false, " of an unknown kind"),
    };
    (!met).then(|| {
        denial(
            "quorum_not_met",
            format!(
                "{voters} of {participants} participants have voted; the policy requires {}{unit}",
                floor.value
            ),
        )
    })
}

/// `voting.algorithm`, for either polarity.
fn unmet_vote(
    rules: &DecisionRules,
    state: &Decision,
    binding: &Binding,
    version: u32,
    outcome_positive: bool,
) -> Option<Denial> {
    if rules.algorithm == Algorithm::None {
        return None;
    }
    let tally = Tally::count(rules, state, &binding.participants);
    // A decline needs somebody who declined, whatever the result.
    let not_backed = || {
        (!tally.has_decisive_reject)
            .then(|| denial("decline_not_backed", "a decline needs at least one decisive REJECT vote"))
    };
    match (tally.outcome, outcome_positive) {
        (Outcome::Passed, true) => None,
        (Outcome::Passed, false) if !rules.allow_decline_over_approval => Some(denial(
            "decline_over_approval",
            "the vote passed, and the policy does not allow a decline over an approval",
        )),
        (Outcome::Failed, true) => {
            Some(denial("threshold_not_met", "the votes do not meet the policy's approval threshold"))
        }
        // Versions 1 and 2 let an empty tally pass unless participation was demanded; stored policies keep that.
        (Outcome::NoVotes, true) if version < EMPTY_TALLY_DENIES && !rules.require_vote_quorum => None,
        (Outcome::NoVotes, true) => {
            Some(denial("no_votes", "there is no decisive vote to support a positive commitment"))
        }
        (Outcome::Passed | Outcome::Failed | Outcome::NoVotes, false) => not_backed(),
    }
}
