//! Hostile input to every decode entry point: whatever comes in, nothing panics and what is taken is stable.

use macp_wire::json::{self, JsonErrorKind};
use proptest::prelude::*;
use prost::Message;

use crate::oracle::{self, Entropy};
use crate::types::TYPES;

/// Feeds a text to every entry point.
fn feed(text: &[u8], index: usize) {
    let _ = json::decode_client_frame(text);
    let _ = json::decode_send(text);
    for kind in [TYPES[index % TYPES.len()], crate::types::named("macp.v1.Envelope")] {
        match (kind.from_json)(text) {
            Ok(bytes) => {
                // What was read can be written, and reads as the same again.
                let again = (kind.to_json)(&bytes);
                assert_eq!(
                    (kind.from_json)(&again).as_ref(),
                    Ok(&bytes),
                    "{}",
                    String::from_utf8_lossy(text)
                );
            }
            Err(error) => {
                let of_text = std::str::from_utf8(text).is_err();
                assert!(!of_text || error.kind() == JsonErrorKind::Text, "{error}");
                assert!(!error.to_string().is_empty());
            }
        }
    }
}

/// Changes a text in a few places: bytes replaced, removed, repeated and cut.
fn mutate(text: &mut Vec<u8>, changes: &[(u16, u8)]) {
    for (place, change) in changes {
        if text.is_empty() {
            return;
        }
        let at = usize::from(*place) % text.len();
        match change % 5 {
            0 => text[at] = *change,
            1 => drop(text.remove(at)),
            2 => text.insert(at, b"{}[]\",:\\0-eE.+n"[usize::from(change / 5) % 15]),
            3 => {
                let end = (at + usize::from(*change)).min(text.len());
                let copy = text[at..end].to_vec();
                text.splice(at..at, copy);
            }
            _ => text.truncate(at),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes(text in prop::collection::vec(any::<u8>(), 0..200), index in any::<usize>()) {
        feed(&text, index);
    }

    #[test]
    fn arbitrary_text(text in "\\PC*", index in any::<usize>()) {
        feed(text.as_bytes(), index);
    }

    #[test]
    fn mutated_json(
        index in 0..TYPES.len(),
        choices in prop::collection::vec(any::<u8>(), 0..300),
        changes in prop::collection::vec(any::<(u16, u8)>(), 0..4),
    ) {
        let message = oracle::message(&TYPES[index].descriptor(), &mut Entropy(&choices));
        let mut text = (TYPES[index].to_json)(&message.encode_to_vec());
        mutate(&mut text, &changes);
        feed(&text, index);
    }

    /// The payload of a stored envelope is arbitrary: its JSON is valid and gives the bytes back.
    #[test]
    fn arbitrary_payload_bytes(payload in prop::collection::vec(any::<u8>(), 0..60), mode in 0_usize..9) {
        let envelope = macp_wire::v1::Envelope {
            mode: oracle::MODES[mode].into(),
            message_type: ["Signal", "Vote", "Contribute", "Commitment", "Accept"][payload.len() % 5].into(),
            payload: payload.into(),
            ..Default::default()
        };
        let text = json::to_vec(&envelope);
        serde_json::from_slice::<serde_json::Value>(&text).unwrap();
        prop_assert_eq!(json::from_slice::<macp_wire::v1::Envelope>(&text).unwrap(), envelope);
    }
}
