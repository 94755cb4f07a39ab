//! The five watches.

use macp_kernel::{Caller, Identity};
use macp_wire::v1::session_lifecycle_event::EventType;
use macp_wire::v1::*;
use tonic::Code;

use crate::support::{
    ALICE, SESSION, Server, accepted, assert_status, commitment, envelope, session, soon, start,
};

fn signal(id: &str) -> Envelope {
    let payload = SignalPayload { signal_type: "ping".into(), ..Default::default() };
    Envelope { session_id: String::new(), mode: String::new(), ..envelope("", "Signal", id, &payload) }
}

#[tokio::test]
async fn registries_and_roots_hint_at_once() {
    let server = Server::start().await;
    let mut open = server.anonymous().await;
    let mut modes = open.watch_mode_registry(WatchModeRegistryRequest {}).await.unwrap().into_inner();
    let hint = soon(modes.message()).await.unwrap().unwrap().change.unwrap();
    assert_eq!(hint.registry, "modes");
    let mut roots = open.watch_roots(WatchRootsRequest {}).await.unwrap().into_inner();
    assert!(soon(roots.message()).await.unwrap().unwrap().change.is_some());
    let mut alice = server.client(ALICE).await;
    let mut policies = alice.watch_policies(WatchPoliciesRequest {}).await.unwrap().into_inner();
    let all = soon(policies.message()).await.unwrap().unwrap();
    assert!(all.descriptors.iter().any(|policy| policy.policy_id == "policy.default"));
}

#[tokio::test]
async fn signals_say_whether_the_sender_is_verified() {
    for (server, verified) in [
        (Server::with_tokens(r#"[{"token": "a", "sender": "agent://alice"}]"#).await, true),
        (Server::start().await, false),
    ] {
        let bearer = if verified { "a" } else { ALICE };
        let mut alice = server.client(bearer).await;
        let mut first = soon(alice.watch_signals(WatchSignalsRequest {})).await.unwrap().into_inner();
        let mut second = soon(alice.watch_signals(WatchSignalsRequest {})).await.unwrap().into_inner();
        let ack = accepted(&mut alice, signal("s1")).await;
        assert_eq!((ack.session_id.as_str(), ack.message_id.as_str()), ("", "s1"));
        for watch in [&mut first, &mut second] {
            let response = soon(watch.message()).await.unwrap().unwrap();
            assert_eq!(response.sender_authenticated, verified);
            let envelope = response.envelope.unwrap();
            assert_eq!((envelope.sender.as_str(), envelope.message_id.as_str()), (ALICE, "s1"));
        }
    }
}

#[tokio::test]
async fn sessions_come_as_a_snapshot_and_then_live() {
    let server = Server::start().await;
    let mut alice = server.client(ALICE).await;
    accepted(&mut alice, start(SESSION)).await;
    let mut watch = soon(alice.watch_sessions(WatchSessionsRequest {})).await.unwrap().into_inner();
    let mut next = async || {
        let event = soon(watch.message()).await.unwrap().unwrap().event.unwrap();
        (event.event_type(), event.session.unwrap().session_id)
    };
    assert_eq!(next().await, (EventType::Created, SESSION.to_owned()));
    let other = session(2);
    accepted(&mut alice, start(&other)).await;
    assert_eq!(next().await, (EventType::Created, other.clone()));
    alice
        .suspend_session(SuspendSessionRequest { session_id: other.clone(), ..Default::default() })
        .await
        .unwrap();
    assert_eq!(next().await, (EventType::Suspended, other.clone()));
    alice
        .resume_session(ResumeSessionRequest { session_id: other.clone(), ..Default::default() })
        .await
        .unwrap();
    assert_eq!(next().await, (EventType::Resumed, other.clone()));
    alice
        .cancel_session(CancelSessionRequest { session_id: other.clone(), ..Default::default() })
        .await
        .unwrap();
    assert_eq!(next().await, (EventType::Cancelled, other));
    accepted(&mut alice, crate::support::proposal(SESSION, "p1")).await;
    accepted(&mut alice, commitment(SESSION, "c1")).await;
    assert_eq!(next().await, (EventType::Resolved, SESSION.to_owned()));
}

#[tokio::test]
async fn a_watcher_that_does_not_read_is_told_that_it_lagged() {
    let server = Server::start().await;
    let mut alice = server.client(ALICE).await;
    let mut watch = soon(alice.watch_signals(WatchSignalsRequest {})).await.unwrap().into_inner();
    // Far more than all windows and buffers between the two hold; the client reads none of it.
    let sender = Identity::Known(Caller::new(ALICE));
    let payload = SignalPayload {
        signal_type: "flood".into(),
        data: vec![0; 64 << 10].into(),
        ..SignalPayload::default()
    };
    for number in 0..4000 {
        let flood = Envelope {
            session_id: String::new(),
            mode: String::new(),
            ..envelope("", "Signal", &number.to_string(), &payload)
        };
        server.engine.submit(&sender, flood).await.unwrap();
    }
    let status = loop {
        match soon(watch.message()).await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("ended without a status"),
            Err(status) => break status,
        }
    };
    assert_status(&status, Code::ResourceExhausted, "STREAM_LAGGED");
}
