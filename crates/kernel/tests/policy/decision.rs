//! Decision commitments: outcomes per algorithm and schema version, both polarities.

use macp_kernel::policy::Policy;
use macp_kernel::policy::evaluate;
use macp_kernel::policy::rules::Algorithm;

use crate::support::{DECISION, binding, check, denials, policy, state, stored};

pub(crate) const MAJORITY: &str = r#"{"voting":{"algorithm":"majority"}}"#;
pub(crate) const MAJORITY_FLOOR_1: &str = r#"{"voting":{"algorithm":"majority","threshold":0.5,"quorum":{"type":"count","value":1}},"commitment":{"require_vote_quorum":true}}"#;
pub(crate) const MAJORITY_FLOOR_2: &str =
    r#"{"voting":{"algorithm":"majority","quorum":{"value":2}},"commitment":{"require_vote_quorum":true}}"#;
pub(crate) const MAJORITY_OVERRULED: &str =
    r#"{"voting":{"algorithm":"majority"},"commitment":{"allow_decline_over_approval":true}}"#;
pub(crate) const SUPERMAJORITY: &str = r#"{"voting":{"algorithm":"supermajority","threshold":0.67}}"#;
pub(crate) const UNANIMOUS: &str = r#"{"voting":{"algorithm":"unanimous"}}"#;
pub(crate) const PLURALITY: &str = r#"{"voting":{"algorithm":"plurality"}}"#;
pub(crate) const WEIGHTED: &str = r#"{"voting":{"algorithm":"weighted","weights":{"a":1}}}"#;
pub(crate) const NONE: &str = "{}";

pub(crate) const NO_VOTES: &str = "no_votes";
pub(crate) const OVER: &str = "decline_over_approval";
pub(crate) const UNBACKED: &str = "decline_not_backed";
pub(crate) const MISSED: &str = "threshold_not_met";

/// The worked outcomes of the specification, row by row.
#[test]
fn worked_outcomes() {
    for (version, rules, words, positive, negative) in [
        (3, MAJORITY, "a:A", "", OVER),
        (3, MAJORITY, "a:A b:R", "", OVER),
        (3, MAJORITY, "a:R b:R c:A", MISSED, ""),
        (3, MAJORITY, "a:- b:- c:-", NO_VOTES, UNBACKED),
        (2, MAJORITY_FLOOR_1, "a:-", NO_VOTES, UNBACKED),
        (2, MAJORITY, "", "", UNBACKED),
        (3, MAJORITY_FLOOR_2, "a:A", "quorum_not_met", "quorum_not_met decline_over_approval"),
        (3, UNANIMOUS, "a:A b:A", MISSED, UNBACKED),
        (3, UNANIMOUS, "a:A b:A c:R", MISSED, ""),
        (3, MAJORITY_OVERRULED, "a:A b:A c:R", "", ""),
        (3, MAJORITY_OVERRULED, "a:A b:A c:A", "", UNBACKED),
        (3, WEIGHTED, "b:R", NO_VOTES, UNBACKED),
        (3, NONE, "a:R", "", ""),
    ] {
        check(policy(DECISION, version, rules), words, positive, negative);
    }
}

