//! The rules for JSON text: grammar, duplicate keys, nesting and encoding, also where nothing is read.

use std::collections::BTreeSet;
use std::fmt;

use macp_wire::json::{self, JsonErrorKind};
use macp_wire::v1::{Ack, GetSessionRequest, InitializeRequest, ListModesRequest, SendRequest};
use proptest::prelude::*;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// Whether the text is an object with well-formed members, all of them ignored.
fn accepted(text: &[u8]) -> Result<(), JsonErrorKind> {
    json::from_slice::<ListModesRequest>(text).map(drop).map_err(|error| error.kind())
}

#[test]
fn text_that_is_not_one_json_value_is_refused() {
    for text in [
        "",
        " ",
        "{",
        "}",
        "{}}",
        "{} {}",
        "{}x",
        "{,}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{a:1}",
        "{'a':1}",
        "{\"a\":1 \"b\":2}",
        "{\"a\":[1,]}",
        "{\"a\":[,1]}",
        "{\"a\":[1 2]}",
        "{\"a\":[}",
        "{\"a\":tru}",
        "{\"a\":nulll}",
        "{\"a\":\"\n\"}",
        "{\"a\":\"\\x\"}",
        "{\"a\":\"\\u12\"}",
        "{\"a\":\"\\u12g4\"}",
        "{\"a\":\"\\ud800\"}",
        "{\"a\":\"\\udc00\"}",
        "{\"a\":\"\\ud800\\n\"}",
        "{\"a\":\"\\ud800\\u0041\"}",
        "{\"a\":\"\\",
        "{\"a\":\"\\u",
        "{\"a\":\"\\ud83d\\u",
        "{\"a\":\"",
        "{\"a",
        "\u{feff}{}",
        "{/**/}",
        "{\"a\":01}",
    ] {
        assert_eq!(accepted(text.as_bytes()), Err(JsonErrorKind::Text), "{text}");
    }
    assert_eq!(accepted(b"{\"a\":\"\xff\"}"), Err(JsonErrorKind::Text));
    assert_eq!(accepted(b"{\"a\":\"\xed\xa0\x80\"}"), Err(JsonErrorKind::Text));
    for text in [
        "{}",
        " \t\r\n{ } \n",
        "{\"a\":\"\\ud83d\\ude00\\/\\b\\f\\u0000\"}",
        "{\"\":-0.0e-0}",
        "{\"a\":[[],{}]}",
    ] {
        assert_eq!(accepted(text.as_bytes()), Ok(()), "{text}");
    }
    for text in ["5", "\"x\"", "null", "[]", "true"] {
        assert_eq!(accepted(text.as_bytes()), Err(JsonErrorKind::Value), "{text}");
    }
}

#[test]
fn a_key_may_not_repeat_at_any_depth() {
    let many = |last: &str| {
        let members: Vec<_> = (0..40).map(|index| format!("\"k{index}\":0")).collect();
        format!("{{{},\"{last}\":0}}", members.join(","))
    };
    for text in [
        r#"{"mode":"a","mode":"a"}"#.to_owned(),
        r#"{"unknown":1,"unknown":2}"#.to_owned(),
        r#"{"unknown":1,"\u0075nknown":2}"#.to_owned(),
        r#"{"unknown":{"a":1,"a":2}}"#.to_owned(),
        r#"{"unknown":[[{"deep":[{"a":1,"\u0061":2}]}]]}"#.to_owned(),
        r#"{"a":null,"a":null}"#.to_owned(),
        many("k3"),
        many("k39"),
    ] {
        assert_eq!(accepted(text.as_bytes()), Err(JsonErrorKind::Text), "{text}");
    }
    for text in [
        r#"{"a":1,"A":2}"#.to_owned(),
        r#"{"a":{"a":{"a":1}},"b":[{"c":1},{"c":1}]}"#.to_owned(),
        many("k40"),
    ] {
        assert_eq!(accepted(text.as_bytes()), Ok(()), "{text}");
    }
    // In members that are read: a field, a map, an envelope, its payload and a policy's rules.
    for text in [
        r#"{"envelope":{"mode":"a","mode":"a","payload_b64":""}}"#,
        r#"{"envelope":{"payload":{"x":1,"x":2},"message_type":"Signal"}}"#,
        r#"{"envelope":{"payload":{"data":"","data":""},"message_type":"Signal"}}"#,
        r#"{"envelope":{"mode":5},"x":{"a":1,"a":1}}"#,
    ] {
        let error = json::from_slice::<SendRequest>(text.as_bytes()).unwrap_err();
        assert_eq!(error.kind(), JsonErrorKind::Text, "{text}: {error}");
        assert!(error.message().contains("duplicate"), "{error}");
    }
    let features = r#"{"capabilities":{"experimental":{"features":{"a":"1","a":"1"}}}}"#;
    assert_eq!(
        json::from_slice::<InitializeRequest>(features.as_bytes()).unwrap_err().kind(),
        JsonErrorKind::Text
    );
}

