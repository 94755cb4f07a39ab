//! Whether a descriptor becomes a policy: the checks of registration, in order (RFC-MACP-0012 §7).

use macp_wire::v1::PolicyDescriptor;
use serde_json::Value;

use super::keys::{self, trees};
use super::rules::Rules;
use super::{domain, json, read, reserved};
use crate::refusal::{Refusal, RefusalCode};

/// Newest `schema_version` whose rules this release knows.
pub const NEWEST_SCHEMA_VERSION: u32 = 3;

/// Why a descriptor is not admitted.
///
/// Its text is what `RegisterPolicy` answers in band: the code, then the sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("INVALID_POLICY_DEFINITION: {why}")]
pub struct InvalidPolicy {
    /// The check that failed; those before it passed.
    pub check: Check,
    /// What is wrong, for people.
    pub why: String,
}

/// The checks of admission, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Check {
    /// `rules` is JSON text.
    Text,
    /// `policy_id` is not blank.
    Id,
    /// `policy_id` is not `policy.default`.
    DefaultId,
    /// `schema_version` is given.
    VersionGiven,
    /// `schema_version` is known.
    VersionKnown,
    /// `rules` is an object.
    Object,
    /// Every key has a meaning at its place.
    Keys,
    /// Objects and names stand where they must.
    Shape,
    /// An id under `policy.std.` comes with its canonical definition.
    ReservedId,
    /// Values have the right types.
    Types,
    /// Values lie in their domains.
    Domain,
}

impl From<InvalidPolicy> for Refusal {
    fn from(invalid: InvalidPolicy) -> Self {
        Self::new(RefusalCode::InvalidPolicyDefinition, invalid.why)
    }
}

/// Whether the descriptor's id is judged as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ids {
    /// For a registration.
    Judged,
    /// For a what-if candidate, which is never registered.
    Any,
}

/// Runs the checks on a descriptor and reads its rules. Whether its id is taken is the catalog's to say.
pub(super) fn admit(descriptor: &PolicyDescriptor, ids: Ids) -> Result<(Rules, Value), InvalidPolicy> {
    let fail = |check, why: String| Err(InvalidPolicy { check, why });
    let rules = match json::parse_registered(&descriptor.rules) {
        Ok(rules) => rules,
        Err(error) => return fail(Check::Text, format!("rules is not JSON: {error}")),
    };
    if ids == Ids::Judged && descriptor.policy_id.trim().is_empty() {
        return fail(Check::Id, "policy_id is blank".to_owned());
    }
    if ids == Ids::Judged && descriptor.policy_id == super::Policy::DEFAULT_ID {
        return fail(
            Check::DefaultId,
            "policy.default is part of every server and cannot be registered".to_owned(),
        );
    }
    if descriptor.schema_version == 0 {
        return fail(
            Check::VersionGiven,
            format!("schema_version is missing or 0; use 1 to {NEWEST_SCHEMA_VERSION}"),
        );
    }
    if descriptor.schema_version > NEWEST_SCHEMA_VERSION {
        return fail(
            Check::VersionKnown,
            format!(
                "schema_version {} is not known here; use 1 to {NEWEST_SCHEMA_VERSION}",
                descriptor.schema_version
            ),
        );
    }
    let Value::Object(members) = &rules else {
        return fail(Check::Object, "rules must be a JSON object".to_owned());
    };
    let trees = trees(&descriptor.mode);
    if let Err(why) = keys::check_keys(trees, members) {
        return fail(Check::Keys, why);
    }
    if let Err(why) = keys::check_shape(trees, members) {
        return fail(Check::Shape, why);
    }
    if ids == Ids::Judged
        && descriptor.policy_id.starts_with(reserved::PREFIX)
        && !reserved::is_canonical(descriptor, &rules)
    {
        return fail(
            Check::ReservedId,
            format!(
                "ids under {} are reserved for the profiles of the specification; choose another id",
                reserved::PREFIX
            ),
        );
    }
    let mut typed = Rules::default();
    for tree in trees {
        if let Err(why) = read::tree(*tree, &rules, &mut typed) {
            return fail(Check::Types, why);
        }
    }
    if let Err(why) = domain::check(&descriptor.mode, &rules, &typed) {
        return fail(Check::Domain, why);
    }
    Ok((typed, rules))
}
