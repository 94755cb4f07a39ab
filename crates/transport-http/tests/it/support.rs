//! What the tests share: a router over an engine in memory, requests and envelopes, a server and its client.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Method as Verb, Request, Response, StatusCode};
use http_body_util::BodyExt;
use macp_auth::Authenticator;
use macp_engine::Engine;
use macp_engine::testing::memory_engine;
use macp_transport_http::{Options, fallback, router};
use serde_json::{Value, json};
use tower::ServiceExt;

pub(crate) const ALICE: &str = "agent://alice";
pub(crate) const BOB: &str = "agent://bob";

/// Long enough for any machine; only a test that would fail anyway waits for it.
const PATIENCE: Duration = Duration::from_secs(20);

/// The binding as the gateway mounts it.
#[derive(Clone)]
pub(crate) struct Gateway {
    pub(crate) engine: Engine,
    pub(crate) router: Router,
}

pub(crate) async fn gateway() -> Gateway {
    gateway_with(|_| {}).await
}

pub(crate) async fn gateway_with(change: impl FnOnce(&mut Options)) -> Gateway {
    on_engine(memory_engine().await, change)
}

pub(crate) fn on_engine(engine: Engine, change: impl FnOnce(&mut Options)) -> Gateway {
    let mut options = Options::new(engine.options().limits.max_payload_bytes);
    change(&mut options);
    let unknown = fallback(&options);
    let router = router(engine.clone(), Arc::new(Authenticator::dev()), options).fallback_service(unknown);
    Gateway { engine, router }
}

/// A request with the headers that every call needs; tests take away and add.
pub(crate) fn post(path: &str, sender: &str, body: impl Into<Body>) -> Request<Body> {
    let request = Request::post(path).header("content-type", "application/json");
    let request =
        if sender.is_empty() { request } else { request.header("authorization", format!("Bearer {sender}")) };
    request.body(body.into()).unwrap()
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.headers["content-type"], "application/json");
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The code of a request-level error, whose body and headers must agree.
    pub(crate) fn code(&self) -> String {
        let body = self.json();
        let error = body["error"].as_object().expect("an error body");
        let members: Vec<_> = error.keys().map(String::as_str).collect();
        assert_eq!(members, ["code", "details", "message", "message_id", "session_id"]);
        assert_eq!(error["message_id"], "");
        let code = error["code"].as_str().unwrap().to_owned();
        assert_eq!(self.headers["macp-error-code"], code);
        assert_eq!(self.headers.contains_key("www-authenticate"), self.status == StatusCode::UNAUTHORIZED);
        code
    }

    /// A status of HTTP itself: no body, no code.
    pub(crate) fn is_bare(&self, status: u16) {
        assert_eq!(self.status, status);
        assert!(self.body.is_empty(), "{:?}", self.body);
        assert!(!self.headers.contains_key("macp-error-code"));
        assert!(!self.headers.contains_key("content-type"));
    }
}

impl Gateway {
    /// Sends a request and reads its answer to the end.
    pub(crate) async fn ask(&self, request: Request<Body>) -> Answer {
        let (head, body) = self.open(request).await.into_parts();
        let body = patience(body.collect()).await.unwrap().to_bytes();
        Answer { status: head.status, headers: head.headers, body }
    }

    /// Sends a request and leaves the body of its answer unread.
    pub(crate) async fn open(&self, request: Request<Body>) -> Response<Body> {
        patience(self.router.clone().oneshot(request)).await.unwrap()
    }

    /// A unary call of a sender.
    pub(crate) async fn call(&self, method: &str, sender: &str, body: &Value) -> Answer {
        self.ask(post(&format!("/macp/v1/{method}"), sender, body.to_string())).await
    }

    /// Sends an envelope and returns its Ack.
    pub(crate) async fn send(&self, sender: &str, envelope: &Value) -> Value {
        let answer = self.call("Send", sender, &json!({ "envelope": envelope })).await;
        assert_eq!(answer.status, 200);
        answer.json()["ack"].clone()
    }

    /// Sends an envelope that must be accepted.
    pub(crate) async fn accept(&self, sender: &str, envelope: &Value) {
        let ack = self.send(sender, envelope).await;
        assert_eq!(ack["ok"], true, "{ack}");
    }

    /// Starts a Decision session of Alice with Bob and returns its id.
    pub(crate) async fn start(&self, id: u32) -> String {
        let session = session_id(id);
        self.accept(ALICE, &start(&session, 600_000)).await;
        session
    }

    /// Serves the router on a port of its own.
    pub(crate) async fn serve(&self) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = self.router.clone();
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }
}

pub(crate) async fn patience<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("an answer in time")
}

pub(crate) fn session_id(id: u32) -> String {
    format!("{id:08x}-0000-4000-8000-000000000000")
}

/// Without a timestamp, so that a session's life begins when it is accepted.
pub(crate) fn envelope(session: &str, id: &str, message_type: &str, payload: &Value) -> Value {
    json!({
        "macp_version": "1.0", "mode": "macp.mode.decision.v1", "message_type": message_type, "message_id": id,
        "session_id": session, "sender": "", "payload": payload,
    })
}

pub(crate) fn start(session: &str, ttl_ms: u64) -> Value {
    let payload = json!({
        "intent": "choose", "participants": [ALICE, BOB], "mode_version": "1.0.0",
        "configuration_version": "c1", "policy_version": "policy.default", "ttl_ms": ttl_ms,
    });
    envelope(session, "m0", "SessionStart", &payload)
}

pub(crate) fn propose(session: &str, id: &str) -> Value {
    envelope(session, id, "Proposal", &json!({ "proposal_id": id, "option": "a", "rationale": "r" }))
}

