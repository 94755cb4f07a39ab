//! Every rule of the Proposal mode and its code (RFC-MACP-0008).

use macp_kernel::Catalog;
use macp_kernel::RefusalCode::{self, Forbidden, InvalidEnvelope};
use macp_kernel::mode::proposal::MODE;
use macp_kernel::session::Lifecycle;
use macp_kernel::testing::message::proposal::{accept, counter_proposal, proposal, reject, withdraw};
use macp_kernel::testing::message::{commitment, start, start_payload};
use macp_kernel::testing::{A, B, INITIATOR, Message, OUTSIDER, Script, projection};
use macp_wire::v1::SessionStartPayload;
use serde_json::json;

fn after(messages: &[(&str, Message)]) -> Script {
    Script::started(MODE).after(messages)
}

fn offered() -> Script {
    after(&[(A, proposal("p1"))])
}

fn withdrawn() -> Script {
    after(&[(A, proposal("p1")), (A, withdraw("p1"))])
}

fn phase(script: &Script) -> String {
    projection::mode_state(script.session())["phase"].as_str().unwrap().to_owned()
}

#[test]
fn starts() {
    let payload = SessionStartPayload { participants: Vec::new(), ..start_payload() };
    Script::new(MODE, Catalog::built_in()).refuse(INITIATOR, &start(&payload), InvalidEnvelope);
}

#[test]
fn refusals() {
    let empty = || after(&[]);
    let commit = commitment("x", true);
    let cases: Vec<(&str, Script, &str, Message, RefusalCode)> = vec![
        ("outsider", empty(), OUTSIDER, proposal("p1"), Forbidden),
        ("outsider, unknown type", empty(), OUTSIDER, Message::new("Vote", vec![]), Forbidden),
        ("participant, unknown type", empty(), A, Message::new("Vote", vec![]), InvalidEnvelope),
        // Proposal
        ("decodes", empty(), A, proposal("p1").garbled(), InvalidEnvelope),
        ("blank id", empty(), A, proposal(" \u{2003}"), InvalidEnvelope),
        ("used id", offered(), B, proposal("p1"), InvalidEnvelope),
        ("withdrawn id", withdrawn(), A, proposal("p1"), InvalidEnvelope),
        // CounterProposal
        ("decodes", offered(), B, counter_proposal("p2", "p1").garbled(), InvalidEnvelope),
        ("blank id", offered(), B, counter_proposal(" ", "p1"), InvalidEnvelope),
        ("blank superseded id", offered(), B, counter_proposal("p2", " "), InvalidEnvelope),
        ("used id", offered(), B, counter_proposal("p1", "p1"), InvalidEnvelope),
        ("unknown superseded id", offered(), B, counter_proposal("p2", "p9"), InvalidEnvelope),
        // Accept
        ("decodes", offered(), B, accept("p1").garbled(), InvalidEnvelope),
        ("unknown", offered(), B, accept("p2"), InvalidEnvelope),
        ("empty", offered(), B, Message::new("Accept", vec![]), InvalidEnvelope),
        ("withdrawn", withdrawn(), B, accept("p1"), InvalidEnvelope),
        // Reject
        ("decodes", offered(), B, reject("p1", true).garbled(), InvalidEnvelope),
        ("unknown", offered(), B, reject("p2", true), InvalidEnvelope),
        ("withdrawn", withdrawn(), B, reject("p1", false), InvalidEnvelope),
        // Withdraw
        ("decodes", offered(), A, withdraw("p1").garbled(), InvalidEnvelope),
        ("blank id", offered(), A, withdraw(" "), InvalidEnvelope),
        ("unknown, whoever asks", offered(), B, withdraw("p2"), InvalidEnvelope),
        ("not the author", offered(), B, withdraw("p1"), Forbidden),
        ("not even the initiator", offered(), INITIATOR, withdraw("p1"), Forbidden),
        ("not the author, withdrawn", withdrawn(), B, withdraw("p1"), Forbidden),
        ("withdrawn", withdrawn(), A, withdraw("p1"), InvalidEnvelope),
        // Commitment
        ("no authority", offered(), A, commit.clone(), Forbidden),
        ("nothing there", empty(), INITIATOR, commit.clone(), InvalidEnvelope),
        ("nothing agreed", offered(), INITIATOR, commit.clone(), InvalidEnvelope),
        ("nothing agreed", offered(), INITIATOR, commitment("x", false), InvalidEnvelope),
    ];
    for (index, (name, mut script, sender, message, code)) in cases.into_iter().enumerate() {
        let refusal = script.refuse(sender, &message, code);
        assert!(!refusal.message.is_empty(), "{index}: {name}");
    }
}

