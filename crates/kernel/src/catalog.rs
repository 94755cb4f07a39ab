//! The registered modes and policies as one immutable value, passed into every decision.
//!
//! A change makes a new catalog and leaves the old one to whoever decides with it; what did not change is shared.

use std::collections::BTreeMap;
use std::sync::Arc;

use macp_wire::v1::ModeDescriptor;

use crate::mode::{self, ModeKind};
use crate::policy::Policy;

/// Ids under this prefix are the specification's own (RFC-MACP-0002 §12).
const STANDARD_PREFIX: &str = "macp.mode.";

/// Type of the only message that may end a session (RFC-MACP-0001 §7.3).
const TERMINAL_TYPE: &str = "Commitment";

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

/// The registries as of one moment. Cheap to clone.
#[derive(Clone, Debug, PartialEq)]
pub struct Catalog {
    modes: Arc<BTreeMap<String, ModeEntry>>,
    policies: Arc<BTreeMap<String, Policy>>,
}

impl Default for Catalog {
    fn default() -> Self {
        Self::built_in()
    }
}

/// Why the policy registry does not change; the text is the in-band `error` of the call (RFC-MACP-0012 §7).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyRegistryError {
    /// Registered ids are immutable.
    #[error("policy {0:?} is already registered; changed rules need a new policy_id")]
    AlreadyRegistered(String),
    /// `policy.default`, or a present `policy.std.` profile.
    #[error("policy {0:?} is part of every server and cannot be unregistered")]
    Provided(String),
    /// Nothing to remove.
    #[error("policy {0:?} is not registered")]
    Unknown(String),
}

/// Why the mode registry does not change; the text is the in-band `error` of the call (RFC-MACP-0002 §12).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModeRegistryError {
    /// Registration without an id.
    #[error("mode is blank")]
    BlankId,
    /// Registration or promotion under the specification's prefix.
    #[error("mode {0:?} is reserved: ids under macp.mode. belong to the specification")]
    ReservedId(String),
    /// A mode without messages.
    #[error("message_types is empty")]
    NoMessageTypes,
    /// Registration without a version.
    #[error("mode_version is blank")]
    BlankVersion,
    /// A mode whose sessions could not end.
    #[error("terminal_message_types is empty; use [\"Commitment\"]")]
    NoTerminalType,
    /// A terminal type other than `Commitment`, or one that `message_types` lacks.
    #[error("terminal type {0:?} must be \"Commitment\" and must be in message_types")]
    TerminalType(String),
    /// The id is taken.
    #[error("mode {0:?} is already registered")]
    AlreadyRegistered(String),
    /// Nothing to remove or promote.
    #[error("mode {0:?} is not registered")]
    Unknown(String),
    /// Removal of a mode that came with the server.
    #[error("mode {0:?} is built in and cannot be unregistered")]
    BuiltIn(String),
    /// Removal of a promoted mode.
    #[error("mode {0:?} is standards-track and cannot be unregistered")]
    StandardsTrack(String),
    /// Promotion of a mode that `ListModes` has already.
    #[error("mode {0:?} is already standards-track")]
    AlreadyPromoted(String),
    /// Promotion to a name of white space.
    #[error("promoted_mode_name is blank; leave it empty to keep the name")]
    BlankPromotedName,
}

