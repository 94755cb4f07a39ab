//! Which path is answered by what.

mod discovery;
mod rpc;
mod streams;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::any;
use http::{Method as Verb, StatusCode};
use macp_auth::Authenticator;
use macp_engine::Engine;

use crate::cors::{self, Origins};
use crate::error::bare;
use crate::options::Options;
use crate::{body, paths};

/// What every handler sees.
pub(crate) struct App {
    pub(crate) engine: Engine,
    pub(crate) authenticator: Arc<Authenticator>,
    pub(crate) options: Options,
}

/// Every route of the binding.
pub(crate) fn all(app: App) -> Router {
    // A prefix may begin a segment with `:` or `*`, which are captures in older routes only.
    let mut router = Router::new().without_v07_checks().route(paths::WELL_KNOWN, any(discovery::well_known));
    for prefix in paths::prefixes(&app.options.prefix) {
        // One route per call and no capture: any other name is left to whoever shares the path space.
        for (method, handler) in rpc::handlers() {
            router = router.route(&paths::route(&paths::rpc(&prefix, method)), handler);
        }
    }
    router.with_state(Arc::new(app))
}

/// Any path that is not one of ours.
pub(crate) async fn unknown(State(origins): State<Origins>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    body::discard(&head.headers, body);
    if head.method == Verb::OPTIONS {
        return cors::preflight(&origins, &head.headers);
    }
    bare(StatusCode::NOT_FOUND)
}
