//! Governance policies: what was registered, and what a session bound (RFC-MACP-0012).

pub mod evaluate;
pub mod rules;

use std::collections::BTreeSet;

use macp_wire::v1::PolicyDescriptor;

pub use rules::Rules;

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

/// A policy as a session binds it: the descriptor and its rules, read once.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    descriptor: PolicyDescriptor,
    authority: Authority,
    rules: Rules,
}

impl Policy {
    /// The policy that an empty `policy_version` names; always there.
    pub const DEFAULT_ID: &'static str = "policy.default";

    /// `policy.default`: the mode's own rules and nothing more.
    #[must_use]
    pub fn default_policy() -> Self {
        Self {
            descriptor: PolicyDescriptor {
                policy_id: Self::DEFAULT_ID.to_owned(),
                mode: "*".to_owned(),
                description:
                    "Default policy \u{2014} mode built-in rules apply with no additional governance constraints"
                        .to_owned(),
                rules: "{}".to_owned(),
                schema_version: 1,
                registered_at_unix_ms: 0,
            },
            authority: Authority::InitiatorOnly,
            rules: Rules::default(),
        }
    }

    /// Reads back the policy that a session's history holds; it was checked when it was registered.
    ///
    /// Returns `None` for rules that this release cannot evaluate.
    #[must_use]
    pub fn from_history(descriptor: PolicyDescriptor) -> Option<Self> {
        let default = Self::default_policy();
        (descriptor == default.descriptor).then_some(default)
    }

    /// The policy's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.descriptor.policy_id
    }

    /// What clients see and what a session's history stores.
    #[must_use]
    pub fn descriptor(&self) -> &PolicyDescriptor {
        &self.descriptor
    }

    /// Whether sessions of `mode` may bind it.
    #[must_use]
    pub fn binds_to(&self, mode: &str) -> bool {
        self.descriptor.mode == "*" || self.descriptor.mode == mode
    }

    /// Its rules, with every default filled in.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Who may bind an outcome under it.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.authority
    }
}
