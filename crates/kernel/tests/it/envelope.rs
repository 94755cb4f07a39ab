//! The shape of an envelope, who it is from, and what its sender may do at all (RFC-MACP-0001 §4.1, §6).

use std::collections::BTreeSet;

use macp_kernel::RefusalCode::{
    Forbidden, InvalidEnvelope, PayloadTooLarge, Unauthenticated, UnsupportedProtocolVersion,
};
use macp_kernel::envelope::{Plane, authorize_mode, bind_sender, check_ambient_payload, check_shape};
use macp_kernel::testing::{A, B, Message, caller};
use macp_wire::v1::{Envelope, ProgressPayload, SignalPayload};
use prost::Message as _;

fn envelope(message_type: &str, session_id: &str, mode: &str) -> Envelope {
    Envelope {
        session_id: session_id.to_owned(),
        ..Message::new(message_type, Vec::new()).envelope(mode, A, "m1")
    }
}

#[test]
fn shape() {
    for (message_type, session_id, mode, expected) in [
        ("Vote", "s", "m", Ok(Plane::Session)),
        ("SessionStart", "s", "m", Ok(Plane::Session)),
        ("Vote", "", "m", Err(InvalidEnvelope)),
        ("Vote", "s", "", Err(InvalidEnvelope)),
        ("Vote", "s", " \t\u{2003}", Err(InvalidEnvelope)),
        // Emptiness of the session id is judged as it stands.
        ("Vote", " ", "m", Ok(Plane::Session)),
        ("Signal", "", "", Ok(Plane::Ambient)),
        ("Signal", "", "  ", Ok(Plane::Ambient)),
        ("Signal", "s", "", Err(InvalidEnvelope)),
        ("Signal", "", "m", Err(InvalidEnvelope)),
        ("Signal", "s", "m", Err(InvalidEnvelope)),
        ("Progress", "", "", Ok(Plane::Ambient)),
        ("Progress", "s", "m", Ok(Plane::Ambient)),
        ("Progress", "s", "", Err(InvalidEnvelope)),
        ("Progress", "", "m", Err(InvalidEnvelope)),
        // Types are compared exactly.
        ("signal", "", "", Err(InvalidEnvelope)),
        ("", "s", "m", Err(InvalidEnvelope)),
    ] {
        let got = check_shape(&envelope(message_type, session_id, mode), 10).map_err(|refusal| refusal.code);
        assert_eq!(got, expected, "{message_type:?} {session_id:?} {mode:?}");
    }
    let nameless = Envelope { message_id: String::new(), ..envelope("Vote", "s", "m") };
    assert_eq!(check_shape(&nameless, 10).unwrap_err().code, InvalidEnvelope);
    let anonymous = Envelope { sender: String::new(), ..envelope("Vote", "s", "m") };
    assert!(check_shape(&anonymous, 10).is_ok(), "the server fills an empty sender in");
    for version in ["", "1", "1.0.0", "1.1", "2.0", " 1.0"] {
        let other = Envelope { macp_version: version.to_owned(), ..envelope("Vote", "s", "m") };
        assert_eq!(check_shape(&other, 10).unwrap_err().code, UnsupportedProtocolVersion, "{version:?}");
    }
    let sized = |len: usize| Envelope { payload: vec![0; len].into(), ..envelope("Vote", "s", "m") };
    assert!(check_shape(&sized(10), 10).is_ok());
    assert_eq!(check_shape(&sized(11), 10).unwrap_err().code, PayloadTooLarge);
}

/// Each fault wins over all later ones.
#[test]
fn shape_faults_in_order() {
    let mut envelope = Envelope { payload: vec![0; 11].into(), ..Envelope::default() };
    let code = |envelope: &Envelope| check_shape(envelope, 10).unwrap_err().code;
    assert_eq!(code(&envelope), UnsupportedProtocolVersion);
    envelope.macp_version = "1.0".to_owned();
    assert_eq!(code(&envelope), InvalidEnvelope);
    envelope.message_type = "Vote".to_owned();
    assert_eq!(code(&envelope), InvalidEnvelope);
    envelope.message_id = "m".to_owned();
    assert_eq!(code(&envelope), InvalidEnvelope);
    envelope.session_id = "s".to_owned();
    assert_eq!(code(&envelope), InvalidEnvelope);
    envelope.mode = "m".to_owned();
    assert_eq!(code(&envelope), PayloadTooLarge);
}

#[test]
fn sender_is_the_credentials() {
    for (claimed, expected) in
        [("", Ok(A)), (A, Ok(A)), (B, Err(Unauthenticated)), (" ", Err(Unauthenticated))]
    {
        let mut envelope = Envelope { sender: claimed.to_owned(), ..Envelope::default() };
        let got = bind_sender(&mut envelope, &caller(A)).map_err(|refusal| refusal.code);
        assert_eq!(got.map(|()| envelope.sender.as_str()), expected, "{claimed:?}");
    }
}

#[test]
fn capabilities() {
    let start = envelope("SessionStart", "s", "m");
    let vote = envelope("Vote", "s", "m");
    let signal = envelope("Signal", "", "");
    let mut caller = caller(A);
    let code = |caller: &_, envelope| authorize_mode(envelope, caller).map_err(|refusal| refusal.code);
    assert_eq!(code(&caller, &start), Ok(()));
    caller.capabilities.can_start_sessions = false;
    assert_eq!(code(&caller, &start), Err(Forbidden));
    assert_eq!(code(&caller, &vote), Ok(()));
    caller.capabilities.allowed_modes = Some(BTreeSet::from(["m".to_owned()]));
    assert_eq!(code(&caller, &vote), Ok(()));
    assert_eq!(code(&caller, &signal), Err(Forbidden), "an ambient envelope has the mode \"\"");
    caller.capabilities.allowed_modes = Some(BTreeSet::new());
    assert_eq!(code(&caller, &vote), Err(Forbidden));
}

#[test]
fn ambient_payloads() {
    let signal = |signal_type: &str| {
        SignalPayload { signal_type: signal_type.to_owned(), ..SignalPayload::default() }.encode_to_vec()
    };
    let progress = ProgressPayload { message: "half".to_owned(), ..ProgressPayload::default() };
    for (message_type, payload, ok) in [
        ("Signal", Vec::new(), true),
        ("Signal", signal("x"), true),
        ("Signal", signal(" "), false),
        ("Signal", vec![0xff; 3], false),
        ("Progress", Vec::new(), true),
        ("Progress", progress.encode_to_vec(), true),
        ("Progress", vec![0xff; 3], false),
    ] {
        let envelope = Envelope { payload: payload.clone().into(), ..envelope(message_type, "", "") };
        let got = check_ambient_payload(&envelope).map_err(|refusal| refusal.code);
        assert_eq!(got, if ok { Ok(()) } else { Err(InvalidEnvelope) }, "{message_type} {payload:?}");
    }
}
