//! Everything that one listener answers: gRPC, HTTP, WebSocket and the page, on the same routes; plain gRPC past them.

use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::HeaderMap;
use http_body_util::Either;
use hyper::body::Incoming;
use macp_auth::{OwnHosts, Tickets};
use macp_engine::{Engine, observe};
use macp_kernel::Refusal;
use macp_transport_grpc::Native;
use macp_transport_ws::Sockets;
use tower::ServiceExt as _;
use tracing::{Instrument as _, Span};

use crate::config::{Config, PublicUrl};
use crate::metrics::{Connections, Metrics};
use crate::rebound::Rebound;
use crate::{client, health, reference, traces, web};

/// What a listener answers with.
#[derive(Clone)]
pub(crate) struct Routes {
    /// Everything.
    all: Router,
    /// What needs no routing.
    grpc: Option<Native>,
    /// Whom development identities are refused, if there are any and the listener is on loopback.
    rebound: Option<Arc<Rebound>>,
    /// Where the listener's connections are counted.
    pub(crate) connections: Connections,
}

/// A body of either way.
type Plain = Either<macp_transport_grpc::Body, axum::body::Body>;
/// The same, or within the span of its request.
pub(crate) type Body = Either<Plain, Spanned>;

impl Routes {
    /// The answer to a request from this address. What can be said at once is said now.
    pub(crate) fn answer(&self, request: hyper::Request<Incoming>, peer: IpAddr) -> Answering {
        if !observe::is_traced() {
            return self.route(request);
        }
        let span = traces::request_span(&request, peer);
        let answering = span.in_scope(|| self.route(request));
        Answering::Other(Box::pin(async move {
            let response = answering.instrument(span.clone()).await;
            traces::answered(&span, response.status());
            response.map(|body| match body {
                Either::Left(body) => Either::Right(Spanned { body, span }),
                spanned @ Either::Right(_) => spanned,
            })
        }))
    }

    fn route(&self, request: hyper::Request<Incoming>) -> Answering {
        if let Some(refusal) = self.rebound.as_ref().and_then(|rebound| rebound.refuses(&request)) {
            return Answering::of(refused(request.headers(), &refusal));
        }
        if let Some(grpc) = self.grpc.as_ref().filter(|grpc| grpc.takes(&request)) {
            return Answering::Grpc(grpc.call(request));
        }
        let answered = self.all.clone().oneshot(request);
        Answering::Other(Box::pin(async move {
            let Ok(response) = answered.await;
            response.map(|body| Either::Left(Either::Right(body)))
        }))
    }
}

/// The answer to a request, on its way. Small, whatever it takes: such futures are moved some times before they begin.
pub(crate) enum Answering {
    /// Plain gRPC.
    Grpc(macp_transport_grpc::Call),
    Other(Pin<Box<dyn Future<Output = hyper::Response<Body>> + Send>>),
}

impl Answering {
    /// One that is there.
    pub(crate) fn of(response: hyper::Response<Body>) -> Self {
        Self::Other(Box::pin(std::future::ready(response)))
    }
}

impl Future for Answering {
    type Output = hyper::Response<Body>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Self::Grpc(call) => {
                Pin::new(call).poll(cx).map(|response| response.map(|body| Either::Left(Either::Left(body))))
            }
            Self::Other(other) => other.as_mut().poll(cx),
        }
    }
}

/// A body that is polled within a span: what a stream does later belongs to its request, which lasts as long.
pub(crate) struct Spanned {
    body: Plain,
    span: Span,
}

