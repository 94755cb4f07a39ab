//! The example paths of RFC-MACP-0006 in its edition of July: shorter ways to the same calls.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::{MethodRouter, any};
use bytes::Bytes;
use http::{Method as Verb, request};
use macp_engine::ack;
use macp_kernel::envelope::core_type;
use macp_kernel::{Identity, Refusal};
use macp_wire::json::{self, EnvelopeFault};
use macp_wire::v1::{CancelSessionRequest, Envelope};
use prost::Message as _;

use super::guard::guarded;
use super::resource::segments;
use super::rpc::read_body;
use super::{App, events, resources, submit};
use crate::error::{Failure, Style, ok_json};
use crate::{body, cors, extract};

const ENVELOPE_PROTO: &str = "application/macp-envelope+proto";
const ENVELOPE_TYPES: &str =
    "application/json, application/macp-envelope+json, application/macp-envelope+proto";

/// The paths below `/macp`, with their verbs.
pub(super) fn all() -> Vec<(&'static str, &'static str, MethodRouter<Arc<App>>)> {
    vec![
        ("POST", "/envelope", post("envelope", true, |app, posted| envelope(app, posted, None))),
        (
            "POST",
            "/session/start",
            post("start", true, |app, posted| envelope(app, posted, Some(core_type::SESSION_START))),
        ),
        ("GET", "/session/{session_id}", resources::one_session()),
        ("GET", "/session/{session_id}/events", events::of_one_session()),
        ("POST", "/session/{session_id}/cancel", post("cancel", false, cancel)),
    ]
}

/// A request that has passed everything before its handler.
struct Posted {
    identity: Identity,
    media: Option<String>,
    body: Bytes,
    path: Vec<String>,
}

/// Serves `POST` in the order of precedence of the calls.
fn post<H, F>(name: &'static str, takes_envelope: bool, handle: H) -> MethodRouter<Arc<App>>
where
    H: FnOnce(Arc<App>, Posted) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<Response, Failure>> + Send + 'static,
{
    any(move |State(app): State<Arc<App>>, request: Request| async move {
        let (mut head, body) = request.into_parts();
        if head.method == Verb::OPTIONS {
            body::discard(&head.headers, body);
            return cors::preflight(&app.options.cors_origins, &head.headers);
        }
        let style = Style::of(&head.headers);
        let guard = Arc::clone(&app);
        let answer = async move {
            let (identity, media) = match admit_head(&app, &head, takes_envelope).await {
                Ok(admitted) => admitted,
                Err(failure) => {
                    body::discard(&head.headers, body);
                    return Err(failure);
                }
            };
            let body = read_body(&app, &head.headers, body).await?;
            let path = segments(&mut head).await?;
            handle(app, Posted { identity, media, body, path }).await
        };
        guarded(&guard, name, style, answer).await
    })
}

/// What needs no body.
async fn admit_head(
    app: &App,
    head: &request::Parts,
    takes_envelope: bool,
) -> Result<(Identity, Option<String>), Failure> {
    if head.method != Verb::POST {
        return Err(Failure::MethodNotAllowed("POST"));
    }
    let media = extract::content_type(&head.headers);
    let has_type = head.headers.contains_key(http::header::CONTENT_TYPE);
    match (takes_envelope, media.as_deref()) {
        (true, Some("application/json" | "application/macp-envelope+json" | ENVELOPE_PROTO)) => {}
        (true, _) => return Err(Failure::UnsupportedMediaType(ENVELOPE_TYPES)),
        // A body need not be there, and then it has no type.
        (false, Some("application/json")) => {}
        (false, None) if !has_type => {}
        (false, _) => return Err(Failure::UnsupportedMediaType("application/json")),
    }
    let identity = extract::identity(head, app).await?;
    identity.require()?;
    Ok((identity, media))
}

/// `Send` of a bare envelope, of one type only where the path says so.
async fn envelope(app: Arc<App>, posted: Posted, only: Option<&'static str>) -> Result<Response, Failure> {
    let decoded = decode(&posted)?;
    if let (Some(only), Ok(envelope)) = (only, &decoded)
        && envelope.message_type != only
    {
        let refusal = Refusal::invalid_envelope(format!(
            "this path takes a {only} only; send other envelopes to /macp/envelope"
        ));
        return Ok(submit::answer(ack::refused(&envelope.message_id, &envelope.session_id, &refusal), None));
    }
    Ok(submit::submit(&app, &posted.identity, decoded).await)
}

fn decode(posted: &Posted) -> Result<Result<Envelope, EnvelopeFault>, Failure> {
    if posted.media.as_deref() == Some(ENVELOPE_PROTO) {
        let envelope = Envelope::decode(posted.body.clone());
        return envelope.map(Ok).map_err(|_| Failure::invalid_request("the body is not a protobuf Envelope"));
    }
    json::decode_envelope(&posted.body)
        .map_err(|error| Failure::invalid_request(format!("the body is not an Envelope: {error}")))
}

/// `CancelSession`; a body may give the reason.
async fn cancel(app: Arc<App>, posted: Posted) -> Result<Response, Failure> {
    let id = posted.path.first().cloned().unwrap_or_default();
    let refuse = |refusal: Refusal| Failure::in_session(refusal, &*id);
    let mut request = if posted.body.is_empty() {
        CancelSessionRequest::default()
    } else {
        json::from_slice(&posted.body).map_err(|error| {
            refuse(Refusal::invalid_request(format!("the body is not a CancelSessionRequest: {error}")))
        })?
    };
    if !request.session_id.is_empty() && request.session_id != id {
        return Err(refuse(Refusal::invalid_request("path and body name different sessions")));
    }
    request.session_id.clone_from(&id);
    let answer = app.engine.cancel_session(&posted.identity, request).await.map_err(refuse)?;
    Ok(ok_json(json::to_vec(&answer)))
}
