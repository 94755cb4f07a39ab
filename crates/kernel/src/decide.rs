//! From a command to what happens: the ordered checks of RFC-MACP-0001 §7.3 and §8, in one place.
//!
//! [`decide`] never changes anything. [`process`] is the live loop of decide and apply that the engine runs for
//! each command; both see one instant, the acceptance time.

use std::sync::Arc;

use macp_wire::v1::{Envelope, SessionState};

use crate::apply::apply;
use crate::catalog::Catalog;
use crate::command::{Command, Control, ControlAction, Submission};
use crate::deadline;
use crate::entry::{Accepted, Entry, ExpiryCause, Fact};
use crate::envelope::{Sealed, core_type};
use crate::mode::{self, Context, Step, commitment};
use crate::refusal::{Refusal, RefusalCode};
use crate::session::{Lifecycle, MAX_SUSPENSIONS, Session};
use crate::start::{self, StartOutcome, mode_not_supported};
use crate::time::UnixMillis;

/// What becomes of a command.
///
/// A pair and not a `Result`: an expiry or a due envelope of the server's own is a fact even if the message
/// that brought it to light is refused.
#[derive(Debug, PartialEq)]
pub struct Verdict {
    /// New facts, in order.
    pub entries: Vec<Entry>,
    /// The answer, or `None` when the facts must be applied before the command can be judged.
    pub reply: Option<Reply>,
}

/// The answer to a command.
pub type Reply = Result<Acceptance, Refusal>;

/// A success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acceptance {
    /// Whether the message had been accepted before and nothing changed now.
    pub duplicate: bool,
    /// When it was accepted; for a duplicate, the first time.
    pub accepted_at: UnixMillis,
    /// The session's state afterwards.
    pub state: SessionState,
}

impl Verdict {
    fn refused(refusal: Refusal) -> Self {
        Self { entries: Vec::new(), reply: Some(Err(refusal)) }
    }

    fn nothing(acceptance: Acceptance) -> Self {
        Self { entries: Vec::new(), reply: Some(Ok(acceptance)) }
    }

    fn accepted(entry: Entry, state: SessionState) -> Self {
        let accepted_at = entry.at;
        Self { entries: vec![entry], reply: Some(Ok(Acceptance { duplicate: false, accepted_at, state })) }
    }
}

/// Judges `command` and folds what it leads to into `session`; returns the new entries and the answer.
///
/// `now` is the acceptance time. A clock that went backwards is held at the session's latest entry, so that
/// history never does.
pub fn process(
    session: &mut Option<Session>,
    command: &Command,
    catalog: &Catalog,
    now: UnixMillis,
    entries: &mut Vec<Entry>,
) -> Reply {
    loop {
        let verdict = decide(session.as_ref(), command, catalog, now);
        for entry in &verdict.entries {
            apply(session, entry);
        }
        entries.extend(verdict.entries);
        if let Some(reply) = verdict.reply {
            return reply;
        }
    }
}

/// Judges a command. The order of the checks is protocol.
#[must_use]
pub fn decide(session: Option<&Session>, command: &Command, catalog: &Catalog, now: UnixMillis) -> Verdict {
    let now = session.map_or(now, |session| now.max(session.last_at));
    match command {
        Command::Submit(submission) => submit(session, submission, catalog, now),
        Command::Control(request) => match session {
            Some(session) => control(session, request, now),
            None => Verdict::refused(Refusal::session_not_found()),
        },
        Command::Tick => match session {
            Some(session) => tick(session, now),
            None => Verdict::refused(Refusal::session_not_found()),
        },
    }
}

fn submit(session: Option<&Session>, submission: &Submission, catalog: &Catalog, now: UnixMillis) -> Verdict {
    let envelope = &submission.envelope;
    if envelope.message_type == core_type::SESSION_START {
        return match start::decide(session, envelope, submission.within_open_sessions, catalog, now) {
            Ok(StartOutcome::Begins(entry)) => Verdict::accepted(entry, SessionState::Open),
            Ok(StartOutcome::Duplicate(acceptance)) => Verdict::nothing(acceptance),
            Err(refusal) => Verdict::refused(refusal),
        };
    }
    let Some(session) = session else {
        return Verdict::refused(Refusal::session_not_found());
    };
    if let Some(accepted_at) = session.accepted.accepted_at(&envelope.message_id) {
        return Verdict::nothing(Acceptance {
            duplicate: true,
            accepted_at,
            state: session.lifecycle.wire(),
        });
    }
    if envelope.mode != session.binding.mode {
        return Verdict::refused(Refusal::invalid_envelope("mode differs from the session's mode"));
    }
    if let Some(cause) = deadline::expired(session, now) {
        return Verdict {
            entries: vec![Entry { at: now, fact: Fact::Expired { cause } }],
            reply: Some(Err(not_open(Lifecycle::Expired))),
        };
    }
    if session.lifecycle != Lifecycle::Open {
        return Verdict::refused(not_open(session.lifecycle));
    }
    if let Err(refusal) = before_mode(session, envelope, catalog) {
        return Verdict::refused(refusal);
    }
    if let Some(entry) = due_entry(session, now) {
        return Verdict { entries: vec![entry], reply: None };
    }
    match accept_stamped(session, envelope, now) {
        Ok(entry) => {
            let state = match &entry.fact {
                Fact::Accepted(accepted) if accepted.resolution.is_some() => SessionState::Resolved,
                _ => SessionState::Open,
            };
            Verdict::accepted(entry, state)
        }
        Err(refusal) => Verdict::refused(refusal),
    }
}

