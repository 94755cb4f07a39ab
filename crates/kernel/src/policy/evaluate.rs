//! What a bound policy says of a commitment that its mode finds eligible (RFC-MACP-0012 §6).

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
