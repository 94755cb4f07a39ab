//! The WebSocket client: frames in JSON or protobuf, with a credential on the upgrade or in a frame.

use std::net::SocketAddr;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::{SinkExt, StreamExt, stream};
use http::Request;
use macp_wire::gateway::v1::client_frame::Body as Ask;
use macp_wire::gateway::v1::server_frame::Body as Answer;
use macp_wire::gateway::v1::{Authenticate, ClientFrame, SendEnvelope, ServerFrame, Subscribe, Topic, Watch};
use macp_wire::json;
use macp_wire::v1::{Ack, Envelope};
use prost::Message as _;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::{Agent, Code, Feed, Seen};
use crate::wait::soon;

/// How the credential travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Credential {
    Header,
    Subprotocol,
    Frame,
    /// The token is a ticket, and goes into the URL.
    Ticket,
}

/// A caller on WebSocket. The socket is opened by the first use.
pub(crate) struct Ws {
    addr: SocketAddr,
    token: String,
    credential: Credential,
    protocol: &'static str,
    socket: Option<Socket>,
}

impl Ws {
    /// A caller with this token; an empty one is none.
    pub(crate) fn agent(addr: SocketAddr, token: &str) -> Self {
        let credential = Credential::Subprotocol;
        Self { addr, token: token.to_owned(), credential, protocol: "macp.v1.json", socket: None }
    }

    pub(crate) fn in_protobuf(self) -> Self {
        Self { protocol: "macp.v1.proto", ..self }
    }

    pub(crate) fn with(self, credential: Credential) -> Self {
        Self { credential, ..self }
    }

    /// Opens a socket of its own.
    pub(crate) async fn connect(&self) -> Result<Socket, Code> {
        let query = match self.credential {
            Credential::Ticket => format!("?ticket={}", self.token),
            _ => String::new(),
        };
        let mut request = Request::get(format!("ws://{}/macp/v1/ws{query}", self.addr))
            .header("host", self.addr.to_string())
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", generate_key());
        let mut offered = self.protocol.to_owned();
        match self.credential {
            _ if self.token.is_empty() => {}
            Credential::Header => request = request.header("authorization", format!("Bearer {}", self.token)),
            Credential::Subprotocol => {
                offered += &format!(", macp.bearer.{}", URL_SAFE_NO_PAD.encode(&self.token));
            }
            Credential::Frame | Credential::Ticket => {}
        }
        let request = request.header("sec-websocket-protocol", offered).body(()).unwrap();
        let tcp = soon("a connection", TcpStream::connect(self.addr)).await.unwrap();
        let stream = match soon("an upgrade", client_async(request, tcp)).await {
            Ok((stream, _)) => stream,
            Err(Error::Http(response)) => {
                let code = response.headers().get("macp-error-code");
                return Err(code.map_or("no code", |code| code.to_str().unwrap()).to_owned());
            }
            Err(error) => panic!("{error}"),
        };
        let mut socket = Socket { stream, binary: self.protocol == "macp.v1.proto", asked: 0 };
        assert!(matches!(socket.hear().await, Some(Answer::Welcome(_))));
        if self.credential == Credential::Frame && !self.token.is_empty() {
            match socket.ask(Ask::Authenticate(Authenticate { token: self.token.clone() })).await {
                Answer::Authenticated(_) => {}
                Answer::Error(error) => return Err(error.code),
                other => panic!("{other:?}"),
            }
        }
        Ok(socket)
    }

    async fn socket(&mut self) -> Result<&mut Socket, Code> {
        if self.socket.is_none() {
            self.socket = Some(self.connect().await?);
        }
        Ok(self.socket.as_mut().unwrap())
    }
}

/// An open socket.
pub(crate) struct Socket {
    pub(crate) stream: WebSocketStream<TcpStream>,
    binary: bool,
    asked: u32,
}

impl Socket {
    /// Sends a frame; its id.
    pub(crate) async fn say(&mut self, body: Ask) -> String {
        self.asked += 1;
        let id = self.asked.to_string();
        let frame = ClientFrame { id: id.clone(), body: Some(body) };
        let message = if self.binary {
            Message::binary(frame.encode_to_vec())
        } else {
            Message::text(json::to_string(&frame))
        };
        soon("a frame is taken", self.stream.send(message)).await.unwrap();
        id
    }

