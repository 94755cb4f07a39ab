//! What a bound policy says of a commitment that its mode finds eligible (RFC-MACP-0012 §6).
//!
//! Each function takes the facts that its rules look at and nothing of a mode's own bookkeeping. All are pure in
//! the bound descriptor, those facts and the declared participants; registered extension modes have none.

mod decision;
mod handoff;
mod proposal;
mod quorum;
mod tally;
mod task;

pub use decision::decision;
pub use handoff::handoff;
pub use proposal::proposal;
pub use quorum::quorum;
pub use task::{reassignment, task};

use super::Policy;
use super::admit::NEWEST_SCHEMA_VERSION;
use super::keys::Tree;
use super::rules::Rules;
use crate::refusal::{Denial, Refusal};

/// First `schema_version` under which an algorithm denies a positive commitment on an empty decisive tally.
pub(super) const EMPTY_TALLY_DENIES: u32 = 3;

/// The rules to evaluate, unless the stored policy is beyond this release: what cannot be evaluated is denied.
fn rules_of(policy: &Policy, tree: Tree) -> Result<&Rules, Refusal> {
    let version = policy.descriptor().schema_version;
    if !(1..=NEWEST_SCHEMA_VERSION).contains(&version) {
        let message = format!("the policy has schema_version {version}, which this server cannot evaluate");
        return refuse(policy, denial("unsupported_schema_version", message));
    }
    if !policy.is_readable(tree) {
        return refuse(
            policy,
            denial("invalid_rules", "the policy's rules cannot be evaluated by this server"),
        );
    }
    Ok(policy.rules())
}

/// A reason to deny. Messages never name a participant, so that a deployment can redact by dropping the list.
fn denial(code: &'static str, message: impl Into<String>) -> Denial {
    Denial { code, message: message.into(), participants: Vec::new() }
}

/// `POLICY_DENIED` for a single reason.
fn refuse<T>(policy: &Policy, denial: Denial) -> Result<T, Refusal> {
    Err(Refusal::policy_denied(policy.id(), &[denial]))
}
