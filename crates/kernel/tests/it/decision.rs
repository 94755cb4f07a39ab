//! Every rule of the Decision mode and its code (RFC-MACP-0007).

use macp_kernel::RefusalCode::{self, Forbidden, InvalidEnvelope};
use macp_kernel::session::Lifecycle;
use macp_kernel::testing::message::decision::{evaluation, objection, proposal, vote};
use macp_kernel::testing::message::{commitment, start_payload};
use macp_kernel::testing::{A, B, INITIATOR, Message, OUTSIDER, Script, projection};
use macp_kernel::{Catalog, mode};
use macp_wire::modes::decision::v1::ProposalPayload;
use macp_wire::v1::SessionStartPayload;
use prost::Message as _;
use serde_json::json;

fn after(messages: &[(&str, Message)]) -> Script {
    Script::started(mode::decision::MODE).after(messages)
}

fn proposed() -> Script {
    after(&[(A, proposal("p1"))])
}

fn voted() -> Script {
    after(&[(A, proposal("p1")), (A, proposal("p2")), (B, vote("p1", "APPROVE"))])
}

fn no_option(option: &str) -> Message {
    let payload = ProposalPayload {
        proposal_id: "p9".to_owned(),
        option: option.to_owned(),
        ..ProposalPayload::default()
    };
    Message::new("Proposal", payload.encode_to_vec())
}

#[test]
fn refusals() {
    let empty = || after(&[]);
    let cases: Vec<(&str, Script, &str, Message, RefusalCode)> = vec![
        ("outsiders say nothing", empty(), OUTSIDER, proposal("p1"), Forbidden),
        ("outsiders say nothing", proposed(), OUTSIDER, vote("p1", "APPROVE"), Forbidden),
        ("unknown type of a participant", empty(), A, Message::new("TaskAccept", vec![]), Forbidden),
        ("types are compared exactly", empty(), A, proposal("p1").named("proposal"), Forbidden),
        // Proposal
        ("Proposal does not decode", empty(), A, proposal("p1").garbled(), InvalidEnvelope),
        ("Proposal without payload", empty(), A, Message::new("Proposal", vec![]), InvalidEnvelope),
        ("blank proposal_id", empty(), A, proposal(" \u{2003}"), InvalidEnvelope),
        ("empty option", empty(), A, no_option(""), InvalidEnvelope),
        ("blank option", empty(), A, no_option("\t"), InvalidEnvelope),
        ("rule 1: used id", proposed(), B, proposal("p1"), InvalidEnvelope),
        ("rule 6: voting has begun", voted(), A, proposal("p3"), InvalidEnvelope),
        // Evaluation
        ("Evaluation does not decode", proposed(), A, evaluation("p1", "", 0.0).garbled(), InvalidEnvelope),
        ("nothing proposed", empty(), A, evaluation("p1", "APPROVE", 0.5), InvalidEnvelope),
        ("rule 2: unknown proposal", proposed(), A, evaluation("p2", "APPROVE", 0.5), InvalidEnvelope),
        ("rule 6: voting has begun", voted(), A, evaluation("p2", "APPROVE", 0.5), InvalidEnvelope),
        // Objection
        ("Objection does not decode", proposed(), A, objection("p1", "").garbled(), InvalidEnvelope),
        ("nothing proposed", empty(), A, objection("p1", "low"), InvalidEnvelope),
        ("unknown proposal", proposed(), A, objection("p2", "low"), InvalidEnvelope),
        ("rule 6: voting has begun", voted(), A, objection("p2", "critical"), InvalidEnvelope),
        // Vote
        ("Vote does not decode", proposed(), A, vote("p1", "").garbled(), InvalidEnvelope),
        ("nothing proposed", empty(), A, vote("p1", "APPROVE"), InvalidEnvelope),
        ("unknown proposal", proposed(), A, vote("p2", "APPROVE"), InvalidEnvelope),
        ("rule 3: the first vote stands", voted(), B, vote("p1", "REJECT"), InvalidEnvelope),
        // Commitment
        ("rule 5: nothing proposed", empty(), INITIATOR, commitment("x", true), InvalidEnvelope),
        ("rule 5: nothing proposed", empty(), INITIATOR, commitment("x", false), InvalidEnvelope),
    ];
    for (name, mut script, sender, message, code) in cases {
        let got = script.refuse(sender, &message, code);
        assert!(!got.message.is_empty(), "{name}");
    }
}

