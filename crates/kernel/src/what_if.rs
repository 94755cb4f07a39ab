//! What-if replay: what another policy would have refused in a session's history (RFC-MACP-0012 §8.1).
//!
//! One history is folded twice at its recorded times: once as it was, once with the candidate's rules in place of the
//! bound policy's. Everything else that the start fixed stays, the policy's id included, so that commitments which
//! repeat it remain valid. What the candidate refuses is skipped and later entries meet the state as it then is.
//! Nothing new is ever accepted: messages refused at the time are no part of history.

use std::sync::Arc;

use bytes::Bytes;
use macp_wire::v1::what_if_entry_outcome::Kind;
use macp_wire::v1::{
    PolicyDescriptor, WhatIfDenial, WhatIfEntry, WhatIfEntryOutcome, WhatIfOutcome, WhatIfReplayResponse,
};

use crate::apply::apply;
use crate::decide;
use crate::entry::{Accepted, Entry, Fact, Started};
use crate::policy::Policy;
use crate::record::{self, StoredEntry, StoredFact};
use crate::refusal::{Refusal, RefusalCode};
use crate::replay::{Divergence, Replay};
use crate::session::{Binding, Lifecycle, Session};

/// Admits the candidate of a request for a session of `mode`.
///
/// Its id is not judged: it is never registered, so it may be blank, reserved or taken.
///
/// # Errors
/// `INVALID_REQUEST` without a candidate, `INVALID_POLICY_DEFINITION` for one that is not admitted or is for another
/// mode.
pub fn admit(candidate: Option<PolicyDescriptor>, mode: &str) -> Result<Policy, Refusal> {
    let descriptor = candidate
        .ok_or_else(|| Refusal::invalid_request("WhatIfReplayRequest.candidate is missing; send a policy"))?;
    let policy = Policy::candidate(descriptor)?;
    if policy.binds_to(mode) {
        return Ok(policy);
    }
    Err(Refusal::new(
        RefusalCode::InvalidPolicyDefinition,
        format!("the candidate is for mode {:?}; the session is of mode {mode:?}", policy.descriptor().mode),
    ))
}

/// Why a history gives no report.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoReport {
    /// Its beginning is gone; a report from a part would mislead.
    #[error("the session's history does not go back to its start any more")]
    Incomplete,
    /// It does not replay as it was recorded.
    #[error(transparent)]
    Divergence(#[from] Divergence),
}

/// Both replays of one history, side by side.
#[derive(Clone, Debug)]
pub struct WhatIf {
    policy: Policy,
    recorded: Replay,
    candidate: Option<Session>,
    entries: Vec<WhatIfEntry>,
    /// Which listed entry resolved the session.
    recorded_by: Option<usize>,
    candidate_by: Option<usize>,
}

impl WhatIf {
    /// Before the first entry, under a candidate that was admitted for the session's mode.
    #[must_use]
    pub fn new(candidate: Policy) -> Self {
        Self {
            policy: candidate,
            recorded: Replay::default(),
            candidate: None,
            entries: Vec::new(),
            recorded_by: None,
            candidate_by: None,
        }
    }

    /// Folds one stored record into both replays.
    ///
    /// # Errors
    /// [`NoReport`]
    pub fn record(&mut self, bytes: &Bytes) -> Result<(), NoReport> {
        let body = record::decode(bytes).map_err(Divergence::from)?;
        body.entries.into_iter().try_for_each(|stored| self.entry(stored))
    }

    /// The recorded half so far.
    #[must_use]
    pub fn recorded(&self) -> Option<&Session> {
        self.recorded.session()
    }

    /// The report.
    ///
    /// # Errors
    /// [`NoReport::Incomplete`] when there was no history at all.
    pub fn report(self) -> Result<WhatIfReplayResponse, NoReport> {
        let recorded = self.recorded.session().ok_or(NoReport::Incomplete)?;
        let denials = self.entries.iter().filter(|entry| {
            let outcome = entry.candidate.as_ref();
            outcome.is_some_and(|outcome| outcome.error_code == RefusalCode::PolicyDenied.name())
        });
        Ok(WhatIfReplayResponse {
            candidate_policy_id: self.policy.id().to_owned(),
            recorded_policy_id: recorded.binding.policy.id().to_owned(),
            recorded: Some(self.outcome(Some(recorded), self.recorded_by)),
            candidate: Some(self.outcome(self.candidate.as_ref(), self.candidate_by)),
            first_divergence: self
                .entries
                .iter()
                .find(|entry| entry.recorded != entry.candidate)
                .map(|entry| entry.history_index),
            denials: denials
                .map(|entry| WhatIfDenial {
                    history_index: entry.history_index,
                    message_id: entry.message_id.clone(),
                    details: entry
                        .candidate
                        .as_ref()
                        .map(|outcome| outcome.details.clone())
                        .unwrap_or_default(),
                })
                .collect(),
            entries: self.entries,
        })
    }

