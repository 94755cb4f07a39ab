//! Time: expiry without being asked, restarts, and sessions that leave memory and come back.

use std::sync::Arc;

use macp_kernel::Identity;
use macp_store::LogStore;
use macp_wire::v1::session_lifecycle_event::EventType;
use macp_wire::v1::*;

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn expiry_is_pushed_within_a_second_of_its_instant() {
    let Fixture { engine, clock, .. } = fixture().await;
    accept(&engine, "agent://a", start_with(SESSION, "start", 5_000)).await;
    let mut watch = engine.watch_sessions(&identity("agent://a")).await.unwrap();
    assert_eq!(watch.next().await.unwrap().event.unwrap().event_type(), EventType::Created);
    clock.advance(5_000);
    let asleep = tokio::time::timeout(std::time::Duration::from_secs(1), watch.next()).await;
    assert!(asleep.is_err(), "a message exactly at the deadline is still in time");
    clock.advance(1);
    let event = tokio::time::timeout(std::time::Duration::from_secs(1), watch.next()).await;
    assert_eq!(event.unwrap().unwrap().event.unwrap().event_type(), EventType::Expired);
}

#[tokio::test]
async fn expiry_is_seen_by_the_next_touch() {
    let Fixture { engine, clock, .. } = fixture().await;
    accept(&engine, "agent://a", start_with(SESSION, "start", 5_000)).await;
    clock.advance(5_001);
    assert_eq!(metadata(&engine, SESSION).await.state(), SessionState::Expired);
    let request = CancelSessionRequest { session_id: SESSION.into(), reason: String::new() };
    let ack = engine.cancel_session(&identity("agent://a"), request).await.unwrap().ack.unwrap();
    assert!(ack.ok && ack.session_state() == SessionState::Expired, "{ack:?}");
}

#[tokio::test]
async fn control_calls_and_who_may() {
    let Fixture { engine, .. } = fixture().await;
    accept(&engine, "agent://a", start(SESSION)).await;
    let cancel = |id: &str| CancelSessionRequest { session_id: id.into(), reason: "enough".into() };
    let code = |result: Result<CancelSessionResponse, macp_kernel::Refusal>| result.unwrap_err().code.name();
    assert_eq!(code(engine.cancel_session(&Identity::Anonymous, cancel(SESSION)).await), "UNAUTHENTICATED");
    assert_eq!(
        code(engine.cancel_session(&identity("agent://a"), cancel("nope")).await),
        "SESSION_NOT_FOUND"
    );
    assert_eq!(code(engine.cancel_session(&identity("agent://b"), cancel(SESSION)).await), "FORBIDDEN");
    let resume = ResumeSessionRequest { session_id: SESSION.into(), reason: String::new() };
    let ack = engine.resume_session(&identity("agent://a"), resume).await.unwrap().ack.unwrap();
    assert_eq!(ack.error.unwrap().code, "SESSION_NOT_OPEN");
    for _ in 0..2 {
        let ack = engine.cancel_session(&identity("agent://a"), cancel(SESSION)).await.unwrap().ack.unwrap();
        assert!(ack.ok && ack.session_state() == SessionState::Cancelled && ack.message_id.is_empty());
    }
    assert_eq!(refuse(&engine, "agent://a", proposal(SESSION, "p")).await, "SESSION_NOT_OPEN");
}

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let Fixture { engine, clock, store } = fixture().await;
    accept(&engine, "agent://a", start(SESSION)).await;
    accept(&engine, "agent://a", proposal(SESSION, "p")).await;
    let before = metadata(&engine, SESSION).await;
    drop(engine);

    let engine = reopen(Arc::clone(&store) as Arc<dyn LogStore>, &clock, |_| {}).await;
    assert_eq!(metadata(&engine, SESSION).await, before);
    let ack = engine.send_envelope(&identity("agent://a"), proposal(SESSION, "p")).await;
    assert!(ack.duplicate, "the duplicate check remembers");
    let mut subscription = engine.subscribe(&identity("agent://a"), SESSION, 1).await.unwrap();
    assert_eq!(next_envelope(&mut subscription).await, (2, "proposal-p".into()));
    accept(&engine, "agent://b", vote(SESSION, "v", "p")).await;
    assert_eq!(next_envelope(&mut subscription).await, (3, "v".into()));
}

