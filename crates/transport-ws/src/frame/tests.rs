//! Tests of `frame`: tables of frames in both encodings, and hostile bytes.

use macp_wire::gateway::v1::{Authenticate, Ping, SendEnvelope, Subscribe, Unsubscribe, Unwatch, Watch};
use macp_wire::v1::ListModesRequest;
use proptest::prelude::*;

use super::*;

fn proto(id: &str, body: ClientBody) -> Vec<u8> {
    ClientFrame { id: id.into(), body: Some(body) }.encode_to_vec()
}

fn call(method: &str) -> Call {
    Call { method: method.into(), request: Bytes::new() }
}

#[test]
fn bodies_are_the_same_in_both_encodings() {
    let envelope = Envelope { session_id: "s".into(), payload: vec![1, 2].into(), ..Envelope::default() };
    for (json, body, expected) in [
        (
            r#"{"id":"1","authenticate":{"token":"t"}}"#,
            ClientBody::Authenticate(Authenticate { token: "t".into() }),
            Body::Authenticate { token: "t".into() },
        ),
        (
            r#"{"id":"1","send":{"envelope":{"session_id":"s","payload_b64":"AQI="}}}"#,
            ClientBody::Send(SendEnvelope { envelope: Some(envelope.clone()) }),
            Body::Send(Ok(Some(envelope))),
        ),
        (r#"{"id":"1","send":{}}"#, ClientBody::Send(SendEnvelope { envelope: None }), Body::Send(Ok(None))),
        (
            r#"{"id":"1","subscribe":{"session_id":"s","after_sequence":7,"snapshot":true}}"#,
            ClientBody::Subscribe(Subscribe { session_id: "s".into(), after_sequence: 7, snapshot: true }),
            Body::Subscribe { session_id: "s".into(), after_sequence: 7, snapshot: true },
        ),
        (
            r#"{"id":"1","unsubscribe":{"session_id":"s"}}"#,
            ClientBody::Unsubscribe(Unsubscribe { session_id: "s".into() }),
            Body::Unsubscribe { session_id: "s".into() },
        ),
        (
            r#"{"id":"1","watch":{"topic":"SIGNALS"}}"#,
            ClientBody::Watch(Watch { topic: Topic::Signals.into() }),
            Body::Watch(Topic::Signals),
        ),
        (
            r#"{"id":"1","unwatch":{"topic":"ROOTS"}}"#,
            ClientBody::Unwatch(Unwatch { topic: Topic::Roots.into() }),
            Body::Unwatch(Topic::Roots),
        ),
        (
            r#"{"id":"1","call":{"method":"ListModes","request":{}}}"#,
            ClientBody::Call(call("ListModes")),
            Body::Call(call("ListModes")),
        ),
        (r#"{"id":"1","ping":{}}"#, ClientBody::Ping(Ping {}), Body::Ping),
    ] {
        let expected = Inbound { id: "1".into(), body: expected };
        assert_eq!(Encoding::Proto.decode(&proto("1", body)).as_ref(), Ok(&expected), "{json}");
        assert_eq!(Encoding::Json.decode(json.as_bytes()), Ok(expected), "{json}");
    }
}

#[test]
fn what_is_no_frame_keeps_its_id() {
    let long = format!(r#"{{"id":"{}","ping":{{}}}}"#, "x".repeat(65));
    for (json, id) in [
        ("", ""),
        ("{not json", ""),
        ("[]", ""),
        (r#""ping""#, ""),
        ("{}", ""),
        (r#"{"id":"7"}"#, "7"),
        (r#"{"id":"7","dance":{}}"#, "7"),
        (r#"{"id":"7","ping":{},"unwatch":{"topic":"ROOTS"}}"#, "7"),
        (r#"{"id":"7","ping":5}"#, "7"),
        (r#"{"id":7,"ping":{}}"#, ""),
        (r#"{"id":"7","watch":{"topic":"WEATHER"}}"#, "7"),
        (r#"{"id":"7","watch":{}}"#, "7"),
        (r#"{"id":"7","watch":{"topic":"TOPIC_UNSPECIFIED"}}"#, "7"),
        (r#"{"id":"7","call":{"method":"Nope","request":{}}}"#, "7"),
        (r#"{"id":"7","call":{"method":"StreamSession","request":{}}}"#, "7"),
        (r#"{"id":"7","call":{"method":"WatchSignals","request":{}}}"#, "7"),
        (r#"{"id":"7","call":{"method":"GetSession","request":{"session_id":5}}}"#, "7"),
        (long.as_str(), ""),
    ] {
        let malformed = Encoding::Json.decode(json.as_bytes()).unwrap_err();
        assert_eq!(malformed.id, id, "{json}: {malformed:?}");
        assert!(!malformed.reason.is_empty(), "{json}");
    }

    let two = [proto("7", ClientBody::Ping(Ping {})), proto("", ClientBody::Subscribe(Subscribe::default()))]
        .concat();
    for (bytes, id) in [
        (vec![0xFF], ""),
        (Vec::new(), ""),
        (ClientFrame { id: "7".into(), body: None }.encode_to_vec(), "7"),
        (two, "7"),
        (proto("7", ClientBody::Watch(Watch { topic: 99 })), "7"),
        (proto("7", ClientBody::Watch(Watch { topic: 0 })), "7"),
        (proto("7", ClientBody::Call(call("WatchRoots"))), "7"),
        (proto("7", ClientBody::Call(call("nope"))), "7"),
        (proto(&"x".repeat(65), ClientBody::Ping(Ping {})), ""),
    ] {
        assert_eq!(Encoding::Proto.decode(&bytes).unwrap_err().id, id, "{bytes:?}");
    }
}

#[test]
fn a_fault_inside_an_envelope_is_no_fault_of_the_frame() {
    let json =
        br#"{"id":"1","send":{"envelope":{"session_id":"s","message_id":"m","payload":5,"mode":"x"}}}"#;
    let Inbound { id, body: Body::Send(Err(fault)) } = Encoding::Json.decode(json).unwrap() else {
        panic!("not a send");
    };
    assert_eq!((id.as_str(), fault.session_id.as_str(), fault.message_id.as_str()), ("1", "s", "m"));
}

#[test]
fn a_result_is_inline_in_json_and_bytes_in_protobuf() {
    let response = ListModesRequest {};
    let json = Encoding::Json.result("1", "ListModes", &response);
    assert_eq!(&json[..], br#"{"id":"1","result":{"method":"ListModes","response":{}}}"#);
    let frame = ServerFrame::decode(&Encoding::Proto.result("1", "ListModes", &response)[..]).unwrap();
    assert_eq!(
        frame.body,
        Some(ServerBody::Result(CallResult { method: "ListModes".into(), response: Bytes::new() }))
    );
}

#[test]
fn an_envelope_frame_is_made_once() {
    let sealed =
        macp_kernel::envelope::Sealed::new(Envelope { session_id: "s".into(), ..Envelope::default() });
    let delivery = Delivery::new(3, std::sync::Arc::new(sealed));
    for encoding in [Encoding::Json, Encoding::Proto] {
        let frame = encoding.envelope(&delivery);
        assert_eq!(frame.as_ptr(), encoding.envelope(&delivery).as_ptr(), "shared");
        let body = ServerBody::Envelope(SessionEnvelope {
            session_id: "s".into(),
            sequence: 3,
            envelope: Some(delivery.envelope().clone()),
        });
        assert_eq!(frame, encoding.encode("", body), "{encoding:?}");
    }
}

#[test]
fn a_signal_frame_is_made_once() {
    let sealed = macp_kernel::envelope::Sealed::new(Envelope { sender: "a".into(), ..Envelope::default() });
    let signal = Signal {
        delivery: std::sync::Arc::new(Delivery::new(0, std::sync::Arc::new(sealed))),
        sender_authenticated: true,
    };
    for encoding in [Encoding::Json, Encoding::Proto] {
        let frame = encoding.signal(&signal);
        assert_eq!(frame.as_ptr(), encoding.signal(&signal).as_ptr(), "shared");
        let update = Update::Signal(WatchSignalsResponse {
            envelope: Some(signal.delivery.envelope().clone()),
            sender_authenticated: true,
        });
        assert_eq!(frame, encoding.event(Topic::Signals, update), "{encoding:?}");
    }
}

#[test]
fn nothing_kept_points_into_the_read_buffer() {
    let buffer = proto("1", ClientBody::Call(Call { method: "Send".into(), request: vec![7; 32].into() }));
    let Body::Call(call) = Encoding::Proto.decode(&buffer).unwrap().body else { panic!("not a call") };
    assert!(!buffer.as_ptr_range().contains(&call.request.as_ptr()));
}

/// Text that is nearly a frame.
fn near_json() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "\"id\"",
        "\"ping\"",
        "\"send\"",
        "\"envelope\"",
        "\"call\"",
        "\"method\"",
        "\"GetSession\"",
        "\"request\"",
        "\"subscribe\"",
        "\"session_id\"",
        "\"topic\"",
        "\"SIGNALS\"",
        "\"payload\"",
        "\"payload_b64\"",
        "\"x\"",
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "null",
        "true",
        "-1",
        "1e400",
        "\"\\ud800\"",
        "18446744073709551615",
    ]);
    prop::collection::vec(word, 0..40).prop_map(|words| words.concat())
}

proptest! {
    #[test]
    fn hostile_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Encoding::Json.decode(&bytes);
        let _ = Encoding::Proto.decode(&bytes);
    }

    #[test]
    fn hostile_json_does_no_harm(text in near_json()) {
        let _ = Encoding::Json.decode(text.as_bytes());
    }

    #[test]
    fn a_damaged_frame_does_no_harm(at in 0usize..64, byte in any::<u8>(), cut in 0usize..64) {
        let subscribe = Subscribe { session_id: "s".repeat(40), after_sequence: u64::MAX, snapshot: true };
        let mut bytes = proto("1", ClientBody::Subscribe(subscribe));
        bytes.truncate(cut.max(1));
        let at = at % bytes.len();
        bytes[at] = byte;
        let _ = Encoding::Proto.decode(&bytes);
    }

    #[test]
    fn every_refused_frame_has_a_short_id(text in near_json()) {
        if let Err(malformed) = Encoding::Json.decode(text.as_bytes()) {
            prop_assert!(malformed.id.len() <= MAX_ID_BYTES);
        }
    }
}
