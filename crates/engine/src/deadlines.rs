//! Deadlines of all sessions: one ordered set and one task, whatever their number.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Weak};
use std::time::Duration;

use macp_kernel::{SessionId, UnixMillis};

use crate::sessions::Sessions;

/// Longest sleep: bounds what a step of the wall clock can delay.
const LONGEST_SLEEP: Duration = Duration::from_millis(500);
/// Sessions ticked before the task lets others run.
const TICKS_PER_TURN: usize = 64;
/// How long an unused session stays in memory, in milliseconds.
const IDLE_MS: i64 = 60_000;
/// How often unused sessions are looked for, in milliseconds.
const UNLOAD_EVERY_MS: i64 = 10_000;
/// Both while more sessions are in memory than there should be.
const CROWDED_MS: i64 = 1_000;

/// When which session needs a tick.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    order: BTreeSet<(UnixMillis, SessionId)>,
    of: HashMap<SessionId, UnixMillis>,
}

impl Deadlines {
    /// Sets or clears a session's deadline; true if it is now the earliest of all.
    pub(crate) fn set(&mut self, id: &SessionId, at: Option<UnixMillis>) -> bool {
        let old = match at {
            Some(at) => self.of.insert(id.clone(), at),
            None => self.of.remove(id),
        };
        if let Some(old) = old {
            self.order.remove(&(old, id.clone()));
        }
        let Some(at) = at else { return false };
        let earliest = self.order.first().is_none_or(|(first, _)| at < *first);
        self.order.insert((at, id.clone()));
        earliest
    }

    /// Takes out the sessions that are due at `now`; also says when the next one will be.
    pub(crate) fn due(&mut self, now: UnixMillis) -> (Vec<SessionId>, Option<UnixMillis>) {
        let mut due = Vec::new();
        while self.order.first().is_some_and(|(at, _)| *at <= now) {
            if let Some((_, id)) = self.order.pop_first() {
                self.of.remove(&id);
                due.push(id);
            }
        }
        (due, self.order.first().map(|(at, _)| *at))
    }
}

/// Starts the task that ticks sessions at their deadlines. It ends with the engine.
pub(crate) fn spawn(sessions: &Arc<Sessions>) {
    tokio::spawn(run(Arc::downgrade(sessions)));
}

async fn run(sessions: Weak<Sessions>) {
    let mut unload_at = UnixMillis(i64::MIN);
    loop {
        let Some(strong) = sessions.upgrade() else { return };
        let now = strong.clock().now();
        let (due, next) = strong.due(now);
        for (count, id) in due.iter().enumerate() {
            tick(&strong, id).await;
            if count % TICKS_PER_TURN == TICKS_PER_TURN - 1 {
                tokio::task::yield_now().await;
            }
        }
        let crowded = strong.is_crowded();
        if now >= unload_at || (crowded && now >= unload_at.plus(CROWDED_MS - UNLOAD_EVERY_MS)) {
            strong.unload_idle(now.plus(if crowded { -CROWDED_MS } else { -IDLE_MS }));
            unload_at = now.plus(UNLOAD_EVERY_MS);
        }
        let wait = next.map_or(LONGEST_SLEEP, |next| {
            let ms = u64::try_from(next.since(strong.clock().now())).unwrap_or(0);
            Duration::from_millis(ms).min(LONGEST_SLEEP)
        });
        let changed = strong.deadline_changed();
        // Asleep, the task must not keep the engine alive.
        drop(strong);
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = changed.notified() => {}
        }
    }
}

async fn tick(sessions: &Arc<Sessions>, id: &SessionId) {
    match sessions.lane(id).await {
        Ok(lane) => lane.tick(sessions).await,
        Err(refusal) => {
            tracing::warn!(session = %id, %refusal, "a due session cannot be reached; it expires when next used");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_move_and_come_due_in_order() {
        let (a, b) = (SessionId::from_history("a"), SessionId::from_history("b"));
        let mut deadlines = Deadlines::default();
        assert!(deadlines.set(&a, Some(UnixMillis(10))));
        assert!(!deadlines.set(&b, Some(UnixMillis(20))));
        assert!(!deadlines.set(&a, Some(UnixMillis(30))), "the other one is earlier now");
        assert_eq!(deadlines.due(UnixMillis(19)), (vec![], Some(UnixMillis(20))));
        assert_eq!(deadlines.due(UnixMillis(30)), (vec![b, a.clone()], None));
        assert!(deadlines.set(&a, Some(UnixMillis(40))));
        assert!(!deadlines.set(&a, None));
        assert_eq!(deadlines.due(UnixMillis(99)), (vec![], None));
    }
}
