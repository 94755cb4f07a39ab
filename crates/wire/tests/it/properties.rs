//! Both directions of the codec against the oracle, for arbitrary messages and JSON of every type.

use proptest::prelude::*;
use prost_reflect::{DeserializeOptions, DynamicMessage, Kind, MessageDescriptor};
use serde_json::Value as Json;

use crate::oracle::{self, Entropy};
use crate::types::{TYPES, Type};

fn entropy() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..400)
}

fn any_type() -> impl Strategy<Value = Type> {
    (0..TYPES.len()).prop_map(|index| TYPES[index])
}

/// A type that the oracle reads as we do.
fn plain_type() -> impl Strategy<Value = Type> {
    let plain = TYPES.iter().filter(|kind| !transformed(&kind.descriptor()));
    prop::sample::select(plain.copied().collect::<Vec<_>>())
}

impl std::fmt::Debug for Type {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// Message → JSON → message, each step as the oracle has it.
fn check(kind: Type, message: &DynamicMessage) {
    // Not prost-reflect's encoder, which would leave out a -0.0.
    let bytes = oracle::deterministic(message);
    assert_eq!((kind.deterministic)(&bytes), oracle::deterministic(message), "{kind:?} bytes of {message}");

    let text = (kind.to_json)(&bytes);
    let json: Json = serde_json::from_slice(&text).expect("our JSON is JSON");
    assert_eq!(json, oracle::json(message), "{kind:?} JSON of {message}");

    let back = (kind.from_json)(&text).unwrap_or_else(|error| panic!("{kind:?}: {error} in {json}"));
    let canonical = oracle::canonical(message);
    assert_eq!(back, oracle::deterministic(&canonical), "{kind:?} read from {json}");
    assert_eq!((kind.to_json)(&back), text, "{kind:?} is stable");
}

/// Every type: all defaults, and a large message.
#[test]
fn every_type_agrees_with_the_oracle() {
    let noise: Vec<u8> = (0..4000_u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for kind in TYPES.iter() {
        if !["macp.gateway.v1.Call", "macp.gateway.v1.CallResult"].contains(&kind.name) {
            check(*kind, &DynamicMessage::new(kind.descriptor()));
        }
        for start in 0..12 {
            check(*kind, &oracle::message(&kind.descriptor(), &mut Entropy(&noise[start * 7..])));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn messages_agree_with_the_oracle(kind in any_type(), choices in entropy()) {
        check(kind, &oracle::message(&kind.descriptor(), &mut Entropy(&choices)));
    }

    /// Most messages are small; the two with transforms deserve cases of their own.
    #[test]
    fn envelopes_agree_with_the_oracle(choices in entropy()) {
        let kind = crate::types::named("macp.v1.Envelope");
        check(kind, &oracle::message(&kind.descriptor(), &mut Entropy(&choices)));
    }

    /// Arbitrary JSON, right and wrong: the same texts are refused and the others mean the same.
    #[test]
    fn json_agrees_with_the_oracle(kind in plain_type(), choices in entropy()) {
        let text = object(&kind.descriptor(), &mut Entropy(&choices));
        let mut reader = serde_json::Deserializer::from_str(&text);
        let options = DeserializeOptions::new().deny_unknown_fields(false);
        let expected = DynamicMessage::deserialize_with_options(kind.descriptor(), &mut reader, &options);
        let actual = (kind.from_json)(text.as_bytes());
        match (expected, actual) {
            (Ok(expected), Ok(actual)) => prop_assert_eq!(actual, oracle::deterministic(&expected), "{}", text),
            (Err(_), Err(_)) => {}
            (Ok(_), Err(ours)) => prop_assert!(false, "only we refuse {}: {}", text, ours),
            (Err(theirs), Ok(_)) => prop_assert!(false, "only the oracle refuses {}: {}", text, theirs),
        }
    }
}

/// Whether a structural transform applies somewhere in the type.
fn transformed(kind: &MessageDescriptor) -> bool {
    let own = [
        "macp.v1.Envelope",
        "macp.v1.PolicyDescriptor",
        "macp.gateway.v1.Call",
        "macp.gateway.v1.CallResult",
    ];
    let inner = |kind: Kind| kind.as_message().is_some_and(transformed);
    own.contains(&kind.full_name()) || kind.fields().any(|field| inner(field.kind()))
}

/// An object that mostly fits the type.
fn object(kind: &MessageDescriptor, choices: &mut Entropy<'_>) -> String {
    let mut members = Vec::new();
    for field in kind.fields() {
        let in_oneof = field.containing_oneof().is_some_and(|oneof| !oneof.is_synthetic());
        if choices.below(if in_oneof { 8 } else { 4 }) == 0 || (in_oneof && choices.below(4) > 0) {
            continue;
        }
        let count = choices.below(3);
        let value = match choices.below(24) {
            23 => {
                choices.pick(&["null", "{}", "[]", "7", "true", "\"x\"", "[null]", "{\"k\":null}"]).to_owned()
            }
            _ if field.is_map() => {
                let value = field.kind().as_message().unwrap().map_entry_value_field().kind();
                let entries: Vec<_> =
                    (0..count).map(|index| format!("\"k{index}\":{}", scalar(&value, choices))).collect();
                format!("{{{}}}", entries.join(","))
            }
            _ if field.is_list() => {
                let elements: Vec<_> = (0..count).map(|_| scalar(&field.kind(), choices)).collect();
                format!("[{}]", elements.join(" , "))
            }
            _ => scalar(&field.kind(), choices),
        };
        members.push(format!("\"{}\": {value}", field.name()));
    }
    if choices.below(3) == 0 {
        members.push(r#""x-unknown":[{"a":[1,null,"\ud83d\ude00"]}]"#.to_owned());
    }
    if choices.below(2) == 0 {
        members.reverse();
    }
    format!("{{{}}}", members.join(","))
}

/// A value that mostly fits the kind.
fn scalar(kind: &Kind, choices: &mut Entropy<'_>) -> String {
    let samples: &[&str] = match kind {
        Kind::String => return Json::String(oracle::string(choices)).to_string(),
        Kind::Message(kind) => return object(kind, choices),
        Kind::Bytes => {
            &[r#""""#, r#""AAECAwQ=""#, r#""AAECAwQ""#, r#""-__-""#, r#""+//+""#, r#""A""#, r#""*""#]
        }
        Kind::Bool => &["true", "false", "true", "false", r#""true""#],
        Kind::Int32 | Kind::Uint32 => {
            &["0", "1", "-1", "2147483648", r#""12""#, "4294967295", "-2147483648", r#""x""#, "1.5", r#""""#]
        }
        Kind::Int64 | Kind::Uint64 => &[
            "0",
            "1",
            "9007199254740993",
            r#""9007199254740993""#,
            "-9223372036854775808",
            r#""-9223372036854775808""#,
            "18446744073709551615",
            r#""18446744073709551616""#,
            "0.5",
            r#"" 1""#,
        ],
        Kind::Double => {
            &["0", "-0.0", "1.5e3", r#""1.25""#, r#""NaN""#, r#""Infinity""#, r#""-Infinity""#, r#""x""#]
        }
        Kind::Enum(kind) => {
            let names: Vec<_> = kind.values().map(|value| format!("\"{}\"", value.name())).collect();
            let others = ["0", "3", "77", "-5", "\"NOPE\"", "1.5"].map(str::to_owned);
            return choices.pick(&[names, others.to_vec()].concat());
        }
        other => panic!("{other:?} is not used by these protos"),
    };
    choices.pick(samples).to_owned()
}
