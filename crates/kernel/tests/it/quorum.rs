//! Every rule of the Quorum mode and its code (RFC-MACP-0011).

use macp_kernel::Catalog;
use macp_kernel::RefusalCode::{self, Forbidden, InvalidEnvelope, PolicyDenied};
use macp_kernel::mode::quorum::MODE;
use macp_kernel::session::Lifecycle;
use macp_kernel::testing::message::quorum::{abstain, approve, reject, request};
use macp_kernel::testing::message::{commitment, start, start_payload};
use macp_kernel::testing::{A, B, INITIATOR, Message, OUTSIDER, POLICY, Script, policed};
use macp_wire::v1::SessionStartPayload;

fn after(messages: &[(&str, Message)]) -> Script {
    Script::started(MODE).after(messages)
}

fn requested() -> Script {
    after(&[(INITIATOR, request("r1", 2))])
}

#[test]
fn starts() {
    let payload = SessionStartPayload { participants: Vec::new(), ..start_payload() };
    Script::new(MODE, Catalog::built_in()).refuse(INITIATOR, &start(&payload), InvalidEnvelope);
}

#[test]
fn refusals() {
    let empty = || after(&[]);
    let cases: Vec<(&str, Script, &str, Message, RefusalCode)> = vec![
        ("outsider", requested(), OUTSIDER, approve("r1"), Forbidden),
        ("unknown type", empty(), A, Message::new("Vote", vec![]), InvalidEnvelope),
        // ApprovalRequest
        ("not the initiator", empty(), A, request("r1", 1), Forbidden),
        ("decodes", empty(), INITIATOR, request("r1", 1).garbled(), InvalidEnvelope),
        ("rule 1: one request", requested(), INITIATOR, request("r2", 1), InvalidEnvelope),
        ("empty id", empty(), INITIATOR, request("", 1), InvalidEnvelope),
        ("rule 2: none required", empty(), INITIATOR, request("r1", 0), InvalidEnvelope),
        ("rule 2: more than there are", empty(), INITIATOR, request("r1", 4), InvalidEnvelope),
        ("rule 2: far more", empty(), INITIATOR, request("r1", u32::MAX), InvalidEnvelope),
        // Ballots
        ("decodes", requested(), A, approve("r1").garbled(), InvalidEnvelope),
        ("decodes", requested(), A, reject("r1").garbled(), InvalidEnvelope),
        ("decodes", requested(), A, abstain("r1").garbled(), InvalidEnvelope),
        ("nothing requested", empty(), A, approve("r1"), InvalidEnvelope),
        ("nothing requested", empty(), A, approve(""), InvalidEnvelope),
        ("another request", requested(), A, reject("r2"), InvalidEnvelope),
        ("rule 3: one ballot", requested().after(&[(A, approve("r1"))]), A, approve("r1"), InvalidEnvelope),
        ("rule 3: of any type", requested().after(&[(A, abstain("r1"))]), A, reject("r1"), InvalidEnvelope),
        // Commitment
        ("no authority", requested(), A, commitment("x", true), Forbidden),
        ("nothing requested", empty(), INITIATOR, commitment("x", false), InvalidEnvelope),
        ("undecided", requested(), INITIATOR, commitment("x", true), InvalidEnvelope),
        ("undecided", requested(), INITIATOR, commitment("x", false), InvalidEnvelope),
    ];
    for (index, (name, mut script, sender, message, code)) in cases.into_iter().enumerate() {
        let refusal = script.refuse(sender, &message, code);
        assert!(!refusal.message.is_empty(), "{index}: {name}");
    }
}

