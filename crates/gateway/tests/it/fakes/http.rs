//! The HTTP client: calls, event streams, and requests of any other kind, over HTTP/1.1 or HTTP/2.

use std::convert::Infallible;
use std::net::SocketAddr;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Request, Response, Version};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use macp_wire::json;
use macp_wire::v1::{
    Ack, Envelope, SendRequest, SendResponse, StreamSessionResponse, stream_session_response,
};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::{Agent, Code, Feed, Seen};
use crate::wait::soon;

/// The body of a request.
pub(crate) type Body = BoxBody<Bytes, Infallible>;

/// A body that is sent at once.
pub(crate) fn whole(body: impl Into<Bytes>) -> Body {
    Full::new(body.into()).boxed()
}

/// A caller on HTTP. Every request has a connection of its own.
#[derive(Clone)]
pub(crate) struct Http {
    addr: SocketAddr,
    token: String,
    version: Version,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) code: Option<Code>,
    pub(crate) body: Bytes,
}

impl Http {
    /// A caller with this token; an empty one is none.
    pub(crate) fn agent(addr: SocketAddr, token: &str) -> Self {
        Self { addr, token: token.to_owned(), version: Version::HTTP_11 }
    }

    pub(crate) fn over_http2(self) -> Self {
        Self { version: Version::HTTP_2, ..self }
    }

    /// A request of a call.
    pub(crate) fn post(&self, method: &str) -> http::request::Builder {
        let request = Request::post(format!("http://{}/macp/v1/{method}", self.addr))
            .header("content-type", "application/json");
        match self.token.as_str() {
            "" => request,
            token => request.header("authorization", format!("Bearer {token}")),
        }
    }

    /// Sends a request and reads the head of its answer; a server that hangs up instead is an error.
    pub(crate) async fn open(&self, request: Request<Body>) -> hyper::Result<Response<Incoming>> {
        let socket = soon("a connection", TcpStream::connect(self.addr)).await.unwrap();
        socket.set_nodelay(true).unwrap();
        let socket = TokioIo::new(socket);
        let exchange = async {
            if self.version == Version::HTTP_2 {
                let (mut sender, connection) = http2::handshake(TokioExecutor::new(), socket).await?;
                tokio::spawn(connection);
                return sender.send_request(request).await;
            }
            let (mut sender, connection) = http1::handshake(socket).await?;
            tokio::spawn(connection);
            sender.send_request(for_http1(request)).await
        };
        soon("the head of an answer", exchange).await
    }

    /// Sends an HTTP/1.1 request with a target and a host of its own, and reads the head of its answer.
    pub(crate) async fn open_as_it_is(&self, request: Request<Body>) -> hyper::Result<Response<Incoming>> {
        let socket = soon("a connection", TcpStream::connect(self.addr)).await.unwrap();
        let exchange = async {
            let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await?;
            tokio::spawn(connection.with_upgrades());
            sender.send_request(request).await
        };
        soon("the head of an answer", exchange).await
    }

    /// Sends a request and reads its whole answer.
    pub(crate) async fn ask(&self, request: Request<Body>) -> hyper::Result<Answer> {
        let (head, body) = self.open(request).await?.into_parts();
        let body = soon("the body of an answer", body.collect()).await?.to_bytes();
        let code = head.headers.get("macp-error-code").map(|code| code.to_str().unwrap().to_owned());
        Ok(Answer { status: head.status.as_u16(), code, body })
    }

    /// The JSON of a successful answer, or the code of a refusal.
    async fn json(&self, method: &str, body: Vec<u8>) -> Result<Bytes, Code> {
        let request = self.post(method).body(whole(body)).unwrap();
        let answer = self.ask(request).await.expect("an answer");
        match (answer.status, answer.code) {
            (200, None) => Ok(answer.body),
            (status, code) => Err(code.unwrap_or_else(|| format!("HTTP {status}"))),
        }
    }

    /// A ticket for a program that is no browser.
    pub(crate) async fn ticket(&self) -> Result<String, Code> {
        let request = Request::post(format!("http://{}/macp/ticket", self.addr))
            .header("authorization", format!("Bearer {}", self.token));
        let answer = self.ask(request.body(whole("")).unwrap()).await.expect("an answer");
        match answer.code {
            None => {
                let body: Value = serde_json::from_slice(&answer.body).unwrap();
                Ok(body["ticket"].as_str().unwrap().to_owned())
            }
            Some(code) => Err(code),
        }
    }

    /// Opens a session's event stream with a ticket in the URL, and comes back to it as an `EventSource` does; the id
    /// that it came back with.
    pub(crate) async fn event_source(&self, session: &str, ticket: &str) -> Result<String, Code> {
        let mut last_id: Option<String> = None;
        loop {
            let uri = format!("http://{}/macp/v1/sessions/{session}/events?ticket={ticket}", self.addr);
            let request = Request::get(uri).header("accept", "text/event-stream");
            let request = match &last_id {
                Some(id) => request.header("last-event-id", id),
                None => request,
            };
            let response = self.open(request.body(whole("")).unwrap()).await.expect("an answer");
            if let Some(code) = response.headers().get("macp-error-code") {
                return Err(code.to_str().unwrap().to_owned());
            }
            let mut stream = Sse { body: response.into_body(), text: String::new() };
            let id = stream.id_line().await;
            if last_id.is_some() {
                return Ok(id);
            }
            last_id = Some(id);
        }
    }