#[test]
fn words_are_exact() {
    for word in ["APPROVE", "REVIEW", "BLOCK", "REJECT"] {
        proposed().accept(A, &evaluation("p1", word, 0.5));
    }
    for word in ["", "approve", "Approve", " APPROVE", "ABSTAIN"] {
        proposed().refuse(A, &evaluation("p1", word, 0.5), InvalidEnvelope);
    }
    for word in ["low", "medium", "high", "critical"] {
        proposed().accept(A, &objection("p1", word));
    }
    for word in ["", "CRITICAL", "Low", "severe"] {
        proposed().refuse(A, &objection("p1", word), InvalidEnvelope);
    }
    for word in ["APPROVE", "REJECT", "ABSTAIN"] {
        proposed().accept(A, &vote("p1", word));
    }
    for word in ["", "approve", "Approve", "REVIEW"] {
        proposed().refuse(A, &vote("p1", word), InvalidEnvelope);
    }
}

#[test]
fn confidence_is_a_share() {
    for confidence in [0.0, -0.0, 0.5, 1.0] {
        proposed().accept(A, &evaluation("p1", "APPROVE", confidence));
    }
    for confidence in [-0.1, 1.0 + f64::EPSILON, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        proposed().refuse(A, &evaluation("p1", "APPROVE", confidence), InvalidEnvelope);
    }
}

#[test]
fn phases() {
    let mut script = after(&[]);
    let phase = |script: &Script| projection::mode_state(script.session())["phase"].clone();
    assert_eq!(phase(&script), "Proposal");
    script.accept(A, &proposal("p1"));
    assert_eq!(phase(&script), "Evaluation");
    // Proposing goes on, and a participant may evaluate and object more than once.
    script.accept(B, &proposal("p2"));
    for _ in 0..2 {
        script.accept(A, &evaluation("p1", "BLOCK", 1.0));
        script.accept(A, &objection("p1", "critical"));
    }
    assert_eq!(phase(&script), "Evaluation");
    script.accept(A, &vote("p1", "APPROVE"));
    assert_eq!(phase(&script), "Voting");
    // One vote on each proposal.
    script.accept(A, &vote("p2", "REJECT"));
    script.accept(B, &vote("p1", "ABSTAIN"));
    // Without a policy neither a veto nor the votes count: the outcome is taken at face value.
    script.accept(INITIATOR, &commitment("decision.selected", true));
    assert_eq!(phase(&script), "Committed");
    let votes = json!({
        "p1": { A: { "vote": "APPROVE" }, B: { "vote": "ABSTAIN" } }, "p2": { A: { "vote": "REJECT" } },
    });
    assert_eq!(projection::mode_state(script.session())["votes"], votes);
}

#[test]
fn one_proposal_is_enough_for_either_outcome() {
    for outcome_positive in [false, true] {
        let mut script = proposed();
        script.accept(INITIATOR, &commitment("x", outcome_positive));
        assert_eq!(script.lifecycle(), Lifecycle::Resolved);
    }
}

#[test]
fn an_empty_roster_makes_an_inert_session() {
    let payload = SessionStartPayload { participants: Vec::new(), ..start_payload() };
    let mut script = Script::started_with(mode::decision::MODE, Catalog::built_in(), &payload);
    for sender in [INITIATOR, A] {
        script.refuse(sender, &proposal("p1"), Forbidden);
    }
    script.refuse(INITIATOR, &commitment("x", true), InvalidEnvelope);
}
