//! Checks of an envelope that need no session: shape, sender binding and mode authorization.
//!
//! They are the first stages of every submission (RFC-MACP-0001 §4.1, §6; RFC-MACP-0004 §3). Each binding runs
//! them in its own documented order, so they are separate functions.

use std::sync::Arc;

use bytes::Bytes;
use macp_wire::v1::Envelope;
use prost::Message as _;

use crate::caller::Caller;
use crate::refusal::{Refusal, RefusalCode};

/// Default of `MACP_MAX_PAYLOAD_BYTES`: 1 MiB.
pub const DEFAULT_MAX_PAYLOAD_BYTES: usize = 1_048_576;

/// Message types that mean the same in every mode (RFC-MACP-0001 §6).
pub mod core_type {
    /// Starts a session.
    pub const SESSION_START: &str = "SessionStart";
    /// Ends a session with a binding outcome.
    pub const COMMITMENT: &str = "Commitment";
    /// Ambient and never binding.
    pub const SIGNAL: &str = "Signal";
    /// Progress of some work, ambient or about a session; never history.
    pub const PROGRESS: &str = "Progress";
    /// Written by the server only, as are the next two.
    pub const SESSION_CANCEL: &str = "SessionCancel";
    /// See [`SESSION_CANCEL`].
    pub const SESSION_SUSPEND: &str = "SessionSuspend";
    /// See [`SESSION_CANCEL`].
    pub const SESSION_RESUME: &str = "SessionResume";
}

/// Where an envelope of good shape goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plane {
    /// A Signal, or Progress: delivered to watchers and forgotten.
    Ambient,
    /// A message of a session: decided, kept and replayed.
    Session,
}

/// Checks everything that the envelope alone tells, in the specified order; the first fault wins.
///
/// `max_payload_bytes` bounds the payload only. Emptiness of `session_id` is judged as it stands, that of
/// `mode` after trimming white space.
///
/// # Errors
/// `UNSUPPORTED_PROTOCOL_VERSION`, `INVALID_ENVELOPE` or `PAYLOAD_TOO_LARGE`.
pub fn check_shape(envelope: &Envelope, max_payload_bytes: usize) -> Result<Plane, Refusal> {
    if envelope.macp_version != crate::PROTOCOL_VERSION {
        return Err(Refusal::new(
            RefusalCode::UnsupportedProtocolVersion,
            format!(
                "macp_version must be {:?}, the only version this server speaks",
                crate::PROTOCOL_VERSION
            ),
        ));
    }
    if envelope.message_type.is_empty() {
        return Err(Refusal::invalid_envelope("message_type is empty"));
    }
    if envelope.message_id.is_empty() {
        return Err(Refusal::invalid_envelope("message_id is empty; use a fresh UUID for each message"));
    }
    let has_session = !envelope.session_id.is_empty();
    let has_mode = !envelope.mode.trim().is_empty();
    let plane = match envelope.message_type.as_str() {
        core_type::SIGNAL if has_session || has_mode => {
            return Err(Refusal::invalid_envelope("a Signal is ambient: session_id and mode must be empty"));
        }
        core_type::SIGNAL => Plane::Ambient,
        core_type::PROGRESS if has_session != has_mode => {
            return Err(Refusal::invalid_envelope(
                "Progress needs both session_id and mode, or neither when it is ambient",
            ));
        }
        core_type::PROGRESS => Plane::Ambient,
        _ if !has_session => {
            return Err(Refusal::invalid_envelope(
                "session_id is empty; only Signal and Progress may omit it",
            ));
        }
        _ if !has_mode => {
            return Err(Refusal::invalid_envelope("mode is empty; only Signal and Progress may omit it"));
        }
        _ => Plane::Session,
    };
    if envelope.payload.len() > max_payload_bytes {
        return Err(Refusal::new(
            RefusalCode::PayloadTooLarge,
            format!(
                "payload has {} bytes; the limit is {max_payload_bytes} (MACP_MAX_PAYLOAD_BYTES)",
                envelope.payload.len()
            ),
        ));
    }
    Ok(plane)
}

/// Makes the authenticated sender the envelope's sender.
///
/// # Errors
/// `UNAUTHENTICATED` when the envelope claims another sender.
pub fn bind_sender(envelope: &mut Envelope, caller: &Caller) -> Result<(), Refusal> {
    if envelope.sender.is_empty() {
        envelope.sender = caller.sender.as_str().to_owned();
    } else if envelope.sender != caller.sender.as_str() {
        return Err(Refusal::new(
            RefusalCode::Unauthenticated,
            "sender differs from the identity of the credential; leave it empty or send your own",
        ));
    }
    Ok(())
}

/// Checks what the caller may submit at all.
///
/// # Errors
/// `FORBIDDEN` for a `SessionStart` without `can_start_sessions` and for a mode outside `allowed_modes`.
pub fn authorize_mode(envelope: &Envelope, caller: &Caller) -> Result<(), Refusal> {
    if envelope.message_type == core_type::SESSION_START && !caller.capabilities.can_start_sessions {
        return Err(Refusal::forbidden("this identity may not start sessions (can_start_sessions is false)"));
    }
    match &caller.capabilities.allowed_modes {
        Some(allowed) if !allowed.contains(&envelope.mode) => Err(Refusal::forbidden(
            "this identity may not send in this mode (allowed_modes of its credential does not list it)",
        )),
        _ => Ok(()),
    }
}

/// Checks the payload of an ambient envelope: when present it must decode, and a Signal must name its type.
///
/// # Errors
/// `INVALID_ENVELOPE`.
pub fn check_ambient_payload(envelope: &Envelope) -> Result<(), Refusal> {
    if envelope.payload.is_empty() {
        return Ok(());
    }
    if envelope.message_type == core_type::SIGNAL {
        let signal: macp_wire::v1::SignalPayload = decode_payload(envelope)?;
        if signal.signal_type.trim().is_empty() {
            return Err(Refusal::invalid_envelope("SignalPayload.signal_type is blank"));
        }
    } else {
        let _: macp_wire::v1::ProgressPayload = decode_payload(envelope)?;
    }
    Ok(())
}

/// Decodes the payload as `M`; an empty payload is the all-default message.
///
/// # Errors
/// `INVALID_ENVELOPE`.
pub fn decode_payload<M: prost::Message + Default>(envelope: &Envelope) -> Result<M, Refusal> {
    M::decode(&envelope.payload[..]).map_err(|error| {
        Refusal::invalid_envelope(format!(
            "payload is not a protobuf {} message of this mode: {error}",
            envelope.message_type
        ))
    })
}

/// An envelope together with its protobuf bytes, encoded once for storage and for every delivery.
#[derive(Clone, Debug, PartialEq)]
pub struct Sealed {
    envelope: Arc<Envelope>,
    bytes: Bytes,
}

impl Sealed {
    /// Encodes the envelope.
    #[must_use]
    pub fn new(envelope: impl Into<Arc<Envelope>>) -> Self {
        let envelope = envelope.into();
        let bytes = Bytes::from(envelope.encode_to_vec());
        Self { envelope, bytes }
    }

    /// Reads an envelope back; its payload shares the buffer.
    ///
    /// # Errors
    /// The protobuf fault.
    pub fn from_bytes(bytes: Bytes) -> Result<Self, prost::DecodeError> {
        Ok(Self { envelope: Arc::new(Envelope::decode(bytes.clone())?), bytes })
    }

    /// The envelope.
    #[must_use]
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// Its protobuf bytes.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}
