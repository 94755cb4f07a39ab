//! Generated inputs: bytes, JSON and protobuf that nobody should send, a bounded number of each.

use std::fmt::Debug;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Map, Value, json};

/// So many values of a strategy. They differ from run to run; a failure shows its own.
pub(crate) fn samples<T: Debug>(count: usize, strategy: impl Strategy<Value = T>) -> Vec<T> {
    let mut runner = TestRunner::default();
    (0..count).map(|_| strategy.new_tree(&mut runner).expect("a value").current()).collect()
}

/// Any bytes.
pub(crate) fn bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..600)
}

/// What begins like HTTP/1.1 or HTTP/2 and does not go on so.
pub(crate) fn almost_http() -> impl Strategy<Value = Vec<u8>> {
    let begun: [&[u8]; 8] = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
        b"PRI * HTTP/2.0\r\n\r\nSM\r",
        b"GET / HTTP/1.1\r\n",
        b"GET /macp/v1/ws HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\n",
        b"POST /macp/v1/Send HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n",
        b"POST /macp/v1/Send HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n{",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
    ];
    (prop::sample::select(begun.to_vec()), bytes()).prop_map(|(begun, rest)| [begun, &rest].concat())
}

/// Member names that mean something somewhere.
const NAMES: [&str; 24] = [
    "envelope",
    "session_id",
    "subscribe_session_id",
    "after_sequence",
    "payload",
    "payload_b64",
    "mode",
    "message_type",
    "message_id",
    "macp_version",
    "timestamp",
    "sender",
    "page_size",
    "page_token",
    "agent_id",
    "policy_id",
    "descriptor",
    "supported_protocol_versions",
    "id",
    "send",
    "subscribe",
    "call",
    "watch",
    "ping",
];

/// Any JSON, with members that mean something among it.
pub(crate) fn json_text() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        prop::sample::select(
            &["1.0", "Send", "SessionStart", "SESSIONS", "AAAA", "macp.mode.decision.v1"][..]
        )
        .prop_map(Value::from),
    ];
    let name = prop_oneof![4 => prop::sample::select(&NAMES[..]).prop_map(str::to_owned), 1 => ".{0,5}"];
    let value = leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((name.clone(), inner), 0..6).prop_map(|members| Value::Object(Map::from_iter(members))),
        ]
    });
    // Cut short now and then.
    (value, 0_usize..400).prop_map(|(value, cut)| {
        let text = value.to_string();
        text.chars().take(if cut < 40 { cut } else { usize::MAX }).collect()
    })
}

/// Texts that are hard on parsers.
pub(crate) fn nasty_texts() -> Vec<String> {
    let nested = json!({ "envelope": 1 }).to_string();
    vec![
        "[".repeat(50_000),
        r#"{"envelope":"#.repeat(5_000),
        nested.replace('1', &format!("{}1{}", "[".repeat(20_000), "]".repeat(20_000))),
        r#"{"a":1,"a":2}"#.into(),
        r#"{"session_id":"\ud800"}"#.into(),
        format!(r#"{{"after_sequence":1{}}}"#, "0".repeat(5_000)),
        r#"{"page_size":1e999999999}"#.into(),
        "\u{FEFF}{}".into(),
        "null".into(),
        String::new(),
    ]
}

/// A message with some of its bytes changed, and cut or grown.
pub(crate) fn mutated(message: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let changes = vec((any::<prop::sample::Index>(), any::<u8>()), 0..6);
    (changes, any::<prop::sample::Index>(), any::<bool>()).prop_map(move |(changes, cut, whole)| {
        let mut bytes = message.clone();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if !whole {
            bytes.truncate(cut.index(message.len()));
        }
        bytes
    })
}
