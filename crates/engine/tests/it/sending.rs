//! Acks, duplicates, admission and the order of acceptance.

use macp_kernel::Identity;
use macp_wire::v1::*;

use crate::support::*;

#[tokio::test]
async fn a_decision_is_acked_step_by_step() {
    let Fixture { engine, clock, .. } = fixture().await;
    let ack = accept(&engine, "agent://a", start(SESSION)).await;
    assert_eq!(
        ack,
        Ack {
            ok: true,
            duplicate: false,
            message_id: "start".into(),
            session_id: SESSION.into(),
            accepted_at_unix_ms: EPOCH,
            session_state: SessionState::Open.into(),
            error: None,
        }
    );
    clock.advance(10);
    accept(&engine, "agent://a", proposal(SESSION, "p")).await;
    accept(&engine, "agent://b", vote(SESSION, "v", "p")).await;
    let ack = accept(&engine, "agent://a", commitment(SESSION)).await;
    assert_eq!(ack.session_state(), SessionState::Resolved);

    let metadata = metadata(&engine, SESSION).await;
    assert_eq!(metadata.state(), SessionState::Resolved);
    assert_eq!((metadata.started_at_unix_ms, metadata.expires_at_unix_ms), (EPOCH, EPOCH + 60_000));
    assert_eq!(
        (metadata.policy_version.as_str(), metadata.initiator.as_str()),
        ("policy.default", "agent://a")
    );
    let counts: Vec<_> =
        metadata.participant_activity.iter().map(|a| (a.participant_id.as_str(), a.message_count)).collect();
    assert_eq!(counts, [("agent://a", 3), ("agent://b", 1)]);

    assert_eq!(refuse(&engine, "agent://b", vote(SESSION, "late", "p")).await, "SESSION_NOT_OPEN");
}

#[tokio::test]
async fn a_duplicate_answers_with_the_first_acceptance_in_every_state() {
    let Fixture { engine, clock, .. } = fixture().await;
    accept(&engine, "agent://a", start(SESSION)).await;
    accept(&engine, "agent://a", proposal(SESSION, "p")).await;
    for (advance, state) in [(5, SessionState::Open), (120_000, SessionState::Expired)] {
        clock.advance(advance);
        // The state is looked at first, so that the expiry is on record.
        assert_eq!(metadata(&engine, SESSION).await.state(), state);
        for repeated in [start(SESSION), proposal(SESSION, "p")] {
            // Any sender, any payload: the id alone counts.
            let ack = engine.send_envelope(&identity("agent://a"), repeated).await;
            assert!(ack.ok && ack.duplicate, "{ack:?}");
            assert_eq!((ack.accepted_at_unix_ms, ack.session_state()), (EPOCH, state));
        }
    }
    assert_eq!(
        refuse(&engine, "agent://a", start_with(SESSION, "other", 1000)).await,
        "SESSION_ALREADY_EXISTS"
    );
}

#[tokio::test]
async fn refusals_carry_their_code_and_change_nothing() {
    let Fixture { engine, .. } = fixture().await;
    accept(&engine, "agent://a", start(SESSION)).await;
    let before = metadata(&engine, SESSION).await;
    let change = |change: fn(&mut Envelope)| {
        let mut envelope = proposal(SESSION, "p");
        change(&mut envelope);
        envelope
    };
    for (code, envelope) in [
        ("UNSUPPORTED_PROTOCOL_VERSION", change(|e| e.macp_version = "2.0".into())),
        ("INVALID_ENVELOPE", change(|e| e.message_id.clear())),
        ("INVALID_ENVELOPE", change(|e| e.mode = "macp.mode.task.v1".into())),
        ("UNAUTHENTICATED", change(|e| e.sender = "agent://b".into())),
        ("SESSION_NOT_FOUND", change(|e| e.session_id = "no-such-session-0123456789".into())),
        ("PAYLOAD_TOO_LARGE", change(|e| e.payload = vec![0; 1_048_577].into())),
        ("INVALID_SESSION_ID", start("short")),
        ("MODE_NOT_SUPPORTED", {
            let mut envelope = start("another-0123456789abcdef");
            envelope.mode = "macp.mode.unheard-of.v1".into();
            envelope
        }),
        ("FORBIDDEN", change(|e| e.message_type = "SessionFoo".into())),
    ] {
        assert_eq!(refuse(&engine, "agent://a", envelope.clone()).await, code, "{envelope:?}");
    }
    assert_eq!(refuse(&engine, "agent://x", proposal(SESSION, "p")).await, "FORBIDDEN");
    let anonymous = engine.send_envelope(&Identity::Anonymous, proposal(SESSION, "p")).await;
    assert_eq!(anonymous.error.unwrap().code, "UNAUTHENTICATED");
    assert_eq!(metadata(&engine, SESSION).await, before);
    // A refused id is free.
    accept(&engine, "agent://a", proposal(SESSION, "p")).await;
}

