//! When operations begin: as soon as the one before has ended, or at a fixed rate that waits for nobody.
//!
//! At a fixed rate an operation's time counts from when it was due, not from when a worker was free to begin it. So a
//! server that stalls shows the stall in the times of all operations that were due meanwhile, and not in one only
//! ("coordinated omission").

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

/// Slots that lie closer together than this are due together: a thread cannot sleep for much less.
const TICK: Duration = Duration::from_micros(200);

/// When the slots of a fixed rate are due.
#[derive(Clone, Copy, Debug)]
struct Schedule {
    rate: f64,
}

impl Schedule {
    /// When slot `n` is due, from the start: on the grid of ticks, never later than its exact time.
    fn due(self, n: u64) -> Duration {
        let exact = n as f64 / self.rate;
        if 1.0 / self.rate >= TICK.as_secs_f64() {
            return Duration::from_secs_f64(exact);
        }
        let ticks = (exact / TICK.as_secs_f64() + 1e-9).floor();
        TICK.mul_f64(ticks)
    }

    /// How many slots are due at `elapsed`.
    fn count(self, elapsed: Duration) -> u64 {
        // The exact count is off by less than one tick's slots; the loop settles it.
        let mut count = (elapsed.as_secs_f64() * self.rate) as u64;
        while self.due(count) <= elapsed {
            count += 1;
        }
        while count > 0 && self.due(count - 1) > elapsed {
            count -= 1;
        }
        count
    }
}

/// Hands out the slots of one run to its workers.
pub(crate) struct Pace {
    end: Instant,
    fixed: Option<Fixed>,
}

struct Fixed {
    schedule: Schedule,
    start: Instant,
    shared: Arc<Shared>,
    taken: AtomicU64,
    pacer: Option<JoinHandle<()>>,
}

struct Shared {
    due: Semaphore,
    stop: AtomicBool,
}

impl Pace {
    /// Slots from now until `end`, at `rate` a second, or one after the other without a rate.
    pub(crate) fn until(end: Instant, rate: Option<f64>) -> Self {
        let fixed = rate.map(|rate| {
            let schedule = Schedule { rate };
            let start = Instant::now();
            let shared = Arc::new(Shared { due: Semaphore::new(0), stop: AtomicBool::new(false) });
            let pacer = std::thread::spawn({
                let shared = Arc::clone(&shared);
                move || release(schedule, start, end, &shared)
            });
            Fixed { schedule, start, shared, taken: AtomicU64::new(0), pacer: Some(pacer) }
        });
        Self { end, fixed }
    }

    /// Waits for the next slot: the moment from which its operation's time counts. `None` when the run is over.
    pub(crate) async fn slot(&self) -> Option<Instant> {
        let Some(fixed) = &self.fixed else {
            let now = Instant::now();
            return (now < self.end).then_some(now);
        };
        let permit = fixed.shared.due.acquire().await.ok()?;
        permit.forget();
        let n = fixed.taken.fetch_add(1, Ordering::Relaxed);
        (Instant::now() < self.end).then(|| fixed.start + fixed.schedule.due(n))
    }

    /// After the end: slots that were due and not begun, because all workers were busy.
    pub(crate) fn missed(&self) -> u64 {
        self.fixed.as_ref().map_or(0, |fixed| {
            let due = fixed.schedule.count(self.end.saturating_duration_since(fixed.start));
            due.saturating_sub(fixed.taken.load(Ordering::Relaxed))
        })
    }
}

impl Drop for Pace {
    fn drop(&mut self) {
        if let Some(fixed) = &mut self.fixed {
            fixed.shared.stop.store(true, Ordering::Relaxed);
            if let Some(pacer) = fixed.pacer.take() {
                // It sleeps for one slot at most; a panic in it has nothing left to spoil.
                let _ = pacer.join();
            }
        }
    }
}

/// The pacing thread: sleeps until slots are due and lets that many workers go. A thread, because the timers of the
/// runtime are too coarse.
fn release(schedule: Schedule, start: Instant, end: Instant, shared: &Shared) {
    let mut released = 0;
    while !shared.stop.load(Ordering::Relaxed) {
        let now = Instant::now();
        if now >= end {
            break;
        }
        let count = schedule.count(now - start);
        if count > released {
            shared.due.add_permits(usize::try_from(count - released).unwrap_or(0));
            released = count;
        }
        let next = (start + schedule.due(released)).min(end);
        // Short naps, so that a stop does not wait for a slow rate's next slot.
        std::thread::sleep(next.saturating_duration_since(Instant::now()).min(Duration::from_millis(50)));
    }
    shared.due.close();
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn slots_are_due_in_order_near_their_exact_time_and_counted(
            rate in 0.5f64..500_000.0,
            n in 0u64..1_000_000,
        ) {
            let schedule = Schedule { rate };
            let due = schedule.due(n);
            let exact = n as f64 / rate;
            prop_assert!(due.as_secs_f64() <= exact + 1e-6, "{due:?} {exact}");
            prop_assert!(exact - due.as_secs_f64() <= TICK.as_secs_f64() + 1e-6, "{due:?} {exact}");
            prop_assert!(due <= schedule.due(n + 1));
            prop_assert!(schedule.count(due) > n, "a due slot counts");
            if let Some(before) = due.checked_sub(Duration::from_nanos(1)) {
                prop_assert!(schedule.count(before) <= n, "and not earlier");
            }
        }
    }

    #[tokio::test]
    async fn without_a_rate_slots_follow_each_other_until_the_end() {
        let end = Instant::now() + Duration::from_secs(60);
        let pace = Pace::until(end, None);
        let first = pace.slot().await.unwrap();
        assert!(pace.slot().await.unwrap() >= first);
        assert_eq!(pace.missed(), 0);
        assert!(Pace::until(Instant::now(), None).slot().await.is_none(), "over");
    }

    /// The heart of the rate mode: a worker that was held up is given the times at which its slots were due.
    #[tokio::test]
    async fn a_stalled_worker_catches_up_on_slots_that_were_due_meanwhile() {
        let start = Instant::now();
        let pace = Pace::until(start + Duration::from_secs(60), Some(10_000.0));
        let first = pace.slot().await.unwrap();
        std::thread::sleep(Duration::from_millis(20));
        for n in 1..100u32 {
            let due = pace.slot().await.unwrap();
            let wanted = Duration::from_micros(u64::from(n) * 100);
            assert!(due - first <= wanted, "{n}: {:?}", due - first);
            assert!(wanted - (due - first) <= TICK, "{n}: {:?}", due - first);
        }
        assert!(first.elapsed() >= Duration::from_millis(20), "so their times include the stall");
    }

    #[tokio::test]
    async fn slots_that_nobody_took_are_missed() {
        let pace = Pace::until(Instant::now() + Duration::from_millis(100), Some(1000.0));
        assert!(pace.slot().await.is_some());
        // Waits for the end itself: the last slot is refused.
        while pace.slot().await.is_some() {
            if pace.end <= Instant::now() + Duration::from_millis(50) {
                break;
            }
        }
        std::thread::sleep(pace.end.saturating_duration_since(Instant::now()));
        assert!(pace.missed() >= 40, "{}", pace.missed());
    }
}