    /// The next message, pings and pongs left out; `None` at the end.
    pub(crate) async fn message(&mut self) -> Option<Message> {
        loop {
            match soon("a WebSocket message", self.stream.next()).await {
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(message)) => return Some(message),
                Some(Err(error)) => panic!("{error}"),
                None => return None,
            }
        }
    }

    /// The next frame, or the code of the close frame in its place.
    pub(crate) async fn frame(&mut self) -> Result<ServerFrame, Option<u16>> {
        match self.message().await {
            Some(Message::Text(text)) if !self.binary => Ok(json::from_slice(text.as_bytes()).unwrap()),
            Some(Message::Binary(bytes)) if self.binary => Ok(ServerFrame::decode(&bytes[..]).unwrap()),
            Some(Message::Close(frame)) => Err(frame.map(|frame| frame.code.into())),
            None => Err(None),
            other => panic!("wanted a frame, got {other:?}"),
        }
    }

    /// The body of the next frame; `None` when the server closes.
    pub(crate) async fn hear(&mut self) -> Option<Answer> {
        self.frame().await.ok().map(|frame| frame.body.expect("a body"))
    }

    /// Sends a frame and waits for its answer, which is the next frame with its id.
    pub(crate) async fn ask(&mut self, body: Ask) -> Answer {
        let id = self.say(body).await;
        loop {
            let frame = self.frame().await.expect("an answer");
            if frame.id == id {
                return frame.body.expect("a body");
            }
        }
    }

    /// Subscribes and watches all there is to watch.
    pub(crate) async fn follow(&mut self, session: &str) {
        let subscribe = Subscribe { session_id: session.to_owned(), ..Subscribe::default() };
        assert!(matches!(self.ask(Ask::Subscribe(subscribe)).await, Answer::Subscribed(_)));
        for topic in [Topic::Sessions, Topic::Signals, Topic::Policies, Topic::ModeRegistry, Topic::Roots] {
            let watch = Watch { topic: topic.into() };
            assert!(matches!(self.ask(Ask::Watch(watch)).await, Answer::Watching(_)));
        }
    }

    /// Reads up to the close frame: its code, and what was said last before it.
    pub(crate) async fn closed(&mut self) -> (Option<u16>, Option<Answer>) {
        let mut last = None;
        loop {
            match self.frame().await {
                Ok(frame) => last = frame.body,
                Err(code) => return (code, last),
            }
        }
    }
}

#[async_trait]
impl Agent for Ws {
    async fn send(&mut self, envelope: &Envelope) -> Result<Ack, Code> {
        let send = Ask::Send(SendEnvelope { envelope: Some(envelope.clone()) });
        match self.socket().await?.ask(send).await {
            Answer::Ack(ack) => Ok(ack),
            Answer::Error(error) => Err(error.code),
            other => panic!("{other:?}"),
        }
    }

    async fn call(&mut self, method: &str, request: &Value) -> Result<Value, Code> {
        let frame = json!({ "call": { "method": method, "request": request } });
        let frame: ClientFrame = json::from_slice(frame.to_string().as_bytes()).unwrap();
        match self.socket().await?.ask(frame.body.unwrap()).await {
            Answer::Result(result) => {
                let result: Value = serde_json::from_slice(&json::to_vec(&result)).unwrap();
                Ok(result["response"].clone())
            }
            Answer::Error(error) => Err(error.code),
            other => panic!("{other:?}"),
        }
    }

    async fn watch(&mut self, method: &str) -> Result<(), Code> {
        let topic = match method {
            "WatchModeRegistry" => Topic::ModeRegistry,
            "WatchRoots" => Topic::Roots,
            "WatchPolicies" => Topic::Policies,
            "WatchSignals" => Topic::Signals,
            "WatchSessions" => Topic::Sessions,
            _ => panic!("{method} is no watch"),
        };
        match self.socket().await?.ask(Ask::Watch(Watch { topic: topic.into() })).await {
            Answer::Watching(_) => Ok(()),
            Answer::Error(error) => Err(error.code),
            other => panic!("{other:?}"),
        }
    }

    async fn observe(&mut self, session: &str, after_sequence: u64) -> Result<Feed, Code> {
        let mut socket = self.connect().await?;
        let subscribe = Subscribe { session_id: session.to_owned(), after_sequence, snapshot: false };
        match socket.ask(Ask::Subscribe(subscribe)).await {
            Answer::Subscribed(_) => {}
            Answer::Error(error) => return Err(error.code),
            other => panic!("{other:?}"),
        }
        let feed = stream::unfold(socket, |mut socket| async move {
            loop {
                match socket.hear().await {
                    Some(Answer::Envelope(seen)) => {
                        let envelope = seen.envelope.expect("an envelope");
                        return Some((Seen { sequence: seen.sequence, envelope }, socket));
                    }
                    Some(Answer::Synced(_)) => {}
                    Some(Answer::Ended(_)) => return None,
                    other => panic!("{other:?}"),
                }
            }
        });
        Ok(feed.boxed())
    }
}
