//! Participation floors, thresholds and weights: how votes are counted.

use macp_kernel::policy::evaluate;

use crate::decision::{MAJORITY, MISSED, OVER, UNANIMOUS, UNBACKED};
use crate::support::{DECISION, binding, check, codes, policy, state};

#[test]
fn floors() {
    let floor = |kind: &str, value: &str| {
        policy(
            DECISION,
            3,
            &format!(
                r#"{{"voting":{{"quorum":{{"type":"{kind}","value":{value}}}}},"commitment":{{"require_vote_quorum":true}}}}"#
            ),
        )
    };
    let unmet = "quorum_not_met";
    for (kind, value, words, expected) in [
        ("count", "0", "", ""),
        ("count", "2", "a:A", unmet),
        ("count", "1.5", "a:A", unmet),
        ("count", "1.5", "a:A b:-", ""),
        // Two ballots of one sender are one voter.
        ("count", "2", "a:A p2/a:R", unmet),
        ("count", "2", "a:A p2/b:R", ""),
        ("count", "4", "a:A b:A c:A", unmet),
        ("percentage", "0", "", ""),
        ("percentage", "50", "a:A", unmet),
        ("percentage", "50", "a:A b:-", ""),
        ("percentage", "100", "a:A b:- c:R", ""),
        ("percentage", "100.5", "a:A b:- c:R", unmet),
        // 1/3 x 100 in binary64 is 33.33333333333333, just as the rule writes it.
        ("percentage", "33.33333333333333", "a:A", ""),
        ("percentage", "33.33333333333334", "a:A", unmet),
    ] {
        check(floor(kind, value), words, expected, expected);
    }
    // A ballot without weight is participation as well.
    let weighted = r#"{"voting":{"algorithm":"weighted","weights":{"a":1},"quorum":{"value":2}},"commitment":{"require_vote_quorum":true}}"#;
    check(policy(DECISION, 3, weighted), "a:A", unmet, "quorum_not_met decline_over_approval");
    check(policy(DECISION, 3, weighted), "a:A b:R", "", OVER);
}

/// Percentages of nobody: only a floor of nothing is met.
#[test]
fn floors_without_participants() {
    for (value, expected) in [("0", ""), ("0.1", "quorum_not_met")] {
        let rules = format!(
            r#"{{"voting":{{"quorum":{{"type":"percentage","value":{value}}}}},"commitment":{{"require_vote_quorum":true}}}}"#
        );
        let binding = binding::<&str>(policy(DECISION, 3, &rules), &[]);
        assert_eq!(codes(evaluate::decision(&binding, &state(""), true)), expected);
    }
}

