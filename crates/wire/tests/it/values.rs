//! Golden vectors of the mapping: names, defaults, presence, bytes, maps, oneofs, rules, deterministic bytes.

use std::collections::BTreeMap;

use macp_wire::json::{self, Json, JsonErrorKind};
use macp_wire::modes::{decision, task};
use macp_wire::v1::{
    Ack, AgentManifest, CommitmentPayload, GetSessionRequest, MacpError, PolicyDescriptor, ProgressPayload,
    Root, SessionLifecycleEvent, SessionMetadata, SessionResumePayload, SessionStartPayload, SignalPayload,
    StreamSessionResponse, WhatIfReplayResponse, stream_session_response::Response,
};
use prost::Message;

fn read<M: Json>(text: &str) -> M {
    json::from_slice(text.as_bytes()).unwrap_or_else(|error| panic!("{error} in {text}"))
}

fn refused<M: Json + std::fmt::Debug>(text: &str) {
    let error = json::from_slice::<M>(text.as_bytes()).expect_err(text);
    assert_eq!(error.kind(), JsonErrorKind::Value, "{text}: {error}");
}

#[test]
fn defaults_are_written_and_unset_messages_are_not() {
    assert_eq!(
        json::to_string(&Ack::default()),
        r#"{"ok":false,"duplicate":false,"message_id":"","session_id":"","accepted_at_unix_ms":0,"session_state":"SESSION_STATE_UNSPECIFIED"}"#
    );
    assert_eq!(
        json::to_string(&SessionStartPayload::default()),
        concat!(
            r#"{"intent":"","participants":[],"mode_version":"","configuration_version":"","policy_version":"","#,
            r#""ttl_ms":0,"roots":[],"context_id":"","extensions":{},"max_suspend_ms":0}"#
        )
    );
    assert_eq!(json::to_string(&StreamSessionResponse::default()), "{}");
    let set = Ack { error: Some(MacpError::default()), session_state: 77, ..Default::default() };
    assert!(json::to_string(&set).ends_with(
        r#""session_state":77,"error":{"code":"","message":"","session_id":"","message_id":"","details":""}}"#
    ));
}

