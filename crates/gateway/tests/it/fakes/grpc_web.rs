//! The gRPC-Web client, as a page is one: calls and streams whose trailers are in the body, binary or text.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use macp_wire::json;
use macp_wire::v1::stream_session_response::Response as Frame;
use macp_wire::v1::{
    Ack, Envelope, SendRequest, SendResponse, StreamSessionRequest, StreamSessionResponse,
    WatchSignalsRequest,
};
use prost::Message;
use serde_json::Value;

use super::{Agent, Code, Feed, Http, Seen, whole};
use crate::wait::soon;

/// A caller on gRPC-Web.
#[derive(Clone)]
pub(crate) struct GrpcWeb {
    http: Http,
    addr: SocketAddr,
    token: String,
    text: bool,
}

impl GrpcWeb {
    /// A caller in binary over HTTP/1.1 with this token; an empty one is none.
    pub(crate) fn agent(addr: SocketAddr, token: &str) -> Self {
        Self { http: Http::agent(addr, ""), addr, token: token.to_owned(), text: false }
    }

    pub(crate) fn over_http2(self) -> Self {
        Self { http: self.http.over_http2(), ..self }
    }

    pub(crate) fn in_text(self) -> Self {
        Self { text: true, ..self }
    }

    /// The head of a request.
    pub(crate) fn request(&self, method: &str) -> http::request::Builder {
        let media = if self.text { "application/grpc-web-text" } else { "application/grpc-web+proto" };
        let request = Request::post(format!("http://{}/macp.v1.MACPRuntimeService/{method}", self.addr))
            .header("content-type", media)
            .header("x-grpc-web", "1");
        match self.token.as_str() {
            "" => request,
            token => request.header("authorization", format!("Bearer {token}")),
        }
    }

    /// Sends a request of one message and reads the head of the answer.
    pub(crate) async fn open(&self, head: http::request::Builder, message: &[u8]) -> Response<Incoming> {
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        let framed = [&[0][..], &length, message].concat();
        let body = if self.text { STANDARD.encode(framed).into_bytes() } else { framed };
        self.http.open(head.body(whole(body)).unwrap()).await.expect("an answer")
    }

    /// Begins a call; a refusal in the head of its answer is its code.
    pub(crate) async fn begin(&self, method: &str, message: &impl Message) -> Result<Parts, Code> {
        let response = self.open(self.request(method), &message.encode_to_vec()).await;
        assert_eq!(response.status(), 200, "{method}");
        let media = response.headers()["content-type"].to_str().unwrap();
        assert!(media.starts_with("application/grpc-web") && media.contains("text") == self.text, "{media}");
        if let Some(status) = response.headers().get("grpc-status") {
            assert_ne!(status, "0", "{method}");
            return Err(code(&head_of(response.headers())));
        }
        Ok(Parts {
            body: response.into_body(),
            text: self.text,
            encoded: BytesMut::new(),
            bytes: BytesMut::new(),
        })
    }

    /// A call that is answered with one message.
    pub(crate) async fn unary<T: Message + Default>(
        &self,
        method: &str,
        message: &impl Message,
    ) -> Result<T, Code> {
        let mut parts = self.begin(method, message).await?;
        let answer = parts.message().await?.expect("an answer before the end");
        assert_eq!(parts.message().await?, None);
        Ok(T::decode(answer).unwrap())
    }
}

fn head_of(headers: &HeaderMap) -> BTreeMap<String, String> {
    headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect()
}

fn code(trailers: &BTreeMap<String, String>) -> Code {
    trailers.get("macp-error-code").cloned().unwrap_or_else(|| format!("gRPC-Web {trailers:?}"))
}

/// The body of an answer: messages, and the trailers as the last of them.
pub(crate) struct Parts {
    body: Incoming,
    text: bool,
    /// Text that is not yet decoded.
    encoded: BytesMut,
    bytes: BytesMut,
}

