//! One connection: the upgrade with a bearer subprotocol, frames out and in, and a deadline on every wait.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::{SinkExt, StreamExt};
use http::{Request, Uri};
use macp_conform::TargetError;
use serde_json::{Map, Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::{WebSocketStream, client_async};

/// Far more than any answer takes.
const WAIT: Duration = Duration::from_secs(15);
const SUBPROTOCOL: &str = "macp.v1.json";

/// Where a gateway listens.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    authority: String,
    prefix: String,
}

impl Endpoint {
    /// Reads `ws://host:port[/prefix]`. There is no TLS here.
    pub(super) fn parse(url: &str) -> Result<Self, TargetError> {
        let refused = || TargetError(format!("{url:?} is not ws://host:port[/prefix]"));
        let uri: Uri = url.parse().map_err(|_| refused())?;
        match (uri.scheme_str(), uri.authority()) {
            (Some("ws"), Some(authority)) if authority.port().is_some() => Ok(Self {
                authority: authority.to_string(),
                prefix: uri.path().trim_end_matches('/').to_owned(),
            }),
            _ => Err(refused()),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ws://{}{}/macp/v1/ws", self.authority, self.prefix)
    }
}

/// A frame's one body.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) kind: String,
    pub(super) body: Value,
}

/// An upgraded connection of one sender.
pub(super) struct Connection {
    socket: WebSocketStream<TcpStream>,
    asked: u64,
    /// Frames that answered nothing, in order of arrival.
    unasked: VecDeque<Frame>,
}

impl Connection {
    /// Connects with the bearer token `token`, as a browser does, and reads the welcome.
    pub(super) async fn open(endpoint: &Endpoint, token: &str) -> Result<Self, TargetError> {
        let offered = format!("{SUBPROTOCOL}, macp.bearer.{}", URL_SAFE_NO_PAD.encode(token));
        let request = Request::builder()
            .uri(endpoint.to_string())
            .header("host", &endpoint.authority)
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", generate_key())
            .header("sec-websocket-protocol", offered)
            .body(())
            .map_err(failed)?;
        let connecting = async {
            let stream = TcpStream::connect(&endpoint.authority).await.map_err(failed)?;
            client_async(request, stream).await.map_err(failed)
        };
        let (socket, response) = timeout(WAIT, connecting).await.map_err(failed)??;
        let echoed = response.headers().get("sec-websocket-protocol");
        if echoed.is_none_or(|echoed| echoed != SUBPROTOCOL) {
            return Err(TargetError(format!("echoed subprotocol: {echoed:?}")));
        }
        let mut connection = Self { socket, asked: 0, unasked: VecDeque::new() };
        let welcome = connection.next().await?;
        if welcome.kind == "welcome" && welcome.body["sender"] == token {
            return Ok(connection);
        }
        Err(TargetError(format!("wanted the welcome of {token}, got {welcome:?}")))
    }

    /// `send`; the Ack.
    pub(super) async fn send(&mut self, envelope: Value) -> Result<Value, TargetError> {
        self.ask(json!({ "send": { "envelope": envelope } }), "ack").await
    }

    /// `call`; the RPC's response.
    pub(super) async fn call(&mut self, method: &str, request: Value) -> Result<Value, TargetError> {
        let mut result =
            self.ask(json!({ "call": { "method": method, "request": request } }), "result").await?;
        Ok(result["response"].take())
    }

    /// `subscribe` from the beginning, with a snapshot.
    pub(super) async fn subscribe(&mut self, session_id: &str) -> Result<Value, TargetError> {
        let body = json!({ "session_id": session_id, "after_sequence": 0, "snapshot": true });
        self.ask(json!({ "subscribe": body }), "subscribed").await
    }

    /// `unsubscribe`
    pub(super) async fn unsubscribe(&mut self, session_id: &str) -> Result<(), TargetError> {
        let body = json!({ "session_id": session_id });
        self.ask(json!({ "unsubscribe": body }), "unsubscribed").await.map(drop)
    }

    /// The next frame that answers nothing.
    pub(super) async fn next(&mut self) -> Result<Frame, TargetError> {
        if let Some(frame) = self.unasked.pop_front() {
            return Ok(frame);
        }
        let (id, frame) = self.read().await?;
        if id.is_empty() { Ok(frame) } else { Err(TargetError(format!("an answer to nothing: {frame:?}"))) }
    }

    /// Closes and waits for the peer's close; a fault of a connection that is given up anyway is no concern.
    pub(super) async fn close(mut self) {
        if self.socket.close(None).await.is_ok() {
            let drain = async { while let Some(Ok(_)) = self.socket.next().await {} };
            drop(timeout(WAIT, drain).await);
        }
    }

    /// Sends a frame with a fresh id and returns the body of its answer.
    async fn ask(&mut self, mut frame: Value, wanted: &str) -> Result<Value, TargetError> {
        self.asked += 1;
        let asked = format!("f{}", self.asked);
        frame["id"] = asked.as_str().into();
        self.socket.send(Message::text(frame.to_string())).await.map_err(failed)?;
        loop {
            let (id, frame) = self.read().await?;
            if id.is_empty() {
                self.unasked.push_back(frame);
            } else if id == asked && frame.kind == wanted {
                return Ok(frame.body);
            } else {
                return Err(TargetError(format!("wanted {wanted} for {asked}, got {frame:?} for {id}")));
            }
        }
    }

    async fn read(&mut self) -> Result<(String, Frame), TargetError> {
        loop {
            let message = timeout(WAIT, self.socket.next()).await.map_err(failed)?;
            match message.ok_or_else(|| TargetError("the connection ended".to_owned()))?.map_err(failed)? {
                Message::Text(text) => return frame(&text),
                Message::Ping(_) | Message::Pong(_) => {}
                other => return Err(TargetError(format!("wanted a text message, got {other:?}"))),
            }
        }
    }
}

/// Id and body of a frame; it has exactly one body.
fn frame(text: &str) -> Result<(String, Frame), TargetError> {
    let refused = || TargetError(format!("not a frame: {text}"));
    let mut members: Map<String, Value> = serde_json::from_str(text).map_err(|_| refused())?;
    let id = match members.remove("id") {
        None => String::new(),
        Some(Value::String(id)) => id,
        Some(_) => return Err(refused()),
    };
    let mut bodies = members.into_iter();
    match (bodies.next(), bodies.next()) {
        (Some((kind, body)), None) => Ok((id, Frame { kind, body })),
        _ => Err(refused()),
    }
}

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn failed(error: impl fmt::Display) -> TargetError {
    TargetError(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_have_a_port_and_perhaps_a_prefix() {
        for (url, shown) in [
            ("ws://127.0.0.1:8080", "ws://127.0.0.1:8080/macp/v1/ws"),
            ("ws://localhost:8080/base/", "ws://localhost:8080/base/macp/v1/ws"),
        ] {
            assert_eq!(Endpoint::parse(url).unwrap().to_string(), shown);
        }
        for url in ["http://127.0.0.1:8080", "ws://localhost", "wss://localhost:1", "127.0.0.1:8080"] {
            assert!(Endpoint::parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn a_frame_has_one_body() {
        let (id, one) = frame(r#"{"id":"7","pong":{"server_time_unix_ms":1}}"#).unwrap();
        assert_eq!((id.as_str(), one.kind.as_str()), ("7", "pong"));
        for text in ["[]", "{}", r#"{"id":7,"pong":{}}"#, r#"{"pong":{},"ack":{}}"#, "nothing"] {
            assert!(frame(text).is_err(), "{text}");
        }
    }
}
