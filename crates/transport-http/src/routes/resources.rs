//! Resources for people with curl, and for caches: the reading calls as `GET`. Each answers what its call answers.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use axum::routing::MethodRouter;
use http::header::{CONTENT_TYPE, ETAG, IF_NONE_MATCH, LINK};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use macp_engine::{SessionFilter, SessionView};
use macp_kernel::Refusal;
use macp_wire::json;
use macp_wire::v1::*;

use super::App;
use super::resource::{Access, Asked, Resource};
use crate::accept;
use crate::error::{Failure, bare, ok_json};
use crate::types::{self, EnvelopeJson, EnvelopesPage, SequencedEnvelope};

/// The last accepted ordinal of the session that a response is about.
pub(super) const HIGH_WATER: HeaderName = HeaderName::from_static("macp-high-water-sequence");
const JSON: &[&str] = &["application/json"];
const ENVELOPE_JSON: &str = "application/macp-envelope+json";
const ENVELOPE_PROTO: &str = "application/macp-envelope+proto";
const ENVELOPE: &[&str] = &["application/json", ENVELOPE_JSON, ENVELOPE_PROTO];

const fn resource(name: &'static str, access: Access, parameters: &'static [&'static str]) -> Resource {
    Resource { name, access, types: JSON, parameters }
}

/// The resources below `/macp/v1`, but for the event stream, by their path.
pub(super) fn all() -> Vec<(&'static str, MethodRouter<Arc<App>>)> {
    use Access::{Bearer, Open};
    const LIST: &[&str] = &["page_size", "page_token", "state", "mode", "participant"];
    vec![
        ("/sessions", resource("sessions", Bearer, LIST).get(sessions)),
        ("/sessions/{session_id}", session_resource().get(session)),
        (
            "/sessions/{session_id}/envelopes",
            resource("envelopes", Bearer, &["after", "limit"]).get(envelopes),
        ),
        (
            "/sessions/{session_id}/envelopes/{sequence}",
            Resource { types: ENVELOPE, ..resource("envelope", Bearer, &[]) }.get(envelope),
        ),
        ("/sessions/{session_id}/receipt", resource("receipt", Bearer, &[]).get(receipt)),
        ("/modes", resource("modes", Open, &[]).get(modes)),
        ("/policies", resource("policies", Bearer, &["mode"]).get(policies)),
        ("/policies/{policy_id}", resource("policy", Bearer, &[]).get(policy)),
        ("/roots", resource("roots", Open, &[]).get(roots)),
        ("/manifest", resource("manifest", Open, &["agent_id"]).get(manifest)),
    ]
}

/// One session, wherever it is mounted.
pub(super) fn one_session() -> MethodRouter<Arc<App>> {
    session_resource().get(session)
}

const fn session_resource() -> Resource {
    resource("session", Access::Bearer, &[])
}

/// `ListSessions`, and a link to the page that follows.
async fn sessions(app: Arc<App>, asked: Asked) -> Result<Response, Failure> {
    let query = &asked.query;
    let states = query.all("state").flat_map(|states| states.split(',')).map(SessionFilter::state);
    let filter = SessionFilter {
        states: states.collect::<Result<_, _>>()?,
        mode: query.one("mode")?.map(str::to_owned),
        participant: query.one("participant")?.map(str::to_owned),
    };
    let request = ListSessionsRequest {
        page_size: query.number("page_size")?.unwrap_or(0),
        page_token: query.one("page_token")?.unwrap_or_default().to_owned(),
    };
    let page = app.engine.list_sessions_where(&asked.identity, request, &filter).await?;
    let mut response = ok_json(json::to_vec(&page));
    if !page.next_page_token.is_empty() {
        link_next(response.headers_mut(), &query.with(&[("page_token", &page.next_page_token)]));
    }
    Ok(response)
}

/// `GetSession`, with a validator.
async fn session(app: Arc<App>, asked: Asked) -> Result<Response, Failure> {
    let id = asked.segment(0);
    let view = app
        .engine
        .view_session(&asked.identity, id)
        .await
        .map_err(|refusal| Failure::in_session(refusal, id))?;
    let etag = etag(&view);
    let mut response = if is_known(&asked.head.headers, &etag) {
        bare(StatusCode::NOT_MODIFIED)
    } else {
        ok_json(json::to_vec(&GetSessionResponse { metadata: Some(view.metadata) }))
    };
    let headers = response.headers_mut();
    headers.insert(HIGH_WATER, HeaderValue::from(view.high_water));
    // Digits and letters are always a header's value.
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        headers.insert(ETAG, etag);
    }
    Ok(response)
}

/// Head and state, and the deadline, which a pause moves without changing either.
fn etag(view: &SessionView) -> String {
    let state = view.metadata.state().as_str_name().trim_start_matches("SESSION_STATE_").to_ascii_lowercase();
    format!("\"{}-{state}-{}\"", view.high_water, view.metadata.expires_at_unix_ms)
}