/// Three voters, two needed: when the outcome is ready, for either polarity.
#[test]
fn readiness() {
    for (ballots, ready) in [
        (vec![], false),
        (vec![(A, approve("r1"))], false),
        (vec![(A, approve("r1")), (B, approve("r1"))], true),
        (vec![(A, reject("r1"))], false),
        (vec![(A, reject("r1")), (B, reject("r1"))], true),
        // An abstention removes a potential approver.
        (vec![(A, abstain("r1")), (B, reject("r1"))], true),
        (vec![(A, abstain("r1")), (B, abstain("r1"))], true),
        (vec![(A, approve("r1")), (B, reject("r1"))], false),
        (vec![(A, approve("r1")), (B, abstain("r1")), (INITIATOR, abstain("r1"))], true),
    ] {
        for outcome_positive in [false, true] {
            let mut script = requested().after(&ballots);
            if ready {
                // Without a threshold in the policy the polarity is the committer's business.
                script.accept(INITIATOR, &commitment("x", outcome_positive));
                assert_eq!(script.lifecycle(), Lifecycle::Resolved);
            } else {
                script.refuse(INITIATOR, &commitment("x", outcome_positive), InvalidEnvelope);
            }
        }
    }
}

#[test]
fn ballots_are_welcome_after_the_decision() {
    let mut script = requested().after(&[(A, approve("r1")), (B, approve("r1")), (INITIATOR, reject("r1"))]);
    script.accept(INITIATOR, &commitment("x", true));
}

#[test]
fn an_unlisted_initiator_has_no_ballot() {
    let payload = SessionStartPayload { participants: vec![A.to_owned(), B.to_owned()], ..start_payload() };
    let mut script =
        Script::started_with(MODE, Catalog::built_in(), &payload).after(&[(INITIATOR, request("r1", 2))]);
    script.refuse(INITIATOR, &approve("r1"), Forbidden);
    // Two voters, both needed: one reject settles it.
    script.accept(A, &reject("r1"));
    script.accept(INITIATOR, &commitment("x", false));
}

fn under(rules: &str, required_approvals: u32) -> Script {
    Script::policed(MODE, rules).after(&[(INITIATOR, request("r1", required_approvals))])
}

#[test]
fn a_policys_threshold_replaces_the_requests() {
    let two = r#"{"threshold":{"type":"n_of_m","value":2}}"#;
    let mut script = under(two, 1).after(&[(A, approve("r1"))]);
    script.refuse(INITIATOR, &commitment("x", true), InvalidEnvelope);
    script.accept(B, &approve("r1"));
    script.accept(INITIATOR, &commitment("x", true));
    // 34 % of three is two (rounded up), 33 % is one.
    let mut script =
        under(r#"{"threshold":{"type":"percentage","value":34}}"#, 3).after(&[(A, approve("r1"))]);
    script.refuse(INITIATOR, &commitment("x", true), InvalidEnvelope);
    let mut script =
        under(r#"{"threshold":{"type":"percentage","value":33}}"#, 3).after(&[(A, approve("r1"))]);
    script.accept(INITIATOR, &commitment("x", true));
    // The request's own number is checked although it is replaced.
    Script::policed(MODE, two).refuse(INITIATOR, &request("r1", 4), InvalidEnvelope);
}

#[test]
fn a_threshold_out_of_reach_is_decided_at_once() {
    let mut script = under(r#"{"threshold":{"type":"n_of_m","value":4}}"#, 1);
    let refusal = script.refuse(INITIATOR, &commitment("x", true), PolicyDenied);
    let details: serde_json::Value = serde_json::from_slice(&refusal.details).unwrap();
    assert_eq!(details["denials"][0]["code"], "threshold_not_met");
    script.accept(INITIATOR, &commitment("x", false));
}

#[test]
fn a_positive_outcome_needs_the_policys_threshold() {
    let mut script = under(r#"{"threshold":{"type":"n_of_m","value":2}}"#, 1)
        .after(&[(A, reject("r1")), (B, abstain("r1"))]);
    script.refuse(INITIATOR, &commitment("x", true), PolicyDenied);
    script.accept(INITIATOR, &commitment("x", false));
}

#[test]
fn committing_by_policy() {
    let rules = r#"{"commitment":{"authority":"any_participant"}}"#;
    let payload = SessionStartPayload { policy_version: POLICY.to_owned(), ..start_payload() };
    let mut script = Script::started_with(MODE, policed("*", rules), &payload)
        .after(&[(INITIATOR, request("r1", 1)), (A, approve("r1"))]);
    script.refuse(OUTSIDER, &commitment("x", true), Forbidden);
    script.accept(B, &commitment("x", true));
}
