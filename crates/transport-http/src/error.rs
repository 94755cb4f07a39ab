//! Refusals as HTTP responses: the coded error body, and the bare statuses of routing and negotiation.

use axum::body::Body;
use axum::response::Response;
use http::header::{ACCEPT, ALLOW, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use macp_engine::ack;
use macp_kernel::{Refusal, RefusalCode};
use macp_wire::{json, v1};

use crate::accept;
use crate::limit::{self, Limit};
use crate::types::{self, Problem};

/// The code of every request-level refusal that has a body.
pub(crate) const MACP_ERROR_CODE: HeaderName = HeaderName::from_static("macp-error-code");

/// The media type of RFC 9457.
const PROBLEM: &str = "application/problem+json";

pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Why a request got no answer from its handler, or which refusal it got.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A code of the protocol's registry, and the session the request named, if any; for a limit other than that on
    /// messages, which one.
    Coded { refusal: Refusal, session_id: String, limit: Option<&'static Limit> },
    /// The resource has only these HTTP methods.
    MethodNotAllowed(&'static str),
    /// The body is of none of these media types, which are listed in `Accept` (RFC 9110 §15.5.16).
    UnsupportedMediaType(&'static str),
    /// The client reads none of the media types that there are.
    NotAcceptable(&'static [&'static str]),
    /// A status of HTTP itself, without a body.
    Bare(StatusCode),
}

impl Failure {
    pub(crate) fn in_session(refusal: Refusal, session_id: impl Into<String>) -> Self {
        Self::Coded { refusal, session_id: session_id.into(), limit: None }
    }

    pub(crate) fn invalid_request(message: impl Into<String>) -> Self {
        Refusal::invalid_request(message).into()
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::in_session(refusal, "")
    }
}

/// How a refusal is told to this client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// `{"error": …}`, as the protocol has it.
    Macp,
    /// RFC 9457.
    Problem,
}

impl Style {
    /// What the request asks for. Problem details only if it names them: everyone else knows the protocol's own body.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        if accept::names(headers, PROBLEM) { Self::Problem } else { Self::Macp }
    }
}

impl Failure {
    /// The response. `messages` is the limit that a `RATE_LIMITED` is about unless it says otherwise.
    pub(crate) fn response(self, style: Style, messages: Limit) -> Response {
        match self {
            Self::Coded { refusal, session_id, limit } => {
                coded(&refusal, &session_id, style, limit.copied().unwrap_or(messages))
            }
            Self::MethodNotAllowed(allow) => {
                let mut response = bare(StatusCode::METHOD_NOT_ALLOWED);
                response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
                response
            }
            Self::UnsupportedMediaType(types) => {
                let mut response = bare(StatusCode::UNSUPPORTED_MEDIA_TYPE);
                response.headers_mut().insert(ACCEPT, HeaderValue::from_static(types));
                response
            }
            Self::NotAcceptable(available) => {
                let mut response = ok_json(types::to_json(&types::Available { available }));
                *response.status_mut() = StatusCode::NOT_ACCEPTABLE;
                response
            }
            Self::Bare(status) => bare(status),
        }
    }
}

/// The response of a refusal that is about the connection and no window.
pub(crate) fn refused(refusal: &Refusal, style: Style) -> Response {
    // Such refusals have no details, by which the limit on messages would be announced.
    coded(refusal, "", style, Limit::messages(&macp_engine::Limits::default()))
}

