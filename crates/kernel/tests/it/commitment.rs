//! What every `Commitment` must satisfy, whatever the mode (RFC-MACP-0001 §7.3).

use macp_kernel::RefusalCode::{Forbidden, InvalidEnvelope};
use macp_kernel::session::Lifecycle;
use macp_kernel::testing::message::{commit, commitment, commitment_payload, decision, start_payload};
use macp_kernel::testing::{A, INITIATOR, Message, OUTSIDER, Script};
use macp_kernel::{Catalog, mode};
use macp_wire::v1::{CommitmentPayload, CommitmentRef, SessionStartPayload};

/// A session that needs nothing but a commitment.
fn ready() -> Script {
    let mut script = Script::started(mode::decision::MODE);
    script.accept(A, &decision::proposal("p1"));
    script
}

const HASH: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn superseding(session_id: &str, commitment_hash: &str) -> CommitmentPayload {
    let supersedes =
        CommitmentRef { session_id: session_id.to_owned(), commitment_hash: commitment_hash.to_owned() };
    CommitmentPayload { supersedes: Some(supersedes), ..commitment_payload("x", true) }
}

#[test]
fn refused_payloads() {
    let refuse = |message: &Message| {
        let mut script = ready();
        script.refuse(INITIATOR, message, InvalidEnvelope);
        // The session stays open and a good commitment is welcome.
        script.accept(INITIATOR, &commitment("decision.selected", true));
    };
    refuse(&commitment("x", true).garbled());
    refuse(&Message::new("Commitment", Vec::new()));
    type Spoil = fn(&mut CommitmentPayload);
    let spoils: [Spoil; 11] = [
        |p| p.commitment_id.clear(),
        |p| p.commitment_id = " \u{2003}\t".to_owned(),
        |p| p.action.clear(),
        |p| p.authority_scope = " ".to_owned(),
        |p| p.reason.clear(),
        |p| p.mode_version.clear(),
        |p| p.mode_version = "1.0.1".to_owned(),
        |p| p.configuration_version.clear(),
        |p| p.configuration_version = "CFG-1".to_owned(),
        |p| p.policy_version = "policy.other".to_owned(),
        |p| p.policy_version = " ".to_owned(),
    ];
    for spoil in spoils {
        let mut payload = commitment_payload("x", true);
        spoil(&mut payload);
        refuse(&commit(&payload));
    }
    for (session_id, hash) in [
        ("", HASH),
        (" ", HASH),
        ("s", ""),
        ("s", &HASH[7..]),
        ("s", &HASH[..70]),
        ("s", &format!("{HASH}0")),
        ("s", &format!(" {HASH}")),
        ("s", &HASH.to_uppercase()),
        ("s", &HASH.replace('a', "A")),
        ("s", &HASH.replace('a', "g")),
    ] {
        refuse(&commit(&superseding(session_id, hash)));
    }
}

#[test]
fn accepted_payloads() {
    for payload in [
        commitment_payload("x", true),
        commitment_payload("x", false),
        CommitmentPayload { policy_version: "policy.default".to_owned(), ..commitment_payload("x", true) },
        superseding("some other session", HASH),
    ] {
        let mut script = ready();
        script.accept(INITIATOR, &commit(&payload));
        assert_eq!(script.lifecycle(), Lifecycle::Resolved);
        assert_eq!(script.session().resolution, Some(commit(&payload).payload), "verbatim");
    }
}

#[test]
fn action_endings_fix_the_polarity() {
    for (action, polarity) in [
        ("decision.rejected", Some(false)),
        ("failed", Some(false)),
        ("handoff.declined", Some(false)),
        ("selected", Some(true)),
        ("unaccepted", Some(true)),
        ("task.completed", Some(true)),
        ("disapproved", Some(true)),
        ("Rejected", None),
        ("rejected.", None),
        ("rejected ", None),
        ("done", None),
    ] {
        for outcome_positive in [false, true] {
            let reply = ready().send(INITIATOR, &commitment(action, outcome_positive));
            let ok = polarity.is_none_or(|polarity| polarity == outcome_positive);
            assert_eq!(reply.map_err(|refusal| refusal.code).is_ok(), ok, "{action} {outcome_positive}");
        }
    }
}

/// The order of the checks shows in the texts: each fault wins over all later ones.
#[test]
fn faults_in_order() {
    let mut payload = CommitmentPayload { policy_version: "other".to_owned(), ..superseding(" ", "none") };
    payload.commitment_id.clear();
    payload.action.clear();
    payload.mode_version.clear();
    payload.configuration_version.clear();
    let mut script = Script::started(mode::decision::MODE);
    let mut said =
        |payload: &CommitmentPayload| script.refuse(INITIATOR, &commit(payload), InvalidEnvelope).message;
    assert!(said(&payload).contains("commitment_id"));
    payload.commitment_id = "c".to_owned();
    assert!(said(&payload).contains("action"));
    payload.action = "x.rejected".to_owned();
    assert!(said(&payload).contains("mode_version"));
    payload.mode_version = "1.0.0".to_owned();
    assert!(said(&payload).contains("configuration_version"));
    payload.configuration_version = "cfg-1".to_owned();
    assert!(said(&payload).contains("policy_version"));
    payload.policy_version.clear();
    assert!(said(&payload).contains("supersedes.session_id"));
    payload.supersedes.as_mut().unwrap().session_id = "s".to_owned();
    assert!(said(&payload).contains("supersedes.commitment_hash"));
    payload.supersedes = None;
    assert!(said(&payload).contains("outcome_positive"));
    payload.outcome_positive = false;
    assert!(said(&payload).contains("proposed"), "only then the mode's own eligibility");
}

#[test]
fn only_the_initiator_commits_by_default() {
    for sender in [A, OUTSIDER] {
        let mut script = ready();
        script.refuse(sender, &commitment("x", true), Forbidden);
        // Authority is judged before the payload is read.
        script.refuse(sender, &commitment("x", true).garbled(), Forbidden);
    }
}

#[test]
fn an_initiator_need_not_take_part() {
    let payload = SessionStartPayload { participants: vec![A.to_owned()], ..start_payload() };
    let mut script = Script::started_with(mode::decision::MODE, Catalog::built_in(), &payload);
    script.refuse(INITIATOR, &decision::proposal("p1"), Forbidden);
    script.accept(A, &decision::proposal("p1"));
    script.accept(INITIATOR, &commitment("x", true));
    assert_eq!(script.lifecycle(), Lifecycle::Resolved);
}
