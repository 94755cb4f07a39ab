//! Cross-origin rules on the whole router, with and without an allowlist.

use http::{HeaderMap, Method as Verb, Request};
use macp_transport_http::Origins;

use crate::support::{ALICE, Gateway, by, gateway, gateway_with, post, subscribe, with};

const LISTED: &str = "https://App.example.org";

const CORS_HEADERS: [&str; 6] = [
    "access-control-allow-origin",
    "access-control-allow-methods",
    "access-control-allow-headers",
    "access-control-max-age",
    "access-control-expose-headers",
    "access-control-allow-credentials",
];

async fn listing() -> Gateway {
    gateway_with(|options| {
        options.cors_origins = Origins::parse("https://app.example.org,http://localhost:5173").unwrap();
    })
    .await
}

fn cors_headers(headers: &HeaderMap) -> Vec<(&str, &str)> {
    let present = CORS_HEADERS.iter().filter_map(|name| Some((*name, headers.get(*name)?.to_str().unwrap())));
    present.collect()
}

fn vary(headers: &HeaderMap) -> Vec<&str> {
    headers.get_all("vary").iter().map(|value| value.to_str().unwrap()).collect()
}

fn preflight(path: &str, origins: &[&str]) -> Request<axum::body::Body> {
    let request = by(post(path, "", ""), Verb::OPTIONS);
    origins.iter().fold(request, |request, origin| with(request, "origin", origin))
}

#[tokio::test]
async fn preflights() {
    let gateway = listing().await;
    let paths = ["/macp/v1/Send", "/macp/v1/WatchSignals", "/.well-known/macp.json", "/nowhere"];
    for path in paths {
        let answer = gateway.ask(preflight(path, &[LISTED])).await;
        answer.is_bare(204);
        assert_eq!(
            cors_headers(&answer.headers),
            [
                ("access-control-allow-origin", LISTED),
                ("access-control-allow-methods", "POST"),
                (
                    "access-control-allow-headers",
                    "Authorization, Content-Type, Last-Event-ID, traceparent, tracestate"
                ),
                ("access-control-max-age", "600"),
            ],
            "{path}"
        );
        assert_eq!(vary(&answer.headers), ["Origin"]);
        for origins in [
            &["https://other.example"][..],
            &["null"],
            &[],
            &[LISTED, LISTED],
            &[LISTED, "null"],
            &["https://app.example.org/"],
        ] {
            let answer = gateway.ask(preflight(path, origins)).await;
            answer.is_bare(204);
            assert_eq!(cors_headers(&answer.headers), [], "{path} {origins:?}");
            assert!(vary(&answer.headers).is_empty());
        }
    }
}

/// Requests of every kind of answer: unary, coded error, bare status, stream, discovery, unknown path.
async fn requests(gateway: &Gateway) -> Vec<(u16, Request<axum::body::Body>)> {
    let session = gateway.start(1).await;
    vec![
        (200, post("/macp/v1/ListModes", "", "{}")),
        (401, post("/macp/v1/Send", "", "{}")),
        (400, post("/macp/v1/Send", ALICE, "{}")),
        (405, by(post("/macp/v1/Send", ALICE, "{}"), Verb::GET)),
        (200, subscribe(&session, ALICE, 0)),
        (200, by(post("/.well-known/macp.json", "", ""), Verb::GET)),
        (405, post("/.well-known/macp.json", "", "")),
        (404, post("/nowhere", "", "")),
    ]
}

const EXPOSED: &str =
    "MACP-Error-Code, MACP-High-Water-Sequence, ETag, Link, Retry-After, RateLimit, RateLimit-Policy";

#[tokio::test]
async fn actual_responses_of_a_listed_origin_are_readable() {
    let gateway = listing().await;
    for (status, request) in requests(&gateway).await {
        let response = gateway.open(with(request, "origin", LISTED)).await;
        assert_eq!(response.status(), status);
        assert_eq!(
            cors_headers(response.headers()),
            [("access-control-allow-origin", LISTED), ("access-control-expose-headers", EXPOSED)]
        );
        assert_eq!(vary(response.headers()), ["Origin"]);
    }
}

#[tokio::test]
async fn actual_responses_of_other_origins_only_vary() {
    for origins in [&[][..], &["https://other.example"], &["null"], &[LISTED, LISTED]] {
        let gateway = listing().await;
        for (status, request) in requests(&gateway).await {
            let request = origins.iter().fold(request, |request, origin| with(request, "origin", origin));
            let response = gateway.open(request).await;
            assert_eq!(response.status(), status);
            assert_eq!(cors_headers(response.headers()), []);
            assert_eq!(vary(response.headers()), ["Origin"]);
        }
    }
}

#[tokio::test]
async fn without_an_allowlist_nothing_is_said() {
    let gateway = gateway().await;
    let answer = gateway.ask(preflight("/macp/v1/Send", &[LISTED])).await;
    answer.is_bare(204);
    assert_eq!(cors_headers(&answer.headers), []);
    for (status, request) in requests(&gateway).await {
        let response = gateway.open(with(request, "origin", LISTED)).await;
        assert_eq!(response.status(), status);
        assert_eq!(cors_headers(response.headers()), []);
        assert!(vary(response.headers()).is_empty());
    }
}
