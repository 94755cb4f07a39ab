//! A refusal as a gRPC status with its trailers.

use std::collections::HashMap;
use std::time::Duration;

use macp_kernel::refusal::GrpcCode;
use macp_kernel::{Refusal, RefusalCode};
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// Trailer with the MACP code; clients branch on it, never on the gRPC status.
const CODE: &str = "macp-error-code";
/// Trailer with the structured details, present when there are any.
const DETAILS: &str = "macp-error-details-bin";
/// `ErrorInfo.domain`: whose codes `ErrorInfo.reason` is one of.
const DOMAIN: &str = "macp.v1";
/// When to come back to a server that is going away or overloaded, as the other transports say it.
const UNAVAILABLE_FOR: Duration = Duration::from_secs(1);

/// The status of a request-level refusal: the reference's two trailers, and the same once more as `google.rpc.Status`
/// (`grpc-status-details-bin`) for the libraries that read that.
pub(crate) fn refused(refusal: &Refusal) -> Status {
    let mut trailers = MetadataMap::new();
    trailers.insert(CODE, MetadataValue::from_static(refusal.code.name()));
    if !refusal.details.is_empty() {
        trailers.insert_bin(DETAILS, MetadataValue::from_bytes(&refusal.details));
    }
    let code = Code::from(refusal.code.grpc_code() as i32);
    Status::with_error_details_and_metadata(code, refusal.message.clone(), details(refusal), trailers)
}

/// `ErrorInfo` always, `BadRequest` for what must be sent differently, `RetryInfo` where a time is known.
fn details(refusal: &Refusal) -> ErrorDetails {
    let code = refusal.code;
    let advice = HashMap::from([
        ("retryable".to_owned(), code.retryable().to_string()),
        ("side_effect_free".to_owned(), code.side_effect_free().to_string()),
    ]);
    let mut details = ErrorDetails::with_error_info(code.name(), DOMAIN, advice);
    if code.grpc_code() == GrpcCode::InvalidArgument {
        details.add_bad_request_violation(field(code), &refusal.message);
    }
    let retry_after = match refusal.retry_after_ms {
        Some(milliseconds) => Some(Duration::from_millis(milliseconds)),
        None => (code == RefusalCode::Unavailable).then_some(UNAVAILABLE_FOR),
    };
    if retry_after.is_some() {
        details.set_retry_info(retry_after);
    }
    details
}

/// The field that a code is about; empty where it may be any, which the description then names.
fn field(code: RefusalCode) -> &'static str {
    match code {
        RefusalCode::InvalidEnvelope => "envelope",
        RefusalCode::InvalidSessionId => "session_id",
        RefusalCode::ModeNotSupported => "mode",
        RefusalCode::UnsupportedProtocolVersion => "macp_version",
        RefusalCode::InvalidPolicyDefinition => "descriptor",
        _ => "",
    }
}

/// The status that ends a stream when the server begins to drain.
pub(crate) fn draining() -> Status {
    refused(&Refusal::new(
        RefusalCode::Unavailable,
        "the server is shutting down; resume on another connection",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_status_and_trailer() {
        for code in RefusalCode::ALL {
            let status = refused(&Refusal::new(*code, "why"));
            assert_eq!(status.code() as i32, code.grpc_code() as i32, "{code}");
            assert_eq!(status.message(), "why");
            assert_eq!(status.metadata().get(CODE).unwrap(), code.name());
            assert!(status.metadata().get_bin(DETAILS).is_none(), "{code}");
        }
    }

    #[test]
    fn details_travel_as_bytes() {
        let status = refused(&Refusal::history_compacted(7));
        assert_eq!(status.code(), Code::FailedPrecondition);
        let details = status.metadata().get_bin(DETAILS).unwrap().to_bytes().unwrap();
        assert_eq!(&details[..], br#"{"lowest_available_sequence":7}"#);
    }

    #[test]
    fn every_code_is_told_as_a_google_rpc_status_too() {
        for code in RefusalCode::ALL {
            let details = refused(&Refusal::new(*code, "why")).get_error_details();
            let info = details.error_info().unwrap();
            assert_eq!((info.reason.as_str(), info.domain.as_str()), (code.name(), "macp.v1"));
            assert_eq!(info.metadata["retryable"], code.retryable().to_string(), "{code}");
            assert_eq!(info.metadata["side_effect_free"], code.side_effect_free().to_string(), "{code}");
            let violations =
                details.bad_request().map(|bad| bad.field_violations.as_slice()).unwrap_or_default();
            assert_eq!(violations.len() == 1, code.grpc_code() == GrpcCode::InvalidArgument, "{code}");
            assert!(violations.iter().all(|violation| violation.description == "why"), "{code}");
            assert_eq!(details.retry_info().is_some(), *code == RefusalCode::Unavailable, "{code}");
        }
    }

    #[test]
    fn a_known_time_to_retry_is_told() {
        let details = refused(&Refusal::rate_limited("full", 1_500)).get_error_details();
        assert_eq!(details.retry_info().unwrap().retry_delay, Some(Duration::from_millis(1_500)));
    }
}