#[tokio::test(start_paused = true)]
async fn deadlines_and_open_session_counts_survive_a_restart() {
    let Fixture { engine, clock, store } = fixture().await;
    let capped = caller("agent://a", |c| c.capabilities.max_open_sessions = Some(1));
    assert!(engine.send_envelope(&capped, start_with(SESSION, "start", 5_000)).await.ok);
    drop(engine);
    let engine = reopen(Arc::clone(&store) as Arc<dyn LogStore>, &clock, |_| {}).await;
    let second = "second-0123456789abcdef0";
    let ack = engine.send_envelope(&capped, start(second)).await;
    assert_eq!(ack.error.unwrap().code, "RATE_LIMITED");
    let mut watch = engine.watch_sessions(&identity("agent://a")).await.unwrap();
    assert_eq!(watch.next().await.unwrap().event.unwrap().event_type(), EventType::Created);
    clock.advance(5_001);
    assert_eq!(watch.next().await.unwrap().event.unwrap().event_type(), EventType::Expired);
    assert!(engine.send_envelope(&capped, start(second)).await.ok);
}

#[tokio::test(start_paused = true)]
async fn unused_sessions_leave_memory_and_come_back() {
    let Fixture { engine, clock, .. } = fixture().await;
    accept(&engine, "agent://a", start_with(SESSION, "start", 86_400_000)).await;
    for _ in 0..3 {
        assert_eq!(engine.sessions_in_memory(), 1);
        clock.advance(120_000);
        // Paused time: this lets the deadline task run, and takes no time.
        tokio::time::sleep(std::time::Duration::from_secs(30)).await;
        assert_eq!(engine.sessions_in_memory(), 0);
        let ack = engine.send_envelope(&identity("agent://a"), start(SESSION)).await;
        assert!(ack.duplicate);
    }
    accept(&engine, "agent://a", proposal(SESSION, "p")).await;
}

#[tokio::test]
async fn unknown_sessions_leave_nothing_in_memory() {
    let Fixture { engine, .. } = fixture().await;
    for n in 0..100 {
        let id = format!("unknown-session-{n:010}");
        assert_eq!(refuse(&engine, "agent://a", proposal(&id, "p")).await, "SESSION_NOT_FOUND");
        assert_eq!(refuse(&engine, "agent://a", start_with(&id, "start", 0)).await, "INVALID_ENVELOPE");
    }
    assert_eq!(engine.sessions_in_memory(), 0);
}

#[tokio::test]
async fn the_handshake_tells_only_what_is_served() {
    let Fixture { engine, .. } = fixture().await;
    let request = |versions: &[&str]| InitializeRequest {
        supported_protocol_versions: versions.iter().map(|v| (*v).to_owned()).collect(),
        ..InitializeRequest::default()
    };
    let hello = engine.initialize(&Identity::Anonymous, request(&["9.9", "1.0"])).await.unwrap();
    assert_eq!(hello.selected_protocol_version, "1.0");
    let capabilities = hello.capabilities.unwrap();
    let offered = [
        (
            capabilities.policy_registry.as_ref().unwrap().register_policy,
            engine.register_policy(&identity("agent://a"), RegisterPolicyRequest::default()).await.err(),
        ),
        (
            capabilities.policy_registry.as_ref().unwrap().what_if_replay,
            engine.what_if_replay(&identity("agent://a"), WhatIfReplayRequest::default()).await.err(),
        ),
        (
            capabilities.decision_receipt.as_ref().unwrap().get_decision_receipt,
            engine
                .get_decision_receipt(&identity("agent://a"), GetDecisionReceiptRequest::default())
                .await
                .err(),
        ),
    ];
    for (advertised, refusal) in offered {
        let served = refusal.as_ref().is_none_or(|refusal| refusal.code.name() != "UNIMPLEMENTED");
        assert_eq!(advertised, served, "{refusal:?}");
    }
    for (versions, code) in [(&[][..], "INVALID_REQUEST"), (&["2.0"], "UNSUPPORTED_PROTOCOL_VERSION")] {
        let refusal = engine.initialize(&Identity::Anonymous, request(versions)).await.unwrap_err();
        assert_eq!(refusal.code.name(), code);
    }
    let manifest = |agent_id: &str| GetManifestRequest { agent_id: agent_id.into() };
    assert!(engine.get_manifest(&Identity::Anonymous, manifest("")).await.is_ok());
    let refusal = engine.get_manifest(&Identity::Anonymous, manifest("agent://else")).await.unwrap_err();
    assert_eq!(refusal.code.name(), "AGENT_NOT_FOUND");
}
