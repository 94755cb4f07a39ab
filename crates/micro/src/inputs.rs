//! A message of each kind, with the session that it comes to, and texts of a usual length in it.

use macp_kernel::testing::{A, B, INITIATOR, Message, Script, message};
use macp_wire::v1::Envelope;

/// A message that is about to be sent.
pub(crate) struct Input {
    /// `mode-message`, for the names of steps.
    pub(crate) name: &'static str,
    /// The session before it.
    pub(crate) script: Script,
    sender: &'static str,
    message: Message,
}

impl Input {
    /// The message as an envelope; the number makes its id.
    pub(crate) fn envelope(&self, number: usize) -> Envelope {
        let id = format!("7f1d2c3e-{number:012}");
        let mut envelope = self.message.envelope(&self.script.mode, self.sender, &id);
        envelope.timestamp_unix_ms = 1_790_000_000_000;
        envelope
    }
}

/// One for each mode, and what is more than a message: a start and a commitment.
pub(crate) fn inputs() -> Vec<Input> {
    use message::{commitment, contribute, decision, handoff, proposal, quorum, task};
    let named = |mode: &str| format!("macp.mode.{mode}.v1");
    let begun = |mode: &str, before: &[(&str, Message)]| Script::started(&named(mode)).after(before);
    let voted = [
        (A, decision::proposal("p1")),
        (B, decision::evaluation("p1", "APPROVE", 0.9)),
        (A, decision::vote("p1", "APPROVE")),
        (B, decision::vote("p1", "APPROVE")),
    ];
    let majority =
        r#"{"voting":{"algorithm":"majority","threshold":0.5,"quorum":{"type":"count","value":2}}}"#;
    let policed = Script::policed(&named("decision"), majority).after(&voted);
    let mut commit = message::commitment_payload("decision.selected", true);
    commit.policy_version = macp_kernel::testing::POLICY.to_owned();
    vec![
        Input {
            name: "start",
            script: Script::new(&named("decision"), macp_kernel::Catalog::built_in()),
            sender: INITIATOR,
            message: message::start(&message::start_payload()),
        },
        Input {
            name: "decision-vote",
            script: begun("decision", &voted[..3]),
            sender: B,
            message: decision::vote("p1", "APPROVE"),
        },
        Input {
            name: "decision-commitment",
            script: begun("decision", &voted),
            sender: INITIATOR,
            message: commitment("decision.selected", true),
        },
        Input {
            name: "decision-commitment-policy",
            script: policed,
            sender: INITIATOR,
            message: message::commit(&commit),
        },
        Input {
            name: "proposal-counter",
            script: begun("proposal", &[(A, proposal::proposal("p1"))]),
            sender: B,
            message: proposal::counter_proposal("p2", "p1"),
        },
        Input {
            name: "task-update",
            script: begun("task", &[(INITIATOR, task::request("t1", A)), (A, task::accept("t1", A))]),
            sender: A,
            message: task::update("t1", 0.5),
        },
        Input {
            name: "handoff-context",
            script: begun("handoff", &[(INITIATOR, handoff::offer("h1", A))]),
            sender: INITIATOR,
            message: handoff::context("h1"),
        },
        Input {
            name: "quorum-approve",
            script: begun("quorum", &[(INITIATOR, quorum::request("r1", 2))]),
            sender: A,
            message: quorum::approve("r1"),
        },
        Input {
            name: "multi-round-contribute",
            script: Script::started("ext.multi_round.v1"),
            sender: A,
            message: contribute("forty-two"),
        },
    ]
}
