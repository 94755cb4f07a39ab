//! What a mode is, and the closed set of modes this server knows.
//!
//! A mode is one file: a typed state, a typed change, and its rules in one visible order, as an implementation
//! of [`Mode`]. To add one, write the file and name it in the `modes!` list below, and in [`built_in`] if it comes
//! with the server. Nothing else dispatches on modes.
//!
//! A decision never changes state: it returns a change, which [`Mode::apply`] folds in later. So a change is
//! applied exactly once, live and in replay alike, and a refused message cannot leave a trace.

pub mod commitment;
pub mod decision;
pub mod handoff;
pub mod multi_round;
pub mod passthrough;
pub mod proposal;
pub mod quorum;
pub mod task;

use bytes::Bytes;
use macp_wire::v1::{Envelope, ModeDescriptor};
use serde::Serialize;

use crate::catalog::ModeEntry;
use crate::envelope::core_type;
use crate::refusal::{Refusal, RefusalCode};
use crate::session::{Binding, Session};
use crate::time::UnixMillis;

/// Version of every built-in mode.
pub const BUILT_IN_MODE_VERSION: &str = "1.0.0";

/// What the rules of a mode may look at besides the mode's own state.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The session, as it is before the message.
    pub session: &'a Session,
    /// Acceptance time of the message; recorded, so rules may depend on it.
    pub at: UnixMillis,
}

impl<'a> Context<'a> {
    /// What the session's start fixed.
    #[must_use]
    pub fn binding(&self) -> &'a Binding {
        &self.session.binding
    }
}

/// The outcome of an accepted message.
#[derive(Clone, Debug, PartialEq)]
pub struct Step<C> {
    /// What it changes in the mode's state.
    pub change: C,
    /// The resolution, if it resolves the session.
    pub resolution: Option<Bytes>,
}

impl<C> Step<C> {
    /// A step that leaves the session open.
    pub fn to(change: C) -> Self {
        Self { change, resolution: None }
    }
}

/// The rules of one mode over its own state.
pub trait Mode: Sized {
    /// What an accepted message of this mode may change.
    type Change;

    /// Checks the mode's own demands on a start and gives the state before the first message.
    ///
    /// # Errors
    /// `INVALID_ENVELOPE`.
    fn start(binding: &Binding) -> Result<Self, Refusal>;

    /// Checks whether `sender` may send a message of this type at all.
    ///
    /// # Errors
    /// `FORBIDDEN`.
    fn authorize(&self, binding: &Binding, sender: &str, message_type: &str) -> Result<(), Refusal>;

    /// Refuses what clients may not submit although history may contain it. Never run on replay.
    ///
    /// # Errors
    /// `INVALID_ENVELOPE`.
    fn client_boundary(_envelope: &Envelope) -> Result<(), Refusal> {
        Ok(())
    }

    /// When the server owes the session an envelope of its own, if nothing else happens.
    fn due_at(&self, _session: &Session) -> Option<UnixMillis> {
        None
    }

    /// That envelope, if it is due at `now`, and the instant that becomes its acceptance time.
    fn due(&self, _session: &Session, _now: UnixMillis) -> Option<(UnixMillis, Envelope)> {
        None
    }

    /// Judges a message of an authorized sender in an open session.
    ///
    /// # Errors
    /// `INVALID_ENVELOPE`, `FORBIDDEN` or `POLICY_DENIED`.
    fn decide(&self, context: &Context<'_>, envelope: &Envelope) -> Result<Step<Self::Change>, Refusal>;

    /// Folds an accepted change in.
    fn apply(&mut self, change: &Self::Change);
}

macro_rules! modes {
    ($($kind:ident => $state:path, $name:literal;)*) => {
        /// Which rules a mode id stands for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum ModeKind { $(#[doc = concat!("Rules of [`", stringify!($state), "`].")] $kind),* }

        /// A mode's state.
        #[derive(Clone, Debug, PartialEq)]
        pub enum ModeState { $(#[doc = concat!("State of [`", stringify!($state), "`].")] $kind($state)),* }

        /// A change of a mode's state.
        #[derive(Clone, Debug, PartialEq)]
        pub enum ModeChange {
            $(#[doc = concat!("Change of [`", stringify!($state), "`].")] $kind(<$state as Mode>::Change)),*
        }

        impl ModeKind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$kind),*];

            /// The name in stored history.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$kind => $name),* }
            }

            /// The kind that stored history names.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|kind| kind.name() == name)
            }

            /// [`Mode::start`].
            ///
            /// # Errors
            /// As the mode's.
            pub fn start(self, binding: &Binding) -> Result<ModeState, Refusal> {
                match self { $(Self::$kind => <$state as Mode>::start(binding).map(ModeState::$kind)),* }
            }

            /// [`Mode::client_boundary`].
            ///
            /// # Errors
            /// As the mode's.
            pub fn client_boundary(self, envelope: &Envelope) -> Result<(), Refusal> {
                match self { $(Self::$kind => <$state as Mode>::client_boundary(envelope)),* }
            }
        }

