//! Processor time and memory of a process, as Linux tells them.

use std::time::Duration;

use serde::Serialize;

/// A process and its use of the machine so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// In user mode and in the kernel, of all threads.
    pub(crate) cpu: Duration,
    /// Resident memory in bytes.
    pub(crate) rss: u64,
}

/// Ticks of `/proc/PID/stat` in a second: a constant of the kernel's interface on every common architecture.
const TICKS: f64 = 100.0;

/// What a process has used; zero where that cannot be told, as on other systems than Linux.
pub(crate) fn usage(pid: u32) -> Usage {
    let read = |file| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    Usage { cpu: cpu(&read("stat")).unwrap_or_default(), rss: rss(&read("status")).unwrap_or_default() }
}

fn cpu(stat: &str) -> Option<Duration> {
    // The name of the program is in brackets and may hold anything; fields 14 and 15 are the 12th and 13th behind it.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(11);
    let ticks = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    Some(Duration::from_secs_f64(ticks as f64 / TICKS))
}

fn rss(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// The server's part in a run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ServerUse {
    /// Cores that it kept busy: 1.0 is one.
    pub(crate) cores: f64,
    /// Processor time for each operation, in microseconds.
    pub(crate) cpu_us_each: f64,
    pub(crate) rss_before: u64,
    pub(crate) rss_after: u64,
}

/// What a process used between two moments.
pub(crate) fn cores(before: Usage, after: Usage, elapsed: Duration) -> f64 {
    let busy = after.cpu.saturating_sub(before.cpu).as_secs_f64() / elapsed.as_secs_f64().max(1e-9);
    (busy * 100.0).round() / 100.0
}

impl ServerUse {
    pub(crate) fn between(before: Usage, after: Usage, elapsed: Duration, operations: u64) -> Self {
        let cpu = after.cpu.saturating_sub(before.cpu);
        let each = cpu.as_secs_f64() * 1e6 / operations.max(1) as f64;
        Self {
            cores: cores(before, after, elapsed),
            cpu_us_each: (each * 100.0).round() / 100.0,
            rss_before: before.rss,
            rss_after: after.rss,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_may_have_any_name() {
        let stat =
            "4242 (a) b (c)) S 1 4242 4242 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 3 0 12345 1000 2000 1844";
        assert_eq!(cpu(stat), Some(Duration::from_secs(3)));
        assert_eq!(cpu("nonsense"), None);
    }

    #[test]
    fn this_process_uses_memory_and_time() {
        let before = usage(std::process::id());
        assert!(before.rss > 1 << 20, "{before:?}");
        let mut sum = 0u64;
        while usage(std::process::id()).cpu == before.cpu {
            sum = (0..1_000_000).fold(sum, u64::wrapping_add);
        }
        assert!(usage(std::process::id()).cpu > before.cpu, "{sum}");
    }
}
