//! Watches: what comes first, what follows, and how a slow watcher is told.

use futures_util::FutureExt as _;
use macp_kernel::Identity;
use macp_wire::v1::session_lifecycle_event::EventType;
use macp_wire::v1::*;

use crate::support::*;

fn signal(id: &str, signal_type: &str) -> Envelope {
    let payload = SignalPayload { signal_type: signal_type.into(), ..SignalPayload::default() };
    Envelope { mode: String::new(), ..envelope("", "Signal", id, &payload) }
}

#[tokio::test]
async fn signals_go_to_whoever_watches_now() {
    let Fixture { engine, .. } = fixture().await;
    accept(&engine, "agent://a", signal("early", "x")).await;
    let mut watch = engine.watch_signals(&identity("agent://w")).await.unwrap();
    let ack = accept(&engine, "agent://a", signal("s1", "x")).await;
    assert_eq!((ack.session_id.as_str(), ack.session_state()), ("", SessionState::Unspecified));
    let got = watch.next().await.unwrap();
    assert_eq!((got.delivery.envelope().message_id.as_str(), got.delivery.sequence()), ("s1", 0));
    assert_eq!(got.delivery.envelope().sender, "agent://a");
    assert!(got.sender_authenticated);
    let dev = caller("agent://d", |c| c.verified = false);
    assert!(engine.send_envelope(&dev, signal("s2", "x")).await.ok);
    assert!(!watch.next().await.unwrap().sender_authenticated);
    assert_eq!(refuse(&engine, "agent://a", signal("s3", " ")).await, "INVALID_ENVELOPE");
    assert!(watch.next().now_or_never().is_none());
    assert!(engine.watch_signals(&Identity::Anonymous).await.is_err());
}

#[tokio::test]
async fn a_watcher_that_falls_behind_is_told() {
    let Fixture { engine, .. } = fixture().await;
    let mut watch = engine.watch_signals(&identity("agent://w")).await.unwrap();
    for n in 0..2000 {
        accept(&engine, "agent://a", signal(&n.to_string(), "x")).await;
    }
    assert_eq!(watch.next().await.unwrap_err().code.name(), "STREAM_LAGGED");
}

async fn event(watch: &mut macp_engine::SessionWatch) -> (EventType, String) {
    let next = tokio::time::timeout(std::time::Duration::from_secs(10), watch.next()).await;
    let event = next.expect("an event in time").unwrap().event.unwrap();
    (event.event_type(), event.session.unwrap().session_id)
}

#[tokio::test]
async fn sessions_are_synced_once_and_then_live() {
    let Fixture { engine, clock, .. } = fixture().await;
    let ids: Vec<String> = (0..600).map(|n| format!("session-{n:04}-0123456789ab")).collect();
    let (before, after) = ids.split_at(590);
    for id in before {
        accept(&engine, "agent://a", start(id)).await;
    }
    let observer = caller("agent://w", |c| c.capabilities.is_observer = true);
    let mut watch = engine.watch_sessions(&observer).await.unwrap();
    assert_eq!(event(&mut watch).await, (EventType::Created, before[0].clone()));
    // Started while the sync is under way: once, by the sync or live.
    for id in after {
        accept(&engine, "agent://a", start(id)).await;
    }
    let mut seen = vec![before[0].clone()];
    for _ in 1..600 {
        let (event_type, id) = event(&mut watch).await;
        assert_eq!(event_type, EventType::Created);
        seen.push(id);
    }
    seen.sort();
    assert_eq!(seen, ids);
    assert!(watch.next().now_or_never().is_none());

    let id = &ids[0];
    let request = |reason: &str| (id.clone(), reason.to_owned());
    let (session_id, reason) = request("lunch");
    engine
        .suspend_session(&identity("agent://a"), SuspendSessionRequest { session_id, reason })
        .await
        .unwrap();
    assert_eq!(event(&mut watch).await, (EventType::Suspended, id.clone()));
    clock.advance(1000);
    let (session_id, reason) = request("back");
    engine.resume_session(&identity("agent://a"), ResumeSessionRequest { session_id, reason }).await.unwrap();
    assert_eq!(event(&mut watch).await, (EventType::Resumed, id.clone()));
    assert_eq!(metadata(&engine, id).await.expires_at_unix_ms, EPOCH + 61_000);
    accept(&engine, "agent://a", proposal(id, "p")).await;
    accept(&engine, "agent://a", commitment(id)).await;
    assert_eq!(event(&mut watch).await, (EventType::Resolved, id.clone()));
}

