//! What gRPC-Web has beside the calls, which the tests of all transports make: CORS, media types, streams of a page.

use std::net::SocketAddr;

use http::{HeaderMap, Request};
use macp_wire::v1::{
    GetSessionRequest, ListModesRequest, StreamSessionRequest, WatchModeRegistryRequest,
    WatchModeRegistryResponse,
};
use prost::Message;

use crate::fakes::{Agent as _, Grpc, GrpcWeb, Http, Session, accepted, next, whole};
use crate::process::Gateway;

const PAGE: &str = "https://app.example";
const ALICE: &str = "agent://alice";

/// Every form in which gRPC-Web is spoken.
fn forms(gateway: &Gateway, token: &str) -> Vec<GrpcWeb> {
    let on = |addr: SocketAddr| {
        let web = GrpcWeb::agent(addr, token);
        [web.clone(), web.clone().over_http2(), web.clone().in_text(), web.over_http2().in_text()]
    };
    gateway.ports().into_iter().flat_map(on).collect()
}

#[tokio::test]
async fn a_page_makes_calls_and_follows_streams() {
    let gateway = Gateway::start().await;
    let session = Session::new();
    let mut alice = Grpc::agent(gateway.grpc, ALICE);
    accepted(&mut alice, &session.start(&[ALICE])).await;
    let mut number = 0;
    for mut web in forms(&gateway, ALICE) {
        let modes = web.call("ListModes", &serde_json::json!({})).await.unwrap();
        assert!(!modes["modes"].as_array().unwrap().is_empty(), "{modes}");

        let mut registry = web.begin("WatchModeRegistry", &WatchModeRegistryRequest {}).await.unwrap();
        let first = registry.message().await.unwrap().unwrap();
        assert!(WatchModeRegistryResponse::decode(first).unwrap().change.is_some());

        // The whole request is there at once; the stream goes on all the same.
        let mut feed = web.observe(&session.id, number).await.unwrap();
        for _ in 0..2 {
            let proposal = session.proposal(&format!("p{number}"));
            accepted(&mut alice, &proposal).await;
            number += 1;
        }
        let seen = next(&mut feed, 2).await;
        assert_eq!(seen.last().unwrap().sequence, number);
    }
    gateway.stop().await;
}

#[tokio::test]
async fn refusals_are_told_in_head_and_body() {
    let gateway = Gateway::start().await;
    for web in forms(&gateway, ALICE) {
        let request = GetSessionRequest { session_id: "nope".into() };
        assert_eq!(web.begin("GetSession", &request).await.err().unwrap(), "SESSION_NOT_FOUND");
        // A stream has begun before it is refused, so that its status is in the body.
        let request = StreamSessionRequest { subscribe_session_id: "nope".into(), ..Default::default() };
        let mut parts = web.begin("StreamSession", &request).await.unwrap();
        assert_eq!(parts.message().await.unwrap_err(), "SESSION_NOT_FOUND");
        let too_long = GetSessionRequest { session_id: "x".repeat(2 << 20) };
        assert_eq!(web.begin("GetSession", &too_long).await.err().unwrap(), "PAYLOAD_TOO_LARGE");
    }
    for web in forms(&gateway, "") {
        let request = GetSessionRequest { session_id: "nope".into() };
        assert_eq!(web.begin("GetSession", &request).await.err().unwrap(), "UNAUTHENTICATED");
    }
    gateway.stop().await;
}

fn listed<'h>(headers: &'h HeaderMap, name: &str) -> Vec<&'h str> {
    let values = headers.get_all(name).into_iter();
    values.flat_map(|value| value.to_str().unwrap().split(',')).map(str::trim).collect()
}

