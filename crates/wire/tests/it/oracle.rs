//! An independent reading of the spec on dynamic messages: arbitrary messages, their expected JSON (the
//! proto3 mapping of prost-reflect plus the five deviations) and their expected deterministic bytes.

use prost::Message;
use prost_reflect::{
    DynamicMessage, Kind, MapKey, MessageDescriptor, ReflectMessage, SerializeOptions, Value,
};
use serde_json::Value as Json;

use crate::types::POOL;

/// A supply of choices that shrinks well: when it runs out every choice is the first one.
pub(crate) struct Entropy<'a>(pub(crate) &'a [u8]);

impl Entropy<'_> {
    pub(crate) fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().map_or((0, self.0), |(first, rest)| (*first, rest));
        self.0 = rest;
        first
    }

    pub(crate) fn below(&mut self, count: usize) -> usize {
        usize::from(self.byte()) % count
    }

    pub(crate) fn pick<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())].clone()
    }

    fn word(&mut self) -> u64 {
        (0..8).fold(0, |word, _| word << 8 | u64::from(self.byte()))
    }
}

pub(crate) const MODES: [&str; 9] = [
    "",
    "macp.mode.decision.v1",
    "macp.mode.proposal.v1",
    "macp.mode.task.v1",
    "macp.mode.handoff.v1",
    "macp.mode.quorum.v1",
    "ext.multi_round.v1",
    "macp.mode.multi_round.v1",
    "ext.other.v1",
];

