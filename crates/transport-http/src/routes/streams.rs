//! The six streaming calls as server-sent events: the passive subscribe of `StreamSession`, and the watches.

use std::sync::Arc;

use axum::response::Response;
use macp_engine::Engine;
use macp_kernel::{Identity, Refusal};
use macp_wire::json::Json;
use macp_wire::v1::StreamSessionRequest;

use super::App;
use super::rpc::Call;
use crate::error::{Addressed, Failure};
use crate::extract;
use crate::sse::{self, Source};

/// `StreamSession` without its write half: envelopes are submitted with `Send`.
pub(super) async fn subscribe(app: Arc<App>, call: Call) -> Result<Response, Failure> {
    let request: StreamSessionRequest = call.decode()?;
    let session_id = request.session_id();
    let refuse = |refusal: Refusal| Failure::in_session(refusal, session_id);
    if request.envelope.is_some() {
        return Err(refuse(Refusal::invalid_request(
            "StreamSession over HTTP only subscribes: submit the envelope with Send",
        )));
    }
    if session_id.is_empty() {
        return Err(refuse(Refusal::invalid_request("subscribe_session_id must name a session")));
    }
    let after = extract::resume_after(&call.headers, request.after_sequence).map_err(refuse)?;
    let subscription = app.engine.subscribe(&call.identity, session_id, after).await.map_err(refuse)?;
    Ok(sse::response(&app.engine, &call.identity, app.options.sse_keepalive, subscription))
}

/// One of the watches, whose requests have no members.
pub(super) async fn watch<R, W, F>(
    app: Arc<App>,
    call: Call,
    open: impl FnOnce(Engine, Identity) -> F,
) -> Result<Response, Failure>
where
    R: Json,
    W: Source,
    F: Future<Output = Result<W, Refusal>>,
{
    call.decode::<R>()?;
    let watch = open(app.engine.clone(), call.identity.clone()).await?;
    Ok(sse::response(&app.engine, &call.identity, app.options.sse_keepalive, watch))
}
