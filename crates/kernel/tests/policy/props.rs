//! Properties: nothing panics on arbitrary JSON, and evaluation depends on what it may depend on.

use macp_kernel::policy::{Policy, evaluate};
use macp_wire::v1::PolicyDescriptor;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::support::{
    DECISION, HANDOFF, PROPOSAL, QUORUM, TASK, binding, codes, denials, descriptor, policy, state,
};

/// JSON over the keys and names of policies, so that it reaches deep into the checks.
fn wild_json() -> impl Strategy<Value = Value> {
    let word = prop::sample::select(vec![
        "voting",
        "algorithm",
        "threshold",
        "quorum",
        "type",
        "value",
        "weights",
        "objection_handling",
        "critical_severity_vetoes",
        "veto_threshold",
        "critical_objection_action",
        "evaluation",
        "minimum_confidence",
        "required_before_voting",
        "commitment",
        "authority",
        "designated_roles",
        "require_vote_quorum",
        "allow_decline_over_approval",
        "acceptance",
        "criterion",
        "counter_proposal",
        "max_rounds",
        "rejection",
        "terminal_on_any_reject",
        "assignment",
        "allow_reassignment_on_reject",
        "completion",
        "require_output",
        "implicit_accept_timeout_ms",
        "abstention",
        "interpretation",
        "counts_toward_quorum",
        "_note",
        "$id",
        "x-acme.a",
        "x-",
        "a",
        "b",
        "weighted",
        "majority",
        "supermajority",
        "plurality",
        "percentage",
        "count",
        "hold",
        "designated_role",
        "",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::sample::select(vec![json!(0), json!(-1), json!(1), json!(0.5), json!(u64::MAX), json!(1e300)]),
        word.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 5, move |inner| {
        let object = prop::collection::vec((word.clone(), inner.clone()), 0..5)
            .prop_map(|members| members.into_iter().map(|(k, v)| (k.to_owned(), v)).collect::<Map<_, _>>());
        prop_oneof![4 => object.prop_map(Value::Object), 1 => prop::collection::vec(inner, 0..3).prop_map(Value::Array)]
    })
}

fn wild_descriptor() -> impl Strategy<Value = PolicyDescriptor> {
    let text = prop_oneof![8 => wild_json().prop_map(|it| it.to_string()), 1 => ".{0,20}"];
    let mode = prop::sample::select(vec!["*", DECISION, PROPOSAL, TASK, HANDOFF, QUORUM, "ext.any", ""]);
    let id =
        prop::sample::select(vec!["policy.x", "", "policy.default", "policy.std.majority", "policy.std.x"]);
    (text, mode, 0_u32..5, id).prop_map(|(rules, mode, schema_version, id)| PolicyDescriptor {
        policy_id: id.to_owned(),
        ..descriptor(mode, schema_version, &rules)
    })
}

/// Votes, objections and evaluations of four senders, one of whom takes no part in the session.
fn wild_words() -> impl Strategy<Value = Vec<String>> {
    let word =
        ("p[12]", "[abcz]", prop::sample::select(vec![":A", ":R", ":-", "!", "?", "=0.9", "=0.2", "~1.0"]))
            .prop_map(|(proposal, sender, what)| format!("{proposal}/{sender}{what}"));
    prop::collection::vec(word, 0..12)
}

/// Legal decision rules.
fn legal_rules() -> impl Strategy<Value = String> {
    let voting = prop::sample::select(vec![
        json!({}),
        json!({"algorithm": "majority"}),
        json!({"algorithm": "majority", "threshold": 0.75, "quorum": {"value": 2}}),
        json!({"algorithm": "supermajority", "threshold": 0.6666666666666666}),
        json!({"algorithm": "unanimous", "quorum": {"type": "percentage", "value": 60}}),
        json!({"algorithm": "plurality"}),
        json!({"algorithm": "weighted", "weights": {"a": 3, "b": 0.1, "z": 2}}),
    ]);
    let action = prop::sample::select(vec!["deny", "hold", "finalize_decline"]);
    (voting, action, any::<[bool; 4]>(), prop::sample::select(vec![0.0, 0.5])).prop_map(
        |(voting, action, [vetoes, evaluated, floor, over], minimum)| {
            json!({
                "voting": voting,
                "objection_handling": {"critical_severity_vetoes": vetoes, "critical_objection_action": action},
                "evaluation": {"required_before_voting": evaluated, "minimum_confidence": minimum},
                "commitment": {"require_vote_quorum": floor, "allow_decline_over_approval": over},
            })
            .to_string()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn nothing_panics(descriptor in wild_descriptor(), other in wild_descriptor(), words in wild_words(), n in 0_usize..9) {
        let admitted = Policy::admit(descriptor.clone(), macp_kernel::UnixMillis(0));
        let candidate = Policy::candidate(descriptor.clone());
        prop_assert!(admitted.is_err() || candidate.is_ok());
        let back = Policy::from_history(descriptor);
        if let Ok(candidate) = &candidate {
            prop_assert_eq!(candidate.rules(), back.rules());
            prop_assert_eq!(candidate.authority(), back.authority());
            prop_assert!(candidate.same_definition(&back));
            let _ = candidate.warning();
        }
        let _ = back.same_definition(&Policy::from_history(other));
        let binding = binding(back, &["a", "b", "c"]);
        let state = state(&words.join(" "));
        for positive in [true, false] {
            let verdicts = [
                evaluate::decision(&binding, &state, positive),
                evaluate::proposal(&binding, n, positive),
                evaluate::task(&binding, n > 4, positive),
                evaluate::handoff(&binding, positive),
                evaluate::quorum(&binding, n, positive),
            ];
            for verdict in verdicts {
                let _ = codes(verdict);
            }
        }
        let _ = evaluate::reassignment(&binding);
    }

    /// Objections and evaluations count as sets do: history order and annotations change no verdict.
    #[test]
    fn order_and_annotations_do_not_matter(rules in legal_rules(), version in 1_u32..4, words in wild_words(), positive: bool) {
        // One ballot per sender and proposal, as the mode keeps them.
        let mut words = words;
        words.sort();
        words.dedup_by(|left, right| left.contains(':') && left[..4] == right[..4] && right.contains(':'));
        let annotated = rules.replacen('{', r#"{"_note":{"x-":[null]},"#, 1);
        let judge = |rules: &str, words: &[String]| {
            let binding = binding(policy(DECISION, version, rules), &["a", "b", "c"]);
            denials(evaluate::decision(&binding, &state(&words.join(" ")), positive))
        };
        let expected = judge(&rules, &words);
        words.reverse();
        prop_assert_eq!(&judge(&rules, &words), &expected);
        prop_assert_eq!(&judge(&annotated, &words), &expected);
    }

    /// An abstention may meet the participation floor and changes nothing else.
    #[test]
    fn abstentions_only_take_part(rules in legal_rules(), version in 1_u32..4, words in wild_words(), positive: bool) {
        let binding = binding(policy(DECISION, version, &rules), &["a", "b", "c"]);
        let judge = |words: &str| {
            let codes = codes(evaluate::decision(&binding, &state(words), positive));
            codes.replace("quorum_not_met", "").split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        let words = words.join(" ");
        prop_assert_eq!(judge(&format!("{words} p3/a:- p3/c:-")), judge(&words));
    }

    /// A later schema version never allows what an earlier one denied.
    #[test]
    fn versions_only_tighten(rules in legal_rules(), words in wild_words(), positive: bool) {
        let judge = |version| {
            let binding = binding(policy(DECISION, version, &rules), &["a", "b", "c"]);
            codes(evaluate::decision(&binding, &state(&words.join(" ")), positive))
        };
        prop_assert_eq!(judge(1), judge(2));
        prop_assert!(judge(3).is_empty() <= judge(2).is_empty());
    }
}
