//! Handoff commitments under a policy (RFC-MACP-0012 §4.5).

use super::rules_of;
use crate::policy::keys::Tree;
use crate::refusal::Refusal;
use crate::session::Binding;

/// Judges a handoff commitment. No rule denies one, of either polarity: the implicit-accept timeout is consumed
/// before, by the mode.
///
/// # Errors
/// `POLICY_DENIED` for a stored policy that cannot be evaluated.
pub fn handoff(binding: &Binding, _outcome_positive: bool) -> Result<(), Refusal> {
    rules_of(&binding.policy, Tree::Handoff).map(|_| ())
}
