//! The compact index entry of a session: enough to list it and to know its next deadline without its history.

use bytes::Bytes;
use macp_wire::v1::{SessionMetadata, SessionState};
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
    /// Unix milliseconds of the end of a session that is over. Summaries of early releases do not have it.
    #[prost(sint64, optional, tag = "4")]
    pub ended_at: Option<i64>,
}

impl Summary {
    /// The summary of a session as it is now.
    #[must_use]
    pub fn of(session: &Session) -> Self {
        Self {
            metadata: view::metadata(session),
            next_deadline: deadline::next_deadline(session).map(|at| at.0),
            last_ordinal: session.last_ordinal,
            ended_at: session.lifecycle.is_terminal().then_some(session.last_at.0),
        }
    }

    /// Whether this one, made from the session's records, and `stored` say the same. What an early release did not
    /// store is not compared.
    #[must_use]
    pub fn agrees_with(&self, stored: &Self) -> bool {
        let ended_at = stored.ended_at.or(self.ended_at);
        *self == Self { ended_at, ..stored.clone() }
    }

    /// When the session ended; `None` while it is not over. For a summary without the time, no earlier than it was.
    #[must_use]
    pub fn ended(&self) -> Option<UnixMillis> {
        let metadata = &self.metadata;
        match metadata.state() {
            SessionState::Resolved | SessionState::Expired | SessionState::Cancelled => {}
            _ => return None,
        }
        let latest = || {
            let spoken = metadata.participant_activity.iter().map(|one| one.last_message_at_unix_ms);
            spoken.chain([metadata.started_at_unix_ms, metadata.expires_at_unix_ms]).max()
        };
        self.ended_at.or_else(latest).map(UnixMillis)
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
