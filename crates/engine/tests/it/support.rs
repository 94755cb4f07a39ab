//! Callers, envelopes and engines for the tests of this binary.

use std::sync::Arc;

use bytes::Bytes;
use macp_engine::testing::{ManualClock, generous_limits};
use macp_engine::{Engine, Event, Options, Subscription};
use macp_kernel::{Caller, Identity};
use macp_store::{LogStore, MemoryStore};
use macp_wire::modes::decision::v1::{ProposalPayload, VotePayload};
use macp_wire::v1::*;
use prost::Message;

pub(crate) const SESSION: &str = "session-0123456789abcdef";
pub(crate) const DECISION: &str = "macp.mode.decision.v1";
pub(crate) const EPOCH: i64 = 1_800_000_000_000;

pub(crate) fn identity(sender: &str) -> Identity {
    Identity::Known(Caller::new(sender))
}

pub(crate) fn caller(sender: &str, change: impl FnOnce(&mut Caller)) -> Identity {
    let mut caller = Caller::new(sender);
    change(&mut caller);
    Identity::Known(caller)
}

pub(crate) fn envelope(
    session: &str,
    message_type: &str,
    message_id: &str,
    payload: &impl Message,
) -> Envelope {
    Envelope {
        macp_version: "1.0".into(),
        mode: DECISION.into(),
        message_type: message_type.into(),
        message_id: message_id.into(),
        session_id: session.into(),
        payload: Bytes::from(payload.encode_to_vec()),
        ..Envelope::default()
    }
}

pub(crate) fn start_with(session: &str, message_id: &str, ttl_ms: i64) -> Envelope {
    let payload = SessionStartPayload {
        participants: vec!["agent://a".into(), "agent://b".into()],
        mode_version: "1.0.0".into(),
        configuration_version: "1".into(),
        ttl_ms,
        ..SessionStartPayload::default()
    };
    envelope(session, "SessionStart", message_id, &payload)
}

pub(crate) fn start(session: &str) -> Envelope {
    start_with(session, "start", 60_000)
}

pub(crate) fn proposal(session: &str, id: &str) -> Envelope {
    let payload =
        ProposalPayload { proposal_id: id.into(), option: "x".into(), ..ProposalPayload::default() };
    envelope(session, "Proposal", &format!("proposal-{id}"), &payload)
}

pub(crate) fn vote(session: &str, message_id: &str, proposal: &str) -> Envelope {
    let payload =
        VotePayload { proposal_id: proposal.into(), vote: "APPROVE".into(), ..VotePayload::default() };
    envelope(session, "Vote", message_id, &payload)
}

pub(crate) fn commitment(session: &str) -> Envelope {
    let payload = CommitmentPayload {
        commitment_id: "c".into(),
        action: "decision.selected".into(),
        authority_scope: "all".into(),
        reason: "voted".into(),
        mode_version: "1.0.0".into(),
        configuration_version: "1".into(),
        outcome_positive: true,
        ..CommitmentPayload::default()
    };
    envelope(session, "Commitment", "commitment", &payload)
}

pub(crate) struct Fixture {
    pub(crate) engine: Engine,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) store: Arc<MemoryStore>,
}

pub(crate) async fn fixture() -> Fixture {
    fixture_with(|_| {}).await
}

pub(crate) async fn fixture_with(change: impl FnOnce(&mut Options)) -> Fixture {
    let store = Arc::new(MemoryStore::new());
    let clock = Arc::new(ManualClock::at(EPOCH));
    let engine = reopen(Arc::clone(&store) as Arc<dyn LogStore>, &clock, change).await;
    Fixture { engine, clock, store }
}

pub(crate) async fn reopen(
    store: Arc<dyn LogStore>,
    clock: &Arc<ManualClock>,
    change: impl FnOnce(&mut Options),
) -> Engine {
    let mut options = Options { limits: generous_limits(), ..Options::default() };
    change(&mut options);
    let clock: Arc<dyn macp_engine::Clock> = Arc::clone(clock) as _;
    Engine::open(store, clock, options).await.unwrap()
}

/// Sends as `sender` and demands a fresh acceptance.
pub(crate) async fn accept(engine: &Engine, sender: &str, envelope: Envelope) -> Ack {
    let ack = engine.send_envelope(&identity(sender), envelope).await;
    assert!(ack.ok && !ack.duplicate, "{ack:?}");
    ack
}

pub(crate) async fn refuse(engine: &Engine, sender: &str, envelope: Envelope) -> String {
    let ack = engine.send_envelope(&identity(sender), envelope).await;
    assert!(!ack.ok, "{ack:?}");
    ack.error.unwrap().code
}

pub(crate) async fn next_envelope(subscription: &mut Subscription) -> (u64, String) {
    match subscription.next().await.unwrap() {
        Event::Envelope(delivery) => (delivery.sequence(), delivery.envelope().message_id.clone()),
        ended @ Event::Ended { .. } => panic!("{ended:?}"),
    }
}

pub(crate) async fn metadata(engine: &Engine, session: &str) -> SessionMetadata {
    let request = GetSessionRequest { session_id: session.into() };
    engine.get_session(&identity("agent://a"), request).await.unwrap().metadata.unwrap()
}