#[test]
fn nesting_is_capped() {
    let nested = |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
    assert_eq!(accepted(nested(127).as_bytes()), Ok(()));
    assert_eq!(accepted(nested(128).as_bytes()), Err(JsonErrorKind::Text));
    assert_eq!(accepted(nested(200).as_bytes()), Err(JsonErrorKind::Text));
    assert_eq!(accepted("{\"a\":".repeat(100_000).as_bytes()), Err(JsonErrorKind::Text));
    // Siblings do not add up.
    let flat = format!("{{\"a\":[{}[]]}}", "[],".repeat(1000));
    assert_eq!(accepted(flat.as_bytes()), Ok(()));
    // Also inside a payload, whose text is set aside and read later.
    let payload = format!(r#"{{"envelope":{{"message_type":"Signal","payload":{}}}}}"#, nested(130));
    assert_eq!(json::from_slice::<SendRequest>(payload.as_bytes()).unwrap_err().kind(), JsonErrorKind::Text);
}

/// The kind of a fault must not depend on which fault comes first.
#[test]
fn a_fault_of_the_text_outweighs_a_fault_of_a_value() {
    for text in ["{\"session_id\":5", "{\"session_id\":5}x", "{\"session_id\":5,\"a\":{\"b\":1,\"b\":1}}"] {
        let error = json::from_slice::<GetSessionRequest>(text.as_bytes()).unwrap_err();
        assert_eq!(error.kind(), JsonErrorKind::Text, "{text}: {error}");
    }
    let error = json::from_slice::<GetSessionRequest>(b"{\"session_id\":5}").unwrap_err();
    assert_eq!(error.kind(), JsonErrorKind::Value);
}

#[test]
fn a_fault_says_where_it_is() {
    let text = br#"{"supported_protocol_versions":["1.0", 2]}"#;
    let error = json::from_slice::<InitializeRequest>(text).unwrap_err();
    assert_eq!(error.path(), "supported_protocol_versions[1]");
    assert_eq!(error.to_string(), "supported_protocol_versions[1]: expected a string, found a number");
    let text = br#"{"error":{"details":"*"}}"#;
    let error = json::from_slice::<Ack>(text).unwrap_err();
    assert_eq!(error.path(), "error.details");
    let error = json::from_slice::<Ack>(b"{\"ok\" true}").unwrap_err();
    assert_eq!(error.to_string(), "expected `:` at byte 6");
    // A fault carries no more than the start of a name from the input.
    let text = format!("{{\"{0}\":1,\"{0}\":1}}", "é".repeat(100_000));
    let error = json::from_slice::<Ack>(text.as_bytes()).unwrap_err();
    assert!(error.to_string().len() < 300);
}

/// A JSON text in which no object repeats a key, by serde_json.
struct Unique;

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Unique {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self, A::Error> {
        while array.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self, A::Error> {
        let mut names = BTreeSet::new();
        while let Some((name, _)) = object.next_entry::<String, Self>()? {
            if !names.insert(name) {
                return Err(A::Error::custom("duplicate"));
            }
        }
        Ok(self)
    }
}

/// Texts made of JSON's own pieces: most are nearly right.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"a\"",
        "\"b\"",
        "\"\\u0061\"",
        "\"\\ud83d\\ude00\"",
        "\"\\ud83d\"",
        "\"\\n\"",
        "\"\n\"",
        "1",
        "-0",
        "01",
        "1.5e-3",
        "1.",
        "true",
        "null",
        "nul",
        " ",
        "\n",
        "\"é\"",
        "\u{a0}",
        "\\",
        "\"",
    ]);
    let value = prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat());
    prop_oneof![value.clone(), value.prop_map(|value| format!("{{\"a\":{value}}}"))]
}

/// Well-formed texts with a chance of repeated keys.
fn well_formed() -> impl Strategy<Value = String> {
    let leaf =
        prop::sample::select(vec!["1", "\"\\u0041\"", "null", "true", "-1.5E-2", "\"\"", "[]", "{}", " 0 "]);
    let tree = leaf.prop_map(str::to_owned).prop_recursive(5, 40, 5, |inner| {
        let name = prop::sample::select(vec!["a", "b", "c", "\\u0061", "A", ""]);
        let object = prop::collection::vec((name, inner.clone()), 0..4).prop_map(|members| {
            let members: Vec<_> =
                members.iter().map(|(name, value)| format!("\"{name}\" :{value}")).collect();
            format!("{{{}}}", members.join(","))
        });
        let array =
            prop::collection::vec(inner, 0..4).prop_map(|elements| format!("[{}]", elements.join(",")));
        prop_oneof![object, array]
    });
    tree.prop_map(|value| format!("{{\"a\":{value}}}"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_same_texts_are_json_as_for_serde_json(text in prop_oneof![pieces(), well_formed()]) {
        let expected = serde_json::from_str::<Unique>(&text).is_ok();
        let actual = accepted(text.as_bytes()) != Err(JsonErrorKind::Text);
        prop_assert_eq!(actual, expected, "{}", text);
    }

    #[test]
    fn strings_come_back(value in ".*", escaped in any::<bool>()) {
        let text = json::to_vec(&GetSessionRequest { session_id: value.clone() });
        let by_serde: serde_json::Value = serde_json::from_slice(&text).unwrap();
        prop_assert_eq!(by_serde["session_id"].as_str(), Some(value.as_str()));
        let name = if escaped { "\\u0073ession_id" } else { "session_id" };
        let escapes: String = value.encode_utf16().map(|unit| format!("\\u{unit:04X}")).collect();
        let text = if escaped { format!("{{\"{name}\":\"{escapes}\"}}").into_bytes() } else { text };
        prop_assert_eq!(json::from_slice::<GetSessionRequest>(&text).unwrap().session_id, value);
    }
}
