//! What-if replay: tightened policies on recorded histories, and none that differs.

use bytes::Bytes;
use macp_kernel::command::ControlAction::{Cancel, Resume, Suspend};
use macp_kernel::policy::Policy;
use macp_kernel::testing::message::{commitment, decision, policy};
use macp_kernel::testing::traffic::any_mode;
use macp_kernel::testing::{A, B, INITIATOR, POLICY, Script};
use macp_kernel::what_if::{NoReport, WhatIf, admit};
use macp_kernel::{Entry, RefusalCode, mode, record};
use macp_wire::v1::what_if_entry_outcome::Kind;
use macp_wire::v1::{PolicyDescriptor, SessionState, WhatIfEntryOutcome, WhatIfReplayResponse};
use proptest::prelude::*;

fn records(entries: &[Entry]) -> Vec<Bytes> {
    entries.iter().map(|entry| record::encode([7; 16], std::slice::from_ref(entry))).collect()
}

fn report(entries: &[Entry], candidate: Policy) -> WhatIfReplayResponse {
    let mut replay = WhatIf::new(candidate);
    for record in records(entries) {
        replay.record(&record).unwrap();
    }
    replay.report().unwrap()
}

fn candidate(rules: &str) -> Policy {
    admit(Some(policy("policy.candidate", mode::decision::MODE, rules)), mode::decision::MODE).unwrap()
}

/// `kind/state/code` of an outcome, in short.
fn short(outcome: &WhatIfEntryOutcome) -> String {
    let state = match outcome.state() {
        SessionState::Unspecified => "",
        state => state.as_str_name().trim_start_matches("SESSION_STATE_"),
    };
    let kind = outcome.kind().as_str_name().trim_start_matches("KIND_");
    format!("{kind} {state}{}", outcome.error_code)
}

fn candidates(report: &WhatIfReplayResponse) -> Vec<String> {
    report.entries.iter().map(|entry| short(entry.candidate.as_ref().unwrap())).collect()
}

/// Proposal, a pause, one approving vote, commitment: indices 0 to 3.
fn history() -> Script {
    let mut script = Script::started(mode::decision::MODE);
    script.accept(A, &decision::proposal("p1"));
    script.pause(200, 900);
    script.accept(B, &decision::vote("p1", "APPROVE"));
    script.accept(INITIATOR, &commitment("decision.selected", true));
    script
}

#[test]
fn a_tightened_policy_denies() {
    let script = history();
    let rules = r#"{"voting":{"algorithm":"unanimous"}}"#;
    let report = report(&script.entries, candidate(rules));
    assert_eq!(report.candidate_policy_id, "policy.candidate");
    assert_eq!(report.recorded_policy_id, "policy.default");
    let listed: Vec<_> =
        report.entries.iter().map(|entry| (entry.history_index, entry.message_type.as_str())).collect();
    assert_eq!(listed, [(0, "SessionStart"), (1, "Proposal"), (2, "Vote"), (3, "Commitment")]);
    assert_eq!(
        candidates(&report),
        ["APPLIED OPEN", "APPLIED OPEN", "APPLIED OPEN", "REFUSED POLICY_DENIED"]
    );
    assert_eq!(short(report.entries[3].recorded.as_ref().unwrap()), "APPLIED RESOLVED");
    assert_eq!(report.first_divergence, Some(3));
    assert_eq!(report.denials.len(), 1);
    assert_eq!((report.denials[0].history_index, report.denials[0].message_id.as_str()), (3, "m4"));
    let details: serde_json::Value = serde_json::from_slice(&report.denials[0].details).unwrap();
    assert_eq!(details["denials"][0]["code"], "threshold_not_met");
    let (recorded, candidate) = (report.recorded.unwrap(), report.candidate.unwrap());
    assert_eq!(recorded.state(), SessionState::Resolved);
    assert_eq!(recorded.resolution, script.session().resolution.clone().unwrap());
    assert_eq!((recorded.resolved_by_history_index, recorded.resolved_by_message_id.as_str()), (3, "m4"));
    assert_eq!(recorded.resolved_by_message_type, "Commitment");
    assert_eq!(candidate.state(), SessionState::Open);
    assert!(candidate.resolution.is_empty() && candidate.resolved_by_message_id.is_empty());
}

#[test]
fn an_authority_breach_is_a_refusal_and_no_denial() {
    let rules = r#"{"commitment":{"authority":"designated_role","designated_roles":["agent://a"]}}"#;
    let report = report(&history().entries, candidate(rules));
    assert_eq!(candidates(&report)[3], "REFUSED FORBIDDEN");
    assert!(report.entries[3].candidate.as_ref().unwrap().details.is_empty());
    assert_eq!(report.first_divergence, Some(3));
    assert!(report.denials.is_empty());
    assert_eq!(report.candidate.unwrap().state(), SessionState::Open);
}