        impl ModeState {
            /// Which mode's state it is.
            #[must_use]
            pub fn kind(&self) -> ModeKind {
                match self { $(Self::$kind(_) => ModeKind::$kind),* }
            }

            pub(crate) fn authorize(&self, binding: &Binding, sender: &str, message_type: &str) -> Result<(), Refusal> {
                match self { $(Self::$kind(state) => state.authorize(binding, sender, message_type)),* }
            }

            pub(crate) fn decide(&self, context: &Context<'_>, envelope: &Envelope) -> Result<Step<ModeChange>, Refusal> {
                match self {
                    $(Self::$kind(state) => state.decide(context, envelope).map(|step| Step {
                        change: ModeChange::$kind(step.change),
                        resolution: step.resolution,
                    })),*
                }
            }

            /// Folds a change in. A change of another mode cannot come from this session's history and is ignored.
            pub(crate) fn apply(&mut self, change: &ModeChange) {
                match (self, change) {
                    $((Self::$kind(state), ModeChange::$kind(change)) => state.apply(change),)*
                    _ => debug_assert!(false, "a change of another mode"),
                }
            }
        }

        /// When the server owes the session an envelope of its own.
        pub(crate) fn due_at(session: &Session) -> Option<UnixMillis> {
            match &session.mode_state { $(ModeState::$kind(state) => state.due_at(session)),* }
        }

        /// That envelope, if it is due at `now`.
        pub(crate) fn due(session: &Session, now: UnixMillis) -> Option<(UnixMillis, Envelope)> {
            match &session.mode_state { $(ModeState::$kind(state) => state.due(session, now)),* }
        }
    };
}

modes! {
    // variant => state type, name in stored history (never reused for other rules)
    Decision => decision::Decision, "decision";
    Proposal => proposal::Negotiation, "proposal";
    Task => task::Assignment, "task";
    Handoff => handoff::Handoff, "handoff";
    Quorum => quorum::Quorum, "quorum";
    MultiRound => multi_round::MultiRound, "multi_round";
    Passthrough => passthrough::Passthrough, "passthrough";
}

/// What clients are told of a mode that comes with the server.
#[derive(Clone, Copy, Debug)]
struct BuiltIn {
    mode: &'static str,
    title: &'static str,
    description: &'static str,
    determinism_class: &'static str,
    participant_model: &'static str,
    /// Message types between `SessionStart` and `Commitment`.
    between: &'static [&'static str],
}

impl BuiltIn {
    fn entry(&self, kind: ModeKind) -> ModeEntry {
        let message_types = std::iter::once(core_type::SESSION_START)
            .chain(self.between.iter().copied())
            .chain([core_type::COMMITMENT])
            .map(str::to_owned)
            .collect();
        let schema = "buf.build/multiagentcoordinationprotocol/macp".to_owned();
        ModeEntry {
            descriptor: ModeDescriptor {
                mode: self.mode.to_owned(),
                mode_version: BUILT_IN_MODE_VERSION.to_owned(),
                title: self.title.to_owned(),
                description: self.description.to_owned(),
                determinism_class: self.determinism_class.to_owned(),
                participant_model: self.participant_model.to_owned(),
                message_types,
                terminal_message_types: vec![core_type::COMMITMENT.to_owned()],
                schema_uris: [("protobuf".to_owned(), schema)].into(),
            },
            kind,
            standards_track: self.mode.starts_with("macp.mode."),
            strict: true,
            built_in: true,
        }
    }

    /// The refusal of a message type that the mode does not have.
    fn unknown_type(&self, message_type: &str) -> Refusal {
        Refusal::invalid_envelope(format!("{} has no message of type {message_type:?}", self.mode))
    }
}

/// Every mode that comes with the server, in the canonical order of `ListModes`.
#[must_use]
pub fn built_in() -> Vec<ModeEntry> {
    [
        (ModeKind::Decision, decision::BUILT_IN),
        (ModeKind::Proposal, proposal::BUILT_IN),
        (ModeKind::Task, task::BUILT_IN),
        (ModeKind::Handoff, handoff::BUILT_IN),
        (ModeKind::Quorum, quorum::BUILT_IN),
        (ModeKind::MultiRound, multi_round::BUILT_IN),
    ]
    .map(|(kind, built_in)| built_in.entry(kind))
    .into()
}

/// The resolution of a mode that does not resolve to the `Commitment` itself.
fn json_resolution(resolution: &impl Serialize) -> Result<Bytes, Refusal> {
    match serde_json::to_vec(resolution) {
        Ok(json) => Ok(json.into()),
        Err(error) => Err(Refusal::new(RefusalCode::InternalError, format!("resolution: {error}"))),
    }
}
