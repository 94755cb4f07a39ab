//! What may be asked of one session.

use std::sync::Arc;

use macp_wire::v1::Envelope;

use crate::ids::ParticipantId;

/// A request to one session, already authenticated and admitted.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Accept this envelope. Its shape was checked and its sender is the authenticated one.
    Submit(Submission),
    /// A control call (RFC-MACP-0001 §7.3, §7.5).
    Control(Control),
    /// Let time pass: do what is due by now and nothing else.
    Tick,
}

/// An envelope for a session.
#[derive(Clone, Debug, PartialEq)]
pub struct Submission {
    /// The envelope, of checked shape, with its sender filled in. Shared, because history keeps it as it is.
    pub envelope: Arc<Envelope>,
    /// Whether a `SessionStart` of this sender would stay within its cap on open sessions. Irrelevant for
    /// other types.
    pub within_open_sessions: bool,
}

/// A control call on a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// What to do.
    pub action: ControlAction,
    /// The authenticated sender.
    pub by: ParticipantId,
    /// The caller's own words, kept in history.
    pub reason: String,
}

/// The three control calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlAction {
    /// `CancelSession`.
    Cancel,
    /// `SuspendSession`.
    Suspend,
    /// `ResumeSession`.
    Resume,
}
