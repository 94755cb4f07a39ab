//! Every rule of the Task mode and its code (RFC-MACP-0009).

use macp_kernel::Catalog;
use macp_kernel::RefusalCode::{self, Forbidden, InvalidEnvelope, PolicyDenied};
use macp_kernel::mode::ModeState;
use macp_kernel::mode::task::MODE;
use macp_kernel::session::Lifecycle;
use macp_kernel::testing::message::task::{accept, complete, fail, reject, request, update};
use macp_kernel::testing::message::{commitment, start, start_payload};
use macp_kernel::testing::{A, B, INITIATOR, Message, OUTSIDER, Script};
use macp_wire::v1::SessionStartPayload;

const REASSIGN: &str = r#"{"assignment":{"allow_reassignment_on_reject":true}}"#;

fn after(messages: &[(&str, Message)]) -> Script {
    Script::started(MODE).after(messages)
}

/// A task that anyone may take on.
fn open() -> Script {
    after(&[(INITIATOR, request("t1", ""))])
}

/// A task that [`A`] is asked to take on.
fn named() -> Script {
    after(&[(INITIATOR, request("t1", A))])
}

fn at_work() -> Script {
    named().after(&[(A, accept("t1", ""))])
}

fn reported() -> Script {
    at_work().after(&[(A, complete("t1", "", b""))])
}

fn assignee(script: &Script) -> Option<&str> {
    match &script.session().mode_state {
        ModeState::Task(state) => state.active_assignee.as_deref(),
        _ => panic!("another mode"),
    }
}

#[test]
fn starts() {
    for (participants, ok) in
        [(vec![], false), (vec![INITIATOR], false), (vec![A], true), (vec![INITIATOR, A], true)]
    {
        let payload = SessionStartPayload {
            participants: participants.iter().map(|p| (*p).to_owned()).collect(),
            ..start_payload()
        };
        let mut script = Script::new(MODE, Catalog::built_in());
        if ok {
            script.accept(INITIATOR, &start(&payload));
        } else {
            script.refuse(INITIATOR, &start(&payload), InvalidEnvelope);
        }
    }
}

