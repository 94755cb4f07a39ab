//! A session played by hand: one kernel state, a clock that moves when told to, and everything that was recorded.

use macp_wire::v1::{Envelope, SessionStartPayload};

use super::{INITIATOR, Message, POLICY, STARTED, message};
use crate::catalog::Catalog;
use crate::command::{Command, Control, ControlAction, Submission};
use crate::decide::{Reply, process};
use crate::entry::Entry;
use crate::refusal::{Refusal, RefusalCode};
use crate::session::{Lifecycle, Session};
use crate::time::UnixMillis;

/// A session, its clock and its history.
#[derive(Clone, Debug)]
pub struct Script {
    /// Mode of the envelopes that [`Script::send`] makes.
    pub mode: String,
    /// The registries.
    pub catalog: Catalog,
    /// The clock, in milliseconds.
    pub now: i64,
    /// The session's state.
    pub session: Option<Session>,
    /// Every entry so far.
    pub entries: Vec<Entry>,
    /// Number of the latest message made here.
    sent: u64,
}

impl Script {
    /// A clock at [`STARTED`] and no session yet.
    #[must_use]
    pub fn new(mode: &str, catalog: Catalog) -> Self {
        Self { mode: mode.to_owned(), catalog, now: STARTED, session: None, entries: Vec::new(), sent: 0 }
    }

    /// A session of a built-in mode, started with [`message::start_payload`].
    #[must_use]
    #[track_caller]
    pub fn started(mode: &str) -> Self {
        Self::started_with(mode, Catalog::built_in(), &message::start_payload())
    }

    /// A session of a built-in mode under a policy with these rules; see [`super::policed`].
    #[must_use]
    #[track_caller]
    pub fn policed(mode: &str, rules: &str) -> Self {
        let payload = SessionStartPayload { policy_version: POLICY.to_owned(), ..message::start_payload() };
        Self::started_with(mode, super::policed(mode, rules), &payload)
    }

    /// A session started by [`INITIATOR`] with this payload.
    ///
    /// # Panics
    /// When the start is refused.
    #[must_use]
    #[track_caller]
    pub fn started_with(mode: &str, catalog: Catalog, payload: &SessionStartPayload) -> Self {
        let mut script = Self::new(mode, catalog);
        script.accept(INITIATOR, &message::start(payload));
        script
    }

    /// The session after these messages, all of which must be accepted.
    #[must_use]
    #[track_caller]
    pub fn after(mut self, messages: &[(&str, Message)]) -> Self {
        for (sender, message) in messages {
            self.accept(sender, message);
        }
        self
    }

    /// Runs a command at the script's clock.
    pub fn run(&mut self, command: &Command) -> Reply {
        process(&mut self.session, command, &self.catalog, UnixMillis(self.now), &mut self.entries)
    }

    /// Submits an envelope as it is.
    pub fn submit(&mut self, envelope: Envelope) -> Reply {
        self.run(&Command::Submit(Submission { envelope: envelope.into(), within_open_sessions: true }))
    }

    /// Sends a message under a fresh `message_id`: `m1`, `m2` and so on.
    pub fn send(&mut self, sender: &str, message: &Message) -> Reply {
        self.sent += 1;
        self.submit(message.envelope(&self.mode, sender, &format!("m{}", self.sent)))
    }

    /// Sends a message that must be accepted.
    ///
    /// # Panics
    /// When it is refused or a duplicate.
    #[track_caller]
    pub fn accept(&mut self, sender: &str, message: &Message) {
        match self.send(sender, message) {
            Ok(acceptance) => assert!(!acceptance.duplicate, "a duplicate"),
            Err(refusal) => panic!("{} by {sender} was refused: {refusal}", message.message_type),
        }
    }

    /// Sends a message that must be refused with `code` and must not change anything.
    ///
    /// # Panics
    /// When it is accepted, refused with another code, or leaves a trace.
    #[track_caller]
    pub fn refuse(&mut self, sender: &str, message: &Message, code: RefusalCode) -> Refusal {
        let before = (self.session.clone(), self.entries.len());
        let Err(refusal) = self.send(sender, message) else {
            panic!("{} by {sender} was accepted", message.message_type);
        };
        assert_eq!(refusal.code, code, "{} by {sender}: {refusal}", message.message_type);
        assert!(before == (self.session.clone(), self.entries.len()), "the refused message left a trace");
        refusal
    }

    /// Makes a control call.
    pub fn control(&mut self, action: ControlAction, by: &str) -> Reply {
        self.run(&Command::Control(Control { action, by: by.into(), reason: "why".to_owned() }))
    }

    /// Suspends from `from` to `to` on the initiator's behalf.
    ///
    /// # Panics
    /// When the session cannot be suspended or resumed then.
    #[track_caller]
    pub fn pause(&mut self, from: i64, to: i64) {
        for (at, action) in [(from, ControlAction::Suspend), (to, ControlAction::Resume)] {
            self.now = at;
            if let Err(refusal) = self.control(action, INITIATOR) {
                panic!("{action:?} at {at} was refused: {refusal}");
            }
        }
    }

    /// Lets time pass to `now`.
    pub fn tick(&mut self, now: i64) -> Reply {
        self.now = now;
        self.run(&Command::Tick)
    }

    /// The session.
    ///
    /// # Panics
    /// When it does not exist.
    #[must_use]
    #[track_caller]
    pub fn session(&self) -> &Session {
        match &self.session {
            Some(session) => session,
            None => panic!("no session was started"),
        }
    }

    /// Where the session stands.
    ///
    /// # Panics
    /// When it does not exist.
    #[must_use]
    #[track_caller]
    pub fn lifecycle(&self) -> Lifecycle {
        self.session().lifecycle
    }
}
