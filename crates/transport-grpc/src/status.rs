//! A refusal as a gRPC status with its trailers.

use macp_kernel::{Refusal, RefusalCode};
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Status};

/// Trailer with the MACP code; clients branch on it, never on the gRPC status.
const CODE: &str = "macp-error-code";
/// Trailer with the structured details, present when there are any.
const DETAILS: &str = "macp-error-details-bin";

/// The status of a request-level refusal.
pub(crate) fn refused(refusal: &Refusal) -> Status {
    let mut trailers = MetadataMap::new();
    trailers.insert(CODE, MetadataValue::from_static(refusal.code.name()));
    if !refusal.details.is_empty() {
        trailers.insert_bin(DETAILS, MetadataValue::from_bytes(&refusal.details));
    }
    Status::with_metadata(Code::from(refusal.code.grpc_code() as i32), refusal.message.clone(), trailers)
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
}
