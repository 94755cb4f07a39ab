//! From the JSON of rules to their types: what is there must have the right type, what is not has its default.
//!
//! Registration and history read alike; only registration judges the values afterwards. So names that this
//! release does not know are read as such where evaluation has a rule for them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::Authority;
use super::keys::Tree;
use super::rules::{
    Algorithm, Criterion, CriticalAction, DecisionRules, Floor, FloorKind, HandoffRules, ProposalRules,
    QuorumRules, Rules, TaskRules, Threshold,
};

/// Reads one tree of `rules` into its place; the text says what has the wrong type.
pub(super) fn tree(tree: Tree, rules: &Value, into: &mut Rules) -> Result<(), String> {
    let rules = Section::top(rules)?;
    commitment(&rules)?;
    match tree {
        Tree::Decision => into.decision = decision(&rules)?,
        Tree::Proposal => into.proposal = proposal(&rules)?,
        Tree::Task => into.task = task(&rules)?,
        Tree::Handoff => into.handoff = handoff(&rules)?,
        Tree::Quorum => into.quorum = quorum(&rules)?,
    }
    Ok(())
}

/// Whether history holds only names that evaluation has a rule for.
pub(super) fn names_known(tree: Tree, rules: &Value) -> bool {
    tree != Tree::Proposal
        || Section::top(rules).and_then(|rules| criterion(&rules)).is_ok_and(|it| it.is_some())
}

/// Who may bind; the initiator alone if the rules do not say so in a usable way.
pub(super) fn authority(rules: &Value) -> Authority {
    match Section::top(rules).and_then(|rules| commitment(&rules)) {
        Ok(Commitment { authority: Some("any_participant"), .. }) => Authority::AnyParticipant,
        Ok(Commitment { authority: Some("designated_role"), roles }) => {
            Authority::DesignatedRole(roles.into_iter().map(str::to_owned).collect::<BTreeSet<_>>())
        }
        _ => Authority::InitiatorOnly,
    }
}

/// The `commitment` keys that every tree has.
#[derive(Debug, PartialEq)]
pub(super) struct Commitment<'a> {
    pub(super) authority: Option<&'a str>,
    pub(super) roles: Vec<&'a str>,
}

/// Reads the `commitment` keys that every tree has.
pub(super) fn commitment<'a>(rules: &Section<'a>) -> Result<Commitment<'a>, String> {
    let section = rules.section("commitment", "commitment")?;
    Ok(Commitment { authority: section.text("authority")?, roles: section.texts("designated_roles")? })
}

fn decision(rules: &Section<'_>) -> Result<DecisionRules, String> {
    let voting = rules.section("voting", "voting")?;
    let quorum = voting.section("quorum", "voting.quorum")?;
    let objections = rules.section("objection_handling", "objection_handling")?;
    let evaluation = rules.section("evaluation", "evaluation")?;
    let commitment = rules.section("commitment", "commitment")?;
    let default = DecisionRules::default();
    Ok(DecisionRules {
        algorithm: match voting.text("algorithm")? {
            None | Some("none") => Algorithm::None,
            Some("majority") => Algorithm::Majority,
            Some("supermajority") => Algorithm::Supermajority,
            Some("unanimous") => Algorithm::Unanimous,
            Some("weighted") => Algorithm::Weighted,
            Some("plurality") => Algorithm::Plurality,
            Some(_) => Algorithm::Unknown,
        },
        threshold: voting.number("threshold", default.threshold)?,
        floor: Floor {
            kind: match quorum.text("type")? {
                None | Some("count") => FloorKind::Count,
                Some("percentage") => FloorKind::Percentage,
                Some(_) => FloorKind::Unknown,
            },
            value: quorum.number("value", default.floor.value)?,
        },
        weights: voting.numbers("weights")?,
        critical_severity_vetoes: objections.boolean("critical_severity_vetoes")?,
        veto_threshold: objections.count("veto_threshold", default.veto_threshold)?,
        critical_objection_action: match objections.text("critical_objection_action")? {
            None | Some("deny") => CriticalAction::Deny,
            Some("finalize_decline") => CriticalAction::FinalizeDecline,
            Some("hold") => CriticalAction::Hold,
            // Unlike the other names this one has no rule to fall back on, so it is a fault of the tree.
            Some(_) => {
                return Err(
                    "objection_handling.critical_objection_action must be one of deny, finalize_decline, hold"
                        .to_owned(),
                );
            }
        },
        minimum_confidence: evaluation.number("minimum_confidence", default.minimum_confidence)?,
        required_before_voting: evaluation.boolean("required_before_voting")?,
        require_vote_quorum: commitment.boolean("require_vote_quorum")?,
        allow_decline_over_approval: commitment.boolean("allow_decline_over_approval")?,
    })
}

fn proposal(rules: &Section<'_>) -> Result<ProposalRules, String> {
    Ok(ProposalRules {
        // Registration refuses an unknown name, and evaluation denies one that history holds.
        criterion: criterion(rules)?.unwrap_or_default(),
        max_rounds: rules.section("counter_proposal", "counter_proposal")?.count("max_rounds", 0)?,
        terminal_on_any_reject: rules.section("rejection", "rejection")?.boolean("terminal_on_any_reject")?,
    })
}

