//! The compact index entry of a session: enough to list it and to know its next deadline without its history.

use bytes::Bytes;
use macp_wire::v1::SessionMetadata;
use prost::Message;

use crate::deadline;
use crate::session::Session;
use crate::time::UnixMillis;
use crate::view;

/// What the store keeps beside a session's records, replaced by each append.
#[derive(Clone, PartialEq, Message)]
pub struct Summary {
    /// What listings show.
    #[prost(message, required, tag = "1")]
    pub metadata: SessionMetadata,
    /// Unix milliseconds of the next instant at which time alone changes the session.
    #[prost(sint64, optional, tag = "2")]
    pub next_deadline: Option<i64>,
    /// Highest accepted ordinal.
    #[prost(uint64, tag = "3")]
    pub last_ordinal: u64,
}

impl Summary {
    /// The summary of a session as it is now.
    #[must_use]
    pub fn of(session: &Session) -> Self {
        Self {
            metadata: view::metadata(session),
            next_deadline: deadline::next_deadline(session).map(|at| at.0),
            last_ordinal: session.last_ordinal,
        }
    }

    /// The stored bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        Bytes::from(self.encode_to_vec())
    }

    /// Reads stored bytes back.
    ///
    /// # Errors
    /// The protobuf fault.
    pub fn from_bytes(bytes: Bytes) -> Result<Self, prost::DecodeError> {
        Self::decode(bytes)
    }

    /// When time alone will next change the session.
    #[must_use]
    pub fn deadline(&self) -> Option<UnixMillis> {
        self.next_deadline.map(UnixMillis)
    }
}
