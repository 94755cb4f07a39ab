//! The envelopes of a session as they are delivered, on any transport.

use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use super::sse::Events;
use super::{Failure, Target, Transport, grpc, http, scan, ws};
use crate::traffic::Cast;

/// A delivered envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The number of the message if it is one of this run.
    pub(crate) index: Option<u64>,
    /// Its place in the session, where the transport tells it.
    pub(crate) sequence: Option<u64>,
}

/// An open subscription.
pub(crate) struct Feed {
    cast: Cast,
    source: Source,
}

enum Source {
    Grpc(Box<grpc::Following>),
    Sse { body: Incoming, events: Events },
    Ws { follower: Box<ws::Follower>, binary: bool },
}

/// Connections that feeds of one run share, where their transport can.
pub(crate) struct Feeds {
    target: Target,
    cast: Cast,
    grpc: Vec<grpc::Connection>,
}

impl Feeds {
    /// `connections` is how many gRPC connections the streams share; on the other transports each has its own.
    pub(crate) async fn open(target: &Target, cast: &Cast, connections: usize) -> Result<Self, Failure> {
        let mut grpc = Vec::new();
        if target.transport == Transport::Grpc {
            for _ in 0..connections.max(1) {
                grpc.push(grpc::Connection::open(target, cast).await?);
            }
        }
        Ok(Self { target: target.clone(), cast: cast.clone(), grpc })
    }

    /// Follows a session behind `after`, as the sender who may see it. `number` picks the connection.
    pub(crate) async fn follow(
        &self,
        number: usize,
        sender: usize,
        session: &str,
        after: u64,
    ) -> Result<Feed, Failure> {
        let target = &self.target;
        let source = match target.transport {
            Transport::Grpc => {
                let mut connection = self.grpc[number % self.grpc.len()].clone();
                Source::Grpc(Box::new(connection.follow(sender, session, after).await?))
            }
            Transport::Http => {
                let connection = http::Connection::open(target, &self.cast).await?;
                Source::Sse {
                    body: connection.follow(sender, session, after).await?,
                    events: Events::default(),
                }
            }
            Transport::Ws | Transport::WsJson => {
                let sender = &self.cast.senders[sender];
                let follower = Box::new(ws::Follower::open(target, sender, session, after).await?);
                Source::Ws { follower, binary: target.transport == Transport::Ws }
            }
        };
        Ok(Feed { cast: self.cast.clone(), source })
    }
}

impl Feed {
    /// The next envelope; `None` when the server ends the stream.
    pub(crate) async fn next(&mut self) -> Result<Option<Seen>, Failure> {
        match &mut self.source {
            Source::Grpc(following) => loop {
                let message = following.responses.message().await;
                let Some(message) = message.map_err(|status| grpc::failure(&status))? else {
                    return Ok(None);
                };
                // Field 1 of the response is an envelope, whose field 4 is its id; other responses are errors.
                if let Some(envelope) = scan::field(&message, 1) {
                    let id = scan::field(envelope, 4).unwrap_or_default();
                    return Ok(Some(Seen { index: self.cast.index(id), sequence: None }));
                }
                if let Some(error) = scan::field(&message, 2) {
                    let code = scan::field(error, 1).unwrap_or_default();
                    return Err(Failure::new(String::from_utf8_lossy(code), "an error inside the stream"));
                }
            },
            Source::Sse { body, events } => loop {
                if let Some(event) = events.next() {
                    let data = String::from_utf8_lossy(&event.data);
                    if &event.name[..] == b"error" {
                        let code = scan::json_text(&event.data, "code").unwrap_or_default();
                        return Err(Failure::new(String::from_utf8_lossy(code), data));
                    }
                    let Some(id) = scan::json_text(&event.data, "message_id") else {
                        return Err(Failure::answer(format!("an event without an envelope: {data}")));
                    };
                    return Ok(Some(Seen { index: self.cast.index(id), sequence: event.id }));
                }
                match body.frame().await {
                    Some(frame) => {
                        if let Some(bytes) = frame.map_err(Failure::connection)?.data_ref() {
                            events.push(bytes)?;
                        }
                    }
                    None => return Ok(None),
                }
            },
            Source::Ws { follower, binary } => loop {
                let Some(frame) = follower.frame().await? else { return Ok(None) };
                if let Some(seen) =
                    if *binary { binary_frame(&self.cast, &frame)? } else { text_frame(&self.cast, &frame)? }
                {
                    return Ok(Some(seen));
                }
            },
        }
    }
}

/// An `envelope` frame; `None` for the others that a subscription brings, a failure for `error`.
fn binary_frame(cast: &Cast, frame: &[u8]) -> Result<Option<Seen>, Failure> {
    if let Some(body) = scan::field(frame, 7) {
        let id = scan::field(body, 3).and_then(|envelope| scan::field(envelope, 4)).unwrap_or_default();
        return Ok(Some(Seen { index: cast.index(id), sequence: scan::number(body, 2) }));
    }
    match scan::field(frame, 15) {
        Some(error) => {
            let code = scan::field(error, 1).unwrap_or_default();
            Err(Failure::new(String::from_utf8_lossy(code), "an error frame"))
        }
        None => Ok(None),
    }
}

/// The same in JSON: `{"id":"","envelope":{"session_id":…,"sequence":…,"envelope":{…}}}`.
fn text_frame(cast: &Cast, frame: &[u8]) -> Result<Option<Seen>, Failure> {
    if frame.starts_with(br#"{"id":"","envelope":"#) {
        let id = scan::json_text(frame, "message_id").unwrap_or_default();
        return Ok(Some(Seen { index: cast.index(id), sequence: scan::json_number(frame, "sequence") }));
    }
    if frame.starts_with(br#"{"id":"","error":"#) {
        let code = scan::json_text(frame, "code").unwrap_or_default();
        return Err(Failure::new(String::from_utf8_lossy(code), String::from_utf8_lossy(frame)));
    }
    Ok(None)
}
