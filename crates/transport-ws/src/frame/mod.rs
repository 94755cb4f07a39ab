//! Frames to and from bytes, in both encodings. Pure: no socket, no engine state.

use bytes::Bytes;
use macp_engine::{Delivery, Form, Method, MethodKind, Signal};
use macp_wire::gateway::v1::client_frame::Body as ClientBody;
use macp_wire::gateway::v1::event::Update;
use macp_wire::gateway::v1::server_frame::Body as ServerBody;
use macp_wire::gateway::v1::{Call, CallResult, ClientFrame, Event, ServerFrame, SessionEnvelope, Topic};
use macp_wire::json::{self, EnvelopeFault, Json};
use macp_wire::v1::{Envelope, WatchSignalsResponse};
use prost::Message as _;
use prost::encoding::{DecodeContext, decode_key, skip_field};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

/// Longest correlation id in bytes.
const MAX_ID_BYTES: usize = 64;

/// How frames are written on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// `macp.v1.json`: canonical JSON in text messages.
    Json,
    /// `macp.v1.proto`: protobuf in binary messages.
    Proto,
}

/// A well-formed client frame.
#[derive(Debug, PartialEq)]
pub(crate) struct Inbound {
    pub(crate) id: String,
    pub(crate) body: Body,
}

/// What a client asks for.
#[derive(Debug, PartialEq)]
pub(crate) enum Body {
    Authenticate {
        token: String,
    },
    /// The envelope, absent or at fault: both are answered by an `ack`.
    Send(Result<Option<Envelope>, EnvelopeFault>),
    Subscribe {
        session_id: String,
        after_sequence: u64,
        snapshot: bool,
    },
    Unsubscribe {
        session_id: String,
    },
    Watch(Topic),
    Unwatch(Topic),
    /// The method is known and unary.
    Call(Call),
    Ping,
}

/// A message that is no frame.
#[derive(Debug, PartialEq)]
pub(crate) struct Malformed {
    /// The frame's id where it could be read.
    pub(crate) id: String,
    pub(crate) reason: String,
    /// What it counts for while it is unanswered.
    pub(crate) cost: usize,
}

impl Malformed {
    pub(crate) fn new(id: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { id: id.into(), reason: reason.into(), cost: 1 }
    }
}

impl Encoding {
    /// Reads a client frame. The result shares nothing with `bytes`, which is part of the socket's read buffer:
    /// to keep a slice of it would pin the whole.
    pub(crate) fn decode(self, bytes: &[u8]) -> Result<Inbound, Malformed> {
        let (id, body) = match self {
            Self::Json => {
                let frame = json::decode_client_frame(bytes)
                    .map_err(|fault| Malformed::new(short(fault.id), fault.error.to_string()))?;
                (frame.id, frame.body)
            }
            Self::Proto => {
                let frame =
                    ClientFrame::decode(bytes).map_err(|error| Malformed::new("", error.to_string()))?;
                let id = frame.id;
                // A decoder keeps the last of several bodies; a client that sends two is mistaken.
                match (frame.body, bodies(bytes)) {
                    (Some(body), 1) => (id, Ok(body)),
                    (None, _) => return Err(Malformed::new(short(id), "the frame has no known body")),
                    (Some(_), _) => {
                        return Err(Malformed::new(short(id), "the frame has more than one body"));
                    }
                }
            }
        };
        if id.len() > MAX_ID_BYTES {
            return Err(Malformed::new("", "id: longer than 64 bytes"));
        }
        match body.map_or_else(|fault| Ok(Body::Send(Err(fault))), checked) {
            Ok(body) => Ok(Inbound { id, body }),
            Err(reason) => Err(Malformed::new(id, reason)),
        }
    }

    /// A server frame.
    pub(crate) fn encode(self, id: &str, body: ServerBody) -> Bytes {
        let frame = ServerFrame { id: id.to_owned(), body: Some(body) };
        match self {
            Self::Json => json::encode_server_frame(&frame).into(),
            Self::Proto => frame.encode_to_vec().into(),
        }
    }

    /// The `result` frame of a call.
    pub(crate) fn result<M: Json>(self, id: &str, method: &str, response: &M) -> Bytes {
        match self {
            Self::Json => written(|out| json::write_result_frame(id, method, response, out)),
            Self::Proto => {
                let response = response.encode_to_vec().into();
                self.encode(id, ServerBody::Result(CallResult { method: method.to_owned(), response }))
            }
        }
    }

