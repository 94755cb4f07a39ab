//! Event streams over real connections: framing, resuming, watches, keepalive, and clients that go away.

use std::time::Duration;

use axum::body::Body;
use http_body_util::BodyExt;
use serde_json::json;

use crate::support::{
    ALICE, BOB, Frames, connect, gateway, gateway_with, patience, post, propose, request_over, signal,
    subscribe, with,
};

#[tokio::test]
async fn replay_then_live_with_ordinals_as_ids() {
    let gateway = gateway().await;
    let session = gateway.start(1).await;
    gateway.accept(BOB, &propose(&session, "m1")).await;
    let mut connection = connect(gateway.serve().await).await;
    let mut frames = Frames::of(request_over(&mut connection, subscribe(&session, ALICE, -1)).await).await;
    let first = frames.expect(1, "m0").await;
    assert_eq!(first["envelope"]["sender"], ALICE);
    assert_eq!(first["envelope"]["payload"]["intent"], "choose");
    assert_eq!(first.as_object().unwrap().len(), 1);
    frames.expect(2, "m1").await;
    gateway.accept(BOB, &propose(&session, "m2")).await;
    frames.expect(3, "m2").await;
    // A refused envelope and a duplicate have no event.
    assert_eq!(gateway.send("agent://eve", &propose(&session, "m3")).await["ok"], false);
    assert_eq!(gateway.send(BOB, &propose(&session, "m2")).await["duplicate"], true);
    gateway.accept(BOB, &propose(&session, "m4")).await;
    frames.expect(4, "m4").await;
}

#[tokio::test]
async fn every_subscriber_gets_the_same_bytes() {
    let gateway = gateway().await;
    let session = gateway.start(1).await;
    let mut bodies = Vec::new();
    for _ in 0..3 {
        let mut body = gateway.open(subscribe(&session, ALICE, 1)).await.into_body();
        body.frame().await.unwrap().unwrap();
        bodies.push(body);
    }
    gateway.accept(BOB, &propose(&session, "m1")).await;
    let mut seen = Vec::new();
    for body in &mut bodies {
        seen.push(patience(body.frame()).await.unwrap().unwrap().into_data().unwrap());
    }
    assert!(seen[0].starts_with(b"id: 2\ndata: {\"envelope\":{"));
    assert!(seen.iter().all(|bytes| bytes.as_ptr() == seen[0].as_ptr()), "encoded once");
}

#[tokio::test]
async fn resume_at_every_position() {
    let gateway = gateway().await;
    let session = gateway.start(1).await;
    gateway.accept(BOB, &propose(&session, "m1")).await;
    gateway.accept(BOB, &propose(&session, "m2")).await;
    let header = |id: &str, after| with(subscribe(&session, ALICE, after), "last-event-id", id);
    for (request, first) in [
        (subscribe(&session, ALICE, 0), 1),
        (subscribe(&session, ALICE, 1), 2),
        (subscribe(&session, ALICE, 2), 3),
        (header("0", 0), 1),
        (header("2", -1), 3),
        (header("2", 0), 3),
        (header("2", 2), 3),
    ] {
        let mut frames = Frames::of(gateway.open(request).await).await;
        frames.expect(first, &format!("m{}", first - 1)).await;
    }
    // At the head, and at positions that do not exist yet, whose ordinals are never delivered.
    let mut at_head = Frames::of(gateway.open(subscribe(&session, ALICE, 3)).await).await;
    let mut beyond = Frames::of(gateway.open(header("5", 0)).await).await;
    for id in 3..7 {
        gateway.accept(BOB, &propose(&session, &format!("m{id}"))).await;
    }
    at_head.expect(4, "m3").await;
    beyond.expect(6, "m5").await;
    beyond.expect(7, "m6").await;
}

#[tokio::test]
async fn subscribe_is_refused_before_the_stream() {
    let gateway = gateway().await;
    let session = gateway.start(1).await;
    let body = |body: serde_json::Value| post("/macp/v1/StreamSession", ALICE, body.to_string());
    let at = |id: &str, after| with(subscribe(&session, ALICE, after), "last-event-id", id);
    let envelope = json!({"envelope": propose(&session, "m1"), "subscribe_session_id": session});
    for (name, request, status, code, about) in [
        ("empty id", body(json!({"subscribe_session_id": ""})), 400, "INVALID_REQUEST", ""),
        ("no id", body(json!({})), 400, "INVALID_REQUEST", ""),
        ("envelope only", body(json!({"envelope": propose(&session, "m1")})), 400, "INVALID_REQUEST", ""),
        ("envelope too", body(envelope), 400, "INVALID_REQUEST", session.as_str()),
        ("bad envelope", body(json!({"envelope": {}})), 400, "INVALID_REQUEST", ""),
        ("unknown", subscribe("nope", ALICE, 0), 404, "SESSION_NOT_FOUND", "nope"),
        ("stranger", subscribe(&session, "agent://eve", 0), 403, "FORBIDDEN", &session),
        ("anonymous", subscribe(&session, "", 0), 401, "UNAUTHENTICATED", ""),
        ("bad position", at("x", 0), 400, "INVALID_REQUEST", &session),
        ("two positions", with(at("1", 0), "last-event-id", "1"), 400, "INVALID_REQUEST", &session),
        ("other position", at("1", 2), 400, "INVALID_REQUEST", &session),
        ("zero beside a position", at("0", 2), 400, "INVALID_REQUEST", &session),
        ("too large", at("18446744073709551616", 0), 400, "INVALID_REQUEST", &session),
        (
            "negative",
            body(json!({"subscribe_session_id": session, "after_sequence": -1})),
            400,
            "INVALID_REQUEST",
            "",
        ),
    ] {
        let answer = gateway.ask(request).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (status, code), "{name}");
        assert_eq!(answer.json()["error"]["session_id"], about, "{name}");
    }
}

