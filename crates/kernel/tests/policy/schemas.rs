//! Agreement of admission with the published JSON Schemas on generated rules.
//!
//! The schemas are older than the newest text of RFC-MACP-0012, which only ever narrowed them. So whatever is
//! admitted is valid by its schema, and whatever is valid and not admitted shows one of [`DIFFERENCES`].

use jsonschema::Validator;
use macp_kernel::policy::Policy;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Map, Value, json};

use crate::support::{DECISION, HANDOFF, PROPOSAL, QUORUM, TASK, descriptor};

/// Whether rules of a mode show a difference.
type Shows = fn(&str, &Value) -> bool;

/// Where admission is stricter than the schema, why, and how to recognise it in rules that the schema accepts.
const DIFFERENCES: &[(&str, Shows)] = &[
    (
        "keys: levels are closed since 1.4.0 (§4), the schemas leave them open; annotations stay legal, and no \
         vendor extension is implemented here",
        |mode, rules| !keys_are_closed(mode, rules),
    ),
    ("voting.threshold: 0 is excluded (§4.1), the schema starts at 0", |_, rules| {
        rules["voting"]["threshold"].as_f64() == Some(0.0)
    }),
    ("voting.weights: each is above 0 (§4.1), the schema starts at 0", |_, rules| {
        rules["voting"]["weights"].as_object().is_some_and(|it| it.values().any(|w| w.as_f64() == Some(0.0)))
    }),
    (
        "voting.weights: not empty where given (§4.1), the schema only asks for presence under weighted",
        |_, rules| rules["voting"]["weights"] == json!({}),
    ),
    (
        "supermajority: the default threshold is no supermajority (§4.1), the schema bounds only a given one",
        |_, rules| {
            rules["voting"]["algorithm"] == "supermajority" && rules["voting"].get("threshold").is_none()
        },
    ),
    ("majority: the threshold is at least one half (§4.1), the schema does not say so", |_, rules| {
        rules["voting"]["algorithm"] == "majority"
            && rules["voting"]["threshold"].as_f64().is_some_and(|it| it < 0.5)
    }),
    (
        "threshold.type: `weighted` is reserved and refused (§4.2), the schema still lists it",
        |mode, rules| mode == QUORUM && rules["threshold"]["type"] == "weighted",
    ),
    ("threshold.value: above 0 where given (§4.2), the schema starts at 0", |mode, rules| {
        mode == QUORUM && rules["threshold"]["value"].as_f64() == Some(0.0)
    }),
    ("threshold.value: a percentage is at most 100 (§4.2), the schema has no upper bound", |mode, rules| {
        mode == QUORUM
            && rules["threshold"]["type"] == "percentage"
            && rules["threshold"]["value"].as_f64().is_some_and(|it| it > 100.0)
    }),
    (
        "commitment: designated_role needs roles in every mode (§4), only the Decision schema says so",
        |mode, rules| {
            mode != DECISION
                && rules["commitment"]["authority"] == "designated_role"
                && rules["commitment"]["designated_roles"].as_array().is_none_or(Vec::is_empty)
        },
    ),
];

const MODES: [(&str, &str); 5] = [
    (DECISION, include_str!("../data/policy-schemas/decision-rules.schema.json")),
    (PROPOSAL, include_str!("../data/policy-schemas/proposal-rules.schema.json")),
    (TASK, include_str!("../data/policy-schemas/task-rules.schema.json")),
    (HANDOFF, include_str!("../data/policy-schemas/handoff-rules.schema.json")),
    (QUORUM, include_str!("../data/policy-schemas/quorum-rules.schema.json")),
];

fn schema(mode: &str) -> Value {
    let text = MODES.iter().find(|(name, _)| *name == mode).unwrap().1;
    serde_json::from_str(text).unwrap()
}

/// Whether every key at every level is one of the schema's properties or an annotation.
fn keys_are_closed(mode: &str, rules: &Value) -> bool {
    fn closed(schema: &Value, value: &Value) -> bool {
        let (Some(properties), Some(members)) = (schema["properties"].as_object(), value.as_object()) else {
            return true;
        };
        members
            .iter()
            .filter(|(key, _)| !key.starts_with(['_', '$']))
            .all(|(key, below)| properties.get(key).is_some_and(|schema| closed(schema, below)))
    }
    closed(&schema(mode), rules)
}

