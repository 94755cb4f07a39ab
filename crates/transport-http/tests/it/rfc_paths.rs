//! The example paths of the RFC: bare envelopes in each media type, starting, reading and cancelling a session.

use axum::body::Body;
use http::{Method as Verb, Request};
use macp_wire::json as canonical;
use macp_wire::v1::Envelope;
use prost::Message as _;
use serde_json::{Value, json};

use crate::resources::get;
use crate::support::{
    ALICE, BOB, Gateway, by, gateway, gateway_with, post, propose, session_id, start, with, without,
};

const JSON: &str = "application/json";
const ENVELOPE_JSON: &str = "application/macp-envelope+json";
const ENVELOPE_PROTO: &str = "application/macp-envelope+proto";

/// A request with an envelope in one of the media types.
fn bare(path: &str, sender: &str, media: &'static str, envelope: &Value) -> Request<Body> {
    let body = match media {
        ENVELOPE_PROTO => {
            let envelope: Envelope = canonical::from_slice(envelope.to_string().as_bytes()).unwrap();
            envelope.encode_to_vec()
        }
        _ => envelope.to_string().into_bytes(),
    };
    with(without(post(path, sender, body), "content-type"), "content-type", media)
}

async fn ack(gateway: &Gateway, request: Request<Body>) -> Value {
    let answer = gateway.ask(request).await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    answer.json()["ack"].clone()
}

