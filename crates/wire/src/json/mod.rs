//! Canonical JSON mapping of RFC-MACP-0001 §10 on the generated message types, in both directions.
//!
//! It is the proto3 JSON mapping with five deviations (§10.8): original field names, 64-bit numbers as JSON
//! numbers while they are exact in a double, defaults written out, three structural transforms (the
//! envelope's time and payload, a policy's rules), and unknown members ignored. The fields of each message
//! come from the build script; the rules for the values are here.

mod deterministic;
mod envelope;
mod error;
mod frame;
mod generated;
mod number;
mod payload;
mod read;
mod reader;
mod rules;
mod time;
mod write;

pub use deterministic::deterministic_bytes;
pub use envelope::{
    EnvelopeFault, decode_envelope, decode_send, write_stream_session_response, write_watch_signals_response,
};
pub use error::{JsonError, JsonErrorKind};
pub use frame::{
    ClientFrameDecoded, FrameFault, decode_client_frame, encode_server_frame, write_envelope_frame,
    write_result_frame, write_signal_frame,
};
pub use payload::{PayloadType, payload_type};
pub use time::text as time_text;

use reader::Reader;

/// Any message generated in this crate. Sealed: its supertraits are private to the crate.
#[expect(private_bounds, reason = "sealed")]
pub trait Json: prost::Message + Default + Codec + deterministic::Deterministic {}

impl<M: prost::Message + Default + Codec + deterministic::Deterministic> Json for M {}

/// The JSON object of one message type.
trait Codec: Sized {
    /// Appends the object.
    fn write(&self, out: &mut Vec<u8>);

    /// Reads the object that is next; anything but an object is a fault.
    fn read(reader: &mut Reader<'_>) -> Result<Self, JsonError>;
}

/// Canonical JSON of a message as UTF-8 bytes, without insignificant whitespace.
pub fn to_vec<M: Json>(message: &M) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    message.write(&mut out);
    out
}

/// Canonical JSON of a message.
pub fn to_string<M: Json>(message: &M) -> String {
    // Every writer appends whole strings or ASCII, so nothing is ever replaced.
    String::from_utf8(to_vec(message))
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// Appends the canonical JSON of a message to `out`.
pub fn write<M: Json>(message: &M, out: &mut Vec<u8>) {
    message.write(out);
}

/// Reads one message from the whole of `text`.
///
/// # Errors
///
/// A [`JsonErrorKind::Text`] fault anywhere in the text is reported before any other fault, so that the kind
/// does not depend on the order of members.
pub fn from_slice<M: Json>(text: &[u8]) -> Result<M, JsonError> {
    let mut reader = Reader::new(text)?;
    match M::read(&mut reader).and_then(|message| reader.end().map(|()| message)) {
        Err(error) if error.kind() != JsonErrorKind::Text => Err(check(text).err().unwrap_or(error)),
        outcome => outcome,
    }
}

/// Checks that the whole of `text` is one JSON value by the rules for text.
fn check(text: &[u8]) -> Result<(), JsonError> {
    let mut reader = Reader::new(text)?;
    reader.skip()?;
    reader.end()
}
