//! gRPC over one HTTP/2 connection: tonic's client straight on hyper, without a balancer or a buffer in between.

use std::convert::Infallible;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use futures_util::stream::{self, StreamExt};
use http::uri::PathAndQuery;
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use macp_wire::v1::{Ack, Envelope, SendRequest, SendResponse, StreamSessionRequest};
use tokio::sync::oneshot;
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::{Request, Status, Streaming};
use tonic_prost::{ProstCodec, ProstEncoder};
use tower::Service;

use super::{Failure, Target};
use crate::traffic::Cast;

const SEND: PathAndQuery = PathAndQuery::from_static("/macp.v1.MACPRuntimeService/Send");
const STREAM_SESSION: PathAndQuery = PathAndQuery::from_static("/macp.v1.MACPRuntimeService/StreamSession");
/// Windows large enough that flow control is not what is measured.
const WINDOW: u32 = 4 << 20;

/// An open connection; clones share it.
#[derive(Clone)]
pub(crate) struct Connection {
    client: tonic::client::Grpc<Http2>,
    /// For each sender, its credential.
    credentials: Vec<MetadataValue<Ascii>>,
}

impl Connection {
    pub(crate) async fn open(target: &Target, cast: &Cast) -> Result<Self, Failure> {
        let origin = format!("http://{}", target.authority)
            .parse()
            .map_err(|_| Failure::new("usage", format!("{} is not HOST:PORT", target.authority)))?;
        let socket = TokioIo::new(target.connect().await?);
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .handshake(socket)
            .await
            .map_err(Failure::connection)?;
        // Ends with the connection; what was wrong shows in the requests on it.
        tokio::spawn(connection);
        let credentials = cast.senders.iter().map(|sender| {
            let credential = format!("Bearer {}", sender.token).parse();
            credential.map_err(|_| Failure::new("usage", "a token has characters that no header may hold"))
        });
        let client = tonic::client::Grpc::with_origin(Http2(sender), origin);
        Ok(Self { client, credentials: credentials.collect::<Result<_, _>>()? })
    }

    fn request<T>(&self, sender: usize, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", self.credentials[sender].clone());
        request
    }

    pub(crate) async fn send(&mut self, sender: usize, envelope: Envelope) -> Result<Ack, Failure> {
        let request = self.request(sender, SendRequest { envelope: Some(envelope) });
        self.client.ready().await.map_err(Failure::connection)?;
        let codec = ProstCodec::<SendRequest, SendResponse>::default();
        let response = self.client.unary(request, SEND, codec).await.map_err(|status| failure(&status))?;
        response.into_inner().ack.ok_or_else(|| Failure::answer("no Ack in the response of Send"))
    }

    /// Opens a stream of a session's envelopes behind `after`.
    pub(crate) async fn follow(
        &mut self,
        sender: usize,
        session: &str,
        after: u64,
    ) -> Result<Following, Failure> {
        let subscribe = StreamSessionRequest {
            subscribe_session_id: session.to_owned(),
            after_sequence: after,
            ..StreamSessionRequest::default()
        };
        // The request stays open as long as the feed is: one that is done may be answered by the end of the stream, and
        // one that never ends keeps its place among the streams of the connection.
        let (open, dropped) = oneshot::channel();
        let end = stream::once(dropped).filter_map(|_: Result<Infallible, _>| std::future::ready(None));
        let frames = stream::iter([subscribe]).chain(end);
        let request = self.request(sender, frames);
        self.client.ready().await.map_err(Failure::connection)?;
        let response = self.client.streaming(request, STREAM_SESSION, Raw).await;
        let responses = response.map_err(|status| failure(&status))?.into_inner();
        Ok(Following { responses, _open: open })
    }
}

/// A stream of a session's envelopes. The request ends when it is dropped.
pub(crate) struct Following {
    pub(crate) responses: Streaming<Bytes>,
    _open: oneshot::Sender<Infallible>,
}

/// The code of a status: the protocol's own where there is one.
pub(crate) fn failure(status: &Status) -> Failure {
    match status.metadata().get("macp-error-code").and_then(|code| code.to_str().ok()) {
        Some(code) => Failure::new(code, status.message()),
        None => Failure::new(format!("grpc-{:?}", status.code()).to_lowercase(), status.message()),
    }
}

/// hyper's HTTP/2 connection as the service that tonic's client wants.
#[derive(Clone)]
struct Http2(http2::SendRequest<Body>);

impl Service<http::Request<Body>> for Http2 {
    type Response = http::Response<Incoming>;
    type Error = hyper::Error;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

/// Requests as protobuf; responses as the bytes that came, since a feed looks at one field of them only.
struct Raw;

impl Codec for Raw {
    type Encode = StreamSessionRequest;
    type Decode = Bytes;
    type Encoder = ProstEncoder<StreamSessionRequest>;
    type Decoder = RawDecoder;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::default()
    }

    fn decoder(&mut self) -> Self::Decoder {
        RawDecoder
    }
}

struct RawDecoder;

impl Decoder for RawDecoder {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, source: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(source.copy_to_bytes(source.remaining())))
    }
}