#[tokio::test]
async fn a_session_from_start_to_cancel_in_every_media_type() {
    let gateway = gateway_with(|options| options.prefix = "/p".into()).await;
    for (id, media) in [(1, JSON), (2, ENVELOPE_JSON), (3, ENVELOPE_PROTO)] {
        let session = session_id(id);
        let started =
            ack(&gateway, bare("/macp/session/start", ALICE, media, &start(&session, 600_000))).await;
        assert_eq!((&started["ok"], &started["session_id"]), (&json!(true), &json!(session)), "{media}");
        let proposal = propose(&session, "m1");
        let sent = ack(&gateway, bare("/p/macp/envelope", BOB, media, &proposal)).await;
        assert_eq!((&sent["ok"], &sent["duplicate"]), (&json!(true), &json!(false)));
        let again = ack(&gateway, bare("/macp/envelope", BOB, media, &proposal)).await;
        assert_eq!(again["duplicate"], true);
        let read = gateway.ask(get(&format!("/macp/session/{session}"), BOB)).await;
        assert_eq!(read.json()["metadata"]["state"], "SESSION_STATE_OPEN");
        assert!(read.headers.contains_key("etag"));
        let cancel = format!("/macp/session/{session}/cancel");
        let request = match media {
            JSON => post(&cancel, ALICE, r#"{"reason":"r"}"#),
            ENVELOPE_JSON => post(&cancel, ALICE, json!({"session_id": session}).to_string()),
            _ => without(post(&cancel, ALICE, ""), "content-type"),
        };
        let cancelled = ack(&gateway, request).await;
        assert_eq!(
            (&cancelled["ok"], &cancelled["session_state"]),
            (&json!(true), &json!("SESSION_STATE_CANCELLED"))
        );
    }
}

#[tokio::test]
async fn decisions_are_in_the_ack() {
    let gateway = gateway().await;
    let session = gateway.start(1).await;
    let invalid = |member: &str, value: Value| {
        let mut envelope = propose(&session, "m1");
        envelope[member] = value;
        envelope
    };
    for (path, sender, envelope, code) in [
        ("/macp/envelope", "agent://eve", propose(&session, "m1"), "FORBIDDEN"),
        ("/macp/envelope", BOB, propose("nope", "m1"), "SESSION_NOT_FOUND"),
        ("/macp/envelope", BOB, invalid("payload", json!(5)), "INVALID_ENVELOPE"),
        ("/macp/envelope", BOB, invalid("payload_b64", json!("")), "INVALID_ENVELOPE"),
        ("/macp/envelope", BOB, invalid("sender", json!(ALICE)), "UNAUTHENTICATED"),
        ("/macp/session/start", BOB, propose(&session, "m1"), "INVALID_ENVELOPE"),
        ("/macp/session/start", ALICE, start(&session, 600_000), "DUPLICATE"),
    ] {
        let about = envelope["session_id"].clone();
        let ack = ack(&gateway, bare(path, sender, JSON, &envelope)).await;
        if code == "DUPLICATE" {
            assert_eq!(ack["duplicate"], true);
            continue;
        }
        assert_eq!((&ack["error"]["code"], &ack["session_id"]), (&json!(code), &about), "{path} {envelope}");
        assert_eq!(ack["message_id"], "m1");
    }
}

#[tokio::test]
async fn requests_without_an_envelope_are_refused() {
    let gateway = gateway().await;
    let typed = |media: &'static str, body: &'static str| {
        with(without(post("/macp/envelope", BOB, body), "content-type"), "content-type", media)
    };
    for (media, body) in [
        (JSON, ""),
        (JSON, "{"),
        (JSON, "null"),
        (JSON, "[]"),
        (JSON, "5"),
        (JSON, "{} x"),
        (JSON, r#"{}, "envelope": {}"#),
        (JSON, r#"{"mode":"","mode":""}"#),
        (ENVELOPE_JSON, "x"),
        (ENVELOPE_PROTO, "{}"),
        (ENVELOPE_PROTO, "\u{12}\u{7f}"),
    ] {
        let answer = gateway.ask(typed(media, body)).await;
        assert_eq!(
            (answer.status.as_u16(), answer.code().as_str()),
            (400, "INVALID_REQUEST"),
            "{media} {body}"
        );
    }
}

#[tokio::test]
async fn the_first_fault_is_the_answer() {
    let gateway = gateway_with(|options| options.max_body_bytes = 1000).await;
    let all = "application/json, application/macp-envelope+json, application/macp-envelope+proto";
    for (path, types) in [
        ("/macp/envelope", all),
        ("/macp/session/start", all),
        ("/macp/session/nope/cancel", "application/json"),
    ] {
        let faulty = || {
            let request = without(post(path, "", vec![b' '; 1001]), "content-type");
            with(request, "content-type", "text/plain")
        };
        gateway.ask(by(faulty(), Verb::OPTIONS)).await.is_bare(204);
        for verb in [Verb::GET, Verb::PUT, Verb::DELETE] {
            let answer = gateway.ask(by(faulty(), verb)).await;
            answer.is_bare(405);
            assert_eq!(answer.headers["allow"], "POST", "{path}");
        }
        let answer = gateway.ask(faulty()).await;
        answer.is_bare(415);
        assert_eq!(answer.headers["accept"], types, "{path}");
        let typed = || with(without(faulty(), "content-type"), "content-type", JSON);
        assert_eq!(gateway.ask(typed()).await.code(), "UNAUTHENTICATED", "{path}");
        let known = with(typed(), "authorization", &format!("Bearer {ALICE}"));
        assert_eq!(gateway.ask(known).await.code(), "PAYLOAD_TOO_LARGE", "{path}");
        assert_eq!(gateway.ask(post(path, ALICE, "{")).await.code(), "INVALID_REQUEST", "{path}");
    }
    // The calls themselves take JSON only, and say so.
    let labelled =
        with(without(post("/macp/v1/Send", ALICE, "{}"), "content-type"), "content-type", ENVELOPE_JSON);
    let answer = gateway.ask(labelled).await;
    answer.is_bare(415);
    assert_eq!(answer.headers["accept"], JSON);
}

#[tokio::test]
async fn cancelling_is_refused_as_by_its_call() {
    let gateway = gateway().await;
    let session = gateway.start(1).await;
    let other = json!({"session_id": "other"}).to_string();
    for (id, sender, body, status, code) in [
        ("nope", ALICE, "", 404, "SESSION_NOT_FOUND"),
        (session.as_str(), BOB, "{}", 403, "FORBIDDEN"),
        (&session, ALICE, "[]", 400, "INVALID_REQUEST"),
        (&session, ALICE, other.as_str(), 400, "INVALID_REQUEST"),
    ] {
        let answer = gateway.ask(post(&format!("/macp/session/{id}/cancel"), sender, body.to_owned())).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (status, code), "{id} {body}");
        assert_eq!(answer.json()["error"]["session_id"], id);
    }
}