    fn entry(&mut self, stored: StoredEntry) -> Result<(), NoReport> {
        let starts = matches!(stored.fact, Some(StoredFact::Started(_)));
        if self.recorded.session().is_none() && !starts {
            return Err(NoReport::Incomplete);
        }
        let entry = self.recorded.entry(stored)?;
        let Some((ordinal, sealed)) = entry.delivered() else {
            self.control(&entry);
            return Ok(());
        };
        let at = self.entries.len();
        if is_resolved(self.recorded.session()) {
            self.recorded_by = Some(at);
        }
        let was_resolved = is_resolved(self.candidate.as_ref());
        let candidate = self.envelope(&entry);
        if is_resolved(self.candidate.as_ref()) && !was_resolved {
            self.candidate_by = Some(at);
        }
        let envelope = sealed.envelope();
        self.entries.push(WhatIfEntry {
            history_index: ordinal - 1,
            message_id: envelope.message_id.clone(),
            message_type: envelope.message_type.clone(),
            recorded: Some(applied(self.recorded.session())),
            candidate: Some(candidate),
        });
        Ok(())
    }

    /// Replays an accepted envelope under the candidate.
    fn envelope(&mut self, entry: &Entry) -> WhatIfEntryOutcome {
        let again = match (&self.candidate, &entry.fact) {
            (None, Fact::Started(started)) => self.start(started, entry),
            (Some(session), Fact::Accepted(accepted)) if session.lifecycle == Lifecycle::Open => {
                accept(session, accepted, entry)
            }
            (Some(_), _) => return outcome(Kind::NotOpen),
            (None, _) => return outcome(Kind::NoSession),
        };
        match again {
            Ok(entry) => {
                apply(&mut self.candidate, &entry);
                applied(self.candidate.as_ref())
            }
            Err(refusal) => WhatIfEntryOutcome {
                error_code: refusal.code.name().to_owned(),
                details: if refusal.code == RefusalCode::PolicyDenied {
                    refusal.details
                } else {
                    Bytes::new()
                },
                ..outcome(Kind::Refused)
            },
        }
    }

    fn start(&self, started: &Started, entry: &Entry) -> Result<Entry, Refusal> {
        let binding = &started.binding;
        let policy = self.policy.under_id(binding.policy.id());
        let binding = Binding { policy, ..Binding::clone(binding) };
        let mode_state = binding.mode_kind.start(&binding)?;
        let started = Started { binding: Arc::new(binding), mode_state, ..started.clone() };
        Ok(Entry { at: entry.at, fact: Fact::Started(Box::new(started)) })
    }

    /// Repeats a pause or an end at its recorded time, if the session still is where that can happen.
    fn control(&mut self, entry: &Entry) {
        let Some(session) = &self.candidate else { return };
        let possible = match entry.fact {
            Fact::Suspended { .. } => session.lifecycle == Lifecycle::Open,
            Fact::Resumed { .. } => matches!(session.lifecycle, Lifecycle::Suspended { .. }),
            Fact::Cancelled { .. } | Fact::Expired { .. } => !session.lifecycle.is_terminal(),
            Fact::Started(_) | Fact::Accepted(_) => false,
        };
        if possible {
            apply(&mut self.candidate, entry);
        }
    }

    fn outcome(&self, session: Option<&Session>, by: Option<usize>) -> WhatIfOutcome {
        let Some(session) = session else { return WhatIfOutcome::default() };
        let by = by.and_then(|at| self.entries.get(at));
        WhatIfOutcome {
            state: session.lifecycle.wire().into(),
            resolution: session.resolution.clone().unwrap_or_default(),
            resolved_by_history_index: by.map_or(0, |entry| entry.history_index),
            resolved_by_message_id: by.map(|entry| entry.message_id.clone()).unwrap_or_default(),
            resolved_by_message_type: by.map(|entry| entry.message_type.clone()).unwrap_or_default(),
        }
    }
}

/// The rules once more, as in [`crate::replay`]: authorization and the mode, never the client boundary.
fn accept(session: &Session, accepted: &Accepted, entry: &Entry) -> Result<Entry, Refusal> {
    let envelope = accepted.sealed.envelope();
    session.mode_state.authorize(&session.binding, &envelope.sender, &envelope.message_type)?;
    decide::accept(session, Arc::clone(&accepted.sealed), accepted.synthetic, entry.at)
}

fn is_resolved(session: Option<&Session>) -> bool {
    session.is_some_and(|session| session.lifecycle == Lifecycle::Resolved)
}

fn applied(session: Option<&Session>) -> WhatIfEntryOutcome {
    let state = session.map(|session| session.lifecycle.wire()).unwrap_or_default();
    WhatIfEntryOutcome { state: state.into(), ..outcome(Kind::Applied) }
}

fn outcome(kind: Kind) -> WhatIfEntryOutcome {
    WhatIfEntryOutcome { kind: kind.into(), ..WhatIfEntryOutcome::default() }
}