pub(crate) fn commit(session: &str, id: &str) -> Value {
    let payload = json!({
        "commitment_id": "c", "action": "decision.selected", "authority_scope": "s", "reason": "r",
        "mode_version": "1.0.0", "policy_version": "policy.default", "configuration_version": "c1",
        "outcome_positive": true,
    });
    envelope(session, id, "Commitment", &payload)
}

pub(crate) fn signal(id: &str) -> Value {
    json!({
        "macp_version": "1.0", "mode": "", "message_type": "Signal", "message_id": id, "session_id": "",
        "sender": "", "timestamp": "2026-03-01T20:24:00Z",
        "payload": { "signal_type": "line\nbreak", "confidence": 0.5 },
    })
}

/// A subscribe request; `after` below zero leaves the member out.
pub(crate) fn subscribe(session: &str, sender: &str, after: i64) -> Request<Body> {
    let body = match after {
        ..0 => json!({ "subscribe_session_id": session }),
        _ => json!({ "subscribe_session_id": session, "after_sequence": after }),
    };
    post("/macp/v1/StreamSession", sender, body.to_string())
}

pub(crate) fn with(mut request: Request<Body>, name: &'static str, value: &str) -> Request<Body> {
    request.headers_mut().append(name, value.parse().unwrap());
    request
}

pub(crate) fn without(mut request: Request<Body>, name: &str) -> Request<Body> {
    request.headers_mut().remove(name);
    request
}

pub(crate) fn by(mut request: Request<Body>, verb: Verb) -> Request<Body> {
    *request.method_mut() = verb;
    request
}

/// One event of a stream, or a comment.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Frame {
    pub(crate) comment: Option<String>,
    pub(crate) event: Option<String>,
    pub(crate) id: Option<String>,
    pub(crate) retry: Option<String>,
    pub(crate) data: Option<Value>,
}

/// Reads a stream frame by frame, whatever the chunks.
pub(crate) struct Frames<B> {
    body: B,
    text: String,
}

impl<B> Frames<B>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Debug,
{
    /// The frames of a stream that has opened well.
    pub(crate) async fn of(response: Response<B>) -> Self {
        let mut frames = Self::unread(response);
        let opened = frames.next().await.unwrap();
        assert_eq!((opened.comment.as_deref(), &opened.retry), (Some("opened"), &None));
        frames
    }

    /// The frames of a stream for an `EventSource`.
    pub(crate) async fn of_event_source(response: Response<B>) -> Self {
        let mut frames = Self::unread(response);
        let opened = frames.next().await.unwrap();
        assert_eq!((opened.comment.as_deref(), opened.retry.as_deref()), (Some("opened"), Some("2000")));
        frames
    }

    fn unread(response: Response<B>) -> Self {
        assert_eq!(response.status(), 200);
        let headers = response.headers();
        assert_eq!(headers["content-type"], "text/event-stream");
        assert_eq!(headers["cache-control"], "no-store");
        assert_eq!(headers["x-accel-buffering"], "no");
        Self { body: response.into_body(), text: String::new() }
    }

    /// The next frame; `None` when the response has ended, which must not be within a frame.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some((frame, rest)) = self.text.split_once("\n\n") {
                let parsed = parse(frame);
                self.text = rest.to_owned();
                return Some(parsed);
            }
            let Some(frame) = patience(self.body.frame()).await else {
                assert_eq!(self.text, "");
                return None;
            };
            let data = frame.expect("a whole stream").into_data().unwrap();
            self.text.push_str(std::str::from_utf8(&data).unwrap());
        }
    }

    /// The next event, which must carry this id and the envelope of this message.
    pub(crate) async fn expect(&mut self, id: u64, message_id: &str) -> Value {
        let frame = self.next().await.expect("an event");
        assert_eq!(frame.id, Some(id.to_string()), "{frame:?}");
        assert_eq!((&frame.event, &frame.comment), (&None, &None));
        let data = frame.data.unwrap();
        assert_eq!(data["envelope"]["message_id"], message_id);
        data
    }

    /// The last event, which must be an error of this code about this session.
    pub(crate) async fn expect_error(&mut self, code: &str, session: &str) {
        let frame = self.next().await.expect("an error event");
        assert_eq!((frame.event.as_deref(), &frame.id), (Some("error"), &None), "{frame:?}");
        let error = &frame.data.unwrap()["error"];
        assert_eq!((&error["code"], &error["session_id"]), (&json!(code), &json!(session)));
        assert_eq!(self.next().await, None);
    }
}

fn parse(text: &str) -> Frame {
    let mut frame = Frame::default();
    for line in text.split('\n') {
        let (name, value) = line.split_once(": ").expect("a field");
        let value = value.to_owned();
        match name {
            "" => frame.comment = Some(value),
            "event" => frame.event = Some(value),
            "id" => frame.id = Some(value),
            "retry" => frame.retry = Some(value),
            "data" => frame.data = Some(serde_json::from_str(&value).unwrap()),
            _ => panic!("{line}"),
        }
    }
    frame
}

/// A plain HTTP/1.1 connection.
pub(crate) async fn connect(address: SocketAddr) -> hyper::client::conn::http1::SendRequest<Body> {
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let (sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    tokio::spawn(connection);
    sender
}

pub(crate) async fn request_over(
    connection: &mut hyper::client::conn::http1::SendRequest<Body>,
    request: Request<Body>,
) -> Response<hyper::body::Incoming> {
    let request = with(request, "host", "localhost");
    patience(connection.ready()).await.unwrap();
    patience(connection.send_request(request)).await.unwrap()
}
