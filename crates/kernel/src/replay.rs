//! From stored history back to state: the rules once more, at the recorded times.
//!
//! Replay repeats a mode's authorization and dispatch and never the client boundary, consults no registry and no
//! clock, and takes the server's own envelopes as data (RFC-MACP-0003). History that the rules would not accept
//! is a [`Divergence`], reported and not guessed at.

use std::sync::Arc;

use bytes::Bytes;
use macp_wire::v1::SessionStartPayload;

use crate::apply::apply;
use crate::decide;
use crate::entry::{Entry, ExpiryCause, Fact};
use crate::envelope::{Sealed, core_type};
use crate::mode::ModeKind;
use crate::policy::Policy;
use crate::record::{self, RecordBody, RecordError, StoredEntry, StoredFact, StoredStart};
use crate::session::{Lifecycle, Session};
use crate::start;
use crate::time::UnixMillis;

/// Why stored history does not replay.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Divergence {
    /// A record is not readable.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The session was started under rules of a newer release.
    #[error(
        "the session was started under rules revision {found}; this release knows revisions up to {known}"
    )]
    NewerSemantics {
        /// Recorded revision.
        found: u32,
        /// Newest revision known here.
        known: u32,
    },
    /// An entry that the rules do not allow at its place.
    #[error("entry {index} of the history does not follow from the entries before it: {why}")]
    Entry {
        /// 0-based index of the entry in the session's whole history.
        index: u64,
        /// What is wrong.
        why: String,
    },
}

/// A replay under way: state so far and how many entries made it.
#[derive(Clone, Debug, Default)]
pub struct Replay {
    session: Option<Session>,
    index: u64,
}

impl Replay {
    /// A replay that continues after the entries that made `session`.
    #[must_use]
    pub fn resume(session: Option<Session>) -> Self {
        Self { session, index: 0 }
    }

    /// Folds one stored record in and returns its entries.
    ///
    /// # Errors
    /// The first [`Divergence`]; the state is then that of the entries before it.
    pub fn record(&mut self, bytes: &Bytes) -> Result<Vec<Entry>, Divergence> {
        self.body(record::decode(bytes)?)
    }

    /// Folds one decoded record in and returns its entries.
    ///
    /// # Errors
    /// As [`Replay::record`].
    pub fn body(&mut self, body: RecordBody) -> Result<Vec<Entry>, Divergence> {
        body.entries.into_iter().map(|stored| self.entry(stored)).collect()
    }

    /// Folds one stored entry in.
    ///
    /// # Errors
    /// As [`Replay::record`].
    pub fn entry(&mut self, stored: StoredEntry) -> Result<Entry, Divergence> {
        let entry = revive(self.session.as_ref(), stored).map_err(|fault| match fault {
            Fault::Newer(found) => Divergence::NewerSemantics { found, known: crate::SEMANTICS_REV },
            Fault::Why(why) => Divergence::Entry { index: self.index, why },
        })?;
        apply(&mut self.session, &entry);
        self.index += 1;
        Ok(entry)
    }

    /// The state so far; `None` before the first entry.
    #[must_use]
    pub fn session(&self) -> Option<&Session> {
        self.session.as_ref()
    }

    /// The state, at the end.
    #[must_use]
    pub fn into_session(self) -> Option<Session> {
        self.session
    }
}

enum Fault {
    Newer(u32),
    Why(String),
}

impl From<&str> for Fault {
    fn from(why: &str) -> Self {
        Self::Why(why.to_owned())
    }
}

fn revive(session: Option<&Session>, stored: StoredEntry) -> Result<Entry, Fault> {
    let at = UnixMillis(stored.at);
    let fact = stored.fact.ok_or("the entry has no fact that this release knows")?;
    match (session, fact) {
        (None, StoredFact::Started(start)) => revive_start(start, at),
        (None, _) => Err("the history does not begin with a start".into()),
        (Some(session), fact) => revive_later(session, fact, at),
    }
}

