//! The envelope (RFC-MACP-0001 §4), written out where the other messages are generated: it is in every request, every
//! record and every delivery, and reading its six strings by the library's way costs more than judging it.

use bytes::{Buf, BufMut, Bytes};
use prost::DecodeError;
use prost::encoding::{DecodeContext, WireType, bytes as octets, int64, skip_field, string};

/// One protocol message: routing fields around an opaque, mode-specific payload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Envelope {
    /// The negotiated protocol version, exactly.
    pub macp_version: String,
    /// Mode identifier; empty for ambient messages.
    pub mode: String,
    /// Name of the payload's message.
    pub message_type: String,
    /// Chosen by the sender; repeats are recognised by it.
    pub message_id: String,
    /// Empty for ambient messages.
    pub session_id: String,
    /// Who sends it. The server sets it from the credential.
    pub sender: String,
    /// Sender's clock in milliseconds; binding on `SessionStart` only. In JSON this is `timestamp`.
    pub timestamp_unix_ms: i64,
    /// Protobuf bytes of the payload message; in JSON `payload` or `payload_b64`.
    pub payload: Bytes,
}

impl Envelope {
    fn strings(&self) -> [(u32, &String); 6] {
        [
            (1, &self.macp_version),
            (2, &self.mode),
            (3, &self.message_type),
            (4, &self.message_id),
            (5, &self.session_id),
            (6, &self.sender),
        ]
    }
}

impl prost::Message for Envelope {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        for (tag, value) in self.strings() {
            if !value.is_empty() {
                string::encode(tag, value, buf);
            }
        }
        if self.timestamp_unix_ms != 0 {
            int64::encode(7, &self.timestamp_unix_ms, buf);
        }
        if !self.payload.is_empty() {
            octets::encode(8, &self.payload, buf);
        }
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        let (name, read) = match tag {
            1 => ("macp_version", merge_string(wire_type, &mut self.macp_version, buf, ctx)),
            2 => ("mode", merge_string(wire_type, &mut self.mode, buf, ctx)),
            3 => ("message_type", merge_string(wire_type, &mut self.message_type, buf, ctx)),
            4 => ("message_id", merge_string(wire_type, &mut self.message_id, buf, ctx)),
            5 => ("session_id", merge_string(wire_type, &mut self.session_id, buf, ctx)),
            6 => ("sender", merge_string(wire_type, &mut self.sender, buf, ctx)),
            7 => ("timestamp_unix_ms", int64::merge(wire_type, &mut self.timestamp_unix_ms, buf, ctx)),
            8 => ("payload", octets::merge(wire_type, &mut self.payload, buf, ctx)),
            _ => return skip_field(wire_type, tag, buf, ctx),
        };
        read.map_err(|mut error| {
            error.push("Envelope", name);
            error
        })
    }

    fn encoded_len(&self) -> usize {
        let strings = self.strings().into_iter().filter(|(_, value)| !value.is_empty());
        let strings: usize = strings.map(|(tag, value)| string::encoded_len(tag, value)).sum();
        let time =
            if self.timestamp_unix_ms == 0 { 0 } else { int64::encoded_len(7, &self.timestamp_unix_ms) };
        let payload = if self.payload.is_empty() { 0 } else { octets::encoded_len(8, &self.payload) };
        strings + time + payload
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

/// Reads a string that is short, in one piece and as it must be; all others, faulty ones too, are left to the library.
#[inline]
fn merge_string(
    wire_type: WireType,
    value: &mut String,
    buf: &mut impl Buf,
    ctx: DecodeContext,
) -> Result<(), DecodeError> {
    let at_hand = match buf.chunk() {
        [length @ ..0x80, rest @ ..] if wire_type == WireType::LengthDelimited => {
            rest.get(..usize::from(*length))
        }
        _ => None,
    };
    if let Some(text) = at_hand.and_then(|bytes| str::from_utf8(bytes).ok()) {
        value.clear();
        value.push_str(text);
        let read = text.len() + 1;
        buf.advance(read);
        return Ok(());
    }
    string::merge(wire_type, value, buf, ctx)
}

#[cfg(test)]
mod tests {
    use bytes::Buf as _;
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;

    /// The same message as the library reads and writes it.
    #[derive(Clone, PartialEq, prost::Message)]
    struct Generated {
        #[prost(string, tag = "1")]
        macp_version: String,
        #[prost(string, tag = "2")]
        mode: String,
        #[prost(string, tag = "3")]
        message_type: String,
        #[prost(string, tag = "4")]
        message_id: String,
        #[prost(string, tag = "5")]
        session_id: String,
        #[prost(string, tag = "6")]
        sender: String,
        #[prost(int64, tag = "7")]
        timestamp_unix_ms: i64,
        #[prost(bytes = "bytes", tag = "8")]
        payload: Bytes,
    }

    impl From<Envelope> for Generated {
        fn from(envelope: Envelope) -> Self {
            let Envelope { macp_version, mode, message_type, message_id, .. } = envelope;
            let Envelope { session_id, sender, timestamp_unix_ms, payload, .. } = envelope;
            Self {
                macp_version,
                mode,
                message_type,
                message_id,
                session_id,
                sender,
                timestamp_unix_ms,
                payload,
            }
        }
    }

    fn text() -> impl Strategy<Value = String> {
        prop_oneof![Just(String::new()), "\\PC{0,12}", "[a-z]{120,140}"]
    }

    fn generated() -> impl Strategy<Value = Generated> {
        let names = (text(), text(), text(), text(), text(), text());
        (names, any::<i64>(), prop::collection::vec(any::<u8>(), 0..300)).prop_map(
            |(names, time, payload)| {
                let (macp_version, mode, message_type, message_id, session_id, sender) = names;
                let payload = payload.into();
                Generated {
                    macp_version,
                    mode,
                    message_type,
                    message_id,
                    session_id,
                    sender,
                    timestamp_unix_ms: time,
                    payload,
                }
            },
        )
    }

    fn agree(bytes: &[u8]) -> Result<(), TestCaseError> {
        let theirs =
            Generated::decode(bytes).map_err(|error| error.to_string().replace("Generated", "Envelope"));
        let ours = |read: Result<Envelope, DecodeError>| {
            read.map(Generated::from).map_err(|error| error.to_string())
        };
        prop_assert_eq!(&ours(Envelope::decode(bytes)), &theirs);
        // In two pieces, cut anywhere.
        for cut in 0..=bytes.len() {
            let (front, back) = bytes.split_at(cut);
            prop_assert_eq!(ours(Envelope::decode(front.chain(back))).is_ok(), theirs.is_ok());
        }
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn is_read_and_written_as_the_generated_one(message in generated()) {
            let bytes = message.encode_to_vec();
            let envelope = Envelope::decode(&bytes[..]).unwrap();
            prop_assert_eq!(envelope.encode_to_vec(), bytes.clone());
            prop_assert_eq!(envelope.encoded_len(), bytes.len());
            prop_assert_eq!(Generated::from(envelope), message);
        }

        #[test]
        fn faulty_bytes_have_the_same_faults(
            message in generated(),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
            length in any::<prop::sample::Index>(),
        ) {
            let mut bytes = message.encode_to_vec();
            bytes.extend(b"\x3a\x01x\x50\x07");
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            bytes.truncate(length.index(bytes.len() + 1).max(bytes.len() / 2));
            bytes.truncate(400);
            agree(&bytes)?;
        }

        #[test]
        fn any_bytes_have_the_same_meaning(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            agree(&bytes)?;
        }
    }
}
