//! What-if replay through the engine: who may ask, in which order it refuses, and that it leaves no trace.

use bytes::Bytes;
use macp_engine::Engine;
use macp_kernel::{Identity, Refusal};
use macp_store::LogStore as _;
use macp_wire::v1::what_if_entry_outcome::Kind;
use macp_wire::v1::*;

use crate::receipts::resolve;
use crate::support::*;

fn candidate(mode: &str, rules: &str) -> Option<PolicyDescriptor> {
    Some(PolicyDescriptor {
        policy_id: "policy.default".into(),
        mode: mode.into(),
        rules: rules.into(),
        schema_version: 3,
        ..PolicyDescriptor::default()
    })
}

async fn what_if(
    engine: &Engine,
    identity: &Identity,
    session: &str,
    candidate: Option<PolicyDescriptor>,
) -> Result<WhatIfReplayResponse, Refusal> {
    engine.what_if_replay(identity, WhatIfReplayRequest { session_id: session.into(), candidate }).await
}

#[tokio::test]
async fn a_tightened_policy_on_a_resolved_session() {
    let Fixture { engine, store, .. } = fixture().await;
    resolve(&engine, SESSION).await;
    let stream = Bytes::from_static(SESSION.as_bytes());
    let before = (metadata(&engine, SESSION).await, store.read(&stream, None, 99).await.unwrap());
    let a = identity("agent://a");
    let report = what_if(&engine, &a, SESSION, candidate("*", r#"{"voting":{"algorithm":"majority"}}"#))
        .await
        .unwrap();
    assert_eq!(
        (report.candidate_policy_id.as_str(), report.recorded_policy_id.as_str()),
        ("policy.default", "policy.default")
    );
    assert_eq!(report.first_divergence, Some(2));
    assert_eq!(report.denials.len(), 1);
    assert_eq!(report.entries.len(), 3);
    assert_eq!(report.entries[2].candidate.as_ref().unwrap().kind(), Kind::Refused);
    assert_eq!(report.recorded.unwrap().state(), SessionState::Resolved);
    assert_eq!(report.candidate.unwrap().state(), SessionState::Open);
    assert!(before == (metadata(&engine, SESSION).await, store.read(&stream, None, 99).await.unwrap()));
}

#[tokio::test]
async fn an_open_session_of_many_pages() {
    let Fixture { engine, .. } = fixture().await;
    accept(&engine, "agent://a", start(SESSION)).await;
    for n in 0..600 {
        accept(&engine, "agent://a", proposal(SESSION, &n.to_string())).await;
    }
    let observer = caller("agent://observer", |c| c.capabilities.is_observer = true);
    let report = what_if(&engine, &observer, SESSION, candidate("*", "")).await.unwrap();
    assert_eq!(report.entries.len(), 601);
    assert_eq!(report.entries[600].history_index, 600);
    assert_eq!(report.first_divergence, None);
    assert_eq!(report.recorded, report.candidate);
}

#[tokio::test]
async fn refusals_in_order() {
    let Fixture { engine, .. } = fixture_with(|options| options.limits.messages_per_minute = 4).await;
    accept(&engine, "agent://a", start(SESSION)).await;
    let a = identity("agent://a");
    let code = async |identity: &Identity, session: &str, candidate| {
        what_if(&engine, identity, session, candidate).await.unwrap_err().code.name()
    };
    for _ in 0..5 {
        assert_eq!(code(&Identity::Anonymous, "no-such-session", None).await, "UNAUTHENTICATED");
        assert_eq!(code(&a, "no-such-session", None).await, "SESSION_NOT_FOUND");
        assert_eq!(code(&identity("agent://else"), SESSION, None).await, "FORBIDDEN");
    }
    assert_eq!(code(&a, SESSION, None).await, "INVALID_REQUEST");
    for bad in [candidate("macp.mode.task.v1", "{}"), candidate("*", "none"), candidate("*", r#"{"x":1}"#)] {
        assert_eq!(code(&a, SESSION, bad).await, "INVALID_POLICY_DEFINITION");
    }
    assert_eq!(code(&a, SESSION, None).await, "RATE_LIMITED");
}
