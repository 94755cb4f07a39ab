//! Finds the few fields that a feed looks at without decoding the message around them.

/// The bytes of field `number` of a protobuf message, if it is there and has a length.
pub(crate) fn field(message: &[u8], number: u64) -> Option<&[u8]> {
    let mut rest = message;
    while !rest.is_empty() {
        let key = varint(&mut rest)?;
        match key & 7 {
            0 => drop(varint(&mut rest)?),
            1 => rest = rest.get(8..)?,
            2 => {
                let length = usize::try_from(varint(&mut rest)?).ok()?;
                let value = rest.get(..length)?;
                if key >> 3 == number {
                    return Some(value);
                }
                rest = &rest[length..];
            }
            5 => rest = rest.get(4..)?,
            _ => return None,
        }
    }
    None
}

/// The value of the number field `number`; 0 if it is absent.
pub(crate) fn number(message: &[u8], number: u64) -> Option<u64> {
    let mut rest = message;
    while !rest.is_empty() {
        let key = varint(&mut rest)?;
        match key & 7 {
            0 => {
                let value = varint(&mut rest)?;
                if key >> 3 == number {
                    return Some(value);
                }
            }
            1 => rest = rest.get(8..)?,
            2 => {
                let length = usize::try_from(varint(&mut rest)?).ok()?;
                rest = rest.get(length..)?;
            }
            5 => rest = rest.get(4..)?,
            _ => return None,
        }
    }
    Some(0)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, tail) = rest.split_first()?;
        *rest = tail;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// The text behind the first `"name":"` in a JSON text. Names of members come unescaped from every server, and inside a
/// string a quote is escaped, so that the first match is a member.
pub(crate) fn json_text<'a>(json: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let value = json_value(json, name)?.strip_prefix(b"\"")?;
    value.iter().position(|&byte| byte == b'"').map(|end| &value[..end])
}

/// The number behind the first `"name":` in a JSON text.
pub(crate) fn json_number(json: &[u8], name: &str) -> Option<u64> {
    let value = json_value(json, name)?;
    let end = value.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(value.len());
    std::str::from_utf8(&value[..end]).ok()?.parse().ok()
}

fn json_value<'a>(json: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let mut from = 0;
    loop {
        // A quote is rarer than any letter of a name.
        let quote = from + json.get(from..)?.iter().position(|&byte| byte == b'"')?;
        let rest = &json[quote + 1..];
        if let Some(value) = rest.strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b"\":")) {
            return Some(value);
        }
        from = quote + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use macp_wire::gateway::v1::{ServerFrame, SessionEnvelope, server_frame::Body};
    use macp_wire::json;
    use macp_wire::v1::{Envelope, StreamSessionResponse, stream_session_response::Response};
    use prost::Message as _;

    fn envelope() -> Envelope {
        Envelope {
            macp_version: "1.0".into(),
            mode: "\"message_id\":\"not this\"".into(),
            message_id: "the id".into(),
            session_id: "s".into(),
            timestamp_unix_ms: 1_700_000_000_000,
            payload: vec![0; 300].into(),
            ..Envelope::default()
        }
    }

    #[test]
    fn fields_are_those_that_a_whole_decoder_finds() {
        let response = StreamSessionResponse { response: Some(Response::Envelope(envelope())) };
        let bytes = response.encode_to_vec();
        assert_eq!(field(field(&bytes, 1).unwrap(), 4), Some(&b"the id"[..]));
        assert_eq!(number(field(&bytes, 1).unwrap(), 7), Some(1_700_000_000_000));
        assert_eq!(json_text(&json::to_vec(&response), "message_id"), Some(&b"the id"[..]));

        let seen = SessionEnvelope { session_id: "s".into(), sequence: 70_000, envelope: Some(envelope()) };
        let frame = ServerFrame { id: String::new(), body: Some(Body::Envelope(seen)) };
        let bytes = frame.encode_to_vec();
        let body = field(&bytes, 7).unwrap();
        assert_eq!(number(body, 2), Some(70_000));
        assert_eq!(field(field(body, 3).unwrap(), 4), Some(&b"the id"[..]));
        let text = json::to_vec(&frame);
        assert_eq!(json_number(&text, "sequence"), Some(70_000));
        assert_eq!(json_text(&text, "message_id"), Some(&b"the id"[..]));
    }

    #[test]
    fn what_is_not_there_or_damaged_is_nothing() {
        let bytes = envelope().encode_to_vec();
        assert_eq!(field(&bytes, 9), None);
        assert_eq!(number(&bytes, 9), Some(0));
        for cut in 0..bytes.len() {
            let _ = field(&bytes[..cut], 9);
            let _ = number(&bytes[..cut], 9);
        }
        assert_eq!(json_text(b"{\"message_id\":7}", "message_id"), None);
        assert_eq!(json_text(b"{\"message_id", "message_id"), None);
        assert_eq!(json_number(b"{}", "sequence"), None);
    }
}
