//! Envelopes: the time and payload transforms, which payloads have a schema, and the two layers of faults.

use macp_wire::json::{self, JsonErrorKind, decode_envelope, decode_send, payload_type};
use macp_wire::v1::{Envelope, SendRequest, SignalPayload};
use prost::Message;
use prost::bytes::Bytes;

use crate::oracle::{self, Entropy, MODES, payload_kind};
use crate::types::POOL;

const SIGNAL: &str = r#"{"macp_version":"1.0","mode":"","message_type":"Signal","message_id":"m1","session_id":"","sender":"agent://x","timestamp":"2026-03-01T20:24:00Z","payload":{"signal_type":"observation.latency","data":"AAECAwQ=","confidence":0.92,"correlation_session_id":""}}"#;

fn read(text: &str) -> Result<Envelope, json::JsonError> {
    json::from_slice(text.as_bytes())
}

/// The bytes of an envelope's payload; the argument is a part of the envelope.
fn payload(members: &str) -> Option<Vec<u8>> {
    let outcome = read(&format!("{{{members}}}"));
    if let Err(error) = &outcome {
        assert_eq!(error.kind(), JsonErrorKind::Envelope, "{members}: {error}");
    }
    outcome.ok().map(|envelope| envelope.payload.to_vec())
}

#[test]
fn an_ambient_signal() {
    let envelope = read(SIGNAL).unwrap();
    let signal = SignalPayload::decode(envelope.payload.clone()).unwrap();
    assert_eq!(signal.data.as_ref(), [0, 1, 2, 3, 4]);
    assert_eq!((signal.signal_type.as_str(), signal.confidence), ("observation.latency", 0.92));
    assert_eq!(envelope.timestamp_unix_ms, 1_772_396_640_000);
    assert_eq!(envelope.sender, "agent://x");
    assert_eq!(json::to_string(&envelope), SIGNAL);
}

#[test]
fn members_come_in_any_order() {
    let text = r#"{"payload":{"vote":"APPROVE"},"message_type":"Vote","mode":"macp.mode.decision.v1"}"#;
    assert_eq!(read(text).unwrap().payload.as_ref(), b"\x12\x07APPROVE");
}

