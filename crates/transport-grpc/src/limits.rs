//! The message size limits of every service of the binding, and what a client is told that exceeds them.

use http::{HeaderValue, Response};
use macp_kernel::{Refusal, RefusalCode};
use tonic::{Code, Status};

use crate::status;

/// What a message holds beside a payload of the greatest size.
const ENVELOPE_ROOM: usize = 65_536;
/// How many of the largest requests one answer may be long: a page of sessions, a list of policies.
const ANSWER_FACTOR: usize = 16;
/// `OUT_OF_RANGE`: the libraries' word for a message over its limit. No refusal has this status.
const OUT_OF_RANGE: HeaderValue = HeaderValue::from_static("11");

/// Largest gRPC messages, both ways. The libraries' defaults (4 MiB in, no limit out) are never relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageLimits {
    /// Largest message that is read. A longer one is refused with `PAYLOAD_TOO_LARGE` before it is decoded.
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

    /// A response that the library gave to a request over the limit, in the words of this server.
    pub(crate) fn explain<B: Default>(self, response: Response<B>) -> Response<B> {
        let over = response.headers().get("grpc-status") == Some(&OUT_OF_RANGE);
        if over { status::refused(&self.too_long()).into_http() } else { response }
    }

    /// The same for a message of a stream.
    pub(crate) fn explain_status(self, status: Status) -> Status {
        if status.code() == Code::OutOfRange { status::refused(&self.too_long()) } else { status }
    }

    /// Refuses an answer that would be over the limit.
    pub(crate) fn check_answer(self, length: usize) -> Result<(), Refusal> {
        if length <= self.encode {
            return Ok(());
        }
        Err(Refusal::new(
            RefusalCode::PayloadTooLarge,
            format!(
                "the answer has {length} bytes, more than the {} that this server writes ({ANSWER_FACTOR} times what \
                 it reads, which follows from MACP_MAX_PAYLOAD_BYTES); ask for less at a time",
                self.encode
            ),
        ))
    }

    fn too_long(self) -> Refusal {
        Refusal::new(
            RefusalCode::PayloadTooLarge,
            format!(
                "the message is longer than the {} bytes that this server reads: {} of payload \
                 (MACP_MAX_PAYLOAD_BYTES) and {ENVELOPE_ROOM} for what is around it; send less, or raise the setting",
                self.decode,
                self.decode - ENVELOPE_ROOM
            ),
        )
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

    #[test]
    fn refusals_name_the_setting() {
        let limits = MessageLimits::new(1_000);
        assert!(limits.check_answer(limits.encode).is_ok());
        for refusal in [limits.too_long(), limits.check_answer(limits.encode + 1).unwrap_err()] {
            assert_eq!(refusal.code, RefusalCode::PayloadTooLarge);
            assert!(refusal.message.contains("MACP_MAX_PAYLOAD_BYTES"), "{refusal}");
        }
        assert!(
            limits.too_long().message.contains("66536 bytes")
                && limits.too_long().message.contains("1000 of")
        );
    }

    #[test]
    fn only_the_libraries_word_is_replaced() {
        let limits = MessageLimits::new(1_000);
        let code = |status: Status| {
            limits
                .explain(status.into_http::<tonic::body::Body>())
                .headers()
                .get("macp-error-code")
                .map(|code| code.to_str().unwrap().to_owned())
        };
        assert_eq!(code(Status::out_of_range("x")).as_deref(), Some("PAYLOAD_TOO_LARGE"));
        assert_eq!(code(Status::internal("x")), None);
        assert_eq!(limits.explain_status(Status::out_of_range("x")).code(), Code::ResourceExhausted);
        assert_eq!(limits.explain_status(Status::internal("x")).code(), Code::Internal);
    }
}
