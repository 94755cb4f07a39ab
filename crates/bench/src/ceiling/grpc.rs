//! tonic alone: `Send` answered at once, `StreamSession` fed from a channel.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::{Stream, StreamExt as _};
use macp_wire::v1::stream_session_response::Response as Delivered;
use macp_wire::v1::{SendRequest, SendResponse, StreamSessionRequest, StreamSessionResponse};
use tokio::net::TcpListener;
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;
use tonic::body::Body;
use tonic::server::{Grpc, NamedService, StreamingService, UnaryService};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;
use tower::Service;

use super::{Everybody, ack, tell};
use crate::client::Failure;

/// Streams on one connection: no limit of the server's shall be what is measured.
const STREAMS: u32 = 1 << 16;

pub(super) async fn serve(listener: TcpListener, everybody: Everybody) -> Result<(), Failure> {
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let server = Server::builder().max_concurrent_streams(STREAMS).add_service(Bare(everybody));
    server.serve_with_incoming(incoming).await.map_err(Failure::connection)
}

/// What tonic's own code generator would write for two of the protocol's calls.
#[derive(Clone)]
struct Bare(Everybody);

impl NamedService for Bare {
    const NAME: &'static str = "macp.v1.MACPRuntimeService";
}

type Answer<T> = Pin<Box<dyn Future<Output = Result<T, Infallible>> + Send>>;

impl Service<http::Request<Body>> for Bare {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answer<Self::Response>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let bare = self.clone();
        match request.uri().path() {
            "/macp.v1.MACPRuntimeService/Send" => Box::pin(async move {
                let codec = ProstCodec::<SendResponse, SendRequest>::default();
                Ok(Grpc::new(codec).unary(Sends(bare), request).await)
            }),
            "/macp.v1.MACPRuntimeService/StreamSession" => Box::pin(async move {
                let codec = ProstCodec::<StreamSessionResponse, StreamSessionRequest>::default();
                Ok(Grpc::new(codec).streaming(Streams(bare), request).await)
            }),
            _ => Box::pin(async { Ok(Status::unimplemented("a bare server").into_http()) }),
        }
    }
}

struct Sends(Bare);

impl UnaryService<SendRequest> for Sends {
    type Response = SendResponse;
    type Future = Pin<Box<dyn Future<Output = Result<Response<SendResponse>, Status>> + Send>>;

    fn call(&mut self, request: Request<SendRequest>) -> Self::Future {
        let everybody = self.0.0.clone();
        Box::pin(async move {
            let envelope = request.into_inner().envelope.unwrap_or_default();
            let ack = ack(&envelope);
            tell(&everybody, envelope);
            Ok(Response::new(SendResponse { ack: Some(ack) }))
        })
    }
}

struct Streams(Bare);

impl StreamingService<StreamSessionRequest> for Streams {
    type Response = StreamSessionResponse;
    type ResponseStream = Pin<Box<dyn Stream<Item = Result<StreamSessionResponse, Status>> + Send>>;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Self::ResponseStream>, Status>> + Send>>;

    fn call(&mut self, request: Request<Streaming<StreamSessionRequest>>) -> Self::Future {
        let receiver = self.0.0.subscribe();
        Box::pin(async move {
            // Kept open, as the client does.
            let frames = request.into_inner();
            let envelopes = BroadcastStream::new(receiver).map(move |received| {
                let _open = &frames;
                match received {
                    Ok(envelope) => Ok(StreamSessionResponse {
                        response: Some(Delivered::Envelope(Arc::unwrap_or_clone(envelope))),
                    }),
                    Err(BroadcastStreamRecvError::Lagged(_)) => {
                        Err(Status::data_loss("a follower is too slow"))
                    }
                }
            });
            Ok(Response::new(Box::pin(envelopes) as Self::ResponseStream))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{Feeds, Target, Transport};
    use crate::traffic::Cast;

    /// A connection has few places, and each feed gives its own back.
    #[tokio::test]
    async fn feeds_come_and_go_on_one_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authority = listener.local_addr().unwrap().to_string();
        let everybody = Everybody::new(1);
        let server = Server::builder().max_concurrent_streams(2).add_service(Bare(everybody));
        tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
        let target = Target { authority, transport: Transport::Grpc };
        let feeds = Feeds::open(&target, &Cast::new(Vec::new(), 1), 1).await.unwrap();
        for _ in 0..10 {
            let follows = feeds.follow(0, 0, "session", 0);
            let followed = tokio::time::timeout(std::time::Duration::from_secs(10), follows).await;
            drop(followed.expect("a place on the connection").unwrap());
        }
    }
}