/// The checks between the session's state and the mode's own rules.
fn before_mode(session: &Session, envelope: &Envelope, catalog: &Catalog) -> Result<(), Refusal> {
    if catalog.mode(&session.binding.mode).is_none() {
        return Err(mode_not_supported(&session.binding.mode));
    }
    if matches!(
        envelope.message_type.as_str(),
        core_type::SESSION_CANCEL | core_type::SESSION_SUSPEND | core_type::SESSION_RESUME
    ) {
        return Err(Refusal::invalid_envelope(format!(
            "{} is written by the server only; use the control call of that name",
            envelope.message_type
        )));
    }
    session.mode_state.authorize(&session.binding, &envelope.sender, &envelope.message_type)?;
    session.binding.mode_kind.client_boundary(envelope)
}

/// The envelope that the server owes the session by `now`, as an entry at its own due time.
fn due_entry(session: &Session, now: UnixMillis) -> Option<Entry> {
    let (at, envelope) = mode::due(session, now)?;
    accept(session, Arc::new(Sealed::new(envelope)), true, at).ok()
}

/// Accepts a client's envelope, stamped with the acceptance time if it names none of its own: once, here, so
/// that live delivery and replay show the same.
fn accept_stamped(session: &Session, envelope: &Arc<Envelope>, at: UnixMillis) -> Result<Entry, Refusal> {
    let mut envelope = Arc::clone(envelope);
    if envelope.timestamp_unix_ms == 0 {
        Arc::make_mut(&mut envelope).timestamp_unix_ms = at.0;
    }
    accept(session, Arc::new(Sealed::new(envelope)), false, at)
}

/// Runs the mode's rules; the accepted envelope gets the next ordinal.
pub(crate) fn accept(
    session: &Session,
    sealed: Arc<Sealed>,
    synthetic: bool,
    at: UnixMillis,
) -> Result<Entry, Refusal> {
    let Step { change, resolution } =
        session.mode_state.decide(&Context { session, at }, sealed.envelope())?;
    let ordinal = session.last_ordinal + 1;
    Ok(Entry {
        at,
        fact: Fact::Accepted(Box::new(Accepted { ordinal, sealed, synthetic, change, resolution })),
    })
}

fn control(session: &Session, request: &Control, now: UnixMillis) -> Verdict {
    if !may_control(session, &request.by) {
        return Verdict::refused(Refusal::forbidden(
            "only the initiator, or a sender to whom the policy gives commitment authority, may do this",
        ));
    }
    // An overdue session expires first; the call then meets it as it is.
    if let Some(cause) = deadline::expired(session, now) {
        return Verdict { entries: vec![Entry { at: now, fact: Fact::Expired { cause } }], reply: None };
    }
    if session.lifecycle == Lifecycle::Open
        && let Some(entry) = due_entry(session, now)
    {
        return Verdict { entries: vec![entry], reply: None };
    }
    let by = request.by.clone();
    let reason = request.reason.clone();
    match (request.action, session.lifecycle) {
        (ControlAction::Cancel, Lifecycle::Open | Lifecycle::Suspended { .. }) => Verdict::accepted(
            Entry { at: now, fact: Fact::Cancelled { by, reason } },
            SessionState::Cancelled,
        ),
        // Cancelling what has ended is a success that reports how it ended.
        (ControlAction::Cancel, ended) => {
            Verdict::nothing(Acceptance { duplicate: false, accepted_at: now, state: ended.wire() })
        }
        (ControlAction::Suspend, Lifecycle::Open) => Verdict::accepted(
            Entry { at: now, fact: Fact::Suspended { by, reason } },
            SessionState::Suspended,
        ),
        (ControlAction::Resume, Lifecycle::Suspended { since }) => {
            let banked_ms = session.expires_at.since(since).max(0);
            resume(session, Entry { at: now, fact: Fact::Resumed { by, reason, banked_ms } })
        }
        (ControlAction::Suspend | ControlAction::Resume, other) => Verdict::refused(not_open(other)),
    }
}

/// A resume beyond the cycle cap is recorded and expires the session. The cap on time was judged before.
fn resume(session: &Session, entry: Entry) -> Verdict {
    if session.pauses.len() < MAX_SUSPENSIONS {
        return Verdict::accepted(entry, SessionState::Open);
    }
    let expired = Entry { at: entry.at, fact: Fact::Expired { cause: ExpiryCause::CycleCap } };
    Verdict { entries: vec![entry, expired], reply: Some(Err(not_open(Lifecycle::Expired))) }
}

/// Whether `sender` may cancel, suspend and resume the session (RFC-MACP-0001 §7.3).
///
/// Delegation widens the initiator's right; it never takes it away.
fn may_control(session: &Session, sender: &str) -> bool {
    sender == session.binding.initiator.as_str() || commitment::has_authority(&session.binding, sender)
}

fn tick(session: &Session, now: UnixMillis) -> Verdict {
    if let Some(cause) = deadline::expired(session, now) {
        return Verdict::accepted(Entry { at: now, fact: Fact::Expired { cause } }, SessionState::Expired);
    }
    if session.lifecycle == Lifecycle::Open
        && let Some(entry) = due_entry(session, now)
    {
        return Verdict { entries: vec![entry], reply: None };
    }
    Verdict::nothing(Acceptance { duplicate: false, accepted_at: now, state: session.lifecycle.wire() })
}

fn not_open(lifecycle: Lifecycle) -> Refusal {
    let name = lifecycle.name();
    let advice = if lifecycle.is_terminal() { "it accepts nothing more" } else { "it is not open for this" };
    Refusal::new(RefusalCode::SessionNotOpen, format!("the session is {name}; {advice}"))
}
