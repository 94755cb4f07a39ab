//! The values that registered rules may have: ranges, lists of names, and what one key demands of another
//! (RFC-MACP-0012 §4.1-§4.5).

use serde_json::Value;

use super::keys::{Tree, trees};
use super::read::{self, Section};
use super::rules::{Algorithm, DecisionRules, FloorKind, Rules};

/// Judges rules that [`read::tree`] accepted, in the specified order; the text names the first fault.
pub(super) fn check(mode: &str, json: &Value, rules: &Rules) -> Result<(), String> {
    let top = Section::top(json)?;
    let trees = trees(mode);
    if trees.contains(&Tree::Decision) {
        decision(&top, &rules.decision)?;
    }
    if trees.contains(&Tree::Quorum) {
        threshold(&top)?;
    }
    if trees.contains(&Tree::Proposal) {
        one_of(
            read::criterion(&top)?.is_some(),
            "acceptance.criterion",
            &["all_parties", "counterparty", "initiator"],
        )?;
    }
    if trees.contains(&Tree::Quorum) {
        let interpretation = top.section("abstention", "abstention")?.text("interpretation")?;
        let known = ["neutral", "implicit_reject", "ignored"];
        one_of(interpretation.is_none_or(|name| known.contains(&name)), "abstention.interpretation", &known)?;
    }
    authority(&top, trees.is_empty())
}

fn decision(top: &Section<'_>, rules: &DecisionRules) -> Result<(), String> {
    one_of(
        rules.algorithm != Algorithm::Unknown,
        "voting.algorithm",
        &["none", "majority", "supermajority", "unanimous", "weighted", "plurality"],
    )?;
    demand(
        rules.threshold > 0.0 && rules.threshold <= 1.0,
        "voting.threshold must be greater than 0 and at most 1",
    )?;
    demand(
        rules.weights.values().all(|weight| *weight > 0.0),
        "every value of voting.weights must be greater than 0; leave out who has no vote",
    )?;
    one_of(rules.floor.kind != FloorKind::Unknown, "voting.quorum.type", &["count", "percentage"])?;
    demand(rules.floor.value >= 0.0, "voting.quorum.value must not be negative")?;
    demand(rules.veto_threshold >= 1, "objection_handling.veto_threshold must be at least 1")?;
    demand(
        (0.0..=1.0).contains(&rules.minimum_confidence),
        "evaluation.minimum_confidence must lie in 0..=1",
    )?;
    demand(
        rules.algorithm != Algorithm::Weighted || !rules.weights.is_empty(),
        "voting.algorithm weighted needs voting.weights, which is its electorate",
    )?;
    let supplied = top.section("voting", "voting")?.get("weights").is_some();
    demand(!supplied || !rules.weights.is_empty(), "voting.weights must not be empty where it is given")?;
    demand(
        rules.algorithm != Algorithm::Supermajority || rules.threshold > 0.5,
        "voting.algorithm supermajority needs a voting.threshold greater than 0.5",
    )?;
    demand(
        rules.algorithm != Algorithm::Majority || rules.threshold >= 0.5,
        "voting.algorithm majority needs a voting.threshold of at least 0.5",
    )
}

/// The `threshold` of the Quorum mode. Its bounds apply to the number as written, before it is rounded up.
fn threshold(top: &Section<'_>) -> Result<(), String> {
    let threshold = top.section("threshold", "threshold")?;
    let kind = threshold.text("type")?;
    one_of(
        matches!(kind, None | Some("n_of_m" | "percentage")),
        "threshold.type",
        &["n_of_m", "percentage"],
    )?;
    let Some(value) = threshold.get("value").and_then(Value::as_f64) else { return Ok(()) };
    demand(value.fract() == 0.0, "threshold.value must be an integer")?;
    demand(
        kind != Some("percentage") || value <= 100.0,
        "threshold.value must be at most 100 for a percentage; it is on a scale of 1 to 100",
    )?;
    demand(value > 0.0, "threshold.value must be greater than 0; leave it out for no override")
}

/// Who may commit. The rules of an extension mode are opaque, so there only a `commitment` of the known shape is
/// judged.
fn authority(top: &Section<'_>, opaque: bool) -> Result<(), String> {
    let commitment = match read::commitment(top) {
        Ok(commitment) => commitment,
        Err(_) if opaque => return Ok(()),
        Err(why) => return Err(why),
    };
    let known = ["initiator_only", "any_participant", "designated_role"];
    one_of(commitment.authority.is_none_or(|name| known.contains(&name)), "commitment.authority", &known)?;
    demand(
        commitment.authority != Some("designated_role") || !commitment.roles.is_empty(),
        "commitment.authority designated_role needs a commitment.designated_roles that names somebody",
    )
}

fn demand(met: bool, text: &str) -> Result<(), String> {
    if met { Ok(()) } else { Err(text.to_owned()) }
}

fn one_of(met: bool, key: &str, names: &[&str]) -> Result<(), String> {
    if met { Ok(()) } else { Err(format!("{key} must be one of {}", names.join(", "))) }
}
