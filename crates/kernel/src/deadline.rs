//! The next instant at which a tick would do something; the kernel itself never schedules.

use crate::entry::ExpiryCause;
use crate::mode;
use crate::session::{Lifecycle, Session};
use crate::time::UnixMillis;

/// Why the session is out of time at `now`, if it is.
///
/// Limits are strict: a message exactly at the deadline is in time.
#[must_use]
pub fn expired(session: &Session, now: UnixMillis) -> Option<ExpiryCause> {
    match session.lifecycle {
        Lifecycle::Open if now > session.expires_at => Some(ExpiryCause::Deadline),
        Lifecycle::Suspended { .. } if session.suspended_until(now) > session.binding.max_suspend_ms => {
            Some(ExpiryCause::SuspensionCap)
        }
        _ => None,
    }
}

/// The earliest instant at which [`crate::Command::Tick`] changes the session; `None` if it never does.
#[must_use]
pub fn next_deadline(session: &Session) -> Option<UnixMillis> {
    match session.lifecycle {
        Lifecycle::Open => {
            let expiry = session.expires_at.plus(1);
            Some(mode::due_at(session).map_or(expiry, |due| due.min(expiry)))
        }
        Lifecycle::Suspended { since } => {
            let left = session.binding.max_suspend_ms.saturating_sub(session.suspended_ms);
            Some(since.plus(left).plus(1))
        }
        Lifecycle::Resolved | Lifecycle::Expired | Lifecycle::Cancelled => None,
    }
}