impl http_body::Body for Spanned {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        let Self { body, span } = &mut *self;
        let _entered = span.enter();
        Pin::new(body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

/// The routes of the listener at `addr`.
pub(crate) fn of(
    config: &Config,
    engine: &Engine,
    sockets: &Sockets,
    tickets: &Arc<Tickets>,
    observed: &Observed,
    addr: SocketAddr,
) -> Routes {
    let authenticator = Arc::new(config.auth.authenticator.clone());
    let prefix = config.public_url.as_ref().map(|url| url.prefix.clone()).unwrap_or_default();

    let own_hosts = addr
        .ip()
        .is_loopback()
        .then(|| OwnHosts::and(config.public_url.iter().map(|url| url.host().to_owned())));
    let rebound = own_hosts
        .as_ref()
        .filter(|_| authenticator.is_dev())
        .map(|hosts| Arc::new(Rebound::new(hosts.clone(), engine)));

    let http_options = macp_transport_http::Options {
        prefix: prefix.clone(),
        max_body_bytes: config.max_body_bytes,
        cors_origins: config.cors_origins.clone(),
        request_timeout: Some(config.request_timeout),
        body_timeout: config.body_timeout,
        sse_keepalive: config.sse_keepalive,
        tickets: Arc::clone(tickets),
    };
    let ws_options = macp_transport_ws::Options {
        prefix: prefix.clone(),
        // Behind a proxy that terminates TLS, the page's own origin is the public one.
        cors_origins: config.cors_origins.clone(),
        public_origin: config.public_url.as_ref().map(PublicUrl::origin),
        tls: config.tls.is_some(),
        own_hosts: own_hosts.clone(),
        max_connections: config.max_websockets,
        max_streams: config.max_socket_streams,
        tickets: Arc::clone(tickets),
        timing: macp_transport_ws::Timing {
            heartbeat: config.heartbeat,
            authenticate: config.deadlines.handshake,
            message: config.body_timeout,
            stall: config.deadlines.stall,
            drain: config.drain,
            ..macp_transport_ws::Timing::default()
        },
        ..macp_transport_ws::Options::new(config.max_body_bytes)
    };
    let origins = config.cors_origins.clone();
    let grpc_options = macp_transport_grpc::Options {
        reflection: config.reflection,
        message_timeout: config.body_timeout,
        origins: macp_transport_grpc::AllowedOrigins::by(move |origin| origins.allows(origin)),
    };

    let unknown = macp_transport_http::fallback(&http_options);
    let grpc = macp_transport_grpc::native(engine.clone(), Arc::clone(&authenticator), config.body_timeout);
    let all = macp_transport_grpc::router(engine.clone(), Arc::clone(&authenticator), grpc_options)
        .merge(macp_transport_http::router(engine.clone(), Arc::clone(&authenticator), http_options))
        .merge(macp_transport_ws::router(engine.clone(), authenticator, ws_options, sockets.clone()))
        .merge(web::router())
        .merge(client::router(&prefix))
        .merge(reference::router(&prefix))
        .merge(health::router(engine))
        .fallback(move |request: Request| {
            let unknown = unknown.clone();
            async move { unknown_path(request, unknown).await }
        });
    let all = match config.admin_addr {
        Some(_) => all,
        None => all.merge(observed.metrics.router()),
    };
    Routes { all, grpc: Some(grpc), rebound, connections: observed.connections.clone() }
}

/// What is told to operators, and where it is counted.
pub(crate) struct Observed {
    /// The scrape.
    pub(crate) metrics: Metrics,
    /// The connections of all listeners but the operators' own.
    pub(crate) connections: Connections,
}

/// The routes of the operators' own listener: metrics and health, and nothing else.
pub(crate) fn admin(engine: &Engine, observed: &Observed) -> Routes {
    let all = health::router(engine).merge(observed.metrics.router());
    Routes { all, grpc: None, rebound: None, connections: Connections::default() }
}

/// A refusal in the language of the request, whatever it asks for.
pub(crate) fn refused(headers: &HeaderMap, refusal: &Refusal) -> hyper::Response<Body> {
    let response = macp_transport_grpc::refused(headers, refusal)
        .unwrap_or_else(|| macp_transport_http::refused(headers, refusal));
    response.map(|body| Either::Left(Either::Right(body)))
}

/// A gRPC client is told in its own language that there is no such service.
async fn unknown_path(request: Request, unknown: axum::routing::MethodRouter) -> Response {
    if let Some(response) = macp_transport_grpc::unknown_service(request.headers()) {
        return response;
    }
    // A method router does not fail.
    unknown.oneshot(request).await.into_response()
}