/// Values that fit the schema of one position more often than not.
fn value(schema: &Value) -> BoxedStrategy<Value> {
    let wrong = prop::sample::select(vec![
        Value::Null,
        json!(true),
        json!(0),
        json!(-1),
        json!(0.5),
        json!("x"),
        json!([]),
        json!({}),
        json!([7]),
    ]);
    let fitting = match schema["type"].as_str().unwrap() {
        "object" if schema.get("properties").is_some() => return object(schema),
        "object" => prop::collection::btree_map("[ab_]", number(), 0..3)
            .prop_map(|it| Value::Object(it.into_iter().collect()))
            .boxed(),
        "string" => prop::sample::select(schema["enum"].as_array().unwrap().clone()).boxed(),
        "boolean" => any::<bool>().prop_map(Value::from).boxed(),
        "array" => prop::collection::vec("[ab]", 0..3).prop_map(|it| json!(it)).boxed(),
        _ => number(),
    };
    prop_oneof![24 => fitting, 1 => wrong].boxed()
}

/// Numbers at and around every bound, whole ones also written with a fraction.
fn number() -> BoxedStrategy<Value> {
    prop::sample::select(vec![
        json!(0),
        json!(1),
        json!(2),
        json!(0.0),
        json!(1.0),
        json!(0.3),
        json!(0.5),
        json!(0.50000001),
        json!(0.6666666666666666),
        json!(0.99),
        json!(1.5),
        json!(3.0),
        json!(75),
        json!(75.0),
        json!(100),
        json!(101),
        json!(-1),
        json!(-0.5),
        json!(1e18),
        json!(u64::MAX),
    ])
    .boxed()
}

/// An object with some of the schema's properties, sometimes a key more, rarely something else.
fn object(schema: &Value) -> BoxedStrategy<Value> {
    let properties = schema["properties"].as_object().unwrap();
    let mut members: BoxedStrategy<Map<String, Value>> = Just(Map::new()).boxed();
    for (key, below) in properties {
        let key = key.clone();
        let member = prop::option::weighted(0.6, value(below));
        members = (members, member)
            .prop_map(move |(mut members, member)| {
                if let Some(member) = member {
                    members.insert(key.clone(), member);
                }
                members
            })
            .boxed();
    }
    let extra = prop::sample::select(vec![
        "_note",
        "$id",
        "x-acme.limits",
        "x-acme",
        "treshold",
        "audit",
        "weighted",
    ]);
    let extra = prop::option::weighted(0.08, (extra, prop_oneof![Just(json!({})), Just(json!(1))]));
    let object = (members, extra).prop_map(|(mut members, extra)| {
        members.extend(extra.map(|(key, value)| (key.to_owned(), value)));
        Value::Object(members)
    });
    prop_oneof![60 => object, 1 => Just(Value::Null), 1 => Just(json!([]))].boxed()
}

#[test]
fn admission_agrees_with_the_published_schemas() {
    let mut seen = vec![0_u32; DIFFERENCES.len()];
    for (mode, _) in MODES {
        let schema = schema(mode);
        let validator: Validator = jsonschema::validator_for(&schema).unwrap();
        let strategy = object(&schema);
        let (mut admitted, mut refused, mut differing) = (0_u32, 0_u32, 0_u32);
        let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(4000) });
        for _ in 0..4000 {
            let rules = strategy.new_tree(&mut runner).unwrap().current();
            let ours = Policy::candidate(descriptor(mode, 3, &rules.to_string()));
            let valid = validator.is_valid(&rules);
            let shown: Vec<usize> =
                (0..DIFFERENCES.len()).filter(|i| valid && DIFFERENCES[*i].1(mode, &rules)).collect();
            assert_eq!(
                ours.is_ok(),
                valid && shown.is_empty(),
                "{mode} {rules}: schema says {valid}, we say {ours:?}; differences {shown:?}"
            );
            match (valid, shown.is_empty()) {
                (true, true) => admitted += 1,
                (true, false) => differing += 1,
                (false, _) => refused += 1,
            }
            for i in shown {
                seen[i] += 1;
            }
        }
        println!("{mode}: {admitted} admitted, {refused} refused by both, {differing} by us alone");
        assert!(admitted > 100 && refused > 100 && differing > 50, "the corpus is lopsided");
    }
    // A difference that no longer shows is no difference.
    for (count, (reason, _)) in seen.iter().zip(DIFFERENCES) {
        assert!(*count > 0, "never seen: {reason}");
    }
}

/// The descriptors of the provided profiles are valid by the schemas as well.
#[test]
fn provided_profiles_are_valid() {
    let validator = jsonschema::validator_for(&schema(DECISION)).unwrap();
    for policy in Policy::provided() {
        let rules: Value = serde_json::from_str(&policy.descriptor().rules).unwrap();
        assert!(validator.is_valid(&rules), "{}", policy.id());
    }
}