#[tokio::test]
async fn capabilities_gate_what_they_should() {
    let Fixture { engine, .. } = fixture().await;
    let no_starts = caller("agent://a", |c| c.capabilities.can_start_sessions = false);
    let ack = engine.send_envelope(&no_starts, start(SESSION)).await;
    assert_eq!(ack.error.unwrap().code, "FORBIDDEN");
    let other_modes =
        caller("agent://a", |c| c.capabilities.allowed_modes = Some(["macp.mode.task.v1".to_owned()].into()));
    let ack = engine.send_envelope(&other_modes, start(SESSION)).await;
    assert_eq!(ack.error.unwrap().code, "FORBIDDEN");

    let capped = caller("agent://a", |c| c.capabilities.max_open_sessions = Some(1));
    let second = "second-0123456789abcdef0";
    assert!(engine.send_envelope(&capped, start(SESSION)).await.ok);
    let ack = engine.send_envelope(&capped, start(second)).await;
    assert_eq!(ack.error.unwrap().code, "RATE_LIMITED");
    assert!(engine.send_envelope(&capped, start(SESSION)).await.duplicate, "a retry is no second session");
    let cancel = CancelSessionRequest { session_id: SESSION.into(), reason: String::new() };
    engine.cancel_session(&capped, cancel).await.unwrap();
    assert!(engine.send_envelope(&capped, start(second)).await.ok, "the place is free again");
}

#[tokio::test]
async fn rate_limits_are_per_sender_and_per_kind() {
    let Fixture { engine, clock, .. } = fixture_with(|options| {
        options.limits.session_starts_per_minute = 1;
        options.limits.messages_per_minute = 2;
    })
    .await;
    accept(&engine, "agent://a", start(SESSION)).await;
    assert_eq!(refuse(&engine, "agent://a", start("second-0123456789abcdef0")).await, "RATE_LIMITED");
    accept(&engine, "agent://a", proposal(SESSION, "p1")).await;
    // What the kernel refuses has used its place; what is forbidden before the window has not.
    assert_eq!(
        refuse(&engine, "agent://a", proposal(SESSION, "p1x").clone_with_id("p1")).await,
        "INVALID_ENVELOPE"
    );
    assert_eq!(refuse(&engine, "agent://a", proposal(SESSION, "p2")).await, "RATE_LIMITED");
    accept(&engine, "agent://b", proposal(SESSION, "p3")).await;
    clock.advance(59_999);
    assert_eq!(refuse(&engine, "agent://a", proposal(SESSION, "p2")).await, "RATE_LIMITED");
}

trait CloneWithId {
    fn clone_with_id(self, proposal_id: &str) -> Envelope;
}

impl CloneWithId for Envelope {
    /// The same message about another proposal.
    fn clone_with_id(self, proposal_id: &str) -> Envelope {
        Envelope { payload: proposal(SESSION, proposal_id).payload, ..self }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_senders_are_acked_once_each_and_ordered() {
    let Fixture { engine, .. } = fixture().await;
    accept(&engine, "agent://a", start(SESSION)).await;
    let senders: Vec<_> = (0..200)
        .map(|n| {
            let engine = engine.clone();
            let sender = if n % 2 == 0 { "agent://a" } else { "agent://b" };
            tokio::spawn(async move { accept(&engine, sender, proposal(SESSION, &n.to_string())).await })
        })
        .collect();
    for sender in senders {
        sender.await.unwrap();
    }
    let mut subscription = engine.subscribe(&identity("agent://a"), SESSION, 0).await.unwrap();
    let mut ids = std::collections::BTreeSet::new();
    for expected in 1..=201 {
        let (sequence, id) = next_envelope(&mut subscription).await;
        assert_eq!(sequence, expected);
        assert!(ids.insert(id));
    }
}

#[tokio::test]
async fn a_caller_that_goes_away_interrupts_nothing() {
    let Fixture { engine, .. } = fixture().await;
    accept(&engine, "agent://a", start(SESSION)).await;
    // Polled once and dropped: with a store that answers at once the message is in by then.
    let a = identity("agent://a");
    let send = engine.send_envelope(&a, proposal(SESSION, "p"));
    drop(futures_util::poll!(Box::pin(send)));
    let ack = engine.send_envelope(&identity("agent://a"), proposal(SESSION, "p")).await;
    assert!(ack.ok && ack.duplicate);
}

#[tokio::test]
async fn draining_refuses_new_work_and_still_reads() {
    let Fixture { engine, .. } = fixture().await;
    accept(&engine, "agent://a", start(SESSION)).await;
    engine.drain();
    assert_eq!(refuse(&engine, "agent://a", proposal(SESSION, "p")).await, "UNAVAILABLE");
    assert_eq!(metadata(&engine, SESSION).await.state(), SessionState::Open);
}
