//! Registered extension modes: any listed message of a participant, until the initiator commits (RFC-MACP-0002 §12).
//!
//! The server knows nothing of such a mode but its descriptor. Payloads are kept in history and never read.

use macp_wire::v1::Envelope;
use serde::Serialize;

use super::{Context, Mode, Step, commitment, json_resolution};
use crate::envelope::core_type;
use crate::refusal::Refusal;
use crate::session::Binding;

/// State of a session of a registered mode: none that the server could know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passthrough;

/// What a session resolves to; not a `CommitmentPayload`, hence without a receipt.
#[derive(Serialize)]
struct Resolution<'a> {
    action: &'a str,
    commitment_id: &'a str,
}

impl Mode for Passthrough {
    type Change = ();

    fn start(_binding: &Binding) -> Result<Self, Refusal> {
        Ok(Self)
    }

    /// A session without declared participants is open to every authenticated sender.
    fn authorize(&self, binding: &Binding, sender: &str, message_type: &str) -> Result<(), Refusal> {
        match message_type {
            core_type::COMMITMENT => commitment::require_initiator(binding, sender, message_type),
            _ if binding.participants.is_empty() => Ok(()),
            _ => commitment::require_participant(binding, sender),
        }
    }

    fn decide(&self, context: &Context<'_>, envelope: &Envelope) -> Result<Step<()>, Refusal> {
        let binding = context.binding();
        let message_type = envelope.message_type.as_str();
        if message_type == core_type::SESSION_START || !binding.message_types.contains(message_type) {
            return Err(Refusal::invalid_envelope(format!(
                "mode {} was registered without messages of type {message_type:?}",
                binding.mode
            )));
        }
        if message_type != core_type::COMMITMENT {
            return Ok(Step::to(()));
        }
        let payload = commitment::check(binding, envelope)?;
        let resolution = Resolution { action: &payload.action, commitment_id: &payload.commitment_id };
        Ok(Step { change: (), resolution: Some(json_resolution(&resolution)?) })
    }

    fn apply(&mut self, (): &()) {}
}
