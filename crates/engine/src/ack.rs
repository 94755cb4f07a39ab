//! Answers as wire messages: the same on every transport.

use macp_kernel::{Acceptance, Refusal};
use macp_wire::v1::{Ack, MacpError, SessionState};

/// The Ack of an accepted or duplicate envelope, or of a control call.
#[must_use]
pub fn accepted(message_id: String, session_id: String, acceptance: &Acceptance) -> Ack {
    Ack {
        ok: true,
        duplicate: acceptance.duplicate,
        message_id,
        session_id,
        accepted_at_unix_ms: acceptance.accepted_at.0,
        session_state: acceptance.state.into(),
        error: None,
    }
}

/// The Ack of a refused envelope whose session was not looked at.
#[must_use]
pub fn refused(message_id: &str, session_id: &str, refusal: &Refusal) -> Ack {
    refused_in(message_id, session_id, refusal, SessionState::Unspecified)
}

/// The Ack of a refused envelope in a session of this state. `accepted_at_unix_ms` is 0: nothing was accepted.
#[must_use]
pub fn refused_in(message_id: &str, session_id: &str, refusal: &Refusal, state: SessionState) -> Ack {
    Ack {
        ok: false,
        duplicate: false,
        message_id: message_id.to_owned(),
        session_id: session_id.to_owned(),
        accepted_at_unix_ms: 0,
        session_state: state.into(),
        error: Some(error(refusal, session_id, message_id)),
    }
}

/// A refusal as it travels.
#[must_use]
pub fn error(refusal: &Refusal, session_id: &str, message_id: &str) -> MacpError {
    MacpError {
        code: refusal.code.name().to_owned(),
        message: refusal.message.clone(),
        session_id: session_id.to_owned(),
        message_id: message_id.to_owned(),
        details: refusal.details.clone(),
    }
}
