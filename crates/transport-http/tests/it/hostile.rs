//! Hostile input: whatever the bytes, an answer of the table and never an internal error.

use axum::body::Body;
use http::{HeaderName, HeaderValue, Request};
use http_body_util::BodyExt;
use macp_engine::Method;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::{ALICE, Gateway, gateway, patience, propose, start};

const STATUSES: [u16; 13] = [200, 204, 400, 401, 403, 404, 405, 406, 409, 413, 415, 429, 501];

/// One engine and runtime for all cases of a test.
fn with_gateway(cases: u32, test: impl Fn(&mut proptest::test_runner::TestRunner, &dyn Fn(Request<Body>))) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let gateway = runtime.block_on(gateway());
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    test(&mut runner, &|request| runtime.block_on(survives(&gateway, request)));
}

async fn survives(gateway: &Gateway, request: Request<Body>) {
    let response = gateway.open(request).await;
    let status = response.status().as_u16();
    assert!(STATUSES.contains(&status), "{status}");
    let content_type = response.headers().get("content-type").cloned();
    match content_type.as_ref().map(HeaderValue::as_bytes) {
        Some(b"text/event-stream") => {}
        Some(_) => {
            let body = patience(response.into_body().collect()).await.unwrap().to_bytes();
            let body: Value = serde_json::from_slice(&body).unwrap();
            // A registry says in band why it refuses, as a text.
            assert_eq!(body.get("error").is_some_and(Value::is_object), status != 200, "{body}");
        }
        None => assert!(patience(response.into_body().collect()).await.unwrap().to_bytes().is_empty()),
    }
}

fn request(method: Method, body: Vec<u8>) -> Request<Body> {
    crate::support::post(&format!("/macp/v1/{}", method.name()), ALICE, body)
}

fn methods() -> impl Strategy<Value = Method> {
    proptest::sample::select(Method::ALL)
}

fn any_json() -> impl Strategy<Value = Value> {
    let names = proptest::sample::select(vec![
        "envelope",
        "session_id",
        "subscribe_session_id",
        "after_sequence",
        "message_id",
        "payload",
        "payload_b64",
        "mode",
        "message_type",
        "timestamp",
        "page_size",
        "page_token",
        "policy_id",
        "policy_descriptor",
        "rules",
        "agent_id",
        "mode_descriptor",
        "supported_protocol_versions",
        "other",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
        proptest::sample::select(vec![
            "1.0",
            "macp.mode.decision.v1",
            "SessionStart",
            "Vote",
            "Signal",
            "AAAA"
        ])
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((names.clone(), inner), 0..6).prop_map(|members| members
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect()),
        ]
    })
}

#[test]
fn bytes() {
    with_gateway(512, |runner, survives| {
        let input = (methods(), proptest::collection::vec(any::<u8>(), 0..200));
        let run = runner.run(&input, |(method, body)| {
            survives(request(method, body));
            Ok(())
        });
        run.unwrap();
    });
}

#[test]
fn documents() {
    with_gateway(1024, |runner, survives| {
        let run = runner.run(&(methods(), any_json()), |(method, body)| {
            survives(request(method, body.to_string().into_bytes()));
            Ok(())
        });
        run.unwrap();
    });
}

#[test]
fn damaged_requests() {
    with_gateway(512, |runner, survives| {
        let session = crate::support::session_id(7);
        let valid =
            [json!({"envelope": start(&session, 1000)}), json!({"envelope": propose(&session, "m1")})];
        let input = (methods(), 0..valid.len(), any::<prop::sample::Index>(), any::<u8>(), 0..3);
        let run = runner.run(&input, |(method, which, at, byte, how)| {
            let mut body = valid[which].to_string().into_bytes();
            let at = at.index(body.len());
            match how {
                0 => body[at] = byte,
                1 => body.truncate(at),
                _ => body.insert(at, byte),
            }
            survives(request(method, body));
            Ok(())
        });
        run.unwrap();
    });
}

#[test]
fn headers_and_paths() {
    with_gateway(1024, |runner, survives| {
        let name = proptest::sample::select(vec![
            "content-type",
            "accept",
            "authorization",
            "last-event-id",
            "origin",
            "content-length",
            "expect",
            "host",
            "accept-encoding",
            "traceparent",
        ]);
        let value = prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..40),
            "[ -~]{0,40}".prop_map(String::into_bytes),
            "(text|application|\\*)/(event-stream|json|\\*)(; ?(q|charset)=[0-9a-z.\"\\\\]{0,6}){0,2}"
                .prop_map(String::into_bytes),
        ];
        let verb = "(POST|GET|OPTIONS|HEAD|[A-Z]{1,8})";
        let path = prop_oneof![
            methods().prop_map(|method| format!("/macp/v1/{}", method.name())),
            "/macp/v1/[A-Za-z%/{}.:*]{0,12}",
            "/[a-z.%/-]{0,20}",
            Just("/.well-known/macp.json".to_owned()),
        ];
        let input = (verb, path, proptest::collection::vec((name, value), 0..5));
        let run = runner.run(&input, |(verb, path, headers)| {
            let Ok(mut request) = Request::builder().method(verb.as_str()).uri(path).body(Body::from("{}"))
            else {
                return Ok(());
            };
            request.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
            for (name, value) in headers {
                if let Ok(value) = HeaderValue::from_bytes(&value) {
                    request.headers_mut().append(HeaderName::from_static(name), value);
                }
            }
            // The manifest's media type is JSON by another name, and its answers have a table of their own.
            if request.uri().path() != "/.well-known/macp.json" || request.method() == http::Method::OPTIONS {
                survives(request);
            }
            Ok(())
        });
        run.unwrap();
    });
}
