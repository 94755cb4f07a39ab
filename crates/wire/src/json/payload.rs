//! Which message an envelope's payload is (RFC-MACP-0001 §10.12), and its bytes to and from JSON.

use super::deterministic::deterministic_bytes;
use super::error::JsonError;
use super::reader::Reader;
use super::{Json, generated};

/// The message type of a payload.
#[derive(Clone, Copy)]
pub struct PayloadType(Schema);

impl PayloadType {
    /// The full protobuf name, like `macp.modes.decision.v1.VotePayload`.
    pub fn name(&self) -> &'static str {
        self.0.name
    }

    pub(super) fn schema(&self) -> &Schema {
        &self.0
    }
}

impl std::fmt::Debug for PayloadType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("PayloadType").field(&self.0.name).finish()
    }
}

/// The payload message for an envelope's mode and message type; `None` when the pair has no schema, as for
/// registered extension modes: such payloads travel as `payload_b64` only.
pub fn payload_type(mode: &str, message_type: &str) -> Option<PayloadType> {
    let of_mode = || {
        let package = match mode {
            "ext.multi_round.v1" => "multi_round",
            _ => mode.strip_prefix("macp.mode.")?.strip_suffix(".v1")?,
        };
        generated::of_mode(package, message_type)
    };
    generated::core(message_type).or_else(of_mode).map(PayloadType)
}

/// A message type chosen at run time: conversions between its bytes and its JSON.
#[derive(Clone, Copy)]
pub(super) struct Schema {
    name: &'static str,
    to_json: fn(&[u8], bool, &mut Vec<u8>) -> bool,
    from_json: fn(&mut Reader<'_>) -> Result<Vec<u8>, JsonError>,
}

impl Schema {
    pub(super) fn of<M: Json>(name: &'static str) -> Self {
        Self { name, to_json: to_json::<M>, from_json: from_json::<M> }
    }

    /// Appends the message's JSON; false, with nothing appended, when the bytes do not decode.
    pub(super) fn write(&self, bytes: &[u8], out: &mut Vec<u8>) -> bool {
        (self.to_json)(bytes, false, out)
    }

    /// Like [`write`](Self::write), but false also when the bytes could not be had back from the JSON.
    pub(super) fn write_exact(&self, bytes: &[u8], out: &mut Vec<u8>) -> bool {
        (self.to_json)(bytes, true, out)
    }

    /// Reads the message's JSON into its deterministic bytes.
    pub(super) fn read(&self, reader: &mut Reader<'_>) -> Result<Vec<u8>, JsonError> {
        (self.from_json)(reader)
    }
}

fn to_json<M: Json>(bytes: &[u8], exact: bool, out: &mut Vec<u8>) -> bool {
    let Ok(message) = M::decode(bytes) else { return false };
    // An unknown field is lost in decoding, so this comparison finds it too.
    if exact && deterministic_bytes(&message) != bytes {
        return false;
    }
    message.write(out);
    true
}

fn from_json<M: Json>(reader: &mut Reader<'_>) -> Result<Vec<u8>, JsonError> {
    M::read(reader).map(|message| deterministic_bytes(&message))
}
