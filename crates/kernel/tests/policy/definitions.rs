//! What a policy is once it is there: defaults, authority, equality, warnings, history.

use macp_kernel::policy::rules::{
    Algorithm, Criterion, CriticalAction, DecisionRules, Floor, FloorKind, Rules, Threshold,
};
use macp_kernel::policy::{Authority, Policy};
use macp_wire::v1::PolicyDescriptor;

use crate::support::{DECISION, HANDOFF, PROPOSAL, QUORUM, TASK, descriptor, policy, stored};

#[test]
fn absent_keys_have_their_defaults() {
    let default = DecisionRules {
        algorithm: Algorithm::None,
        threshold: 0.5,
        floor: Floor { kind: FloorKind::Count, value: 0.0 },
        weights: [].into(),
        critical_severity_vetoes: false,
        veto_threshold: 1,
        critical_objection_action: CriticalAction::Deny,
        minimum_confidence: 0.0,
        required_before_voting: false,
        require_vote_quorum: false,
        allow_decline_over_approval: false,
    };
    assert_eq!(DecisionRules::default(), default);
    let spelled_out = r#"{"voting":{"algorithm":"none","threshold":0.5,"quorum":{"type":"count","value":0}},
        "objection_handling":{"critical_severity_vetoes":false,"veto_threshold":1,"critical_objection_action":"deny"},
        "evaluation":{"minimum_confidence":0.0,"required_before_voting":false},
        "commitment":{"authority":"initiator_only","designated_roles":[],"require_vote_quorum":false,
        "allow_decline_over_approval":false}}"#;
    let empty_sections =
        r#"{"voting":{"quorum":{}},"objection_handling":{},"evaluation":{},"commitment":{}}"#;
    for rules in ["", "{}", empty_sections, spelled_out] {
        assert_eq!(policy(DECISION, 1, rules).rules(), &Rules::default(), "{rules}");
    }
    for mode in ["*", PROPOSAL, TASK, HANDOFF, QUORUM, "ext.any"] {
        assert_eq!(policy(mode, 1, "{}").rules(), &Rules::default(), "{mode}");
    }
}

