//! Governance policies: what was registered, and what a session bound (RFC-MACP-0012).
//!
//! | to find | open |
//! |---|---|
//! | whether a descriptor is admitted | [`admit`] |
//! | which keys rules may have | `keys` |
//! | what a key means and its default | [`rules`] |
//! | which values it may have | `domain` |
//! | whether a commitment is allowed | [`evaluate`] |

pub mod admit;
mod domain;
pub mod evaluate;
mod json;
mod keys;
mod read;
mod reserved;
pub mod rules;

use std::collections::BTreeSet;
use std::sync::Arc;

use macp_wire::v1::PolicyDescriptor;

pub use admit::InvalidPolicy;
pub use rules::Rules;

use crate::time::UnixMillis;
use admit::Ids;
use keys::Tree;
use rules::Algorithm;

/// Who may bind an outcome (RFC-MACP-0012 §4, `commitment.authority`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authority {
    /// The session's initiator.
    InitiatorOnly,
    /// The initiator or any declared participant.
    AnyParticipant,
    /// Exactly these senders; the initiator is not implied.
    DesignatedRole(BTreeSet<String>),
}

/// A policy: its descriptor and its rules, read once. Clones share both.
#[derive(Clone, Debug)]
pub struct Policy(Arc<Definition>);

#[derive(Clone, Debug)]
struct Definition {
    descriptor: PolicyDescriptor,
    authority: Authority,
    rules: Rules,
    /// Trees that a stored descriptor holds in a form that cannot be evaluated; empty after admission.
    unreadable: Vec<Tree>,
}

impl PartialEq for Policy {
    fn eq(&self, other: &Self) -> bool {
        // The rest is read from the descriptor.
        Arc::ptr_eq(&self.0, &other.0) || self.0.descriptor == other.0.descriptor
    }
}

impl Policy {
    /// The policy that an empty `policy_version` names; always there.
    pub const DEFAULT_ID: &'static str = "policy.default";

    /// `policy.default`: the mode's own rules and nothing more.
    #[must_use]
    pub fn default_policy() -> Self {
        reserved::provided()[0].clone()
    }

    /// The policies that come with the server: `policy.default` and the `policy.std.` profiles.
    #[must_use]
    pub fn provided() -> &'static [Self] {
        reserved::provided()
    }

    /// Admits a descriptor for registration (RFC-MACP-0012 §7). Whether its id is taken is the catalog's to say.
    ///
    /// # Errors
    /// The first check that fails.
    pub fn admit(descriptor: PolicyDescriptor, at: UnixMillis) -> Result<Self, InvalidPolicy> {
        Self::checked(PolicyDescriptor { registered_at_unix_ms: at.0, ..descriptor }, Ids::Judged)
    }

    /// Admits a what-if candidate: it may have any id, since it is never registered (RFC-MACP-0012 §8.1).
    ///
    /// # Errors
    /// The first check that fails.
    pub fn candidate(descriptor: PolicyDescriptor) -> Result<Self, InvalidPolicy> {
        Self::checked(descriptor, Ids::Any)
    }

    fn checked(mut descriptor: PolicyDescriptor, ids: Ids) -> Result<Self, InvalidPolicy> {
        let (rules, json) = admit::admit(&descriptor, ids)?;
        if descriptor.rules.is_empty() {
            "{}".clone_into(&mut descriptor.rules);
        }
        let authority = read::authority(&json);
        Ok(Self(Arc::new(Definition { descriptor, authority, rules, unreadable: Vec::new() })))
    }

    /// Takes back a policy that was admitted once. It is not judged again: what cannot be evaluated is denied when
    /// it is evaluated (RFC-MACP-0012 §8).
    #[must_use]
    pub fn from_history(descriptor: PolicyDescriptor) -> Self {
        match reserved::provided().iter().find(|policy| policy.0.descriptor == descriptor) {
            Some(shared) => shared.clone(),
            None => Self::read(descriptor),
        }
    }

    fn read(descriptor: PolicyDescriptor) -> Self {
        let trees = keys::trees(&descriptor.mode);
        let mut rules = Rules::default();
        let mut unreadable = Vec::new();
        let mut authority = Authority::InitiatorOnly;
        match json::parse_stored(&descriptor.rules) {
            Ok(json) => {
                authority = read::authority(&json);
                for tree in trees.iter().copied() {
                    if read::tree(tree, &json, &mut rules).is_err() || !read::names_known(tree, &json) {
                        unreadable.push(tree);
                    }
                }
            }
            Err(_) => unreadable.extend(trees),
        }
        Self(Arc::new(Definition { descriptor, authority, rules, unreadable }))
    }

    /// The same rules under another id: a what-if candidate stands in for the bound policy, and commitments in
    /// history name that one.
    #[must_use]
    pub fn under_id(&self, policy_id: &str) -> Self {
        let mut definition = Definition::clone(&self.0);
        policy_id.clone_into(&mut definition.descriptor.policy_id);
        Self(Arc::new(definition))
    }

    /// The policy's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.0.descriptor.policy_id
    }

    /// What clients see and what a session's history stores.
    #[must_use]
    pub fn descriptor(&self) -> &PolicyDescriptor {
        &self.0.descriptor
    }

    /// Whether sessions of `mode` may bind it.
    #[must_use]
    pub fn binds_to(&self, mode: &str) -> bool {
        self.0.descriptor.mode == "*" || self.0.descriptor.mode == mode
    }

    /// Who may bind an outcome under it.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.0.authority
    }

    /// Its rules, with every default filled in.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.0.rules
    }

    /// Whether the two are one definition (RFC-MACP-0012 §8): same id, schema version and rules. Rules compare as
    /// JSON without annotations, and literally: a spelled-out default differs from an absent key.
    #[must_use]
    pub fn same_definition(&self, other: &Self) -> bool {
        let (left, right) = (self.descriptor(), other.descriptor());
        if left.policy_id != right.policy_id || left.schema_version != right.schema_version {
            return false;
        }
        let parsed = |descriptor: &PolicyDescriptor| {
            json::parse_stored(&descriptor.rules)
                .map(|rules| keys::without_annotations(keys::trees(&descriptor.mode), rules))
        };
        match (parsed(left), parsed(right)) {
            (Ok(left), Ok(right)) => json::same(&left, &right),
            _ => left.rules == right.rules,
        }
    }

    /// What an operator should be told of an admitted policy that is legal and probably not meant so
    /// (RFC-MACP-0012 §4.1).
    #[must_use]
    pub fn warning(&self) -> Option<&'static str> {
        let decision = &self.0.rules.decision;
        let empty_tally_passes = self.0.descriptor.schema_version < evaluate::EMPTY_TALLY_DENIES
            && decision.algorithm != Algorithm::None
            && !decision.require_vote_quorum;
        empty_tally_passes.then_some(
            "a positive commitment is allowed without a single vote; set commitment.require_vote_quorum or use \
             schema_version 3",
        )
    }

    fn is_readable(&self, tree: Tree) -> bool {
        !self.0.unreadable.contains(&tree)
    }
}
