//! What a bound policy says of a commitment that its mode finds eligible (RFC-MACP-0012 §6).
//!
//! Each function takes the facts that its rules look at and nothing of a mode's own bookkeeping.

use crate::mode::decision::Decision;
use crate::refusal::Refusal;
use crate::session::Binding;

/// Judges a decision commitment of the given polarity.
///
/// # Errors
/// `POLICY_DENIED` with its denials.
pub fn decision(_binding: &Binding, _state: &Decision, _outcome_positive: bool) -> Result<(), Refusal> {
    // `policy.default`, the only policy a session can bind so far, takes the outcome at face value.
    Ok(())
}

/// Judges a proposal commitment; `counter_proposals` is how many the session has stored, withdrawn ones included.
///
/// # Errors
/// `POLICY_DENIED` with its denials.
pub fn proposal(
    _binding: &Binding,
    _counter_proposals: usize,
    _outcome_positive: bool,
) -> Result<(), Refusal> {
    Ok(())
}

/// Judges a task commitment; `has_output` is whether the terminal report is a `TaskComplete` with a non-empty output.
///
/// # Errors
/// `POLICY_DENIED` with its denials.
pub fn task(_binding: &Binding, _has_output: bool, _outcome_positive: bool) -> Result<(), Refusal> {
    Ok(())
}

/// Judges whether an assigned task may be given up for another to take: by the assignee's `TaskReject`, and by the
/// `TaskAccept` that follows one.
///
/// # Errors
/// `POLICY_DENIED` with the denial `reassignment_not_allowed`.
pub fn reassignment(_binding: &Binding) -> Result<(), Refusal> {
    Ok(())
}

/// Judges a handoff commitment.
///
/// # Errors
/// `POLICY_DENIED` with its denials.
pub fn handoff(_binding: &Binding, _outcome_positive: bool) -> Result<(), Refusal> {
    Ok(())
}

/// Judges a quorum commitment; `approvals` is how many `Approve` ballots the session has.
///
/// # Errors
/// `POLICY_DENIED` with its denials.
pub fn quorum(_binding: &Binding, _approvals: usize, _outcome_positive: bool) -> Result<(), Refusal> {
    Ok(())
}
