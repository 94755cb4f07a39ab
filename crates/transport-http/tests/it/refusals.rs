//! What a refusal says beside its code: problem details for those who ask, and when to come back.

use std::sync::Arc;

use macp_engine::testing::ManualClock;
use macp_engine::{Engine, Limits, Options};
use macp_store::MemoryStore;
use serde_json::{Value, json};

use crate::resources::get;
use crate::support::{
    ALICE, BOB, Gateway, gateway, on_engine, post, propose, session_id, signal, start, with, without,
};

const PROBLEM: &str = "application/problem+json";

#[tokio::test]
async fn problem_details_are_for_those_who_name_them() {
    let gateway = gateway().await;
    let nope = || post("/macp/v1/GetSession", ALICE, r#"{"session_id":"nope"}"#);
    for request in [
        nope(),
        get("/macp/v1/sessions/nope", ALICE),
        get("/macp/v1/sessions/nope/events", ALICE),
        get("/macp/session/nope", ALICE),
        post("/macp/v1/StreamSession", ALICE, r#"{"subscribe_session_id":"nope"}"#),
        post("/macp/session/nope/cancel", ALICE, ""),
    ] {
        let uri = request.uri().clone();
        let accept = "application/json, text/event-stream, application/problem+json";
        let answer = gateway.ask(with(request, "accept", accept)).await;
        assert_eq!(answer.headers["content-type"], PROBLEM, "{uri}");
        assert_eq!(answer.headers["macp-error-code"], "SESSION_NOT_FOUND");
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(
            body,
            json!({
                "type": "https://github.com/macp-gateway/macp-gateway/blob/main/docs/http.md#session_not_found",
                "title": "session not found",
                "status": 404,
                "detail": "no session with this session_id is known here",
                "code": "SESSION_NOT_FOUND",
                "session_id": "nope",
                "retryable": false,
            }),
            "{uri}"
        );
    }
    for accept in ["*/*", "application/*", "application/json", "application/problem+json;q=0, */*"] {
        assert_eq!(gateway.ask(with(nope(), "accept", accept)).await.code(), "SESSION_NOT_FOUND", "{accept}");
    }
    let anonymous = with(post("/macp/v1/GetSession", "", "{}"), "accept", PROBLEM);
    let answer = gateway.ask(anonymous).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.headers["www-authenticate"]),
        (401, &"Bearer".parse().unwrap())
    );
    // A success is never one.
    let listed = gateway.ask(with(get("/macp/v1/sessions", ALICE), "accept", PROBLEM)).await;
    assert!(listed.json()["sessions"].is_array());
}

async fn limited() -> (Gateway, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::at(1_800_000_000_000));
    let limits = Limits { session_starts_per_minute: 1, messages_per_minute: 2, ..Limits::default() };
    let options = Options { limits, ..Options::default() };
    let engine = Engine::open(Arc::new(MemoryStore::new()), Arc::clone(&clock) as _, options).await.unwrap();
    (on_engine(engine, |_| {}), clock)
}