    /// The `envelope` frame of a delivery: made once, shared by all subscribers.
    pub(crate) fn envelope(self, delivery: &Delivery) -> Bytes {
        let bytes = match self {
            Self::Json => delivery.form(Form::WsJson, |delivery| {
                written(|out| {
                    let (session_id, sequence) = (delivery.session_id(), delivery.sequence());
                    json::write_envelope_frame(session_id, sequence, delivery.json(), out);
                })
            }),
            Self::Proto => delivery.form(Form::WsProto, |delivery| {
                self.encode(
                    "",
                    ServerBody::Envelope(SessionEnvelope {
                        session_id: delivery.session_id().to_owned(),
                        sequence: delivery.sequence(),
                        envelope: Some(delivery.envelope().clone()),
                    }),
                )
            }),
        };
        bytes.clone()
    }

    /// The `event` frame of a signal: made once, shared by all watchers. An ambient envelope is never delivered in
    /// a session, so its delivery has the same forms free.
    pub(crate) fn signal(self, signal: &Signal) -> Bytes {
        let verified = signal.sender_authenticated;
        let bytes = match self {
            Self::Json => signal.delivery.form(Form::WsJson, |delivery| {
                written(|out| json::write_signal_frame(delivery.json(), verified, out))
            }),
            Self::Proto => signal.delivery.form(Form::WsProto, |delivery| {
                self.event(
                    Topic::Signals,
                    Update::Signal(WatchSignalsResponse {
                        envelope: Some(delivery.envelope().clone()),
                        sender_authenticated: verified,
                    }),
                )
            }),
        };
        bytes.clone()
    }

    /// An `event` frame.
    pub(crate) fn event(self, topic: Topic, update: Update) -> Bytes {
        self.encode("", ServerBody::Event(Event { topic: topic.into(), update: Some(update) }))
    }

    /// The message of a frame; `None` for a JSON frame that is not UTF-8, which no encoder here makes.
    pub(crate) fn message(self, frame: Bytes) -> Option<Message> {
        match self {
            Self::Json => Utf8Bytes::try_from(frame).ok().map(Message::Text),
            Self::Proto => Some(Message::Binary(frame)),
        }
    }
}

fn written(write: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut out = Vec::with_capacity(256);
    write(&mut out);
    out.into()
}

/// An id worth repeating.
fn short(id: String) -> String {
    if id.len() > MAX_ID_BYTES { String::new() } else { id }
}

/// How many bodies a protobuf client frame has.
fn bodies(mut bytes: &[u8]) -> usize {
    let mut bodies = 0;
    while let Ok((tag, wire_type)) = decode_key(&mut bytes) {
        bodies += usize::from((2..=9).contains(&tag));
        if skip_field(wire_type, tag, &mut bytes, DecodeContext::default()).is_err() {
            break;
        }
    }
    bodies
}

/// What the encodings cannot check: topics and methods.
fn checked(body: ClientBody) -> Result<Body, String> {
    Ok(match body {
        ClientBody::Authenticate(authenticate) => Body::Authenticate { token: authenticate.token },
        ClientBody::Send(send) => Body::Send(Ok(send.envelope)),
        ClientBody::Subscribe(subscribe) => Body::Subscribe {
            session_id: subscribe.session_id,
            after_sequence: subscribe.after_sequence,
            snapshot: subscribe.snapshot,
        },
        ClientBody::Unsubscribe(unsubscribe) => Body::Unsubscribe { session_id: unsubscribe.session_id },
        ClientBody::Watch(watch) => Body::Watch(topic(watch.topic)?),
        ClientBody::Unwatch(unwatch) => Body::Unwatch(topic(unwatch.topic)?),
        ClientBody::Call(call) => match Method::from_name(&call.method).map(Method::kind) {
            Some(MethodKind::Unary) => Body::Call(call),
            Some(_) => return Err("call.method: a streaming call; use subscribe or watch".into()),
            None => return Err("call.method: no unary method has this name".into()),
        },
        ClientBody::Ping(_) => Body::Ping,
    })
}

fn topic(number: i32) -> Result<Topic, String> {
    match Topic::try_from(number) {
        Ok(Topic::Unspecified) | Err(_) => {
            Err("topic: use one of SESSIONS, SIGNALS, POLICIES, MODE_REGISTRY and ROOTS".into())
        }
        Ok(topic) => Ok(topic),
    }
}

#[cfg(test)]
mod tests;
