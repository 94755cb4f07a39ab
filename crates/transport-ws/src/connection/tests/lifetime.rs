//! From welcome to close: credentials, heartbeat, abuse, stalls, and the server going away.

use std::sync::Arc;

use macp_auth::{Authenticator, JwtAlgorithm, JwtRules, Keyring};
use macp_kernel::{Caller, UnixMillis};
use serde_json::json;
use tokio::time::{Duration, Instant, advance, sleep};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::error::{CapacityError, Error, ProtocolError};

use super::harness::*;
use crate::close::Close;
use crate::connection::End;
use crate::frame::Encoding;

fn tokens() -> Authenticator {
    let tokens =
        json!([{"token": "tok-a", "sender": "agent://a"}, {"token": "tok-b", "sender": "agent://b"}]);
    Authenticator::from_tokens_json(&tokens.to_string()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn welcome_comes_first() {
    let engine = engine().await;
    let mut client = open(&engine, With { sender: Some("agent://a"), ..With::default() });
    let welcome = client.hear().await["welcome"].clone();
    assert_eq!(welcome["sender"], "agent://a");
    assert_eq!((&welcome["heartbeat_ms"], &welcome["max_frame_bytes"]), (&json!(25_000), &json!(1 << 20)));
    assert!(welcome["server_time_unix_ms"].as_u64().unwrap() > 0);
    let mut other = open(&engine, With::default());
    let second = other.hear().await["welcome"].clone();
    assert_eq!(second["sender"], "");
    assert_ne!(second["connection_id"], welcome["connection_id"]);
}

#[tokio::test(start_paused = true)]
async fn an_anonymous_connection_has_ten_seconds() {
    let engine = engine().await;
    let began = Instant::now();
    let mut client = connect_with(&engine, With::default()).await;
    let result = client.ask("result", json!({"call": {"method": "ListModes", "request": {}}})).await;
    assert!(!result["response"]["modes"].as_array().unwrap().is_empty());
    for body in [
        json!({"call": {"method": "ListSessions", "request": {}}}),
        json!({"subscribe": {"session_id": "s"}}),
        json!({"watch": {"topic": "SIGNALS"}}),
    ] {
        assert_eq!(client.ask("error", body.clone()).await["code"], "UNAUTHENTICATED", "{body}");
    }
    for envelope in [proposal("s", "p"), json!({"payload": 5})] {
        let ack = client.ask("ack", json!({"send": {"envelope": envelope}})).await;
        assert_eq!(ack["error"]["code"], "UNAUTHENTICATED");
    }
    assert_eq!(client.hear().await["error"]["code"], "UNAUTHENTICATED");
    assert_eq!(client.closed().await, 4401);
    assert_eq!(began.elapsed().as_secs(), 10);
    assert_eq!(client.end().await, End::Close(Close::Unauthenticated));
}

#[tokio::test(start_paused = true)]
async fn frames_behind_authenticate_wait_for_its_outcome() {
    let engine = engine().await;
    let mut client = connect_with(&engine, With { authenticator: tokens(), ..With::default() }).await;
    let first = client.say(json!({"authenticate": {"token": "tok-a"}}));
    let second = client.say(json!({"call": {"method": "ListSessions", "request": {}}}));
    let frame = client.hear().await;
    assert_eq!((&frame["id"], &frame["authenticated"]["sender"]), (&json!(first), &json!("agent://a")));
    let frame = client.hear().await;
    assert_eq!(frame["id"], second);
    assert!(frame["result"].is_object(), "{frame}");
    // No longer bound to the ten seconds.
    sleep(Duration::from_secs(20)).await;
    client.ask("pong", json!({"ping": {}})).await;
}

#[tokio::test(start_paused = true)]
async fn a_bad_token_closes_and_is_not_repeated() {
    let engine = engine().await;
    for token in ["tok-unknown", "", "a.b.c"] {
        let mut client = connect_with(&engine, With { authenticator: tokens(), ..With::default() }).await;
        let error = client.ask("error", json!({"authenticate": {"token": token}})).await;
        assert_eq!(error["code"], "UNAUTHENTICATED");
        assert!(token.is_empty() || !error.to_string().contains(token), "{error}");
        assert_eq!(client.closed().await, 4401);
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_is_replaced_by_one_of_the_same_sender_only() {
    let engine = engine().await;
    let with = With { sender: Some("agent://a"), authenticator: tokens(), ..With::default() };
    let mut client = connect_with(&engine, with).await;
    let again = client.ask("authenticated", json!({"authenticate": {"token": "tok-a"}})).await;
    assert_eq!(again["sender"], "agent://a");
    let other = client.ask("error", json!({"authenticate": {"token": "tok-b"}})).await;
    assert_eq!(other["code"], "FORBIDDEN");
    assert_eq!(client.closed().await, 4403);
}

/// Good for half a minute, on an engine's clock that stands at 0.
fn until_30_s(caller: &mut Caller) {
    caller.expires_at = Some(UnixMillis(30_000));
}

#[tokio::test(start_paused = true)]
async fn a_credential_that_expires_ends_the_connection() {
    let (engine, clock) = engine_with_clock().await;
    let with = With { sender: Some("agent://a"), identity: until_30_s, ..With::default() };
    let began = Instant::now();
    let mut client = connect_with(&engine, with).await;
    client.ask("result", json!({"call": {"method": "ListSessions", "request": {}}})).await;
    clock.advance(30_000);
    assert_eq!(client.hear().await["error"]["code"], "UNAUTHENTICATED");
    assert_eq!(client.closed().await, 4401);
    assert_eq!(began.elapsed().as_secs(), 30, "the clock was looked at when it was due");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_pauses_does_not_hide_the_end_of_its_credential() {
    let (engine, clock) = engine_with_clock().await;
    clock.advance(30_000);
    let with = With { sender: Some("agent://a"), identity: until_30_s, ..With::default() };
    let mut client = open(&engine, with);
    for _ in 0..1000 {
        client.say(json!({"call": {"method": "ListSessions", "request": {}}}));
    }
    assert!(client.hear().await["welcome"].is_object());
    assert_eq!(client.hear().await["error"]["code"], "UNAUTHENTICATED");
    assert_eq!(client.closed().await, 4401);
}

#[tokio::test(start_paused = true)]
async fn a_new_token_in_time_keeps_the_connection() {
    let (engine, clock) = engine_with_clock().await;
    let with =
        With { sender: Some("agent://a"), identity: until_30_s, authenticator: tokens(), ..With::default() };
    let mut client = connect_with(&engine, with).await;
    client.ask("authenticated", json!({"authenticate": {"token": "tok-a"}})).await;
    clock.advance(60_000);
    sleep(Duration::from_secs(40)).await;
    client.ask("pong", json!({"ping": {}})).await;
    sleep(Duration::from_secs(40)).await;
    client.ask("pong", json!({"ping": {}})).await;
}

/// What it has opened as an observer stays open, so its next token must be an observer's, too.
#[tokio::test(start_paused = true)]
async fn an_observer_does_not_become_less_and_keep_what_it_sees() {
    let engine = engine().await;
    let with = With {
        sender: Some("agent://a"),
        identity: |caller| caller.capabilities.is_observer = true,
        authenticator: tokens(),
        ..With::default()
    };
    let mut client = connect_with(&engine, with).await;
    let error = client.ask("error", json!({"authenticate": {"token": "tok-a"}})).await;
    assert_eq!(error["code"], "FORBIDDEN");
    assert_eq!(client.closed().await, 4403);
}

/// An issuer whose keys cannot be fetched says nothing about the token.
#[tokio::test(start_paused = true)]
async fn a_token_that_cannot_be_judged_does_not_close() {
    let engine = engine().await;
    let rules = JwtRules { issuer: "i".into(), audience: "a".into(), algorithms: vec![JwtAlgorithm::Es256] };
    let keys = Arc::new(Keyring::fetched(Duration::from_secs(60)));
    let authenticator = Authenticator::jwt(rules, keys);
    let mut client = connect_with(&engine, With { authenticator, ..With::default() }).await;
    let error = client.ask("error", json!({"authenticate": {"token": "a.b.c"}})).await;
    assert_eq!(error["code"], "UNAVAILABLE");
    client.ask("pong", json!({"ping": {}})).await;
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_pinged_and_then_closed() {
    let engine = engine().await;
    let began = Instant::now();
    let mut client = connect(&engine, "agent://a").await;
    assert!(matches!(client.hear_any().await, Some(Message::Ping(_))));
    assert_eq!(began.elapsed().as_secs(), 25);
    assert_eq!(client.closed().await, 4408);
    assert_eq!(began.elapsed().as_secs(), 50);
}

#[tokio::test(start_paused = true)]
async fn any_byte_is_a_sign_of_life() {
    let engine = engine().await;
    let mut client = connect(&engine, "agent://a").await;
    // Part of a large message, on its way for minutes.
    for _ in 0..10 {
        sleep(Duration::from_secs(40)).await;
        client.activity.mark_heard();
    }
    // So is a pong.
    for _ in 0..10 {
        sleep(Duration::from_secs(40)).await;
        client.say_raw(Message::Pong(bytes::Bytes::new()));
    }
    client.ask("pong", json!({"ping": {}})).await;
}

#[tokio::test(start_paused = true)]
async fn twenty_malformed_frames_in_ten_seconds_are_abuse() {
    let engine = engine().await;
    let mut client = connect(&engine, "agent://a").await;
    for _ in 0..25 {
        client.say_text("{not json");
        assert_eq!(client.hear().await["error"]["code"], "INVALID_REQUEST");
        advance(Duration::from_millis(700)).await;
        client.ask("pong", json!({"ping": {}})).await;
    }
    sleep(Duration::from_secs(11)).await;
    for _ in 0..20 {
        client.say(json!({"watch": {"topic": "WEATHER"}}));
    }
    for _ in 0..20 {
        assert_eq!(client.hear().await["error"]["code"], "INVALID_REQUEST");
    }
    assert_eq!(client.closed().await, 1008);
    assert_eq!(client.end().await, End::Close(Close::Abuse));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_no_abuse() {
    let engine = engine().await;
    let mut client = connect(&engine, "agent://a").await;
    for _ in 0..40 {
        client.ask("error", json!({"subscribe": {"session_id": new_session()}})).await;
        client.ask("ack", json!({"send": {"envelope": {"payload": 5}}})).await;
    }
}

#[tokio::test(start_paused = true)]
async fn faults_of_the_transport_have_codes() {
    let engine = engine().await;
    let too_long = Error::Capacity(CapacityError::MessageTooLong { size: 2, max_size: 1 });
    for (fault, code) in [
        (Ok(Message::binary(vec![0])), 1003),
        (Err(too_long), 1009),
        (Err(Error::Utf8(String::new())), 1007),
        (Err(Error::Protocol(ProtocolError::NonZeroReservedBits)), 1002),
    ] {
        let mut client = connect(&engine, "agent://a").await;
        client.tx.try_send(fault).unwrap();
        assert_eq!(client.closed().await, code);
    }
    let with = With { sender: Some("agent://a"), encoding: Encoding::Proto, ..With::default() };
    let mut binary = open(&engine, with);
    assert!(matches!(binary.hear_any().await, Some(Message::Binary(_))));
    binary.say_text("{}");
    assert_eq!(binary.closed().await, 1003);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_read_is_let_go_of() {
    let engine = engine().await;
    let mut client = open(&engine, With { sender: Some("agent://a"), room: 1, ..With::default() });
    let began = Instant::now();
    for _ in 0..10 {
        client.say(json!({"ping": {}}));
    }
    // It goes on talking, so silence is not what ends it.
    let activity = client.activity.clone();
    let talk = async {
        loop {
            sleep(Duration::from_secs(5)).await;
            activity.mark_heard();
        }
    };
    tokio::select! {
        () = talk => unreachable!(),
        end = async { client.ended().await } => assert_eq!(end, End::Lost),
    }
    assert!((30..=36).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn draining_answers_what_was_taken_in_and_closes() {
    let engine = engine().await;
    let mut client = connect(&engine, "agent://a").await;
    let session = session(&engine, 0).await;
    client.ask("subscribed", json!({"subscribe": {"session_id": session}})).await;
    engine.drain();
    let mut frames = Vec::new();
    let code = loop {
        match client.hear_raw().await {
            Some(Message::Text(text)) => {
                frames.push(serde_json::from_str::<serde_json::Value>(&text).unwrap());
            }
            Some(Message::Close(Some(close))) => break u16::from(close.code),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(code, 1001);
    let draining = frames.iter().find(|frame| frame["draining"].is_object()).unwrap();
    let after = draining["draining"]["reconnect_after_ms"].as_u64().unwrap();
    assert!((500..=1500).contains(&after), "{after}");
    assert_eq!(client.end().await, End::Close(Close::Drain));
}

#[tokio::test(start_paused = true)]
async fn draining_waits_for_answers_in_flight() {
    let engine = engine().await;
    let mut client = open(&engine, With { sender: Some("agent://a"), room: 1, ..With::default() });
    let ids: Vec<_> = (0..20).map(|_| client.say(json!({"ping": {}}))).collect();
    // The first frames are on their way; the rest of the answers wait for the client to read.
    tokio::task::yield_now().await;
    engine.drain();
    sleep(Duration::from_secs(1)).await;
    let mut answered = Vec::new();
    let code = loop {
        match client.hear_raw().await {
            Some(Message::Text(text)) => {
                let frame: serde_json::Value = serde_json::from_str(&text).unwrap();
                if frame["pong"].is_object() {
                    answered.push(frame["id"].as_str().unwrap().to_owned());
                }
            }
            Some(Message::Close(Some(close))) => break u16::from(close.code),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((code, answered), (1001, ids));
}

#[tokio::test(start_paused = true)]
async fn draining_does_not_wait_for_ever() {
    let engine = engine().await;
    let mut client = open(&engine, With { sender: Some("agent://a"), room: 1, ..With::default() });
    for _ in 0..20 {
        client.say(json!({"ping": {}}));
    }
    tokio::task::yield_now().await;
    let began = Instant::now();
    engine.drain();
    assert_eq!(client.ended().await, End::Close(Close::Drain));
    assert_eq!(began.elapsed().as_secs(), 11, "time for answers, and for closing");
}

#[tokio::test(start_paused = true)]
async fn what_was_sent_before_the_close_counts() {
    let engine = engine().await;
    let session = new_session();
    let mut client = connect(&engine, "agent://a").await;
    client.say(json!({"send": {"envelope": start(&session)}}));
    for n in 0..5 {
        client.say(json!({"send": {"envelope": proposal(&session, &format!("p{n}"))}}));
    }
    client.say_raw(Message::Close(None));
    assert_eq!(client.ended().await, End::PeerClosed(1005));
    let mut other = connect(&engine, "agent://a").await;
    let subscribed = other.ask("subscribed", json!({"subscribe": {"session_id": session}})).await;
    assert_eq!(subscribed["high_water_sequence"], 6);
}
