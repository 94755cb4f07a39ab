//! A session's typed state: what was bound at its start, and what has happened since.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use macp_wire::v1::{Root, SessionState};

use crate::ids::{ParticipantId, SessionId};
use crate::message_ids::MessageIds;
use crate::mode::{ModeKind, ModeState};
use crate::policy::Policy;
use crate::time::UnixMillis;

/// Cap on suspended time when a start names none: 7 days (RFC-MACP-0001 §7.5).
pub const DEFAULT_MAX_SUSPEND_MS: i64 = 604_800_000;
/// Completed suspend/resume pairs after which a further one expires the session.
pub const MAX_SUSPENSIONS: usize = 1024;

/// Everything that `SessionStart` fixes for the session's life (RFC-MACP-0001 §7.1, RFC-MACP-0003 §2).
#[derive(Clone, Debug, PartialEq)]
pub struct Binding {
    /// Mode id as registered when the session started.
    pub mode: String,
    /// Which rules the mode id stood for; recorded, so that replay needs no registry.
    pub mode_kind: ModeKind,
    /// Message types that a registered extension mode lists; empty for built-in modes.
    pub message_types: BTreeSet<String>,
    /// Bound mode version.
    pub mode_version: String,
    /// Bound configuration version.
    pub configuration_version: String,
    /// The resolved policy itself: later registry edits do not matter (RFC-MACP-0012 §8).
    pub policy: Policy,
    /// Authenticated sender of the start.
    pub initiator: ParticipantId,
    /// Declared participants, untrimmed, in the order given.
    pub participants: Vec<ParticipantId>,
    /// Opaque correlation id of the caller.
    pub context_id: String,
    /// Keys of the start's extensions, sorted. Values stay in the envelope.
    pub extension_keys: Vec<String>,
    /// Roots the session works with.
    pub roots: Vec<Root>,
    /// Acceptance time of the start.
    pub started_at: UnixMillis,
    /// Resolved cap on suspended time, in milliseconds.
    pub max_suspend_ms: i64,
    /// Revision of the rules the session lives under.
    pub semantics_rev: u32,
}

impl Binding {
    /// Whether `sender` is a declared participant.
    #[must_use]
    pub fn is_participant(&self, sender: &str) -> bool {
        self.participants.iter().any(|participant| participant.as_str() == sender)
    }

    /// The sender's id as the binding has it, so that it is kept once; a new one for who is no participant.
    #[must_use]
    pub fn id_of(&self, sender: &str) -> ParticipantId {
        let declared = self.participants.iter().find(|participant| participant.as_str() == sender);
        declared.cloned().unwrap_or_else(|| sender.into())
    }
}

/// Where the session stands (RFC-MACP-0001 §7.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifecycle {
    /// Accepting messages.
    Open,
    /// Paused since the instant.
    Suspended {
        /// When the pause began.
        since: UnixMillis,
    },
    /// Ended by a commitment.
    Resolved,
    /// Ended by time.
    Expired,
    /// Ended by a control call.
    Cancelled,
}

impl Lifecycle {
    /// The state as it travels.
    #[must_use]
    pub fn wire(self) -> SessionState {
        match self {
            Self::Open => SessionState::Open,
            Self::Suspended { .. } => SessionState::Suspended,
            Self::Resolved => SessionState::Resolved,
            Self::Expired => SessionState::Expired,
            Self::Cancelled => SessionState::Cancelled,
        }
    }

    /// Whether nothing can happen any more.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Resolved | Self::Expired | Self::Cancelled)
    }

    /// The name people read in messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "OPEN",
            Self::Suspended { .. } => "SUSPENDED",
            Self::Resolved => "RESOLVED",
            Self::Expired => "EXPIRED",
            Self::Cancelled => "CANCELLED",
        }
    }
}

/// Accepted messages of one sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Activity {
    /// Acceptance time of the latest one.
    pub last_message_at: UnixMillis,
    /// How many.
    pub message_count: u32,
}

/// A session. Only [`crate::apply`] changes one.
#[derive(Clone, Debug, PartialEq)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// What its start fixed.
    pub binding: Arc<Binding>,
    /// Where it stands.
    pub lifecycle: Lifecycle,
    /// Current deadline; moves when a pause ends.
    pub expires_at: UnixMillis,
    /// Completed pauses as (start, end), in order.
    pub pauses: Vec<(UnixMillis, UnixMillis)>,
    /// Sum of the completed pauses in milliseconds.
    pub suspended_ms: i64,
    /// Highest accepted ordinal.
    pub last_ordinal: u64,
    /// Time of the latest entry; the next is never earlier.
    pub last_at: UnixMillis,
    /// Accepted `message_id`s: the duplicate check.
    pub accepted: MessageIds,
    /// Activity of each sender with at least one accepted message of its own, in order of the senders.
    pub activity: Vec<(ParticipantId, Activity)>,
    /// The mode's state.
    pub mode_state: ModeState,
    /// What the session resolved to.
    pub resolution: Option<Bytes>,
}

impl Session {
    /// Time spent suspended up to `now`, a running pause included, in milliseconds.
    #[must_use]
    pub fn suspended_until(&self, now: UnixMillis) -> i64 {
        match self.lifecycle {
            Lifecycle::Suspended { since } => self.suspended_ms.saturating_add(now.since(since).max(0)),
            _ => self.suspended_ms,
        }
    }

    /// Whether `caller` may read the session: initiator, declared participant or observer.
    #[must_use]
    pub fn may_read(&self, caller: &crate::Caller) -> bool {
        caller.capabilities.is_observer
            || caller.sender == self.binding.initiator
            || self.binding.is_participant(&caller.sender)
    }
}
