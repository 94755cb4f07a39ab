//! Voting algorithms: from ballots to passed, failed or nothing to count (RFC-MACP-0012 §5).
//!
//! Arithmetic is IEEE-754 binary64 throughout: a plain quotient, then `>=`. Sums run over proposals and then voters
//! in byte order of their ids, so that every server computes the same bits.

use std::collections::BTreeSet;

use crate::ids::ParticipantId;
use crate::mode::decision::{Choice, Decision};
use crate::policy::rules::{Algorithm, DecisionRules};

/// What the votes come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Passed,
    Failed,
    /// No decisive ballot, or none with a weight.
    NoVotes,
}

/// The ballots of all proposals, pooled: there is no winner among proposals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) outcome: Outcome,
    /// Whether a `REJECT` counts: any of them, or under weights one that weighs something.
    pub(super) has_decisive_reject: bool,
}

/// Stands in for a stored supermajority threshold that is no supermajority.
const TWO_THIRDS: f64 = 2.0 / 3.0;

impl Tally {
    pub(super) fn count(rules: &DecisionRules, state: &Decision, participants: &[ParticipantId]) -> Self {
        let (mut approve, mut reject) = (0_u64, 0_u64);
        let (mut weight, mut approving) = (0.0_f64, 0.0_f64);
        let mut weighty_reject = false;
        let mut approvers = BTreeSet::new();
        for (voter, choice) in state.votes.values().flatten() {
            // The weights are the electorate: who is not listed weighs nothing, under every version.
            let own = rules.weights.get(voter.as_str()).copied().unwrap_or(0.0);
            match choice {
                Choice::Approve => {
                    approve += 1;
                    approvers.insert(voter.as_str());
                    weight += own;
                    approving += own;
                }
                Choice::Reject => {
                    reject += 1;
                    weight += own;
                    weighty_reject |= own > 0.0;
                }
                Choice::Abstain => {}
            }
        }
        let ratio = approve as f64 / (approve + reject) as f64;
        let passed = match rules.algorithm {
            _ if approve + reject == 0 => None,
            Algorithm::Majority => Some(ratio >= rules.threshold),
            Algorithm::Supermajority => {
                Some(ratio >= if rules.threshold > 0.5 { rules.threshold } else { TWO_THIRDS })
            }
            // Of the declared participants, not of those who voted.
            Algorithm::Unanimous => {
                Some(reject == 0 && participants.iter().all(|it| approvers.contains(it.as_str())))
            }
            Algorithm::Weighted if weight == 0.0 => None,
            Algorithm::Weighted => Some(weight > 0.0 && approving / weight >= rules.threshold),
            Algorithm::Plurality => Some(approve > reject),
            // `none` gates nothing and is not counted; an unknown name never passes.
            Algorithm::None | Algorithm::Unknown => Some(false),
        };
        Self {
            outcome: match passed {
                None => Outcome::NoVotes,
                Some(true) => Outcome::Passed,
                Some(false) => Outcome::Failed,
            },
            has_decisive_reject: match rules.algorithm {
                Algorithm::Weighted => weighty_reject,
                _ => reject > 0,
            },
        }
    }
}