#[tokio::test]
async fn hints_come_at_once() {
    let Fixture { engine, .. } = fixture().await;
    let mut modes = engine.watch_mode_registry(&Identity::Anonymous).await.unwrap();
    assert_eq!(modes.next().await.unwrap().change.unwrap().registry, "modes");
    assert!(modes.next().now_or_never().is_none());
    let mut roots = engine.watch_roots(&Identity::Anonymous).await.unwrap();
    assert!(roots.next().await.unwrap().change.is_some());
    assert!(roots.next().now_or_never().is_none());
    let mut policies = engine.watch_policies(&identity("agent://a")).await.unwrap();
    assert!(policies.next().await.unwrap().descriptors.iter().any(|p| p.policy_id == "policy.default"));
    assert!(engine.watch_policies(&Identity::Anonymous).await.is_err());
}

#[tokio::test]
async fn listing_pages_without_gaps() {
    let Fixture { engine, .. } = fixture().await;
    let ids: Vec<String> = (0..25).map(|n| format!("session-{n:04}-0123456789ab")).collect();
    for id in &ids {
        accept(&engine, "agent://a", start(id)).await;
    }
    let mut listed = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListSessionsRequest { page_size: 10, page_token };
        let page = engine.list_sessions(&identity("agent://a"), request).await.unwrap();
        listed.extend(page.sessions.into_iter().map(|session| session.session_id));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(listed, ids);
    for (size, token) in [(-1, ""), (0, "?")] {
        let request = ListSessionsRequest { page_size: size, page_token: token.into() };
        let refusal = engine.list_sessions(&identity("agent://a"), request).await.unwrap_err();
        assert_eq!(refusal.code.name(), "INVALID_REQUEST");
    }
}

#[tokio::test]
async fn an_identity_is_shown_only_its_own_sessions() {
    let Fixture { engine, .. } = fixture().await;
    let (own, others) = ("session-own-0123456789ab", "session-theirs-012345678");
    accept(&engine, "agent://a", start(own)).await;
    let mut stranger = start(others);
    let payload = SessionStartPayload {
        participants: vec!["agent://x".into()],
        mode_version: "1.0.0".into(),
        configuration_version: "1".into(),
        ttl_ms: 60_000,
        ..SessionStartPayload::default()
    };
    stranger.payload = prost::Message::encode_to_vec(&payload).into();
    accept(&engine, "agent://y", stranger).await;
    let observer = caller("agent://w", |c| c.capabilities.is_observer = true);
    for (who, shown) in [
        (identity("agent://a"), &[own][..]),
        (identity("agent://b"), &[own]),
        (identity("agent://x"), &[others]),
        (identity("agent://y"), &[others]),
        (identity("agent://z"), &[]),
        (observer, &[own, others]),
    ] {
        let listed = engine.list_sessions(&who, ListSessionsRequest::default()).await.unwrap();
        let ids: Vec<_> = listed.sessions.iter().map(|session| session.session_id.as_str()).collect();
        assert_eq!(ids, shown, "{who:?}");
        let mut watch = engine.watch_sessions(&who).await.unwrap();
        for expected in shown {
            assert_eq!(event(&mut watch).await, (EventType::Created, (*expected).to_owned()));
        }
        assert!(watch.next().now_or_never().is_none(), "{who:?}");
    }
    let open = fixture_with(|options| options.visibility = macp_engine::Visibility::All).await.engine;
    accept(&open, "agent://a", start(own)).await;
    let listed = open.list_sessions(&identity("agent://z"), ListSessionsRequest::default()).await.unwrap();
    assert_eq!(listed.sessions.len(), 1);
}
