//! Registries: in-band refusals, hints, restarts, and policies that bind and deny.

use std::sync::Arc;

use macp_kernel::Identity;
use macp_store::LogStore;
use macp_wire::v1::*;

use crate::support::*;

fn registrar() -> Identity {
    caller("agent://admin", |c| c.capabilities.can_manage_mode_registry = true)
}

fn policy(id: &str, rules: &str) -> RegisterPolicyRequest {
    let policy_descriptor = PolicyDescriptor {
        policy_id: id.into(),
        mode: DECISION.into(),
        description: "d".into(),
        rules: rules.into(),
        schema_version: 1,
        registered_at_unix_ms: 0,
    };
    RegisterPolicyRequest { policy_descriptor: Some(policy_descriptor) }
}

const UNANIMOUS: &str = r#"{"voting":{"algorithm":"unanimous"}}"#;

#[tokio::test]
async fn policies_register_bind_deny_and_survive_a_restart() {
    let Fixture { engine, clock, store } = fixture().await;
    let mut watch = engine.watch_policies(&identity("agent://a")).await.unwrap();
    let provided = watch.next().await.unwrap().descriptors.len();
    let registered = engine.register_policy(&registrar(), policy("policy.x", UNANIMOUS)).await.unwrap();
    assert!(registered.ok, "{registered:?}");
    assert_eq!(watch.next().await.unwrap().descriptors.len(), provided + 1);
    let again = engine.register_policy(&registrar(), policy("policy.x", UNANIMOUS)).await.unwrap();
    assert!(!again.ok && !again.error.starts_with("INVALID_POLICY_DEFINITION"), "{again:?}");
    let bad =
        engine.register_policy(&registrar(), policy("policy.y", r#"{"voting":{"x":1}}"#)).await.unwrap();
    assert!(!bad.ok && bad.error.starts_with("INVALID_POLICY_DEFINITION"), "{bad:?}");
    drop(engine);

    let engine = reopen(Arc::clone(&store) as Arc<dyn LogStore>, &clock, |_| {}).await;
    let mut start = start(SESSION);
    let mut payload: SessionStartPayload = prost::Message::decode(start.payload.clone()).unwrap();
    payload.policy_version = "policy.x".into();
    start.payload = prost::Message::encode_to_vec(&payload).into();
    accept(&engine, "agent://a", start).await;
    accept(&engine, "agent://a", proposal(SESSION, "p")).await;
    accept(&engine, "agent://b", vote(SESSION, "v", "p")).await;
    let removed = UnregisterPolicyRequest { policy_id: "policy.x".into() };
    assert!(engine.unregister_policy(&registrar(), removed.clone()).await.unwrap().ok);
    assert!(!engine.unregister_policy(&registrar(), removed).await.unwrap().ok);
    // The session keeps its own copy: one of two has not voted.
    let ack = engine.send_envelope(&identity("agent://a"), commitment(SESSION)).await;
    let error = ack.error.unwrap();
    assert_eq!(error.code, "POLICY_DENIED");
    let details: serde_json::Value = serde_json::from_slice(&error.details).unwrap();
    assert!(details["denials"][0]["code"].is_string(), "{details}");
}

#[tokio::test]
async fn registration_needs_the_right_and_a_writable_registry() {
    let Fixture { engine, .. } = fixture().await;
    let code = async |engine: &macp_engine::Engine, who: Identity, request| {
        engine.register_policy(&who, request).await.unwrap_err().code.name()
    };
    let request = || policy("policy.x", "{}");
    assert_eq!(code(&engine, Identity::Anonymous, request()).await, "UNAUTHENTICATED");
    assert_eq!(code(&engine, identity("agent://a"), request()).await, "FORBIDDEN");
    let missing = RegisterPolicyRequest { policy_descriptor: None };
    assert_eq!(code(&engine, registrar(), missing).await, "INVALID_REQUEST");
    let engine = fixture_with(|options| options.policies_read_only = true).await.engine;
    assert_eq!(code(&engine, registrar(), request()).await, "REGISTRY_READ_ONLY");
}

#[tokio::test]
async fn extension_modes_register_run_promote_and_survive_a_restart() {
    let Fixture { engine, clock, store } = fixture().await;
    let descriptor = ModeDescriptor {
        mode: "ext.poll.v1".into(),
        mode_version: "1.2.0".into(),
        message_types: ["SessionStart", "Answer", "Commitment"].map(str::to_owned).to_vec(),
        terminal_message_types: vec!["Commitment".into()],
        ..ModeDescriptor::default()
    };
    let mut watch = engine.watch_mode_registry(&Identity::Anonymous).await.unwrap();
    watch.next().await.unwrap();
    let request = RegisterExtModeRequest { mode_descriptor: Some(descriptor) };
    let registered = engine.register_ext_mode(&registrar(), request.clone()).await.unwrap();
    assert!(registered.ok, "{registered:?}");
    watch.next().await.unwrap();
    assert!(!engine.register_ext_mode(&registrar(), request).await.unwrap().ok);

    let in_mode = |envelope: Envelope| Envelope { mode: "ext.poll.v1".into(), ..envelope };
    let mut start = in_mode(start(SESSION));
    let payload = SessionStartPayload { ttl_ms: 60_000, ..SessionStartPayload::default() };
    start.payload = prost::Message::encode_to_vec(&payload).into();
    accept(&engine, "agent://a", start).await;
    drop(engine);

    let engine = reopen(Arc::clone(&store) as Arc<dyn LogStore>, &clock, |_| {}).await;
    let mut answer = in_mode(proposal(SESSION, "p"));
    answer.message_type = "Answer".into();
    accept(&engine, "agent://anyone", answer).await;
    assert_eq!(metadata(&engine, SESSION).await.mode_version, "1.2.0");
    let promotion = PromoteModeRequest { mode: "ext.poll.v1".into(), promoted_mode_name: String::new() };
    let promoted = engine.promote_mode(&registrar(), promotion.clone()).await.unwrap();
    assert!(promoted.ok && promoted.mode == "ext.poll.v1", "{promoted:?}");
    assert!(!engine.promote_mode(&registrar(), promotion).await.unwrap().ok);
    let listed = engine.list_modes(&Identity::Anonymous, ListModesRequest {}).await.unwrap();
    assert!(listed.modes.iter().any(|mode| mode.mode == "ext.poll.v1"));
    let unregister = UnregisterExtModeRequest { mode: "ext.poll.v1".into() };
    assert!(!engine.unregister_ext_mode(&registrar(), unregister).await.unwrap().ok, "promoted modes stay");
}
