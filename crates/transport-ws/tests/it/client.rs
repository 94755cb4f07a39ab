//! A server on a free port, and a client that reads and writes frames in either encoding.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::{SinkExt, StreamExt};
use http::{Request, Response, StatusCode};
use macp_auth::Authenticator;
use macp_engine::Engine;
use macp_engine::testing::memory_engine;
use macp_transport_ws::{Options, Sockets, router};
use macp_wire::gateway::v1::{ClientFrame, ServerFrame};
use macp_wire::json;
use prost::Message as _;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

/// Far more than anything here takes.
const WAIT: Duration = Duration::from_secs(20);

pub(crate) struct Server {
    pub(crate) addr: SocketAddr,
    pub(crate) engine: Engine,
    pub(crate) sockets: Sockets,
}

pub(crate) const CAP: usize = 1 << 20;

impl Server {
    /// Any bearer is its own sender.
    pub(crate) async fn start() -> Self {
        Self::with(Authenticator::dev(), Options::new(CAP)).await
    }

    pub(crate) async fn with(authenticator: Authenticator, options: Options) -> Self {
        let engine = memory_engine().await;
        let sockets = Sockets::new();
        let router = router(engine.clone(), Arc::new(authenticator), options, sockets.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { addr, engine, sockets }
    }

    /// A request for an upgrade with these further headers.
    pub(crate) fn request(&self, path: &str, headers: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::builder()
            .uri(format!("ws://{}{path}", self.addr))
            .header("host", self.addr.to_string())
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", generate_key());
        for (name, value) in headers {
            if let Some(set) = request.headers_mut() {
                set.remove(*name);
            }
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }

    pub(crate) async fn upgrade(
        &self,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<(WebSocketStream<TcpStream>, Response<Option<Vec<u8>>>), Error> {
        let stream = TcpStream::connect(self.addr).await.unwrap();
        timeout(WAIT, client_async(self.request(path, headers), stream)).await.unwrap()
    }

    /// The answer to a request that is not upgraded.
    pub(crate) async fn refused(&self, path: &str, headers: &[(&str, &str)]) -> (StatusCode, Value) {
        match self.upgrade(path, headers).await {
            Err(Error::Http(response)) => {
                let body = response.body().as_deref().unwrap_or_default();
                (response.status(), serde_json::from_slice(body).unwrap_or(Value::Null))
            }
            other => panic!("not refused: {other:?}"),
        }
    }

    /// A client with a credential in the offered subprotocols, as browsers send it.
    pub(crate) async fn connect(&self, sender: &str) -> Client {
        self.connect_as(sender, "macp.v1.json").await
    }

    pub(crate) async fn connect_as(&self, sender: &str, protocol: &'static str) -> Client {
        let offered = format!("{protocol}, {}", bearer(sender));
        let (socket, response) =
            self.upgrade("/macp/v1/ws", &[("sec-websocket-protocol", &offered)]).await.unwrap();
        assert_eq!(response.headers()["sec-websocket-protocol"], protocol);
        let mut client = Client { socket, binary: protocol == "macp.v1.proto", ids: 0 };
        assert_eq!(client.hear().await["welcome"]["sender"], sender);
        client
    }
}

/// A credential as an offered subprotocol.
pub(crate) fn bearer(token: &str) -> String {
    format!("macp.bearer.{}", URL_SAFE_NO_PAD.encode(token))
}

/// A client of whose frames tests see the JSON, whatever travels.
pub(crate) struct Client {
    pub(crate) socket: WebSocketStream<TcpStream>,
    pub(crate) binary: bool,
    pub(crate) ids: u32,
}

impl Client {
    pub(crate) async fn say_raw(&mut self, message: Message) {
        self.socket.send(message).await.unwrap();
    }

    /// Sends a frame; its id.
    pub(crate) async fn say(&mut self, mut frame: Value) -> String {
        self.ids += 1;
        let id = format!("f{}", self.ids);
        frame["id"] = json!(id);
        let text = frame.to_string();
        let message = if self.binary {
            let frame: ClientFrame = json::from_slice(text.as_bytes()).unwrap();
            Message::binary(frame.encode_to_vec())
        } else {
            Message::text(text)
        };
        self.say_raw(message).await;
        id
    }

    pub(crate) async fn hear_raw(&mut self) -> Option<Message> {
        loop {
            match timeout(WAIT, self.socket.next()).await.unwrap() {
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(message)) => return Some(message),
                Some(Err(error)) => panic!("{error}"),
                None => return None,
            }
        }
    }

    /// The next frame.
    pub(crate) async fn hear(&mut self) -> Value {
        match self.hear_raw().await {
            Some(Message::Text(text)) if !self.binary => serde_json::from_str(&text).unwrap(),
            Some(Message::Binary(bytes)) if self.binary => {
                let frame = ServerFrame::decode(&bytes[..]).unwrap();
                serde_json::from_slice(&json::encode_server_frame(&frame)).unwrap()
            }
            other => panic!("wanted a frame, got {other:?}"),
        }
    }

    /// Sends a frame and returns the body of its answer, which must be the next frame.
    pub(crate) async fn ask(&mut self, kind: &str, body: Value) -> Value {
        let id = self.say(body.clone()).await;
        let frame = self.hear().await;
        assert_eq!(frame["id"], id, "{frame}");
        assert!(frame[kind].is_object(), "wanted {kind} for {body}, got {frame}");
        frame[kind].clone()
    }

    pub(crate) async fn send(&mut self, envelope: Value) -> Value {
        let ack = self.ask("ack", json!({"send": {"envelope": envelope}})).await;
        assert_eq!(ack["ok"], true, "{ack}");
        ack
    }

    /// The code of the close frame, which must come next; then the end.
    pub(crate) async fn closed(&mut self) -> u16 {
        let code = match self.hear_raw().await {
            Some(Message::Close(Some(frame))) => frame.code.into(),
            other => panic!("wanted a close frame, got {other:?}"),
        };
        assert_eq!(self.hear_raw().await, None);
        code
    }

    /// The next frame, which must be an envelope; its sequence and the envelope.
    pub(crate) async fn delivered(&mut self) -> (u64, Value) {
        let frame = self.hear().await;
        let body = &frame["envelope"];
        (body["sequence"].as_u64().unwrap_or_else(|| panic!("{frame}")), body["envelope"].clone())
    }
}

pub(crate) const MODE: &str = "macp.mode.decision.v1";

pub(crate) fn new_session() -> String {
    uuid::Uuid::new_v4().to_string()
}

pub(crate) fn envelope(session: &str, message_type: &str, payload: &Value) -> Value {
    json!({
        "macp_version": "1.0",
        "mode": MODE,
        "message_type": message_type,
        "message_id": uuid::Uuid::new_v4().to_string(),
        "session_id": session,
        "sender": "",
        "payload": payload,
    })
}

const VERSIONS: [(&str, &str); 3] =
    [("mode_version", "1.0.0"), ("configuration_version", "c"), ("policy_version", "policy.default")];

fn versioned(mut payload: Value) -> Value {
    for (name, value) in VERSIONS {
        payload[name] = json!(value);
    }
    payload
}

pub(crate) fn start(session: &str) -> Value {
    let payload =
        json!({"intent": "pick", "participants": ["agent://i", "agent://a", "agent://b"], "ttl_ms": 60_000});
    envelope(session, "SessionStart", &versioned(payload))
}

pub(crate) fn proposal(session: &str, proposal_id: &str) -> Value {
    envelope(session, "Proposal", &json!({"proposal_id": proposal_id, "option": "o", "rationale": "r"}))
}

pub(crate) fn vote(session: &str) -> Value {
    envelope(session, "Vote", &json!({"proposal_id": "p", "vote": "APPROVE", "reason": "r"}))
}

pub(crate) fn commitment(session: &str) -> Value {
    let payload = json!({
        "commitment_id": "c", "action": "decision.selected", "authority_scope": "release", "reason": "winner=p",
        "outcome_positive": true,
    });
    envelope(session, "Commitment", &versioned(payload))
}
