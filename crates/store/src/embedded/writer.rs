//! Group commit: everything that waits becomes one commit with one sync, then everyone is answered.
//!
//! ```text
//!  appends of all streams ──▶ queue ──▶ take all ─▶ check positions ─▶ one commit, one data sync ─▶ answer all
//!                                          ▲                                   │ failed
//!                                          └── tails forgotten ◀── open again ◀┴─ close the tables, cut the journal
//! ```
//!
//! While the disk syncs one commit the next one gathers. Only under load does a commit wait for company ([`Load`]).
//! Commits happen on a thread of their own, except that a lone append is committed on the thread that brings it:
//! handing it over and back would cost as much as the sync of a fast disk.
//!
//! After a failed commit nobody knows what the disk holds, and after a failed sync the operating system may believe
//! that it holds everything. So the tables are closed, the journal is cut back to the last commit that was
//! acknowledged, and the tables are opened again from that. If that succeeds, what failed is certainly not in the
//! store; until it does, its outcome is unknown and reads are refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::ahead::Ahead;
use super::faults::Faults;
use super::journal;
use super::round::{Failure, Job, Round, refuse};
use super::shared::Shared;
use super::tables::{Changes, Gone, Tables};
use super::tails::Tails;

/// Most jobs in a commit.
const COMMIT_JOBS: usize = 4096;
/// Bytes after which a commit takes no more jobs.
const COMMIT_BYTES: usize = 8 << 20;
/// Jobs in a round from which on the next one waits for company, how long it waits at most, and how often it looks.
const CROWD: usize = 16;
const PATIENCE: Duration = Duration::from_millis(1);
const STEP: Duration = Duration::from_micros(50);
/// How long the writer waits before it tries by itself whether a fault has passed.
const PROBE_EVERY: Duration = Duration::from_millis(250);
/// How long it waits for readers of the tables that it closes.
const READERS_PATIENCE: Duration = Duration::from_secs(10);

/// Records of removed streams that one round removes beside its own work, and that an idle writer removes at a time.
const SWEEP_BESIDE: u64 = 64;
const SWEEP_IDLE: u64 = 4096;
/// Commits that take longer are not made on the caller's thread.
const FAST_COMMIT: Duration = Duration::from_millis(1);
/// Lone and fast commits in a row after which the next is taken for one. Under load there are some too, where many
/// clients were answered at once and their next messages begin to come in.
const LONE: u32 = 16;

/// The committer, and what is known of its recent work.
pub(super) struct Line {
    committer: Mutex<Committer>,
    /// Jobs sent to the writer thread that it has not taken yet.
    waiting: AtomicUsize,
    /// Commits in a row that were of a single job, and fast.
    lone: AtomicU32,
}

impl Line {
    pub(super) fn new(shared: Arc<Shared>, next_number: u64, next_commit: u64) -> Self {
        let tails = Tails::new(shared.options.cached_tails);
        let committer = Committer {
            shared,
            tails,
            next_number,
            unacknowledged: next_commit,
            ahead: Ahead::new(),
            closing: None,
            gone: None,
        };
        Self { committer: Mutex::new(committer), waiting: AtomicUsize::new(0), lone: AtomicU32::new(LONE) }
    }

    /// Notes that a job is about to be sent to the writer thread.
    pub(super) fn announce(&self) {
        self.waiting.fetch_add(1, Ordering::AcqRel);
    }

