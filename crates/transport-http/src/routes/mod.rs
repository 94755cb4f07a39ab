//! Which path is answered by what.

mod discovery;
mod document;
mod events;
mod guard;
mod resource;
mod resources;
mod rfc_paths;
mod rpc;
mod streams;
mod submit;
mod ticket;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::{MethodRouter, any};
use http::{Method as Verb, StatusCode};
use macp_auth::Authenticator;
use macp_engine::Engine;

use crate::cors;
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
    table(&app.options.prefix).router.with_state(Arc::new(app))
}

/// A verb and a path that the binding answers; the OpenAPI document has an operation for each.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mounted {
    /// As a template: `{name}` stands for one segment.
    pub path: String,
    /// The verb, in capitals.
    pub verb: &'static str,
}

/// What [`router`](crate::router) answers without a prefix, by the same table that mounts it. `HEAD` and `OPTIONS`,
/// which follow from the others, are left out.
#[must_use]
pub fn mounted() -> Vec<Mounted> {
    table("").mounted
}

/// Routes and the list of them: whatever is mounted is told.
struct Table {
    router: Router<Arc<App>>,
    mounted: Vec<Mounted>,
}

impl Table {
    fn add(&mut self, path: String, verbs: &[&'static str], handler: MethodRouter<Arc<App>>) {
        self.router = std::mem::take(&mut self.router).route(&path, handler);
        self.mounted.extend(verbs.iter().map(|verb| Mounted { path: path.clone(), verb }));
    }
}

fn table(prefix: &str) -> Table {
    // A prefix may begin a segment with `:` or `*`, which are captures in older routes only.
    let mut table = Table { router: Router::new().without_v07_checks(), mounted: Vec::new() };
    table.add(paths::WELL_KNOWN.to_owned(), &["GET"], any(discovery::well_known));
    for prefix in paths::prefixes(prefix) {
        // One route per call and no capture: any other name is left to whoever shares the path space.
        for (method, handler) in rpc::handlers() {
            table.add(paths::route(&paths::rpc(&prefix, method)), &["POST"], handler);
        }
        // The prefix is text, what is behind it a template.
        let base = paths::route(&prefix);
        for (path, handler) in resources::all() {
            table.add(format!("{base}{}{path}", paths::RPC_BASE), &["GET"], handler);
        }
        table.add(format!("{base}{}", paths::EVENTS), &["GET"], events::of_one_session());
        for (verb, path, handler) in rfc_paths::all() {
            table.add(format!("{base}{}{path}", paths::RFC_BASE), &[verb], handler);
        }
        table.add(format!("{base}{}", paths::TICKET), &["POST"], any(ticket::issue));
        table.add(format!("{base}{}", paths::OPENAPI), &["GET"], any(document::openapi));
    }
    table
}

/// Any path that is not one of ours.
pub(crate) async fn unknown(State(origins): State<macp_auth::Origins>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    body::discard(&head.headers, body);
    if head.method == Verb::OPTIONS {
        return cors::preflight(&origins, &head.headers);
    }
    bare(StatusCode::NOT_FOUND)
}
