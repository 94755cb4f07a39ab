//! The transform of `PolicyDescriptor.rules` (RFC-MACP-0001 §10.11): JSON text inlined as an object.

use super::error::JsonError;
use super::reader::{MAX_DEPTH, Reader};
use super::{read, write as put};

/// Levels of nesting up to which a text is inlined, so that what encloses it stays within the reader's cap.
const INLINE_DEPTH: usize = 100;

/// Writes the text as an object when it is one, else as a string.
pub(super) fn write(out: &mut Vec<u8>, rules: &str) {
    match compact_object(rules) {
        Some(object) => out.extend_from_slice(object.as_bytes()),
        None => put::string(out, rules),
    }
}

/// Reads an object or a string into the text. Text that holds an object is compacted in either form, so that
/// both forms give the same descriptor; other text is kept as it is.
pub(super) fn read(reader: &mut Reader<'_>) -> Result<String, JsonError> {
    match reader.peek() {
        Some(b'{') => Ok(compact(&mut Reader::nested(reader.raw()?, 0))?),
        Some(b'"') => {
            let text = read::string(reader)?;
            Ok(compact_object(&text).unwrap_or(text))
        }
        _ => Err(reader.mismatch("an object or a string")),
    }
}

/// The text without insignificant whitespace, if it is exactly one JSON object.
fn compact_object(text: &str) -> Option<String> {
    let mut reader = Reader::nested(text, MAX_DEPTH - INLINE_DEPTH);
    (reader.peek() == Some(b'{')).then_some(())?;
    let object = compact(&mut reader).ok()?;
    reader.end().is_ok().then_some(object)
}

fn compact(reader: &mut Reader<'_>) -> Result<String, JsonError> {
    let mut out = Vec::new();
    copy(reader, &mut out)?;
    String::from_utf8(out).map_err(|_| JsonError::value("not UTF-8"))
}

/// Copies one value: members in their order, numbers in their own notation, strings with minimal escapes.
fn copy(reader: &mut Reader<'_>, out: &mut Vec<u8>) -> Result<(), JsonError> {
    match reader.peek() {
        Some(b'{') => {
            out.push(b'{');
            let mut comma = "";
            reader.object(&mut |reader, name| {
                out.extend_from_slice(comma.as_bytes());
                comma = ",";
                put::string(out, name);
                out.push(b':');
                copy(reader, out)
            })?;
            out.push(b'}');
        }
        Some(b'[') => {
            out.push(b'[');
            let mut comma = "";
            reader.array(&mut |reader| {
                out.extend_from_slice(comma.as_bytes());
                comma = ",";
                copy(reader, out)
            })?;
            out.push(b']');
        }
        Some(b'"') => put::string(out, &reader.string()?),
        _ => out.extend_from_slice(reader.raw()?.as_bytes()),
    }
    Ok(())
}
