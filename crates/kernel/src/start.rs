//! The rules of `SessionStart`: from an envelope to a binding (RFC-MACP-0001 §7.1).

use std::collections::BTreeSet;
use std::sync::Arc;

use macp_wire::v1::{Envelope, SessionStartPayload};

use crate::catalog::{Catalog, ModeEntry};
use crate::decide::Acceptance;
use crate::entry::{Entry, Fact, Started};
use crate::envelope::{Sealed, decode_payload};
use crate::ids::{ParticipantId, SessionId};
use crate::mode::ModeKind;
use crate::policy::Policy;
use crate::refusal::{Refusal, RefusalCode};
use crate::session::{Binding, DEFAULT_MAX_SUSPEND_MS, Session};
use crate::time::UnixMillis;

/// Longest time-to-live: one day.
pub const MAX_TTL_MS: i64 = 86_400_000;
/// Most declared participants.
pub const MAX_PARTICIPANTS: usize = 1000;

/// What a start comes to.
#[derive(Debug)]
pub(crate) enum StartOutcome {
    /// The session begins with this entry.
    Begins(Entry),
    /// The start was accepted before.
    Duplicate(Acceptance),
}

/// Judges a `SessionStart`, in the specified order; `existing` is the session that has the id already.
pub(crate) fn decide(
    existing: Option<&Session>,
    envelope: &Envelope,
    within_open_sessions: bool,
    catalog: &Catalog,
    now: UnixMillis,
) -> Result<StartOutcome, Refusal> {
    SessionId::parse(&envelope.session_id)?;
    let mode = catalog.mode(&envelope.mode).ok_or_else(|| mode_not_supported(&envelope.mode))?;
    if envelope.payload.is_empty() {
        return Err(Refusal::invalid_envelope(
            "SessionStart needs a SessionStartPayload; its payload is empty",
        ));
    }
    let payload: SessionStartPayload = decode_payload(envelope)?;
    if mode.strict {
        check_strict(mode.kind, &payload)?;
    }
    if !payload.mode_version.is_empty() && payload.mode_version != mode.descriptor.mode_version {
        return Err(Refusal::invalid_envelope(format!(
            "mode_version must be {:?}, the registered version of this mode",
            mode.descriptor.mode_version
        )));
    }
    check_ttl(payload.ttl_ms)?;
    if let Some(session) = existing {
        return match session.accepted.accepted_at(&envelope.message_id) {
            Some(accepted_at) => Ok(StartOutcome::Duplicate(Acceptance {
                duplicate: true,
                accepted_at,
                state: session.lifecycle.wire(),
            })),
            None => Err(Refusal::new(
                RefusalCode::SessionAlreadyExists,
                "a session with this session_id was already started; use a fresh session_id",
            )),
        };
    }
    let recorded = Recorded {
        mode_kind: mode.kind,
        mode_version: mode.descriptor.mode_version.clone(),
        message_types: listed_types(mode),
        policy: resolve_policy(catalog, &payload.policy_version, &envelope.mode)?,
        max_suspend_ms: if payload.max_suspend_ms > 0 {
            payload.max_suspend_ms
        } else {
            DEFAULT_MAX_SUSPEND_MS
        },
        semantics_rev: crate::SEMANTICS_REV,
    };
    let mut envelope = envelope.clone();
    // Stamped once, so that live delivery and replay show the same time.
    if envelope.timestamp_unix_ms == 0 {
        envelope.timestamp_unix_ms = now.0;
    }
    let entry = begin(Sealed::new(envelope), payload, recorded, now)?;
    if let Fact::Started(started) = &entry.fact {
        mode.kind.client_boundary(started.sealed.envelope())?;
    }
    if !within_open_sessions {
        return Err(Refusal::new(
            RefusalCode::RateLimited,
            "this identity has as many open sessions as it may (max_open_sessions of its credential, or \
             MACP_MAX_OPEN_SESSIONS_PER_SENDER); end one first",
        ));
    }
    Ok(StartOutcome::Begins(entry))
}

pub(crate) fn mode_not_supported(mode: &str) -> Refusal {
    Refusal::new(
        RefusalCode::ModeNotSupported,
        format!("mode {mode:?} is not registered here; see ListModes"),
    )
}

/// What a start fixes besides its own envelope: the values that registries and settings supplied.
#[derive(Debug)]
pub(crate) struct Recorded {
    pub(crate) mode_kind: ModeKind,
    pub(crate) mode_version: String,
    pub(crate) message_types: BTreeSet<String>,
    pub(crate) policy: Policy,
    pub(crate) max_suspend_ms: i64,
    pub(crate) semantics_rev: u32,
}

