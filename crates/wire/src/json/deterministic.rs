//! Deterministic protobuf bytes (RFC-MACP-0001 §10.13), the same on every server.
//!
//! A library's encoder will not do: it leaves out a `-0.0`, keeps a NaN's bits, and leaves out default keys
//! and values of map entries.

use bytes::{BufMut, Bytes};
use prost::encoding::{WireType, encode_key, encode_varint};

use super::Json;

/// The fields of one message type, in ascending order.
pub(super) trait Deterministic {
    /// Appends all fields that are set.
    fn put(&self, out: &mut Vec<u8>);
}

/// The protobuf bytes of a message by the rules of RFC-MACP-0001 §10.13.
pub fn deterministic_bytes<M: Json>(message: &M) -> Vec<u8> {
    // Close to the length by these rules.
    let mut out = Vec::with_capacity(message.encoded_len());
    message.put(&mut out);
    out
}

/// Whether a field without presence is written.
pub(super) trait IsSet {
    fn is_set(&self) -> bool;
}

macro_rules! is_set {
    ($($type:ty: |$value:ident| $set:expr;)*) => {
        $(impl IsSet for $type {
            fn is_set(&self) -> bool {
                let $value = self;
                $set
            }
        })*
    };
}

is_set! {
    String: |value| !value.is_empty();
    Bytes: |value| !value.is_empty();
    bool: |value| *value;
    i32: |value| *value != 0;
    u32: |value| *value != 0;
    i64: |value| *value != 0;
    u64: |value| *value != 0;
    f64: |value| value.to_bits() != 0; // -0.0 is not the default
}

pub(super) fn is_set(value: &impl IsSet) -> bool {
    value.is_set()
}

pub(super) fn string(out: &mut Vec<u8>, number: u32, value: &str) {
    bytes(out, number, value.as_bytes());
}

pub(super) fn bytes(out: &mut Vec<u8>, number: u32, value: &[u8]) {
    encode_key(number, WireType::LengthDelimited, out);
    encode_varint(value.len() as u64, out);
    out.extend_from_slice(value);
}

pub(super) fn boolean(out: &mut Vec<u8>, number: u32, value: &bool) {
    uint64(out, number, &u64::from(*value));
}

/// Also enums; negative numbers take ten bytes.
pub(super) fn int32(out: &mut Vec<u8>, number: u32, value: &i32) {
    int64(out, number, &i64::from(*value));
}

pub(super) fn uint32(out: &mut Vec<u8>, number: u32, value: &u32) {
    uint64(out, number, &u64::from(*value));
}

pub(super) fn int64(out: &mut Vec<u8>, number: u32, value: &i64) {
    uint64(out, number, &value.cast_unsigned());
}

pub(super) fn uint64(out: &mut Vec<u8>, number: u32, value: &u64) {
    encode_key(number, WireType::Varint, out);
    encode_varint(*value, out);
}

pub(super) fn double(out: &mut Vec<u8>, number: u32, value: &f64) {
    encode_key(number, WireType::SixtyFourBit, out);
    let bits = if value.is_nan() { 0x7FF8_0000_0000_0000 } else { value.to_bits() };
    out.put_u64_le(bits);
}

pub(super) fn message(out: &mut Vec<u8>, number: u32, value: &impl Deterministic) {
    let mut inner = Vec::new();
    value.put(&mut inner);
    bytes(out, number, &inner);
}

/// Writes a map entry: key and value always, also when they are defaults.
pub(super) fn entry(out: &mut Vec<u8>, number: u32, key: &str, value: impl Fn(&mut Vec<u8>)) {
    let mut inner = Vec::new();
    string(&mut inner, 1, key);
    value(&mut inner);
    bytes(out, number, &inner);
}
