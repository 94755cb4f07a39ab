//! The fold: one entry into a session's state. Total; it judges nothing.
//!
//! The same function runs live, in recovery, in replay and in what-if analysis, so a session's state is what
//! its entries say and nothing else.

use std::sync::Arc;

use crate::entry::{Accepted, Entry, Fact, Started};
use crate::message_ids::MessageIds;
use crate::session::{Activity, Lifecycle, Session};
use crate::time::UnixMillis;

/// Folds `entry` in. Only [`Fact::Started`] makes a session; every other fact needs one.
pub fn apply(session: &mut Option<Session>, entry: &Entry) {
    match (session.as_mut(), &entry.fact) {
        (None, Fact::Started(started)) => *session = Some(begin(started, entry.at)),
        (Some(session), fact) => fold(session, fact, entry.at),
        (None, _) => debug_assert!(false, "a fact before the start"),
    }
}

fn begin(started: &Started, at: UnixMillis) -> Session {
    let envelope = started.sealed.envelope();
    let binding = Arc::clone(&started.binding);
    let mut accepted = MessageIds::default();
    accepted.add(&envelope.message_id, at);
    let mut activity = Vec::new();
    if binding.is_participant(&binding.initiator) {
        activity.push((binding.initiator.clone(), Activity { last_message_at: at, message_count: 1 }));
    }
    Session {
        id: started.session_id.clone(),
        binding,
        lifecycle: Lifecycle::Open,
        expires_at: started.expires_at,
        pauses: Vec::new(),
        suspended_ms: 0,
        last_ordinal: 1,
        last_at: at,
        accepted,
        activity,
        mode_state: started.mode_state.clone(),
        resolution: None,
    }
}

fn fold(session: &mut Session, fact: &Fact, at: UnixMillis) {
    session.last_at = session.last_at.max(at);
    match fact {
        Fact::Started(_) => debug_assert!(false, "a second start"),
        Fact::Accepted(accepted) => accept(session, accepted, at),
        Fact::Suspended { .. } => session.lifecycle = Lifecycle::Suspended { since: at },
        Fact::Resumed { .. } => resume(session, at),
        Fact::Cancelled { .. } => session.lifecycle = Lifecycle::Cancelled,
        Fact::Expired { .. } => session.lifecycle = Lifecycle::Expired,
    }
}

fn accept(session: &mut Session, accepted: &Accepted, at: UnixMillis) {
    let envelope = accepted.sealed.envelope();
    session.last_ordinal = accepted.ordinal;
    session.accepted.add(&envelope.message_id, at);
    // The server's own envelopes are nobody's activity (RFC-MACP-0006 §3.5).
    if !accepted.synthetic {
        let place = session.activity.binary_search_by(|(sender, _)| sender.as_str().cmp(&envelope.sender));
        match place {
            Ok(place) => {
                let (_, activity) = &mut session.activity[place];
                activity.last_message_at = at;
                activity.message_count = activity.message_count.saturating_add(1);
            }
            Err(place) => {
                let first = Activity { last_message_at: at, message_count: 1 };
                session.activity.insert(place, (session.binding.id_of(&envelope.sender), first));
            }
        }
    }
    session.mode_state.apply(&accepted.change);
    if let Some(resolution) = &accepted.resolution {
        session.resolution = Some(resolution.clone());
        session.lifecycle = Lifecycle::Resolved;
    }
}

/// The deadline moves by the length of the pause (RFC-MACP-0001 §7.5).
fn resume(session: &mut Session, at: UnixMillis) {
    if let Lifecycle::Suspended { since } = session.lifecycle {
        let paused = at.since(since).max(0);
        session.pauses.push((since, at));
        session.suspended_ms = session.suspended_ms.saturating_add(paused);
        session.expires_at = session.expires_at.plus(paused);
        session.lifecycle = Lifecycle::Open;
    }
}
