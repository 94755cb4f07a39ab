//! A sliding window over what was admitted.

use std::collections::VecDeque;

use crate::limiter::{Quota, Usage};

/// Admissions that are remembered one by one. Further ones are remembered by the part of the window in which they were:
/// those count until the last of them is a window old, which is at most this part of a window too long, and never too
/// short.
const EXACT: usize = 32;

/// Admits up to a quota in any window; what was refused does not count.
#[derive(Debug, Default)]
pub struct Window {
    runs: VecDeque<Run>,
    used: u64,
}

#[derive(Debug)]
struct Run {
    first: i64,
    last: i64,
    amount: u64,
}

impl Usage for Window {
    fn take(&mut self, quota: Quota, amount: u64, now_ms: i64) -> Result<(), u64> {
        let window = i64::from(quota.window_ms);
        // Two callers may come in the other order than they looked at the clock; what is more than that is a clock that
        // was set back, by which nothing can be said.
        let now_ms = match self.runs.back() {
            Some(run) if run.last - now_ms > window => {
                *self = Self::default();
                now_ms
            }
            Some(run) => now_ms.max(run.last),
            None => now_ms,
        };
        while let Some(run) = self.runs.front().filter(|run| now_ms - run.last >= window) {
            self.used -= run.amount;
            self.runs.pop_front();
        }
        // More than a whole quota at once is admitted when nothing else was.
        if self.used > 0 && self.used.saturating_add(amount) > quota.amount {
            let over = self.used.saturating_add(amount) - quota.amount;
            let mut freed = 0;
            let until = self.runs.iter().find(|run| {
                freed += run.amount;
                freed >= over
            });
            let wait = until.or(self.runs.back()).map_or(window, |run| run.last + window - now_ms);
            return Err(wait.clamp(1, window).unsigned_abs());
        }
        self.used = self.used.saturating_add(amount);
        let part = window / i64::try_from(EXACT).unwrap_or(i64::MAX);
        let joins = if self.runs.len() < EXACT { 0 } else { part };
        match self.runs.back_mut() {
            Some(run) if now_ms - run.first <= joins => {
                run.last = now_ms;
                run.amount = run.amount.saturating_add(amount);
            }
            _ => self.runs.push_back(Run { first: now_ms, last: now_ms, amount }),
        }
        Ok(())
    }

    fn is_idle(&self, quota: Quota, now_ms: i64) -> bool {
        self.runs.back().is_none_or(|run| now_ms - run.last >= i64::from(quota.window_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO_A_MINUTE: Quota = Quota { amount: 2, window_ms: 60_000 };

    #[test]
    fn window_slides_and_refused_attempts_do_not_count() {
        let mut window = Window::default();
        let mut take = |at| window.take(TWO_A_MINUTE, 1, at);
        assert_eq!(take(0), Ok(()));
        assert_eq!(take(10_000), Ok(()));
        assert_eq!(take(20_000), Err(40_000));
        assert_eq!(take(59_999), Err(1));
        assert_eq!(take(60_000), Ok(()));
        assert_eq!(take(60_001), Err(9_999));
    }

    #[test]
    fn a_clock_that_was_set_back_locks_nobody_out() {
        let mut window = Window::default();
        assert_eq!(window.take(TWO_A_MINUTE, 2, 10_000_000), Ok(()));
        assert_eq!(window.take(TWO_A_MINUTE, 1, 9_999_999), Err(60_000), "two callers in the other order");
        assert_eq!(window.take(TWO_A_MINUTE, 1, 5), Ok(()));
    }

    #[test]
    fn memory_of_a_window_does_not_grow_with_its_quota() {
        let quota = Quota { amount: u64::MAX, window_ms: 60_000 };
        let mut window = Window::default();
        for at in 0..200_000 {
            window.take(quota, 1, at).unwrap();
            assert!(window.runs.len() <= 2 * EXACT + 1, "{}", window.runs.len());
        }
    }
}
