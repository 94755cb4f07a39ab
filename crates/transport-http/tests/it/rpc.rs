//! The unary calls: all are routed, `Send` decides in band, and refusals carry their session.

use macp_engine::{Method, MethodKind};
use serde_json::{Value, json};

use crate::support::{ALICE, BOB, commit, gateway, gateway_with, post, propose, session_id, signal, start};

#[tokio::test]
async fn all_calls_are_routed_with_and_without_the_prefix() {
    let gateway = gateway_with(|options| options.prefix = "/base/".to_owned()).await;
    for method in Method::ALL {
        for prefix in ["", "/base"] {
            let request = post(&format!("{prefix}/macp/v1/{}", method.name()), ALICE, "{}");
            let response = gateway.open(request).await;
            let content_type = response.headers()["content-type"].to_str().unwrap();
            let streams = content_type == "text/event-stream";
            // StreamSession of no session is refused, and a refusal is JSON.
            assert_eq!(streams, method.kind() == MethodKind::ServerStream, "{}", method.name());
            assert!(streams || content_type == "application/json");
        }
    }
}

#[tokio::test]
async fn calls_are_open_or_need_a_credential() {
    let gateway = gateway().await;
    for method in Method::ALL {
        let response = gateway.open(post(&format!("/macp/v1/{}", method.name()), "", "{}")).await;
        assert_eq!(response.status() == 401, !method.is_open(), "{}", method.name());
    }
}

#[tokio::test]
async fn what_is_not_offered_is_501() {
    let gateway = gateway().await;
    for method in Method::ALL.iter().filter(|method| method.kind() == MethodKind::Unary) {
        let answer = gateway.ask(post(&format!("/macp/v1/{}", method.name()), ALICE, "{}")).await;
        let code = answer.headers.get("macp-error-code").map(|code| code.to_str().unwrap());
        assert_eq!(answer.status == 501, code == Some("UNIMPLEMENTED"), "{}", method.name());
        if answer.status == 501 {
            assert_eq!(answer.code(), "UNIMPLEMENTED");
        }
    }
}

#[tokio::test]
async fn a_session_from_start_to_commitment() {
    let gateway = gateway().await;
    let session = session_id(1);
    let ack = gateway.send(ALICE, &start(&session, 60_000)).await;
    assert_eq!(ack["ok"], true, "{ack}");
    assert_eq!(ack["session_state"], "SESSION_STATE_OPEN");
    assert!(ack["accepted_at_unix_ms"].as_i64().unwrap() > 0);
    assert!(ack.get("error").is_none());
    let again = gateway.send(ALICE, &start(&session, 60_000)).await;
    assert_eq!((&again["ok"], &again["duplicate"]), (&json!(true), &json!(true)));
    gateway.accept(BOB, &propose(&session, "m1")).await;
    gateway.accept(ALICE, &commit(&session, "m2")).await;
    let metadata = gateway.call("GetSession", ALICE, &json!({ "session_id": session })).await.json();
    assert_eq!(metadata["metadata"]["state"], "SESSION_STATE_RESOLVED");
    assert_eq!(metadata["metadata"]["session_id"], session);
}

#[tokio::test]
async fn send_decides_in_band() {
    let gateway = gateway().await;
    let session = gateway.start(1).await;
    let changed = |name: &str, value: Value| {
        let mut envelope = propose(&session, "m1");
        envelope[name] = value;
        envelope
    };
    let with_b64 = changed("payload_b64", json!(""));
    for (envelope, code, message_id, session_id) in [
        (json!(5), "INVALID_ENVELOPE", "", ""),
        (json!("x"), "INVALID_ENVELOPE", "", ""),
        (json!([]), "INVALID_ENVELOPE", "", ""),
        (json!({}), "INVALID_ENVELOPE", "", ""),
        (json!({"message_id": "m", "session_id": "s"}), "INVALID_ENVELOPE", "m", "s"),
        (json!({"message_id": 5, "session_id": "s"}), "INVALID_ENVELOPE", "", "s"),
        (with_b64, "INVALID_ENVELOPE", "m1", &session),
        (changed("payload", json!(5)), "INVALID_ENVELOPE", "m1", &session),
        (changed("payload", json!({"proposal_id": 5})), "INVALID_ENVELOPE", "m1", &session),
        (changed("message_type", json!("Nope")), "INVALID_ENVELOPE", "m1", &session),
        (changed("timestamp", json!("yesterday")), "INVALID_ENVELOPE", "m1", &session),
        (changed("macp_version", json!("2.0")), "UNSUPPORTED_PROTOCOL_VERSION", "m1", &session),
        (changed("sender", json!(BOB)), "UNAUTHENTICATED", "m1", &session),
        (changed("session_id", json!("nope")), "SESSION_NOT_FOUND", "m1", "nope"),
        (start("short", 1000), "INVALID_SESSION_ID", "m0", "short"),
    ] {
        let ack = gateway.send(ALICE, &envelope).await;
        assert_eq!(ack["ok"], false, "{envelope}");
        let error = &ack["error"];
        assert_eq!(error["code"], code, "{envelope}: {error}");
        for holder in [&ack, error] {
            assert_eq!(holder["message_id"], message_id, "{envelope}");
            assert_eq!(holder["session_id"], session_id, "{envelope}");
        }
    }
    assert_eq!(gateway.send(ALICE, &signal("s1")).await["ok"], true);
}

