//! What the engine counts, for whoever publishes it.
//!
//! Counting costs a few relaxed additions for an envelope and allocates nothing. What callers choose freely (modes,
//! message types) is never a name here: an envelope finds the row of its mode among those that were registered, and is
//! counted under "other" if there is none. Sessions, senders and message ids are not looked at.

use std::sync::OnceLock;

use macp_counters::{Counter, Gauge, Held, Histogram};
use macp_kernel::catalog::ModeEntry;
use macp_kernel::envelope::core_type;
use macp_kernel::session::Lifecycle;
use macp_kernel::{Acceptance, Refusal, RefusalCode, UnixMillis};
use parking_lot::Mutex;

/// Modes that have a row of their own. Rows are for the life of the process, so this bounds what registering and
/// unregistering modes in turns can do.
const MODES: usize = 64;
/// Message types of a mode that have a row of their own.
const TYPES: usize = 32;
/// Longest name that is kept, in bytes.
const NAME: usize = 128;

/// What stands for every name that is not known, as with the reference server.
pub const OTHER: &str = "_OTHER";

/// Nanoseconds from 0.5 ms to 10 s.
const PROCESSING: &[u64] = &[
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
];
/// Milliseconds from a second to a day.
const LIFETIME: &[u64] = &[
    1_000, 5_000, 15_000, 60_000, 300_000, 900_000, 1_800_000, 3_600_000, 14_400_000, 43_200_000, 86_400_000,
];
/// Commands.
const BATCH: &[u64] = &[1, 2, 4, 8, 16, 32, 64, 128, 256];

/// By which way a call came in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// From within the process.
    #[default]
    Direct,
    /// gRPC and gRPC-Web.
    Grpc,
    /// HTTP with JSON, event streams included.
    Http,
    /// A WebSocket.
    WebSocket,
}

impl Transport {
    /// All of them.
    pub const ALL: &'static [Self] = &[Self::Direct, Self::Grpc, Self::Http, Self::WebSocket];

    /// The name in metrics, traces and the audit log.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Grpc => "grpc",
            Self::Http => "http",
            Self::WebSocket => "websocket",
        }
    }
}

/// What is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamKind {
    /// One session's envelopes.
    Session,
    /// `WatchSessions`.
    Sessions,
    /// `WatchSignals`.
    Signals,
    /// `WatchModeRegistry`.
    Modes,
    /// `WatchPolicies`.
    Policies,
    /// `WatchRoots`.
    Roots,
}

impl StreamKind {
    /// All of them.
    pub const ALL: &'static [Self] =
        &[Self::Session, Self::Sessions, Self::Signals, Self::Modes, Self::Policies, Self::Roots];

    /// The name in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Sessions => "sessions",
            Self::Signals => "signals",
            Self::Modes => "modes",
            Self::Policies => "policies",
            Self::Roots => "roots",
        }
    }
}

/// What became of an envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnvelopeOutcome {
    /// It is part of a session's history, or was handed to the watchers of signals.
    Accepted,
    /// It was accepted before.
    Duplicate,
    /// It was refused.
    Rejected,
}

impl EnvelopeOutcome {
    /// All of them.
    pub const ALL: &'static [Self] = &[Self::Accepted, Self::Duplicate, Self::Rejected];

    /// The outcome of a reply.
    pub(crate) fn of(reply: &Result<Acceptance, Refusal>) -> Self {
        match reply {
            Ok(acceptance) if acceptance.duplicate => Self::Duplicate,
            Ok(_) => Self::Accepted,
            Err(_) => Self::Rejected,
        }
    }

    /// The name in metrics and traces.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Duplicate => "duplicate",
            Self::Rejected => "rejected",
        }
    }
}

/// What may happen to a session, beside messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    /// A commitment resolved it.
    Resolve,
    /// Its time ran out.
    Expire,
    /// It was cancelled.
    Cancel,
    /// It was paused.
    Suspend,
    /// A pause ended.
    Resume,
}

impl Transition {
    /// All of them.
    pub const ALL: &'static [Self] =
        &[Self::Resolve, Self::Expire, Self::Cancel, Self::Suspend, Self::Resume];

    /// Whether nothing follows it.
    pub(crate) fn ends(self) -> bool {
        matches!(self, Self::Resolve | Self::Expire | Self::Cancel)
    }

    /// The name in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Resolve => "resolve",
            Self::Expire => "expire",
            Self::Cancel => "cancel",
            Self::Suspend => "suspend",
            Self::Resume => "resume",
        }
    }
}

