//! One client for each transport, behind one interface, so that a scenario can be played on any of them.

mod authority;
mod grpc;
mod grpc_web;
mod half_sent;
mod hints;
mod http;
mod issuer;
mod session;
mod ws;

use std::net::SocketAddr;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use macp_wire::v1::{Ack, Envelope};
use serde_json::Value;

pub(crate) use authority::{Authority, Certified, Dialer, Files};
pub(crate) use grpc::Grpc;
pub(crate) use grpc_web::GrpcWeb;
pub(crate) use half_sent::HalfSent;
pub(crate) use hints::Hints;
pub(crate) use http::{Http, Sse, whole};
pub(crate) use issuer::{Issuer, KeyServer};
pub(crate) use session::{MODE, Session};
pub(crate) use ws::{Credential, Socket, Ws};

use crate::wait::soon;

/// The code of a refused request: of the MACP registry, or what the transport says in its place.
pub(crate) type Code = String;

/// An accepted envelope as an observer got it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) sequence: u64,
    pub(crate) envelope: Envelope,
}

/// What an observer of a session gets; ends when its transport says that the session has ended.
pub(crate) type Feed = BoxStream<'static, Seen>;

/// A caller on some transport. Connections are opened when they are needed.
#[async_trait]
pub(crate) trait Agent: Send {
    /// Sends an envelope; the Ack, or the code of the refused request.
    async fn send(&mut self, envelope: &Envelope) -> Result<Ack, Code>;

    /// Any unary call, request and response as JSON.
    async fn call(&mut self, method: &str, request: &Value) -> Result<Value, Code>;

    /// Opens one of the watches, by its call's name.
    async fn watch(&mut self, method: &str) -> Result<(), Code>;

    /// Observes a session on a connection of its own.
    async fn observe(&mut self, session: &str, after: u64) -> Result<Feed, Code>;
}

/// A caller on every transport, on every listener, in every form that the transport has.
pub(crate) fn everywhere(ports: [SocketAddr; 2], token: &str) -> Vec<(String, Box<dyn Agent>)> {
    let mut agents: Vec<(String, Box<dyn Agent>)> = Vec::new();
    for port in ports {
        agents.push((format!("gRPC on {port}"), Box::new(Grpc::agent(port, token))));
        let web = GrpcWeb::agent(port, token);
        let over_http2 = web.clone().over_http2().in_text();
        agents.push((format!("gRPC-Web over HTTP/1.1 on {port}"), Box::new(web)));
        agents.push((format!("gRPC-Web in text over HTTP/2 on {port}"), Box::new(over_http2)));
        agents.push((format!("HTTP/1.1 on {port}"), Box::new(Http::agent(port, token))));
        agents.push((format!("HTTP/2 on {port}"), Box::new(Http::agent(port, token).over_http2())));
        agents.push((format!("WebSocket in JSON on {port}"), Box::new(Ws::agent(port, token))));
        agents.push((
            format!("WebSocket in protobuf on {port}"),
            Box::new(Ws::agent(port, token).in_protobuf()),
        ));
    }
    agents
}

/// The code with which an envelope is refused, wherever the transport says it.
pub(crate) async fn refusal_of(agent: &mut dyn Agent, envelope: &Envelope) -> Code {
    match agent.send(envelope).await {
        Err(code) => code,
        Ok(Ack { ok: true, .. }) => "accepted".into(),
        Ok(ack) => ack.error.expect("a refused Ack says why").code,
    }
}

/// An accepted envelope's Ack.
pub(crate) async fn accepted(agent: &mut dyn Agent, envelope: &Envelope) -> Ack {
    let ack = agent.send(envelope).await.expect("a decision about the envelope");
    assert!(ack.ok, "{:?}", ack.error);
    ack
}

/// The next so many envelopes.
pub(crate) async fn next(feed: &mut Feed, count: usize) -> Vec<Seen> {
    soon("envelopes", feed.take(count).collect::<Vec<_>>()).await
}

/// All envelopes up to the end of the session.
pub(crate) async fn to_the_end(feed: Feed) -> Vec<Seen> {
    soon("the end of the session", feed.collect()).await
}
