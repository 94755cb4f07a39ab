//! A sliding window of 60 s over the admitted attempts of each sender.

use std::collections::{HashMap, VecDeque};

use macp_kernel::{ParticipantId, UnixMillis};
use parking_lot::Mutex;

/// Length of the window in milliseconds.
const WINDOW_MS: i64 = 60_000;
/// Senders in the table after which idle ones are swept out.
const SWEEP_AT: usize = 4096;

/// Admits up to a limit of attempts in any 60 s; refused attempts do not count.
#[derive(Debug)]
pub(crate) struct RateWindow {
    limit: usize,
    senders: Mutex<Senders>,
}

#[derive(Debug, Default)]
struct Senders {
    windows: HashMap<ParticipantId, VecDeque<i64>>,
    /// Size at which to sweep next: grows with the number of busy senders, so sweeping stays cheap on average.
    sweep_at: usize,
}

impl RateWindow {
    pub(crate) fn new(limit: u32) -> Self {
        let senders = Senders { windows: HashMap::new(), sweep_at: SWEEP_AT };
        Self { limit: usize::try_from(limit).unwrap_or(usize::MAX), senders: Mutex::new(senders) }
    }

    /// Whether the attempt is admitted; if not, milliseconds until one would be.
    pub(crate) fn admit(&self, sender: &ParticipantId, now: UnixMillis) -> Result<(), i64> {
        let mut senders = self.senders.lock();
        if senders.windows.len() >= senders.sweep_at {
            senders.windows.retain(|_, window| window.back().is_some_and(|last| now.0 - last < WINDOW_MS));
            senders.sweep_at = SWEEP_AT.max(senders.windows.len() * 2);
        }
        let window = match senders.windows.get_mut(sender) {
            Some(window) => window,
            None => senders.windows.entry(sender.clone()).or_default(),
        };
        while window.front().is_some_and(|at| now.0 - at >= WINDOW_MS) {
            window.pop_front();
        }
        if window.len() >= self.limit {
            let oldest = window.front().copied().unwrap_or(now.0);
            return Err((oldest + WINDOW_MS - now.0).clamp(1, WINDOW_MS));
        }
        window.push_back(now.0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn window_slides_and_refused_attempts_do_not_count() {
        let rate = RateWindow::new(2);
        let a = ParticipantId::from("a");
        let admit = |at| rate.admit(&a, UnixMillis(at));
        assert_eq!(admit(0), Ok(()));
        assert_eq!(admit(10_000), Ok(()));
        assert_eq!(admit(20_000), Err(40_000));
        assert_eq!(admit(59_999), Err(1));
        assert_eq!(admit(60_000), Ok(()));
        assert_eq!(admit(60_001), Err(9_999));
        assert_eq!(rate.admit(&ParticipantId::from("b"), UnixMillis(60_001)), Ok(()), "senders are apart");
    }

    #[test]
    fn idle_senders_are_forgotten() {
        let rate = RateWindow::new(1);
        for n in 0..SWEEP_AT {
            assert_eq!(rate.admit(&ParticipantId::from(n.to_string()), UnixMillis(0)), Ok(()));
        }
        assert_eq!(rate.admit(&ParticipantId::from("late"), UnixMillis(WINDOW_MS)), Ok(()));
        assert_eq!(rate.senders.lock().windows.len(), 1);
    }
}
