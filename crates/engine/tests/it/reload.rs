//! What the operator replaces while the server runs: whoever reads or watches it, and what a bad list does.

use futures_util::FutureExt;
use macp_engine::{Agents, Roots};
use macp_kernel::policy::Policy;
use macp_kernel::{Caller, CredentialId, Identity, UnixMillis};
use macp_wire::v1::*;

use crate::support::{Fixture, fixture, fixture_with, identity};

const ANYONE: Identity = Identity::Anonymous;

fn roots(uris: &[&str]) -> Roots {
    let root = |uri: &&str| Root { uri: (*uri).to_owned(), name: String::new() };
    Roots::new(uris.iter().map(root).collect()).unwrap()
}

fn policy(id: &str, rules: &str) -> Policy {
    let descriptor = PolicyDescriptor {
        policy_id: id.to_owned(),
        mode: "*".to_owned(),
        rules: rules.to_owned(),
        schema_version: 1,
        ..PolicyDescriptor::default()
    };
    Policy::admit(descriptor, UnixMillis(0)).unwrap()
}

const PLAIN: &str = "{}";
const OTHER: &str = r#"{"commitment":{"authority":"any_participant"}}"#;

#[tokio::test]
async fn roots_are_listed_and_watched() {
    let Fixture { engine, .. } = fixture_with(|options| options.roots = roots(&["file:///a"])).await;
    let mut watch = engine.watch_roots(&ANYONE).await.unwrap();
    watch.next().await.unwrap();
    let listed = async || {
        let answer = engine.list_roots(&ANYONE, ListRootsRequest {}).await.unwrap();
        answer.roots.into_iter().map(|root| root.uri).collect::<Vec<_>>()
    };
    assert_eq!(listed().await, ["file:///a"]);
    assert!(!engine.replace_roots(roots(&["file:///a"])));
    assert!(watch.next().now_or_never().is_none(), "nothing differs");
    assert!(engine.replace_roots(roots(&["file:///b", "file:///a"])));
    assert!(watch.next().now_or_never().is_some());
    assert_eq!(listed().await, ["file:///b", "file:///a"]);
    assert!(watch.next().now_or_never().is_none());
}

#[tokio::test]
async fn manifests_of_agents_come_and_go() {
    let Fixture { engine, .. } = fixture().await;
    let get = async |agent_id: &str| {
        let answer = engine.get_manifest(&ANYONE, GetManifestRequest { agent_id: agent_id.into() }).await;
        answer.map(|answer| answer.manifest.unwrap().description).map_err(|refusal| refusal.code.name())
    };
    let own = get("").await.unwrap();
    let mut agents = Agents::default();
    for agent_id in ["agent://a", "macp-gateway"] {
        let some = vec!["application/json".to_owned()];
        agents
            .with(AgentManifest {
                agent_id: agent_id.into(),
                description: "plans".into(),
                supported_modes: vec!["macp.mode.decision.v1".into()],
                input_content_types: some.clone(),
                output_content_types: some,
                ..AgentManifest::default()
            })
            .unwrap();
    }
    assert_eq!(get("agent://a").await, Err("AGENT_NOT_FOUND"));
    assert!(engine.replace_agents(agents.clone()) && !engine.replace_agents(agents));
    assert_eq!(get("agent://a").await.as_deref(), Ok("plans"));
    assert_eq!(get("macp-gateway").await, Ok(own), "nobody stands in for the server itself");
    assert!(engine.replace_agents(Agents::default()));
    assert_eq!(get("agent://a").await, Err("AGENT_NOT_FOUND"));
}

#[tokio::test]
async fn policies_are_replaced_all_or_none() {
    let Fixture { engine, .. } =
        fixture_with(|options| options.policies = vec![policy("p.one", PLAIN), policy("p.two", PLAIN)]).await;
    let caller = identity("agent://a");
    let mut watch = engine.watch_policies(&caller).await.unwrap();
    watch.next().await.unwrap();
    let listed = async || {
        let answer = engine.list_policies(&caller, ListPoliciesRequest::default()).await.unwrap();
        let ids = answer.descriptors.into_iter().map(|descriptor| descriptor.policy_id);
        ids.filter(|id| id.starts_with("p.")).collect::<Vec<_>>()
    };
    assert_eq!(listed().await, ["p.one", "p.two"]);
    assert_eq!(engine.replace_policies(&[policy("p.two", PLAIN), policy("p.one", PLAIN)]).await, Ok((0, 0)));
    assert!(watch.next().now_or_never().is_none(), "nothing differs");

    let error =
        engine.replace_policies(&[policy("p.three", PLAIN), policy("p.two", OTHER)]).await.unwrap_err();
    assert!(
        error.to_string().contains("\"p.two\" is already registered; changed rules need a new policy_id")
    );
    assert_eq!(listed().await, ["p.one", "p.two"], "the good one is not there without the bad one");
    assert!(watch.next().now_or_never().is_none());

    assert_eq!(
        engine.replace_policies(&[policy("p.three", PLAIN), policy("p.two", PLAIN)]).await,
        Ok((1, 1))
    );
    let seen = watch.next().now_or_never().unwrap().unwrap().descriptors;
    assert!(seen.iter().any(|one| one.policy_id == "p.three"));
    assert_eq!(listed().await, ["p.three", "p.two"]);
    // Gone, and so free for other rules.
    assert_eq!(engine.replace_policies(&[policy("p.one", OTHER)]).await, Ok((1, 2)));
    assert_eq!(listed().await, ["p.one"]);
}

#[tokio::test]
async fn a_credential_that_is_taken_away_ends_what_it_opened() {
    let Fixture { engine, .. } = fixture().await;
    let with = |credential| Identity::Known(Caller { credential, ..Caller::new("agent://a") });
    let [a, b] = [1, 2].map(|number| with(Some(CredentialId(number))));
    let (mut first, mut second, mut other) =
        (engine.expiry(&a), engine.expiry(&b), engine.expiry(&with(None)));
    assert!(first.reached().now_or_never().is_none(), "all are good until somebody says which");
    engine.credentials_stand([1, 2, 3].map(CredentialId));
    assert!(first.reached().now_or_never().is_none() && second.reached().now_or_never().is_none());
    engine.credentials_stand([1, 3].map(CredentialId));
    assert!(first.reached().now_or_never().is_none() && other.reached().now_or_never().is_none());
    let refusal = second.reached().now_or_never().expect("it is told at once");
    assert_eq!(refusal.code.name(), "UNAUTHENTICATED");
    // With a time of its own, too, as a client certificate beside the token has.
    let until = |credential, at| {
        let caller = Caller { credential: Some(CredentialId(credential)), ..Caller::new("agent://a") };
        Identity::Known(Caller { expires_at: Some(at), ..caller })
    };
    let now = engine.now();
    for (identity, ended) in
        [(until(1, now.plus(60_000)), false), (until(1, now), true), (until(2, now.plus(60_000)), true)]
    {
        assert_eq!(engine.expiry(&identity).reached().now_or_never().is_some(), ended, "{identity:?}");
    }
    let late = engine.expiry(&b).reached().now_or_never();
    assert!(late.is_some(), "who was let in a moment ago is told, too");
}