#[test]
fn missing_members_and_null_are_the_default() {
    assert_eq!(read::<Ack>("{}"), Ack::default());
    let nulls = r#"{"ok":null,"duplicate":null,"message_id":null,"session_id":null,"accepted_at_unix_ms":null,
        "session_state":null,"error":null}"#;
    assert_eq!(read::<Ack>(nulls), Ack::default());
    assert_eq!(
        read::<SessionStartPayload>(r#"{"participants":null,"roots":null,"extensions":null}"#),
        SessionStartPayload::default()
    );
    assert_eq!(read::<Ack>(r#"{"error":{}}"#).error, Some(MacpError::default()));
    refused::<SessionStartPayload>(r#"{"participants":["a",null]}"#);
    refused::<SessionStartPayload>(r#"{"roots":[null]}"#);
    refused::<SessionStartPayload>(r#"{"extensions":{"a":null}}"#);
    refused::<AgentManifest>(r#"{"metadata":{"a":null}}"#);
}

#[test]
fn members_have_the_original_names_only() {
    let request: GetSessionRequest =
        read(r#"{"sessionId":"camel","SESSION_ID":"upper","session_id":"right","":0}"#);
    assert_eq!(request.session_id, "right");
    assert_eq!(read::<GetSessionRequest>(r#"{"sessionId":5}"#).session_id, "");
    // Unix times keep their names everywhere but in the envelope.
    let event = SessionLifecycleEvent { observed_at_unix_ms: 5, ..Default::default() };
    assert_eq!(json::to_string(&event), r#"{"event_type":"EVENT_TYPE_UNSPECIFIED","observed_at_unix_ms":5}"#);
}

#[test]
fn each_kind_takes_its_own_json_type() {
    for text in [
        r#"{"ok":1}"#,
        r#"{"ok":"true"}"#,
        r#"{"ok":[]}"#,
        r#"{"message_id":1}"#,
        r#"{"message_id":true}"#,
        r#"{"message_id":{}}"#,
        r#"{"accepted_at_unix_ms":true}"#,
        r#"{"session_state":[]}"#,
        r#"{"error":"x"}"#,
        r#"{"error":[]}"#,
        r#"{"error":{"details":5}}"#,
    ] {
        refused::<Ack>(text);
    }
    refused::<SessionStartPayload>(r#"{"participants":"a"}"#);
    refused::<SessionStartPayload>(r#"{"participants":{}}"#);
    refused::<SessionStartPayload>(r#"{"extensions":[]}"#);
    refused::<SessionStartPayload>(r#"{"extensions":{"a":1}}"#);
}

#[test]
fn bytes_are_base64_of_either_alphabet() {
    let details = |text: &str| {
        let json = format!("{{\"details\":\"{text}\"}}");
        json::from_slice::<MacpError>(json.as_bytes()).map(|error| error.details.to_vec()).ok()
    };
    assert_eq!(details("AAECAwQ="), Some(vec![0, 1, 2, 3, 4]));
    assert_eq!(details("AAECAwQ"), Some(vec![0, 1, 2, 3, 4]));
    assert_eq!(details("-__-"), Some(vec![0xFB, 0xFF, 0xFE]));
    assert_eq!(details("+//+"), Some(vec![0xFB, 0xFF, 0xFE]));
    assert_eq!(details("+\\/\\/+"), Some(vec![0xFB, 0xFF, 0xFE]), "an escaped slash is a slash");
    assert_eq!(details("_w"), Some(vec![0xFF]));
    assert_eq!(details("_w=="), Some(vec![0xFF]));
    assert_eq!(details("AAECAwR"), Some(vec![0, 1, 2, 3, 4]), "trailing bits do not matter");
    assert_eq!(details(""), Some(vec![]));
    for wrong in ["A", "AAEC AwQ=", "AAECAwQ==", "*", "+__+", "=", "AA=A", "AAECAwQ\\n"] {
        assert_eq!(details(wrong), None, "{wrong}");
    }
    assert_eq!(
        details("eyJsb3dlc3RfYXZhaWxhYmxlX3NlcXVlbmNlIjo0MX0=").as_deref(),
        Some(&br#"{"lowest_available_sequence":41}"#[..])
    );
    let written =
        json::to_string(&MacpError { details: vec![0xFB, 0xFF, 0xFE, 0].into(), ..Default::default() });
    assert!(written.contains(r#""details":"+//+AA==""#), "{written}");
}

#[test]
fn an_error_body() {
    let error = MacpError { code: "SESSION_NOT_FOUND".into(), message: "…".into(), ..Default::default() };
    assert_eq!(
        json::to_string(&error),
        r#"{"code":"SESSION_NOT_FOUND","message":"…","session_id":"","message_id":"","details":""}"#
    );
}

#[test]
fn an_optional_number_is_written_only_when_set() {
    let replay = |first_divergence| WhatIfReplayResponse { first_divergence, ..Default::default() };
    assert!(json::to_string(&replay(Some(0))).contains(r#""first_divergence":0"#));
    assert!(!json::to_string(&replay(None)).contains("first_divergence"));
    assert_eq!(read::<WhatIfReplayResponse>(r#"{"first_divergence":0}"#), replay(Some(0)));
    assert_eq!(read::<WhatIfReplayResponse>(r#"{"first_divergence":null}"#), replay(None));
}

#[test]
fn a_oneof_has_one_member() {
    let envelope = r#"{"macp_version":"1.0","payload_b64":""}"#;
    let response: StreamSessionResponse = read(&format!(r#"{{"envelope":{envelope},"error":null}}"#));
    assert!(matches!(response.response, Some(Response::Envelope(_))));
    let response: StreamSessionResponse = read(r#"{"error":{"code":"X"},"envelope":null}"#);
    assert!(matches!(response.response, Some(Response::Error(error)) if error.code == "X"));
    refused::<StreamSessionResponse>(&format!(r#"{{"envelope":{envelope},"error":{{}}}}"#));
    refused::<StreamSessionResponse>(&format!(r#"{{"error":{{}},"envelope":{envelope}}}"#));
}

#[test]
fn maps_are_objects() {
    let text = r#"{"metadata":{"":"","b":"2","a\n":"1"}}"#;
    let manifest: AgentManifest = read(text);
    let expected =
        [("", ""), ("b", "2"), ("a\n", "1")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(manifest.metadata, BTreeMap::from(expected));
    assert!(json::to_string(&manifest).contains(r#""metadata":{"":"","a\n":"1","b":"2"}"#));
}

#[test]
fn rules_are_inlined_when_they_are_an_object() {
    let rules = |text: &str| read::<PolicyDescriptor>(&format!("{{\"rules\":{text}}}")).rules;
    assert_eq!(rules(r#"{"a":1}"#), r#"{"a":1}"#);
    assert_eq!(rules(r#""{\"a\": 1}""#), r#"{"a":1}"#, "the same descriptor from a string");
    assert_eq!(rules(r#"{ "b" : 1.50 , "a":[ 1e2, "\u00e9\n\/" ] }"#), r#"{"b":1.50,"a":[1e2,"é\n/"]}"#);
    assert_eq!(rules(r#""not json""#), "not json");
    assert_eq!(rules(r#""[1, 2]""#), "[1, 2]", "only objects are normalised");
    assert_eq!(rules(r#""""#), "");
    assert_eq!(rules("null"), "");
    assert_eq!(
        rules(r#""{\"a\":1,\"a\":2} ""#),
        "{\"a\":1,\"a\":2} ",
        "not an object that JSON could inline"
    );
    for wrong in ["5", "[]", "true"] {
        refused::<PolicyDescriptor>(&format!("{{\"rules\":{wrong}}}"));
    }

    let written = |rules: &str| {
        let json = json::to_string(&PolicyDescriptor { rules: rules.into(), ..Default::default() });
        let json = json.split("\"rules\":").nth(1).unwrap();
        json.split(",\"schema_version\"").next().unwrap().to_owned()
    };
    assert_eq!(written("{\n \"a\": [1, {}]\n}"), r#"{"a":[1,{}]}"#);
    assert_eq!(written("not json"), r#""not json""#);
    assert_eq!(written("[1]"), r#""[1]""#);
    assert_eq!(written(""), r#""""#);
    assert_eq!(written(r#"{"a":1} x"#), r#""{\"a\":1} x""#);
    assert_eq!(written(r#"{"a":1,"a":1}"#), r#""{\"a\":1,\"a\":1}""#);
    // Text too deep to be read back inside other messages stays a string.
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(110), "]".repeat(110));
    assert!(written(&deep).starts_with('"'));
    assert_eq!(rules(&serde_json::Value::from(deep.as_str()).to_string()), deep);
}

#[test]
fn deterministic_bytes() {
    let bytes = |message: SignalPayload| json::deterministic_bytes(&message);
    assert_eq!(bytes(SignalPayload::default()), b"");
    // Tag 0x19: field 3 as a double. -0.0 is not the default; NaN has one form.
    let confidence = |confidence| SignalPayload { confidence, ..Default::default() };
    assert_eq!(bytes(confidence(-0.0)), [0x19, 0, 0, 0, 0, 0, 0, 0, 0x80]);
    assert_eq!(
        bytes(confidence(f64::from_bits(0xFFF8_0000_0000_0001))),
        [0x19, 0, 0, 0, 0, 0, 0, 0xF8, 0x7F]
    );
    assert_eq!(bytes(read(r#"{"confidence":"NaN"}"#)), [0x19, 0, 0, 0, 0, 0, 0, 0xF8, 0x7F]);
    assert_eq!(bytes(read(r#"{"confidence":-0}"#)), [0x19, 0, 0, 0, 0, 0, 0, 0, 0x80]);

    // A map entry writes its key and its value even when they are empty; entries are in the keys' order.
    let start: SessionStartPayload =
        read(r#"{"extensions":{"b":"AQ==","":"","a":""},"participants":["",""]}"#);
    assert_eq!(
        json::deterministic_bytes(&start),
        [
            &[0x12, 0, 0x12, 0][..],
            &[0x4A, 4, 0x0A, 0, 0x12, 0],
            &[0x4A, 5, 0x0A, 1, b'a', 0x12, 0],
            &[0x4A, 6, 0x0A, 1, b'b', 0x12, 1, 1],
        ]
        .concat()
    );
    // A set message is written even when it is empty; negative numbers take ten bytes.
    let commitment = CommitmentPayload { supersedes: Some(Default::default()), ..Default::default() };
    assert_eq!(json::deterministic_bytes(&commitment), [0x4A, 0]);
    let resume = SessionResumePayload { banked_ms: -1, ..Default::default() };
    assert_eq!(json::deterministic_bytes(&resume), [0x18, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1]);
    let metadata = SessionMetadata { state: -1, ..Default::default() };
    assert_eq!(json::deterministic_bytes(&metadata), [0x18, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1]);
}

#[test]
fn equivalent_json_gives_equal_bytes() {
    let bytes = |text: &str| json::deterministic_bytes(&read::<task::v1::TaskRequestPayload>(text));
    let plain = bytes(r#"{"task_id":"t","deadline_unix_ms":1000,"input":"AAE="}"#);
    assert_eq!(plain, [0x0A, 1, b't', 0x2A, 2, 0, 1, 0x30, 0xE8, 0x07]);
    assert_eq!(
        bytes(r#"{"x":[1],"input":"AAE","title":null,"deadline_unix_ms":"1.0e3","task_id":"\u0074"}"#),
        plain
    );
}

#[test]
fn floats_and_every_oneof_member_round_trip() {
    let payload = ProgressPayload { progress: f64::MIN_POSITIVE, total: f64::MAX, ..Default::default() };
    assert_eq!(read::<ProgressPayload>(&json::to_string(&payload)), payload);
    let evaluation = decision::v1::EvaluationPayload { confidence: f64::NEG_INFINITY, ..Default::default() };
    assert_eq!(read::<decision::v1::EvaluationPayload>(&json::to_string(&evaluation)), evaluation);
    let root = Root { uri: "u".into(), name: "n".into() };
    let start = SessionStartPayload { roots: vec![root; 2], ..Default::default() };
    assert_eq!(read::<SessionStartPayload>(&json::to_string(&start)), start);
}

/// What prost writes is what the deterministic writer writes wherever the rules do not differ.
#[test]
fn deterministic_bytes_decode_to_the_message() {
    let start: SessionStartPayload =
        read(r#"{"intent":"i","extensions":{"":"AQ==","k":""},"roots":[{},{"uri":"u"}]}"#);
    assert_eq!(SessionStartPayload::decode(&*json::deterministic_bytes(&start)).unwrap(), start);
}
