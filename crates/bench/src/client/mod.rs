//! Clients of an MACP server, as lean as they can be: connections to send on, and feeds of a session's envelopes.

mod feed;
mod grpc;
mod http;
mod scan;
mod sse;
mod ws;

use std::net::SocketAddr;

use macp_wire::v1::{Ack, Envelope, MacpError, SessionState};
use tokio::net::TcpStream;

pub(crate) use feed::{Feed, Feeds, Seen};

use crate::traffic::Cast;

/// How to talk to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Transport {
    /// gRPC; feeds are StreamSession calls
    Grpc,
    /// HTTP/1.1 with JSON; feeds are server-sent events
    Http,
    /// WebSocket with protobuf frames
    Ws,
    /// WebSocket with JSON frames
    WsJson,
}

/// The server, and how to talk to it.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// Host and port.
    pub(crate) authority: String,
    pub(crate) transport: Transport,
}

/// Why an operation did not succeed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{code}: {message}")]
pub(crate) struct Failure {
    /// A code of the protocol's registry, or one of this tool in lower case.
    pub(crate) code: String,
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into() }
    }

    /// The connection broke, or never came to be.
    pub(crate) fn connection(error: impl std::error::Error) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            message = format!("{message}: {cause}");
            source = cause.source();
        }
        Self::new("connection", message)
    }

    /// The server said something that the protocol does not provide for.
    pub(crate) fn answer(message: impl Into<String>) -> Self {
        Self::new("bad-answer", message)
    }

    fn refused(error: MacpError) -> Self {
        Self::new(error.code, error.message)
    }
}

impl Target {
    async fn connect(&self) -> Result<TcpStream, Failure> {
        let socket = TcpStream::connect(&self.authority).await.map_err(|error| {
            Failure::new("connection", format!("{} cannot be reached: {error}", self.authority))
        })?;
        socket.set_nodelay(true).map_err(Failure::connection)?;
        Ok(socket)
    }

    /// Waits until something listens, for a server that was started a moment ago.
    pub(crate) async fn resolve(&self) -> Result<SocketAddr, Failure> {
        self.connect().await?.peer_addr().map_err(Failure::connection)
    }
}

/// Connections that the workers of a run share.
pub(crate) enum Pool {
    Grpc(Vec<grpc::Connection>),
    /// A connection takes one request at a time, so each worker has its own.
    Http(Target),
    /// A connection speaks for one sender: for each of them, its connections.
    Ws(Vec<Vec<ws::Connection>>),
}

impl Pool {
    /// Opens `connections` connections; on WebSocket at least one for each sender.
    pub(crate) async fn open(target: &Target, cast: &Cast, connections: usize) -> Result<Self, Failure> {
        match target.transport {
            Transport::Grpc => {
                let mut pool = Vec::new();
                for _ in 0..connections.max(1) {
                    pool.push(grpc::Connection::open(target, cast).await?);
                }
                Ok(Self::Grpc(pool))
            }
            Transport::Http => {
                target.resolve().await?;
                Ok(Self::Http(target.clone()))
            }
            Transport::Ws | Transport::WsJson => {
                let each = connections.div_ceil(cast.senders.len()).max(1);
                let mut pool = Vec::new();
                for sender in &cast.senders {
                    let mut own = Vec::new();
                    for _ in 0..each {
                        own.push(ws::Connection::open(target, sender).await?);
                    }
                    pool.push(own);
                }
                Ok(Self::Ws(pool))
            }
        }
    }

    /// What one worker sends on.
    pub(crate) async fn link(&self, cast: &Cast, worker: usize) -> Result<Link, Failure> {
        Ok(match self {
            Self::Grpc(pool) => Link::Grpc(pool[worker % pool.len()].clone()),
            Self::Http(target) => Link::Http(Box::new(http::Connection::open(target, cast).await?)),
            Self::Ws(pool) => Link::Ws(pool.iter().map(|own| own[worker % own.len()].clone()).collect()),
        })
    }
}

/// What one worker sends on.
pub(crate) enum Link {
    Grpc(grpc::Connection),
    Http(Box<http::Connection>),
    /// For each sender, its connection.
    Ws(Vec<ws::Connection>),
}

impl Link {
    /// Sends an envelope as one of the cast, and checks its Ack: accepted, for the first time, and of this envelope.
    pub(crate) async fn send(&mut self, sender: usize, envelope: Envelope) -> Result<SessionState, Failure> {
        let asked = (envelope.session_id.clone(), envelope.message_id.clone());
        let ack = match self {
            Self::Grpc(connection) => connection.send(sender, envelope).await?,
            Self::Http(connection) => connection.send(sender, envelope).await?,
            Self::Ws(connections) => connections[sender].send(envelope).await?,
        };
        check(&asked.0, &asked.1, ack)
    }
}

fn check(session_id: &str, message_id: &str, ack: Ack) -> Result<SessionState, Failure> {
    if !ack.ok {
        let error = ack.error.unwrap_or_default();
        return Err(match error.code.is_empty() {
            true => Failure::answer("an Ack that is not ok and has no code"),
            false => Failure::refused(error),
        });
    }
    if ack.session_id != session_id || ack.message_id != message_id {
        return Err(Failure::answer("the Ack is of another envelope"));
    }
    if ack.duplicate {
        return Err(Failure::new(
            "unexpected-duplicate",
            "a message that was sent once is called a duplicate",
        ));
    }
    Ok(ack.session_state())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ack_must_be_ok_and_of_this_envelope_and_the_first() {
        let good = Ack { ok: true, session_id: "s".into(), message_id: "m".into(), ..Ack::default() };
        assert!(check("s", "m", good.clone()).is_ok());
        let code = |ack: Ack| check("s", "m", ack).unwrap_err().code;
        assert_eq!(code(Ack { session_id: "t".into(), ..good.clone() }), "bad-answer");
        assert_eq!(code(Ack { message_id: "n".into(), ..good.clone() }), "bad-answer");
        assert_eq!(code(Ack { duplicate: true, ..good.clone() }), "unexpected-duplicate");
        assert_eq!(code(Ack { ok: false, ..good.clone() }), "bad-answer");
        let error = MacpError { code: "RATE_LIMITED".into(), ..MacpError::default() };
        assert_eq!(code(Ack { ok: false, error: Some(error), ..good }), "RATE_LIMITED");
    }
}
