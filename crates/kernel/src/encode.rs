//! Protobuf written straight from borrowed state: what every append stores, without making the messages first.
//!
//! A [`Part`] says its fields once. They are counted before they are written, since protobuf has the length of a nested
//! message in front of it. The messages themselves ([`crate::summary`], [`crate::record`]) define the format; tests
//! hold the two against each other.

use prost::encoding::{WireType, encoded_len_varint, key_len};

/// A message that says its fields, in the order of their numbers. A field with its default value is left out by whoever
/// says it, but for [`Fields::text`] and [`Fields::number`], which know.
pub(crate) trait Part {
    fn fields(&self, out: &mut impl Fields);
}

/// Where fields go.
pub(crate) trait Fields {
    /// A string or bytes, present.
    fn bytes(&mut self, tag: u32, value: &[u8]);

    /// A number, present.
    fn varint(&mut self, tag: u32, value: u64);

    /// A nested message, present.
    fn message(&mut self, tag: u32, part: &impl Part);

    /// A string; an empty one is left out.
    fn text(&mut self, tag: u32, value: &str) {
        if !value.is_empty() {
            self.bytes(tag, value.as_bytes());
        }
    }

    /// An unsigned number; zero is left out.
    fn number(&mut self, tag: u32, value: u64) {
        if value != 0 {
            self.varint(tag, value);
        }
    }

    /// An `int64` or an enumeration; zero is left out.
    fn int64(&mut self, tag: u32, value: i64) {
        self.number(tag, value.cast_unsigned());
    }

    /// A `sint64`, present.
    fn sint64(&mut self, tag: u32, value: i64) {
        self.varint(tag, ((value << 1) ^ (value >> 63)).cast_unsigned());
    }
}

/// Counts bytes.
struct Length(usize);

impl Fields for Length {
    fn bytes(&mut self, tag: u32, value: &[u8]) {
        self.0 += key_len(tag) + encoded_len_varint(value.len() as u64) + value.len();
    }

    fn varint(&mut self, tag: u32, value: u64) {
        self.0 += key_len(tag) + encoded_len_varint(value);
    }

    fn message(&mut self, tag: u32, part: &impl Part) {
        let length = length(part);
        self.0 += key_len(tag) + encoded_len_varint(length as u64) + length;
    }
}

impl Fields for Vec<u8> {
    fn bytes(&mut self, tag: u32, value: &[u8]) {
        put(key(tag, WireType::LengthDelimited), self);
        put(value.len() as u64, self);
        self.extend_from_slice(value);
    }

    fn varint(&mut self, tag: u32, value: u64) {
        put(key(tag, WireType::Varint), self);
        put(value, self);
    }

    fn message(&mut self, tag: u32, part: &impl Part) {
        put(key(tag, WireType::LengthDelimited), self);
        put(length(part) as u64, self);
        part.fields(self);
    }
}

fn key(tag: u32, wire_type: WireType) -> u64 {
    u64::from(tag) << 3 | wire_type as u64
}

/// Appends a varint. The library's own goes through an abstraction of buffers for each byte, which shows.
fn put(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Encoded length of a message.
pub(crate) fn length(part: &impl Part) -> usize {
    let mut length = Length(0);
    part.fields(&mut length);
    length.0
}