#[test]
fn refusals() {
    let empty = || after(&[]);
    let cases: Vec<(&str, Script, &str, Message, RefusalCode)> = vec![
        ("outsider", open(), OUTSIDER, accept("t1", ""), Forbidden),
        ("unknown type", open(), A, Message::new("Vote", vec![]), InvalidEnvelope),
        // TaskRequest
        ("not the initiator", empty(), A, request("t1", ""), Forbidden),
        ("not the initiator, not readable", empty(), A, request("t1", "").garbled(), Forbidden),
        ("decodes", empty(), INITIATOR, request("t1", "").garbled(), InvalidEnvelope),
        ("rule 1: one task", open(), INITIATOR, request("t2", ""), InvalidEnvelope),
        ("empty id", empty(), INITIATOR, request("", ""), InvalidEnvelope),
        ("unknown assignee", empty(), INITIATOR, request("t1", OUTSIDER), InvalidEnvelope),
        // TaskAccept
        ("decodes", open(), A, accept("t1", "").garbled(), InvalidEnvelope),
        ("no task", empty(), A, accept("t1", ""), InvalidEnvelope),
        ("another task", open(), A, accept("t2", ""), InvalidEnvelope),
        ("rule 3a: assigned", at_work(), A, accept("t1", ""), InvalidEnvelope),
        ("rule 3a before eligibility", at_work(), B, accept("t1", ""), InvalidEnvelope),
        ("rule 2a: declined", open().after(&[(A, reject("t1", ""))]), A, accept("t1", ""), InvalidEnvelope),
        ("for someone else", open(), A, accept("t1", B), InvalidEnvelope),
        ("for someone else before eligibility", named(), B, accept("t1", A), InvalidEnvelope),
        ("not asked", named(), B, accept("t1", ""), Forbidden),
        ("an open task is not the initiator's", open(), INITIATOR, accept("t1", ""), Forbidden),
        // TaskReject
        ("decodes", open(), A, reject("t1", "").garbled(), InvalidEnvelope),
        ("no task", empty(), A, reject("t1", ""), InvalidEnvelope),
        ("another task", open(), A, reject("t2", ""), InvalidEnvelope),
        ("assigned, no policy", at_work(), A, reject("t1", ""), PolicyDenied),
        ("policy before the assignee field", at_work(), A, reject("t1", B), PolicyDenied),
        ("assigned to another", at_work(), B, reject("t1", ""), InvalidEnvelope),
        ("for someone else", named(), A, reject("t1", B), InvalidEnvelope),
        ("not asked", named(), B, reject("t1", ""), Forbidden),
        ("the initiator of an open task", open(), INITIATOR, reject("t1", ""), Forbidden),
        ("twice", named().after(&[(A, reject("t1", ""))]), A, reject("t1", ""), InvalidEnvelope),
        // TaskUpdate
        ("decodes", at_work(), A, update("t1", 0.5).garbled(), InvalidEnvelope),
        ("no task", empty(), A, update("t1", 0.5), InvalidEnvelope),
        ("another task", at_work(), A, update("t2", 0.5), InvalidEnvelope),
        ("not assigned", named(), A, update("t1", 0.5), Forbidden),
        ("assigned to another", at_work(), B, update("t1", 0.5), Forbidden),
        ("reported", reported(), A, update("t1", 0.5), Forbidden),
        // TaskComplete, TaskFail
        ("decodes", at_work(), A, complete("t1", "", b"").garbled(), InvalidEnvelope),
        ("decodes", at_work(), A, fail("t1", "").garbled(), InvalidEnvelope),
        ("no task", empty(), A, complete("t1", "", b""), InvalidEnvelope),
        ("no task", empty(), A, fail("t1", ""), InvalidEnvelope),
        ("another task", at_work(), A, complete("t2", "", b""), InvalidEnvelope),
        ("not assigned", named(), A, complete("t1", "", b""), Forbidden),
        ("assigned to another", at_work(), B, fail("t1", ""), Forbidden),
        ("assigned to another, for it", at_work(), B, fail("t1", A), Forbidden),
        ("for someone else", at_work(), A, complete("t1", B, b""), InvalidEnvelope),
        ("for someone else", at_work(), A, fail("t1", B), InvalidEnvelope),
        ("reported", reported(), A, fail("t1", ""), Forbidden),
        ("reported", reported(), A, complete("t1", "", b""), Forbidden),
        ("nobody else takes it on", reported(), B, accept("t1", ""), InvalidEnvelope),
        // Commitment
        ("no authority", reported(), A, commitment("x", true), Forbidden),
        ("no task", empty(), INITIATOR, commitment("x", false), InvalidEnvelope),
        ("no report", at_work(), INITIATOR, commitment("x", true), InvalidEnvelope),
        ("no report", at_work(), INITIATOR, commitment("x", false), InvalidEnvelope),
        (
            "a decline is no success",
            named().after(&[(A, reject("t1", ""))]),
            INITIATOR,
            commitment("x", true),
            InvalidEnvelope,
        ),
        (
            "an open task has no declined end",
            open().after(&[(A, reject("t1", "")), (B, reject("t1", ""))]),
            INITIATOR,
            commitment("x", false),
            InvalidEnvelope,
        ),
    ];
    for (index, (name, mut script, sender, message, code)) in cases.into_iter().enumerate() {
        let refusal = script.refuse(sender, &message, code);
        assert!(!refusal.message.is_empty(), "{index}: {name}");
    }
}

#[test]
fn a_denied_reassignment_says_so() {
    let refusal = at_work().refuse(A, &reject("t1", ""), PolicyDenied);
    let details: serde_json::Value = serde_json::from_slice(&refusal.details).unwrap();
    assert_eq!(details["denials"][0]["code"], "reassignment_not_allowed");
}

#[test]
fn a_report_ends_the_work_either_way() {
    for report in [complete("t1", A, b"output"), fail("t1", A)] {
        for outcome_positive in [false, true] {
            let mut script = at_work().after(&[(A, update("t1", f64::NAN)), (A, report.clone())]);
            script.accept(INITIATOR, &commitment("x", outcome_positive));
            assert_eq!(script.lifecycle(), Lifecycle::Resolved, "the polarity is the committer's business");
        }
    }
}

