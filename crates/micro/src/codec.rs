//! Canonical JSON and protobuf of an envelope of each kind.

use std::hint::black_box;

use macp_wire::json;
use macp_wire::v1::{Envelope, SendRequest};
use prost::Message as _;

use crate::Step;
use crate::inputs::inputs;

pub(crate) fn steps() -> Vec<Step> {
    let mut steps = Vec::new();
    for input in inputs() {
        let envelope = input.envelope(0);
        let request = SendRequest { envelope: Some(envelope.clone()) };
        let text = json::to_vec(&request);
        let bytes = request.encode_to_vec();
        steps.push(Step::new(format!("json/decode/{}", input.name), move || {
            let text = text.clone();
            move |_| drop(black_box(json::decode_send(&text).unwrap().unwrap()))
        }));
        let written = envelope.clone();
        steps.push(Step::new(format!("json/encode/{}", input.name), move || {
            let envelope = written.clone();
            move |_| drop(black_box(json::to_vec(&envelope)))
        }));
        if input.name == "decision-vote" {
            steps.push(Step::new("proto/decode/decision-vote", move || {
                let bytes = bytes::Bytes::from(bytes.clone());
                move |_| drop(black_box(SendRequest::decode(bytes.clone()).unwrap()))
            }));
            steps.push(Step::new("proto/encode/decision-vote", move || {
                let envelope: Envelope = envelope.clone();
                move |_| drop(black_box(envelope.encode_to_vec()))
            }));
        }
    }
    steps
}