#[test]
fn times_are_read() {
    let time = |text: &str| {
        let outcome = read(&format!("{{\"timestamp\":{text},\"payload_b64\":\"\"}}"));
        outcome.map(|envelope| envelope.timestamp_unix_ms).ok()
    };
    for (text, expected) in [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T01:00:01.0019999+01:00", 1001),
        ("1969-12-31T23:59:59.5Z", -500),
        ("1969-12-31T23:59:59.9999Z", -1),
        ("1969-12-31T23:59:59.9991Z", -1),
        ("2026-03-01T20:24:01.020Z", 1_772_396_641_020),
        ("2026-03-01T20:24:01.02Z", 1_772_396_641_020),
        ("2026-03-01t20:24:01.02z", 1_772_396_641_020),
        ("2026-03-01T15:24:01.02-05:00", 1_772_396_641_020),
        ("2026-03-02T02:09:01.02+05:45", 1_772_396_641_020),
        ("1970-01-01T00:00:00-00:00", 0),
        ("2000-02-29T00:00:00Z", 951_782_400_000),
        ("2016-12-31T23:59:60Z", 1_483_228_800_000),
        ("2016-12-31T18:59:60-05:00", 1_483_228_800_000),
        ("0000-01-01T00:00:00Z", -62_167_219_200_000),
        ("0000-01-01T00:00:00+01:00", -62_167_222_800_000),
        ("9999-12-31T23:59:59.999999999999999Z", 253_402_300_799_999),
    ] {
        assert_eq!(time(&format!("\"{text}\"")), Some(expected), "{text}");
    }
    assert_eq!(time("null"), Some(0));
    for text in [
        "",
        "1970-01-01",
        "1970-01-01T00:00:00",
        "1970-01-01 00:00:00Z",
        "1970-01-01T00:00Z",
        "1970-01-01T00:00:00.Z",
        "1970-01-01T24:00:00Z",
        "1970-01-01T00:60:00Z",
        "1970-01-01T00:00:61Z",
        "1970-01-01T00:00:60Z",
        "1970-13-01T00:00:00Z",
        "1970-00-01T00:00:00Z",
        "1970-01-00T00:00:00Z",
        "1970-04-31T00:00:00Z",
        "1900-02-29T00:00:00Z",
        "2023-02-29T00:00:00Z",
        "1970-01-01T00:00:00+1:00",
        "1970-01-01T00:00:00+0100",
        "1970-01-01T00:00:00+24:00",
        "1970-01-01T00:00:00+00:60",
        "1970-01-01T00:00:00Z ",
        " 1970-01-01T00:00:00Z",
        "+1970-01-01T00:00:00Z",
        "19700-01-01T00:00:00Z",
        "1970-1-01T00:00:00Z",
        "1970-01-01T00:00:00ZZ",
        "1970-01-01T00:00:00.1é",
        "197é-01-01T00:00:00Z",
        "0",
    ] {
        assert_eq!(time(&format!("\"{text}\"")), None, "{text}");
    }
    assert_eq!(time("0"), None);
    assert_eq!(read(r#"{"timestamp_unix_ms":"5 o'clock","payload_b64":""}"#).unwrap().timestamp_unix_ms, 0);
}

#[test]
fn times_are_written() {
    let time = |timestamp_unix_ms| {
        let json = json::to_string(&Envelope { timestamp_unix_ms, ..Default::default() });
        assert!(!json.contains("timestamp_unix_ms"), "{json}");
        json.split("\"timestamp\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
    };
    assert_eq!(time(0), "1970-01-01T00:00:00Z");
    assert_eq!(time(1000), "1970-01-01T00:00:01Z");
    assert_eq!(time(1001), "1970-01-01T00:00:01.001Z");
    assert_eq!(time(-1), "1969-12-31T23:59:59.999Z");
    assert_eq!(time(1_772_396_641_020), "2026-03-01T20:24:01.020Z");
    assert_eq!(time(951_782_400_000), "2000-02-29T00:00:00Z");
    assert_eq!(time(i64::MAX), "9999-12-31T23:59:59.999Z");
    assert_eq!(time(253_402_300_800_000), "9999-12-31T23:59:59.999Z");
    assert_eq!(time(i64::MIN), "0000-01-01T00:00:00Z");
}

#[test]
fn exactly_one_payload_member() {
    const SIGNAL: &str = r#""message_type":"Signal""#;
    let with = |members: &str| payload(&format!("{SIGNAL},{members}"));
    assert_eq!(payload(SIGNAL), None);
    assert_eq!(with(r#""payload":{},"payload_b64":"""#), None);
    assert_eq!(with(r#""payload":null,"payload_b64":null"#), None);
    assert_eq!(with(r#""payload":null,"payload_b64":"AAE""#), Some(vec![0, 1]));
    assert_eq!(with(r#""payload":{},"payload_b64":null"#), Some(vec![]));
    assert_eq!(with(r#""payload_b64":"""#), Some(vec![]));
    assert_eq!(with(r#""payload_b64":"AAE=""#), Some(vec![0, 1]));
    assert_eq!(with(r#""payload":{}"#), Some(vec![]));
    assert_eq!(with(r#""payload":{"x":1}"#), Some(vec![]), "unknown members never reach the bytes");
    for wrong in ["[]", "5", "\"AAE=\"", "true", r#"{"signal_type":5}"#, r#"{"data":"*"}"#] {
        assert_eq!(with(&format!("\"payload\":{wrong}")), None, "{wrong}");
    }
    for wrong in ["5", "[]", "{}", "\"*\"", "\"A\""] {
        assert_eq!(with(&format!("\"payload_b64\":{wrong}")), None, "{wrong}");
    }
    assert_eq!(payload(r#""message_type":"Nope","payload":{}"#), None);
    assert_eq!(payload(r#""message_type":"Vote","mode":"ext.other.v1","payload":{}"#), None);
    assert_eq!(
        payload(r#""message_type":"Vote","mode":"ext.other.v1","payload_b64":"/w==""#),
        Some(vec![0xFF])
    );
    let error = read(r#"{"message_type":"Signal","payload":{"signal_type":5}}"#).unwrap_err();
    assert_eq!(error.path(), "payload.signal_type");
}

/// The table of §3 in full, against a lookup that builds the name as the RFC does.
#[test]
fn payload_types() {
    let mut types: Vec<_> = POOL.all_messages().map(|kind| kind.name().replace("Payload", "")).collect();
    types.extend(["", "Nope", "signal", "Signal ", "../Signal", "v1.Signal"].map(str::to_owned));
    let mut found = 0;
    for mode in MODES {
        for message_type in &types {
            let expected = payload_kind(mode, message_type).map(|kind| kind.full_name().to_owned());
            let actual = payload_type(mode, message_type).map(|kind| kind.name().to_owned());
            assert_eq!(actual, expected, "{mode:?} {message_type:?}");
            found += usize::from(actual.is_some());
        }
    }
    assert!(found > 9 * 7 + 24, "found only {found}");
    let name = |mode, message_type| payload_type(mode, message_type).map(|kind| kind.name());
    assert_eq!(name("macp.mode.decision.v1", "Vote"), Some("macp.modes.decision.v1.VotePayload"));
    assert_eq!(name("macp.mode.proposal.v1", "Reject"), Some("macp.modes.proposal.v1.RejectPayload"));
    assert_eq!(name("macp.mode.quorum.v1", "Reject"), Some("macp.modes.quorum.v1.RejectPayload"));
    assert_eq!(name("ext.multi_round.v1", "Contribute"), Some("macp.modes.multi_round.v1.ContributePayload"));
    assert_eq!(name("ext.anything.v9", "Commitment"), Some("macp.v1.CommitmentPayload"));
    // Crafted names reach nothing.
    for (mode, message_type) in [
        ("macp.mode.decision.v2", "Vote"),
        ("macp.mode.decision.v1.v1", "Vote"),
        ("macp.mode.x.modes.decision.v1", "Vote"),
        ("macp.mode..v1", "Vote"),
        ("macp.mode.decision.v1", "VotePayload"),
        ("macp.mode.decision.v1", "v1.Vote"),
        ("decision", "Vote"),
        ("macp.mode.decision.v1", "Envelope"),
        ("", "Vote"),
        ("ext.multi_round.v2", "Contribute"),
        ("macp.mode.decision.v1", "Contribute"),
    ] {
        assert_eq!(name(mode, message_type), None, "{mode} {message_type}");
    }
}

/// Bytes that JSON could not give back travel as base64.
#[test]
fn conversion_never_loses_bytes() {
    let text = |payload: &[u8]| {
        let payload = Bytes::copy_from_slice(payload);
        let envelope =
            Envelope { message_type: "Signal".into(), payload: payload.clone(), ..Default::default() };
        let text = json::to_string(&envelope);
        assert_eq!(read(&text).unwrap().payload, payload, "{text}");
        text.split("\"payload").nth(1).unwrap().trim_end_matches('}').to_owned()
    };
    assert!(text(b"").starts_with("\":{\"signal_type\":\"\""));
    assert!(text(b"\x0A\x01s").starts_with("\":{\"signal_type\":\"s\""));
    for (bytes, base64) in [
        (&b"\xFF"[..], "/w=="),                                    // not protobuf
        (b"\x0A\x01\xFF", "CgH/"),                                 // a string that is not UTF-8
        (b"\x0A\x01s\x28\x01", "CgFzKAE="),                        // an unknown field
        (b"\x22\x01c\x0A\x01s", "IgFjCgFz"),                       // descending fields
        (b"\x0A\x00", "CgA="),                                     // a default written out
        (b"\x0A\x01a\x0A\x01s", "CgFhCgFz"),                       // a repeated field
        (b"\x19\x01\x00\x00\x00\x00\x00\xF8\x7F", "GQEAAAAAAPh/"), // a NaN with another payload
    ] {
        assert_eq!(text(bytes), format!("_b64\":\"{base64}\""), "{bytes:?}");
    }
    assert!(text(b"\x19\x00\x00\x00\x00\x00\x00\x00\x80").contains("\"confidence\":-0.0"));
}

#[test]
fn stored_payloads_of_every_type_come_back_as_objects() {
    let noise: Vec<u8> = (0..300_u32).map(|index| (index * 97 + 13) as u8).collect();
    let mut seen = 0;
    for mode in MODES {
        for kind in POOL.all_messages() {
            let Some(message_type) = kind.name().strip_suffix("Payload") else { continue };
            if payload_type(mode, message_type).is_none_or(|found| found.name() != kind.full_name()) {
                continue;
            }
            let bytes = oracle::deterministic(&oracle::message(&kind, &mut Entropy(&noise)));
            let envelope = Envelope {
                mode: mode.to_owned(),
                message_type: message_type.to_owned(),
                payload: bytes.clone().into(),
                ..Default::default()
            };
            let text = json::to_string(&envelope);
            assert!(text.contains("\"payload\":{"), "{text}");
            assert_eq!(read(&text).unwrap(), envelope);
            // The same through `payload_b64`, as a client may send it.
            let base64 = json::to_string(&Envelope { message_type: "?".into(), ..envelope.clone() });
            let base64 =
                base64.replace("\"message_type\":\"?\"", &format!("\"message_type\":\"{message_type}\""));
            assert_eq!(read(&base64).unwrap(), envelope);
            seen += 1;
        }
    }
    assert!(seen > 9 * 7 + 24, "saw only {seen}");
}

#[test]
fn a_send_has_two_layers_of_faults() {
    let good = decode_send(format!("{{\"envelope\":{SIGNAL}}}").as_bytes()).unwrap().unwrap();
    assert_eq!(good, read(SIGNAL).unwrap());

    for (text, kind) in [
        ("{}", JsonErrorKind::Value),
        (r#"{"envelope":null}"#, JsonErrorKind::Value),
        (r#"{"Envelope":{}}"#, JsonErrorKind::Value),
        ("5", JsonErrorKind::Value),
        ("[]", JsonErrorKind::Value),
        ("", JsonErrorKind::Text),
        (r#"{"envelope":{"mode":5}"#, JsonErrorKind::Text),
        (r#"{"envelope":{"mode":5}} x"#, JsonErrorKind::Text),
        (r#"{"envelope":{"mode":5},"envelope":{}}"#, JsonErrorKind::Text),
        (r#"{"envelope":{"mode":5,"x":{"a":1,"a":1}}}"#, JsonErrorKind::Text),
    ] {
        let error = decode_send(text.as_bytes()).expect_err(text);
        assert_eq!(error.kind(), kind, "{text}: {error}");
    }
    assert!(decode_send(b"{}").unwrap_err().to_string().contains("envelope"));

    for (envelope, message_id, session_id) in [
        ("5", "", ""),
        ("[]", "", ""),
        (r#""x""#, "", ""),
        (r#"{"message_id":"m","session_id":"s"}"#, "m", "s"),
        (r#"{"payload_b64":5,"session_id":"s","message_id":"\u006d","x":[]}"#, "m", "s"),
        (r#"{"message_id":5,"session_id":"s","payload_b64":""}"#, "", "s"),
        (r#"{"message_id":"m","session_id":{"message_id":"no"},"payload_b64":""}"#, "m", ""),
        (r#"{"message_id":"m","timestamp":"now","payload_b64":""}"#, "m", ""),
        (r#"{"message_type":"Signal","message_id":"m","payload":{"message_id":"no","data":7}}"#, "m", ""),
    ] {
        let text = format!(
            r#"{{"x":{{"message_id":"o"}},"envelope":{envelope},"message_id":"o","session_id":"o"}}"#
        );
        let fault = decode_send(text.as_bytes()).expect(&text).expect_err(&text);
        assert_eq!(
            (fault.message_id.as_str(), fault.session_id.as_str()),
            (message_id, session_id),
            "{text}"
        );
        assert!(fault.message.contains("envelope"), "{}", fault.message);
    }
}

#[test]
fn a_bare_envelope_has_two_layers_of_faults() {
    assert_eq!(decode_envelope(SIGNAL.as_bytes()).unwrap().unwrap(), read(SIGNAL).unwrap());
    for (text, kind) in [
        ("", JsonErrorKind::Text),
        ("{", JsonErrorKind::Text),
        ("{} x", JsonErrorKind::Text),
        (r#"{}, "envelope": {}"#, JsonErrorKind::Text),
        (r#"{"mode":5,"mode":5}"#, JsonErrorKind::Text),
        ("null", JsonErrorKind::Envelope),
        ("5", JsonErrorKind::Envelope),
        ("[]", JsonErrorKind::Envelope),
    ] {
        let error = decode_envelope(text.as_bytes()).expect_err(text);
        assert_eq!(error.kind(), kind, "{text}: {error}");
    }
    for (text, message_id, session_id) in [
        ("{}", "", ""),
        (r#" {"message_id":"m","session_id":"s","payload_b64":5}"#, "m", "s"),
        (r#"{"message_id":5,"session_id":"s","payload":{}}"#, "", "s"),
        (r#"{"payload_b64":5,"x":{"message_id":"no"}}"#, "", ""),
    ] {
        let fault = decode_envelope(text.as_bytes()).expect(text).expect_err(text);
        let found = (fault.message_id.as_str(), fault.session_id.as_str());
        assert_eq!(found, (message_id, session_id), "{text}");
    }
}

#[test]
fn ready_envelopes_are_spliced_into_responses() {
    use macp_wire::v1::{StreamSessionResponse, WatchSignalsResponse, stream_session_response::Response};
    let envelope = read(SIGNAL).unwrap();
    let mut out = b"data: ".to_vec();
    json::write_stream_session_response(SIGNAL.as_bytes(), &mut out);
    let response = StreamSessionResponse { response: Some(Response::Envelope(envelope.clone())) };
    assert_eq!(out, [b"data: ".to_vec(), json::to_vec(&response)].concat());

    let mut out = Vec::new();
    json::write_watch_signals_response(SIGNAL.as_bytes(), true, &mut out);
    let response = WatchSignalsResponse { envelope: Some(envelope.clone()), sender_authenticated: true };
    assert_eq!(out, json::to_vec(&response));

    let request = SendRequest { envelope: Some(envelope) };
    let mut out = Vec::new();
    json::write(&request, &mut out);
    assert_eq!(out, format!("{{\"envelope\":{SIGNAL}}}").into_bytes());
}