/// The commitments that the published fixtures pin, without their transcripts.
#[test]
fn fixture_outcomes() {
    for (name, version, rules, words, positive, negative) in [
        ("empty_tally_binding", 3, UNANIMOUS, "", NO_VOTES, UNBACKED),
        ("empty_tally_legacy", 2, UNANIMOUS, "", "", UNBACKED),
        (
            "legacy_require_vote_quorum",
            2,
            MAJORITY_FLOOR_2,
            "",
            "quorum_not_met no_votes",
            "quorum_not_met decline_not_backed",
        ),
        ("legacy_require_vote_quorum", 2, MAJORITY_FLOOR_2, "a:A b:A", "", OVER),
        ("plurality", 3, PLURALITY, "", NO_VOTES, UNBACKED),
        ("plurality", 3, PLURALITY, "a:A b:R", MISSED, ""),
        ("plurality", 3, PLURALITY, "a:A b:R c:A", "", OVER),
        ("supermajority_empty_tally", 3, SUPERMAJORITY, "", NO_VOTES, UNBACKED),
        ("supermajority_empty_tally", 3, SUPERMAJORITY, "a:A b:R", MISSED, ""),
        ("weighted_zero_weight", 3, WEIGHTED, "b:R", NO_VOTES, UNBACKED),
        ("weighted_zero_weight", 3, WEIGHTED, "b:R a:A", "", OVER),
        ("weighted_zero_weight_v1", 1, WEIGHTED, "b:R", "", UNBACKED),
        ("none_v3_empty_tally", 3, NONE, "", "", ""),
        ("negative_outcome", 2, MAJORITY, "a:R b:R", MISSED, ""),
        (
            "critical_objection_veto",
            2,
            r#"{"voting":{"algorithm":"majority"},"objection_handling":{"critical_severity_vetoes":true}}"#,
            "a:A b:A c!",
            "veto",
            "veto decline_over_approval",
        ),
        (
            "critical_objection_finalize_decline",
            2,
            r#"{"objection_handling":{"critical_severity_vetoes":true,"critical_objection_action":"finalize_decline"}}"#,
            "c!",
            "veto",
            "",
        ),
        (
            "finalize_decline_empty_tally",
            3,
            r#"{"voting":{"algorithm":"majority"},"objection_handling":{"critical_severity_vetoes":true,"critical_objection_action":"finalize_decline"}}"#,
            "c!",
            "veto no_votes",
            "",
        ),
        (
            "finalize_decline_quorum_waiver",
            2,
            r#"{"voting":{"algorithm":"majority","quorum":{"value":2}},"objection_handling":{"critical_severity_vetoes":true,"critical_objection_action":"finalize_decline"},"commitment":{"require_vote_quorum":true}}"#,
            "c!",
            "veto quorum_not_met no_votes",
            "",
        ),
        (
            "policy_pack_compliance_vote",
            3,
            r#"{"voting":{"algorithm":"weighted","threshold":1,"weights":{"a":1}}}"#,
            "b:A c:A",
            NO_VOTES,
            UNBACKED,
        ),
        ("happy_path", 1, NONE, "a:A c!", "", ""),
    ] {
        eprintln!("{name}");
        check(policy(DECISION, version, rules), words, positive, negative);
    }
}

/// Every algorithm on nothing, on abstentions, on a tie and on one side, under the three versions.
#[test]
fn algorithms_by_version() {
    let weighted = r#"{"voting":{"algorithm":"weighted","weights":{"a":1,"b":1,"c":1}}}"#;
    let supermajority = r#"{"voting":{"algorithm":"supermajority","threshold":0.6666666666666666}}"#;
    for (rules, tie, two_to_one, all) in [
        (MAJORITY, "", "", ""),
        (supermajority, MISSED, "", ""),
        (UNANIMOUS, MISSED, MISSED, ""),
        (weighted, "", "", ""),
        (PLURALITY, MISSED, "", ""),
    ] {
        let decline = |passed: &str| if passed.is_empty() { OVER } else { "" };
        for version in [1, 2, 3] {
            let empty = if version == 3 { NO_VOTES } else { "" };
            for words in ["", "a:-", "a:- b:- c:-"] {
                check(policy(DECISION, version, rules), words, empty, UNBACKED);
            }
            check(policy(DECISION, version, rules), "a:A b:R c:-", tie, decline(tie));
            check(policy(DECISION, version, rules), "a:A b:A c:R", two_to_one, decline(two_to_one));
            check(policy(DECISION, version, rules), "a:A b:A c:A", all, OVER);
            check(policy(DECISION, version, rules), "a:R b:R c:R", MISSED, "");
        }
    }
    for version in [1, 2, 3] {
        for words in ["", "a:-", "a:R b:R c:R"] {
            check(policy(DECISION, version, NONE), words, "", "");
        }
    }
}

