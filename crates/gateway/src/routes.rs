//! Everything that one listener answers: gRPC, HTTP, WebSocket and the page, on the same routes.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use macp_auth::Tickets;
use macp_engine::Engine;
use macp_transport_ws::Sockets;
use tower::ServiceExt as _;

use crate::config::{Config, PublicUrl};
use crate::{client, web};

/// The routes of the listener at `addr`.
pub(crate) fn of(
    config: &Config,
    engine: &Engine,
    sockets: &Sockets,
    tickets: &Arc<Tickets>,
    addr: SocketAddr,
) -> Router {
    let authenticator = Arc::new(config.authenticator.clone());
    let prefix = config.public_url.as_ref().map(|url| url.prefix.clone()).unwrap_or_default();

    let http_options = macp_transport_http::Options {
        prefix: prefix.clone(),
        max_body_bytes: config.max_body_bytes,
        cors_origins: config.cors_origins.clone(),
        request_timeout: Some(config.request_timeout),
        tickets: Arc::clone(tickets),
        ..macp_transport_http::Options::new(config.limits.max_payload_bytes)
    };
    let ws_options = macp_transport_ws::Options {
        prefix: prefix.clone(),
        // Behind a proxy that terminates TLS, the page's own origin is the public one.
        allowed_origins: config
            .cors_origins
            .iter()
            .map(str::to_owned)
            .chain(config.public_url.iter().map(PublicUrl::origin))
            .collect(),
        loopback: addr.ip().is_loopback(),
        allowed_hosts: config.public_url.iter().map(|url| url.host().to_owned()).collect(),
        tickets: Arc::clone(tickets),
        timing: macp_transport_ws::Timing { drain: config.drain, ..macp_transport_ws::Timing::default() },
        ..macp_transport_ws::Options::new(config.max_body_bytes)
    };
    let grpc_options = macp_transport_grpc::Options { reflection: config.reflection };

    let unknown = macp_transport_http::fallback(&http_options);
    macp_transport_grpc::routes(engine.clone(), Arc::clone(&authenticator), grpc_options)
        .into_axum_router()
        .reset_fallback()
        .merge(macp_transport_http::router(engine.clone(), Arc::clone(&authenticator), http_options))
        .merge(macp_transport_ws::router(engine.clone(), authenticator, ws_options, sockets.clone()))
        .merge(web::router())
        .merge(client::router(&prefix))
        .fallback(move |request: Request| {
            let unknown = unknown.clone();
            async move { unknown_path(request, unknown).await }
        })
}

/// A gRPC client is told in its own language that there is no such service.
async fn unknown_path(request: Request, unknown: axum::routing::MethodRouter) -> Response {
    let is_grpc = request
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
    if is_grpc {
        return tonic::Status::unimplemented("no such service or method").into_http::<axum::body::Body>();
    }
    // A method router does not fail.
    unknown.oneshot(request).await.into_response()
}
