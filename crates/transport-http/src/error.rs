//! Refusals as HTTP responses: the coded error body, and the bare statuses of routing and negotiation.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{ALLOW, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, StatusCode};
use macp_engine::ack;
use macp_kernel::{Refusal, RefusalCode};
use macp_wire::{json, v1};

/// The code of every request-level refusal that has a body.
pub(crate) const MACP_ERROR_CODE: HeaderName = HeaderName::from_static("macp-error-code");

pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Why a request got no answer from its handler, or which refusal it got.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A code of the protocol's registry, and the session the request named, if any.
    Coded { refusal: Refusal, session_id: String },
    /// The resource has only these HTTP methods.
    MethodNotAllowed(&'static str),
    /// A status of HTTP itself, without a body.
    Bare(StatusCode),
}

impl Failure {
    pub(crate) fn in_session(refusal: Refusal, session_id: impl Into<String>) -> Self {
        Self::Coded { refusal, session_id: session_id.into() }
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

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        match self {
            Self::Coded { refusal, session_id } => coded(&refusal, &session_id),
            Self::MethodNotAllowed(allow) => {
                let mut response = bare(StatusCode::METHOD_NOT_ALLOWED);
                response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
                response
            }
            Self::Bare(status) => bare(status),
        }
    }
}

/// A response that is a status and nothing else.
pub(crate) fn bare(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// A JSON body with status 200.
pub(crate) fn ok_json(body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

fn coded(refusal: &Refusal, session_id: &str) -> Response {
    let mut response = ok_json(error_body(refusal, session_id));
    // The table's statuses are all valid; a wrong one in it must not take the answer away.
    *response.status_mut() =
        StatusCode::from_u16(refusal.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(MACP_ERROR_CODE, HeaderValue::from_static(refusal.code.name()));
    if refusal.code == RefusalCode::Unauthenticated {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
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
    use super::*;

    #[test]
    fn every_code_has_its_status_and_header() {
        for code in RefusalCode::ALL {
            let response = Failure::in_session(Refusal::new(*code, "m"), "s").into_response();
            assert_eq!(response.status().as_u16(), code.http_status(), "{code}");
            assert_eq!(response.headers()[MACP_ERROR_CODE], code.name());
            assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
            let challenged = response.headers().contains_key(WWW_AUTHENTICATE);
            assert_eq!(challenged, *code == RefusalCode::Unauthenticated, "{code}");
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
}
