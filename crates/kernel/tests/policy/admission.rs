//! Admission of policy descriptors: each check, their order, and the texts.

use macp_kernel::policy::Policy;
use macp_kernel::policy::admit::Check;
use macp_kernel::{Refusal, RefusalCode};
use macp_wire::v1::PolicyDescriptor;

use crate::support::{DECISION, HANDOFF, PROPOSAL, QUORUM, TASK, admit, descriptor};

/// Rules for each mode that are refused by `check`, with a part of the text.
fn refused(check: Check, rows: &[(&str, &str, &str)]) {
    for (mode, rules, text) in rows {
        let invalid = admit(descriptor(mode, 3, rules)).expect_err(rules);
        assert_eq!(invalid.check, check, "{mode} {rules}: {invalid}");
        assert!(invalid.why.contains(text), "{mode} {rules}: {invalid}");
        // A candidate meets the same checks of its rules.
        assert_eq!(Policy::candidate(descriptor(mode, 3, rules)), Err(invalid), "{mode} {rules}");
    }
}

fn accepted(rows: &[(&str, &str)]) {
    for (mode, rules) in rows {
        let policy =
            admit(descriptor(mode, 3, rules)).unwrap_or_else(|error| panic!("{mode} {rules}: {error}"));
        // What was admitted once reads back as it was.
        let back = Policy::from_history(policy.descriptor().clone());
        assert_eq!((back.rules(), back.authority()), (policy.rules(), policy.authority()), "{mode} {rules}");
    }
}

