//! Random traffic of a session, legal and not, as proptest strategies.
//!
//! Every message comes from a small vocabulary, so that runs reach deep states often enough; faults come from
//! wrong senders, repeated ids, unreadable payloads, control calls out of turn and a clock that jumps.

use macp_wire::v1::SessionStartPayload;
use proptest::prelude::*;
use proptest::sample::select;

use super::message::{self, Message, decision, handoff, proposal, quorum, task};
use super::{A, B, INITIATOR, OUTSIDER, Script};
use crate::catalog::Catalog;
use crate::command::{Command, Control, ControlAction, Submission};
use crate::mode::{self, ModeKind};
use crate::policy::Policy;
use crate::time::UnixMillis;

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

/// A registered extension mode: `Note` and `Commitment`.
pub const EXTENSION_MODE: &str = "ext.test.notes.v1";

/// Policies that make modes do what their own rules do not.
const POLICIES: [(&str, &str, &str); 6] = [
    ("policy.test.decision", mode::decision::MODE, r#"{"voting":{"algorithm":"majority"}}"#),
    (
        "policy.test.proposal",
        mode::proposal::MODE,
        r#"{"acceptance":{"criterion":"counterparty"},"counter_proposal":{"max_rounds":1},
            "rejection":{"terminal_on_any_reject":true}}"#,
    ),
    (
        "policy.test.task",
        mode::task::MODE,
        r#"{"assignment":{"allow_reassignment_on_reject":true},"completion":{"require_output":true}}"#,
    ),
    ("policy.test.handoff", mode::handoff::MODE, r#"{"acceptance":{"implicit_accept_timeout_ms":150}}"#),
    ("policy.test.quorum", mode::quorum::MODE, r#"{"threshold":{"type":"percentage","value":34}}"#),
    ("policy.test.any", "*", r#"{"commitment":{"authority":"any_participant"}}"#),
];

/// The registries that traffic runs under: every built-in mode, [`EXTENSION_MODE`], and policies for all.
///
/// # Panics
/// Never: the policies and the mode are admitted.
#[must_use]
#[allow(clippy::expect_used, reason = "fixed inputs")]
pub fn catalog() -> Catalog {
    let catalog = Catalog::built_in()
        .with_mode(message::extension_mode(EXTENSION_MODE), ModeKind::Passthrough)
        .expect("the mode is admitted");
    POLICIES.iter().fold(catalog, |catalog, (id, mode, rules)| {
        let policy = Policy::admit(message::policy(id, mode, rules), UnixMillis(0));
        catalog.with_policy(policy.expect("the policy is admitted")).expect("the id is free")
    })
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
        Command::Submit(Submission { envelope: envelope.into(), within_open_sessions: true })
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
    let mut words = match mode {
        mode::decision::MODE => ["p1", "p2"].into_iter().flat_map(decision_words).collect(),
        mode::proposal::MODE => ["p1", "p2", "p3"].into_iter().flat_map(proposal_words).collect(),
        mode::task::MODE => task_words(),
        mode::handoff::MODE => ["h1", "h2", "h3"].into_iter().flat_map(handoff_words).collect(),
        mode::quorum::MODE => vec![
            quorum::request("r1", 2),
            quorum::request("r1", 3),
            quorum::request("r1", 4),
            quorum::approve("r1"),
            quorum::reject("r1"),
            quorum::abstain("r1"),
            quorum::approve("r2"),
        ],
        mode::multi_round::MODE => vec![
            message::contribute("x"),
            message::contribute("x"),
            message::contribute("y"),
            message::contribute(""),
            Message::new("Contribute", r#"{"value":"x"}"#),
        ],
        _ => {
            let mut words = vec![Message::new("Note", "anything"); 8];
            words.push(Message::new("Unlisted", "anything"));
            words
        }
    };
    words.push(message::commitment("it.selected", true));
    words.push(message::commitment("it.rejected", false));
    words
}

fn decision_words(id: &str) -> Vec<Message> {
    vec![
        decision::proposal(id),
        decision::proposal(id),
        decision::evaluation(id, "APPROVE", 0.75),
        decision::evaluation(id, "REVIEW", f64::NAN),
        decision::objection(id, "critical"),
        decision::objection(id, "Low"),
        decision::vote(id, "APPROVE"),
        decision::vote(id, "REJECT"),
        decision::vote(id, "ABSTAIN"),
    ]
}

fn proposal_words(id: &str) -> Vec<Message> {
    vec![
        proposal::proposal(id),
        proposal::counter_proposal(id, "p1"),
        proposal::accept(id),
        proposal::accept("p1"),
        proposal::reject(id, false),
        proposal::reject(id, true),
        proposal::withdraw(id),
    ]
}

fn task_words() -> Vec<Message> {
    vec![
        task::request("t1", ""),
        task::request("t1", ""),
        task::request("t1", A),
        task::request("t1", A),
        task::accept("t1", ""),
        task::accept("t1", ""),
        task::accept("t1", ""),
        task::accept("t1", A),
        task::accept("t2", ""),
        task::reject("t1", ""),
        task::update("t1", 0.5),
        task::update("t1", f64::NAN),
        task::complete("t1", "", b"output"),
        task::complete("t1", "", b""),
        task::fail("t1", B),
        task::fail("t1", ""),
    ]
}

fn handoff_words(id: &str) -> Vec<Message> {
    vec![
        handoff::offer(id, A),
        handoff::offer(id, B),
        handoff::offer(id, A),
        handoff::context(id),
        handoff::accept(id, ""),
        handoff::decline(id, ""),
        handoff::decline(id, A),
        handoff::implicit_accept(id, A),
    ]
}
