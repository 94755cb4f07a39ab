//! `ext.multi_round.v1`: participants contribute values until all are equal. No RFC; the wire comments define it.

use std::collections::BTreeMap;

use bytes::Bytes;
use macp_wire::modes::multi_round::v1::ContributePayload;
use macp_wire::v1::Envelope;
use prost::Message as _;
use serde::{Deserialize, Serialize};

use super::{BuiltIn, Context, Mode, Step, commitment, json_resolution};
use crate::envelope::core_type;
use crate::refusal::Refusal;
use crate::session::Binding;

/// The mode's id.
pub const MODE: &str = "ext.multi_round.v1";

pub(super) const BUILT_IN: BuiltIn = BuiltIn {
    mode: MODE,
    title: "Multi-Round Mode",
    description: "Participants contribute and revise values until all agree; a Commitment binds the agreed value.",
    determinism_class: "semantic-deterministic",
    participant_model: "peer",
    between: &["Contribute"],
};

/// State of a multi-round session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MultiRound {
    /// How many contributions changed something.
    pub round: u64,
    /// Sender to its latest value.
    pub contributions: BTreeMap<String, String>,
    /// Whether every participant has contributed and all values are equal. Final.
    pub converged: bool,
}

/// What an accepted message changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A first or another value.
    Contributed {
        /// Who.
        sender: String,
        /// The value.
        value: String,
        /// Whether all participants agree now.
        converged: bool,
    },
    /// The sender said again what it had said.
    Repeated,
    /// The outcome is bound.
    Committed,
}

/// What a session resolves to; not a `CommitmentPayload`, hence without a receipt.
#[derive(Serialize)]
struct Resolution<'a> {
    converged_value: &'a str,
    round: u64,
    #[serde(rename = "final")]
    contributions: &'a BTreeMap<String, String>,
}

impl Mode for MultiRound {
    type Change = Change;

    fn start(binding: &Binding) -> Result<Self, Refusal> {
        if binding.participants.is_empty() {
            return Err(Refusal::invalid_envelope("a multi-round session needs at least one participant"));
        }
        Ok(Self::default())
    }

    /// The bound policy gives no authority here.
    fn authorize(&self, binding: &Binding, sender: &str, message_type: &str) -> Result<(), Refusal> {
        match message_type {
            core_type::COMMITMENT => commitment::require_initiator(binding, sender, message_type),
            _ => commitment::require_participant(binding, sender),
        }
    }

    fn decide(&self, context: &Context<'_>, envelope: &Envelope) -> Result<Step<Change>, Refusal> {
        match envelope.message_type.as_str() {
            "Contribute" => self.contribute(context.binding(), envelope),
            core_type::COMMITMENT => self.commit(context.binding(), envelope),
            other => Err(BUILT_IN.unknown_type(other)),
        }
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Contributed { sender, value, converged } => {
                self.round = self.round.saturating_add(1);
                self.contributions.insert(sender.clone(), value.clone());
                self.converged = *converged;
            }
            Change::Repeated | Change::Committed => {}
        }
    }
}

impl MultiRound {
    fn contribute(&self, binding: &Binding, envelope: &Envelope) -> Result<Step<Change>, Refusal> {
        if self.converged {
            return Err(Refusal::invalid_envelope("all participants agree; nothing more is contributed"));
        }
        let value = read_value(&envelope.payload)?;
        if self.contributions.get(&envelope.sender) == Some(&value) {
            return Ok(Step::to(Change::Repeated));
        }
        let converged = binding.participants.iter().all(|participant| {
            participant.as_str() == envelope.sender
                || self.contributions.get(participant.as_str()) == Some(&value)
        });
        Ok(Step::to(Change::Contributed { sender: envelope.sender.clone(), value, converged }))
    }

    fn commit(&self, binding: &Binding, envelope: &Envelope) -> Result<Step<Change>, Refusal> {
        // Any of the values will do: they are equal.
        let agreed = self.contributions.values().next().filter(|_| self.converged);
        let Some(converged_value) = agreed else {
            return Err(Refusal::invalid_envelope("the participants do not agree on a value yet"));
        };
        commitment::check(binding, envelope)?;
        let resolution =
            Resolution { converged_value, round: self.round, contributions: &self.contributions };
        Ok(Step { change: Change::Committed, resolution: Some(json_resolution(&resolution)?) })
    }
}

/// Reads a contribution, which clients write as protobuf or as a JSON object with a string `value`.
///
/// Some bytes are both. They count as protobuf when they are exactly what an encoder writes, since JSON written by
/// hand hardly ever is.
fn read_value(payload: &Bytes) -> Result<String, Refusal> {
    if payload.is_empty() {
        return Err(Refusal::invalid_envelope("Contribute needs a ContributePayload; its payload is empty"));
    }
    let protobuf = ContributePayload::decode(payload.clone());
    let canonical = protobuf.as_ref().is_ok_and(|decoded| decoded.encode_to_vec() == payload[..]);
    if !canonical && let Some(value) = json_value(payload) {
        return Ok(value);
    }
    match protobuf {
        Ok(decoded) => Ok(decoded.value),
        Err(error) => Err(Refusal::invalid_envelope(format!(
            "payload is neither a protobuf ContributePayload ({error}) nor a JSON object with a string \"value\""
        ))),
    }
}

/// The `value` of a JSON object; other members do not matter, a second `value` leaves open which one counts.
fn json_value(payload: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Contribution {
        value: String,
    }

    // A struct is read from an array, too.
    if payload.trim_ascii_start().first() != Some(&b'{') {
        return None;
    }
    serde_json::from_slice(payload).ok().map(|Contribution { value }| value)
}
