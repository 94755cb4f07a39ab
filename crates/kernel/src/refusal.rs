//! The one table of error codes: name, HTTP status, gRPC status and retry advice of each refusal.

use std::fmt;

use bytes::Bytes;
use serde::Serialize;

/// A gRPC status code by its number, so that this crate needs no gRPC library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
#[allow(missing_docs, reason = "the names are gRPC's own")]
pub enum GrpcCode {
    InvalidArgument = 3,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    Unauthenticated = 16,
}

macro_rules! refusal_codes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal, $http:literal, $grpc:ident, $retry:literal, $clean:literal;)*) => {
        /// A code of the MACP error registry, or one of the two that this gateway adds
        /// ([`RefusalCode::Unimplemented`], [`RefusalCode::Unavailable`]).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum RefusalCode { $($(#[doc = $doc])+ $variant,)* }

        impl RefusalCode {
            /// Every code, in the order of the registry.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The code as it travels: `UPPER_SNAKE_CASE`.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            /// When it is given, as a sentence for people.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+).trim_ascii()),* }
            }

            /// The HTTP status of a request-level refusal.
            #[must_use]
            pub fn http_status(self) -> u16 {
                match self { $(Self::$variant => $http),* }
            }

            /// The gRPC status of a request-level refusal.
            #[must_use]
            pub fn grpc_code(self) -> GrpcCode {
                match self { $(Self::$variant => GrpcCode::$grpc),* }
            }

            /// Whether the same request may succeed later without being changed.
            #[must_use]
            pub fn retryable(self) -> bool {
                match self { $(Self::$variant => $retry),* }
            }

            /// Whether the refused request certainly changed nothing. False means that its outcome is unknown
            /// and that it should be repeated with the same `message_id`.
            #[must_use]
            pub fn side_effect_free(self) -> bool {
                match self { $(Self::$variant => $clean),* }
            }
        }
    };
}

refusal_codes! {
    // code = wire name, HTTP, gRPC, retryable, side-effect-free
    /// No, unknown or invalid credential, or a claimed `sender` that differs from it.
    Unauthenticated = "UNAUTHENTICATED", 401, Unauthenticated, false, true;
    /// Authenticated, but not allowed.
    Forbidden = "FORBIDDEN", 403, PermissionDenied, false, true;
    /// The session is not known.
    SessionNotFound = "SESSION_NOT_FOUND", 404, NotFound, false, true;
    /// The session is suspended or terminal.
    SessionNotOpen = "SESSION_NOT_OPEN", 409, FailedPrecondition, false, true;
    /// Registered for duplicates; this server answers those with a success.
    DuplicateMessage = "DUPLICATE_MESSAGE", 409, AlreadyExists, false, true;
    /// A second start of one session.
    SessionAlreadyExists = "SESSION_ALREADY_EXISTS", 409, AlreadyExists, false, true;
    /// Envelope shape, payload, TTL, mode rule or reserved id.
    InvalidEnvelope = "INVALID_ENVELOPE", 400, InvalidArgument, false, true;
    /// No shared protocol version, or a wrong `macp_version`.
    UnsupportedProtocolVersion = "UNSUPPORTED_PROTOCOL_VERSION", 400, InvalidArgument, false, true;
    /// The mode is not registered.
    ModeNotSupported = "MODE_NOT_SUPPORTED", 400, InvalidArgument, false, true;
    /// A payload over its limit, or an HTTP body over its cap.
    PayloadTooLarge = "PAYLOAD_TOO_LARGE", 413, ResourceExhausted, false, true;
    /// A rate limit or a cap on open sessions.
    RateLimited = "RATE_LIMITED", 429, ResourceExhausted, true, true;
    /// A session id that does not have an accepted form.
    InvalidSessionId = "INVALID_SESSION_ID", 400, InvalidArgument, false, true;
    /// A storage or other internal fault; the outcome is unknown.
    InternalError = "INTERNAL_ERROR", 500, Internal, true, false;
    /// The policy is not registered.
    UnknownPolicyVersion = "UNKNOWN_POLICY_VERSION", 404, NotFound, false, true;
    /// The bound policy refuses the commitment.
    PolicyDenied = "POLICY_DENIED", 403, PermissionDenied, false, true;
    /// A bad policy descriptor, or a policy for another mode.
    InvalidPolicyDefinition = "INVALID_POLICY_DEFINITION", 400, InvalidArgument, false, true;
    /// Policies are loaded from files and cannot be changed by calls.
    RegistryReadOnly = "REGISTRY_READ_ONLY", 409, FailedPrecondition, false, true;
    /// A malformed request that is not an envelope.
    InvalidRequest = "INVALID_REQUEST", 400, InvalidArgument, false, true;
    /// A watcher was too slow and missed events.
    StreamLagged = "STREAM_LAGGED", 503, ResourceExhausted, true, true;
    /// A manifest of an agent that is not hosted here.
    AgentNotFound = "AGENT_NOT_FOUND", 404, NotFound, false, true;
    /// History before the asked position is no longer kept.
    HistoryUnavailable = "HISTORY_UNAVAILABLE", 409, FailedPrecondition, false, true;
    /// No decision receipt can be issued.
    ReceiptUnavailable = "RECEIPT_UNAVAILABLE", 409, FailedPrecondition, false, true;
    /// Not in the registry: the call exists in the protocol and is not offered by this server.
    Unimplemented = "UNIMPLEMENTED", 501, Unimplemented, false, true;
    /// Not in the registry: the server is draining or overloaded and accepted nothing.
    Unavailable = "UNAVAILABLE", 503, Unavailable, true, true;
}

