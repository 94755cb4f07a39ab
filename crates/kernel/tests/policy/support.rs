//! Short notations for policies, ballots and expected denials.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use macp_kernel::mode::ModeKind;
use macp_kernel::mode::decision::{Choice, Decision, Evaluation, Objection, Phase, Recommendation, Severity};
use macp_kernel::policy::{InvalidPolicy, Policy, evaluate};
use macp_kernel::session::Binding;
use macp_kernel::{ParticipantId, Refusal, RefusalCode, UnixMillis};
use macp_wire::v1::PolicyDescriptor;
use serde_json::Value;

pub(crate) const DECISION: &str = "macp.mode.decision.v1";
pub(crate) const PROPOSAL: &str = "macp.mode.proposal.v1";
pub(crate) const TASK: &str = "macp.mode.task.v1";
pub(crate) const HANDOFF: &str = "macp.mode.handoff.v1";
pub(crate) const QUORUM: &str = "macp.mode.quorum.v1";

/// A descriptor under a free id.
pub(crate) fn descriptor(mode: &str, schema_version: u32, rules: &str) -> PolicyDescriptor {
    PolicyDescriptor {
        policy_id: "policy.test.one".to_owned(),
        mode: mode.to_owned(),
        description: String::new(),
        rules: rules.to_owned(),
        schema_version,
        registered_at_unix_ms: 0,
    }
}

pub(crate) fn admit(descriptor: PolicyDescriptor) -> Result<Policy, InvalidPolicy> {
    Policy::admit(descriptor, UnixMillis(1_700_000_000_000))
}

/// A policy that must be admitted.
pub(crate) fn policy(mode: &str, schema_version: u32, rules: &str) -> Policy {
    admit(descriptor(mode, schema_version, rules)).unwrap_or_else(|error| panic!("{rules}: {error}"))
}

/// A policy as only history can hold it.
pub(crate) fn stored(mode: &str, schema_version: u32, rules: &str) -> Policy {
    Policy::from_history(descriptor(mode, schema_version, rules))
}

/// A binding of `policy` for a session of these participants, the first of whom started it.
pub(crate) fn binding<S: AsRef<str>>(policy: Policy, participants: &[S]) -> Binding {
    Binding {
        mode: DECISION.to_owned(),
        mode_kind: ModeKind::Decision,
        message_types: BTreeSet::new(),
        mode_version: "1.0.0".to_owned(),
        configuration_version: "config.default".to_owned(),
        policy,
        initiator: participants.first().map_or("a", AsRef::as_ref).into(),
        participants: participants.iter().map(|it| it.as_ref().into()).collect(),
        context_id: String::new(),
        extension_keys: Vec::new(),
        roots: Vec::new(),
        started_at: UnixMillis(0),
        max_suspend_ms: 1,
        semantics_rev: macp_kernel::SEMANTICS_REV,
    }
}

/// State of a decision session from words: `a:A` a vote of a (`A`, `R` or `-` to abstain), `p2/a:A` on another
/// proposal, `a!` a critical objection, `a?` a high one, `a=0.8` an approving evaluation, `a~0.8` a `REVIEW`.
pub(crate) fn state(words: &str) -> Decision {
    let mut state = Decision {
        phase: Phase::Voting,
        proposals: BTreeMap::new(),
        evaluations: Vec::new(),
        objections: Vec::new(),
        votes: BTreeMap::new(),
    };
    for word in words.split_whitespace() {
        let (proposal, word) = word.split_once('/').unwrap_or(("p1", word));
        let proposal_id: Arc<str> = proposal.into();
        let at = word.find([':', '!', '?', '=', '~']).unwrap();
        let (sender, rest) = word.split_at(at);
        let sender = ParticipantId::from(sender);
        let value = &rest[1..];
        match &rest[..1] {
            ":" => {
                let choice = match value {
                    "A" => Choice::Approve,
                    "R" => Choice::Reject,
                    _ => Choice::Abstain,
                };
                state.votes.entry(proposal_id).or_default().insert(sender, choice);
            }
            mark @ ("!" | "?") => {
                let severity = if mark == "!" { Severity::Critical } else { Severity::High };
                state.objections.push(Objection { proposal_id, severity, sender });
            }
            mark => {
                let recommendation =
                    if mark == "=" { Recommendation::Approve } else { Recommendation::Review };
                let confidence = value.parse().unwrap();
                state.evaluations.push(Evaluation { proposal_id, recommendation, confidence, sender });
            }
        }
    }
    state
}

/// The codes of a denial, in order and separated by spaces; empty if allowed. Checks the form of the refusal too.
pub(crate) fn codes(verdict: Result<(), Refusal>) -> String {
    denials(verdict).iter().map(|it| it["code"].as_str().unwrap()).collect::<Vec<_>>().join(" ")
}

/// The structured denials of a refusal; none if allowed.
pub(crate) fn denials(verdict: Result<(), Refusal>) -> Vec<Value> {
    let Err(refusal) = verdict else { return Vec::new() };
    assert_eq!(refusal.code, RefusalCode::PolicyDenied);
    let details: Value = serde_json::from_slice(&refusal.details).unwrap();
    let denials = details["denials"].as_array().unwrap().clone();
    assert!(!denials.is_empty());
    let messages: Vec<_> = denials.iter().map(|it| it["message"].clone()).collect();
    assert_eq!(details["reasons"].as_array().unwrap(), &messages);
    denials
}

/// Participants a, b and c; expected denial codes for a positive and for a negative commitment.
pub(crate) fn check(policy: Policy, words: &str, positive: &str, negative: &str) {
    let rules = policy.descriptor().rules.clone();
    let version = policy.descriptor().schema_version;
    let binding = binding(policy, &["a", "b", "c"]);
    let state = state(words);
    for (outcome_positive, expected) in [(true, positive), (false, negative)] {
        let got = codes(evaluate::decision(&binding, &state, outcome_positive));
        assert_eq!(got, expected, "v{version} {rules} [{words}] positive: {outcome_positive}");
    }
}
