//! WebSocket frames in JSON: calls whose messages depend on the method, and faults that keep the frame's id.

use bytes::Bytes;

use super::envelope::{EnvelopeFault, write_watch_signals_response};
use super::error::{JsonError, JsonErrorKind};
use super::payload::Schema;
use super::reader::Reader;
use super::{Codec, Json, from_slice, read, to_vec, write};
use crate::gateway::v1::{Call, CallResult, ClientFrame, ServerFrame, Topic, client_frame::Body};

macro_rules! schemas {
    ($($name:ident, $function:ident, $request:ty, $response:ty, $kind:ident;)*) => {
        /// Request and response of a unary method; `None` for streams and unknown names.
        fn schemas(method: &str) -> Option<(Schema, Schema)> {
            match method {
                $(stringify!($name) if stringify!($kind) == "unary" => Some((
                    Schema::of::<$request>(stringify!($request)),
                    Schema::of::<$response>(stringify!($response)),
                )),)*
                _ => None,
            }
        }
    };
}
crate::for_each_method!(schemas);

impl Codec for Call {
    fn write(&self, out: &mut Vec<u8>) {
        let schema = schemas(&self.method).map(|(request, _)| request);
        write_call(out, &self.method, "request", schema, &self.request);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, JsonError> {
        let (method, request) = read_call(reader, "request", |method| Some(schemas(method)?.0))?;
        Ok(Self { method, request })
    }
}

impl Codec for CallResult {
    fn write(&self, out: &mut Vec<u8>) {
        let schema = schemas(&self.method).map(|(_, response)| response);
        write_call(out, &self.method, "response", schema, &self.response);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, JsonError> {
        let (method, response) = read_call(reader, "response", |method| Some(schemas(method)?.1))?;
        Ok(Self { method, response })
    }
}

/// Writes the message inline. Bytes that are not the method's message, which no peer can send in JSON, are
/// written as plain bytes rather than lost.
fn write_call(out: &mut Vec<u8>, method: &str, member: &str, schema: Option<Schema>, bytes: &[u8]) {
    write::open(out);
    write::key(out, "method");
    write::string(out, method);
    write::key(out, member);
    if !schema.is_some_and(|schema| schema.write(bytes, out)) {
        write::bytes(out, bytes);
    }
    write::close(out);
}

/// Reads a method and its message; a message that is missing or `null` is the default one.
fn read_call(
    reader: &mut Reader<'_>,
    member: &str,
    schema: impl Fn(&str) -> Option<Schema>,
) -> Result<(String, Bytes), JsonError> {
    let mut method = String::new();
    // Read at the end: the method may come behind it.
    let mut message = "{}";
    reader.members(&mut |reader, name| {
        match name {
            "method" => method = read::string(reader)?,
            name if name == member => message = reader.raw()?,
            _ => reader.skip()?,
        }
        Ok(())
    })?;
    let schema =
        schema(&method).ok_or_else(|| JsonError::value("no unary method has this name").under("method"))?;
    let bytes = schema.read(&mut Reader::nested(message, 0)).map_err(|error| error.under(member))?;
    Ok((method, bytes.into()))
}

/// A client frame that was well-formed, at least as a frame.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientFrameDecoded {
    /// The frame's correlation id; empty when it has none.
    pub id: String,
    /// The body. The error is a `send` whose `envelope` is at fault: it is answered by an `ack` in band.
    /// A `call`'s request is the serialized request message of its method; a `send` may lack its envelope.
    pub body: Result<Body, EnvelopeFault>,
}

/// Why a client frame was refused as a whole: it is answered by an `error` frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct FrameFault {
    /// The frame's id where it could be read, else empty.
    pub id: String,
    /// What is wrong and in which member.
    pub error: JsonError,
}

