//! A line on the terminal that says how far a run is; nothing when standard error is no terminal.

use std::io::{IsTerminal as _, Write as _, stderr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::measure::Recorder;

const EVERY: Duration = Duration::from_millis(250);
const WIDTH: usize = 30;

/// The line; gone with this value.
pub(crate) struct Progress(Option<tokio::task::JoinHandle<()>>);

impl Progress {
    /// Shows the time that has passed of a run between two moments, and what is counted so far.
    pub(crate) fn show(recorder: &Arc<Recorder>, begin: Instant, end: Instant) -> Self {
        if !stderr().is_terminal() {
            return Self(None);
        }
        let recorder = Arc::clone(recorder);
        Self(Some(tokio::spawn(async move {
            loop {
                let text = line(begin, end, Instant::now(), recorder.count(), recorder.fault_count());
                // Nobody is hurt when a terminal takes no more.
                let _ = write!(stderr(), "\r{text}\x1b[K");
                tokio::time::sleep(EVERY).await;
            }
        })))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(task) = self.0.take() {
            task.abort();
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }
}

fn line(begin: Instant, end: Instant, now: Instant, count: u64, faults: u64) -> String {
    let all = (end - begin).as_secs_f64().max(1e-9);
    let done = now.saturating_duration_since(begin).as_secs_f64().min(all);
    let filled = (done / all * WIDTH as f64) as usize;
    let bar: String = (0..WIDTH).map(|n| if n < filled { '#' } else { '.' }).collect();
    let faults = if faults == 0 { String::new() } else { format!(", {faults} FAULTS") };
    format!("[{bar}] {done:.0}/{all:.0} s  {count}{faults}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_fills() {
        let begin = Instant::now();
        let at = |seconds| {
            line(begin, begin + Duration::from_secs(10), begin + Duration::from_secs(seconds), 7, 0)
        };
        assert!(at(0).starts_with("[....") && at(0).ends_with("0/10 s  7"), "{}", at(0));
        assert!(at(5).contains("##############....") || at(5).contains("###############..."), "{}", at(5));
        assert!(at(60).contains("#]") && at(60).contains("10/10"), "{}", at(60));
        assert!(line(begin, begin, begin, 0, 3).ends_with("3 FAULTS"));
    }
}