#[tokio::test]
async fn watches_have_no_ids() {
    let gateway = gateway().await;
    let session = gateway.start(1).await;
    let mut connections = Vec::new();
    let server = gateway.serve().await;
    for (watch, sender, member) in [
        ("WatchModeRegistry", "", "change"),
        ("WatchRoots", "", "change"),
        ("WatchPolicies", ALICE, "descriptors"),
        ("WatchSessions", ALICE, "event"),
    ] {
        let mut connection = connect(server).await;
        // Watches are not resumable, so this says nothing here.
        let request = with(post(&format!("/macp/v1/{watch}"), sender, "{}"), "last-event-id", "x");
        let mut frames = Frames::of(request_over(&mut connection, request).await).await;
        connections.push(connection);
        let frame = frames.next().await.unwrap();
        assert_eq!((&frame.id, &frame.event), (&None, &None), "{watch}");
        let data = frame.data.unwrap();
        assert!(data.get(member).is_some(), "{watch}: {data}");
        if watch == "WatchSessions" {
            assert_eq!(data["event"]["event_type"], "EVENT_TYPE_CREATED");
            assert_eq!(data["event"]["session"]["session_id"], session);
        }
    }
}

#[tokio::test]
async fn signals_are_one_line_and_shared() {
    let gateway = gateway().await;
    let watch = || post("/macp/v1/WatchSignals", BOB, "{}");
    let mut frames = Frames::of(gateway.open(watch()).await).await;
    let mut other = Frames::of(gateway.open(watch()).await).await;
    gateway.accept(ALICE, &signal("s1")).await;
    let frame = frames.next().await.unwrap();
    assert_eq!((&frame.id, &frame.event), (&None, &None));
    let data = frame.data.as_ref().unwrap();
    assert_eq!(data["envelope"]["message_id"], "s1");
    assert_eq!(data["envelope"]["sender"], ALICE);
    assert_eq!(data["envelope"]["payload"]["signal_type"], "line\nbreak");
    // Development identities are not verified.
    assert_eq!(data["sender_authenticated"], false);
    assert_eq!(other.next().await.unwrap(), frame);
}

#[tokio::test(start_paused = true)]
async fn silence_is_filled_with_comments() {
    let gateway = gateway().await;
    let session = gateway.start(1).await;
    let mut frames = Frames::of(gateway.open(subscribe(&session, ALICE, 1)).await).await;
    for _ in 0..3 {
        let asked = tokio::time::Instant::now();
        assert_eq!(frames.next().await.unwrap().comment.as_deref(), Some("keepalive"));
        assert_eq!(asked.elapsed(), Duration::from_secs(15));
    }
    gateway.accept(BOB, &propose(&session, "m1")).await;
    frames.expect(2, "m1").await;
}

#[tokio::test(start_paused = true)]
async fn a_keepalive_of_zero_is_none() {
    let gateway = gateway_with(|options| options.sse_keepalive = Duration::ZERO).await;
    let session = gateway.start(1).await;
    let mut frames = Frames::of(gateway.open(subscribe(&session, ALICE, 1)).await).await;
    let silent = tokio::time::timeout(Duration::from_secs(15), frames.next()).await;
    assert!(silent.is_err(), "{silent:?}");
}

#[tokio::test(start_paused = true)]
async fn a_stream_outlives_the_request_timeout() {
    let gateway = gateway_with(|options| options.request_timeout = Some(Duration::from_secs(1))).await;
    let session = gateway.start(1).await;
    let mut frames = Frames::of(gateway.open(subscribe(&session, ALICE, 1)).await).await;
    for _ in 0..4 {
        assert_eq!(frames.next().await.unwrap().comment.as_deref(), Some("keepalive"));
    }
}

#[tokio::test]
async fn a_stream_opens_over_http2_too() {
    let gateway = gateway().await;
    let session = gateway.start(1).await;
    let stream = tokio::net::TcpStream::connect(gateway.serve().await).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake::<_, _, Body>(executor, io).await.unwrap();
    tokio::spawn(connection);
    let mut streams = Vec::new();
    for _ in 0..8 {
        let mut request = subscribe(&session, ALICE, 0);
        *request.uri_mut() = "http://localhost/macp/v1/StreamSession".parse().unwrap();
        let mut frames = Frames::of(patience(sender.send_request(request)).await.unwrap()).await;
        frames.expect(1, "m0").await;
        streams.push(frames);
    }
    gateway.accept(BOB, &propose(&session, "m1")).await;
    for frames in &mut streams {
        frames.expect(2, "m1").await;
    }
}
