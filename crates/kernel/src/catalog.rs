//! A read-only view of the registered modes and policies, passed into every decision.

use std::collections::BTreeMap;

use macp_wire::v1::ModeDescriptor;

use crate::mode::{self, ModeKind};
use crate::policy::Policy;

/// A registered mode.
#[derive(Clone, Debug, PartialEq)]
pub struct ModeEntry {
    /// What clients see.
    pub descriptor: ModeDescriptor,
    /// Which rules it stands for.
    pub kind: ModeKind,
    /// Whether it is listed by `ListModes` (standards-track or promoted) and not by `ListExtModes`.
    pub standards_track: bool,
    /// Whether starts must satisfy the full `SessionStart` contract.
    pub strict: bool,
    /// Whether it came with the server and cannot be unregistered.
    pub built_in: bool,
}

/// The registries as of one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Catalog {
    modes: BTreeMap<String, ModeEntry>,
    policies: BTreeMap<String, Policy>,
}

impl Default for Catalog {
    fn default() -> Self {
        Self::built_in()
    }
}

impl Catalog {
    /// The modes and policies that every server has.
    #[must_use]
    pub fn built_in() -> Self {
        Self {
            modes: mode::built_in().into_iter().map(|entry| (entry.descriptor.mode.clone(), entry)).collect(),
            policies: [Policy::default_policy()].into_iter().map(|p| (p.id().to_owned(), p)).collect(),
        }
    }

    /// The mode with this id.
    #[must_use]
    pub fn mode(&self, id: &str) -> Option<&ModeEntry> {
        self.modes.get(id)
    }

    /// Every mode, by id.
    pub fn modes(&self) -> impl Iterator<Item = &ModeEntry> {
        self.modes.values()
    }

    /// The policy that `policy_version` names; empty names `policy.default`.
    #[must_use]
    pub fn policy(&self, policy_version: &str) -> Option<&Policy> {
        let id = if policy_version.is_empty() { Policy::DEFAULT_ID } else { policy_version };
        self.policies.get(id)
    }

    /// Every policy, by id.
    pub fn policies(&self) -> impl Iterator<Item = &Policy> {
        self.policies.values()
    }
}
