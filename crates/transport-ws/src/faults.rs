//! How many malformed frames a connection may send before it counts as abuse.

use std::collections::VecDeque;

use tokio::time::{Duration, Instant};

const MOST: usize = 20;
const WINDOW: Duration = Duration::from_secs(10);

/// The malformed frames of the last ten seconds.
#[derive(Default)]
pub(crate) struct Faults {
    recent: VecDeque<Instant>,
}

impl Faults {
    /// Notes a malformed frame. True if it was one too many.
    pub(crate) fn record(&mut self, now: Instant) -> bool {
        while self.recent.front().is_some_and(|first| now.duration_since(*first) > WINDOW) {
            self.recent.pop_front();
        }
        self.recent.push_back(now);
        self.recent.len() >= MOST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_twentieth_within_ten_seconds_is_too_many() {
        let mut faults = Faults::default();
        let start = Instant::now();
        // Two in a second: never more than twenty, and the twentieth comes only after ten seconds.
        for n in 0..19 {
            assert!(!faults.record(start + Duration::from_millis(n * 500)), "{n}");
        }
        assert!(!faults.record(start + Duration::from_millis(10_001)));
        assert!(faults.record(start + Duration::from_millis(10_002)));
    }
}