/// A quotient and `>=`: 2/3 passes at 0.6666666666666666, 66/100 does not.
#[test]
fn thresholds_are_binary64() {
    for (threshold, approve, reject, passes) in [
        ("0.6666666666666666", 2, 1, true),
        ("0.6666666666666666", 4, 2, true),
        ("0.6666666666666666", 20, 10, true),
        ("0.6666666666666666", 67, 33, true),
        ("0.6666666666666666", 66, 34, false),
        ("0.6666666666666667", 2, 1, false),
        ("0.67", 2, 1, false),
        ("0.6666666666666666666666666666", 2, 1, true),
        ("0.75", 3, 1, true),
        ("1", 7, 0, true),
        ("1.0", 99, 1, false),
        ("0.5000000000000001", 1, 1, false),
    ] {
        let rules = format!(r#"{{"voting":{{"algorithm":"supermajority","threshold":{threshold}}}}}"#);
        let participants: Vec<String> = (0..approve + reject).map(|i| format!("v{i:03}")).collect();
        let ballots = participants.iter().enumerate();
        let words: String =
            ballots.map(|(i, name)| format!("{name}:{} ", if i < approve { "A" } else { "R" })).collect();
        let binding = binding(policy(DECISION, 3, &rules), &participants);
        let got = codes(evaluate::decision(&binding, &state(&words), true));
        assert_eq!(got, if passes { "" } else { MISSED }, "{approve}/{reject} at {threshold}");
    }
}

#[test]
fn weights() {
    let weighted = |threshold: &str, weights: &str| {
        policy(
            DECISION,
            3,
            &format!(
                r#"{{"voting":{{"algorithm":"weighted","threshold":{threshold},"weights":{weights}}}}}"#
            ),
        )
    };
    for (threshold, weights, words, positive, negative) in [
        ("0.5", r#"{"a":3,"b":1}"#, "a:A b:R", "", OVER),
        ("0.5", r#"{"a":1,"b":3}"#, "a:A b:R", MISSED, ""),
        ("0.75", r#"{"a":3,"b":1}"#, "a:A b:R", "", OVER),
        ("0.76", r#"{"a":3,"b":1}"#, "a:A b:R", MISSED, ""),
        // Abstentions never enter the ratio, whatever they weigh.
        ("0.5", r#"{"a":1,"c":100}"#, "a:A c:-", "", OVER),
        // The reject of somebody without a weight backs nothing.
        ("0.5", r#"{"a":1}"#, "a:A b:R", "", OVER),
        ("0.5", r#"{"a":1}"#, "a:R b:A", MISSED, ""),
        // Who is listed and takes no part does not matter.
        ("1", r#"{"a":1,"z":9}"#, "a:A", "", OVER),
        ("0.3", r#"{"a":0.1,"b":0.2,"c":0.7}"#, "a:A b:A c:R", "", OVER),
        // Huge weights overflow to infinity and never pass.
        ("0.1", r#"{"a":1e308,"b":1e308}"#, "a:A b:A", MISSED, UNBACKED),
    ] {
        check(weighted(threshold, weights), words, positive, negative);
    }
    // Without overruling, a backed decline of a passed vote is refused; with it, only a weighty reject backs one.
    let overruled = r#"{"voting":{"algorithm":"weighted","weights":{"a":1}},"commitment":{"allow_decline_over_approval":true}}"#;
    check(policy(DECISION, 3, overruled), "a:A b:R", "", UNBACKED);
}

/// Weights are added in byte order of proposals, then voters: another order gives other bits and another result.
#[test]
fn weights_are_summed_in_order() {
    let rules = |big: &str| {
        let weight = |name: &str| if name == big { "1e16" } else { "1" };
        format!(
            r#"{{"voting":{{"algorithm":"weighted","threshold":1,"weights":{{"a":{},"b":{},"c":{}}}}}}}"#,
            weight("a"),
            weight("b"),
            weight("c")
        )
    };
    // 1e16 + 1 + 1 stays 1e16, so the two rejects vanish; 1 + 1 + 1e16 does not.
    check(policy(DECISION, 3, &rules("a")), "a:A b:R c:R", "", OVER);
    check(policy(DECISION, 3, &rules("c")), "a:R b:R c:A", MISSED, "");
    check(policy(DECISION, 3, &rules("c")), "p2/a:R p2/b:R p1/c:A", "", OVER);
}

/// Ballots of all proposals are pooled, and each counts.
#[test]
fn proposals_are_pooled() {
    check(policy(DECISION, 3, MAJORITY), "p1/a:A p2/a:R p2/b:R", MISSED, "");
    check(policy(DECISION, 3, MAJORITY), "p1/a:A p2/a:A p2/b:R", "", OVER);
    check(policy(DECISION, 3, UNANIMOUS), "p1/a:A p2/b:A p3/c:A", "", OVER);
    check(policy(DECISION, 3, UNANIMOUS), "p1/a:A p1/b:A p1/c:A p2/c:R", MISSED, "");
    check(policy(DECISION, 3, UNANIMOUS), "p1/a:A p2/a:A p1/b:A", MISSED, UNBACKED);
}