/// The first entry, live and in replay.
pub(crate) fn begin(
    sealed: Sealed,
    payload: SessionStartPayload,
    recorded: Recorded,
    at: UnixMillis,
) -> Result<Entry, Refusal> {
    let envelope = sealed.envelope();
    // The deadline counts from the client's own timestamp when it gives one (RFC-MACP-0003 §2).
    let base = if envelope.timestamp_unix_ms > 0 { UnixMillis(envelope.timestamp_unix_ms) } else { at };
    let binding = Binding {
        mode: envelope.mode.clone(),
        mode_kind: recorded.mode_kind,
        message_types: recorded.message_types,
        mode_version: recorded.mode_version,
        configuration_version: payload.configuration_version,
        policy: recorded.policy,
        initiator: envelope.sender.as_str().into(),
        participants: payload.participants.into_iter().map(ParticipantId::from).collect(),
        context_id: payload.context_id,
        extension_keys: payload.extensions.into_keys().collect(),
        roots: payload.roots,
        started_at: at,
        max_suspend_ms: recorded.max_suspend_ms,
        semantics_rev: recorded.semantics_rev,
    };
    let mode_state = recorded.mode_kind.start(&binding)?;
    Ok(Entry {
        at,
        fact: Fact::Started(Box::new(Started {
            session_id: SessionId::from_history(&envelope.session_id),
            binding: Arc::new(binding),
            expires_at: base.plus(payload.ttl_ms),
            mode_state,
            sealed: Arc::new(sealed),
        })),
    })
}

/// The message types that only a registered extension mode's descriptor knows.
fn listed_types(mode: &ModeEntry) -> BTreeSet<String> {
    if mode.built_in { BTreeSet::new() } else { mode.descriptor.message_types.iter().cloned().collect() }
}

/// The full contract of the standards-track modes and of promoted ones.
fn check_strict(kind: ModeKind, payload: &SessionStartPayload) -> Result<(), Refusal> {
    check_ttl(payload.ttl_ms)?;
    for (field, value) in
        [("mode_version", &payload.mode_version), ("configuration_version", &payload.configuration_version)]
    {
        if value.trim().is_empty() {
            return Err(Refusal::invalid_envelope(format!("SessionStartPayload.{field} is blank")));
        }
    }
    if payload.participants.is_empty() && kind != ModeKind::Decision {
        return Err(Refusal::invalid_envelope("SessionStartPayload.participants is empty"));
    }
    if payload.participants.len() > MAX_PARTICIPANTS {
        return Err(Refusal::invalid_envelope(format!(
            "SessionStartPayload.participants has {} entries; the limit is {MAX_PARTICIPANTS}",
            payload.participants.len()
        )));
    }
    let mut seen = BTreeSet::new();
    for participant in &payload.participants {
        let trimmed = participant.trim();
        if trimmed.is_empty() {
            return Err(Refusal::invalid_envelope("SessionStartPayload.participants has a blank entry"));
        }
        if !seen.insert(trimmed) {
            return Err(Refusal::invalid_envelope(format!(
                "SessionStartPayload.participants lists {trimmed:?} twice"
            )));
        }
    }
    if payload.max_suspend_ms < 0 {
        return Err(Refusal::invalid_envelope("SessionStartPayload.max_suspend_ms is negative"));
    }
    Ok(())
}

fn check_ttl(ttl_ms: i64) -> Result<(), Refusal> {
    if (1..=MAX_TTL_MS).contains(&ttl_ms) {
        return Ok(());
    }
    Err(Refusal::invalid_envelope(format!("SessionStartPayload.ttl_ms must lie in 1..={MAX_TTL_MS}")))
}

fn resolve_policy(catalog: &Catalog, policy_version: &str, mode: &str) -> Result<Policy, Refusal> {
    let policy = catalog.policy(policy_version).ok_or_else(|| {
        Refusal::new(
            RefusalCode::UnknownPolicyVersion,
            format!("policy {policy_version:?} is not registered here; see ListPolicies"),
        )
    })?;
    if !policy.binds_to(mode) {
        return Err(Refusal::new(
            RefusalCode::InvalidPolicyDefinition,
            format!("policy {policy_version:?} is for mode {:?}, not {mode:?}", policy.descriptor().mode),
        ));
    }
    Ok(policy.clone())
}