/// What an engine has counted since it was opened.
#[derive(Debug)]
pub struct Counters {
    modes: Modes,
    /// By transport and code.
    refusals: Vec<Vec<Counter>>,
    /// Open streams by transport and kind.
    streams: Vec<Vec<Gauge>>,
    /// Subscriptions that began behind an ordinal, by transport.
    resumes: Vec<Counter>,
    /// Envelopes that were delivered to subscribers, by transport.
    delivered: Vec<Counter>,
    /// Starts that the window of a sender had no room for.
    pub limited_starts: Counter,
    /// Messages that the window of a sender had no room for.
    pub limited_messages: Counter,
    /// Watches that ended because their client was too slow.
    pub lagged: Counter,
    /// Commands that wait in the mailboxes of sessions.
    pub mailbox: Gauge,
    /// Commands that were decided and stored together.
    pub batches: Histogram,
    /// Sessions that are open.
    pub open: Gauge,
    /// Sessions that are suspended.
    pub suspended: Gauge,
    /// Receipts that were issued with a signature, and without.
    pub receipts_signed: Counter,
    /// See [`Counters::receipts_signed`].
    pub receipts_unsigned: Counter,
    /// Receipts that could not be issued because of a fault of this server.
    pub receipt_failures: Counter,
    /// Sessions whose stored history the rules do not accept.
    pub replay_mismatches: Counter,
}

impl Default for Counters {
    fn default() -> Self {
        let by_transport = || Transport::ALL.iter().map(|_| Counter::default()).collect();
        Self {
            modes: Modes::default(),
            refusals: Transport::ALL
                .iter()
                .map(|_| RefusalCode::ALL.iter().map(|_| Counter::default()).collect())
                .collect(),
            streams: Transport::ALL
                .iter()
                .map(|_| StreamKind::ALL.iter().map(|_| Gauge::default()).collect())
                .collect(),
            resumes: by_transport(),
            delivered: by_transport(),
            limited_starts: Counter::default(),
            limited_messages: Counter::default(),
            lagged: Counter::default(),
            mailbox: Gauge::default(),
            batches: Histogram::new(BATCH),
            open: Gauge::default(),
            suspended: Gauge::default(),
            receipts_signed: Counter::default(),
            receipts_unsigned: Counter::default(),
            receipt_failures: Counter::default(),
            replay_mismatches: Counter::default(),
        }
    }
}

impl Counters {
    /// Refusals of this code that were given on this transport, of requests and in Acks.
    #[must_use]
    pub fn refusals(&self, transport: Transport, code: RefusalCode) -> &Counter {
        &self.refusals[transport as usize][code as usize]
    }

    /// Streams of this kind that are open on this transport.
    #[must_use]
    pub fn streams(&self, transport: Transport, kind: StreamKind) -> &Gauge {
        &self.streams[transport as usize][kind as usize]
    }

    pub(crate) fn hold(&self, transport: Transport, kind: StreamKind) -> Held {
        self.streams(transport, kind).hold()
    }

    /// Subscriptions on this transport that began behind an ordinal that their client had seen.
    #[must_use]
    pub fn resumes(&self, transport: Transport) -> &Counter {
        &self.resumes[transport as usize]
    }

    /// Envelopes that were delivered to subscribers on this transport.
    #[must_use]
    pub fn delivered(&self, transport: Transport) -> &Counter {
        &self.delivered[transport as usize]
    }

    /// The rows of modes that have one, then those of all others and of ambient messages.
    pub fn modes(&self) -> impl Iterator<Item = &ModeCounters> {
        self.modes.all()
    }

    /// Gives modes a row.
    pub(crate) fn learn<'c>(&self, entries: impl Iterator<Item = &'c ModeEntry>) {
        for entry in entries {
            self.modes.learn(&entry.descriptor.mode, &entry.descriptor.message_types);
        }
    }

    /// The row of an envelope.
    pub(crate) fn envelope(&self, mode: &str, message_type: &str) -> &EnvelopeCounters {
        self.modes.find(mode, message_type).envelope(message_type)
    }

    /// What a mode is called where names must be few; `None` for none.
    pub(crate) fn mode_name(&self, mode: &str, message_type: &str) -> Option<&str> {
        self.modes.find(mode, message_type).name()
    }

    /// Counts what has happened to a session.
    pub(crate) fn transition(&self, mode: &str, transition: Transition, lived: Option<i64>) {
        let row = self.modes.named(mode);
        row.transitions[transition as usize].inc();
        if let (Some(lived), Some(lifetimes)) = (lived, row.lifetimes.get(transition as usize)) {
            lifetimes.observe(lived.max(0).unsigned_abs());
        }
    }

    /// Moves a session from one state to another, where `None` is outside of both.
    pub(crate) fn moved(&self, before: Option<Lifecycle>, after: Lifecycle) {
        if let Some(gauge) = before.and_then(|before| self.living(before)) {
            gauge.add(-1);
        }
        if let Some(gauge) = self.living(after) {
            gauge.add(1);
        }
    }

    fn living(&self, lifecycle: Lifecycle) -> Option<&Gauge> {
        match lifecycle {
            Lifecycle::Open => Some(&self.open),
            Lifecycle::Suspended { .. } => Some(&self.suspended),
            _ => None,
        }
    }
}

