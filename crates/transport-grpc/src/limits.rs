//! The message size limits of every service of the binding.

/// What a message holds beside a payload of the greatest size.
const ENVELOPE_ROOM: usize = 65_536;
/// How many of the largest requests one answer may be long: a page of sessions, a list of policies.
const ANSWER_FACTOR: usize = 16;

/// Largest gRPC messages, both ways. The libraries' defaults (4 MiB in, no limit out) are never relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageLimits {
    /// Largest message that is read. A longer one ends its call with `OUT_OF_RANGE` before it is decoded.
    pub decode: usize,
    /// Largest message that is written. Above `decode`, because an envelope leaves with its sender filled in and
    /// because answers list many sessions or policies.
    pub encode: usize,
}

impl MessageLimits {
    /// The limits that follow from the largest payload.
    #[must_use]
    pub fn new(max_payload_bytes: usize) -> Self {
        let decode = max_payload_bytes.saturating_add(ENVELOPE_ROOM);
        Self { decode, encode: decode.saturating_mul(ANSWER_FACTOR) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_follow_the_payload() {
        let limits = MessageLimits::new(1_048_576);
        assert_eq!(limits.decode, 1_114_112);
        assert!(limits.encode > limits.decode);
        assert_eq!(MessageLimits::new(usize::MAX).encode, usize::MAX);
    }
}
