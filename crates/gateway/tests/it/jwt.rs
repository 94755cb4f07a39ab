//! JWTs on every transport: who they name, what they grant, when what they opened ends, and where their keys are from.

use macp_wire::gateway::v1::client_frame::Body as Ask;
use macp_wire::gateway::v1::server_frame::Body as Answer;
use macp_wire::gateway::v1::{Authenticate, Ping};
use serde_json::{Value, json};
use tonic::Code as Status;

use crate::fakes::{
    Agent, Code, Grpc, Http, Issuer, KeyServer, Session, Ws, accepted, everywhere, refusal_of,
};
use crate::process::Gateway;

/// Seconds for which the tokens are good that are to expire: enough to open everything on a busy machine.
const SHORT: i64 = 6;

async fn gateway(issuer: &Issuer, more: &[(&str, &str)]) -> Gateway {
    let jwks = issuer.jwks();
    let settings = [("MACP_AUTH_ISSUER", Issuer::NAME), ("MACP_AUTH_JWKS_JSON", jwks.as_str())];
    Gateway::with(&[&settings, more].concat()).await
}

#[tokio::test]
async fn a_jwt_names_its_sender_everywhere_and_nothing_else_does() {
    let issuer = Issuer::new("k");
    let gateway = gateway(&issuer, &[]).await;
    let (good, gone) = (issuer.token("agent://a", 300), issuer.token("agent://a", -1));
    let forged = Issuer::new("k").token("agent://a", 300);
    for (token, expected) in [
        (good.as_str(), "accepted"),
        (&gone, "UNAUTHENTICATED"),
        (&forged, "UNAUTHENTICATED"),
        ("agent://a", "UNAUTHENTICATED"),
    ] {
        for (place, mut agent) in everywhere(gateway.ports(), token) {
            let start = Session::new().start(&["agent://b"]);
            assert_eq!(refusal_of(agent.as_mut(), &start).await, expected, "{place}: {token}");
        }
    }
    let ack = accepted(&mut Grpc::agent(gateway.grpc, &good), &Session::new().start(&["agent://b"])).await;
    let request = json!({ "session_id": ack.session_id });
    let session = Grpc::agent(gateway.grpc, &good).call("GetSession", &request).await.unwrap();
    assert_eq!(session["metadata"]["initiator"], "agent://a");
    gateway.stop().await;
}

/// Each capability gates the same call in the same way, whatever carries it.
#[tokio::test]
async fn scopes_gate_the_same_everywhere() {
    let issuer = Issuer::new("k");
    let gateway = gateway(&issuer, &[]).await;
    let others = Session::new();
    let outsider = issuer.token("agent://o", 300);
    accepted(&mut Grpc::agent(gateway.grpc, &outsider), &others.start(&["agent://b"])).await;
    let read = |agent: Box<dyn Agent>| {
        let request = json!({ "session_id": others.id });
        called(agent, "GetSession", request)
    };
    let register = |agent| called(agent, "RegisterExtMode", json!({ "mode_descriptor": {} }));
    for (n, (scopes, start, read_code, register_code)) in [
        (json!({}), "accepted", "FORBIDDEN", "FORBIDDEN"),
        (json!({ "can_start_sessions": false }), "FORBIDDEN", "FORBIDDEN", "FORBIDDEN"),
        (json!({ "allowed_modes": [] }), "FORBIDDEN", "FORBIDDEN", "FORBIDDEN"),
        (json!({ "allowed_modes": ["macp.mode.task.v1"] }), "FORBIDDEN", "FORBIDDEN", "FORBIDDEN"),
        (json!({ "allowed_modes": ["macp.mode.decision.v1"] }), "accepted", "FORBIDDEN", "FORBIDDEN"),
        (json!({ "max_open_sessions": 0 }), "RATE_LIMITED", "FORBIDDEN", "FORBIDDEN"),
        (json!({ "is_observer": true }), "accepted", "", "FORBIDDEN"),
        // Refused for the descriptor, and not for who sends it.
        (json!({ "can_manage_mode_registry": true }), "accepted", "FORBIDDEN", ""),
    ]
    .into_iter()
    .enumerate()
    {
        let token = issuer.scoped(&format!("agent://s{n}"), 300, scopes.clone());
        for (place, mut agent) in everywhere(gateway.ports(), &token) {
            let session = Session::new().start(&["agent://b"]);
            assert_eq!(refusal_of(agent.as_mut(), &session).await, start, "{place}: {scopes}");
            // A signal has no mode, so it needs a credential for all of them.
            if scopes.get("allowed_modes").is_some() {
                assert_eq!(
                    refusal_of(agent.as_mut(), &others.signal()).await,
                    "FORBIDDEN",
                    "{place}: {scopes}"
                );
            }
            assert_eq!(read(agent).await, read_code, "{place}: {scopes}");
        }
        for (place, agent) in everywhere(gateway.ports(), &token) {
            assert_eq!(register(agent).await, register_code, "{place}: {scopes}");
        }
    }
    gateway.stop().await;
}

/// The code of a call's refusal; empty for an answer.
async fn called(mut agent: Box<dyn Agent>, method: &str, request: Value) -> Code {
    agent.call(method, &request).await.err().unwrap_or_default()
}