/// How long a session lived that ended now.
pub(crate) fn lived(started_at: UnixMillis, now: UnixMillis) -> Option<i64> {
    Some(now.since(started_at))
}

/// Rows that are only added: found without a lock, and made under one.
#[derive(Debug)]
struct Modes {
    rows: Vec<OnceLock<ModeCounters>>,
    adding: Mutex<()>,
    other: ModeCounters,
    ambient: ModeCounters,
}

impl Default for Modes {
    fn default() -> Self {
        Self {
            rows: (0..MODES).map(|_| OnceLock::new()).collect(),
            adding: Mutex::default(),
            other: ModeCounters::new(ModeLabel::Other, std::iter::empty()),
            ambient: ModeCounters::new(
                ModeLabel::Ambient,
                [core_type::SIGNAL, core_type::PROGRESS].into_iter(),
            ),
        }
    }
}

impl Modes {
    fn learn(&self, mode: &str, types: &[String]) {
        if mode.is_empty() || mode.len() > NAME {
            return;
        }
        let _one_at_a_time = self.adding.lock();
        for row in &self.rows {
            match row.get() {
                Some(known) if known.is(mode) => return,
                Some(_) => {}
                None => {
                    let core = [core_type::SESSION_START, core_type::SIGNAL, core_type::PROGRESS];
                    let types = core.into_iter().chain(types.iter().map(String::as_str));
                    let label = ModeLabel::Registered(mode.into());
                    // Empty, as was just seen, and filled under the lock alone.
                    drop(row.set(ModeCounters::new(label, types)));
                    return;
                }
            }
        }
    }

    fn find(&self, mode: &str, message_type: &str) -> &ModeCounters {
        if mode.is_empty() && matches!(message_type, core_type::SIGNAL | core_type::PROGRESS) {
            return &self.ambient;
        }
        self.named(mode)
    }

    fn named(&self, mode: &str) -> &ModeCounters {
        self.rows.iter().map_while(OnceLock::get).find(|row| row.is(mode)).unwrap_or(&self.other)
    }

    fn all(&self) -> impl Iterator<Item = &ModeCounters> {
        self.rows.iter().map_while(OnceLock::get).chain([&self.other, &self.ambient])
    }
}

/// Which mode a row is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModeLabel {
    /// A mode that is or was registered.
    Registered(Box<str>),
    /// Every other.
    Other,
    /// None: messages that are about no session.
    Ambient,
}

/// What was counted of one mode.
#[derive(Debug)]
pub struct ModeCounters {
    /// The mode.
    pub label: ModeLabel,
    /// By message type; the last one stands for all others.
    types: Vec<EnvelopeCounters>,
    transitions: [Counter; Transition::ALL.len()],
    /// In milliseconds, of the three transitions that end a session.
    lifetimes: [Histogram; 3],
}

