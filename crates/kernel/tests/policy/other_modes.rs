//! Proposal, Task, Handoff and Quorum commitments under a policy, and reassignment of tasks.

use macp_kernel::policy::evaluate;
use macp_kernel::policy::rules::{Criterion, Threshold};
use macp_kernel::session::Binding;

use crate::support::{HANDOFF, PROPOSAL, QUORUM, TASK, binding, codes, policy, stored};

fn bound(mode: &str, rules: &str) -> Binding {
    binding(policy(mode, 3, rules), &["a", "b", "c"])
}

fn bound_stored(mode: &str, version: u32, rules: &str) -> Binding {
    binding(stored(mode, version, rules), &["a", "b", "c"])
}

#[test]
fn proposal_rounds() {
    for (max, counters, positive) in [(0, 9, ""), (2, 0, ""), (2, 2, ""), (2, 3, "criterion_not_met")] {
        let binding = bound(PROPOSAL, &format!(r#"{{"counter_proposal":{{"max_rounds":{max}}}}}"#));
        assert_eq!(codes(evaluate::proposal(&binding, counters, true)), positive, "{counters} of {max}");
        assert_eq!(codes(evaluate::proposal(&binding, counters, false)), "");
    }
}

#[test]
fn task_output() {
    let required = bound(TASK, r#"{"completion":{"require_output":true}}"#);
    assert_eq!(codes(evaluate::task(&required, false, true)), "output_required");
    assert_eq!(codes(evaluate::task(&required, true, true)), "");
    assert_eq!(codes(evaluate::task(&required, false, false)), "");
    assert_eq!(codes(evaluate::task(&bound(TASK, "{}"), false, true)), "");
}

#[test]
fn task_reassignment() {
    let allowed = bound(TASK, r#"{"assignment":{"allow_reassignment_on_reject":true}}"#);
    assert_eq!(codes(evaluate::reassignment(&allowed)), "");
    for rules in ["{}", r#"{"assignment":{"allow_reassignment_on_reject":false}}"#] {
        assert_eq!(codes(evaluate::reassignment(&bound(TASK, rules))), "reassignment_not_allowed");
    }
    let unreadable = bound_stored(TASK, 3, r#"{"assignment":{"allow_reassignment_on_reject":"yes"}}"#);
    assert_eq!(codes(evaluate::reassignment(&unreadable)), "reassignment_not_allowed");
}

#[test]
fn handoff_is_never_denied() {
    let binding = bound(HANDOFF, r#"{"acceptance":{"implicit_accept_timeout_ms":5}}"#);
    for outcome_positive in [true, false] {
        assert_eq!(codes(evaluate::handoff(&binding, outcome_positive)), "");
    }
}

#[test]
fn quorum_threshold() {
    for (threshold, approvals, positive) in [
        ("{}", 0, ""),
        (r#"{"type":"percentage"}"#, 0, ""),
        (r#"{"value":2}"#, 1, "threshold_not_met"),
        (r#"{"value":2}"#, 2, ""),
        (r#"{"value":9}"#, 3, "threshold_not_met"),
        (r#"{"type":"percentage","value":67}"#, 2, "threshold_not_met"),
        (r#"{"type":"percentage","value":66}"#, 2, ""),
        (r#"{"type":"percentage","value":100.0}"#, 3, ""),
    ] {
        let binding = bound(QUORUM, &format!(r#"{{"threshold":{threshold}}}"#));
        assert_eq!(codes(evaluate::quorum(&binding, approvals, true)), positive, "{threshold} {approvals}");
        assert_eq!(codes(evaluate::quorum(&binding, approvals, false)), "", "{threshold} {approvals}");
    }
    // Abstentions decide nothing.
    let rules = r#"{"abstention":{"counts_toward_quorum":true,"interpretation":"implicit_reject"}}"#;
    assert_eq!(codes(evaluate::quorum(&bound(QUORUM, rules), 0, true)), "");
}

#[test]
fn stored_quorum_thresholds() {
    for (threshold, expected) in [
        (r#"{"value":0}"#, None),
        (r#"{"value":-3}"#, None),
        (r#"{"type":"lottery"}"#, None),
        (r#"{"value":2.5}"#, Some(Threshold::NOfM(3))),
        (r#"{"type":"count","value":2}"#, Some(Threshold::NOfM(2))),
        (r#"{"type":"weighted","value":2}"#, Some(Threshold::Unknown)),
    ] {
        let binding = bound_stored(QUORUM, 3, &format!(r#"{{"threshold":{threshold}}}"#));
        assert_eq!(binding.policy.rules().quorum.threshold, expected, "{threshold}");
    }
    // A type that nobody knows denies a positive outcome and no negative one.
    let unknown = bound_stored(QUORUM, 3, r#"{"threshold":{"type":"weighted","value":2}}"#);
    assert_eq!(codes(evaluate::quorum(&unknown, 3, true)), "threshold_not_met");
    assert_eq!(codes(evaluate::quorum(&unknown, 3, false)), "");
}

/// Percentages in integers, rounded up; floating point would say 8 for 7 % of 100.
#[test]
fn approvals_needed() {
    for (threshold, participants, expected) in [
        (Threshold::NOfM(3), 0, Some(3)),
        (Threshold::NOfM(0), 5, Some(1)),
        (Threshold::Percentage(7), 100, Some(7)),
        (Threshold::Percentage(28), 25, Some(7)),
        (Threshold::Percentage(50), 3, Some(2)),
        (Threshold::Percentage(67), 3, Some(3)),
        (Threshold::Percentage(66), 3, Some(2)),
        (Threshold::Percentage(1), 1, Some(1)),
        (Threshold::Percentage(100), 1000, Some(1000)),
        (Threshold::Percentage(u64::MAX), usize::MAX, Some(u64::MAX)),
        (Threshold::Percentage(50), 0, None),
        (Threshold::Unknown, 3, None),
    ] {
        assert_eq!(threshold.approvals(participants), expected, "{threshold:?} of {participants}");
    }
    for percent in 1..=100_u64 {
        for participants in 1..=200_u64 {
            let needed = Threshold::Percentage(percent).approvals(participants as usize).unwrap();
            assert!(needed * 100 >= percent * participants && (needed - 1) * 100 < percent * participants);
        }
    }
}

/// What cannot be evaluated is denied in every mode, for both polarities.
#[test]
fn beyond_this_release() {
    let bad = |mode: &str| match mode {
        PROPOSAL => r#"{"counter_proposal":{"max_rounds":-1}}"#,
        TASK => r#"{"completion":{"require_output":1}}"#,
        HANDOFF => r#"{"acceptance":{"implicit_accept_timeout_ms":0.5}}"#,
        _ => r#"{"threshold":{"value":"2"}}"#,
    };
    for mode in [PROPOSAL, TASK, HANDOFF, QUORUM] {
        for positive in [true, false] {
            let verdict = |binding: &Binding| {
                codes(match mode {
                    PROPOSAL => evaluate::proposal(binding, 0, positive),
                    TASK => evaluate::task(binding, true, positive),
                    HANDOFF => evaluate::handoff(binding, positive),
                    _ => evaluate::quorum(binding, 3, positive),
                })
            };
            for policy_mode in [mode, "*"] {
                assert_eq!(verdict(&bound_stored(policy_mode, 3, "{}")), "");
                assert_eq!(verdict(&bound_stored(policy_mode, 0, "{}")), "unsupported_schema_version");
                assert_eq!(verdict(&bound_stored(policy_mode, 7, "{}")), "unsupported_schema_version");
                assert_eq!(verdict(&bound_stored(policy_mode, 3, "oops")), "invalid_rules");
                assert_eq!(verdict(&bound_stored(policy_mode, 3, bad(mode))), "invalid_rules");
            }
            // A fault in another mode's rules is not this mode's.
            let elsewhere = r#"{"voting":{"threshold":"x"}}"#;
            assert_eq!(verdict(&bound_stored("*", 3, elsewhere)), "");
        }
    }
}

/// A criterion that nobody knows lets the negotiation run as by default and denies what it comes to.
#[test]
fn stored_unknown_criterion() {
    let binding = bound_stored(PROPOSAL, 3, r#"{"acceptance":{"criterion":"dice"}}"#);
    assert_eq!(binding.policy.rules().proposal.criterion, Criterion::AllParties);
    assert_eq!(codes(evaluate::proposal(&binding, 0, true)), "invalid_rules");
}