/// Texts of `rules`, and what JSON makes of them.
const RULES: [(&str, &str); 7] = [
    ("", ""),
    ("text", "text"),
    (r#"{"a":1}"#, r#"{"a":1}"#),
    ("{ \"b\" : [1, \"\\u0061\\n\"],\n\"a\" : {} }", "{\"b\":[1,\"a\\n\"],\"a\":{}}"),
    ("[1]", "[1]"),
    ("{", "{"),
    ("{} x", "{} x"),
];

/// An arbitrary message of a type.
pub(crate) fn message(kind: &MessageDescriptor, choices: &mut Entropy<'_>) -> DynamicMessage {
    let mut message = DynamicMessage::new(kind.clone());
    for field in kind.fields() {
        if choices.below(4) == 0 {
            continue;
        }
        let count = choices.below(4);
        if field.is_map() {
            let value = field.kind().as_message().unwrap().map_entry_value_field().kind();
            let entries = (0..count).map(|_| (MapKey::String(string(choices)), scalar(&value, choices)));
            message.set_field(&field, Value::Map(entries.collect()));
        } else if field.is_list() {
            let values = (0..count).map(|_| scalar(&field.kind(), choices)).collect();
            message.set_field(&field, Value::List(values));
        } else {
            message.set_field(&field, scalar(&field.kind(), choices));
        }
    }
    for oneof in kind.oneofs().filter(|oneof| !oneof.is_synthetic()) {
        // Else the last member would nearly always win.
        let field = choices.pick(&oneof.fields().collect::<Vec<_>>());
        message.set_field(&field, scalar(&field.kind(), choices));
    }
    match kind.full_name() {
        "macp.v1.Envelope" => fit_payload(&mut message, choices),
        "macp.v1.PolicyDescriptor" => {
            message.set_field_by_name("rules", Value::String(choices.pick(&RULES).0.to_owned()));
        }
        "macp.gateway.v1.Call" => fit_call(&mut message, "request", choices),
        "macp.gateway.v1.CallResult" => fit_call(&mut message, "response", choices),
        _ => {}
    }
    message
}

/// Gives an envelope a mode, a type and, often, a payload that fits them.
fn fit_payload(envelope: &mut DynamicMessage, choices: &mut Entropy<'_>) {
    let payloads: Vec<_> = POOL.all_messages().filter(|kind| kind.name().ends_with("Payload")).collect();
    let payload = choices.pick(&payloads);
    let package = payload.package_name();
    let mode = match package.split('.').nth(2) {
        Some(mode) if package.starts_with("macp.modes.") => format!("macp.mode.{mode}.v1"),
        _ => choices.pick(&MODES).to_owned(),
    };
    envelope.set_field_by_name("mode", Value::String(mode));
    let message_type = payload.name().trim_end_matches("Payload").to_owned();
    envelope.set_field_by_name("message_type", Value::String(message_type));
    let content = message(&payload, choices);
    let bytes = match choices.below(4) {
        0 => return,
        1 => content.encode_to_vec(),
        2 => [content.encode_to_vec(), vec![0xF8, 0x7F, 0x01]].concat(), // field 2047: unknown
        _ => deterministic(&content),
    };
    envelope.set_field_by_name("payload", Value::Bytes(bytes.into()));
}

fn fit_call(call: &mut DynamicMessage, member: &str, choices: &mut Entropy<'_>) {
    let methods: Vec<_> = POOL.services().flat_map(|service| service.methods().collect::<Vec<_>>()).collect();
    let unary: Vec<_> = methods.into_iter().filter(|method| !method.is_server_streaming()).collect();
    let method = choices.pick(&unary);
    let kind = if member == "request" { method.input() } else { method.output() };
    call.set_field_by_name("method", Value::String(method.name().to_owned()));
    call.set_field_by_name(member, Value::Bytes(message(&kind, choices).encode_to_vec().into()));
}

pub(crate) fn string(choices: &mut Entropy<'_>) -> String {
    let samples = [
        "",
        "a",
        "Zürich 🎉",
        "\"quoted\\\"\n\r\t\u{0}\u{1f}\u{7f}",
        "\u{2028}</script>",
        "timestamp",
        "null",
    ];
    match choices.below(8) {
        7 => (0..choices.below(30)).map(|_| char::from(choices.byte())).collect(),
        index => samples[index].to_owned(),
    }
}

fn scalar(kind: &Kind, choices: &mut Entropy<'_>) -> Value {
    const WIDE: [i64; 9] = [
        0,
        1,
        -1,
        9_007_199_254_740_991,
        9_007_199_254_740_992,
        -9_007_199_254_740_991,
        -9_007_199_254_740_992,
        i64::MIN,
        i64::MAX,
    ];
    match kind {
        Kind::String => Value::String(string(choices)),
        Kind::Bytes => {
            Value::Bytes((0..choices.below(40)).map(|_| choices.byte()).collect::<Vec<_>>().into())
        }
        Kind::Bool => Value::Bool(choices.below(2) == 1),
        Kind::Int32 => Value::I32(choices.pick(&[0, 1, -1, i32::MIN, i32::MAX])),
        Kind::Uint32 => Value::U32(choices.pick(&[0, 1, 1000, u32::MAX])),
        Kind::Int64 => Value::I64(match choices.below(3) {
            0 => choices.word().cast_signed(),
            _ => choices.pick(&WIDE),
        }),
        Kind::Uint64 => Value::U64(match choices.below(3) {
            0 => choices.word(),
            1 => u64::MAX,
            _ => choices.pick(&WIDE).unsigned_abs(),
        }),
        Kind::Double => Value::F64(match choices.below(8) {
            0 => f64::from_bits(choices.word()),
            index => [0.0, -0.0, 0.92, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300, 5e-324][index],
        }),
        Kind::Enum(_) => Value::EnumNumber(choices.pick(&[0, 1, 2, 3, 4, 5, 77, -1, i32::MIN])),
        Kind::Message(kind) => Value::Message(message(kind, choices)),
        other => panic!("{other:?} is not used by these protos"),
    }
}

/// The JSON that the mapping demands for a message.
pub(crate) fn json(message: &DynamicMessage) -> Json {
    let options = SerializeOptions::new()
        .use_proto_field_name(true)
        .stringify_64_bit_integers(false)
        .skip_default_fields(false);
    let mut json = message.serialize_with_options(serde_json::value::Serializer, &options).unwrap();
    // prost-reflect leaves oneof members and messages out when unset, as the mapping wants.
    deviate(message, json.as_object_mut().unwrap());
    json
}

fn deviate(message: &DynamicMessage, json: &mut serde_json::Map<String, Json>) {
    for field in message.descriptor().fields() {
        let Some(member) = json.get_mut(field.name()) else { continue };
        match (&*message.get_field(&field), member) {
            (Value::Message(inner), Json::Object(json)) => deviate(inner, json),
            (Value::List(values), Json::Array(elements)) => {
                for (value, element) in values.iter().zip(elements) {
                    if let (Value::Message(inner), Json::Object(json)) = (value, element) {
                        deviate(inner, json);
                    }
                }
            }
            (Value::I64(value), member) if value.unsigned_abs() > (1 << 53) - 1 => {
                *member = value.to_string().into();
            }
            (Value::U64(value), member) if *value > (1 << 53) - 1 => *member = value.to_string().into(),
            _ => {}
        }
    }
    let text = |name| message.get_field_by_name(name).unwrap().as_str().unwrap().to_owned();
    let bytes = |name| message.get_field_by_name(name).unwrap().as_bytes().unwrap().clone();
    match message.descriptor().full_name() {
        "macp.v1.Envelope" => {
            json.remove("timestamp_unix_ms");
            let unix_ms = message.get_field_by_name("timestamp_unix_ms").unwrap().as_i64().unwrap();
            json.insert("timestamp".into(), timestamp(unix_ms).into());
            let encoded = json.remove("payload").unwrap();
            match exact_payload(&text("mode"), &text("message_type"), &bytes("payload")) {
                Some(payload) => json.insert("payload".into(), self::json(&payload)),
                None => json.insert("payload_b64".into(), encoded),
            };
        }
        "macp.v1.PolicyDescriptor" => {
            if let Ok(rules @ Json::Object(_)) = serde_json::from_str(&text("rules")) {
                json.insert("rules".into(), rules);
            }
        }
        "macp.gateway.v1.Call" => {
            json.insert("request".into(), self::json(&request(&text("method"), &bytes("request"))));
        }
        "macp.gateway.v1.CallResult" => {
            json.insert("response".into(), self::json(&response(&text("method"), &bytes("response"))));
        }
        _ => {}
    }
}

/// RFC 3339, written by prost-types.
fn timestamp(unix_ms: i64) -> String {
    let unix_ms = unix_ms.clamp(-62_167_219_200_000, 253_402_300_799_999);
    let nanos = i32::try_from(unix_ms.rem_euclid(1000)).unwrap() * 1_000_000;
    prost_types::Timestamp { seconds: unix_ms.div_euclid(1000), nanos }.to_string()
}

/// The payload's message by §10.12, by building its name as the RFC does.
pub(crate) fn payload_kind(mode: &str, message_type: &str) -> Option<MessageDescriptor> {
    const CORE: [&str; 7] = [
        "Signal",
        "Progress",
        "SessionStart",
        "SessionCancel",
        "SessionSuspend",
        "SessionResume",
        "Commitment",
    ];
    let name = if CORE.contains(&message_type) {
        format!("macp.v1.{message_type}Payload")
    } else if mode == "ext.multi_round.v1" {
        format!("macp.modes.multi_round.v1.{message_type}Payload")
    } else {
        let mode = mode.strip_prefix("macp.mode.")?.strip_suffix(".v1")?;
        format!("macp.modes.{mode}.v1.{message_type}Payload")
    };
    POOL.get_message_by_name(&name)
}

fn exact_payload(mode: &str, message_type: &str, bytes: &[u8]) -> Option<DynamicMessage> {
    let payload = DynamicMessage::decode(payload_kind(mode, message_type)?, bytes).ok()?;
    (deterministic(&payload) == bytes).then_some(payload)
}

fn request(method: &str, bytes: &[u8]) -> DynamicMessage {
    DynamicMessage::decode(rpc(method).input(), bytes).unwrap()
}

fn response(method: &str, bytes: &[u8]) -> DynamicMessage {
    DynamicMessage::decode(rpc(method).output(), bytes).unwrap()
}

fn rpc(name: &str) -> prost_reflect::MethodDescriptor {
    let service = POOL.services().next().unwrap();
    service.methods().find(|method| method.name() == name).unwrap()
}

/// What a round trip through JSON makes of a message: the parts that JSON says in one way only.
pub(crate) fn canonical(message: &DynamicMessage) -> DynamicMessage {
    // Not built from `fields()`, which would leave out a -0.0.
    let mut result = message.clone();
    for (field, value) in message.fields() {
        let each = |value: &Value| match value {
            Value::Message(inner) => Value::Message(canonical(inner)),
            value => value.clone(),
        };
        let value = match value {
            Value::List(values) => Value::List(values.iter().map(each).collect()),
            value => each(value),
        };
        result.set_field(&field, value);
    }
    let text = |name| message.get_field_by_name(name).unwrap().as_str().unwrap().to_owned();
    let bytes = |name| message.get_field_by_name(name).unwrap().as_bytes().unwrap().clone();
    let block = |message: &DynamicMessage| Value::Bytes(deterministic(&canonical(message)).into());
    match message.descriptor().full_name() {
        "macp.v1.Envelope" => {
            let unix_ms = message.get_field_by_name("timestamp_unix_ms").unwrap().as_i64().unwrap();
            let written = unix_ms.clamp(-62_167_219_200_000, 253_402_300_799_999);
            result.set_field_by_name("timestamp_unix_ms", Value::I64(written));
        }
        "macp.v1.PolicyDescriptor" => {
            let rules = RULES.iter().find(|(rules, _)| *rules == text("rules")).unwrap().1;
            result.set_field_by_name("rules", Value::String(rules.to_owned()));
        }
        "macp.gateway.v1.Call" => {
            result.set_field_by_name("request", block(&request(&text("method"), &bytes("request"))));
        }
        "macp.gateway.v1.CallResult" => {
            result.set_field_by_name("response", block(&response(&text("method"), &bytes("response"))));
        }
        _ => {}
    }
    result
}

/// Deterministic bytes by the seven rules of §10.13.
pub(crate) fn deterministic(message: &DynamicMessage) -> Vec<u8> {
    let mut out = Vec::new();
    for field in message.descriptor().fields() {
        // Fields come in ascending order of their numbers.
        if field.supports_presence() && !message.has_field(&field) {
            continue;
        }
        match &*message.get_field(&field) {
            Value::List(values) => values.iter().for_each(|value| put(&mut out, field.number(), value)),
            Value::Map(entries) => {
                let mut entries: Vec<_> = entries.iter().collect();
                entries.sort_by_key(|(key, _)| key.as_str().unwrap().as_bytes());
                for (key, value) in entries {
                    let mut entry = Vec::new();
                    put(&mut entry, 1, &Value::String(key.as_str().unwrap().to_owned()));
                    put(&mut entry, 2, value);
                    put(&mut out, field.number(), &Value::Bytes(entry.into()));
                }
            }
            value => {
                let default = match value {
                    Value::F64(value) => value.to_bits() == 0,
                    value => value.is_default(&field.kind()),
                };
                if field.supports_presence() || !default {
                    put(&mut out, field.number(), value);
                }
            }
        }
    }
    out
}

fn put(out: &mut Vec<u8>, number: u32, value: &Value) {
    let wire_type = match value {
        Value::F64(_) => 1,
        Value::String(_) | Value::Bytes(_) | Value::Message(_) => 2,
        _ => 0,
    };
    varint(out, u64::from(number) << 3 | wire_type);
    let mut block = |bytes: &[u8]| {
        varint(out, bytes.len() as u64);
        out.extend_from_slice(bytes);
    };
    match value {
        Value::String(text) => block(text.as_bytes()),
        Value::Bytes(bytes) => block(bytes),
        Value::Message(message) => block(&deterministic(message)),
        Value::Bool(value) => varint(out, u64::from(*value)),
        Value::I32(value) | Value::EnumNumber(value) => varint(out, i64::from(*value).cast_unsigned()),
        Value::I64(value) => varint(out, value.cast_unsigned()),
        Value::U32(value) => varint(out, u64::from(*value)),
        Value::U64(value) => varint(out, *value),
        Value::F64(value) => {
            let bits = if value.is_nan() { 0x7FF8_0000_0000_0000 } else { value.to_bits() };
            out.extend_from_slice(&bits.to_le_bytes());
        }
        other => panic!("{other:?} is not used by these protos"),
    }
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value > 0x7F {
        out.push((value & 0x7F) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