impl ModeCounters {
    fn new<'t>(label: ModeLabel, types: impl Iterator<Item = &'t str>) -> Self {
        let mut rows: Vec<EnvelopeCounters> = Vec::new();
        for name in types.filter(|name| !name.is_empty() && name.len() <= NAME).take(TYPES) {
            if !rows.iter().any(|row| row.message_type() == Some(name)) {
                rows.push(EnvelopeCounters::new(Some(name)));
            }
        }
        rows.push(EnvelopeCounters::new(None));
        Self {
            label,
            types: rows,
            transitions: Default::default(),
            lifetimes: std::array::from_fn(|_| Histogram::new(LIFETIME)),
        }
    }

    /// The mode's name, or what stands for all others; `None` for messages that are about no session.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match &self.label {
            ModeLabel::Registered(name) => Some(name),
            ModeLabel::Other => Some(OTHER),
            ModeLabel::Ambient => None,
        }
    }

    fn is(&self, mode: &str) -> bool {
        matches!(&self.label, ModeLabel::Registered(name) if **name == *mode)
    }

    fn envelope(&self, message_type: &str) -> &EnvelopeCounters {
        let known = self.types.iter().find(|row| row.message_type() == Some(message_type));
        // There always is the last one.
        known.unwrap_or(&self.types[self.types.len() - 1])
    }

    /// Envelopes by message type.
    pub fn envelopes(&self) -> impl Iterator<Item = &EnvelopeCounters> {
        self.types.iter()
    }

    /// How often a transition happened.
    #[must_use]
    pub fn transitions(&self, transition: Transition) -> &Counter {
        &self.transitions[transition as usize]
    }

    /// How long sessions lived until they ended in this way, in milliseconds; `None` for what ends no session.
    #[must_use]
    pub fn lifetimes(&self, transition: Transition) -> Option<&Histogram> {
        self.lifetimes.get(transition as usize)
    }
}

/// What was counted of one mode's messages of one type.
#[derive(Debug)]
pub struct EnvelopeCounters {
    message_type: Option<Box<str>>,
    /// In nanoseconds, from the call to its answer, by outcome.
    processing: [Histogram; EnvelopeOutcome::ALL.len()],
}

impl EnvelopeCounters {
    fn new(message_type: Option<&str>) -> Self {
        Self {
            message_type: message_type.map(Into::into),
            processing: std::array::from_fn(|_| Histogram::new(PROCESSING)),
        }
    }

    /// The message type; `None` for all that have no row.
    #[must_use]
    pub fn message_type(&self) -> Option<&str> {
        self.message_type.as_deref()
    }

    /// How often an envelope had this outcome, and how long it took, in nanoseconds.
    #[must_use]
    pub fn processing(&self, outcome: EnvelopeOutcome) -> &Histogram {
        &self.processing[outcome as usize]
    }
}

#[cfg(test)]
mod tests {
    use macp_kernel::Catalog;

    use super::*;

    fn learned() -> Counters {
        let counters = Counters::default();
        counters.learn(Catalog::built_in().modes());
        counters
    }

    #[test]
    fn what_is_not_registered_makes_no_row() {
        let counters = learned();
        let before = counters.modes().count();
        for number in 0..10_000 {
            let mode = format!("ext.made-up-{number}");
            let row = counters.envelope(&mode, "Proposal");
            assert_eq!(row.message_type(), None);
            row.processing(EnvelopeOutcome::Rejected).observe(1);
            let odd = counters.envelope("macp.mode.decision.v1", &mode);
            assert_eq!(odd.message_type(), None);
        }
        assert_eq!(counters.modes().count(), before);
        assert_eq!(counters.envelope("", "Signal").message_type(), Some("Signal"));
        assert_eq!(counters.envelope("", "Vote").message_type(), None);
        assert_eq!(counters.envelope("macp.mode.decision.v1", "Vote").message_type(), Some("Vote"));
        assert_eq!(counters.envelope("macp.mode.decision.v1", "Progress").message_type(), Some("Progress"));
    }

    #[test]
    fn registering_modes_without_end_makes_rows_to_a_limit() {
        let counters = learned();
        let long = "x".repeat(NAME + 1);
        for number in 0..1_000 {
            let types: Vec<String> = (0..1_000).map(|n| format!("T{n}")).chain([long.clone()]).collect();
            counters.modes.learn(&format!("ext.m{number}"), &types);
        }
        counters.modes.learn(&long, &[]);
        assert_eq!(counters.modes().count(), MODES + 2);
        assert!(counters.modes().all(|mode| mode.envelopes().count() <= TYPES + 1));
        assert_eq!(counters.envelope("ext.m0", "T0").message_type(), Some("T0"));
        assert_eq!(counters.envelope("ext.m999", "T0").message_type(), None);
    }

    #[test]
    fn lifetimes_are_of_the_transitions_that_end_a_session() {
        let counters = learned();
        counters.transition("macp.mode.task.v1", Transition::Cancel, Some(2_000));
        counters.transition("macp.mode.task.v1", Transition::Suspend, Some(2_000));
        let row = counters.modes.named("macp.mode.task.v1");
        assert_eq!(row.lifetimes(Transition::Cancel).map(|all| all.observed().count), Some(1));
        assert!(row.lifetimes(Transition::Suspend).is_none());
        assert_eq!(row.transitions(Transition::Suspend).get(), 1);
    }
}