    /// Jobs that the writer thread has not taken yet.
    pub(super) fn queued(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Commits a lone job here and now, or gives it back for the writer thread. For threads of a multi-thread
    /// runtime.
    pub(super) fn commit_alone(&self, job: Job) -> Option<Job> {
        if self.lone.load(Ordering::Acquire) < LONE || self.waiting.load(Ordering::Acquire) > 0 {
            return Some(job);
        }
        let Some(mut committer) = self.committer.try_lock() else { return Some(job) };
        if committer.shared.is_doubtful() {
            return Some(job);
        }
        // The runtime's other tasks do not wait for the disk.
        tokio::task::block_in_place(|| self.round(&mut committer, job, || None));
        None
    }

    /// The writer thread: runs until every handle is gone and everything that waited is answered.
    pub(super) fn run(&self, shared: &Shared, jobs: &Receiver<Job>) {
        let mut load = Load::default();
        loop {
            // Wakes up in any case: a commit on another thread may have failed meanwhile.
            let first = match jobs.recv_timeout(PROBE_EVERY) {
                Ok(job) => job,
                Err(RecvTimeoutError::Timeout) => {
                    let mut committer = self.committer.lock();
                    if shared.is_doubtful() {
                        committer.probe();
                    } else if let Ok(tables) = shared.tables() {
                        committer.sweep(&tables, SWEEP_IDLE);
                    }
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            };
            load.gather(|| self.queued());
            let mut committer = self.committer.lock();
            self.waiting.fetch_sub(1, Ordering::AcqRel);
            let (jobs, took) = self.round(&mut committer, first, || {
                jobs.try_recv().ok().inspect(|_| {
                    self.waiting.fetch_sub(1, Ordering::AcqRel);
                })
            });
            load.committed(jobs, took);
        }
    }

    /// One round; how many jobs it had, and how long it took.
    fn round(
        &self,
        committer: &mut Committer,
        first: Job,
        more: impl FnMut() -> Option<Job>,
    ) -> (usize, Duration) {
        let start = Instant::now();
        let jobs = committer.round(first, more);
        let took = start.elapsed();
        let is_lone = jobs == 1 && took < FAST_COMMIT;
        // Only the holder of the committer changes it.
        let lone = if is_lone { self.lone.load(Ordering::Acquire).saturating_add(1) } else { 0 };
        self.lone.store(lone, Ordering::Release);
        (jobs, took)
    }
}

/// What the last rounds say of how many clients there are.
///
/// A round answers many clients at once, and their next messages come in one by one. Committed as they come, the first
/// would have a sync for itself, and the sync's share of the processor is what the others then wait for. So where
/// rounds were large, the next begins when half as many jobs wait, or when it has waited as long as the last one took.
#[derive(Debug, Default)]
struct Load {
    /// Jobs of the largest of the last rounds; of an earlier one less and less.
    jobs: usize,
    /// How long the last round took.
    took: Duration,
}

impl Load {
    /// Waits for company, if there is reason to expect it. `waiting` tells how many there are.
    fn gather(&self, waiting: impl Fn() -> usize) {
        if self.jobs < CROWD {
            return;
        }
        let until = Instant::now() + self.took.min(PATIENCE);
        while waiting() < self.jobs / 2 && Instant::now() < until {
            std::thread::sleep(STEP);
        }
    }

    fn committed(&mut self, jobs: usize, took: Duration) {
        self.jobs = jobs.max(self.jobs - self.jobs / 4);
        self.took = took;
    }
}

struct Committer {
    shared: Arc<Shared>,
    tails: Tails,
    next_number: u64,
    /// The engine's number of the first commit that is not acknowledged.
    unacknowledged: u64,
    ahead: Ahead,
    /// Tables that are closed to readers, while readers from before still hold them.
    closing: Option<Arc<Tables>>,
    /// What is left of removed streams; `None` when that is not known.
    gone: Option<Vec<Gone>>,
}

impl Committer {
    /// Commits a job and what `more` has; returns how many that were.
    fn round(&mut self, first: Job, mut more: impl FnMut() -> Option<Job>) -> usize {
        let tables = match self.open_tables() {
            Ok(tables) => tables,
            Err(why) => {
                let mut next = Some(first);
                while let Some(job) = next {
                    refuse(job, &why);
                    next = more();
                }
                return 0;
            }
        };
        wait_for_room(&tables);
        let mut round = Round::default();
        let (mut count, mut bytes) = (0, 0);
        let mut next = Some(first);
        while let Some(job) = next {
            count += 1;
            bytes += job.bytes();
            round.add(job, &tables, &mut self.tails, &mut self.next_number);
            next = if count < COMMIT_JOBS && bytes < COMMIT_BYTES { more() } else { None };
        }
        let changes = round.changes(self.next_number);
        if changes.is_empty() {
            round.succeed(&mut self.tails);
            return count;
        }
        let (bytes, journaled) = (changes.bytes, changes.journaled());
        match self.commit(&tables, Some(changes)) {
            Ok(()) => {
                self.shared.succeeded(round.appended(), bytes);
                if round.removes() {
                    self.gone = None;
                }
                round.succeed(&mut self.tails);
                self.sweep(&tables, SWEEP_BESIDE);
                self.ahead.committed(journaled, &self.shared.tables_dir);
            }
            Err(why) => {
                drop(tables);
                round.fail(&self.after_failure(why));
            }
        }
        count
    }

    /// One commit, or one sync of nothing new.
    fn commit(&mut self, tables: &Tables, changes: Option<Changes>) -> Result<(), String> {
        let faults = self.shared.options.faults.as_deref();
        faults.map_or(Ok(()), Faults::before_commit).map_err(|error| error.to_string())?;
        let begun = Instant::now();
        match changes {
            Some(changes) => tables.commit(changes),
            None => tables.probe(),
        }
        .map_err(|error| error.to_string())?;
        self.shared.measured.time.observe_time(begun.elapsed());
        faults.map_or(Ok(()), Faults::after_commit).map_err(|error| error.to_string())?;
        self.unacknowledged = tables.next_commit();
        Ok(())
    }

    /// Removes some records of streams that are gone. A sync is not needed: what comes back after a crash is still noted.
    fn sweep(&mut self, tables: &Tables, limit: u64) {
        let gone = match self.gone.take().map_or_else(|| tables.gone(), Ok) {
            Ok(gone) => gone,
            Err(error) => return tracing::error!(%error, "what is left of removed sessions cannot be read"),
        };
        let mut gone = gone;
        if let Some(next) = gone.pop() {
            let mut changes = Changes::default();
            gone.extend(changes.sweep(next, limit));
            if let Err(error) = tables.commit_without_sync(changes) {
                // The next commit meets the same fault and deals with it.
                tracing::warn!(%error, "records of a removed session are still there");
                return;
            }
            self.unacknowledged = tables.next_commit();
        }
        self.gone = Some(gone);
    }

    /// Finds out by itself whether a fault has passed, so that a store which is out of rotation comes back.
    fn probe(&mut self) {
        let Ok(tables) = self.open_tables() else { return };
        match self.commit(&tables, None) {
            Ok(()) => self.shared.succeeded(0, 0),
            Err(why) => {
                drop(tables);
                self.after_failure(why);
            }
        }
    }

    fn after_failure(&mut self, why: String) -> Failure {
        tracing::error!(%why, "a commit failed; closing the tables and opening them again");
        self.shared.failed();
        self.tails.clear();
        self.closing = self.shared.take_tables();
        match self.reopen() {
            Ok(_) => Failure::NotApplied(why),
            Err(again) => {
                tracing::error!(why = %again, "the tables could not be opened again; trying every so often");
                Failure::Unknown(why)
            }
        }
    }

    /// The tables, opened again if a fault had closed them.
    fn open_tables(&mut self) -> Result<Arc<Tables>, String> {
        match self.shared.tables() {
            Ok(tables) => Ok(tables),
            Err(_) => self.reopen().inspect_err(|_| self.shared.failed()),
        }
    }

    fn reopen(&mut self) -> Result<Arc<Tables>, String> {
        self.finish_closing()?;
        if let Some(faults) = &self.shared.options.faults {
            faults.before_reopen().map_err(|error| error.to_string())?;
        }
        let dir = &self.shared.tables_dir;
        journal::cut(dir, self.unacknowledged).map_err(|error| error.to_string())?;
        let tables = Tables::open(dir, &self.shared.options).map_err(|error| error.to_string())?;
        self.next_number = tables.next_number().map_err(|error| error.to_string())?.max(self.next_number);
        self.gone = None;
        self.unacknowledged = tables.next_commit();
        self.ahead = Ahead::new();
        self.shared.put_tables(tables);
        tracing::info!("the tables are open again");
        self.shared.tables().map_err(|error| error.to_string())
    }

    /// Waits until nobody reads the closed tables, and closes their files.
    fn finish_closing(&mut self) -> Result<(), String> {
        let until = Instant::now() + READERS_PATIENCE;
        while let Some(tables) = self.closing.take() {
            match Arc::try_unwrap(tables) {
                Ok(tables) => drop(tables),
                Err(tables) if Instant::now() < until => {
                    self.closing = Some(tables);
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(tables) => {
                    self.closing = Some(tables);
                    return Err("a reader still holds the closed tables".to_owned());
                }
            }
        }
        Ok(())
    }
}

/// Lets flushes and compactions catch up; gives up when the engine's own threads have failed, since they never will.
fn wait_for_room(tables: &Tables) {
    while tables.crowded() && tables.probe().is_ok() {
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// How often a writer that has seen these rounds looks before it commits a lone job.
    fn looks(load: &Load, arriving: usize) -> usize {
        let looked = Cell::new(0);
        load.gather(|| {
            looked.set(looked.get() + 1);
            1 + arriving * (looked.get() - 1)
        });
        looked.get()
    }

    #[test]
    fn a_job_waits_for_company_only_where_there_was_some() {
        let mut load = Load::default();
        for jobs in [1, 2, CROWD - 1] {
            load.committed(jobs, Duration::from_millis(1));
            assert_eq!(looks(&load, 0), 0, "{jobs}");
        }
        load.committed(100, Duration::from_secs(9));
        assert_eq!(looks(&load, 49), 2, "until fifty wait");
        let begun = Instant::now();
        assert!(looks(&load, 0) > 1);
        assert!(begun.elapsed() >= PATIENCE, "as long as it is worth at most");
        load.committed(100, Duration::ZERO);
        assert_eq!(looks(&load, 0), 1, "no longer than the round before took");
        for _ in 0..16 {
            load.committed(1, Duration::from_millis(1));
        }
        assert_eq!(looks(&load, 0), 0, "they have gone");
    }
}
