//! What one sender may have at a time and use in a second, whoever else there is; the limits by the minute are in
//! `sending.rs`.

use macp_kernel::{Refusal, RefusalCode};
use macp_wire::v1::*;

use crate::support::*;

/// The refusal names the setting, and says when to come back.
fn is_limited(refusal: &Refusal, setting: &str) {
    assert_eq!(refusal.code, RefusalCode::RateLimited);
    assert!(refusal.message.contains(setting) && refusal.retry_after_ms.is_some(), "{refusal:?}");
}

#[tokio::test]
async fn subscriptions_and_watches_of_a_sender_are_counted_together_and_come_back() {
    let Fixture { engine, .. } = fixture_with(|options| options.limits.streams_per_sender = 3).await;
    accept(&engine, "agent://a", start(SESSION)).await;
    let a = identity("agent://a");
    let subscription = engine.subscribe(&a, SESSION, 0).await.unwrap();
    let sessions = engine.watch_sessions(&a).await.unwrap();
    let _signals = engine.watch_signals(&a).await.unwrap();
    is_limited(&engine.watch_policies(&a).await.err().unwrap(), "MACP_MAX_STREAMS_PER_SENDER");
    is_limited(&engine.subscribe(&a, SESSION, 0).await.err().unwrap(), "MACP_MAX_STREAMS_PER_SENDER");
    let _of_others = engine.subscribe(&identity("agent://b"), SESSION, 0).await.unwrap();
    drop(subscription);
    let _policies = engine.watch_policies(&a).await.unwrap();
    is_limited(&engine.watch_signals(&a).await.err().unwrap(), "MACP_MAX_STREAMS_PER_SENDER");
    drop(sessions);
    engine.subscribe(&a, SESSION, 0).await.unwrap();
}

/// What is refused for another reason takes no place.
#[tokio::test]
async fn refused_subscriptions_hold_nothing() {
    let Fixture { engine, .. } = fixture_with(|options| options.limits.streams_per_sender = 1).await;
    accept(&engine, "agent://a", start(SESSION)).await;
    for _ in 0..3 {
        assert!(engine.subscribe(&identity("agent://stranger"), SESSION, 0).await.is_err());
        assert!(engine.subscribe(&identity("agent://a"), "no-such-session-0123456", 0).await.is_err());
    }
    engine.watch_signals(&identity("agent://stranger")).await.unwrap();
    engine.watch_signals(&identity("agent://a")).await.unwrap();
}

#[tokio::test]
async fn payload_bytes_have_a_rate_and_one_large_message_passes() {
    let Fixture { engine, clock, .. } =
        fixture_with(|options| options.limits.payload_bytes_per_second = 1_000).await;
    accept(&engine, "agent://a", start(SESSION)).await;
    clock.advance(1_000);
    accept(&engine, "agent://a", proposal(SESSION, &"x".repeat(4_000))).await;
    let identity = identity("agent://a");
    let refusal = engine.submit(&identity, proposal(SESSION, "small")).await.unwrap_err();
    is_limited(&refusal, "MACP_BYTES_PER_SECOND_PER_SENDER");
    accept(&engine, "agent://b", proposal(SESSION, "of another sender")).await;
    let wait = i64::try_from(refusal.retry_after_ms.unwrap()).unwrap();
    assert!((2_900..=3_200).contains(&wait), "{wait}");
    clock.advance(wait);
    accept(&engine, "agent://a", proposal(SESSION, "small")).await;
}

#[tokio::test]
async fn open_sessions_have_a_limit_for_whom_no_credential_names_one() {
    let Fixture { engine, .. } = fixture_with(|options| options.limits.open_sessions_per_sender = 1).await;
    let second = "second-0123456789abcdef0";
    accept(&engine, "agent://a", start(SESSION)).await;
    let a = identity("agent://a");
    let refusal = engine.submit(&a, start(second)).await.unwrap_err();
    assert_eq!(refusal.code, RefusalCode::RateLimited);
    assert!(refusal.message.contains("MACP_MAX_OPEN_SESSIONS_PER_SENDER"), "{refusal}");
    let generous = caller("agent://b", |caller| caller.capabilities.max_open_sessions = Some(100));
    accept(&engine, "agent://b", start("third-0123456789abcdef01")).await;
    assert!(engine.submit(&generous, start(second)).await.is_err(), "a credential can only allow less");
    let cancel = CancelSessionRequest { session_id: SESSION.into(), reason: String::new() };
    engine.cancel_session(&a, cancel).await.unwrap();
    assert!(engine.send_envelope(&a, start(second)).await.ok);
}
