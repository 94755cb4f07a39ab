//! What was measured: times in histograms and refusals by code, in shards that are added up at the end.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use parking_lot::Mutex;
use serde::Serialize;

use crate::client::Failure;

/// Longest time that is told apart from longer ones, in nanoseconds: ten minutes.
const LONGEST_NS: u64 = 600_000_000_000;
/// Significant decimal digits of a time: an error of at most 0.1%.
const DIGITS: u8 = 3;
/// Shards of a recorder, so that workers on different threads rarely meet.
const SHARDS: usize = 16;

/// Times with a known relative error.
pub(crate) struct Times(Histogram<u64>);

impl Times {
    pub(crate) fn new() -> Self {
        match Histogram::new_with_bounds(1, LONGEST_NS, DIGITS) {
            Ok(histogram) => Self(histogram),
            Err(error) => unreachable!("the bounds are constants and legal: {error}"),
        }
    }

    pub(crate) fn record(&mut self, time: Duration) {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.0.saturating_record(ns.clamp(1, LONGEST_NS));
    }

    pub(crate) fn add(&mut self, other: &Self) {
        if self.0.add(&other.0).is_err() {
            unreachable!("all histograms have the same bounds");
        }
    }

    pub(crate) fn summary(&self) -> Summary {
        let us = |ns: u64| (ns as f64 / 10.0).round() / 100.0;
        let at = |quantile: f64| us(self.0.value_at_quantile(quantile));
        Summary {
            count: self.0.len(),
            mean: us(self.0.mean() as u64),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            max: us(self.0.max()),
        }
    }
}

/// Times in microseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Summary {
    pub(crate) count: u64,
    pub(crate) mean: f64,
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p99_9: f64,
    pub(crate) max: f64,
}

/// How often something went wrong in one way, with the first message that said so.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Fault {
    pub(crate) count: u64,
    pub(crate) first: String,
}

struct Shard {
    times: Times,
    counted: u64,
    faults: BTreeMap<String, Fault>,
}

/// Where workers write what they saw.
pub(crate) struct Recorder {
    /// Only what ended in here is counted; faults always are.
    from: Instant,
    until: Instant,
    shards: Vec<Mutex<Shard>>,
}

/// All shards of a recorder, added up.
pub(crate) struct Totals {
    pub(crate) times: Times,
    pub(crate) counted: u64,
    pub(crate) faults: BTreeMap<String, Fault>,
}

impl Recorder {
    pub(crate) fn between(from: Instant, until: Instant) -> Self {
        let shard = || Mutex::new(Shard { times: Times::new(), counted: 0, faults: BTreeMap::new() });
        Self { from, until, shards: (0..SHARDS).map(|_| shard()).collect() }
    }

    /// Counts everything, whenever it ends.
    pub(crate) fn always() -> Self {
        let now = Instant::now();
        Self::between(now, now + Duration::from_secs(365 * 86_400))
    }

    /// An operation that took from `began` until now.
    pub(crate) fn done(&self, worker: usize, began: Instant) {
        self.ended(worker, began, Instant::now());
    }

    pub(crate) fn ended(&self, worker: usize, began: Instant, now: Instant) {
        if now >= self.from && now <= self.until {
            let mut shard = self.shards[worker % SHARDS].lock();
            shard.times.record(now - began);
            shard.counted += 1;
        }
    }

    pub(crate) fn failed(&self, worker: usize, failure: &Failure) {
        let mut shard = self.shards[worker % SHARDS].lock();
        let fault = shard
            .faults
            .entry(failure.code.clone())
            .or_insert_with(|| Fault { count: 0, first: failure.message.clone() });
        fault.count += 1;
    }

    /// How many operations are counted so far.
    pub(crate) fn count(&self) -> u64 {
        self.shards.iter().map(|shard| shard.lock().counted).sum()
    }

    pub(crate) fn fault_count(&self) -> u64 {
        self.shards
            .iter()
            .map(|shard| shard.lock().faults.values().map(|fault| fault.count).sum::<u64>())
            .sum()
    }

    pub(crate) fn totals(&self) -> Totals {
        let mut totals = Totals { times: Times::new(), counted: 0, faults: BTreeMap::new() };
        for shard in &self.shards {
            let shard = shard.lock();
            totals.times.add(&shard.times);
            totals.counted += shard.counted;
            for (code, fault) in &shard.faults {
                totals
                    .faults
                    .entry(code.clone())
                    .and_modify(|sum| sum.count += fault.count)
                    .or_insert_with(|| fault.clone());
            }
        }
        totals
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_add_up_to_what_one_histogram_would_hold() {
        let start = Instant::now();
        let recorder = Recorder::between(start, start + Duration::from_secs(3600));
        let mut whole = Times::new();
        for n in 1..=10_000u32 {
            let time = Duration::from_micros(u64::from(n));
            recorder.ended(n as usize, start, start + time);
            whole.record(time);
        }
        let totals = recorder.totals();
        assert_eq!(totals.counted, 10_000);
        assert_eq!(recorder.count(), 10_000);
        assert_eq!(totals.times.summary(), whole.summary());
        let summary = totals.times.summary();
        for (got, wanted) in [
            (summary.p50, 5000.0),
            (summary.p90, 9000.0),
            (summary.p99, 9900.0),
            (summary.p99_9, 9990.0),
            (summary.max, 10_000.0),
            (summary.mean, 5000.5),
        ] {
            assert!((got - wanted).abs() <= wanted * 0.002, "{got} is not {wanted}");
        }
    }

    #[test]
    fn only_what_ends_in_the_window_counts() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let recorder = Recorder::between(start + second, start + 2 * second);
        for (ended, counts) in [(500, 0), (1000, 1), (1999, 2), (2000, 3), (2001, 3)] {
            recorder.ended(0, start, start + Duration::from_millis(ended));
            assert_eq!(recorder.count(), counts, "{ended} ms");
        }
    }

    #[test]
    fn faults_are_counted_by_code_and_keep_their_first_message() {
        let recorder = Recorder::always();
        for worker in 0..40 {
            recorder.failed(worker, &Failure::new("RATE_LIMITED", format!("worker {worker}")));
        }
        recorder.failed(3, &Failure::new("FORBIDDEN", "no"));
        let faults = recorder.totals().faults;
        assert_eq!(faults["RATE_LIMITED"], Fault { count: 40, first: "worker 0".into() });
        assert_eq!(faults["FORBIDDEN"], Fault { count: 1, first: "no".into() });
        assert_eq!(recorder.fault_count(), 41);
    }

    #[test]
    fn a_time_beyond_all_bounds_is_the_longest() {
        let mut times = Times::new();
        times.record(Duration::ZERO);
        times.record(Duration::from_secs(86_400));
        let summary = times.summary();
        assert_eq!(summary.count, 2);
        assert!((summary.max - 6e8).abs() < 1e6, "{}", summary.max);
    }
}
