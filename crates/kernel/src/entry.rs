//! What happened: the facts that form a session's accepted history.
//!
//! Entries are what [`crate::apply`] folds. Their stored form is in [`crate::record`]; a stored entry becomes an
//! [`Entry`] again through [`crate::replay`], which runs the rules once more.

use std::sync::Arc;

use bytes::Bytes;

use crate::envelope::Sealed;
use crate::ids::{ParticipantId, SessionId};
use crate::mode::{ModeChange, ModeState};
use crate::session::Binding;
use crate::time::UnixMillis;

/// One fact and when it became one.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Acceptance time by the server's clock; every time rule uses this one (RFC-MACP-0003 §2).
    pub at: UnixMillis,
    /// The fact.
    pub fact: Fact,
}

/// A fact of a session's history.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    /// The session exists. Ordinal 1.
    Started(Box<Started>),
    /// An envelope was accepted after the start.
    Accepted(Box<Accepted>),
    /// The session was paused.
    Suspended {
        /// The authenticated sender.
        by: ParticipantId,
        /// The caller's words.
        reason: String,
    },
    /// The pause ended. Whether the session is OPEN or EXPIRED after it follows from the caps.
    Resumed {
        /// The authenticated sender.
        by: ParticipantId,
        /// The caller's words.
        reason: String,
        /// Time-to-live that was left at the suspension, in milliseconds. Informative: replay recomputes.
        banked_ms: i64,
    },
    /// The session was cancelled.
    Cancelled {
        /// The authenticated sender.
        by: ParticipantId,
        /// The caller's words.
        reason: String,
    },
    /// The session ran out of time.
    Expired {
        /// Which limit was passed.
        cause: ExpiryCause,
    },
}

/// Which limit made a session EXPIRED.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpiryCause {
    /// The time-to-live.
    Deadline,
    /// The cap on suspended time.
    SuspensionCap,
    /// The cap on suspend/resume cycles.
    CycleCap,
}

/// The accepted `SessionStart` and all that it fixed.
#[derive(Clone, Debug, PartialEq)]
pub struct Started {
    /// The new session's id.
    pub session_id: SessionId,
    /// The accepted envelope.
    pub sealed: Arc<Sealed>,
    /// The values bound for the session's life.
    pub binding: Arc<Binding>,
    /// First deadline.
    pub expires_at: UnixMillis,
    /// The mode's state before its first message.
    pub mode_state: ModeState,
}

/// An accepted envelope and what it does.
#[derive(Clone, Debug, PartialEq)]
pub struct Accepted {
    /// 1-based position among the session's accepted envelopes (RFC-MACP-0006 §3.2).
    pub ordinal: u64,
    /// The accepted envelope.
    pub sealed: Arc<Sealed>,
    /// Whether the server wrote the envelope itself (RFC-MACP-0010 §5.1).
    pub synthetic: bool,
    /// What it changes in the mode's state.
    pub change: ModeChange,
    /// The resolution, if this envelope resolves the session.
    pub resolution: Option<Bytes>,
}

impl Entry {
    /// The envelope and its ordinal, for the entries that clients see.
    #[must_use]
    pub fn delivered(&self) -> Option<(u64, &Arc<Sealed>)> {
        match &self.fact {
            Fact::Started(started) => Some((1, &started.sealed)),
            Fact::Accepted(accepted) => Some((accepted.ordinal, &accepted.sealed)),
            _ => None,
        }
    }
}
