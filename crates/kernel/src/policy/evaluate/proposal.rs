//! Proposal commitments under a policy (RFC-MACP-0012 §4.3).

use super::{denial, refuse, rules_of};
use crate::policy::keys::Tree;
use crate::refusal::Refusal;
use crate::session::Binding;

/// Judges a proposal commitment; `counter_proposals` is how many the session has stored, withdrawn ones included.
///
/// The mode refuses the counter-proposal that would exceed the limit, so that denial is only defence in depth.
/// `acceptance` and `rejection` decide before, by what makes the negotiation converge.
///
/// # Errors
/// `POLICY_DENIED` with its denials.
pub fn proposal(binding: &Binding, counter_proposals: usize, outcome_positive: bool) -> Result<(), Refusal> {
    let policy = &binding.policy;
    let max_rounds = rules_of(policy, Tree::Proposal)?.proposal.max_rounds;
    if outcome_positive && max_rounds > 0 && counter_proposals as u64 > max_rounds {
        let message =
            format!("{counter_proposals} counter-proposals exceed the policy's limit of {max_rounds}");
        return refuse(policy, denial("criterion_not_met", message));
    }
    Ok(())
}
