//! Quorum commitments under a policy (RFC-MACP-0012 §4.2).

use super::{denial, refuse, rules_of};
use crate::policy::keys::Tree;
use crate::refusal::Refusal;
use crate::session::Binding;

/// Judges a quorum commitment; `approvals` is how many `Approve` ballots the session has.
///
/// A policy's threshold is an approval bar for positive outcomes and no participation quorum; without one the mode's
/// own eligibility is all there is.
///
/// # Errors
/// `POLICY_DENIED` with its denials.
pub fn quorum(binding: &Binding, approvals: usize, outcome_positive: bool) -> Result<(), Refusal> {
    let policy = &binding.policy;
    let threshold = rules_of(policy, Tree::Quorum)?.quorum.threshold;
    let Some(threshold) = threshold.filter(|_| outcome_positive) else { return Ok(()) };
    match threshold.approvals(binding.participants.len()) {
        Some(needed) if approvals as u64 >= needed => Ok(()),
        Some(needed) => refuse(
            policy,
            denial(
                "threshold_not_met",
                format!("{approvals} approvals; the policy requires {needed} for a positive commitment"),
            ),
        ),
        None => refuse(
            policy,
            denial("threshold_not_met", "the policy's approval threshold cannot be evaluated by this server"),
        ),
    }
}
