//! gRPC proper, straight to the protocol's service: the way of nearly all calls, without the routes of the listener.
//!
//! Routing a request costs about as much as deciding it: its path is matched and taken apart, its body and the response's
//! are boxed, and each layer around the routes adds a future. None of that changes anything for a request that says itself
//! that it is gRPC for this service. All others go through [`router`](crate::router()), which answers the same.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Request, Response};
use tonic::codegen::{Body as HttpBody, BoxFuture, Service as _};

use crate::limits::MessageLimits;
use crate::pace::paced;
use crate::service::Service;
use crate::stubs::macp_runtime_service_server::MacpRuntimeServiceServer;

/// The body of a response.
pub type Body = tonic::body::Body;

/// The protocol's service for requests that it [takes](Self::takes).
#[derive(Clone)]
pub struct Native {
    service: MacpRuntimeServiceServer<Service>,
    limits: MessageLimits,
    message_timeout: Duration,
}

impl Native {
    pub(crate) fn new(
        service: MacpRuntimeServiceServer<Service>,
        limits: MessageLimits,
        message_timeout: Duration,
    ) -> Self {
        Self { service, limits, message_timeout }
    }

    /// Whether a request is one of plain gRPC for the protocol's service.
    #[must_use]
    pub fn takes<B>(&self, request: &Request<B>) -> bool {
        let of_service = || {
            let rest =
                request.uri().path().strip_prefix('/').and_then(|path| path.strip_prefix(crate::SERVICE));
            rest.is_some_and(|rest| rest.starts_with('/'))
        };
        let media = request.headers().get(CONTENT_TYPE).map(http::HeaderValue::as_bytes);
        matches!(media, Some(b"application/grpc" | b"application/grpc+proto")) && of_service()
    }

    /// The answer to a request that is taken.
    pub fn call<B>(&self, request: Request<B>) -> Call
    where
        B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
    {
        // The service is always ready.
        let answered = self.service.clone().call(paced(request, self.message_timeout));
        Call { answered, limits: self.limits }
    }
}

/// The answer to a call. A pointer and little more: a call's future is moved some times before it is first polled.
#[must_use = "futures do nothing unless polled"]
pub struct Call {
    answered: BoxFuture<Response<Body>, Infallible>,
    limits: MessageLimits,
}

impl Future for Call {
    type Output = Response<Body>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Ok(response) = ready!(self.answered.as_mut().poll(cx));
        Poll::Ready(self.limits.explain(response))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use macp_auth::Authenticator;
    use macp_engine::testing::memory_engine;

    #[tokio::test]
    async fn takes_plain_grpc_for_the_service_and_nothing_else() {
        let native =
            crate::native(memory_engine().await, Arc::new(Authenticator::dev()), crate::MESSAGE_TIMEOUT);
        let takes = |path: &str, media: &str| {
            let request = http::Request::post(path);
            let request = if media.is_empty() { request } else { request.header("content-type", media) };
            native.takes(&request.body(()).unwrap())
        };
        let send = "/macp.v1.MACPRuntimeService/Send";
        assert!(takes(send, "application/grpc"));
        assert!(takes(send, "application/grpc+proto"));
        assert!(
            takes("/macp.v1.MACPRuntimeService/NoSuchCall", "application/grpc"),
            "which it refuses itself"
        );
        for media in [
            "",
            "application/grpc-web",
            "application/grpc-web+proto",
            "application/json",
            "application/grpcx",
        ] {
            assert!(!takes(send, media), "{media}");
        }
        for path in [
            "/macp.v1.MACPRuntimeService",
            "/macp.v1.MACPRuntimeServiceX/Send",
            "/grpc.health.v1.Health/Check",
            "/",
        ] {
            assert!(!takes(path, "application/grpc"), "{path}");
        }
    }
}