#[tokio::test]
async fn limits_say_when_to_come_back() {
    let (gateway, clock) = limited().await;
    let session = gateway.start(1).await;
    gateway.accept(BOB, &propose(&session, "m1")).await;
    clock.advance(10_500);
    gateway.accept(BOB, &signal("s1")).await;
    let send =
        |sender, envelope: &Value| post("/macp/v1/Send", sender, json!({ "envelope": envelope }).to_string());
    let proposal = propose(&session, "m2");
    let what_if = json!({"session_id": session, "policy_version": "policy.default"}).to_string();
    let receipt = format!("/macp/v1/sessions/{session}/receipt");
    for (request, status, policy, limit) in [
        (send(BOB, &proposal), 200, "\"messages\";q=2;w=60", "\"messages\";r=0;t=50"),
        (
            post("/macp/envelope", BOB, proposal.to_string()),
            200,
            "\"messages\";q=2;w=60",
            "\"messages\";r=0;t=50",
        ),
        (get(&receipt, BOB), 429, "\"messages\";q=2;w=60", "\"messages\";r=0;t=50"),
        (post("/macp/v1/WhatIfReplay", BOB, what_if), 429, "\"messages\";q=2;w=60", "\"messages\";r=0;t=50"),
        (
            send(ALICE, &start(&session_id(2), 600_000)),
            200,
            "\"session-starts\";q=1;w=60",
            "\"session-starts\";r=0;t=50",
        ),
    ] {
        let uri = request.uri().clone();
        let answer = gateway.ask(request).await;
        assert_eq!(answer.status, status, "{uri}");
        let header = |name: &str| answer.headers[name].to_str().unwrap();
        assert_eq!(
            (header("retry-after"), header("ratelimit-policy"), header("ratelimit")),
            ("50", policy, limit),
            "{uri}"
        );
        let body = answer.json();
        let error = if status == 200 { &body["ack"]["error"] } else { &body["error"] };
        assert_eq!(
            (&error["code"], &error["details"]),
            (&json!("RATE_LIMITED"), &json!("eyJyZXRyeV9hZnRlcl9tcyI6NDk1MDB9")),
            "{uri}"
        );
    }
    let problem = gateway.ask(with(get(&receipt, BOB), "accept", PROBLEM)).await;
    let body: Value = serde_json::from_slice(&problem.body).unwrap();
    assert_eq!((&body["retryable"], &body["retry_after_ms"]), (&json!(true), &json!(49_500)));
    assert_eq!(body["details"], json!({"retry_after_ms": 49_500}));
    // That long, and no longer.
    clock.advance(49_499);
    assert_eq!(gateway.send(BOB, &proposal).await["error"]["code"], "RATE_LIMITED");
    clock.advance(1);
    gateway.accept(BOB, &proposal).await;
    let accepted = gateway.ask(send(BOB, &proposal)).await;
    assert!(accepted.headers.contains_key("retry-after"), "the window holds two again");
}

#[tokio::test]
async fn what_is_accepted_has_no_such_headers() {
    let gateway = gateway().await;
    let session = gateway.start(1).await;
    for request in [
        post("/macp/envelope", BOB, propose(&session, "m1").to_string()),
        post("/macp/envelope", "agent://eve", propose(&session, "m2").to_string()),
        get("/macp/v1/sessions", ALICE),
    ] {
        let answer = gateway.ask(request).await;
        for name in ["retry-after", "ratelimit", "ratelimit-policy"] {
            assert!(!answer.headers.contains_key(name), "{name}");
        }
    }
}

#[tokio::test]
async fn tickets_have_a_limit_of_their_own() {
    let (gateway, clock) = limited().await;
    let ask = || without(post("/macp/ticket", ALICE, ""), "content-type");
    for _ in 0..64 {
        assert_eq!(gateway.ask(ask()).await.status, 200);
    }
    clock.advance(12_000);
    let refused = gateway.ask(ask()).await;
    assert_eq!(refused.code(), "RATE_LIMITED");
    let header = |name: &str| refused.headers[name].to_str().unwrap();
    assert_eq!(header("retry-after"), "18");
    assert_eq!(
        (header("ratelimit-policy"), header("ratelimit")),
        ("\"tickets\";q=64;w=30", "\"tickets\";r=0;t=18")
    );
    clock.advance(18_000);
    assert_eq!(gateway.ask(ask()).await.status, 200);
}

#[tokio::test]
async fn a_draining_server_says_when_to_come_back() {
    let gateway = gateway().await;
    let session = gateway.start(1).await;
    gateway.engine.drain();
    let sent = gateway.ask(post("/macp/envelope", BOB, propose(&session, "m1").to_string())).await;
    assert_eq!((sent.status.as_u16(), &sent.headers["retry-after"]), (200, &"1".parse().unwrap()));
    assert_eq!(sent.json()["ack"]["error"]["code"], "UNAVAILABLE");
    let cancelled = gateway.ask(post(&format!("/macp/session/{session}/cancel"), ALICE, "")).await;
    assert_eq!((cancelled.status.as_u16(), cancelled.code().as_str()), (503, "UNAVAILABLE"));
    assert_eq!(cancelled.headers["retry-after"], "1");
}