/// `acceptance.criterion`, or `None` for a name that this release does not know.
pub(super) fn criterion(rules: &Section<'_>) -> Result<Option<Criterion>, String> {
    Ok(match rules.section("acceptance", "acceptance")?.text("criterion")? {
        None | Some("all_parties") => Some(Criterion::AllParties),
        Some("counterparty") => Some(Criterion::Counterparty),
        Some("initiator") => Some(Criterion::Initiator),
        Some(_) => None,
    })
}

fn task(rules: &Section<'_>) -> Result<TaskRules, String> {
    Ok(TaskRules {
        allow_reassignment_on_reject: rules
            .section("assignment", "assignment")?
            .boolean("allow_reassignment_on_reject")?,
        require_output: rules.section("completion", "completion")?.boolean("require_output")?,
    })
}

fn handoff(rules: &Section<'_>) -> Result<HandoffRules, String> {
    let acceptance = rules.section("acceptance", "acceptance")?;
    Ok(HandoffRules { implicit_accept_timeout_ms: acceptance.count("implicit_accept_timeout_ms", 0)? })
}

fn quorum(rules: &Section<'_>) -> Result<QuorumRules, String> {
    let threshold = rules.section("threshold", "threshold")?;
    let abstention = rules.section("abstention", "abstention")?;
    abstention.boolean("counts_toward_quorum")?;
    abstention.text("interpretation")?;
    threshold.number("value", 0.0)?;
    let kind = threshold.text("type")?;
    let value = threshold.get("value").map_or(0, at_least);
    Ok(QuorumRules {
        threshold: (value > 0).then_some(match kind {
            // `count` was an alias once: closed to registration, still read from history.
            None | Some("n_of_m" | "count") => Threshold::NOfM(value),
            Some("percentage") => Threshold::Percentage(value),
            Some(_) => Threshold::Unknown,
        }),
    })
}

/// The least whole number that is not below `value`; 0 for a negative one.
fn at_least(value: &Value) -> u64 {
    value.as_u64().or_else(|| value.as_f64().map(|value| value.ceil() as u64)).unwrap_or(0)
}

/// An object of the rules and where it stands.
#[derive(Debug)]
pub(super) struct Section<'a> {
    path: &'static str,
    members: Option<&'a Map<String, Value>>,
}

impl<'a> Section<'a> {
    /// The rules themselves.
    pub(super) fn top(rules: &'a Value) -> Result<Self, String> {
        match rules {
            Value::Object(members) => Ok(Self { path: "", members: Some(members) }),
            _ => Err("rules must be a JSON object".to_owned()),
        }
    }

    /// The object at `key`, empty if absent; `path` names it to people.
    pub(super) fn section(&self, key: &str, path: &'static str) -> Result<Self, String> {
        match self.get(key) {
            None => Ok(Self { path, members: None }),
            Some(Value::Object(members)) => Ok(Self { path, members: Some(members) }),
            Some(_) => Err(format!("{path} must be an object")),
        }
    }

    /// The value at `key`. A `null` is a value, not an absence.
    pub(super) fn get(&self, key: &str) -> Option<&'a Value> {
        self.members.and_then(|members| members.get(key))
    }

    /// The string at `key`.
    pub(super) fn text(&self, key: &str) -> Result<Option<&'a str>, String> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(key, "a string")),
        }
    }

    fn texts(&self, key: &str) -> Result<Vec<&'a str>, String> {
        let wrong = || self.wrong(key, "an array of strings");
        match self.get(key) {
            None => Ok(Vec::new()),
            Some(Value::Array(items)) => items.iter().map(|item| item.as_str().ok_or_else(wrong)).collect(),
            Some(_) => Err(wrong()),
        }
    }

    /// Every switch of every tree is off by default.
    fn boolean(&self, key: &str) -> Result<bool, String> {
        match self.get(key) {
            None => Ok(false),
            Some(Value::Bool(value)) => Ok(*value),
            Some(_) => Err(self.wrong(key, "true or false")),
        }
    }

    fn number(&self, key: &str, default: f64) -> Result<f64, String> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => value.as_f64().ok_or_else(|| self.wrong(key, "a number")),
        }
    }

    /// A whole number from 0 up. `1.0` is one; what exceeds 64 bits is never reached anyway and becomes the largest.
    fn count(&self, key: &str, default: u64) -> Result<u64, String> {
        let Some(value) = self.get(key) else { return Ok(default) };
        match (value.as_u64(), value.as_f64()) {
            (Some(count), _) => Ok(count),
            (None, Some(number)) if number >= 0.0 && number.fract() == 0.0 => Ok(number as u64),
            _ => Err(self.wrong(key, "an integer that is not negative")),
        }
    }

    fn numbers(&self, key: &str) -> Result<BTreeMap<Box<str>, f64>, String> {
        let wrong = || self.wrong(key, "an object of numbers");
        match self.get(key) {
            None => Ok(BTreeMap::new()),
            Some(Value::Object(members)) => members
                .iter()
                .map(|(name, value)| Ok((name.as_str().into(), value.as_f64().ok_or_else(wrong)?)))
                .collect(),
            Some(_) => Err(wrong()),
        }
    }

    fn wrong(&self, key: &str, want: &str) -> String {
        format!("{}.{key} must be {want}", self.path)
    }
}
