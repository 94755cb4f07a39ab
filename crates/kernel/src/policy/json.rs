//! Reading the JSON text of a policy's rules, and comparing such values.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Reads rules as a registration carries them; empty text is the empty object.
///
/// A repeated key is refused although many readers take the last one: two readers of one policy must not enforce
/// different rules.
pub(super) fn parse_registered(text: &str) -> Result<Value, serde_json::Error> {
    serde_json::from_str::<Unique>(or_empty_object(text)).map(|unique| unique.0)
}

/// Reads rules as history holds them.
pub(super) fn parse_stored(text: &str) -> Result<Value, serde_json::Error> {
    serde_json::from_str(or_empty_object(text))
}

fn or_empty_object(text: &str) -> &str {
    if text.is_empty() { "{}" } else { text }
}

/// Whether two values are the same JSON; numbers count by value, so `1` is `1.0`.
pub(super) fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => {
            // Integers beyond 2^53 would collapse as binary64, so they are compared as they are.
            left == right || (!(is_integer(left) && is_integer(right)) && left.as_f64() == right.as_f64())
        }
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| same(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left.iter().all(|(key, value)| right.get(key).is_some_and(|other| same(value, other)))
        }
        _ => left == right,
    }
}

fn is_integer(number: &Number) -> bool {
    number.is_u64() || number.is_i64()
}

/// The members of an object by key, whatever order the map type keeps.
pub(super) fn sorted(object: &Map<String, Value>) -> Vec<(&str, &Value)> {
    let mut members: Vec<_> = object.iter().map(|(key, value)| (key.as_str(), value)).collect();
    members.sort_unstable_by_key(|(key, _)| *key);
    members
}

/// A JSON value none of whose objects repeats a key.
struct Unique(Value);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UniqueVisitor).map(Self)
    }
}

struct UniqueVisitor;

impl<'de> Visitor<'de> for UniqueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(Unique(item)) = items.next_element()? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = members.next_key::<String>()? {
            if object.contains_key(&key) {
                return Err(A::Error::custom(format_args!("the key {key:?} is repeated")));
            }
            let Unique(value) = members.next_value()?;
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_key_is_refused_at_any_depth() {
        for text in [r#"{"a":1,"a":1}"#, r#"{"a":{"b":1,"\u0062":2}}"#, r#"[{"a":1,"a":1}]"#] {
            assert!(parse_registered(text).is_err(), "{text}");
            assert!(parse_stored(text).is_ok(), "{text}");
        }
        assert_eq!(parse_registered(r#"{"a":{"b":1},"b":1}"#).unwrap()["a"]["b"], 1);
        assert_eq!(parse_registered("").unwrap(), serde_json::json!({}));
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for text in [" ", "{", "{}x", "{'a':1}", "NaN", "{\"a\":1e999}", &"[".repeat(4096)] {
            assert!(parse_registered(text).is_err(), "{text:.20}");
            assert!(parse_stored(text).is_err(), "{text:.20}");
        }
    }

    /// The nearest binary64, not a neighbour: thresholds are compared with quotients (RFC-MACP-0012 §5.2).
    #[test]
    fn numbers_are_read_exactly() {
        for (text, bits) in [
            ("0.6666666666666666", 2.0_f64 / 3.0),
            ("0.66666666666666666666666666", 2.0 / 3.0),
            ("0.3333333333333333148", 1.0 / 3.0),
            ("0.30000000000000004", 0.1 + 0.2),
        ] {
            assert_eq!(
                parse_registered(text).unwrap().as_f64().map(f64::to_bits),
                Some(bits.to_bits()),
                "{text}"
            );
        }
    }

    #[test]
    fn sameness() {
        let same_text = |left, right| same(&parse_stored(left).unwrap(), &parse_stored(right).unwrap());
        assert!(same_text(r#"{"a":1,"b":[2.0]}"#, r#"{"b":[2],"a":1.0}"#));
        assert!(same_text("-0", "0"));
        assert!(!same_text("9007199254740993", "9007199254740992"));
        assert!(!same_text("1", "true"));
        assert!(!same_text("{}", r#"{"a":null}"#));
        assert!(!same_text("[1,2]", "[2,1]"));
    }
}
