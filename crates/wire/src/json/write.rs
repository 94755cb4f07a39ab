//! Writes JSON values: the encoding rules of RFC-MACP-0001 §10.3, §10.4, §10.8 and §10.9.

use std::collections::BTreeMap;
use std::io::Write as _;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::reader::special;

/// The largest magnitude up to which every integer is exact in a double: 2^53 - 1.
const MAX_EXACT: u64 = 9_007_199_254_740_991;

pub(super) fn open(out: &mut Vec<u8>) {
    out.push(b'{');
}

pub(super) fn close(out: &mut Vec<u8>) {
    out.push(b'}');
}

/// Writes a member name that needs no escapes. No value ends in `{`, so that byte tells the first member.
pub(super) fn key(out: &mut Vec<u8>, name: &str) {
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

pub(super) fn string(out: &mut Vec<u8>, value: &str) {
    out.push(b'"');
    let mut rest = value.as_bytes();
    while let Some(plain) = special(rest) {
        out.extend_from_slice(&rest[..plain]);
        match rest[plain] {
            byte @ (b'"' | b'\\') => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            byte => text(out, format_args!("\\u{byte:04x}")),
        }
        rest = &rest[plain + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

pub(super) fn boolean(out: &mut Vec<u8>, value: &bool) {
    out.extend_from_slice(if *value { b"true" } else { b"false" });
}

pub(super) fn bytes(out: &mut Vec<u8>, value: &[u8]) {
    out.push(b'"');
    let start = out.len();
    let length = value.len().div_ceil(3) * 4;
    out.resize(start + length, 0);
    // The space is exact, so this cannot fail; if it did, the bytes would read as empty.
    let written = STANDARD.encode_slice(value, &mut out[start..]).unwrap_or(0);
    out.truncate(start + written);
    out.push(b'"');
}

pub(super) fn int32(out: &mut Vec<u8>, value: &i32) {
    text(out, format_args!("{value}"));
}

pub(super) fn uint32(out: &mut Vec<u8>, value: &u32) {
    text(out, format_args!("{value}"));
}

pub(super) fn int64(out: &mut Vec<u8>, value: &i64) {
    let exact = value.unsigned_abs() <= MAX_EXACT;
    if exact { text(out, format_args!("{value}")) } else { text(out, format_args!("\"{value}\"")) }
}

pub(super) fn uint64(out: &mut Vec<u8>, value: &u64) {
    let exact = *value <= MAX_EXACT;
    if exact { text(out, format_args!("{value}")) } else { text(out, format_args!("\"{value}\"")) }
}

/// Writes the shortest decimal that reads back as the same double; `-0.0` keeps its sign.
pub(super) fn double(out: &mut Vec<u8>, value: &f64) {
    if value.is_nan() {
        out.extend_from_slice(b"\"NaN\"");
    } else if value.is_infinite() {
        out.extend_from_slice(if *value > 0.0 { b"\"Infinity\"" } else { b"\"-Infinity\"" });
    } else {
        text(out, format_args!("{value:?}"));
    }
}

/// Writes an enum by its name, or by its number when that has none.
pub(super) fn enumeration(out: &mut Vec<u8>, number: &i32, name: impl Fn(i32) -> Option<&'static str>) {
    match name(*number) {
        Some(name) => string(out, name),
        None => int32(out, number),
    }
}

pub(super) fn array<T>(out: &mut Vec<u8>, values: &[T], element: impl Fn(&mut Vec<u8>, &T)) {
    out.push(b'[');
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        element(out, value);
    }
    out.push(b']');
}

pub(super) fn map<T>(out: &mut Vec<u8>, map: &BTreeMap<String, T>, entry: impl Fn(&mut Vec<u8>, &T)) {
    out.push(b'{');
    for (index, (name, value)) in map.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        string(out, name);
        out.push(b':');
        entry(out, value);
    }
    out.push(b'}');
}

fn text(out: &mut Vec<u8>, arguments: std::fmt::Arguments<'_>) {
    // Writing to a vector never fails.
    let _ = out.write_fmt(arguments);
}