#[tokio::test]
async fn pages_of_listed_origins_only() {
    let gateway = Gateway::with(&[("MACP_HTTP_CORS_ORIGINS", PAGE)]).await;
    for port in gateway.ports() {
        for http in [Http::agent(port, ""), Http::agent(port, "").over_http2()] {
            for (origin, allowed) in [(PAGE, true), ("https://evil.example", false)] {
                let preflight =
                    Request::options(format!("http://{port}/macp.v1.MACPRuntimeService/ListModes"))
                        .header("origin", origin)
                        .header("access-control-request-method", "POST")
                        .header("access-control-request-headers", "authorization,content-type,x-grpc-web");
                let response = http.open(preflight.body(whole("")).unwrap()).await.unwrap();
                let headers = response.headers();
                assert!(response.status().is_success());
                assert_eq!(headers.contains_key("access-control-allow-origin"), allowed, "{origin}");
                if allowed {
                    assert_eq!(headers["access-control-allow-origin"], PAGE);
                    assert_eq!(headers["access-control-allow-methods"], "POST");
                    let names = listed(headers, "access-control-allow-headers");
                    for name in ["authorization", "content-type", "x-grpc-web", "grpc-timeout"] {
                        assert!(names.contains(&name), "{name} in {names:?}");
                    }
                }
            }
        }
        for web in [GrpcWeb::agent(port, ""), GrpcWeb::agent(port, "").over_http2().in_text()] {
            for (origin, allowed) in [(PAGE, true), ("https://evil.example", false)] {
                // One that goes well, and one whose status is in the head.
                for method in ["ListModes", "GetSession"] {
                    let head = web.request(method).header("origin", origin);
                    let response = web.open(head, &ListModesRequest {}.encode_to_vec()).await;
                    let headers = response.headers();
                    assert_eq!(headers.contains_key("access-control-allow-origin"), allowed, "{origin}");
                    assert!(listed(headers, "vary").contains(&"origin"), "{headers:?}");
                    if allowed {
                        let names = listed(headers, "access-control-expose-headers");
                        for name in [
                            "grpc-status",
                            "grpc-message",
                            "grpc-status-details-bin",
                            "macp-error-code",
                            "macp-error-details-bin",
                        ] {
                            assert!(names.contains(&name), "{name} in {names:?}");
                        }
                    }
                }
            }
        }
    }
    gateway.stop().await;
}

#[tokio::test]
async fn what_is_no_call_is_answered_in_its_own_language() {
    let gateway = Gateway::start().await;
    for (port, media) in
        gateway.ports().into_iter().zip(["application/grpc-web", "application/grpc-web-text"])
    {
        for http in [Http::agent(port, ""), Http::agent(port, "").over_http2()] {
            let ask = |method: &str, path: &str, media: &str| {
                Request::builder()
                    .method(method)
                    .uri(format!("http://{port}{path}"))
                    .header("content-type", media)
                    .body(whole(""))
                    .unwrap()
            };
            let unimplemented =
                |headers: &HeaderMap| headers.get("grpc-status").is_some_and(|status| status == "12");
            for path in ["/macp.v1.MACPRuntimeService/Nothing", "/macp.v1.Nothing/Send"] {
                let response = http.open(ask("POST", path, media)).await.unwrap();
                assert_eq!(
                    (response.status().as_u16(), unimplemented(response.headers())),
                    (200, true),
                    "{path}"
                );
                let answered = response.headers()["content-type"].to_str().unwrap();
                assert!(answered.starts_with("application/grpc-web"), "{path}: {answered}");
            }
            let path = "/macp.v1.MACPRuntimeService/ListModes";
            let response = http.open(ask("GET", path, media)).await.unwrap();
            assert_eq!(response.status(), 405, "a call is a POST");
            // A media type with parameters and other letters is the same one.
            let media = format!("{}; charset=utf-8", media.to_uppercase());
            let response = http.open(ask("POST", path, &media)).await.unwrap();
            let answered = response.headers()["content-type"].to_str().unwrap();
            assert!(response.status() == 200 && answered.starts_with("application/grpc-web"), "{answered}");
        }
    }
    gateway.stop().await;
}
