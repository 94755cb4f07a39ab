//! Reads scalar values: the right-hand column of RFC-MACP-0001 §10.3, §10.4, §10.8 and §10.9.

use std::borrow::Cow;

use base64::Engine;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;

use super::error::JsonError;
use super::number::{self, NotInteger};
use super::reader::Reader;

type Result<T> = std::result::Result<T, JsonError>;

/// Both alphabets are read leniently, as by the proto3 mapping: padding and trailing bits do not matter.
const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const BASE64: GeneralPurpose = GeneralPurpose::new(&STANDARD, LENIENT);
const BASE64_URL: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, LENIENT);

pub(super) fn string(reader: &mut Reader<'_>) -> Result<String> {
    reader.string().map(Cow::into_owned)
}

pub(super) fn boolean(reader: &mut Reader<'_>) -> Result<bool> {
    reader.boolean()
}

pub(super) fn bytes(reader: &mut Reader<'_>) -> Result<Bytes> {
    let text = reader.string()?;
    let engine = if text.contains(['-', '_']) { BASE64_URL } else { BASE64 };
    let bytes =
        engine.decode(text.as_bytes()).map_err(|error| JsonError::value(format!("not base64: {error}")))?;
    Ok(bytes.into())
}

pub(super) fn int32(reader: &mut Reader<'_>) -> Result<i32> {
    integer(reader)
}

pub(super) fn uint32(reader: &mut Reader<'_>) -> Result<u32> {
    integer(reader)
}

pub(super) fn int64(reader: &mut Reader<'_>) -> Result<i64> {
    integer(reader)
}

pub(super) fn uint64(reader: &mut Reader<'_>) -> Result<u64> {
    integer(reader)
}

pub(super) fn double(reader: &mut Reader<'_>) -> Result<f64> {
    let text = number_text(reader)?;
    match &*text {
        "NaN" => return Ok(f64::NAN),
        "Infinity" => return Ok(f64::INFINITY),
        "-Infinity" => return Ok(f64::NEG_INFINITY),
        _ => {}
    }
    let value: f64 = grammatical(&text)?.parse().map_err(|_| JsonError::value("not a number"))?;
    if value.is_finite() { Ok(value) } else { Err(JsonError::value("number out of range")) }
}

/// Reads an enum: a name, or any 32-bit integer. A name that is not known leaves the default, zero.
pub(super) fn enumeration(reader: &mut Reader<'_>, number: impl Fn(&str) -> Option<i32>) -> Result<i32> {
    match reader.peek() {
        Some(b'"') => Ok(number(&reader.string()?).unwrap_or_default()),
        Some(b'-' | b'0'..=b'9') => integer(reader),
        _ => Err(reader.mismatch("an enum name or number")),
    }
}

/// Refuses a second member of a oneof.
pub(super) fn only_one(first: bool) -> Result<()> {
    if first { Ok(()) } else { Err(JsonError::value("another member that excludes this one is present")) }
}

fn integer<T: TryFrom<i128>>(reader: &mut Reader<'_>) -> Result<T> {
    let text = number_text(reader)?;
    number::integer(grammatical(&text)?).map_err(|reason| {
        JsonError::value(match reason {
            NotInteger::Fraction => "not an integer",
            NotInteger::Range => "integer out of range",
        })
    })
}

/// The text of a number, or of a string in its place.
fn number_text<'a>(reader: &mut Reader<'a>) -> Result<Cow<'a, str>> {
    match reader.peek() {
        Some(b'"') => reader.string(),
        _ => reader.number().map(Cow::Borrowed),
    }
}

/// Passes a text that is exactly one JSON number; a quoted number must be one as well.
fn grammatical(text: &str) -> Result<&str> {
    match number::length(text) {
        Some(length) if length == text.len() => Ok(text),
        _ => Err(JsonError::value("not a number")),
    }
}
