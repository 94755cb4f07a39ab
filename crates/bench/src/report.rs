//! What a run found, for people and as JSON.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::measure::{Fault, Summary, Totals};
use crate::process::{ServerUse, Usage, cores};

/// The result of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    workload: &'static str,
    /// What was asked for.
    settings: Value,
    /// Measured time.
    seconds: f64,
    /// What one operation is.
    operation: &'static str,
    operations: u64,
    /// Operations a second.
    rate: f64,
    latency_us: Summary,
    /// Operations that did not go as they must, by code.
    faults: BTreeMap<String, Fault>,
    /// Cores that this program kept busy: at its number of threads it, and not the server, is what is measured.
    client_cores: f64,
    server: Option<ServerUse>,
    /// What only this workload has to say.
    #[serde(flatten)]
    more: Map<String, Value>,
}

/// Samples around the measured time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Samples {
    pub(crate) client: (Usage, Usage),
    pub(crate) server: Option<(Usage, Usage)>,
}

impl Report {
    pub(crate) fn new(
        workload: &'static str,
        settings: &impl Serialize,
        operation: &'static str,
        elapsed: Duration,
        totals: Totals,
        samples: Samples,
    ) -> Self {
        let operations = totals.counted;
        let seconds = elapsed.as_secs_f64();
        Self {
            workload,
            settings: serde_json::to_value(settings).unwrap_or_default(),
            seconds,
            operation,
            operations,
            rate: (operations as f64 / seconds.max(1e-9) * 10.0).round() / 10.0,
            latency_us: totals.times.summary(),
            faults: totals.faults,
            client_cores: cores(samples.client.0, samples.client.1, elapsed),
            server: samples
                .server
                .map(|(before, after)| ServerUse::between(before, after, elapsed, operations)),
            more: Map::new(),
        }
    }

    /// Adds a figure of its own.
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.more.insert(name.to_owned(), value.into());
        self
    }

    /// Whether there was something to measure and nothing was at fault.
    pub(crate) fn ok(&self) -> bool {
        self.faults.is_empty() && self.operations > 0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { workload, operations, operation, seconds, rate, .. } = self;
        writeln!(f, "{workload}: {operations} {operation} in {seconds:.2} s, {rate:.1} a second")?;
        let Summary { mean, p50, p90, p99, p99_9, max, .. } = self.latency_us;
        writeln!(
            f,
            "  time in µs: mean {mean:.0}, p50 {p50:.0}, p90 {p90:.0}, p99 {p99:.0}, p99.9 {p99_9:.0}, max {max:.0}"
        )?;
        write!(f, "  busy cores: client {:.2}", self.client_cores)?;
        if let Some(server) = &self.server {
            let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
            write!(f, ", server {:.2} ({:.1} µs each)", server.cores, server.cpu_us_each)?;
            let (before, after) = (mib(server.rss_before), mib(server.rss_after));
            write!(f, "; server memory {before:.1} to {after:.1} MiB")?;
        }
        writeln!(f)?;
        for (name, value) in &self.more {
            writeln!(f, "  {name}: {value}")?;
        }
        for (code, fault) in &self.faults {
            writeln!(f, "  FAULT {code}: {} times; first: {}", fault.count, fault.first)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Failure;
    use crate::measure::Recorder;
    use std::time::Instant;

    fn report(operations: u32, failure: Option<Failure>) -> Report {
        let recorder = Recorder::always();
        let began = Instant::now();
        (0..operations).for_each(|n| recorder.done(n as usize, began));
        if let Some(failure) = failure {
            recorder.failed(0, &failure);
        }
        let second = Duration::from_secs(2);
        Report::new("send", &Value::Null, "messages", second, recorder.totals(), Samples::default())
    }

    #[test]
    fn a_run_is_ok_when_something_was_done_and_nothing_failed() {
        assert!(report(1, None).ok());
        assert!(!report(0, None).ok());
        assert!(!report(1, Some(Failure::new("RATE_LIMITED", "slow down"))).ok());
    }

    #[test]
    fn json_and_text_say_the_same() {
        let report = report(10, Some(Failure::new("FORBIDDEN", "not you"))).with("sessions", 3);
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["operations"], 10);
        assert_eq!(json["rate"], 5.0);
        assert_eq!(json["sessions"], 3);
        assert_eq!(json["faults"]["FORBIDDEN"]["count"], 1);
        let text = report.to_string();
        for part in
            ["10 messages in 2.00 s, 5.0 a second", "FAULT FORBIDDEN: 1 times; first: not you", "sessions: 3"]
        {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
    }
}
