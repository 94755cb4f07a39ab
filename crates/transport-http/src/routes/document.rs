//! `GET /openapi.json`: the OpenAPI document, as it is checked in.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use http::Method as Verb;
use http::header::{CACHE_CONTROL, HeaderValue};

use super::App;
use super::guard::guarded;
use crate::error::{Failure, Style, ok_json};
use crate::{body, cors};

/// A test of `macp-openapi` says when it is not what the code would give.
const DOCUMENT: &str = include_str!("../../../../openapi/macp-gateway.v1.json");

/// Open to everyone. The router drops the body of a `HEAD` and keeps its length.
pub(super) async fn openapi(State(app): State<Arc<App>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    body::discard(&head.headers, body);
    let answer = async {
        match head.method {
            Verb::OPTIONS => Ok(cors::preflight(&app.options.cors_origins, &head.headers)),
            Verb::GET | Verb::HEAD => {
                let mut response = ok_json(DOCUMENT);
                // A new release may have another document at the same place.
                response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
                Ok(response)
            }
            _ => Err(Failure::MethodNotAllowed("GET, HEAD")),
        }
    };
    guarded(&app, "openapi", Style::of(&head.headers), answer).await
}