#[tokio::test]
async fn what_a_jwt_opened_ends_with_it_and_says_so() {
    let issuer = Issuer::new("k");
    let gateway = gateway(&issuer, &[]).await;
    let session = Session::new();
    let lasting = issuer.token("agent://a", 300);
    accepted(&mut Grpc::agent(gateway.grpc, &lasting), &session.start(&["agent://b"])).await;

    let short = issuer.token("agent://a", SHORT);
    // gRPC: the session stream and the watches that need a credential.
    let mut grpc = Grpc::agent(gateway.grpc, &short);
    let stream = grpc.open().await.unwrap();
    stream.subscribe(&session.id, 0);
    let watches = grpc.watch_everything().await;
    // Events: a session's and a watch's.
    let http = Http::agent(gateway.http, &short);
    let subscribe = json!({ "subscribe_session_id": session.id });
    let mut events = vec![http.events("StreamSession", &subscribe, 0).await.unwrap()];
    events.push(http.clone().over_http2().events("WatchSignals", &json!({}), 0).await.unwrap());
    // WebSocket: one that is renewed in time, one that is not.
    let mut expiring = Ws::agent(gateway.http, &short).connect().await.unwrap();
    expiring.follow(&session.id).await;
    let mut renewed = Ws::agent(gateway.grpc, &short).connect().await.unwrap();
    let renewal = Ask::Authenticate(Authenticate { token: lasting.clone() });
    assert!(matches!(renewed.ask(renewal).await, Answer::Authenticated(_)));

    let ended = stream.end().await.expect("a status");
    assert_eq!(ended.code(), Status::Unauthenticated);
    assert_eq!(ended.metadata().get("macp-error-code").unwrap(), "UNAUTHENTICATED");
    let mut open = watches.into_iter();
    // Nobody has to say who they are for these two, and so they stay.
    drop(open.next());
    drop(open.next());
    for watch in open {
        assert_eq!(watch.await.expect("a status").code(), Status::Unauthenticated);
    }
    for events in &mut events {
        let last = events.last().await;
        assert_eq!(last["error"]["code"], "UNAUTHENTICATED", "{last}");
    }
    let (code, said) = expiring.closed().await;
    assert_eq!(code, Some(4401));
    assert!(matches!(said, Some(Answer::Error(error)) if error.code == "UNAUTHENTICATED"));
    assert!(matches!(renewed.ask(Ask::Ping(Ping {})).await, Answer::Pong(_)), "renewed");
    drop(renewed);
    gateway.stop().await;
}

#[tokio::test]
async fn keys_are_fetched_and_rotate_and_outlive_their_server() {
    let (old, new) = (Issuer::new("old"), Issuer::new("new"));
    let keys = KeyServer::serving(200, old.jwks()).await;
    let url = keys.url();
    let gateway = Gateway::with(&[
        ("MACP_AUTH_ISSUER", Issuer::NAME),
        ("MACP_AUTH_JWKS_URL", &url),
        ("MACP_AUTH_JWKS_TTL_SECS", "1"),
    ])
    .await;
    let list = async |token: &str| {
        called(Box::new(Http::agent(gateway.http, token)), "ListSessions", json!({})).await
    };
    let (first, second) = (old.token("agent://a", 300), new.token("agent://a", 300));
    assert_eq!(list(&first).await, "");
    assert_eq!(list(&second).await, "UNAUTHENTICATED", "not published yet");
    keys.answer(200, new.jwks());
    // In the background, when the lifetime is over.
    until(async || list(&second).await.is_empty()).await;
    assert_eq!(list(&first).await, "UNAUTHENTICATED", "retired");
    for (status, body) in [(500, String::new()), (200, "nonsense".into()), (200, r#"{"keys":[]}"#.into())] {
        keys.answer(status, body);
        let asked = keys.asked();
        until(async || keys.asked() > asked).await;
        assert_eq!(list(&second).await, "", "what was fetched before is still good");
    }
    let log = gateway.stop().await;
    assert!(log.contains("keys of the JWT issuer cannot be fetched") && log.contains("HTTP 500"), "{log}");
}

#[tokio::test]
async fn an_issuer_that_is_away_at_the_start_is_waited_for() {
    let issuer = Issuer::new("k");
    let keys = KeyServer::serving(503, String::new()).await;
    let url = keys.url();
    let tokens = r#"[{"token": "t", "sender": "agent://t"}]"#;
    let gateway = Gateway::with(&[
        ("MACP_AUTH_ISSUER", Issuer::NAME),
        ("MACP_AUTH_JWKS_URL", &url),
        ("MACP_AUTH_TOKENS_JSON", tokens),
    ])
    .await;
    let token = issuer.token("agent://a", 300);
    for (place, agent) in everywhere(gateway.ports(), &token) {
        assert_eq!(called(agent, "ListSessions", json!({})).await, "UNAVAILABLE", "{place}");
    }
    for (place, agent) in everywhere(gateway.ports(), "t") {
        assert_eq!(called(agent, "ListSessions", json!({})).await, "", "others are served: {place}");
    }
    keys.answer(200, issuer.jwks());
    let list = async || called(Box::new(Http::agent(gateway.http, &token)), "ListSessions", json!({})).await;
    until(async || list().await.is_empty()).await;
    gateway.stop().await;
}

/// Asks again until it holds.
async fn until(holds: impl AsyncFn() -> bool) {
    crate::wait::soon("it holds", async {
        while !holds().await {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
}
