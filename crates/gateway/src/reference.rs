//! `/docs`: the interactive reference of the HTTP binding, Swagger UI over `/openapi.json`. Everything is in the binary.

use std::sync::Arc;

use axum::Router;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, StatusCode};
use utoipa_swagger_ui::Config;

/// Nothing but this origin: no other host is asked for anything, and there is no inline script. Swagger UI gives styles
/// to elements that it makes; its images are in its style sheet.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
                      img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

/// The page and its files, at the root and behind the prefix of the public URL.
pub(crate) fn router(prefix: &str) -> Router {
    // Relative to the page, so that it holds behind every proxy.
    let config = Config::from("../openapi.json").validator_url("none").try_it_out_enabled(true);
    let config = Arc::new(config);
    // A prefix may begin a segment with `:` or `*`, which are captures in older routes only.
    let mut router = Router::new().without_v07_checks();
    let prefix = prefix.trim_matches('/').replace('{', "{{").replace('}', "}}");
    for base in std::iter::once(String::new()).chain((!prefix.is_empty()).then(|| format!("/{prefix}"))) {
        let (index, files) = (Arc::clone(&config), Arc::clone(&config));
        router = router
            .route(&format!("{base}/docs"), get(to_the_page))
            .route(&format!("{base}/docs/"), get(async move || file("", index)))
            .route(
                &format!("{base}/docs/{{file}}"),
                get(async move |Path(path): Path<String>| file(&path, files)),
            );
    }
    router
}

/// The files of the page are named relative to it, so it must have its slash.
async fn to_the_page() -> Response {
    (StatusCode::PERMANENT_REDIRECT, [(LOCATION, HeaderValue::from_static("docs/"))]).into_response()
}

fn file(path: &str, config: Arc<Config<'static>>) -> Response {
    let Ok(Some(file)) = utoipa_swagger_ui::serve(path, config) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let Ok(content_type) = HeaderValue::from_str(&file.content_type) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let headers = [
        (CONTENT_TYPE, content_type),
        (CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    let mut response = (headers, file.bytes.into_owned()).into_response();
    if file.gzpipped {
        // Kept compressed, as they are in the binary: whoever has a use for these files is a browser.
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http::Request;
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    use super::*;

    async fn ask(router: &Router, path: &str) -> Response {
        router.clone().oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap()
    }

    #[tokio::test]
    async fn the_page_is_at_the_root_and_behind_the_prefix() {
        let router = router("/base/:a/");
        for base in ["/docs", "/base/:a/docs"] {
            let redirect = ask(&router, base).await;
            assert_eq!(
                (redirect.status().as_u16(), &redirect.headers()[LOCATION]),
                (308, &HeaderValue::from_static("docs/"))
            );
            for file in ["", "swagger-ui-bundle.js", "swagger-ui.css", "swagger-initializer.js"] {
                let answer = ask(&router, &format!("{base}/{file}")).await;
                assert_eq!(answer.status(), 200, "{base}/{file}");
                let policy = answer.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap();
                assert!(policy.starts_with("default-src 'none'; script-src 'self'; "));
                assert!(!policy.contains("http"), "no other host: {policy}");
            }
            assert_eq!(ask(&router, &format!("{base}/nothing.js")).await.status(), 404);
        }
    }

    #[tokio::test]
    async fn the_page_reads_the_document_beside_it() {
        let answer = ask(&router(""), "/docs/swagger-initializer.js").await;
        assert!(!answer.headers().contains_key(CONTENT_ENCODING), "it is made for this gateway");
        let script = answer.into_body().collect().await.unwrap().to_bytes();
        let script = String::from_utf8_lossy(&script);
        assert!(script.contains("\"url\": \"../openapi.json\"") && !script.contains("://"), "{script}");
    }
}
