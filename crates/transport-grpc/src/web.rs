//! gRPC-Web: the same services for clients that cannot see HTTP trailers, browsers above all, over HTTP/1.1 and
//! HTTP/2.
//!
//! tonic-web translates the bodies. What is here is what browsers need beside that: CORS, media types as they are
//! really sent, and a `StreamSession` that can be followed although a page sends its whole request at once.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, ORIGIN};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use macp_kernel::Refusal;
use tonic::Status;
use tonic_web::GrpcWebLayer;
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::limits::MessageLimits;
use crate::status;

/// Request headers that a page of another origin may set.
const ALLOWED: [HeaderName; 8] = [
    AUTHORIZATION,
    CONTENT_TYPE,
    HeaderName::from_static("x-macp-token"),
    HeaderName::from_static("x-grpc-web"),
    HeaderName::from_static("x-user-agent"),
    HeaderName::from_static("grpc-timeout"),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
];
/// Response headers that it may read. Trailers are in the body; a call that is refused at once has them in its head.
const EXPOSED: [HeaderName; 5] = [
    HeaderName::from_static("grpc-status"),
    HeaderName::from_static("grpc-message"),
    HeaderName::from_static("grpc-status-details-bin"),
    HeaderName::from_static("macp-error-code"),
    HeaderName::from_static("macp-error-details-bin"),
];
/// How long a browser may keep the answer to a preflight.
const MAX_AGE: Duration = Duration::from_secs(600);

/// Which origins of other sites may call from a browser. By default none.
#[derive(Clone, Default)]
pub struct AllowedOrigins(Option<Arc<Rule>>);

type Rule = dyn Fn(&str) -> bool + Send + Sync;

impl AllowedOrigins {
    /// The origins for whose `Origin` header this is true.
    #[must_use]
    pub fn by(rule: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(rule)))
    }

    fn has(&self, origin: &HeaderValue) -> bool {
        let Self(Some(rule)) = self else { return false };
        origin.to_str().is_ok_and(|origin| rule(origin))
    }
}

impl fmt::Debug for AllowedOrigins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "AllowedOrigins(a rule)" } else { "AllowedOrigins(none)" })
    }
}

/// Marks a request that was whole when it came: the client could not have sent more later, so that the end of its
/// messages does not mean that it is done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WholeRequest;

#[derive(Clone)]
struct Web {
    cors: CorsLayer,
    limits: MessageLimits,
}

/// The services with gRPC-Web beside gRPC.
pub(crate) fn serve(services: Router, origins: AllowedOrigins, limits: MessageLimits) -> Router {
    let cors = CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(move |origin, head| {
            // More than one is no browser's, and the layer would look at the first.
            head.headers.get_all(ORIGIN).iter().count() == 1 && origins.has(origin)
        }))
        .allow_methods([Method::POST])
        .allow_headers(ALLOWED)
        .expose_headers(EXPOSED)
        .max_age(MAX_AGE);
    services.layer(from_fn_with_state(Web { cors, limits }, call))
}

/// The answer to a gRPC or gRPC-Web request for a service that does not exist; `None` for a request of another kind.
#[must_use]
pub fn unknown_service(headers: &HeaderMap) -> Option<Response> {
    answer_with(headers, || Status::unimplemented("no such service or method"))
}

/// The answer to a gRPC or gRPC-Web request that is refused before it is looked at; `None` for a request of another kind.
#[must_use]
pub fn refused(headers: &HeaderMap, refusal: &Refusal) -> Option<Response> {
    answer_with(headers, || status::refused(refusal))
}

fn answer_with(headers: &HeaderMap, status: impl FnOnce() -> Status) -> Option<Response> {
    let is_grpc =
        headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
    is_grpc.then(|| {
        let mut response = status().into_http::<Body>();
        if let Some(media) = media_type(headers) {
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media));
        }
        response
    })
}

async fn call(State(web): State<Web>, mut request: Request, next: Next) -> Response {
    match media_type(request.headers()) {
        Some(media) => prepare(&mut request, media),
        None if request.method() == Method::OPTIONS => {}
        None => return web.limits.explain(next.run(request).await),
    }
    let limits = web.limits;
    let services = service_fn(move |request: http::Request<tonic::body::Body>| {
        let next = next.clone();
        async move { Ok::<_, Infallible>(limits.explain(next.run(request.map(Body::new)).await)) }
    });
    match web.cors.layer(GrpcWebLayer::new().layer(services)).oneshot(request).await {
        Ok(response) => response.map(Body::new),
        Err(never) => match never {},
    }
}

/// Gives the request the spelling that the translation knows: a media type without parameters, and an answer of the
/// same form unless the client asks for the other one.
fn prepare(request: &mut Request, media: &'static str) {
    request.extensions_mut().insert(WholeRequest);
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media));
    let asked = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).and_then(known);
    headers.insert(ACCEPT, HeaderValue::from_static(asked.unwrap_or(media)));
}

/// The gRPC-Web media type of a request's body.
fn media_type(headers: &HeaderMap) -> Option<&'static str> {
    headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).and_then(known)
}

/// One of the four media types of gRPC-Web with protobuf, whatever its parameters and case.
fn known(value: &str) -> Option<&'static str> {
    let name = value.split(';').next().unwrap_or_default().trim();
    [
        "application/grpc-web+proto",
        "application/grpc-web",
        "application/grpc-web-text+proto",
        "application/grpc-web-text",
    ]
    .into_iter()
    .find(|known| name.eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_are_read_without_case_and_parameters() {
        for (value, expected) in [
            ("application/grpc-web", Some("application/grpc-web")),
            ("application/grpc-web+proto", Some("application/grpc-web+proto")),
            ("Application/gRPC-Web-Text; charset=utf-8", Some("application/grpc-web-text")),
            ("application/grpc-web-text+proto ", Some("application/grpc-web-text+proto")),
            ("application/grpc-web+json", None),
            ("application/grpc", None),
            ("application/grpc-webby", None),
            ("", None),
        ] {
            assert_eq!(known(value), expected, "{value:?}");
        }
    }

    #[test]
    fn the_answer_has_the_form_of_the_request_unless_asked_otherwise() {
        for (content_type, accept, expected) in [
            ("application/grpc-web-text", None, "application/grpc-web-text"),
            ("application/grpc-web-text", Some("*/*"), "application/grpc-web-text"),
            ("application/grpc-web", Some("application/grpc-web-text"), "application/grpc-web-text"),
            ("application/grpc-web-text", Some("application/grpc-web+proto"), "application/grpc-web+proto"),
        ] {
            let mut request = Request::new(Body::empty());
            request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
            if let Some(accept) = accept {
                request.headers_mut().insert(ACCEPT, HeaderValue::from_static(accept));
            }
            let media = media_type(request.headers()).unwrap();
            prepare(&mut request, media);
            assert_eq!(request.headers()[ACCEPT], expected, "{content_type} {accept:?}");
        }
    }
}
