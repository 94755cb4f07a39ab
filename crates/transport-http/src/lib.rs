//! HTTP/JSON and server-sent events binding of MACP (RFC-MACP-0006 §4): a thin adapter over the engine.
//!
//! [`router`] maps a request to one call of the engine and its answer to bytes. What is decided here is the
//! binding's own: paths, headers, body cap, CORS and event framing. Every protocol rule is behind
//! [`Engine`].
//!
//! | to find | open |
//! |---|---|
//! | which paths exist | `paths.rs`, `routes/mod.rs` |
//! | bodies that are no protocol messages | `types.rs` |
//! | in which order a request is refused | `routes/rpc.rs` |
//! | resources that are read with `GET` | `routes/resources.rs`, `routes/events.rs` |
//! | header rules | `extract.rs`, `accept.rs` |
//! | what a refusal looks like | `error.rs` |
//! | how streams are framed and how they end | `sse.rs` |

mod accept;
mod body;
mod cors;
mod error;
mod event_source;
mod extract;
mod limit;
mod options;
mod page;
pub mod paths;
mod query;
mod routes;
mod sse;
pub mod types;

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::MethodRouter;
use http::HeaderMap;
use macp_auth::Authenticator;
use macp_engine::Engine;
use macp_engine::counters::Transport;
use macp_kernel::Refusal;

pub use macp_auth::Origins;
pub use options::Options;
pub use routes::{Mounted, mounted};
pub use sse::EventStream;

use error::Style;
use routes::App;

/// The binding's routes, without a fallback, to be merged with other routers.
///
/// Unknown paths are the business of whoever owns the fallback; see [`fallback`].
pub fn router(engine: Engine, authenticator: Arc<Authenticator>, options: Options) -> Router {
    let engine = engine.via(Transport::Http);
    let origins = options.cors_origins.clone();
    routes::all(App { engine, authenticator, options }).layer(from_fn_with_state(origins, cors::decorate))
}

/// The answer to a request that is refused before it is looked at.
#[must_use]
pub fn refused(headers: &HeaderMap, refusal: &Refusal) -> Response {
    error::refused(refusal, Style::of(headers))
}

/// What the binding answers on every other path: a preflight to `OPTIONS`, else 404 without a body.
///
/// For `Router::fallback_service` of the merged router.
pub fn fallback(options: &Options) -> MethodRouter {
    let origins = options.cors_origins.clone();
    axum::routing::any(routes::unknown)
        .with_state(origins.clone())
        .layer(from_fn_with_state(origins, cors::decorate))
}