/// Demanded participation makes an empty tally deny at every version, even with a floor of 0.
#[test]
fn require_vote_quorum_on_an_empty_tally() {
    let rules = r#"{"voting":{"algorithm":"majority"},"commitment":{"require_vote_quorum":true}}"#;
    for version in [1, 2, 3] {
        check(policy(DECISION, version, rules), "", NO_VOTES, UNBACKED);
    }
    // Without an algorithm there is no tally, only the floor.
    let floor = r#"{"voting":{"quorum":{"value":2}},"commitment":{"require_vote_quorum":true}}"#;
    check(policy(DECISION, 3, floor), "a:A", "quorum_not_met", "quorum_not_met");
    check(policy(DECISION, 3, floor), "a:A b:-", "", "");
    // And a floor that is not demanded gates nothing.
    check(policy(DECISION, 3, r#"{"voting":{"quorum":{"value":99}}}"#), "", "", "");
}

#[test]
fn objections() {
    let veto = |threshold: u32, action: &str| {
        policy(
            DECISION,
            3,
            &format!(
                r#"{{"objection_handling":{{"critical_severity_vetoes":true,"veto_threshold":{threshold},"critical_objection_action":"{action}"}}}}"#
            ),
        )
    };
    for (threshold, action, words, positive, negative) in [
        (1, "deny", "", "", ""),
        (1, "deny", "a?", "", ""),
        (1, "deny", "a!", "veto", "veto"),
        (1, "hold", "a!", "veto_hold", "veto_hold"),
        (1, "finalize_decline", "a!", "veto", ""),
        (2, "deny", "a!", "", ""),
        // Two objections by one sender are two, on one proposal or on several.
        (2, "deny", "a! a!", "veto", "veto"),
        (2, "deny", "p1/a! p2/b!", "veto", "veto"),
        (3, "finalize_decline", "a! b!", "", ""),
    ] {
        check(veto(threshold, action), words, positive, negative);
    }
    // The action does nothing without the switch.
    let off = r#"{"objection_handling":{"critical_objection_action":"hold"}}"#;
    check(policy(DECISION, 3, off), "a!", "", "");
}

/// Only `finalize_decline` waives, only for a decline, and then everything at once.
#[test]
fn an_authorized_decline_needs_nothing_else() {
    let rules = |action: &str| {
        format!(
            r#"{{"voting":{{"algorithm":"majority","quorum":{{"value":3}}}},
                "objection_handling":{{"critical_severity_vetoes":true,"critical_objection_action":"{action}"}},
                "evaluation":{{"required_before_voting":true}},
                "commitment":{{"require_vote_quorum":true}}}}"#
        )
    };
    let all = "evaluation_required veto quorum_not_met no_votes";
    check(policy(DECISION, 3, &rules("finalize_decline")), "a!", all, "");
    for (action, code) in [("deny", "veto"), ("hold", "veto_hold")] {
        let positive = all.replace("veto", code);
        let negative = positive.replace(NO_VOTES, UNBACKED);
        check(policy(DECISION, 3, &rules(action)), "a!", &positive, &negative);
    }
}

#[test]
fn evaluations() {
    let rules = |required: bool, minimum: &str| {
        policy(
            DECISION,
            3,
            &format!(
                r#"{{"evaluation":{{"required_before_voting":{required},"minimum_confidence":{minimum}}}}}"#
            ),
        )
    };
    let low = "confidence_below_minimum";
    for (required, minimum, words, expected) in [
        (false, "0.9", "", ""),
        (true, "0", "", "evaluation_required"),
        (true, "0", "a~1.0", "evaluation_required"),
        (true, "0", "a=0.0", ""),
        (true, "0.8", "", low),
        (true, "0.8", "a=0.79 b~1.0", low),
        (true, "0.8", "a=0.1 b=0.8", ""),
        (true, "0.8", "p2/b=0.9", ""),
        (true, "1", "a=1.0", ""),
    ] {
        check(rules(required, minimum), words, expected, expected);
    }
}

/// Identifiers appear in `participants` only: sorted, once each, and no member at all where there are none.
#[test]
fn denials_name_participants_in_one_place() {
    let rules = r#"{"voting":{"algorithm":"majority","quorum":{"value":3}},
        "objection_handling":{"critical_severity_vetoes":true},
        "evaluation":{"required_before_voting":true},"commitment":{"require_vote_quorum":true}}"#;
    let binding = binding(policy(DECISION, 3, rules), &["agent-zebra", "agent-ant", "agent-cat"]);
    let state = state("agent-zebra! agent-ant! p2/agent-zebra! agent-cat?");
    let denials = denials(evaluate::decision(&binding, &state, true));
    assert_eq!(denials[1]["participants"], serde_json::json!(["agent-ant", "agent-zebra"]));
    for (place, denial) in denials.iter().enumerate() {
        assert!(!denial["message"].as_str().unwrap().contains("agent-"), "{denial}");
        assert_eq!(denial.get("participants").is_some(), place == 1, "{denial}");
    }
}

