//! Everything that one listener answers: gRPC, HTTP, WebSocket and the page, on the same routes; plain gRPC past them.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use http_body_util::Either;
use hyper::body::Incoming;
use macp_auth::Tickets;
use macp_engine::Engine;
use macp_kernel::Refusal;
use macp_transport_grpc::Native;
use macp_transport_ws::Sockets;
use tower::ServiceExt as _;

use crate::config::{Config, PublicUrl};
use crate::{client, health, reference, web};

/// What a listener answers with.
#[derive(Clone)]
pub(crate) struct Routes {
    /// Everything.
    all: Router,
    /// What needs no routing.
    grpc: Native,
}

/// A body of either way.
pub(crate) type Body = Either<macp_transport_grpc::Body, axum::body::Body>;

impl Routes {
    /// The answer to a request.
    pub(crate) async fn answer(
        self,
        request: hyper::Request<Incoming>,
    ) -> Result<hyper::Response<Body>, Infallible> {
        let Self { all, mut grpc } = self;
        if grpc.takes(&request) {
            return Ok(grpc.call(request).await.map(Either::Left));
        }
        Ok(all.oneshot(request).await?.map(Either::Right))
    }
}

/// The routes of the listener at `addr`.
pub(crate) fn of(
    config: &Config,
    engine: &Engine,
    sockets: &Sockets,
    tickets: &Arc<Tickets>,
    addr: SocketAddr,
) -> Routes {
    let authenticator = Arc::new(config.auth.authenticator.clone());
    let prefix = config.public_url.as_ref().map(|url| url.prefix.clone()).unwrap_or_default();

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
        loopback: addr.ip().is_loopback(),
        allowed_hosts: config.public_url.iter().map(|url| url.host().to_owned()).collect(),
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
    Routes { all, grpc }
}

/// A refusal in the language of the request, whatever it asks for.
pub(crate) fn refused(headers: &HeaderMap, refusal: &Refusal) -> hyper::Response<Body> {
    let response = macp_transport_grpc::refused(headers, refusal)
        .unwrap_or_else(|| macp_transport_http::refused(headers, refusal));
    response.map(Either::Right)
}

/// A gRPC client is told in its own language that there is no such service.
async fn unknown_path(request: Request, unknown: axum::routing::MethodRouter) -> Response {
    if let Some(response) = macp_transport_grpc::unknown_service(request.headers()) {
        return response;
    }
    // A method router does not fail.
    unknown.oneshot(request).await.into_response()
}
