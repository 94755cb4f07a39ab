//! The envelope's JSON: its time and payload transforms, and who is at fault when it is refused.

use bytes::Bytes;

use super::error::{JsonError, JsonErrorKind};
use super::payload::payload_type;
use super::reader::Reader;
use super::{Codec, from_slice, read, time, write};
use crate::v1::{Envelope, SendRequest};

impl Codec for Envelope {
    fn write(&self, out: &mut Vec<u8>) {
        write::open(out);
        for (name, value) in [
            ("macp_version", &self.macp_version),
            ("mode", &self.mode),
            ("message_type", &self.message_type),
            ("message_id", &self.message_id),
            ("session_id", &self.session_id),
            ("sender", &self.sender),
        ] {
            write::key(out, name);
            write::string(out, value);
        }
        write::key(out, "timestamp");
        time::write(out, self.timestamp_unix_ms);

        let before = out.len();
        write::key(out, "payload");
        let schema = payload_type(&self.mode, &self.message_type);
        if !schema.is_some_and(|payload| payload.schema().write_exact(&self.payload, out)) {
            out.truncate(before);
            write::key(out, "payload_b64");
            write::bytes(out, &self.payload);
        }
        write::close(out);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, JsonError> {
        read_envelope(reader).map_err(JsonError::in_envelope)
    }
}

fn read_envelope(reader: &mut Reader<'_>) -> Result<Envelope, JsonError> {
    let mut envelope = Envelope::default();
    let mut inline = None;
    let mut encoded = None;
    reader.members(&mut |reader, name| {
        match name {
            "macp_version" => envelope.macp_version = read::string(reader)?,
            "mode" => envelope.mode = read::string(reader)?,
            "message_type" => envelope.message_type = read::string(reader)?,
            "message_id" => envelope.message_id = read::string(reader)?,
            "session_id" => envelope.session_id = read::string(reader)?,
            "sender" => envelope.sender = read::string(reader)?,
            "timestamp" => envelope.timestamp_unix_ms = time::parse(&reader.string()?)?,
            "payload" => inline = Some(Inline::read(reader, &envelope)?),
            "payload_b64" => encoded = Some(read::bytes(reader)?),
            _ => reader.skip()?,
        }
        Ok(())
    })?;
    envelope.payload = match (inline, encoded) {
        (None, Some(bytes)) => bytes,
        (Some(Inline::Bytes(bytes)), None) => bytes,
        (Some(Inline::Text(text)), None) => {
            let payload = payload_type(&envelope.mode, &envelope.message_type).ok_or_else(|| {
                JsonError::value("mode and message_type have no payload schema: send payload_b64")
                    .under("payload")
            })?;
            let bytes = payload.schema().read(&mut Reader::nested(text, 0));
            bytes.map_err(|error| error.under("payload"))?.into()
        }
        (None, None) => return Err(JsonError::value("one of payload and payload_b64 is required")),
        (Some(_), Some(_)) => return Err(JsonError::value("payload and payload_b64 exclude each other")),
    };
    Ok(envelope)
}

/// The payload of an envelope.
enum Inline<'a> {
    /// Its bytes: mode and message type came before it, as they usually do.
    Bytes(Bytes),
    /// Its text, which is read when all members are known. So is a faulty one, so that the fault which is reported does
    /// not depend on the order of members.
    Text(&'a str),
}

impl<'a> Inline<'a> {
    fn read(reader: &mut Reader<'a>, so_far: &Envelope) -> Result<Self, JsonError> {
        let payload = payload_type(&so_far.mode, &so_far.message_type);
        let bytes = payload.and_then(|payload| reader.attempt(|reader| payload.schema().read(reader)));
        match bytes {
            Some(bytes) => Ok(Self::Bytes(bytes.into())),
            None => reader.raw().map(Self::Text),
        }
    }
}

/// A fault inside an envelope: it is answered in band with an `INVALID_ENVELOPE` refusal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct EnvelopeFault {
    /// What is wrong and in which member.
    pub message: String,
    /// The envelope's `message_id` when that was a JSON string, else empty.
    pub message_id: String,
    /// The envelope's `session_id` when that was a JSON string, else empty.
    pub session_id: String,
}

impl EnvelopeFault {
    /// The fault `error` of the envelope at `path` in a text that is well-formed.
    pub(super) fn new(error: &JsonError, text: &[u8], path: &[&str]) -> Self {
        let mut fault =
            Self { message: error.to_string(), message_id: String::new(), session_id: String::new() };
        // The text was read to its end before, so this finds what is there and has no fault of its own.
        let _ = Reader::new(text).and_then(|mut reader| fault.locate(&mut reader, path));
        fault
    }

    fn locate(&mut self, reader: &mut Reader<'_>, path: &[&str]) -> Result<(), JsonError> {
        reader.object(&mut |reader, name| match (path, reader.peek()) {
            ([next, rest @ ..], Some(b'{')) if *next == name => self.locate(reader, rest),
            ([], Some(b'"')) if name == "message_id" => {
                self.message_id = read::string(reader)?;
                Ok(())
            }
            ([], Some(b'"')) if name == "session_id" => {
                self.session_id = read::string(reader)?;
                Ok(())
            }
            _ => reader.skip(),
        })
    }
}

/// Reads the body of a Send and tells its two layers of faults apart (RFC-MACP-0006 §4.4).
///
/// # Errors
///
/// The outer error is one of the request: faulty text, a body that is no object, or no `envelope` (missing or
/// `null`). The inner error is one of the envelope.
pub fn decode_send(text: &[u8]) -> Result<Result<Envelope, EnvelopeFault>, JsonError> {
    match from_slice::<SendRequest>(text) {
        Ok(SendRequest { envelope: Some(envelope) }) => Ok(Ok(envelope)),
        Ok(SendRequest { envelope: None }) => Err(JsonError::value("required").under("envelope")),
        Err(error) if error.kind() == JsonErrorKind::Envelope => {
            Ok(Err(EnvelopeFault::new(&error, text, &["envelope"])))
        }
        Err(error) => Err(error),
    }
}

/// Reads a text that is an envelope and nothing around it, with the same two layers of faults as [`decode_send`].
///
/// # Errors
///
/// The outer error is one of the text: not JSON, or no object. The inner error is one of the envelope.
pub fn decode_envelope(text: &[u8]) -> Result<Result<Envelope, EnvelopeFault>, JsonError> {
    match from_slice::<Envelope>(text) {
        Ok(envelope) => Ok(Ok(envelope)),
        Err(error) if error.kind() == JsonErrorKind::Envelope && Reader::new(text)?.peek() == Some(b'{') => {
            Ok(Err(EnvelopeFault::new(&error, text, &[])))
        }
        Err(error) => Err(error),
    }
}

/// Appends a `StreamSessionResponse` around the ready canonical JSON of an envelope.
pub fn write_stream_session_response(envelope: &[u8], out: &mut Vec<u8>) {
    write::open(out);
    write::key(out, "envelope");
    out.extend_from_slice(envelope);
    write::close(out);
}

/// Appends a `WatchSignalsResponse` around the ready canonical JSON of an envelope.
pub fn write_watch_signals_response(envelope: &[u8], sender_authenticated: bool, out: &mut Vec<u8>) {
    write::open(out);
    write::key(out, "envelope");
    out.extend_from_slice(envelope);
    write::key(out, "sender_authenticated");
    write::boolean(out, &sender_authenticated);
    write::close(out);
}