/// What no registration admits is still judged when history holds it.
#[test]
fn stored_shapes() {
    let unsupported = "unsupported_schema_version";
    let invalid = "invalid_rules";
    for (version, rules, words, positive, negative) in [
        (0, "{}", "", unsupported, unsupported),
        (4, "{}", "", unsupported, unsupported),
        (4, "not json", "", unsupported, unsupported),
        (3, "not json", "", invalid, invalid),
        (3, "[]", "", invalid, invalid),
        (3, r#"{"voting":null}"#, "", invalid, invalid),
        (3, r#"{"voting":{"threshold":"half"}}"#, "", invalid, invalid),
        (3, r#"{"commitment":{"designated_roles":"a"}}"#, "", invalid, invalid),
        (3, r#"{"objection_handling":{"veto_threshold":0}}"#, "", invalid, invalid),
        (3, r#"{"objection_handling":{"veto_threshold":-1}}"#, "", invalid, invalid),
        (3, r#"{"objection_handling":{"critical_objection_action":"ponder"}}"#, "", invalid, invalid),
        (3, r#"{"evaluation":{"minimum_confidence":1.5}}"#, "", invalid, invalid),
        // Keys of a later schema are passed over.
        (3, r#"{"voting":{"ranked":true},"audit":{}}"#, "", "", ""),
        // An algorithm that nobody knows never passes.
        (3, r#"{"voting":{"algorithm":"lottery"}}"#, "", NO_VOTES, UNBACKED),
        (3, r#"{"voting":{"algorithm":"lottery"}}"#, "a:A", MISSED, UNBACKED),
        (3, r#"{"voting":{"algorithm":"lottery"}}"#, "a:A b:R", MISSED, ""),
        // A supermajority without a threshold of its own means two thirds.
        (3, r#"{"voting":{"algorithm":"supermajority"}}"#, "a:A b:A c:R", "", OVER),
        (3, r#"{"voting":{"algorithm":"supermajority","threshold":0.5}}"#, "a:A b:R", MISSED, ""),
        (3, r#"{"voting":{"algorithm":"weighted","weights":{"a":-1}}}"#, "a:A", MISSED, UNBACKED),
        (3, r#"{"voting":{"algorithm":"weighted","weights":{"a":0,"b":0}}}"#, "a:A b:R", NO_VOTES, UNBACKED),
        (3, r#"{"voting":{"algorithm":"weighted"}}"#, "a:A", NO_VOTES, UNBACKED),
        (1, r#"{"voting":{"algorithm":"weighted"}}"#, "a:A", "", UNBACKED),
        (
            3,
            r#"{"voting":{"quorum":{"type":"fraction"}},"commitment":{"require_vote_quorum":true}}"#,
            "a:A",
            "quorum_not_met",
            "quorum_not_met",
        ),
    ] {
        check(stored(DECISION, version, rules), words, positive, negative);
    }
}

/// The profiles that come with the server; a lone abstention is no vote although they are of version 1.
#[test]
fn provided_profiles() {
    let provided = |id: &str| Policy::provided().iter().find(|it| it.id() == id).unwrap().clone();
    for (id, words, positive, negative) in [
        ("policy.std.majority", "", "quorum_not_met no_votes", "quorum_not_met decline_not_backed"),
        ("policy.std.majority", "a:-", NO_VOTES, UNBACKED),
        ("policy.std.majority", "a:A b:R", "", OVER),
        ("policy.std.supermajority", "a:A", "quorum_not_met", "quorum_not_met decline_over_approval"),
        ("policy.std.supermajority", "a:A b:A c:R", "", OVER),
        ("policy.std.supermajority", "a:A b:R", MISSED, ""),
        ("policy.std.unanimous", "a:A b:A", MISSED, UNBACKED),
        ("policy.std.unanimous", "a:A b:A c:A", "", OVER),
        ("policy.default", "a:R b!", "", ""),
    ] {
        check(provided(id), words, positive, negative);
    }
    assert_eq!(provided("policy.std.unanimous").rules().decision.algorithm, Algorithm::Unanimous);
}
