//! `GET /.well-known/macp.json`: the server's own manifest, open to everyone.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method as Verb};
use macp_kernel::{Identity, Refusal, RefusalCode};
use macp_wire::json;
use macp_wire::v1::GetManifestRequest;

use super::App;
use super::guard::guarded;
use crate::error::{Failure, Style, ok_json};
use crate::{body, cors};

const MANIFEST: HeaderValue = HeaderValue::from_static("application/macp-manifest+json");

/// The same document as `GetManifest` with an empty `agent_id`. The router drops the body of a `HEAD` and keeps its
/// length.
pub(super) async fn well_known(State(app): State<Arc<App>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    body::discard(&head.headers, body);
    let style = Style::of(&head.headers);
    match head.method {
        Verb::OPTIONS => cors::preflight(&app.options.cors_origins, &head.headers),
        Verb::GET | Verb::HEAD => guarded(&app, "discovery", style, manifest(&app)).await,
        _ => guarded(&app, "discovery", style, async { Err(Failure::MethodNotAllowed("GET, HEAD")) }).await,
    }
}

async fn manifest(app: &App) -> Result<Response, Failure> {
    let answer = app.engine.get_manifest(&Identity::Anonymous, GetManifestRequest::default()).await?;
    let manifest = answer
        .manifest
        .ok_or_else(|| Refusal::new(RefusalCode::AgentNotFound, "this server has no manifest of its own"))?;
    let mut response = ok_json(json::to_vec(&manifest));
    response.headers_mut().insert(CONTENT_TYPE, MANIFEST);
    Ok(response)
}