fn revive_start(stored: StoredStart, at: UnixMillis) -> Result<Entry, Fault> {
    // Revision 0 would be a record without one; this implementation's numbering begins at 4.
    if stored.semantics_rev > crate::SEMANTICS_REV {
        return Err(Fault::Newer(stored.semantics_rev));
    }
    if stored.semantics_rev != crate::SEMANTICS_REV {
        return Err("the start record names a rules revision that was never released".into());
    }
    let sealed = Sealed::from_bytes(stored.envelope).map_err(|error| Fault::Why(error.to_string()))?;
    let kind = ModeKind::from_name(&stored.mode_kind)
        .ok_or_else(|| Fault::Why(format!("mode rules {:?} are not known here", stored.mode_kind)))?;
    let policy = stored.policy.map(Policy::from_history).ok_or("the bound policy is missing")?;
    let payload: SessionStartPayload =
        crate::envelope::decode_payload(sealed.envelope()).map_err(|refusal| Fault::Why(refusal.message))?;
    let recorded = start::Recorded {
        mode_kind: kind,
        mode_version: stored.mode_version,
        message_types: stored.message_types.into_iter().collect(),
        policy,
        max_suspend_ms: stored.max_suspend_ms,
        semantics_rev: stored.semantics_rev,
    };
    start::begin(sealed, payload, recorded, at).map_err(|refusal| Fault::Why(refusal.message))
}

fn revive_later(session: &Session, fact: StoredFact, at: UnixMillis) -> Result<Entry, Fault> {
    if session.lifecycle.is_terminal() {
        return Err(Fault::Why(format!("the session is {} already", session.lifecycle.name())));
    }
    let open = session.lifecycle == Lifecycle::Open;
    let suspended = matches!(session.lifecycle, Lifecycle::Suspended { .. });
    let fact = match fact {
        StoredFact::Started(_) => return Err("the session starts twice".into()),
        StoredFact::Accepted(stored) => {
            if !open {
                return Err("an envelope is accepted while the session is suspended".into());
            }
            return revive_envelope(session, stored, at);
        }
        StoredFact::Suspended(control) if open => {
            Fact::Suspended { by: control.by.into(), reason: control.reason }
        }
        StoredFact::Resumed(control) if suspended => {
            Fact::Resumed { by: control.by.into(), reason: control.reason, banked_ms: control.banked_ms }
        }
        StoredFact::Suspended(_) | StoredFact::Resumed(_) => {
            return Err("a pause begins or ends out of turn".into());
        }
        StoredFact::Cancelled(control) => Fact::Cancelled { by: control.by.into(), reason: control.reason },
        StoredFact::Expired(cause) => Fact::Expired {
            cause: match cause {
                1 => ExpiryCause::Deadline,
                2 => ExpiryCause::SuspensionCap,
                3 => ExpiryCause::CycleCap,
                _ => return Err("an expiry has a cause that this release does not know".into()),
            },
        },
    };
    Ok(Entry { at, fact })
}

fn revive_envelope(
    session: &Session,
    stored: record::StoredEnvelope,
    at: UnixMillis,
) -> Result<Entry, Fault> {
    if stored.ordinal != session.last_ordinal + 1 {
        return Err(Fault::Why(format!(
            "ordinal {} follows ordinal {}",
            stored.ordinal, session.last_ordinal
        )));
    }
    let sealed = Sealed::from_bytes(stored.envelope).map_err(|error| Fault::Why(error.to_string()))?;
    let envelope = sealed.envelope();
    if envelope.session_id != session.id.as_str() || envelope.mode != session.binding.mode {
        return Err("an envelope of another session or mode".into());
    }
    if envelope.message_type == core_type::SESSION_START {
        return Err("the session starts twice".into());
    }
    if session.accepted.accepted_at(&envelope.message_id).is_some() {
        return Err("a message_id is accepted twice".into());
    }
    let refused = |refusal: crate::Refusal| Fault::Why(format!("the rules refuse it: {refusal}"));
    session
        .mode_state
        .authorize(&session.binding, &envelope.sender, &envelope.message_type)
        .map_err(refused)?;
    decide::accept(session, Arc::new(sealed), stored.synthetic, at).map_err(refused)
}