#[tokio::test]
async fn send_refuses_only_a_body_without_an_envelope() {
    let gateway = gateway().await;
    for body in [
        "",
        "{",
        "{}",
        "[]",
        "5",
        "null",
        r#"{"envelope":null}"#,
        r#"{"macp_version":"1.0","mode":""}"#,
        r#"{"envelope":{"a":1,"a":2}}"#,
        r#"{"envelope":{},"envelope":{}}"#,
        r#"{"envelope":{}} x"#,
        "{\"envelope\":{\"mode\":\"\u{1}\"}}",
    ] {
        let answer = gateway.ask(post("/macp/v1/Send", ALICE, body)).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (400, "INVALID_REQUEST"), "{body}");
        assert_eq!(answer.json()["error"]["session_id"], "");
    }
    let invalid = b"{\"envelope\":{\"mode\":\"\xff\"}}".to_vec();
    assert_eq!(gateway.ask(post("/macp/v1/Send", ALICE, invalid)).await.code(), "INVALID_REQUEST");
}

#[tokio::test]
async fn refusals_name_the_session_they_are_about() {
    let gateway = gateway().await;
    let session = gateway.start(1).await;
    for (method, sender, body, status, code, about) in [
        ("GetSession", ALICE, json!({"session_id": "nope"}), 404, "SESSION_NOT_FOUND", "nope"),
        ("GetSession", "agent://eve", json!({"session_id": session}), 403, "FORBIDDEN", session.as_str()),
        ("CancelSession", ALICE, json!({"session_id": "nope"}), 404, "SESSION_NOT_FOUND", "nope"),
        ("CancelSession", BOB, json!({"session_id": session}), 403, "FORBIDDEN", &session),
        ("SuspendSession", ALICE, json!({"session_id": "nope"}), 404, "SESSION_NOT_FOUND", "nope"),
        ("ResumeSession", ALICE, json!({"session_id": "nope"}), 404, "SESSION_NOT_FOUND", "nope"),
        ("StreamSession", ALICE, json!({"subscribe_session_id": "nope"}), 404, "SESSION_NOT_FOUND", "nope"),
        (
            "StreamSession",
            "agent://eve",
            json!({"subscribe_session_id": session}),
            403,
            "FORBIDDEN",
            &session,
        ),
        ("GetSession", ALICE, json!([]), 400, "INVALID_REQUEST", ""),
        ("GetSession", ALICE, json!({"session_id": 5}), 400, "INVALID_REQUEST", ""),
        ("ListSessions", ALICE, json!({"page_size": -1}), 400, "INVALID_REQUEST", ""),
        ("ListSessions", ALICE, json!({"page_token": "zzz"}), 400, "INVALID_REQUEST", ""),
        ("GetPolicy", ALICE, json!({"policy_id": "nope"}), 404, "UNKNOWN_POLICY_VERSION", ""),
        ("GetManifest", "", json!({"agent_id": "nope"}), 404, "AGENT_NOT_FOUND", ""),
        ("Initialize", "", json!({}), 400, "INVALID_REQUEST", ""),
        (
            "Initialize",
            "",
            json!({"supported_protocol_versions": ["9"]}),
            400,
            "UNSUPPORTED_PROTOCOL_VERSION",
            "",
        ),
    ] {
        let answer = gateway.call(method, sender, &body).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (status, code), "{method} {body}");
        assert_eq!(answer.json()["error"]["session_id"], about, "{method} {body}");
    }
}

#[tokio::test]
async fn open_calls_answer_without_a_credential() {
    let gateway = gateway().await;
    let initialized =
        gateway.call("Initialize", "", &json!({"supported_protocol_versions": ["1.0"]})).await.json();
    assert_eq!(initialized["selected_protocol_version"], "1.0");
    assert!(gateway.call("ListModes", "", &json!({})).await.json()["modes"].is_array());
    assert_eq!(gateway.call("ListRoots", "", &json!({})).await.json(), json!({"roots": []}));
}

#[tokio::test]
async fn a_credential_is_never_echoed() {
    let gateway = gateway().await;
    let secret = "s3cret-credential";
    for method in Method::ALL {
        for body in ["{}", "{", r#"{"session_id":"nope","envelope":5}"#] {
            let request = post(&format!("/macp/v1/{}", method.name()), "", body);
            let request = crate::support::with(request, "authorization", &format!("Bearer {secret} "));
            let response = gateway.open(request).await;
            let headers = format!("{:?}", response.headers());
            assert!(!headers.contains(secret));
            if response.headers()["content-type"] == "application/json" {
                let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
                assert!(!String::from_utf8_lossy(&body).contains(secret), "{}", method.name());
            }
        }
    }
}
