//! `/livez`, `/readyz` and `/healthz`: for load balancers and supervisors, who have no credential.

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use http::header::CACHE_CONTROL;
use macp_engine::Engine;

/// The paths. They are at the root whatever the public URL is: probes do not come through the proxy.
pub(crate) fn router(engine: &Engine) -> Router {
    let ready = || {
        let engine = engine.clone();
        get(|| async move { readiness(&engine) })
    };
    Router::new()
        .route("/livez", get(|| async { answer(StatusCode::OK, "live") }))
        .route("/readyz", ready())
        // For those who know one path only: whether to send requests here.
        .route("/healthz", ready())
}

/// The same verdict as `grpc.health.v1` gives.
fn readiness(engine: &Engine) -> Response {
    if engine.is_ready() {
        answer(StatusCode::OK, "ready")
    } else if engine.draining().is_cancelled() {
        answer(StatusCode::SERVICE_UNAVAILABLE, "not ready: the server is shutting down")
    } else {
        answer(StatusCode::SERVICE_UNAVAILABLE, "not ready: sessions cannot be stored; the log says why")
    }
}

fn answer(status: StatusCode, text: &'static str) -> Response {
    (status, [(CACHE_CONTROL, "no-store")], format!("{text}\n")).into_response()
}