impl Catalog {
    /// The modes and policies that every server has.
    #[must_use]
    pub fn built_in() -> Self {
        let modes = mode::built_in().into_iter().map(|entry| (entry.descriptor.mode.clone(), entry));
        let policies = Policy::provided().iter().map(|policy| (policy.id().to_owned(), policy.clone()));
        Self { modes: Arc::new(modes.collect()), policies: Arc::new(policies.collect()) }
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

    /// What `ListModes` answers: the specification's modes in its own order, then the promoted ones by id.
    pub fn standard_modes(&self) -> impl Iterator<Item = &ModeEntry> {
        let (mut own, promoted): (Vec<_>, Vec<_>) = self
            .modes
            .values()
            .filter(|entry| entry.standards_track)
            .partition(|entry| canonical_place(entry).is_some());
        own.sort_by_key(|entry| canonical_place(entry));
        own.into_iter().chain(promoted)
    }

    /// What `ListExtModes` answers: every other mode, by id.
    pub fn extension_modes(&self) -> impl Iterator<Item = &ModeEntry> {
        self.modes.values().filter(|entry| !entry.standards_track)
    }

    /// A catalog with one more extension mode, whose messages follow the rules of `kind` (RFC-MACP-0002 §3, §12).
    ///
    /// # Errors
    /// The first rule that the descriptor breaks.
    pub fn with_mode(&self, descriptor: ModeDescriptor, kind: ModeKind) -> Result<Self, ModeRegistryError> {
        if descriptor.mode.trim().is_empty() {
            return Err(ModeRegistryError::BlankId);
        }
        if descriptor.mode.starts_with(STANDARD_PREFIX) {
            return Err(ModeRegistryError::ReservedId(descriptor.mode));
        }
        if descriptor.message_types.is_empty() {
            return Err(ModeRegistryError::NoMessageTypes);
        }
        if descriptor.mode_version.trim().is_empty() {
            return Err(ModeRegistryError::BlankVersion);
        }
        if descriptor.terminal_message_types.is_empty() {
            return Err(ModeRegistryError::NoTerminalType);
        }
        let misfit =
            |terminal: &&String| *terminal != TERMINAL_TYPE || !descriptor.message_types.contains(terminal);
        if let Some(terminal) = descriptor.terminal_message_types.iter().find(misfit) {
            return Err(ModeRegistryError::TerminalType(terminal.clone()));
        }
        if self.modes.contains_key(&descriptor.mode) {
            return Err(ModeRegistryError::AlreadyRegistered(descriptor.mode));
        }
        Ok(self.put(ModeEntry { descriptor, kind, standards_track: false, strict: false, built_in: false }))
    }

    /// A catalog without a registered extension mode.
    ///
    /// # Errors
    /// For a mode that is unknown, built in or promoted.
    pub fn without_mode(&self, id: &str) -> Result<Self, ModeRegistryError> {
        let entry = self.mode(id).ok_or_else(|| ModeRegistryError::Unknown(id.to_owned()))?;
        if entry.built_in {
            return Err(ModeRegistryError::BuiltIn(id.to_owned()));
        }
        if entry.standards_track {
            return Err(ModeRegistryError::StandardsTrack(id.to_owned()));
        }
        Ok(self.take(id))
    }

    /// A catalog in which an extension mode is standards-track and its starts are strict, under `promoted_name`
    /// unless that is empty; and the id it then has.
    ///
    /// # Errors
    /// For a mode that is unknown or promoted already, and for a name that is reserved, blank or taken.
    pub fn promote_mode(&self, id: &str, promoted_name: &str) -> Result<(Self, String), ModeRegistryError> {
        let entry = self.mode(id).ok_or_else(|| ModeRegistryError::Unknown(id.to_owned()))?;
        if entry.standards_track {
            return Err(ModeRegistryError::AlreadyPromoted(id.to_owned()));
        }
        let name = if promoted_name.is_empty() { id } else { promoted_name };
        if name != id {
            if name.starts_with(STANDARD_PREFIX) {
                return Err(ModeRegistryError::ReservedId(name.to_owned()));
            }
            if name.trim().is_empty() {
                return Err(ModeRegistryError::BlankPromotedName);
            }
            if self.modes.contains_key(name) {
                return Err(ModeRegistryError::AlreadyRegistered(name.to_owned()));
            }
        }
        let mut promoted = ModeEntry { standards_track: true, strict: true, ..entry.clone() };
        name.clone_into(&mut promoted.descriptor.mode);
        Ok((self.take(id).put(promoted), name.to_owned()))
    }

    fn put(&self, entry: ModeEntry) -> Self {
        let mut modes = BTreeMap::clone(&self.modes);
        modes.insert(entry.descriptor.mode.clone(), entry);
        Self { modes: Arc::new(modes), policies: Arc::clone(&self.policies) }
    }

    fn take(&self, id: &str) -> Self {
        let mut modes = BTreeMap::clone(&self.modes);
        modes.remove(id);
        Self { modes: Arc::new(modes), policies: Arc::clone(&self.policies) }
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

    /// What `ListPolicies` answers: the policies that sessions of `mode` may bind, or all if it is empty, by id.
    pub fn policies_for<'a>(&'a self, mode: &'a str) -> impl Iterator<Item = &'a Policy> {
        self.policies.values().filter(move |policy| mode.is_empty() || policy.binds_to(mode))
    }

    /// A catalog with one more policy: one that was just admitted ([`Policy::admit`]), or one that was registered
    /// before a restart ([`Policy::from_history`]).
    ///
    /// # Errors
    /// For an id that is taken, by whatever definition.
    pub fn with_policy(&self, policy: Policy) -> Result<Self, PolicyRegistryError> {
        if self.policies.contains_key(policy.id()) {
            return Err(PolicyRegistryError::AlreadyRegistered(policy.id().to_owned()));
        }
        let mut policies = BTreeMap::clone(&self.policies);
        policies.insert(policy.id().to_owned(), policy);
        Ok(Self { modes: Arc::clone(&self.modes), policies: Arc::new(policies) })
    }

    /// A catalog without a registered policy. Sessions that bound it keep their own copy.
    ///
    /// # Errors
    /// For a policy that came with the server or is unknown.
    pub fn without_policy(&self, id: &str) -> Result<Self, PolicyRegistryError> {
        if Policy::provided().iter().any(|policy| policy.id() == id) {
            return Err(PolicyRegistryError::Provided(id.to_owned()));
        }
        if !self.policies.contains_key(id) {
            return Err(PolicyRegistryError::Unknown(id.to_owned()));
        }
        let mut policies = BTreeMap::clone(&self.policies);
        policies.remove(id);
        Ok(Self { modes: Arc::clone(&self.modes), policies: Arc::new(policies) })
    }
}

/// Where the specification lists its own modes (RFC-MACP-0002 §10); other modes have no place there.
fn canonical_place(entry: &ModeEntry) -> Option<usize> {
    ["decision", "proposal", "task", "handoff", "quorum"].iter().position(|name| {
        entry.descriptor.mode.strip_prefix(STANDARD_PREFIX).and_then(|rest| rest.strip_suffix(".v1"))
            == Some(name)
    })
}