impl Parts {
    /// The next message; `None` at the end of a call that went well.
    pub(crate) async fn message(&mut self) -> Result<Option<Bytes>, Code> {
        let (flags, part) = self.part().await;
        if flags == 0 {
            return Ok(Some(part));
        }
        assert_eq!(flags, 0x80, "trailers are the only other part");
        let text = std::str::from_utf8(&part).unwrap();
        let trailers: BTreeMap<_, _> = text
            .split_terminator("\r\n")
            .map(|line| line.split_once(':').expect("a trailer"))
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect();
        assert!(soon("the end of a body", self.body.frame()).await.is_none(), "trailers are the end");
        if trailers["grpc-status"] == "0" { Ok(None) } else { Err(code(&trailers)) }
    }

    async fn part(&mut self) -> (u8, Bytes) {
        loop {
            if let [flags, a, b, c, d, ..] = self.bytes[..] {
                let length = u32::from_be_bytes([a, b, c, d]) as usize;
                if self.bytes.len() >= 5 + length {
                    self.bytes.advance(5);
                    return (flags, self.bytes.split_to(length).freeze());
                }
            }
            let frame = soon("a part of a body", self.body.frame()).await;
            let data =
                frame.expect("trailers before the end").unwrap().into_data().expect("no HTTP trailers");
            if self.text {
                self.encoded.extend_from_slice(&data);
                // In groups of four: each chunk of the stream may have been padded by itself.
                while self.encoded.len() >= 4 {
                    self.bytes.extend_from_slice(&STANDARD.decode(self.encoded.split_to(4)).unwrap());
                }
            } else {
                self.bytes.extend_from_slice(&data);
            }
        }
    }
}

macro_rules! call {
    (unary $web:ident, $method:expr, $request:expr, $response:ty) => {
        $web.unary::<$response>($method, &$request).await.map(|response| json::to_vec(&response))
    };
    ($stream:ident $web:ident, $method:expr, $request:expr, $response:ty) => {{
        let _ = $request;
        panic!("{} is a stream", $method)
    }};
}

macro_rules! dispatch {
    ($($name:ident, $function:ident, $request:ty, $response:ty, $kind:ident;)*) => {
        async fn dispatch(web: &GrpcWeb, method: &str, request: &[u8]) -> Result<Vec<u8>, Code> {
            match method {
                $(stringify!($name) => {
                    let request: $request = json::from_slice(request).expect("a request message");
                    call!($kind web, method, request, $response)
                })*
                _ => panic!("no call is named {method}"),
            }
        }
    };
}
macp_wire::for_each_method!(dispatch);

#[async_trait]
impl Agent for GrpcWeb {
    async fn send(&mut self, envelope: &Envelope) -> Result<Ack, Code> {
        let request = SendRequest { envelope: Some(envelope.clone()) };
        let response: SendResponse = self.unary("Send", &request).await?;
        Ok(response.ack.expect("an Ack"))
    }

    async fn call(&mut self, method: &str, request: &Value) -> Result<Value, Code> {
        let response = dispatch(self, method, request.to_string().as_bytes()).await?;
        Ok(serde_json::from_slice(&response).unwrap())
    }

    async fn watch(&mut self, method: &str) -> Result<(), Code> {
        // The requests of all watches are empty, so one message stands for all of them.
        self.begin(method, &WatchSignalsRequest {}).await.map(drop)
    }

    async fn observe(&mut self, session: &str, after: u64) -> Result<Feed, Code> {
        let subscribe_session_id = session.to_owned();
        let request =
            StreamSessionRequest { subscribe_session_id, after_sequence: after, ..Default::default() };
        let mut parts = self.begin("StreamSession", &request).await?;
        // The answer to a subscribe is the first envelope or a refusal: nothing else tells them apart.
        let first = envelope(&mut parts).await?;
        let feed = stream::unfold((parts, first, after), |(mut parts, came, last)| async move {
            let seen = Seen { sequence: last + 1, envelope: came? };
            let next = envelope(&mut parts).await.expect("an envelope or a good end");
            Some((seen, (parts, next, last + 1)))
        });
        Ok(feed.boxed())
    }
}

/// The next envelope of a `StreamSession`; `None` when the session has ended.
async fn envelope(parts: &mut Parts) -> Result<Option<Envelope>, Code> {
    let Some(message) = parts.message().await? else { return Ok(None) };
    match StreamSessionResponse::decode(message).unwrap().response {
        Some(Frame::Envelope(envelope)) => Ok(Some(envelope)),
        Some(Frame::Error(error)) => Err(error.code),
        None => panic!("an empty frame"),
    }
}