/// A descriptor with every fault at once: repairing the reported one uncovers the next.
#[test]
fn checks_run_in_order() {
    let mut bad = PolicyDescriptor {
        policy_id: " ".to_owned(),
        mode: DECISION.to_owned(),
        description: String::new(),
        rules: "{".to_owned(),
        schema_version: 0,
        registered_at_unix_ms: 0,
    };
    type Repair = fn(&mut PolicyDescriptor);
    let steps: [(Check, Repair); 11] = [
        (Check::Text, |it| it.rules = "[]".to_owned()),
        (Check::Id, |it| it.policy_id = "policy.default".to_owned()),
        (Check::DefaultId, |it| it.policy_id = "policy.std.majority".to_owned()),
        (Check::VersionGiven, |it| it.schema_version = 4),
        (Check::VersionKnown, |it| it.schema_version = 3),
        (Check::Object, |it| it.rules = r#"{"votes":1,"voting":[]}"#.to_owned()),
        (Check::Keys, |it| it.rules = r#"{"voting":[]}"#.to_owned()),
        (Check::Shape, |it| it.rules = r#"{"voting":{"threshold":"x"}}"#.to_owned()),
        (Check::ReservedId, |it| it.policy_id = "policy.majority".to_owned()),
        (Check::Types, |it| it.rules = r#"{"voting":{"threshold":2}}"#.to_owned()),
        (Check::Domain, |it| it.rules = "{}".to_owned()),
    ];
    for (check, repair) in steps {
        let invalid = admit(bad.clone()).expect_err("still bad");
        assert_eq!(invalid.check, check, "{invalid}");
        assert!(invalid.to_string().starts_with("INVALID_POLICY_DEFINITION: "), "{invalid}");
        repair(&mut bad);
    }
    assert!(admit(bad).is_ok());
}

#[test]
fn a_candidate_may_have_any_id() {
    for id in ["", " ", "policy.default", "policy.std.majority", "policy.std.nothing", "policy.test.one"] {
        let candidate = PolicyDescriptor { policy_id: id.to_owned(), ..descriptor("*", 3, "{}") };
        assert_eq!(Policy::candidate(candidate).map(|it| it.id().to_owned()), Ok(id.to_owned()));
    }
    let refusal = Refusal::from(Policy::candidate(descriptor("*", 9, "{}")).unwrap_err());
    assert_eq!(refusal.code, RefusalCode::InvalidPolicyDefinition);
    assert!(refusal.message.starts_with("schema_version 9"), "{refusal}");
}

#[test]
fn text() {
    refused(
        Check::Text,
        &[
            (DECISION, " ", "not JSON"),
            (DECISION, "{", "not JSON"),
            (DECISION, "{} {}", "not JSON"),
            (DECISION, "{'a':1}", "not JSON"),
            (DECISION, r#"{"voting":{},"voting":{}}"#, "repeated"),
            ("ext.any", r#"{"a":[{"b":1,"b":2}]}"#, "repeated"),
            ("ext.any", &"[".repeat(100_000), "not JSON"),
        ],
    );
    let empty = admit(descriptor(DECISION, 3, "")).unwrap();
    assert_eq!(empty.descriptor().rules, "{}");
    assert_eq!(empty.descriptor().registered_at_unix_ms, 1_700_000_000_000);
    // Otherwise the text stays as it came.
    let spaced = r#" { "voting" : { } } "#;
    assert_eq!(admit(descriptor(DECISION, 1, spaced)).unwrap().descriptor().rules, spaced);
}

#[test]
fn rules_are_an_object() {
    for rules in ["null", "[]", "1", "true", r#""{}""#] {
        for mode in [DECISION, "*", "ext.any", ""] {
            refused(Check::Object, &[(mode, rules, "object")]);
        }
    }
}

#[test]
fn keys() {
    refused(
        Check::Keys,
        &[
            (DECISION, r#"{"vote":{}}"#, r#""vote" is not a key of these rules"#),
            (DECISION, r#"{"voting":{"treshold":0.5}}"#, r#""treshold" is not a key of voting"#),
            (DECISION, r#"{"voting":{"quorum":{"minimum":1}}}"#, "voting.quorum"),
            (DECISION, r#"{"audit":{}}"#, "audit"),
            (DECISION, r#"{"acceptance":{}}"#, "acceptance"),
            (PROPOSAL, r#"{"voting":{}}"#, "voting"),
            (PROPOSAL, r#"{"acceptance":{"implicit_accept_timeout_ms":1}}"#, "acceptance"),
            (HANDOFF, r#"{"acceptance":{"criterion":"initiator"}}"#, "acceptance"),
            // `require_vote_quorum` belongs to Decision alone.
            (TASK, r#"{"commitment":{"require_vote_quorum":true}}"#, "commitment"),
            (QUORUM, r#"{"threshold":{"kind":"n_of_m"}}"#, "threshold"),
            // Vendor extensions: none is implemented, and they have one place and one form.
            (DECISION, r#"{"x-acme.limits":{}}"#, "does not implement"),
            (DECISION, r#"{"x-acme.limits":1}"#, "must be an object"),
            (DECISION, r#"{"voting":{"x-acme.limits":{}}}"#, "top of rules"),
            (DECISION, r#"{"x-acme":{}}"#, "is not a key"),
            (DECISION, r#"{"X-acme.limits":{}}"#, "is not a key"),
            // Depth first in key order, whatever the order in the text.
            (DECISION, r#"{"zzz":1,"voting":{"b":1,"a":1}}"#, r#""a" is not a key of voting"#),
            (DECISION, r#"{"x-acme.a":{},"zzz":1}"#, "zzz"),
            ("*", r#"{"votes":{}}"#, "votes"),
            ("*", r#"{"acceptance":{"criteria":1}}"#, "acceptance"),
        ],
    );
    accepted(&[
        (DECISION, r#"{"_note":[1],"$id":null,"voting":{"_why":{"x":1},"quorum":{"$c":"x"}}}"#),
        // Participants are data: any key is one.
        (DECISION, r#"{"voting":{"weights":{"_a":1,"x-acme.b":2,"":3}}}"#),
        (
            "*",
            r#"{"acceptance":{"criterion":"initiator","implicit_accept_timeout_ms":5},"threshold":{"value":2}}"#,
        ),
        ("*", r#"{"commitment":{"require_vote_quorum":true}}"#),
        ("ext.any", r#"{"votes":{"x-acme":1},"x-acme.limits":7,"voting":null}"#),
    ]);
}

#[test]
fn shape() {
    refused(
        Check::Shape,
        &[
            (DECISION, r#"{"voting":null}"#, "voting must be an object"),
            (DECISION, r#"{"voting":{"quorum":0.5}}"#, "voting.quorum must be an object"),
            (DECISION, r#"{"voting":{"weights":[]}}"#, "voting.weights must be an object"),
            (DECISION, r#"{"voting":{"algorithm":null}}"#, "voting.algorithm must be a string"),
            (DECISION, r#"{"objection_handling":{"critical_objection_action":1}}"#, "must be a string"),
            (DECISION, r#"{"commitment":{"authority":["a"]}}"#, "commitment.authority must be a string"),
            (PROPOSAL, r#"{"acceptance":{"criterion":true}}"#, "acceptance.criterion must be a string"),
            (QUORUM, r#"{"threshold":{"type":null}}"#, "threshold.type must be a string"),
            (QUORUM, r#"{"abstention":{"interpretation":0}}"#, "abstention.interpretation"),
            ("*", r#"{"threshold":0.5}"#, "threshold must be an object"),
        ],
    );
}

#[test]
fn types() {
    refused(
        Check::Types,
        &[
            (DECISION, r#"{"voting":{"threshold":null}}"#, "voting.threshold must be a number"),
            (DECISION, r#"{"voting":{"threshold":"0.5"}}"#, "must be a number"),
            (DECISION, r#"{"voting":{"quorum":{"value":true}}}"#, "voting.quorum.value must be a number"),
            (DECISION, r#"{"voting":{"weights":{"a":"1"}}}"#, "voting.weights"),
            (DECISION, r#"{"objection_handling":{"critical_severity_vetoes":1}}"#, "true or false"),
            (DECISION, r#"{"objection_handling":{"veto_threshold":-1}}"#, "integer"),
            (DECISION, r#"{"objection_handling":{"veto_threshold":1.5}}"#, "integer"),
            (
                DECISION,
                r#"{"objection_handling":{"critical_objection_action":"ponder"}}"#,
                "finalize_decline",
            ),
            (DECISION, r#"{"evaluation":{"required_before_voting":null}}"#, "true or false"),
            (DECISION, r#"{"commitment":{"designated_roles":"a"}}"#, "array of strings"),
            (DECISION, r#"{"commitment":{"designated_roles":[1]}}"#, "array of strings"),
            (DECISION, r#"{"commitment":{"allow_decline_over_approval":"yes"}}"#, "true or false"),
            (PROPOSAL, r#"{"counter_proposal":{"max_rounds":-1}}"#, "integer"),
            (PROPOSAL, r#"{"counter_proposal":{"max_rounds":0.5}}"#, "integer"),
            (PROPOSAL, r#"{"rejection":{"terminal_on_any_reject":0}}"#, "true or false"),
            (TASK, r#"{"assignment":{"allow_reassignment_on_reject":null}}"#, "true or false"),
            (TASK, r#"{"completion":{"require_output":"x"}}"#, "true or false"),
            (HANDOFF, r#"{"acceptance":{"implicit_accept_timeout_ms":-5}}"#, "integer"),
            (QUORUM, r#"{"threshold":{"value":"3"}}"#, "threshold.value must be a number"),
            (QUORUM, r#"{"abstention":{"counts_toward_quorum":1}}"#, "true or false"),
            ("*", r#"{"completion":{"require_output":1}}"#, "completion.require_output"),
            // Types come before domains, in all five trees.
            (
                "*",
                r#"{"voting":{"threshold":9},"threshold":{"value":true}}"#,
                "threshold.value must be a number",
            ),
        ],
    );
}

#[test]
fn domains() {
    refused(
        Check::Domain,
        &[
            (DECISION, r#"{"voting":{"algorithm":"Majority"}}"#, "voting.algorithm must be one of"),
            (DECISION, r#"{"voting":{"threshold":0}}"#, "voting.threshold"),
            (DECISION, r#"{"voting":{"threshold":-0.1}}"#, "voting.threshold"),
            (DECISION, r#"{"voting":{"threshold":1.0000001}}"#, "voting.threshold"),
            (DECISION, r#"{"voting":{"weights":{"a":0}}}"#, "voting.weights"),
            (DECISION, r#"{"voting":{"weights":{"a":1,"b":-1}}}"#, "voting.weights"),
            (DECISION, r#"{"voting":{"quorum":{"type":"fraction"}}}"#, "voting.quorum.type must be one of"),
            (DECISION, r#"{"voting":{"quorum":{"value":-1}}}"#, "voting.quorum.value"),
            (DECISION, r#"{"objection_handling":{"veto_threshold":0}}"#, "veto_threshold"),
            (DECISION, r#"{"evaluation":{"minimum_confidence":-0.01}}"#, "minimum_confidence"),
            (DECISION, r#"{"evaluation":{"minimum_confidence":1.01}}"#, "minimum_confidence"),
            (DECISION, r#"{"voting":{"algorithm":"weighted"}}"#, "needs voting.weights"),
            (DECISION, r#"{"voting":{"algorithm":"weighted","weights":{}}}"#, "needs voting.weights"),
            (DECISION, r#"{"voting":{"weights":{}}}"#, "must not be empty"),
            (DECISION, r#"{"voting":{"algorithm":"supermajority"}}"#, "greater than 0.5"),
            (DECISION, r#"{"voting":{"algorithm":"supermajority","threshold":0.5}}"#, "greater than 0.5"),
            (DECISION, r#"{"voting":{"algorithm":"majority","threshold":0.49}}"#, "at least 0.5"),
            (QUORUM, r#"{"threshold":{"type":"weighted","value":1}}"#, "threshold.type must be one of"),
            (QUORUM, r#"{"threshold":{"type":"count","value":1}}"#, "threshold.type must be one of"),
            (QUORUM, r#"{"threshold":{"value":2.5}}"#, "integer"),
            (QUORUM, r#"{"threshold":{"type":"percentage","value":101}}"#, "at most 100"),
            (QUORUM, r#"{"threshold":{"type":"percentage","value":100.5}}"#, "integer"),
            (QUORUM, r#"{"threshold":{"value":0}}"#, "greater than 0"),
            (QUORUM, r#"{"threshold":{"type":"percentage","value":-3}}"#, "greater than 0"),
            (PROPOSAL, r#"{"acceptance":{"criterion":"majority"}}"#, "acceptance.criterion must be one of"),
            (
                QUORUM,
                r#"{"abstention":{"interpretation":"yes"}}"#,
                "abstention.interpretation must be one of",
            ),
            // Each mode's domains hold for `*`, and in the specified order.
            ("*", r#"{"voting":{"algorithm":"weighted"},"threshold":{"value":0}}"#, "voting.weights"),
            ("*", r#"{"threshold":{"value":0},"acceptance":{"criterion":"none"}}"#, "threshold.value"),
            ("*", r#"{"acceptance":{"criterion":"none"},"abstention":{"interpretation":"x"}}"#, "criterion"),
            (
                "*",
                r#"{"abstention":{"interpretation":"x"},"commitment":{"authority":"x"}}"#,
                "interpretation",
            ),
        ],
    );
    accepted(&[
        (DECISION, r#"{"voting":{"threshold":1e-300}}"#),
        (DECISION, r#"{"voting":{"threshold":1}}"#),
        (DECISION, r#"{"voting":{"algorithm":"majority"}}"#),
        (DECISION, r#"{"voting":{"algorithm":"majority","threshold":0.5}}"#),
        (DECISION, r#"{"voting":{"algorithm":"supermajority","threshold":0.5000000001}}"#),
        (DECISION, r#"{"voting":{"algorithm":"plurality","weights":{"a":1}}}"#),
        (DECISION, r#"{"voting":{"quorum":{"type":"percentage","value":250}}}"#),
        // A zero fraction is an integer, and size does not matter.
        (DECISION, r#"{"objection_handling":{"veto_threshold":2.0}}"#),
        (PROPOSAL, r#"{"counter_proposal":{"max_rounds":1e30}}"#),
        (HANDOFF, r#"{"acceptance":{"implicit_accept_timeout_ms":60000.0}}"#),
        (QUORUM, r#"{"threshold":{"type":"percentage","value":75.0}}"#),
        (QUORUM, r#"{"threshold":{"value":100000}}"#),
        (QUORUM, r#"{"threshold":{"type":"percentage"}}"#),
        (QUORUM, r#"{"abstention":{"interpretation":"implicit_reject","counts_toward_quorum":true}}"#),
        (TASK, r#"{"completion":{"require_output":true}}"#),
    ]);
}

#[test]
fn who_may_commit() {
    for mode in ["*", DECISION, PROPOSAL, TASK, HANDOFF, QUORUM, "ext.any"] {
        refused(
            Check::Domain,
            &[
                (mode, r#"{"commitment":{"authority":"anyone"}}"#, "commitment.authority must be one of"),
                (mode, r#"{"commitment":{"authority":"designated_role"}}"#, "designated_roles"),
                (
                    mode,
                    r#"{"commitment":{"authority":"designated_role","designated_roles":[]}}"#,
                    "names somebody",
                ),
            ],
        );
        accepted(&[
            (mode, r#"{"commitment":{}}"#),
            (mode, r#"{"commitment":{"designated_roles":["a"]}}"#),
            (mode, r#"{"commitment":{"authority":"any_participant"}}"#),
            (mode, r#"{"commitment":{"authority":"designated_role","designated_roles":["a","a"]}}"#),
        ]);
    }
    // An extension mode's rules are opaque: a commitment of another shape is its own affair.
    accepted(&[
        ("ext.any", r#"{"commitment":"anyone"}"#),
        ("ext.any", r#"{"commitment":{"authority":7}}"#),
        ("ext.any", r#"{"commitment":{"authority":"anyone","designated_roles":"a"}}"#),
    ]);
}

/// Ids under `policy.std.` need the canonical meaning, and unassigned ones have none.
#[test]
fn reserved_ids() {
    let canonical =
        |id: &str| Policy::provided().iter().find(|it| it.id() == id).unwrap().descriptor().clone();
    let majority = canonical("policy.std.majority");
    let with = |change: fn(&mut PolicyDescriptor)| {
        let mut changed = majority.clone();
        change(&mut changed);
        admit(changed).map_err(|invalid| invalid.check)
    };
    for id in ["policy.std.majority", "policy.std.supermajority", "policy.std.unanimous"] {
        // Admitted as such; that the id is taken is for the catalog to say.
        assert!(admit(canonical(id)).is_ok());
    }
    // Same meaning: other description, annotations, defaults spelled out, other spelling of numbers.
    assert!(with(|it| it.description = "mine".to_owned()).is_ok());
    assert!(
        with(|it| {
            it.rules = r#"{"_n":1,"commitment":{"require_vote_quorum":true,"authority":"initiator_only"},
                "voting":{"algorithm":"majority","quorum":{"value":1.0}},"evaluation":{}}"#
                .to_owned();
        })
        .is_ok()
    );
    for change in [
        (|it| it.schema_version = 3) as fn(&mut PolicyDescriptor),
        |it| it.mode = "*".to_owned(),
        |it| it.rules = "{}".to_owned(),
        |it| it.rules = it.rules.replace("0.5", "0.6"),
        |it| it.rules = it.rules.replace("true}", r#"true,"authority":"any_participant"}"#),
        |it| it.rules = it.rules.replace("true}", r#"true,"designated_roles":["a"]}"#),
        |it| it.policy_id = "policy.std.unanimous".to_owned(),
        |it| it.policy_id = "policy.std.plurality".to_owned(),
        |it| it.policy_id = "policy.std.".to_owned(),
    ] {
        assert_eq!(with(change), Err(Check::ReservedId));
    }
    for id in [
        "policy.majority",
        "policy.std",
        "policy.standard.x",
        "Policy.std.majority",
        "policy.default2",
        " policy.default",
    ] {
        let free = PolicyDescriptor { policy_id: id.to_owned(), ..majority.clone() };
        assert!(admit(free).is_ok(), "{id}");
    }
}