    /// Opens an event stream; resumes behind `last` by header when that is not 0.
    pub(crate) async fn events(&self, method: &str, request: &Value, last: u64) -> Result<Sse, Code> {
        let mut head = self.post(method);
        if last > 0 {
            head = head.header("last-event-id", last);
        }
        let request = head.body(whole(request.to_string())).unwrap();
        let response = self.open(request).await.expect("an answer");
        if response.status() != 200 {
            let code = response.headers().get("macp-error-code");
            return Err(code.map_or("no code", |code| code.to_str().unwrap()).to_owned());
        }
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Ok(Sse { body: response.into_body(), text: String::new() })
    }
}

/// In HTTP/1.1 the authority is a header.
fn for_http1<B>(request: Request<B>) -> Request<B> {
    let (mut head, body) = request.into_parts();
    let authority = head.uri.authority().unwrap().as_str().parse().unwrap();
    head.headers.insert("host", authority);
    head.uri = head.uri.path_and_query().unwrap().as_str().parse().unwrap();
    Request::from_parts(head, body)
}

/// An open event stream.
pub(crate) struct Sse {
    body: Incoming,
    text: String,
}

/// One event; comments are left out.
#[derive(Debug, Default)]
pub(crate) struct Event {
    name: String,
    id: Option<u64>,
    data: String,
}

impl Sse {
    /// Reads to the end; the data of the last event, which must be an error.
    pub(crate) async fn last(&mut self) -> Value {
        let mut last = None;
        while let Some(event) = self.next().await {
            last = Some(event);
        }
        let last = last.expect("an event");
        assert_eq!(last.name, "error", "{last:?}");
        serde_json::from_str(&last.data).unwrap()
    }

    /// The first id of the stream.
    async fn id_line(&mut self) -> String {
        loop {
            if let Some((_, rest)) = self.text.split_once("\nid: ")
                && let Some((id, _)) = rest.split_once('\n')
            {
                return id.to_owned();
            }
            let frame = soon("an id", self.body.frame()).await.expect("an open stream");
            let data = frame.expect("a body without faults").into_data().unwrap();
            self.text.push_str(std::str::from_utf8(&data).unwrap());
        }
    }

    /// The next event; `None` when the body has ended well, which is not within an event.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let event = event(block);
                self.text = rest.to_owned();
                match event {
                    Some(event) => return Some(event),
                    None => continue,
                }
            }
            let Some(frame) = soon("an event", self.body.frame()).await else {
                assert_eq!(self.text, "", "the body ends between two events");
                return None;
            };
            let data = frame.expect("a body without faults").into_data().unwrap();
            self.text.push_str(std::str::from_utf8(&data).unwrap());
        }
    }
}

/// Reads a block of lines; `None` if it is a comment.
fn event(block: &str) -> Option<Event> {
    let mut event = Event::default();
    for line in block.lines() {
        match line.split_once(": ").expect("a field") {
            ("", _) => return None,
            ("event", name) => event.name = name.to_owned(),
            ("id", id) => event.id = Some(id.parse().unwrap()),
            ("data", data) => event.data = data.to_owned(),
            _ => panic!("{line}"),
        }
    }
    Some(event)
}

fn seen(event: &Event) -> Seen {
    assert_eq!(event.name, "", "{event:?}");
    let response: StreamSessionResponse = json::from_slice(event.data.as_bytes()).unwrap();
    let Some(stream_session_response::Response::Envelope(envelope)) = response.response else {
        panic!("wanted an envelope, got {event:?}")
    };
    Seen { sequence: event.id.expect("an id"), envelope }
}

#[async_trait]
impl Agent for Http {
    async fn send(&mut self, envelope: &Envelope) -> Result<Ack, Code> {
        let request = SendRequest { envelope: Some(envelope.clone()) };
        let response: SendResponse =
            json::from_slice(&self.json("Send", json::to_vec(&request)).await?).unwrap();
        Ok(response.ack.expect("an Ack"))
    }

    async fn call(&mut self, method: &str, request: &Value) -> Result<Value, Code> {
        let response = self.json(method, request.to_string().into_bytes()).await?;
        Ok(serde_json::from_slice(&response).unwrap())
    }

    async fn watch(&mut self, method: &str) -> Result<(), Code> {
        self.events(method, &json!({}), 0).await.map(drop)
    }

    async fn observe(&mut self, session: &str, after: u64) -> Result<Feed, Code> {
        let request = json!({ "subscribe_session_id": session });
        let events = self.events("StreamSession", &request, after).await?;
        let feed = stream::unfold(events, |mut events| async move {
            let event = events.next().await?;
            Some((seen(&event), events))
        });
        Ok(feed.boxed())
    }
}