/// A response that is a status and nothing else.
pub(crate) fn bare(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// A JSON body with status 200.
pub(crate) fn ok_json(body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

fn coded(refusal: &Refusal, session_id: &str, style: Style, limit: Limit) -> Response {
    let mut response = match style {
        Style::Macp => ok_json(error_body(refusal, session_id)),
        Style::Problem => {
            let mut response = ok_json(types::to_json(&problem(refusal, session_id)));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM));
            response
        }
    };
    // The table's statuses are all valid; a wrong one in it must not take the answer away.
    *response.status_mut() =
        StatusCode::from_u16(refusal.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(MACP_ERROR_CODE, HeaderValue::from_static(refusal.code.name()));
    match (refusal.code, refusal.retry_after_ms) {
        (RefusalCode::Unauthenticated, _) => {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        (RefusalCode::Unavailable, _) => limit::unavailable(headers),
        (_, Some(wait_ms)) if refusal.details.is_empty() => {
            limit::retry_after(headers, wait_ms);
        }
        (_, Some(wait_ms)) => limit.announce(headers, wait_ms),
        _ => {}
    }
    response
}

fn problem(refusal: &Refusal, session_id: &str) -> Problem {
    let code = refusal.code.name();
    Problem {
        kind: format!(
            "{}/blob/main/docs/http.md#{}",
            env!("CARGO_PKG_REPOSITORY"),
            code.to_ascii_lowercase()
        ),
        title: code.to_ascii_lowercase().replace('_', " "),
        status: refusal.code.http_status(),
        detail: refusal.message.clone(),
        code,
        session_id: session_id.to_owned(),
        details: serde_json::from_slice(&refusal.details).ok(),
        retryable: refusal.code.retryable(),
        retry_after_ms: refusal.retry_after_ms,
    }
}

/// The body of a request-level refusal, also the data of a stream's `error` event.
pub(crate) fn error_body(refusal: &Refusal, session_id: &str) -> Vec<u8> {
    let mut body = br#"{"error":"#.to_vec();
    json::write(&ack::error(refusal, session_id, ""), &mut body);
    body.push(b'}');
    body
}

/// The session that a request names, to be copied into its refusal.
pub(crate) trait Addressed {
    /// Its id, or empty.
    fn session_id(&self) -> &str {
        ""
    }
}

macro_rules! addressed {
    ($($request:ident),*) => {
        $(impl Addressed for v1::$request {
            fn session_id(&self) -> &str {
                &self.session_id
            }
        })*
    };
}

macro_rules! unaddressed {
    ($($request:ident),*) => { $(impl Addressed for v1::$request {})* };
}

addressed!(
    GetSessionRequest,
    CancelSessionRequest,
    SuspendSessionRequest,
    ResumeSessionRequest,
    WhatIfReplayRequest,
    GetDecisionReceiptRequest
);

unaddressed!(
    InitializeRequest,
    GetManifestRequest,
    ListModesRequest,
    ListRootsRequest,
    ListExtModesRequest,
    RegisterExtModeRequest,
    UnregisterExtModeRequest,
    PromoteModeRequest,
    ListSessionsRequest,
    RegisterPolicyRequest,
    UnregisterPolicyRequest,
    GetPolicyRequest,
    ListPoliciesRequest,
    GetReceiptKeysRequest
);

impl Addressed for v1::StreamSessionRequest {
    fn session_id(&self) -> &str {
        &self.subscribe_session_id
    }
}

#[cfg(test)]
mod tests {
    use macp_engine::Limits;

    use super::*;

    fn respond(failure: Failure, style: Style) -> Response {
        failure.response(style, Limit::messages(&Limits::default()))
    }

    #[test]
    fn every_code_has_its_status_and_headers_in_both_styles() {
        for code in RefusalCode::ALL {
            for (style, content_type) in
                [(Style::Macp, "application/json"), (Style::Problem, "application/problem+json")]
            {
                let response = respond(Failure::in_session(Refusal::new(*code, "m"), "s"), style);
                assert_eq!(response.status().as_u16(), code.http_status(), "{code}");
                assert_eq!(response.headers()[MACP_ERROR_CODE], code.name());
                assert_eq!(response.headers()[CONTENT_TYPE], content_type);
                let challenged = response.headers().contains_key(WWW_AUTHENTICATE);
                assert_eq!(challenged, *code == RefusalCode::Unauthenticated, "{code}");
                let waits = response.headers().contains_key("retry-after");
                assert_eq!(waits, *code == RefusalCode::Unavailable, "{code}");
            }
        }
    }

    #[test]
    fn a_limit_says_when_to_come_back() {
        let refusal = Refusal::rate_limited("full", 1500);
        let named = Failure::Coded {
            refusal: refusal.clone(),
            session_id: String::new(),
            limit: Some(Limit::TICKETS),
        };
        for (failure, policy, limit) in [
            (Failure::from(refusal), "\"messages\";q=600;w=60", "\"messages\";r=0;t=2"),
            (named, "\"tickets\";q=64;w=30", "\"tickets\";r=0;t=2"),
        ] {
            let response = respond(failure, Style::Macp);
            let header = |name| response.headers()[name].to_str().unwrap();
            assert_eq!(
                (header("retry-after"), header("ratelimit-policy"), header("ratelimit")),
                ("2", policy, limit)
            );
        }
    }

    #[test]
    fn the_body_carries_details_in_base64() {
        let body = error_body(&Refusal::history_compacted(41), "s1");
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["error"]["code"], "HISTORY_UNAVAILABLE");
        assert_eq!(body["error"]["session_id"], "s1");
        assert_eq!(body["error"]["message_id"], "");
        assert_eq!(body["error"]["details"], "eyJsb3dlc3RfYXZhaWxhYmxlX3NlcXVlbmNlIjo0MX0=");
    }

    #[test]
    fn the_type_of_every_problem_is_documented() {
        let document = include_str!("../../../docs/http.md");
        for code in RefusalCode::ALL {
            let problem = problem(&Refusal::new(*code, "m"), "");
            let (_, anchor) = problem.kind.split_once('#').unwrap();
            assert!(document.contains(&format!("<a id=\"{anchor}\"></a>`{code}`")), "docs/http.md: {code}");
        }
    }

    #[test]
    fn a_problem_carries_the_same() {
        let problem = serde_json::to_value(problem(&Refusal::history_compacted(41), "s1")).unwrap();
        assert_eq!(
            problem,
            serde_json::json!({
                "type": "https://github.com/macp-gateway/macp-gateway/blob/main/docs/http.md#history_unavailable",
                "title": "history unavailable",
                "status": 409,
                "detail": Refusal::history_compacted(41).message,
                "code": "HISTORY_UNAVAILABLE",
                "session_id": "s1",
                "details": {"lowest_available_sequence": 41},
                "retryable": false,
            })
        );
    }
}