#[test]
fn all_parties_accept_explicitly() {
    let mut script = offered();
    for sender in [B, INITIATOR] {
        script.accept(sender, &accept("p1"));
        assert_eq!(phase(&script), "Negotiating", "the proposer has not accepted its own offer");
    }
    script.accept(A, &accept("p1"));
    assert_eq!(phase(&script), "Converged");
    // A changed mind replaces the earlier accept.
    script.accept(B, &proposal("p2"));
    script.accept(B, &accept("p2"));
    assert_eq!(phase(&script), "Negotiating");
    script.accept(B, &accept("p1"));
    script.accept(INITIATOR, &commitment("proposal.accepted", true));
    assert_eq!((phase(&script).as_str(), script.lifecycle()), ("Committed", Lifecycle::Resolved));
    assert_eq!(
        projection::mode_state(script.session())["accepts"],
        json!({ A: "p1", B: "p1", INITIATOR: "p1" })
    );
}

#[test]
fn withdrawing_undoes_agreement() {
    let mut script = offered().after(&[(A, accept("p1")), (B, accept("p1")), (INITIATOR, accept("p1"))]);
    script.accept(B, &counter_proposal("p2", "p1"));
    assert_eq!(phase(&script), "Converged", "a superseded proposal stays on the table");
    script.accept(A, &withdraw("p1"));
    assert_eq!(phase(&script), "Negotiating");
    let state = projection::mode_state(script.session());
    assert_eq!(state["accepts"], json!({}));
    assert_eq!(state["proposals"]["p1"]["disposition"], "Withdrawn");
    // A withdrawn proposal may be countered.
    script.accept(B, &counter_proposal("p3", "p1"));
}

#[test]
fn a_terminal_reject_dominates_until_its_proposal_is_withdrawn() {
    let mut script = offered().after(&[(A, accept("p1")), (B, accept("p1")), (INITIATOR, accept("p1"))]);
    script.accept(B, &reject("p1", false));
    assert_eq!(phase(&script), "Converged", "a plain reject does not take the accept back");
    script.accept(B, &reject("p1", true));
    assert_eq!(phase(&script), "TerminalRejected");
    // Messages go on, and an accept does not take the reject back.
    script.accept(B, &accept("p1"));
    script.accept(B, &proposal("p2"));
    script.accept(A, &reject("p2", true));
    assert_eq!(phase(&script), "TerminalRejected");
    for outcome_positive in [false, true] {
        // The polarity is the committer's business.
        script.clone().accept(INITIATOR, &commitment("x", outcome_positive));
    }
    script.accept(A, &withdraw("p1"));
    assert_eq!(phase(&script), "TerminalRejected", "the other one stands");
    script.accept(B, &withdraw("p2"));
    assert_eq!(phase(&script), "Negotiating");
    script.refuse(INITIATOR, &commitment("x", false), InvalidEnvelope);
}

#[test]
fn criteria() {
    let counterparty = r#"{"acceptance":{"criterion":"counterparty"}}"#;
    let initiator = r#"{"acceptance":{"criterion":"initiator"}}"#;
    for (rules, accepting, converged) in [
        ("{}", vec![B, INITIATOR], false),
        (counterparty, vec![B, INITIATOR], true),
        (counterparty, vec![A, B], false),
        (initiator, vec![A, B], false),
        (initiator, vec![INITIATOR], true),
    ] {
        let mut script = Script::policed(MODE, rules).after(&[(A, proposal("p1"))]);
        for sender in &accepting {
            script.accept(sender, &accept("p1"));
        }
        assert_eq!(phase(&script) == "Converged", converged, "{rules} {accepting:?}");
    }
}

#[test]
fn a_lone_participant_is_its_own_counterparty() {
    let rules = r#"{"acceptance":{"criterion":"counterparty"}}"#;
    let payload = SessionStartPayload {
        participants: vec![A.to_owned()],
        policy_version: macp_kernel::testing::POLICY.to_owned(),
        ..start_payload()
    };
    let script = Script::started_with(MODE, macp_kernel::testing::policed(MODE, rules), &payload)
        .after(&[(A, proposal("p1"))]);
    assert_eq!(phase(&script), "Converged", "vacuously");
}

#[test]
fn counter_proposals_are_capped_by_policy() {
    let mut script = Script::policed(MODE, r#"{"counter_proposal":{"max_rounds":2}}"#).after(&[
        (A, proposal("p1")),
        (B, counter_proposal("p2", "p1")),
        (B, withdraw("p2")),
    ]);
    script.accept(A, &counter_proposal("p3", "p2"));
    // Withdrawn ones count; and it is no denial.
    script.refuse(B, &counter_proposal("p4", "p3"), InvalidEnvelope);
    script.accept(B, &proposal("p5"));
}

#[test]
fn any_reject_may_be_terminal_by_policy() {
    let script = Script::policed(MODE, r#"{"rejection":{"terminal_on_any_reject":true}}"#)
        .after(&[(A, proposal("p1")), (B, reject("p1", false))]);
    assert_eq!(phase(&script), "TerminalRejected");
}