/// Reads one JSON client frame.
///
/// # Errors
///
/// Refuses faulty text, a frame without exactly one known body, a method that is not unary or not known, and
/// any member of the wrong type outside `send.envelope`. An unknown topic reads as `TOPIC_UNSPECIFIED`.
pub fn decode_client_frame(text: &[u8]) -> Result<ClientFrameDecoded, FrameFault> {
    let error = match from_slice::<ClientFrame>(text) {
        Ok(ClientFrame { id, body: Some(body) }) => return Ok(ClientFrameDecoded { id, body: Ok(body) }),
        Ok(ClientFrame { id, body: None }) => {
            return Err(FrameFault { id, error: JsonError::value("the frame has no known body") });
        }
        Err(error) => error,
    };
    if error.kind() == JsonErrorKind::Text {
        return Err(FrameFault { id: String::new(), error });
    }
    let frame = Outline::of(text);
    let of_envelope = error.kind() == JsonErrorKind::Envelope && error.path().starts_with("send.");
    if of_envelope && frame.sound {
        let fault = EnvelopeFault::new(&error, text, &["send", "envelope"]);
        return Ok(ClientFrameDecoded { id: frame.id, body: Err(fault) });
    }
    Err(FrameFault { id: frame.id, error })
}

/// What can be told about a frame without reading its body.
#[derive(Default)]
struct Outline {
    id: String,
    /// The id is a string (or missing), and there is one body.
    sound: bool,
}

impl Outline {
    const BODIES: [&str; 8] =
        ["authenticate", "send", "subscribe", "unsubscribe", "watch", "unwatch", "call", "ping"];

    /// The outline of a text that is well-formed.
    fn of(text: &[u8]) -> Self {
        let mut outline = Self::default();
        let mut bodies = 0;
        let mut read = |reader: &mut Reader<'_>| {
            reader.members(&mut |reader, name| {
                bodies += usize::from(Self::BODIES.contains(&name));
                match name {
                    "id" => outline.id = read::string(reader)?,
                    _ => reader.skip()?,
                }
                Ok(())
            })
        };
        let read = Reader::new(text).and_then(|mut reader| read(&mut reader));
        outline.sound = read.is_ok() && bodies == 1;
        outline
    }
}

/// Canonical JSON of a server frame, a call's response rendered as the method's message.
pub fn encode_server_frame(frame: &ServerFrame) -> Vec<u8> {
    to_vec(frame)
}

/// Appends an `envelope` frame around the ready canonical JSON of the envelope.
pub fn write_envelope_frame(session_id: &str, sequence: u64, envelope: &[u8], out: &mut Vec<u8>) {
    open_frame("", "envelope", out);
    write::open(out);
    write::key(out, "session_id");
    write::string(out, session_id);
    write::key(out, "sequence");
    write::uint64(out, &sequence);
    write::key(out, "envelope");
    out.extend_from_slice(envelope);
    write::close(out);
    write::close(out);
}

/// Appends an `event` frame of the topic `SIGNALS` around the ready canonical JSON of the envelope.
pub fn write_signal_frame(envelope: &[u8], sender_authenticated: bool, out: &mut Vec<u8>) {
    open_frame("", "event", out);
    write::open(out);
    write::key(out, "topic");
    write::string(out, Topic::Signals.as_str_name());
    write::key(out, "signal");
    write_watch_signals_response(envelope, sender_authenticated, out);
    write::close(out);
    write::close(out);
}

/// Appends a `result` frame from the response message itself, which need not be serialized first.
pub fn write_result_frame<M: Json>(id: &str, method: &str, response: &M, out: &mut Vec<u8>) {
    open_frame(id, "result", out);
    write::open(out);
    write::key(out, "method");
    write::string(out, method);
    write::key(out, "response");
    response.write(out);
    write::close(out);
    write::close(out);
}

/// Appends the start of a server frame, up to the value of its body.
fn open_frame(id: &str, body: &str, out: &mut Vec<u8>) {
    write::open(out);
    write::key(out, "id");
    write::string(out, id);
    write::key(out, body);
}
