//! The policies that come with the server: `policy.default` and the `policy.std.` profiles (RFC-MACP-0012 §2.2, §5).

use std::sync::LazyLock;

use macp_wire::v1::PolicyDescriptor;
use serde_json::Value;

use super::Policy;
use super::keys::Tree;
use super::read::{self, Section};
use super::rules::Rules;

/// Ids that only the specification assigns.
pub(super) const PREFIX: &str = "policy.std.";

/// Policy id, mode, description and rules, all of schema version 1. The texts are the specification's own.
const DEFINITIONS: [(&str, &str, &str, &str); 4] = [
    (
        Policy::DEFAULT_ID,
        "*",
        "Default policy \u{2014} mode built-in rules apply with no additional governance constraints",
        "{}",
    ),
    (
        "policy.std.majority",
        "macp.mode.decision.v1",
        "Simple majority \u{2014} at least half of the decisive votes approve",
        r#"{"voting":{"algorithm":"majority","threshold":0.5,"quorum":{"type":"count","value":1}},"commitment":{"require_vote_quorum":true}}"#,
    ),
    (
        "policy.std.supermajority",
        "macp.mode.decision.v1",
        "Two-thirds supermajority with a minimum of two voters",
        r#"{"voting":{"algorithm":"supermajority","threshold":0.6666666666666666,"quorum":{"type":"count","value":2}},"commitment":{"require_vote_quorum":true}}"#,
    ),
    (
        "policy.std.unanimous",
        "macp.mode.decision.v1",
        "Unanimous \u{2014} every declared participant approves and no reject is cast",
        r#"{"voting":{"algorithm":"unanimous","quorum":{"type":"count","value":1}},"commitment":{"require_vote_quorum":true}}"#,
    ),
];

/// Made once, so that all sessions under one of them share it.
static PROVIDED: LazyLock<[Policy; 4]> = LazyLock::new(|| {
    DEFINITIONS.map(|(policy_id, mode, description, rules)| {
        Policy::read(PolicyDescriptor {
            policy_id: policy_id.to_owned(),
            mode: mode.to_owned(),
            description: description.to_owned(),
            rules: rules.to_owned(),
            schema_version: 1,
            registered_at_unix_ms: 0,
        })
    })
});

/// The policies that come with the server; `policy.default` is the first.
pub(super) fn provided() -> &'static [Policy; 4] {
    &PROVIDED
}

/// Whether a descriptor under [`PREFIX`] says the same as the specification's: mode, version and rules with their
/// defaults filled in. Annotations and the description say nothing.
pub(super) fn is_canonical(descriptor: &PolicyDescriptor, rules: &Value) -> bool {
    let Some(canonical) = provided().iter().find(|policy| policy.id() == descriptor.policy_id) else {
        return false;
    };
    let mut typed = Rules::default();
    canonical.descriptor().mode == descriptor.mode
        && canonical.descriptor().schema_version == descriptor.schema_version
        && read::tree(Tree::Decision, rules, &mut typed).is_ok()
        && typed == *canonical.rules()
        // No profile says who may commit, so neither key may differ from its default.
        && Section::top(rules).and_then(|top| read::commitment(&top)).is_ok_and(|commitment| {
            commitment.roles.is_empty() && matches!(commitment.authority, None | Some("initiator_only"))
        })
}
