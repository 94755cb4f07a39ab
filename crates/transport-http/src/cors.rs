//! Cross-origin access: preflights, and the headers of actual responses.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use macp_auth::Origins;

use crate::error::bare;

const ALLOW_METHODS: HeaderValue = HeaderValue::from_static("POST");
const ALLOW_HEADERS: HeaderValue =
    HeaderValue::from_static("Authorization, Content-Type, Last-Event-ID, traceparent, tracestate");
const EXPOSE_HEADERS: HeaderValue = HeaderValue::from_static(
    "MACP-Error-Code, MACP-High-Water-Sequence, ETag, Link, Retry-After, RateLimit, RateLimit-Policy",
);
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");
const VARY_ORIGIN: HeaderValue = HeaderValue::from_static("Origin");

/// The request's origin as sent, if there is exactly one and it is on the list.
fn listed(origins: &Origins, headers: &HeaderMap) -> Option<HeaderValue> {
    let mut values = headers.get_all(ORIGIN).iter();
    let (origin, None) = (values.next()?, values.next()) else { return None };
    let listed = origins.allows(origin.to_str().ok()?);
    if !listed {
        tracing::debug!(?origin, "origin is not on the list (MACP_HTTP_CORS_ORIGINS)");
    }
    listed.then(|| origin.clone())
}

/// The answer to `OPTIONS` on any path: always 204, with permissions only for a listed origin.
pub(crate) fn preflight(origins: &Origins, headers: &HeaderMap) -> Response {
    let mut response = bare(StatusCode::NO_CONTENT);
    if let Some(origin) = listed(origins, headers) {
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, ALLOW_METHODS);
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, ALLOW_HEADERS);
        headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        headers.insert(VARY, VARY_ORIGIN);
    }
    response
}

/// Lets a listed origin read an actual response, whatever its status.
pub(crate) async fn decorate(State(origins): State<Origins>, request: Request, next: Next) -> Response {
    if request.method() == Method::OPTIONS {
        return next.run(request).await;
    }
    let origin = listed(&origins, request.headers());
    let mut response = next.run(request).await;
    if origins.is_empty() {
        return response;
    }
    let headers = response.headers_mut();
    if let Some(origin) = origin {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSE_HEADERS);
    }
    headers.append(VARY, VARY_ORIGIN);
    response
}
