//! The browser client: the files of `clients/web` that are published, embedded in the binary.

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::HeaderValue;
use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};

const MODULE: &[u8] = include_bytes!("../../../clients/web/macp.js");
const TYPES: &[u8] = include_bytes!("../../../clients/web/macp.d.ts");

/// `GET /client/macp.js` and `/client/macp.d.ts`, below `prefix` too.
pub(crate) fn router(prefix: &str) -> Router {
    let mut bases = vec![""];
    if !prefix.is_empty() {
        bases.push(prefix);
    }
    bases.into_iter().fold(Router::new(), |router, base| {
        let path = |name: &str| format!("{base}/client/{name}");
        router
            .route(&path("macp.js"), get(|| async { file(MODULE, "text/javascript; charset=utf-8") }))
            .route(&path("macp.d.ts"), get(|| async { file(TYPES, "text/plain; charset=utf-8") }))
    })
}

fn file(bytes: &'static [u8], content_type: &'static str) -> Response {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(content_type)),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        // Modules are fetched with CORS. This one is public and holds nothing; what pages of other origins may do with
        // it is decided where they call.
        (ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*")),
    ];
    (headers, bytes).into_response()
}
