//! Who is calling: the outcome of authentication as plain data, and the capabilities it grants.

use std::collections::BTreeSet;

use crate::ids::ParticipantId;
use crate::refusal::{Refusal, RefusalCode};
use crate::time::UnixMillis;

/// What an authenticated identity may do beyond sending (RFC-MACP-0004 §3, §4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// May submit `SessionStart`.
    pub can_start_sessions: bool,
    /// Modes it may submit envelopes in; `None` means every mode, an empty set means none.
    pub allowed_modes: Option<BTreeSet<String>>,
    /// Most sessions that it started and that are open at one time; `None` means no cap.
    pub max_open_sessions: Option<u64>,
    /// May change the mode and policy registries.
    pub can_manage_mode_registry: bool,
    /// May read every session. Grants no right to send.
    pub is_observer: bool,
}

impl Default for Capabilities {
    fn default() -> Self {
        Self {
            can_start_sessions: true,
            allowed_modes: None,
            max_open_sessions: None,
            can_manage_mode_registry: false,
            is_observer: false,
        }
    }
}

/// Which of the operator's credentials was presented, told apart without knowing it: a number that is good in one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CredentialId(pub u64);

/// An authenticated identity. Only the auth crate makes one from a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The sender that every envelope of this caller carries.
    pub sender: ParticipantId,
    /// Whether a verified credential names the sender; false for development identities.
    pub verified: bool,
    /// What the identity may do.
    pub capabilities: Capabilities,
    /// From when on the credential is no longer good; a connection or stream that was opened with it ends then. `None`
    /// for a credential without an end.
    pub expires_at: Option<UnixMillis>,
    /// The credential, if the operator may take it away while something that it opened is open.
    pub credential: Option<CredentialId>,
}

impl Caller {
    /// A verified caller with the default capabilities.
    #[must_use]
    pub fn new(sender: impl Into<ParticipantId>) -> Self {
        Self {
            sender: sender.into(),
            verified: true,
            capabilities: Capabilities::default(),
            expires_at: None,
            credential: None,
        }
    }

    /// Whether the credential is no longer good.
    #[must_use]
    pub fn has_expired(&self, now: UnixMillis) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    /// Refuses with `FORBIDDEN` unless the caller may change the registries.
    ///
    /// # Errors
    /// `FORBIDDEN` when `can_manage_mode_registry` is not granted.
    pub fn require_registry_rights(&self) -> Result<(), Refusal> {
        if self.capabilities.can_manage_mode_registry {
            return Ok(());
        }
        Err(Refusal::new(
            RefusalCode::Forbidden,
            "this identity may not change the registries; its credential lacks can_manage_mode_registry",
        ))
    }
}

/// The outcome of looking for a credential on a request or connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// No credential was presented.
    Anonymous,
    /// A credential was presented and not accepted. The refusal says why without repeating it: mostly
    /// `UNAUTHENTICATED`, and `UNAVAILABLE` when it could not be judged.
    Rejected(Refusal),
    /// A credential was accepted.
    Known(Caller),
}

impl Identity {
    /// A credential that is not accepted for this reason, with `UNAUTHENTICATED`.
    #[must_use]
    pub fn rejected(why: impl Into<String>) -> Self {
        Self::Rejected(Refusal::new(RefusalCode::Unauthenticated, why))
    }

    /// From when on a connection or stream of this identity must end.
    #[must_use]
    pub fn expires_at(&self) -> Option<UnixMillis> {
        match self {
            Self::Known(caller) => caller.expires_at,
            Self::Anonymous | Self::Rejected(_) => None,
        }
    }

    /// The caller, for the calls that need one.
    ///
    /// # Errors
    /// `UNAUTHENTICATED` when there is no accepted credential, or the refusal of the one that was presented.
    pub fn require(&self) -> Result<&Caller, Refusal> {
        match self {
            Self::Known(caller) => Ok(caller),
            Self::Anonymous => Err(Refusal::new(
                RefusalCode::Unauthenticated,
                "this call needs a credential: send `Authorization: Bearer <token>`",
            )),
            Self::Rejected(refusal) => Err(refusal.clone()),
        }
    }
}
