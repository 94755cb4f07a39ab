//! Subscriptions and watches: order, completeness, ends, slow readers, and fairness.

use serde_json::{Value, json};
use tokio::time::{Duration, sleep};

use super::harness::*;
use crate::streams::{Busy, Key, Streams};

fn subscribe(session: &str) -> Value {
    json!({"subscribe": {"session_id": session}})
}

/// The next frame must be envelope `sequence` of the session.
async fn delivers(client: &mut Client, session: &str, sequence: u64) {
    let frame = client.hear().await;
    let envelope = &frame["envelope"];
    assert_eq!(
        (&envelope["session_id"], &envelope["sequence"]),
        (&json!(session), &json!(sequence)),
        "{frame}"
    );
}

async fn synced(client: &mut Client, session: &str, sequence: u64) {
    let frame = client.hear().await;
    assert_eq!(frame["synced"], json!({"session_id": session, "sequence": sequence}), "{frame}");
}

async fn cancel(client: &mut Client, session: &str) {
    let request = json!({"session_id": session, "reason": "enough"});
    client.ask("result", json!({"call": {"method": "CancelSession", "request": request}})).await;
}

#[tokio::test(start_paused = true)]
async fn replay_then_synced_then_live_then_ended() {
    let engine = engine().await;
    let session = session(&engine, 2).await;
    let mut sender = connect(&engine, "agent://a").await;
    let mut client = connect(&engine, "agent://b").await;
    let snapshot = json!({"subscribe": {"session_id": session, "snapshot": true}});
    let subscribed = client.ask("subscribed", snapshot).await;
    assert_eq!((&subscribed["after_sequence"], &subscribed["high_water_sequence"]), (&json!(0), &json!(3)));
    assert_eq!(subscribed["metadata"]["state"], "SESSION_STATE_OPEN");
    for sequence in 1..=3 {
        delivers(&mut client, &session, sequence).await;
    }
    synced(&mut client, &session, 3).await;
    sender.send(proposal(&session, "p9")).await;
    delivers(&mut client, &session, 4).await;
    cancel(&mut sender, &session).await;
    let ended = client.hear().await["ended"].clone();
    assert_eq!(ended, json!({"session_id": session, "state": "SESSION_STATE_CANCELLED", "last_sequence": 4}));
    // An ended subscription is none: another one may follow.
    let again =
        client.ask("subscribed", json!({"subscribe": {"session_id": session, "after_sequence": 3}})).await;
    assert_eq!(again["metadata"], Value::Null);
    delivers(&mut client, &session, 4).await;
    synced(&mut client, &session, 4).await;
    assert_eq!(client.hear().await["ended"], ended);
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_starts_at_the_head_is_synced_at_once() {
    let engine = engine().await;
    let session = session(&engine, 2).await;
    let mut client = connect(&engine, "agent://b").await;
    let resume = json!({"subscribe": {"session_id": session, "after_sequence": 3}});
    client.ask("subscribed", resume).await;
    synced(&mut client, &session, 3).await;
    let mut sender = connect(&engine, "agent://a").await;
    sender.send(proposal(&session, "p9")).await;
    delivers(&mut client, &session, 4).await;
}

#[tokio::test(start_paused = true)]
async fn refused_subscriptions_name_the_session_and_leave_room() {
    let engine = engine().await;
    let session = session(&engine, 0).await;
    let mut outsider = connect(&engine, "agent://z").await;
    let unknown = new_session();
    for (target, code) in [(&session, "FORBIDDEN"), (&unknown, "SESSION_NOT_FOUND")] {
        for _ in 0..2 {
            let error = outsider.ask("error", subscribe(target)).await;
            assert_eq!((&error["code"], &error["session_id"]), (&json!(code), &json!(target)));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn no_envelope_follows_unsubscribed() {
    let engine = engine().await;
    let session = session(&engine, 100).await;
    for reads in [0, 1, 2, 50] {
        let mut client = open(&engine, With { sender: Some("agent://b"), room: 1, ..With::default() });
        assert!(client.hear().await["welcome"].is_object());
        let first = client.say(subscribe(&session));
        let mut answered = false;
        for _ in 0..reads {
            answered |= client.hear().await["id"] == first;
        }
        let id = client.say(json!({"unsubscribe": {"session_id": session}}));
        loop {
            let frame = client.hear().await;
            answered |= frame["id"] == first;
            if frame["id"] == id {
                break;
            }
        }
        assert!(answered, "subscribe was answered before, after {reads} frames");
        let mut sender = connect(&engine, "agent://a").await;
        sender.send(proposal(&session, &format!("later{reads}"))).await;
        let pong = client.ask("pong", json!({"ping": {}})).await;
        assert_eq!(pong["subscriptions"], json!([]));
        assert!(client.hears_nothing());
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_loses_nothing_and_delays_nobody() {
    let engine = engine().await;
    let session = session(&engine, 0).await;
    let mut slow = open(&engine, With { sender: Some("agent://b"), room: 1, ..With::default() });
    slow.say(subscribe(&session));
    let mut quick = connect(&engine, "agent://b").await;
    quick.ask("subscribed", subscribe(&session)).await;
    delivers(&mut quick, &session, 1).await;
    synced(&mut quick, &session, 1).await;
    let mut sender = connect(&engine, "agent://a").await;
    for n in 0..600 {
        sender.send(proposal(&session, &format!("p{n}"))).await;
        delivers(&mut quick, &session, n + 2).await;
    }
    assert!(slow.hear().await["welcome"].is_object());
    let high_water = slow.hear().await["subscribed"]["high_water_sequence"].as_u64().unwrap();
    for sequence in 1..=601 {
        delivers(&mut slow, &session, sequence).await;
        if sequence == high_water {
            synced(&mut slow, &session, sequence).await;
        }
    }
    assert!(slow.hears_nothing());
}

#[tokio::test(start_paused = true)]
async fn streams_and_answers_take_turns() {
    let engine = engine().await;
    let long = session(&engine, 200).await;
    let short = session(&engine, 3).await;
    let mut client = open(&engine, With { sender: Some("agent://b"), room: 1, ..With::default() });
    assert!(client.hear().await["welcome"].is_object());
    client.say(subscribe(&long));
    client.say(subscribe(&short));
    let ping = client.say(json!({"ping": {}}));
    let mut last_of_short = 0;
    let mut pong_at = 0;
    for at in 1..=60 {
        let frame = client.hear().await;
        if frame["synced"]["session_id"] == short {
            last_of_short = at;
        }
        if frame["id"] == ping {
            pong_at = at;
        }
    }
    assert!((1..=20).contains(&last_of_short), "{last_of_short}");
    assert!((1..=20).contains(&pong_at), "{pong_at}");
}

#[tokio::test(start_paused = true)]
async fn pong_tells_the_head_of_every_subscription() {
    let engine = engine().await;
    let session = session(&engine, 1).await;
    let mut client = connect(&engine, "agent://b").await;
    assert_eq!(client.ask("pong", json!({"ping": {}})).await["subscriptions"], json!([]));
    client.ask("subscribed", subscribe(&session)).await;
    client.ask("watching", json!({"watch": {"topic": "SIGNALS"}})).await;
    let mut sender = connect(&engine, "agent://a").await;
    sender.send(proposal(&session, "p9")).await;
    let pong = client.ask("pong", json!({"ping": {}})).await;
    assert_eq!(pong["subscriptions"], json!([{"session_id": session, "high_water_sequence": 3}]));
    assert!(pong["server_time_unix_ms"].as_u64().unwrap() > 0);
}

#[tokio::test(start_paused = true)]
async fn every_topic_can_be_watched() {
    let engine = engine().await;
    let session = session(&engine, 0).await;
    let mut client = connect(&engine, "agent://b").await;
    for (topic, member) in [
        ("SESSIONS", "session"),
        ("POLICIES", "policies"),
        ("MODE_REGISTRY", "mode_registry"),
        ("ROOTS", "roots"),
    ] {
        assert_eq!(client.ask("watching", json!({"watch": {"topic": topic}})).await["topic"], topic);
        let event = client.hear().await["event"].clone();
        assert_eq!(event["topic"], topic);
        assert!(event[member].is_object(), "{event}");
        if topic == "SESSIONS" {
            assert_eq!(event["session"]["event"]["session"]["session_id"], session);
        }
        assert_eq!(client.ask("unwatched", json!({"unwatch": {"topic": topic}})).await["topic"], topic);
    }
}

fn signal() -> Value {
    let mut signal = envelope("", "Signal", json!({"signal_type": "t", "confidence": 0.5}));
    signal["mode"] = json!("");
    signal
}

#[tokio::test(start_paused = true)]
async fn signals_arrive_with_their_sender() {
    let engine = engine().await;
    let mut client = connect(&engine, "agent://b").await;
    client.ask("watching", json!({"watch": {"topic": "SIGNALS"}})).await;
    let mut sender = connect(&engine, "agent://a").await;
    let sent = signal();
    sender.send(sent.clone()).await;
    let event = client.hear().await["event"].clone();
    assert_eq!(event["topic"], "SIGNALS");
    assert_eq!(event["signal"]["envelope"]["message_id"], sent["message_id"]);
    assert_eq!(event["signal"]["envelope"]["sender"], "agent://a");
    assert_eq!(event["signal"]["sender_authenticated"], true);
    client.ask("unwatched", json!({"unwatch": {"topic": "SIGNALS"}})).await;
    sender.send(signal()).await;
    client.ask("pong", json!({"ping": {}})).await;
    assert!(client.hears_nothing());
}

#[tokio::test(start_paused = true)]
async fn a_watcher_that_falls_behind_is_told_and_may_watch_again() {
    let engine = engine().await;
    let mut slow = open(&engine, With { sender: Some("agent://b"), room: 1, ..With::default() });
    assert!(slow.hear().await["welcome"].is_object());
    slow.ask("watching", json!({"watch": {"topic": "SIGNALS"}})).await;
    let mut sender = connect(&engine, "agent://a").await;
    for _ in 0..2000 {
        sender.send(signal()).await;
    }
    let error = loop {
        let frame = slow.hear().await;
        if frame["error"].is_object() {
            break frame["error"].clone();
        }
        assert!(frame["event"].is_object(), "{frame}");
    };
    assert_eq!(error["code"], "STREAM_LAGGED");
    assert!(error["message"].as_str().unwrap().contains("SIGNALS"), "{error}");
    slow.ask("watching", json!({"watch": {"topic": "SIGNALS"}})).await;
    sender.send(signal()).await;
    assert!(slow.hear().await["event"].is_object());
}

#[tokio::test(start_paused = true)]
async fn an_idle_subscription_lives_on() {
    let engine = engine().await;
    let session = session(&engine, 0).await;
    let mut client = connect(&engine, "agent://b").await;
    client.ask("subscribed", subscribe(&session)).await;
    delivers(&mut client, &session, 1).await;
    synced(&mut client, &session, 1).await;
    for _ in 0..20 {
        sleep(Duration::from_secs(30)).await;
        client.activity.mark_heard();
    }
    let mut sender = connect(&engine, "agent://a").await;
    sender.send(proposal(&session, "p")).await;
    delivers(&mut client, &session, 2).await;
}

#[test]
fn a_connection_has_a_thousand_streams() {
    let mut streams = Streams::new(crate::frame::Encoding::Json, 1_000);
    let key = |n: usize| Key::Session(n.to_string());
    for n in 0..1_000 {
        streams.begin(key(n)).unwrap();
    }
    assert_eq!(streams.begin(key(0)), Err(Busy::Taken));
    assert_eq!(streams.begin(key(1_000)), Err(Busy::Full));
    assert!(streams.end(&key(0)).is_none());
    let second = streams.begin(key(0)).unwrap();
    // The outcome of the first attempt comes late and means nothing any more.
    assert!(streams.failed(&key(0), second));
    assert!(!streams.failed(&key(0), second));
}
