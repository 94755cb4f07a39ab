//! Responses of the two busy streams as bytes that were encoded once for all their receivers.
//!
//! The generated server uses these types in place of `StreamSessionResponse` and `WatchSignalsResponse` (see
//! `build.rs`). What a client reads is the same; what differs is that fan-out to a thousand streams encodes once
//! and hands out references to one buffer.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use macp_engine::{Delivery, Form, Signal};
use macp_wire::v1::stream_session_response::Response;
use macp_wire::v1::{MacpError, StreamSessionResponse};
use prost::encoding::{self, DecodeContext, WireType};
use prost::{DecodeError, Message};

/// Field number of the envelope in both responses.
const ENVELOPE: u32 = 1;
/// Field number of `sender_authenticated` in `WatchSignalsResponse`.
const SENDER_AUTHENTICATED: u32 = 2;

/// A `StreamSessionResponse`, encoded.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StreamFrame(Bytes);

/// A `WatchSignalsResponse`, encoded.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SignalFrame(Bytes);

impl StreamFrame {
    /// The frame of an accepted envelope, shared by every stream that delivers it.
    pub(crate) fn envelope(delivery: &Delivery) -> Self {
        let frame = delivery.form(Form::GrpcStream, |delivery| {
            let mut bytes = BytesMut::with_capacity(envelope_len(delivery));
            put_envelope(delivery, &mut bytes);
            bytes.freeze()
        });
        Self(frame.clone())
    }

    /// The frame of an inline error, which has one receiver.
    pub(crate) fn error(error: MacpError) -> Self {
        let response = StreamSessionResponse { response: Some(Response::Error(error)) };
        Self(response.encode_to_vec().into())
    }
}

impl SignalFrame {
    /// The frame of an ambient envelope. Whether its sender was authenticated is a fact of the signal, so the
    /// bytes are the same for every watcher.
    pub(crate) fn new(signal: &Signal) -> Self {
        let frame = signal.delivery.form(Form::GrpcSignal, |delivery| {
            let mut bytes = BytesMut::with_capacity(envelope_len(delivery) + 2);
            put_envelope(delivery, &mut bytes);
            if signal.sender_authenticated {
                encoding::bool::encode(SENDER_AUTHENTICATED, &true, &mut bytes);
            }
            bytes.freeze()
        });
        Self(frame.clone())
    }
}

fn envelope_len(delivery: &Delivery) -> usize {
    let len = delivery.proto().len();
    encoding::key_len(ENVELOPE) + encoding::encoded_len_varint(len as u64) + len
}

fn put_envelope(delivery: &Delivery, buf: &mut impl BufMut) {
    let envelope = delivery.proto();
    encoding::encode_key(ENVELOPE, WireType::LengthDelimited, buf);
    encoding::encode_varint(envelope.len() as u64, buf);
    buf.put_slice(envelope);
}

macro_rules! ready_message {
    ($name:ident) => {
        impl Message for $name {
            fn encode_raw(&self, buf: &mut impl BufMut) {
                buf.put_slice(&self.0);
            }

            fn encoded_len(&self) -> usize {
                self.0.len()
            }

            /// A server never decodes its own responses. The trait demands the method all the same; skipping
            /// the field is what reading into a type that knows no field has to do, and keeps the buffer right.
            fn merge_field(
                &mut self,
                tag: u32,
                wire_type: WireType,
                buf: &mut impl Buf,
                ctx: DecodeContext,
            ) -> Result<(), DecodeError> {
                encoding::skip_field(wire_type, tag, buf, ctx)
            }

            fn clear(&mut self) {
                self.0.clear();
            }
        }
    };
}

ready_message!(StreamFrame);
ready_message!(SignalFrame);

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use macp_kernel::envelope::Sealed;
    use macp_wire::v1::{Envelope, WatchSignalsResponse};

    use super::*;

    fn delivery() -> Arc<Delivery> {
        let envelope = Envelope {
            macp_version: "1.0".into(),
            message_type: "Vote".into(),
            message_id: "m".into(),
            session_id: "s".into(),
            payload: Bytes::from(vec![7; 300]),
            ..Envelope::default()
        };
        Arc::new(Delivery::new(3, Arc::new(Sealed::new(envelope))))
    }

    #[test]
    fn a_stream_frame_is_a_stream_session_response() {
        let delivery = delivery();
        let frame = StreamFrame::envelope(&delivery);
        let expected =
            StreamSessionResponse { response: Some(Response::Envelope(delivery.envelope().clone())) };
        assert_eq!(frame.encode_to_vec(), expected.encode_to_vec());
        assert_eq!(frame.0.as_ptr(), StreamFrame::envelope(&delivery).0.as_ptr(), "encoded once, shared");
    }

    #[test]
    fn an_error_frame_is_a_stream_session_response() {
        let error = MacpError { code: "FORBIDDEN".into(), ..MacpError::default() };
        let frame = StreamFrame::error(error.clone());
        let expected = StreamSessionResponse { response: Some(Response::Error(error)) };
        assert_eq!(StreamSessionResponse::decode(&*frame.encode_to_vec()).unwrap(), expected);
    }

    #[test]
    fn a_signal_frame_is_a_watch_signals_response() {
        for sender_authenticated in [true, false] {
            let signal = Signal { delivery: delivery(), sender_authenticated };
            let frame = SignalFrame::new(&signal);
            let expected = WatchSignalsResponse {
                envelope: Some(signal.delivery.envelope().clone()),
                sender_authenticated,
            };
            assert_eq!(frame.encode_to_vec(), expected.encode_to_vec());
        }
    }

    #[test]
    fn reading_skips_every_field() {
        let mut frame = StreamFrame(Bytes::new());
        let response = StreamSessionResponse { response: Some(Response::Error(MacpError::default())) };
        frame.merge(&*response.encode_to_vec()).unwrap();
        assert!(frame.merge(&b"\x0a\xff"[..]).is_err());
        assert_eq!(frame, StreamFrame(Bytes::new()));
    }
}
