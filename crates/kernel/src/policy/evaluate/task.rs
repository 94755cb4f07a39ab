//! Task commitments and reassignment under a policy (RFC-MACP-0012 §4.4).

use super::{denial, refuse, rules_of};
use crate::policy::keys::Tree;
use crate::refusal::Refusal;
use crate::session::Binding;

/// Judges a task commitment; `has_output` is whether the terminal report is a `TaskComplete` with a non-empty output.
///
/// # Errors
/// `POLICY_DENIED` with its denials.
pub fn task(binding: &Binding, has_output: bool, outcome_positive: bool) -> Result<(), Refusal> {
    let policy = &binding.policy;
    let rules = &rules_of(policy, Tree::Task)?.task;
    if outcome_positive && rules.require_output && !has_output {
        return refuse(
            policy,
            denial("output_required", "the policy requires a completed task with a non-empty output"),
        );
    }
    Ok(())
}

/// Judges whether an assigned task may be given up for another to take: by the assignee's `TaskReject`, and by the
/// `TaskAccept` that follows one. The one denial of a message that is no commitment.
///
/// # Errors
/// `POLICY_DENIED` with the denial `reassignment_not_allowed`.
pub fn reassignment(binding: &Binding) -> Result<(), Refusal> {
    // Rules that cannot be read stand at their defaults, which do not allow it.
    if binding.policy.rules().task.allow_reassignment_on_reject {
        return Ok(());
    }
    refuse(
        &binding.policy,
        denial("reassignment_not_allowed", "the policy does not allow an accepted task to be reassigned"),
    )
}