#[test]
fn rule_2a_a_named_assignee_that_declines_ends_the_task() {
    let mut script = named().after(&[(A, reject("t1", A))]);
    script.accept(INITIATOR, &commitment("task.declined", false));
    assert_eq!(script.lifecycle(), Lifecycle::Resolved);
}

#[test]
fn a_decline_bars_its_sender_only() {
    let mut script = open().after(&[(A, reject("t1", "")), (B, accept("t1", B))]);
    assert_eq!(assignee(&script), Some(B));
    script.refuse(A, &accept("t1", ""), InvalidEnvelope);
}

#[test]
fn the_initiator_may_be_asked_by_name() {
    let script = after(&[(INITIATOR, request("t1", INITIATOR)), (INITIATOR, accept("t1", ""))]);
    assert_eq!(assignee(&script), Some(INITIATOR));
}

#[test]
fn an_unlisted_initiator_requests_and_commits_and_nothing_else() {
    let payload = SessionStartPayload { participants: vec![A.to_owned()], ..start_payload() };
    let mut script =
        Script::started_with(MODE, Catalog::built_in(), &payload).after(&[(INITIATOR, request("t1", ""))]);
    script.refuse(INITIATOR, &accept("t1", ""), Forbidden);
    script.accept(A, &accept("t1", ""));
    script.accept(A, &fail("t1", ""));
    script.accept(INITIATOR, &commitment("x", false));
}

#[test]
fn reassignment_by_policy() {
    let mut script = Script::policed(MODE, REASSIGN).after(&[
        (INITIATOR, request("t1", "")),
        (A, accept("t1", "")),
        (A, reject("t1", "")),
    ]);
    assert_eq!(assignee(&script), None);
    script.refuse(A, &accept("t1", ""), InvalidEnvelope);
    script.refuse(INITIATOR, &commitment("x", false), InvalidEnvelope);
    script.accept(B, &accept("t1", ""));
    script.accept(B, &complete("t1", "", b"output"));
    script.accept(INITIATOR, &commitment("x", true));
}

/// The named assignee gave the task up after taking it: nobody else is asked, and rule 2a does not end it.
#[test]
fn a_named_task_given_up_is_a_dead_end() {
    let mut script = Script::policed(MODE, REASSIGN).after(&[
        (INITIATOR, request("t1", A)),
        (A, accept("t1", "")),
        (A, reject("t1", "")),
    ]);
    script.refuse(A, &accept("t1", ""), InvalidEnvelope);
    script.refuse(B, &accept("t1", ""), Forbidden);
    script.refuse(INITIATOR, &commitment("x", false), InvalidEnvelope);
}

/// As the reference server does, until a source says otherwise: giving up after the report leaves the report.
#[test]
fn giving_up_after_the_report() {
    let mut script = Script::policed(MODE, REASSIGN).after(&[
        (INITIATOR, request("t1", A)),
        (A, accept("t1", "")),
        (A, fail("t1", "")),
        (A, reject("t1", "")),
    ]);
    assert_eq!(assignee(&script), None);
    script.refuse(A, &fail("t1", ""), Forbidden);
    script.accept(INITIATOR, &commitment("x", false));
}

#[test]
fn output_by_policy() {
    let rules = r#"{"completion":{"require_output":true}}"#;
    for (report, outcome_positive, allowed) in [
        (complete("t1", "", b"output"), true, true),
        (complete("t1", "", b""), true, false),
        (fail("t1", ""), true, false),
        (complete("t1", "", b""), false, true),
        (fail("t1", ""), false, true),
    ] {
        let mut script = Script::policed(MODE, rules).after(&[
            (INITIATOR, request("t1", A)),
            (A, accept("t1", "")),
            (A, report),
        ]);
        if allowed {
            script.accept(INITIATOR, &commitment("x", outcome_positive));
        } else {
            script.refuse(INITIATOR, &commitment("x", outcome_positive), PolicyDenied);
        }
    }
}
