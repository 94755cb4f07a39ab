//! How a stream ends: with its session, with its reader, with the server, and never silently in between.

use macp_kernel::RefusalCode;
use serde_json::json;

use crate::support::{
    ALICE, BOB, Frames, commit, connect, gateway, post, propose, request_over, signal, subscribe,
};

#[tokio::test]
async fn a_resolved_session_ends_its_streams_after_the_last_envelope() {
    let gateway = gateway().await;
    let session = gateway.start(1).await;
    let mut connection = connect(gateway.serve().await).await;
    let mut live = Frames::of(request_over(&mut connection, subscribe(&session, ALICE, 0)).await).await;
    gateway.accept(BOB, &propose(&session, "m1")).await;
    gateway.accept(ALICE, &commit(&session, "m2")).await;
    let late = Frames::of(gateway.open(subscribe(&session, BOB, 0)).await).await;
    live.expect(1, "m0").await;
    live.expect(2, "m1").await;
    live.expect(3, "m2").await;
    assert_eq!(live.next().await, None);
    let mut late = late;
    for (id, message) in [(1, "m0"), (2, "m1"), (3, "m2")] {
        late.expect(id, message).await;
    }
    assert_eq!(late.next().await, None);
    // At and beyond the end there is nothing, and that is said at once. The connection is of further use.
    for after in [3, 100] {
        let response = request_over(&mut connection, subscribe(&session, ALICE, after)).await;
        assert_eq!(Frames::of(response).await.next().await, None);
    }
}

#[tokio::test]
async fn a_cancelled_session_ends_with_an_error_after_everything() {
    let gateway = gateway().await;
    let session = gateway.start(1).await;
    gateway.accept(BOB, &propose(&session, "m1")).await;
    let mut live = Frames::of(gateway.open(subscribe(&session, ALICE, 0)).await).await;
    let cancelled =
        gateway.call("CancelSession", ALICE, &json!({"session_id": session, "reason": "r"})).await;
    assert_eq!(cancelled.json()["ack"]["ok"], true);
    let late = Frames::of(gateway.open(subscribe(&session, BOB, 0)).await).await;
    for mut frames in [std::mem::replace(&mut live, late), live] {
        frames.expect(1, "m0").await;
        frames.expect(2, "m1").await;
        let mut next = frames.next().await.unwrap();
        // The cancellation itself may be part of accepted history.
        if next.id.is_some() {
            assert_eq!(next.data.unwrap()["envelope"]["message_type"], "SessionCancel");
            next = frames.next().await.unwrap();
        }
        assert_eq!(next.event.as_deref(), Some("error"));
        let error = &next.data.unwrap()["error"];
        assert_eq!((&error["code"], &error["session_id"]), (&json!("SESSION_NOT_OPEN"), &json!(session)));
        assert_eq!(frames.next().await, None);
    }
}

#[tokio::test]
async fn an_expired_session_ends_with_an_error() {
    let gateway = gateway().await;
    let session = crate::support::session_id(1);
    gateway.accept(ALICE, &crate::support::start(&session, 1)).await;
    let mut frames = Frames::of(gateway.open(subscribe(&session, ALICE, 0)).await).await;
    frames.expect(1, "m0").await;
    frames.expect_error("SESSION_NOT_OPEN", &session).await;
}

#[tokio::test]
async fn a_suspended_session_keeps_its_streams() {
    let gateway = gateway().await;
    let session = gateway.start(1).await;
    let mut frames = Frames::of(gateway.open(subscribe(&session, ALICE, 1)).await).await;
    for control in ["SuspendSession", "ResumeSession"] {
        let answer = gateway.call(control, ALICE, &json!({"session_id": session})).await;
        assert_eq!(answer.json()["ack"]["ok"], true, "{control}");
    }
    gateway.accept(ALICE, &commit_after_proposal(&gateway, &session).await).await;
    // Control events may be part of accepted history; the end comes only with the Commitment.
    let mut last = None;
    while let Some(frame) = frames.next().await {
        assert!(frame.id.is_some() && frame.event.is_none());
        last = frame.data;
    }
    assert_eq!(last.unwrap()["envelope"]["message_type"], "Commitment");
}

async fn commit_after_proposal(gateway: &crate::support::Gateway, session: &str) -> serde_json::Value {
    gateway.accept(BOB, &propose(session, "m1")).await;
    commit(session, "m2")
}

#[tokio::test]
async fn a_watch_that_was_too_slow_ends_with_an_error() {
    let gateway = gateway().await;
    let mut frames = Frames::of(gateway.open(post("/macp/v1/WatchSignals", BOB, "{}")).await).await;
    for id in 0..5000 {
        gateway.accept(ALICE, &signal(&format!("s{id}"))).await;
    }
    frames.expect_error(RefusalCode::StreamLagged.name(), "").await;
}

#[tokio::test]
async fn draining_ends_streams_without_an_error() {
    let gateway = gateway().await;
    let session = gateway.start(1).await;
    let server = gateway.serve().await;
    let mut connections = Vec::new();
    let mut streams = Vec::new();
    for request in [subscribe(&session, ALICE, 1), post("/macp/v1/WatchSignals", ALICE, "{}")] {
        let mut connection = connect(server).await;
        streams.push(Frames::of(request_over(&mut connection, request).await).await);
        connections.push(connection);
    }
    gateway.engine.drain();
    for frames in &mut streams {
        assert_eq!(frames.next().await, None);
    }
    // Also one that always has something to say.
    let mut late = Frames::of(gateway.open(post("/macp/v1/WatchSessions", ALICE, "{}")).await).await;
    assert_eq!(late.next().await, None);
}
