//! When sessions leave the store, and when they leave memory.

use std::time::Duration;

use macp_engine::Engine;
use macp_store::{LogStore, SummaryFilter};
use macp_wire::v1::*;

use crate::support::*;

const HOUR: i64 = 3_600_000;

fn id(name: &str) -> String {
    format!("session-of-retention-{name}")
}

/// Lets the engine's tasks run. Time is paused, so this takes none.
async fn a_while() {
    tokio::time::sleep(Duration::from_secs(120)).await;
}

async fn resolve(engine: &Engine, session: &str) {
    accept(engine, "agent://a", start_with(session, "start", 10 * HOUR)).await;
    accept(engine, "agent://a", proposal(session, "p")).await;
    accept(engine, "agent://b", vote(session, "vote", "p")).await;
    accept(engine, "agent://a", commitment(session)).await;
}

async fn exists(engine: &Engine, session: &str) -> bool {
    let request = GetSessionRequest { session_id: session.into() };
    match engine.get_session(&identity("agent://a"), request).await {
        Ok(_) => true,
        Err(refusal) => {
            assert_eq!(refusal.code.name(), "SESSION_NOT_FOUND");
            false
        }
    }
}

async fn receipt(engine: &Engine, session: &str) -> Result<String, String> {
    let request = GetDecisionReceiptRequest { session_id: session.into() };
    let answer = engine.get_decision_receipt(&identity("agent://a"), request).await;
    answer.map(|answer| answer.receipt_json).map_err(|refusal| refusal.code.name().to_owned())
}

#[tokio::test(start_paused = true)]
async fn sessions_that_are_long_over_leave_the_store_and_no_others() {
    let kept = Some(Duration::from_secs(3_600));
    let Fixture { engine, clock, store } = fixture_with(|options| options.retention = kept).await;
    let (resolved, cancelled, open, suspended) =
        (id("resolved"), id("cancelled"), id("open"), id("suspended"));
    resolve(&engine, &resolved).await;
    let issued = receipt(&engine, &resolved).await.unwrap();
    for session in [&cancelled, &open, &suspended] {
        accept(&engine, "agent://a", start_with(session, "start", 10 * HOUR)).await;
    }
    clock.advance(HOUR / 2);
    let cancel = CancelSessionRequest { session_id: cancelled.clone(), reason: "off".into() };
    assert!(engine.cancel_session(&identity("agent://a"), cancel).await.unwrap().ack.unwrap().ok);
    let suspend = SuspendSessionRequest { session_id: suspended.clone(), reason: "wait".into() };
    assert!(engine.suspend_session(&identity("agent://a"), suspend).await.unwrap().ack.unwrap().ok);

    // Until the very end of its time a session can be read, whether it is in memory or not.
    clock.advance(HOUR / 2 - 1);
    a_while().await;
    assert!(exists(&engine, &resolved).await);
    assert_eq!(receipt(&engine, &resolved).await.as_ref(), Ok(&issued));

    clock.advance(1);
    a_while().await;
    assert!(!exists(&engine, &resolved).await, "one hour after its end");
    assert_eq!(receipt(&engine, &resolved).await, Err("SESSION_NOT_FOUND".to_owned()));
    assert_eq!(store.list_side("receipts").await.unwrap(), []);
    assert!(exists(&engine, &cancelled).await, "its end was later than its start");
    clock.advance(5 * HOUR);
    a_while().await;
    assert!(!exists(&engine, &cancelled).await);
    assert!(exists(&engine, &open).await && exists(&engine, &suspended).await, "these are not over");
    let left = store.list(SummaryFilter::All, None, 99).await.unwrap();
    assert_eq!(left.len(), 2);

    // The id is as if it had never been.
    resolve(&engine, &resolved).await;
    assert_ne!(receipt(&engine, &resolved).await.unwrap(), issued);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_somebody_reads_is_left_alone_until_they_are_done() {
    let kept = Some(Duration::from_secs(3_600));
    let Fixture { engine, clock, .. } = fixture_with(|options| options.retention = kept).await;
    resolve(&engine, &id("read")).await;
    let mut subscription = engine.subscribe(&identity("agent://b"), &id("read"), 0).await.unwrap();
    next_envelope(&mut subscription).await;
    clock.advance(2 * HOUR);
    a_while().await;
    for sequence in 2..=4 {
        assert_eq!(next_envelope(&mut subscription).await.0, sequence);
    }
    drop(subscription);
    a_while().await;
    assert!(!exists(&engine, &id("read")).await);
}

#[tokio::test(start_paused = true)]
async fn many_sessions_are_removed_in_one_walk() {
    let kept = Some(Duration::from_secs(3_600));
    let Fixture { engine, clock, store } = fixture_with(|options| options.retention = kept).await;
    // More than one page of the walk.
    for n in 0..1_100 {
        accept(&engine, "agent://a", start_with(&id(&n.to_string()), "start", 1_000)).await;
    }
    // They expire by themselves, first.
    clock.advance(2_000);
    a_while().await;
    assert_eq!(store.list(SummaryFilter::Ended, None, 9_999).await.unwrap().len(), 1_100);
    clock.advance(HOUR);
    a_while().await;
    assert_eq!(store.list(SummaryFilter::All, None, 9_999).await.unwrap(), []);
    assert_eq!(engine.sessions_in_memory(), 0);
}

#[tokio::test(start_paused = true)]
async fn by_default_nothing_is_removed() {
    let Fixture { engine, clock, .. } = fixture().await;
    resolve(&engine, &id("kept")).await;
    clock.advance(100 * 365 * 24 * HOUR);
    a_while().await;
    assert_eq!(engine.sessions_in_memory(), 0);
    assert!(exists(&engine, &id("kept")).await);
}

#[tokio::test(start_paused = true)]
async fn a_crowd_leaves_memory_earlier() {
    let Fixture { engine, clock, .. } = fixture_with(|options| options.limits.sessions_in_memory = 20).await;
    for n in 0..20 {
        accept(&engine, "agent://a", start(&id(&n.to_string()))).await;
    }
    clock.advance(20_000);
    a_while().await;
    assert_eq!(engine.sessions_in_memory(), 20, "not a crowd, and used less than a minute ago");
    accept(&engine, "agent://a", start(&id("one-more"))).await;
    clock.advance(2_000);
    a_while().await;
    assert_eq!(engine.sessions_in_memory(), 0);
    accept(&engine, "agent://a", proposal(&id("7"), "p")).await;
}
