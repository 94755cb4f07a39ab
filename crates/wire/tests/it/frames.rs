//! WebSocket frames: every body, calls with their method's messages, and faults that keep the frame's id.

use macp_wire::gateway::v1::client_frame::Body;
use macp_wire::gateway::v1::{
    Call, CallResult, ClientFrame, Event, Pong, ServerFrame, SessionEnvelope, SubscriptionHead, Topic,
    event::Update, server_frame,
};
use macp_wire::json::{self, JsonErrorKind, decode_client_frame, encode_server_frame};
use macp_wire::v1::{
    Envelope, GetSessionRequest, GetSessionResponse, ListModesRequest, SendRequest, SessionMetadata,
    WatchSignalsResponse,
};
use prost::Message;

fn body(text: &str) -> Body {
    decode_client_frame(text.as_bytes()).expect(text).body.expect(text)
}

#[test]
fn each_client_body() {
    let frame = decode_client_frame(
        br#"{"id":"7","subscribe":{"session_id":"s","after_sequence":"41","snapshot":true}}"#,
    );
    let frame = frame.unwrap();
    assert_eq!(frame.id, "7");
    let Ok(Body::Subscribe(subscribe)) = frame.body else { panic!("{frame:?}") };
    assert_eq!(
        (subscribe.session_id.as_str(), subscribe.after_sequence, subscribe.snapshot),
        ("s", 41, true)
    );

    assert!(matches!(body(r#"{"authenticate":{"token":"t"}}"#), Body::Authenticate(a) if a.token == "t"));
    assert!(
        matches!(body(r#"{"unsubscribe":{"session_id":"s"}}"#), Body::Unsubscribe(u) if u.session_id == "s")
    );
    assert!(matches!(body(r#"{"ping":{},"send":null}"#), Body::Ping(_)));
    for (name, topic) in [
        ("SESSIONS", Topic::Sessions),
        ("SIGNALS", Topic::Signals),
        ("POLICIES", Topic::Policies),
        ("MODE_REGISTRY", Topic::ModeRegistry),
        ("ROOTS", Topic::Roots),
        ("NOPE", Topic::Unspecified),
    ] {
        assert!(
            matches!(body(&format!(r#"{{"watch":{{"topic":"{name}"}}}}"#)), Body::Watch(w) if w.topic() == topic)
        );
        assert!(
            matches!(body(&format!(r#"{{"unwatch":{{"topic":"{name}"}}}}"#)), Body::Unwatch(w) if w.topic() == topic)
        );
    }
    let send = r#"{"send":{"envelope":{"message_type":"Signal","payload":{},"message_id":"m"}}}"#;
    assert!(matches!(body(send), Body::Send(send) if send.envelope.as_ref().unwrap().message_id == "m"));
    assert!(matches!(body(r#"{"send":{}}"#), Body::Send(send) if send.envelope.is_none()));
}

#[test]
fn a_call_carries_its_methods_request() {
    let call = |text: &str| match body(text) {
        Body::Call(call) => call,
        other => panic!("{other:?}"),
    };
    let expected = GetSessionRequest { session_id: "s".into() }.encode_to_vec();
    for text in [
        r#"{"call":{"method":"GetSession","request":{"session_id":"s"}}}"#,
        r#"{"call":{"request":{"x":1,"session_id":"s"},"method":"GetSession"}}"#,
    ] {
        assert_eq!(call(text), Call { method: "GetSession".into(), request: expected.clone().into() });
    }
    assert!(call(r#"{"call":{"method":"ListModes"}}"#).request.is_empty());
    assert!(call(r#"{"call":{"method":"ListModes","request":null}}"#).request.is_empty());
    let text = r#"{"call":{"method":"Send","request":{"envelope":{"message_type":"Signal","payload":{"data":"AAE="}}}}}"#;
    let request = SendRequest::decode(call(text).request).unwrap();
    assert_eq!(request.envelope.unwrap().payload.as_ref(), [0x12, 2, 0, 1]);

    for (text, path) in [
        (r#"{"id":"9","call":{"method":"Nope","request":{}}}"#, "call.method"),
        (r#"{"id":"9","call":{"method":"WatchSignals","request":{}}}"#, "call.method"),
        (r#"{"id":"9","call":{"method":"StreamSession","request":{}}}"#, "call.method"),
        (r#"{"id":"9","call":{"request":{}}}"#, "call.method"),
        (r#"{"id":"9","call":{"method":"getSession","request":{}}}"#, "call.method"),
        (
            r#"{"call":{"method":"GetSession","request":{"session_id":5}},"id":"9"}"#,
            "call.request.session_id",
        ),
        (r#"{"id":"9","call":{"method":"GetSession","request":"CgFz"}}"#, "call.request"),
        (r#"{"id":"9","call":{"method":"GetSession","request":[]}}"#, "call.request"),
        (
            r#"{"id":"9","call":{"method":"Send","request":{"envelope":{"mode":5}}}}"#,
            "call.request.envelope.mode",
        ),
    ] {
        let fault = decode_client_frame(text.as_bytes()).expect_err(text);
        assert_eq!((fault.id.as_str(), fault.error.path()), ("9", path), "{text}");
    }
}

#[test]
fn a_faulty_envelope_keeps_the_frame_and_its_id() {
    let text =
        br#"{"send":{"envelope":{"message_id":"m","session_id":"s","mode":5,"payload_b64":""}},"id":"3"}"#;
    let frame = decode_client_frame(text).unwrap();
    let fault = frame.body.unwrap_err();
    assert_eq!((frame.id.as_str(), fault.message_id.as_str(), fault.session_id.as_str()), ("3", "m", "s"));
    assert_eq!(fault.message, "send.envelope.mode: expected a string, found a number");
    let frame = decode_client_frame(br#"{"id":"3","send":{"envelope":5}}"#).unwrap();
    assert!(frame.body.is_err());
}

#[test]
fn a_faulty_frame_is_refused_with_its_id_where_that_is_readable() {
    for (text, id, kind) in [
        ("", "", JsonErrorKind::Text),
        ("[]", "", JsonErrorKind::Value),
        (r#"{"id":"4","ping":{}"#, "", JsonErrorKind::Text),
        (r#"{"id":"4","id":"4","ping":{}}"#, "", JsonErrorKind::Text),
        (r#"{"id":"4"}"#, "4", JsonErrorKind::Value),
        (r#"{"id":"4","ping":null}"#, "4", JsonErrorKind::Value),
        (r#"{"id":"4","nope":{}}"#, "4", JsonErrorKind::Value),
        (r#"{"id":5,"ping":{}}"#, "", JsonErrorKind::Value),
        (r#"{"id":"4","ping":5}"#, "4", JsonErrorKind::Value),
        (r#"{"ping":{},"id":"4","watch":{}}"#, "4", JsonErrorKind::Value),
        (r#"{"send":5,"id":"4"}"#, "4", JsonErrorKind::Value),
        // A faulty envelope does not excuse a faulty frame.
        (r#"{"send":{"envelope":5},"ping":{},"id":"4"}"#, "4", JsonErrorKind::Envelope),
        (r#"{"send":{"envelope":5},"id":4}"#, "", JsonErrorKind::Envelope),
    ] {
        let fault = decode_client_frame(text.as_bytes()).expect_err(text);
        assert_eq!((fault.id.as_str(), fault.error.kind()), (id, kind), "{text}");
    }
}

/// The bodies that are counted in a faulty frame are those of the proto file.
#[test]
fn every_client_body_counts_as_a_second_one() {
    let frame = crate::types::named("macp.gateway.v1.ClientFrame").descriptor();
    let bodies: Vec<_> = frame.oneofs().next().unwrap().fields().collect();
    assert_eq!(bodies.len(), 8);
    for field in bodies.iter().filter(|field| field.name() != "send") {
        let text = format!(r#"{{"send":{{"envelope":5}},"{}":{{}}}}"#, field.name());
        assert!(decode_client_frame(text.as_bytes()).is_err(), "{text}");
    }
}

#[test]
fn server_frames() {
    let frame = |id: &str, body| ServerFrame { id: id.into(), body: Some(body) };
    let text = |frame: &ServerFrame| String::from_utf8(encode_server_frame(frame)).unwrap();

    let pong = Pong {
        server_time_unix_ms: 5,
        subscriptions: vec![SubscriptionHead { session_id: "s".into(), high_water_sequence: 2 }],
    };
    assert_eq!(
        text(&frame("1", server_frame::Body::Pong(pong))),
        r#"{"id":"1","pong":{"server_time_unix_ms":5,"subscriptions":[{"session_id":"s","high_water_sequence":2}]}}"#
    );
    let error = macp_wire::v1::MacpError { code: "INVALID_REQUEST".into(), ..Default::default() };
    assert_eq!(
        text(&frame("", server_frame::Body::Error(error))),
        r#"{"id":"","error":{"code":"INVALID_REQUEST","message":"","session_id":"","message_id":"","details":""}}"#
    );

    let response = GetSessionResponse { metadata: Some(SessionMetadata { state: 1, ..Default::default() }) };
    let result = CallResult { method: "GetSession".into(), response: response.encode_to_vec().into() };
    let result = frame("2", server_frame::Body::Result(result));
    let expected = format!(
        r#"{{"id":"2","result":{{"method":"GetSession","response":{}}}}}"#,
        json::to_string(&response)
    );
    assert_eq!(text(&result), expected);
    assert_eq!(json::from_slice::<ServerFrame>(expected.as_bytes()).unwrap(), result);
    let mut out = Vec::new();
    json::write_result_frame("2", "GetSession", &response, &mut out);
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn ready_envelopes_are_spliced_into_frames() {
    let envelope =
        Envelope { message_type: "Signal".into(), session_id: "\"s\"".into(), ..Default::default() };
    let ready = json::to_vec(&envelope);
    for sequence in [1, u64::MAX] {
        let mut out = Vec::new();
        json::write_envelope_frame("\"s\"", sequence, &ready, &mut out);
        let body = SessionEnvelope { session_id: "\"s\"".into(), sequence, envelope: Some(envelope.clone()) };
        let frame = ServerFrame { id: String::new(), body: Some(server_frame::Body::Envelope(body)) };
        assert_eq!(out, encode_server_frame(&frame));
    }
    let mut out = Vec::new();
    json::write_signal_frame(&ready, true, &mut out);
    let signal = WatchSignalsResponse { envelope: Some(envelope), sender_authenticated: true };
    let event = Event { topic: Topic::Signals.into(), update: Some(Update::Signal(signal)) };
    let frame = ServerFrame { id: String::new(), body: Some(server_frame::Body::Event(event)) };
    assert_eq!(out, encode_server_frame(&frame));
}

/// JSON cannot bring such frames in, but protobuf can: they must not become invalid JSON.
#[test]
fn bytes_that_are_not_the_methods_message_are_written_as_bytes() {
    for (method, bytes) in [("Nope", &b"\x01"[..]), ("GetSession", b"\xFF")] {
        let call = Call { method: method.into(), request: bytes.into() };
        let text = json::to_string(&ClientFrame { id: String::new(), body: Some(Body::Call(call)) });
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert!(json["call"]["request"].is_string(), "{text}");
    }
    let call = Call { method: "ListModes".into(), request: ListModesRequest {}.encode_to_vec().into() };
    assert_eq!(json::to_string(&call), r#"{"method":"ListModes","request":{}}"#);
}