/// Whether `If-None-Match` has the tag; it compares weakly (RFC 9110 §13.1.2).
fn is_known(headers: &HeaderMap, etag: &str) -> bool {
    let values = headers.get_all(IF_NONE_MATCH).into_iter().filter_map(|value| value.to_str().ok());
    // Our tags have no comma, so none of them is cut here.
    values
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

/// A page of history.
async fn envelopes(app: Arc<App>, asked: Asked) -> Result<Response, Failure> {
    let id = asked.segment(0);
    let refuse = |refusal: Refusal| Failure::in_session(refusal, id);
    let after = asked.query.after().map_err(refuse)?;
    let limit = asked.query.number::<usize>("limit").map_err(refuse)?;
    let page = app.engine.envelopes(&asked.identity, id, after, limit).await.map_err(refuse)?;
    let next = page.next_after();
    let body = EnvelopesPage {
        high_water_sequence: page.session.high_water,
        state: page.session.metadata.state().as_str_name(),
        envelopes: page
            .deliveries
            .into_iter()
            .map(|delivery| SequencedEnvelope {
                sequence: delivery.sequence(),
                envelope: EnvelopeJson(delivery),
            })
            .collect(),
    };
    let mut response = ok_json(types::to_json(&body));
    response.headers_mut().insert(HIGH_WATER, HeaderValue::from(body.high_water_sequence));
    if let Some(next) = next {
        link_next(response.headers_mut(), &asked.query.with(&[("after", &next.to_string())]));
    }
    Ok(response)
}

/// One envelope, bare, as JSON or as the bytes that were accepted. What has no place in the session yet is not found.
async fn envelope(app: Arc<App>, asked: Asked) -> Result<Response, Failure> {
    let id = asked.segment(0);
    let refuse = |refusal: Refusal| Failure::in_session(refusal, id);
    let sequence: u64 = asked
        .segment(1)
        .parse()
        .map_err(|_| refuse(Refusal::invalid_request("the path does not end with an ordinal: 1, 2, 3")))?;
    // Who may not read the session is told so, whatever the ordinal.
    let after = sequence.saturating_sub(1);
    let page = app.engine.envelopes(&asked.identity, id, after, Some(1)).await.map_err(refuse)?;
    let Some(delivery) = page.deliveries.first().filter(|delivery| delivery.sequence() == sequence) else {
        return Err(Failure::Bare(StatusCode::NOT_FOUND));
    };
    let headers = &asked.head.headers;
    // Of equally welcome types the first one.
    let media = ENVELOPE.iter().rev().max_by_key(|media| accept::weight(headers, media)).copied();
    let body = if media == Some(ENVELOPE_PROTO) { delivery.proto() } else { delivery.json() };
    let mut response = Response::new(Body::from(body.clone()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media.unwrap_or(ENVELOPE_JSON)));
    Ok(response)
}

/// `GetDecisionReceipt`
async fn receipt(app: Arc<App>, asked: Asked) -> Result<Response, Failure> {
    let id = asked.segment(0);
    let request = GetDecisionReceiptRequest { session_id: id.to_owned() };
    let answer = app.engine.get_decision_receipt(&asked.identity, request).await;
    answer.map(|answer| ok_json(json::to_vec(&answer))).map_err(|refusal| Failure::in_session(refusal, id))
}

/// `ListModes`
async fn modes(app: Arc<App>, asked: Asked) -> Result<Response, Failure> {
    let answer = app.engine.list_modes(&asked.identity, ListModesRequest::default()).await?;
    Ok(ok_json(json::to_vec(&answer)))
}

/// `ListPolicies`
async fn policies(app: Arc<App>, asked: Asked) -> Result<Response, Failure> {
    let request = ListPoliciesRequest { mode: asked.query.one("mode")?.unwrap_or_default().to_owned() };
    let answer = app.engine.list_policies(&asked.identity, request).await?;
    Ok(ok_json(json::to_vec(&answer)))
}

/// `GetPolicy`
async fn policy(app: Arc<App>, asked: Asked) -> Result<Response, Failure> {
    let request = GetPolicyRequest { policy_id: asked.segment(0).to_owned() };
    let answer = app.engine.get_policy(&asked.identity, request).await?;
    Ok(ok_json(json::to_vec(&answer)))
}

/// `ListRoots`
async fn roots(app: Arc<App>, asked: Asked) -> Result<Response, Failure> {
    let answer = app.engine.list_roots(&asked.identity, ListRootsRequest::default()).await?;
    Ok(ok_json(json::to_vec(&answer)))
}

/// `GetManifest`
async fn manifest(app: Arc<App>, asked: Asked) -> Result<Response, Failure> {
    let request =
        GetManifestRequest { agent_id: asked.query.one("agent_id")?.unwrap_or_default().to_owned() };
    let answer = app.engine.get_manifest(&asked.identity, request).await?;
    Ok(ok_json(json::to_vec(&answer)))
}

/// A link to the next page. The reference is relative to the request's own URL, so that it holds behind every proxy.
fn link_next(headers: &mut HeaderMap, reference: &str) {
    // What is percent-encoded is always a header's value.
    if let Ok(link) = HeaderValue::from_str(&format!("<{reference}>; rel=\"next\"")) {
        headers.insert(LINK, link);
    }
}
