//! What every `Commitment` must satisfy, whatever the mode (RFC-MACP-0001 §7.3, RFC-MACP-0012 §4).

use macp_wire::v1::{CommitmentPayload, Envelope};

use crate::envelope::decode_payload;
use crate::policy::Authority;
use crate::refusal::Refusal;
use crate::session::Binding;

/// Action endings that fix the polarity of the outcome, and that polarity.
///
/// A plain case-sensitive "ends with": `disapproved` counts as `approved`.
const ACTION_ENDINGS: [(&str, bool); 7] = [
    ("rejected", false),
    ("failed", false),
    ("declined", false),
    ("selected", true),
    ("accepted", true),
    ("completed", true),
    ("approved", true),
];

/// Whether the bound policy lets `sender` bind the outcome; also who may cancel, suspend and resume by delegation.
#[must_use]
pub fn has_authority(binding: &Binding, sender: &str) -> bool {
    match binding.policy.authority() {
        Authority::InitiatorOnly => sender == binding.initiator.as_str(),
        Authority::AnyParticipant => sender == binding.initiator.as_str() || binding.is_participant(sender),
        Authority::DesignatedRole(roles) => roles.contains(sender),
    }
}

/// Checks who may send a `Commitment` under the bound policy. Judged before the payload is read.
///
/// # Errors
/// `FORBIDDEN`.
pub fn authorize(binding: &Binding, sender: &str) -> Result<(), Refusal> {
    if has_authority(binding, sender) {
        return Ok(());
    }
    Err(Refusal::forbidden(format!(
        "policy {} does not give this sender the authority to commit",
        binding.policy.id()
    )))
}

/// Checks that `sender` is a declared participant.
///
/// # Errors
/// `FORBIDDEN`.
pub fn require_participant(binding: &Binding, sender: &str) -> Result<(), Refusal> {
    if binding.is_participant(sender) {
        return Ok(());
    }
    Err(Refusal::forbidden("the sender is not a declared participant of this session"))
}

/// Checks that `sender` started the session.
///
/// # Errors
/// `FORBIDDEN`.
pub fn require_initiator(binding: &Binding, sender: &str, message_type: &str) -> Result<(), Refusal> {
    if binding.initiator.as_str() == sender {
        return Ok(());
    }
    Err(Refusal::forbidden(format!("only the initiator may send {message_type} in this session")))
}

/// Reads the payload of a `Commitment` and checks it against the session's bound versions.
///
/// # Errors
/// `INVALID_ENVELOPE`.
pub fn check(binding: &Binding, envelope: &Envelope) -> Result<CommitmentPayload, Refusal> {
    let payload: CommitmentPayload = decode_payload(envelope)?;
    for (field, value) in [
        ("commitment_id", &payload.commitment_id),
        ("action", &payload.action),
        ("authority_scope", &payload.authority_scope),
        ("reason", &payload.reason),
    ] {
        if value.trim().is_empty() {
            return Err(Refusal::invalid_envelope(format!("CommitmentPayload.{field} is blank")));
        }
    }
    for (field, value, bound) in [
        ("mode_version", &payload.mode_version, &binding.mode_version),
        ("configuration_version", &payload.configuration_version, &binding.configuration_version),
    ] {
        if value != bound {
            return Err(Refusal::invalid_envelope(format!(
                "CommitmentPayload.{field} must repeat the session's {bound:?}"
            )));
        }
    }
    if !payload.policy_version.is_empty() && payload.policy_version != binding.policy.id() {
        return Err(Refusal::invalid_envelope(format!(
            "CommitmentPayload.policy_version must be empty or the session's {:?}",
            binding.policy.id()
        )));
    }
    if let Some(supersedes) = &payload.supersedes {
        if supersedes.session_id.trim().is_empty() {
            return Err(Refusal::invalid_envelope("CommitmentPayload.supersedes.session_id is blank"));
        }
        if !is_commitment_hash(&supersedes.commitment_hash) {
            return Err(Refusal::invalid_envelope(
                "CommitmentPayload.supersedes.commitment_hash must be sha256: and 64 lowercase hex digits",
            ));
        }
    }
    if let Some((ending, positive)) =
        ACTION_ENDINGS.iter().find(|(ending, _)| payload.action.ends_with(ending))
        && payload.outcome_positive != *positive
    {
        return Err(Refusal::invalid_envelope(format!(
            "an action that ends with {ending:?} needs outcome_positive = {positive}"
        )));
    }
    Ok(payload)
}

/// `^sha256:[0-9a-f]{64}$` (RFC-MACP-0013 §9).
fn is_commitment_hash(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|hex| {
        hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    })
}
