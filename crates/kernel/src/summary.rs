//! The compact index entry of a session: enough to list it and to know its next deadline without its history.

use bytes::Bytes;
use macp_wire::v1::{SessionMetadata, SessionState};
use prost::Message;

use crate::deadline;
use crate::encode::{Fields, Part, length};
use crate::session::{Activity, Session};
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

    /// The stored bytes of the summary of a session as it is now, without making the summary: every append needs them.
    #[must_use]
    pub fn bytes_of(session: &Session) -> Bytes {
        let part = SummaryPart { session, metadata: MetadataPart(session) };
        let mut out = Vec::with_capacity(length(&part));
        part.fields(&mut out);
        out.into()
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

/// [`Summary::of`] a session.
struct SummaryPart<'a> {
    session: &'a Session,
    metadata: MetadataPart<'a>,
}

impl Part for SummaryPart<'_> {
    fn fields(&self, out: &mut impl Fields) {
        let session = self.session;
        out.message(1, &self.metadata);
        if let Some(at) = deadline::next_deadline(session) {
            out.sint64(2, at.0);
        }
        out.number(3, session.last_ordinal);
        if session.lifecycle.is_terminal() {
            out.sint64(4, session.last_at.0);
        }
    }
}

/// [`view::metadata`] of a session.
struct MetadataPart<'a>(&'a Session);

impl Part for MetadataPart<'_> {
    fn fields(&self, out: &mut impl Fields) {
        let Self(session) = self;
        let binding = &session.binding;
        out.text(1, &session.id);
        out.text(2, &binding.mode);
        out.int64(3, i32::from(session.lifecycle.wire()).into());
        out.int64(4, binding.started_at.0);
        out.int64(5, session.expires_at.0);
        out.text(6, &binding.mode_version);
        out.text(7, &binding.configuration_version);
        out.text(8, binding.policy.id());
        for participant in &binding.participants {
            out.bytes(9, participant.as_bytes());
        }
        for (sender, activity) in &session.activity {
            out.message(10, &ActivityPart(sender, activity));
        }
        out.text(11, &binding.initiator);
        out.text(12, &binding.context_id);
        for key in &binding.extension_keys {
            out.bytes(13, key.as_bytes());
        }
    }
}

struct ActivityPart<'a>(&'a str, &'a Activity);

impl Part for ActivityPart<'_> {
    fn fields(&self, out: &mut impl Fields) {
        let Self(sender, activity) = self;
        out.text(1, sender);
        out.int64(2, activity.last_message_at.0);
        out.number(3, activity.message_count.into());
    }
}