#[test]
fn present_keys_are_read() {
    let proposal = policy(
        PROPOSAL,
        1,
        r#"{"acceptance":{"criterion":"counterparty"},"counter_proposal":{"max_rounds":3.0},"rejection":{"terminal_on_any_reject":true}}"#,
    );
    let rules = &proposal.rules().proposal;
    assert_eq!(
        (rules.criterion, rules.max_rounds, rules.terminal_on_any_reject),
        (Criterion::Counterparty, 3, true)
    );
    let task = policy(TASK, 1, r#"{"assignment":{"allow_reassignment_on_reject":true}}"#);
    assert!(task.rules().task.allow_reassignment_on_reject && !task.rules().task.require_output);
    let handoff = policy(HANDOFF, 1, r#"{"acceptance":{"implicit_accept_timeout_ms":1e3}}"#);
    assert_eq!(handoff.rules().handoff.implicit_accept_timeout_ms, 1000);
    // A policy for every mode fills every tree.
    let all = policy(
        "*",
        1,
        r#"{"acceptance":{"criterion":"initiator","implicit_accept_timeout_ms":9},"threshold":{"value":2},"voting":{"algorithm":"plurality"}}"#,
    );
    assert_eq!(all.rules().proposal.criterion, Criterion::Initiator);
    assert_eq!(all.rules().handoff.implicit_accept_timeout_ms, 9);
    assert_eq!(all.rules().quorum.threshold, Some(Threshold::NOfM(2)));
    assert_eq!(all.rules().decision.algorithm, Algorithm::Plurality);
}

#[test]
fn authority() {
    let roles = |names: &[&str]| Authority::DesignatedRole(names.iter().map(|it| (*it).to_owned()).collect());
    for (rules, expected) in [
        ("{}", Authority::InitiatorOnly),
        (
            r#"{"commitment":{"authority":"initiator_only","designated_roles":["b"]}}"#,
            Authority::InitiatorOnly,
        ),
        (r#"{"commitment":{"authority":"any_participant"}}"#, Authority::AnyParticipant),
        (
            r#"{"commitment":{"authority":"designated_role","designated_roles":["b","a","b"]}}"#,
            roles(&["a", "b"]),
        ),
    ] {
        for mode in ["*", DECISION, TASK, "ext.any"] {
            assert_eq!(policy(mode, 1, rules).authority(), &expected, "{mode} {rules}");
        }
    }
    // History with an unusable commitment falls back to the initiator.
    for rules in [
        "nonsense",
        "[]",
        r#"{"commitment":7}"#,
        r#"{"commitment":{"authority":"anyone"}}"#,
        r#"{"commitment":{"authority":"designated_role","designated_roles":"a"}}"#,
    ] {
        assert_eq!(stored(DECISION, 1, rules).authority(), &Authority::InitiatorOnly, "{rules}");
    }
}

#[test]
fn binding_by_mode() {
    assert!(policy("*", 1, "{}").binds_to(TASK) && policy("*", 1, "{}").binds_to("ext.any"));
    assert!(policy(DECISION, 1, "{}").binds_to(DECISION) && !policy(DECISION, 1, "{}").binds_to(TASK));
}

/// Identity is literal: id, version, rules as JSON without annotations, and nothing else.
#[test]
fn same_definition() {
    let base = r#"{"voting":{"algorithm":"weighted","weights":{"_a":1}},"commitment":{}}"#;
    let same = |mode: &str, left: &str, right: &str| {
        let forward = stored(mode, 3, left).same_definition(&stored(mode, 3, right));
        assert_eq!(forward, stored(mode, 3, right).same_definition(&stored(mode, 3, left)));
        forward
    };
    for equal in [
        base,
        r#"{ "commitment":{}, "voting":{"weights":{"_a":1.0},"algorithm":"weighted"} }"#,
        r#"{"_n":1,"voting":{"$x":[],"algorithm":"weighted","weights":{"_a":1}},"commitment":{"_y":{}}}"#,
    ] {
        assert!(same(DECISION, base, equal), "{equal}");
    }
    for other in [
        "{}",
        r#"{"voting":{"algorithm":"weighted","weights":{"_a":1}}}"#,
        // A key of the electorate is data, not an annotation.
        r#"{"voting":{"algorithm":"weighted","weights":{"_a":1,"_b":1}},"commitment":{}}"#,
        r#"{"voting":{"algorithm":"weighted","threshold":0.5,"weights":{"_a":1}},"commitment":{}}"#,
        r#"{"x-acme.a":{},"voting":{"algorithm":"weighted","weights":{"_a":1}},"commitment":{}}"#,
    ] {
        assert!(!same(DECISION, base, other), "{other}");
    }
    assert!(same("*", "{}", "") && same("*", r#"{"_a":1}"#, "{}"));
    // Nothing is known of the keys of an extension mode, so none is an annotation.
    assert!(!same("ext.any", r#"{"_a":1}"#, "{}"));
    // Text that is no JSON is only the same as itself.
    assert!(same(DECISION, "?", "?") && !same(DECISION, "?", "!") && !same(DECISION, "?", "{}"));

    let one = descriptor(DECISION, 3, "{}");
    let with = |other: PolicyDescriptor| {
        Policy::from_history(one.clone()).same_definition(&Policy::from_history(other))
    };
    assert!(with(PolicyDescriptor { description: "x".into(), registered_at_unix_ms: 9, ..one.clone() }));
    assert!(!with(PolicyDescriptor { policy_id: "x".into(), ..one.clone() }));
    assert!(!with(PolicyDescriptor { schema_version: 2, ..one.clone() }));
}

#[test]
fn a_legal_policy_that_passes_on_nothing_gets_a_warning() {
    let majority = r#"{"voting":{"algorithm":"majority"}}"#;
    let demanded = r#"{"voting":{"algorithm":"majority"},"commitment":{"require_vote_quorum":true}}"#;
    for (version, rules, warned) in [
        (1, majority, true),
        (2, majority, true),
        (3, majority, false),
        (2, demanded, false),
        (2, "{}", false),
    ] {
        assert_eq!(policy(DECISION, version, rules).warning().is_some(), warned, "v{version} {rules}");
    }
    assert!(Policy::provided().iter().all(|it| it.warning().is_none()));
}

#[test]
fn provided_policies() {
    let ids: Vec<_> = Policy::provided().iter().map(Policy::id).collect();
    assert_eq!(
        ids,
        ["policy.default", "policy.std.majority", "policy.std.supermajority", "policy.std.unanimous"]
    );
    for provided in Policy::provided() {
        assert_eq!(provided.descriptor().schema_version, 1);
        // Each would pass the checks that it is exempt from.
        let checked = Policy::candidate(provided.descriptor().clone()).unwrap();
        assert_eq!(checked.rules(), provided.rules());
        assert_eq!(&Policy::from_history(provided.descriptor().clone()), provided);
    }
    let default = Policy::default_policy();
    assert_eq!((default.id(), default.descriptor().mode.as_str()), (Policy::DEFAULT_ID, "*"));
    assert!(default.descriptor().description.starts_with("Default policy \u{2014} mode built-in rules"));
    assert_eq!(default.descriptor().rules, "{}");
}

/// The `policy.default` of other servers spells its defaults out; it is read as what it says.
#[test]
fn a_foreign_default_policy_is_read_back() {
    let foreign = PolicyDescriptor {
        policy_id: Policy::DEFAULT_ID.to_owned(),
        ..descriptor("*", 1, r#"{"voting":{"algorithm":"none"}}"#)
    };
    let back = Policy::from_history(foreign.clone());
    assert_eq!((back.descriptor(), back.rules()), (&foreign, Policy::default_policy().rules()));
}

#[test]
fn a_stand_in_keeps_everything_but_the_id() {
    let candidate = policy(DECISION, 3, r#"{"commitment":{"authority":"any_participant"}}"#);
    let stand_in = candidate.under_id("policy.recorded");
    assert_eq!(stand_in.id(), "policy.recorded");
    assert_eq!(stand_in.authority(), candidate.authority());
    assert_eq!(stand_in.descriptor().schema_version, 3);
    assert_eq!(candidate.id(), "policy.test.one");
}

/// Sessions hold their policy for life.
#[test]
fn a_policy_is_one_pointer() {
    assert_eq!(size_of::<Policy>(), size_of::<usize>());
}