/// The candidate's id plays no part: commitments that name the bound policy stay valid.
#[test]
fn commitments_that_name_the_bound_policy_stay_valid() {
    let mut script = Script::policed(mode::decision::MODE, r#"{"voting":{"algorithm":"majority"}}"#);
    script.accept(A, &decision::proposal("p1"));
    script.accept(B, &decision::vote("p1", "APPROVE"));
    let mut payload = macp_kernel::testing::message::commitment_payload("decision.selected", true);
    payload.policy_version = POLICY.into();
    script.accept(INITIATOR, &macp_kernel::testing::message::commit(&payload));
    let report = report(&script.entries, candidate("{}"));
    assert_eq!(report.recorded_policy_id, POLICY);
    assert_eq!(report.first_divergence, None);
    assert_eq!(report.recorded, report.candidate);
}

#[test]
fn an_equivalent_candidate_changes_nothing() {
    let any = PolicyDescriptor { schema_version: 1, ..policy("policy.default", "*", "{}") };
    let report = report(&history().entries, admit(Some(any), mode::decision::MODE).unwrap());
    assert_eq!((report.first_divergence, report.denials.len()), (None, 0));
    assert_eq!(report.recorded, report.candidate);
}

#[test]
fn open_suspended_and_ended_sessions() {
    let states = [SessionState::Open, SessionState::Suspended, SessionState::Open, SessionState::Cancelled];
    let mut script = Script::started(mode::decision::MODE);
    for (step, state) in states.into_iter().enumerate() {
        if let Some(action) = [None, Some(Suspend), Some(Resume), Some(Cancel)][step] {
            script.now += 10;
            assert!(script.control(action, INITIATOR).is_ok());
        }
        let report = report(&script.entries, candidate("{}"));
        assert_eq!(report.entries.len(), 1, "control entries are not listed");
        assert_eq!(report.candidate.as_ref().unwrap().state(), state);
        assert_eq!(report.recorded, report.candidate);
    }
}

#[test]
fn an_incomplete_or_damaged_history_gives_no_report() {
    let records = records(&history().entries);
    assert_eq!(WhatIf::new(candidate("{}")).report(), Err(NoReport::Incomplete));
    assert_eq!(WhatIf::new(candidate("{}")).record(&records[1]), Err(NoReport::Incomplete));
    let mut replay = WhatIf::new(candidate("{}"));
    replay.record(&records[0]).unwrap();
    assert!(matches!(replay.record(&records[0]), Err(NoReport::Divergence(_))));
    assert!(matches!(replay.record(&Bytes::new()), Err(NoReport::Divergence(_))));
}

#[test]
fn candidates_are_admitted_without_regard_to_their_id() {
    let code = |candidate| admit(candidate, mode::decision::MODE).unwrap_err().code;
    assert_eq!(code(None), RefusalCode::InvalidRequest);
    for id in ["", " ", "policy.default", "policy.std.majority", "policy.std.other"] {
        let admitted = admit(Some(policy(id, "*", "{}")), mode::decision::MODE).unwrap();
        assert_eq!(admitted.id(), id);
    }
    for (mode, rules) in [("macp.mode.task.v1", "{}"), ("*", "no JSON"), ("*", r#"{"unknown":1}"#)] {
        assert_eq!(code(Some(policy("p", mode, rules))), RefusalCode::InvalidPolicyDefinition, "{rules}");
    }
}

fn check_recorded_policy(entries: &[Entry]) -> Result<(), TestCaseError> {
    let started = entries.iter().find_map(|entry| match &entry.fact {
        macp_kernel::Fact::Started(started) => Some(started.binding.policy.descriptor().clone()),
        _ => None,
    });
    let report = report(entries, Policy::from_history(started.unwrap()));
    prop_assert_eq!(report.first_divergence, None);
    prop_assert_eq!(&report.recorded, &report.candidate);
    prop_assert!(report.denials.is_empty());
    let ordinals: Vec<u64> = report.entries.iter().map(|entry| entry.history_index).collect();
    prop_assert_eq!(ordinals, (0..report.entries.len() as u64).collect::<Vec<_>>());
    for entry in &report.entries {
        prop_assert_eq!(entry.recorded.as_ref().unwrap().kind(), Kind::Applied);
    }
    Ok(())
}

/// A candidate can only take away: what it applies, it applies with no more than the history had.
fn check_candidate(entries: &[Entry], candidate: Policy) -> Result<(), TestCaseError> {
    let report = report(entries, candidate);
    let divergence = report.entries.iter().position(|entry| entry.recorded != entry.candidate);
    prop_assert_eq!(report.first_divergence, divergence.map(|at| at as u64));
    let denied = report.entries.iter().filter(|entry| {
        entry.candidate.as_ref().is_some_and(|outcome| outcome.error_code == "POLICY_DENIED")
    });
    prop_assert_eq!(denied.count(), report.denials.len());
    if report.candidate.as_ref().is_some_and(|outcome| outcome.state() == SessionState::Resolved) {
        prop_assert_eq!(&report.candidate, &report.recorded, "nothing resolves that was not resolved");
    }
    Ok(())
}

fn any_candidate() -> impl Strategy<Value = Policy> {
    let rules = prop::sample::select(vec![
        r#"{}"#,
        r#"{"voting":{"algorithm":"majority"}}"#,
        r#"{"voting":{"algorithm":"unanimous"}}"#,
        r#"{"objection_handling":{"critical_severity_vetoes":true}}"#,
        r#"{"commitment":{"authority":"designated_role","designated_roles":["agent://a"]}}"#,
        r#"{"acceptance":{"criterion":"counterparty","implicit_accept_timeout_ms":10}}"#,
        r#"{"threshold":{"type":"n_of_m","value":9}}"#,
        r#"{"completion":{"require_output":true}}"#,
    ]);
    rules.prop_map(|rules| admit(Some(policy("policy.candidate", "*", rules)), "any").unwrap())
}

proptest! {
    #[test]
    fn the_recorded_policy_diverges_nowhere(traffic in any_mode()) {
        check_recorded_policy(&traffic.play().entries)?;
    }

    #[test]
    fn candidates_only_take_away(traffic in any_mode(), candidate in any_candidate()) {
        check_candidate(&traffic.play().entries, candidate)?;
    }
}
