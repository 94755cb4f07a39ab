//! Random traffic of a session, legal and not, as proptest strategies.
//!
//! Every message comes from a small vocabulary, so that runs reach deep states often enough; faults come from
//! wrong senders, repeated ids, unreadable payloads, control calls out of turn and a clock that jumps.

use macp_wire::v1::SessionStartPayload;
use proptest::prelude::*;
use proptest::sample::select;

use super::message::{self, Message, decision};
use super::{A, B, INITIATOR, OUTSIDER, Script};
use crate::catalog::Catalog;
use crate::command::{Command, Control, ControlAction, Submission};
use crate::mode;

/// A start and what follows it.
#[derive(Clone, Debug)]
pub struct Traffic {
    /// The session's mode.
    pub mode: String,
    /// The start.
    pub start: SessionStartPayload,
    /// The rest, in order.
    pub steps: Vec<Step>,
}

/// A command and how far the clock moves before it, in milliseconds; negative when it goes backwards.
#[derive(Clone, Debug)]
pub struct Step {
    /// Movement of the clock.
    pub advance_ms: i64,
    /// What is asked.
    pub command: Command,
}

impl Traffic {
    /// The session after its start.
    #[must_use]
    pub fn begin(&self) -> Script {
        Script::started_with(&self.mode, catalog(), &self.start)
    }

    /// The session after everything.
    #[must_use]
    pub fn play(&self) -> Script {
        let mut script = self.begin();
        for step in &self.steps {
            script.now += step.advance_ms;
            // A refusal is as good an outcome as any here.
            let _ = script.run(&step.command);
        }
        script
    }
}

/// The registries that traffic runs under.
#[must_use]
pub fn catalog() -> Catalog {
    Catalog::built_in()
}

/// Traffic of any mode.
pub fn any_mode() -> impl Strategy<Value = Traffic> {
    let modes: Vec<String> = catalog().modes().map(|entry| entry.descriptor.mode.clone()).collect();
    select(modes).prop_flat_map(|mode| of_mode(&mode))
}

/// Traffic of one mode.
pub fn of_mode(mode: &str) -> impl Strategy<Value = Traffic> + use<> {
    let mode = mode.to_owned();
    (start(&mode), prop::collection::vec(step(&mode), 0..40)).prop_map(move |(start, steps)| Traffic {
        mode: mode.clone(),
        start,
        steps,
    })
}

fn start(mode: &str) -> impl Strategy<Value = SessionStartPayload> + use<> {
    let policies: Vec<String> = catalog()
        .policies()
        .filter(|policy| policy.binds_to(mode))
        .map(|policy| policy.id().to_owned())
        .collect();
    (select(policies), select(vec![0, 1, 500, 100_000])).prop_map(|(policy_version, max_suspend_ms)| {
        SessionStartPayload { policy_version, max_suspend_ms, ..message::start_payload() }
    })
}

fn step(mode: &str) -> impl Strategy<Value = Step> + use<> {
    let advance = prop_oneof![20 => 0_i64..60, 1 => -200_i64..0, 1 => 20_000_i64..70_000];
    let command = prop_oneof![30 => submission(mode), 2 => control(), 1 => Just(Command::Tick)];
    (advance, command).prop_map(|(advance_ms, command)| Step { advance_ms, command })
}

fn submission(mode: &str) -> impl Strategy<Value = Command> + use<> {
    let message = prop_oneof![
        40 => select(vocabulary(mode)),
        1 => select(vocabulary(mode)).prop_map(Message::garbled),
        1 => select(foreign()),
    ];
    let sender = prop_oneof![20 => select(vec![INITIATOR, A, B]), 1 => Just(OUTSIDER)];
    let session_mode = mode.to_owned();
    let mode = prop_oneof![40 => Just(session_mode), 1 => Just("macp.mode.other.v1".to_owned())];
    (message, sender, mode, 0..120_u32).prop_map(|(message, sender, mode, id)| {
        let envelope = message.envelope(&mode, sender, &format!("r{id}"));
        Command::Submit(Submission { envelope, within_open_sessions: true })
    })
}

fn control() -> impl Strategy<Value = Command> {
    let action =
        prop_oneof![Just(ControlAction::Suspend), Just(ControlAction::Resume), Just(ControlAction::Cancel)];
    let action = prop_oneof![1 => action.boxed(), 4 => select(vec![
        ControlAction::Suspend,
        ControlAction::Resume,
        ControlAction::Resume,
    ]).boxed()];
    (action, select(vec![INITIATOR, INITIATOR, A, OUTSIDER]))
        .prop_map(|(action, by)| Command::Control(Control { action, by: by.into(), reason: String::new() }))
}

/// Messages that belong to no mode or not here.
fn foreign() -> Vec<Message> {
    ["", "Nonsense", "Signal", "Progress", "SessionStart", "SessionCancel", "SessionSuspend", "SessionResume"]
        .map(|message_type| Message::new(message_type, Vec::new()))
        .into()
}

/// What is said in sessions of this mode; frequent words are listed several times.
fn vocabulary(mode: &str) -> Vec<Message> {
    let mut words = vec![message::commitment("it.selected", true), message::commitment("it.rejected", false)];
    #[allow(clippy::single_match, reason = "more modes follow")]
    match mode {
        mode::decision::MODE => {
            for id in ["p1", "p2"] {
                words.extend([
                    decision::proposal(id),
                    decision::proposal(id),
                    decision::evaluation(id, "APPROVE", 0.75),
                    decision::evaluation(id, "REVIEW", f64::NAN),
                    decision::objection(id, "critical"),
                    decision::objection(id, "Low"),
                    decision::vote(id, "APPROVE"),
                    decision::vote(id, "REJECT"),
                    decision::vote(id, "ABSTAIN"),
                ]);
            }
        }
        _ => {}
    }
    words
}