impl fmt::Display for RefusalCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A refused request: why, in a code for programs and a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Refusal {
    /// The code that programs branch on.
    pub code: RefusalCode,
    /// What was wrong, which limit or setting, and what to do. Never contractual.
    pub message: String,
    /// Structured details as UTF-8 JSON, empty for most codes.
    pub details: Bytes,
    /// Milliseconds after which the same request may be admitted, where a limit knows them. The details say it, too;
    /// transports with a place of their own for it (`Retry-After`, `RetryInfo`) read it here.
    pub retry_after_ms: Option<u64>,
}

/// One reason of a `POLICY_DENIED` (RFC-MACP-0012 §6.2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Denial {
    /// Denial code of the open set, e.g. `veto`.
    pub code: &'static str,
    /// What the policy found; names nobody.
    pub message: String,
    /// Whose action led to it, sorted; the only place where identities appear.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub participants: Vec<String>,
}

impl Refusal {
    /// A refusal without details.
    #[must_use]
    pub fn new(code: RefusalCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), details: Bytes::new(), retry_after_ms: None }
    }

    /// `INVALID_ENVELOPE` with a message.
    #[must_use]
    pub fn invalid_envelope(message: impl Into<String>) -> Self {
        Self::new(RefusalCode::InvalidEnvelope, message)
    }

    /// `FORBIDDEN` with a message.
    #[must_use]
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(RefusalCode::Forbidden, message)
    }

    /// `INVALID_REQUEST` with a message.
    #[must_use]
    pub fn invalid_request(message: impl Into<String>) -> Self {
        Self::new(RefusalCode::InvalidRequest, message)
    }

    /// `SESSION_NOT_FOUND`; the same text for every cause.
    #[must_use]
    pub fn session_not_found() -> Self {
        Self::new(RefusalCode::SessionNotFound, "no session with this session_id is known here")
    }

    /// `POLICY_DENIED` with its structured details.
    #[must_use]
    pub fn policy_denied(policy_id: &str, denials: &[Denial]) -> Self {
        let reasons: Vec<&str> = denials.iter().map(|denial| denial.message.as_str()).collect();
        let details = serde_json::json!({ "reasons": reasons, "denials": denials });
        Self {
            code: RefusalCode::PolicyDenied,
            message: format!("policy {policy_id} denies this commitment: {}", reasons.join("; ")),
            details: Bytes::from(details.to_string()),
            retry_after_ms: None,
        }
    }

    /// `HISTORY_UNAVAILABLE` for a resume below the oldest kept ordinal; deployed clients match the sentence.
    #[must_use]
    pub fn history_compacted(lowest_available_sequence: u64) -> Self {
        Self {
            code: RefusalCode::HistoryUnavailable,
            message: format!(
                "session history before ordinal {lowest_available_sequence} was compacted; \
                 resume with after_sequence {lowest_available_sequence} or higher"
            ),
            details: Bytes::from(format!("{{\"lowest_available_sequence\":{lowest_available_sequence}}}")),
            retry_after_ms: None,
        }
    }

    /// `RATE_LIMITED` by a window that has room again after `retry_after_ms`.
    #[must_use]
    pub fn rate_limited(message: impl Into<String>, retry_after_ms: u64) -> Self {
        Self {
            code: RefusalCode::RateLimited,
            message: message.into(),
            details: Bytes::from(format!("{{\"retry_after_ms\":{retry_after_ms}}}")),
            retry_after_ms: Some(retry_after_ms),
        }
    }

    /// `RATE_LIMITED` by a cap on what there may be at a time: no window says when there is room again, so the time is
    /// advice, and the details are empty.
    #[must_use]
    pub fn too_many(message: impl Into<String>, retry_after_ms: u64) -> Self {
        let refusal = Self::new(RefusalCode::RateLimited, message);
        Self { retry_after_ms: Some(retry_after_ms), ..refusal }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The registry's own table, written out again: a changed row must be changed twice, on purpose.
    #[test]
    fn registry_rows() {
        let registry = [
            ("UNAUTHENTICATED", 401, 16),
            ("FORBIDDEN", 403, 7),
            ("SESSION_NOT_FOUND", 404, 5),
            ("SESSION_NOT_OPEN", 409, 9),
            ("DUPLICATE_MESSAGE", 409, 6),
            ("SESSION_ALREADY_EXISTS", 409, 6),
            ("INVALID_ENVELOPE", 400, 3),
            ("UNSUPPORTED_PROTOCOL_VERSION", 400, 3),
            ("MODE_NOT_SUPPORTED", 400, 3),
            ("PAYLOAD_TOO_LARGE", 413, 8),
            ("RATE_LIMITED", 429, 8),
            ("INVALID_SESSION_ID", 400, 3),
            ("INTERNAL_ERROR", 500, 13),
            ("UNKNOWN_POLICY_VERSION", 404, 5),
            ("POLICY_DENIED", 403, 7),
            ("INVALID_POLICY_DEFINITION", 400, 3),
            ("REGISTRY_READ_ONLY", 409, 9),
            ("INVALID_REQUEST", 400, 3),
            ("STREAM_LAGGED", 503, 8),
            ("AGENT_NOT_FOUND", 404, 5),
            ("HISTORY_UNAVAILABLE", 409, 9),
            ("RECEIPT_UNAVAILABLE", 409, 9),
            ("UNIMPLEMENTED", 501, 12),
            ("UNAVAILABLE", 503, 14),
        ];
        let ours: Vec<_> =
            RefusalCode::ALL.iter().map(|c| (c.name(), c.http_status(), c.grpc_code() as i32)).collect();
        assert_eq!(ours, registry);
    }

    #[test]
    fn only_an_internal_error_leaves_the_outcome_open() {
        for code in RefusalCode::ALL {
            assert_eq!(code.side_effect_free(), *code != RefusalCode::InternalError, "{code}");
        }
    }

    #[test]
    fn details_are_compact_json() {
        let refusal = Refusal::rate_limited("full", 1_500);
        assert_eq!(&refusal.details[..], br#"{"retry_after_ms":1500}"#);
        assert_eq!((refusal.code, refusal.retry_after_ms), (RefusalCode::RateLimited, Some(1_500)));
        let refusal = Refusal::history_compacted(41);
        assert_eq!(&refusal.details[..], br#"{"lowest_available_sequence":41}"#);
        assert!(refusal.message.starts_with("session history before ordinal 41 was compacted;"));
        let denial = Denial { code: "veto", message: "m".into(), participants: vec!["agent://a".into()] };
        let bare = Denial { code: "no_votes", message: "n".into(), participants: vec![] };
        let refusal = Refusal::policy_denied("policy.x", &[denial, bare]);
        let details: serde_json::Value = serde_json::from_slice(&refusal.details).unwrap();
        assert_eq!(
            details,
            serde_json::json!({"reasons": ["m", "n"], "denials": [
                {"code": "veto", "message": "m", "participants": ["agent://a"]},
                {"code": "no_votes", "message": "n"}]})
        );
        assert!(!refusal.message.contains("agent://"));
    }
}
