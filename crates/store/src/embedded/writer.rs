//! The one writer: turns everything that waits into one commit with one sync, then answers.
//!
//! ```text
//!  appends of all streams ──▶ queue ──▶ take all ─▶ check positions ─▶ one commit, one data sync ─▶ answer all
//!                                          ▲                                   │ failed
//!                                          └── tails forgotten ◀── open again ◀┴─ close the tables, cut the journal
//! ```
//!
//! While the disk syncs one commit the next one gathers, so nothing ever waits for company.
//!
//! After a failed commit nobody knows what the disk holds, and after a failed sync the operating system may believe
//! that it holds everything. So the tables are closed, the journal is cut back to the last commit that was
//! acknowledged, and the tables are opened again from that. If that succeeds, what failed is certainly not in the
//! store; until it does, its outcome is unknown and reads are refused.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::faults::Faults;
use super::journal;
use super::round::{Failure, Job, Round, refuse};
use super::shared::Shared;
use super::tables::{Changes, Tables};
use super::tails::Tails;

/// Most jobs in a commit.
const COMMIT_JOBS: usize = 4096;
/// Bytes after which a commit takes no more jobs.
const COMMIT_BYTES: usize = 8 << 20;
/// How long the writer waits before it tries by itself whether a fault has passed.
const PROBE_EVERY: Duration = Duration::from_millis(250);
/// How long it waits for readers of the tables that it closes.
const READERS_PATIENCE: Duration = Duration::from_secs(10);

pub(super) struct Writer {
    shared: Arc<Shared>,
    jobs: Receiver<Job>,
    tails: Tails,
    next_number: u64,
    /// The engine's number of the first commit that is not acknowledged.
    unacknowledged: u64,
    /// Tables that are closed to readers, while readers from before still hold them.
    closing: Option<Arc<Tables>>,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, jobs: Receiver<Job>, next_number: u64, next_commit: u64) -> Self {
        let tails = Tails::new(shared.options.cached_tails);
        Self { shared, jobs, tails, next_number, unacknowledged: next_commit, closing: None }
    }

    /// Runs until every handle is gone and everything that waited is answered.
    pub(super) fn run(mut self) {
        loop {
            let first = if self.shared.is_doubtful() {
                match self.jobs.recv_timeout(PROBE_EVERY) {
                    Ok(job) => Some(job),
                    Err(RecvTimeoutError::Timeout) => None,
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            } else {
                match self.jobs.recv() {
                    Ok(job) => Some(job),
                    Err(_) => return,
                }
            };
            match first {
                Some(job) => self.round(job),
                None => self.probe(),
            }
        }
    }

    fn round(&mut self, first: Job) {
        let tables = match self.open_tables() {
            Ok(tables) => tables,
            Err(why) => {
                refuse(first, &why);
                while let Ok(job) = self.jobs.try_recv() {
                    refuse(job, &why);
                }
                return;
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
            next = if count < COMMIT_JOBS && bytes < COMMIT_BYTES { self.jobs.try_recv().ok() } else { None };
        }
        let changes = round.changes();
        if changes.is_empty() {
            return round.succeed(&mut self.tails);
        }
        let bytes = changes.bytes;
        match self.commit(&tables, Some(changes)) {
            Ok(()) => {
                self.shared.succeeded(round.appended(), bytes);
                round.succeed(&mut self.tails);
            }
            Err(why) => {
                drop(tables);
                round.fail(&self.after_failure(why));
            }
        }
    }

    /// One commit, or one sync of nothing new.
    fn commit(&mut self, tables: &Tables, changes: Option<Changes>) -> Result<(), String> {
        let faults = self.shared.options.faults.as_deref();
        faults.map_or(Ok(()), Faults::before_commit).map_err(|error| error.to_string())?;
        match changes {
            Some(changes) => tables.commit(changes),
            None => tables.probe(),
        }
        .map_err(|error| error.to_string())?;
        faults.map_or(Ok(()), Faults::after_commit).map_err(|error| error.to_string())?;
        self.unacknowledged = tables.next_commit();
        Ok(())
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
        self.next_number = tables.next_number().map_err(|error| error.to_string())?;
        self.unacknowledged = tables.next_commit();
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
