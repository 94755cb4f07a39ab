//! What the store's handle and its writer thread have in common: the open tables, counters and health.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use macp_counters::Histogram;
use parking_lot::RwLock;

use super::lock::Lock;
use super::options::Options;
use super::tables::Tables;
use crate::error::StoreError;

/// Counters of a store since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Commits that reached the disk; each is one write and one data sync.
    pub commits: u64,
    /// Records that these commits held.
    pub appends: u64,
    /// Bytes of keys and values that these commits held.
    pub bytes: u64,
    /// Commits that failed.
    pub failures: u64,
}

/// Memory that a store holds, in bytes of keys, values and blocks; what it needs to find them comes on top.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Blocks of tables that were read lately, at most [`Options::cache_bytes`].
    pub cache: u64,
    /// What was committed and is not in a table yet.
    pub unflushed: u64,
}

/// Records in a commit.
const BATCH: &[u64] = &[1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096];
/// Nanoseconds, from 50 us to 5 s.
const COMMIT_TIME: &[u64] = &[
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    5_000_000_000,
];

/// How large commits were, and how long they took.
#[derive(Debug)]
pub struct Commits {
    /// Records in each commit that held any.
    pub records: Histogram,
    /// Nanoseconds that a commit took with its data sync.
    pub time: Histogram,
}

impl Default for Commits {
    fn default() -> Self {
        Self { records: Histogram::new(BATCH), time: Histogram::new(COMMIT_TIME) }
    }
}

pub(super) struct Shared {
    /// Where the table engine keeps its files.
    pub(super) tables_dir: PathBuf,
    pub(super) options: Options,
    /// `None` while they are closed because a commit failed.
    tables: RwLock<Option<Arc<Tables>>>,
    failed_in_a_row: AtomicU32,
    closed: AtomicBool,
    commits: AtomicU64,
    appends: AtomicU64,
    bytes: AtomicU64,
    failures: AtomicU64,
    pub(super) measured: Commits,
    /// Last, so that it is released after the tables are closed.
    _lock: Lock,
}

impl Shared {
    pub(super) fn new(tables_dir: PathBuf, options: Options, tables: Tables, lock: Lock) -> Self {
        Self {
            tables_dir,
            options,
            tables: RwLock::new(Some(Arc::new(tables))),
            failed_in_a_row: AtomicU32::new(0),
            closed: AtomicBool::new(false),
            commits: AtomicU64::new(0),
            appends: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            measured: Commits::default(),
            _lock: lock,
        }
    }

    /// The open tables. Nobody keeps them for longer than one read, since the writer waits for all readers before it
    /// opens them again.
    pub(super) fn tables(&self) -> Result<Arc<Tables>, StoreError> {
        self.tables.read().clone().ok_or_else(|| {
            StoreError::Unavailable("the store is closed after a failed write and opens again".to_owned())
        })
    }

    /// Takes the tables away from readers.
    pub(super) fn take_tables(&self) -> Option<Arc<Tables>> {
        self.closed.store(true, Ordering::Release);
        self.tables.write().take()
    }

    pub(super) fn put_tables(&self, tables: Tables) {
        *self.tables.write() = Some(Arc::new(tables));
        self.closed.store(false, Ordering::Release);
    }

    pub(super) fn succeeded(&self, appends: u64, bytes: u64) {
        self.failed_in_a_row.store(0, Ordering::Release);
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.appends.fetch_add(appends, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if appends > 0 {
            self.measured.records.observe(appends);
        }
    }

    pub(super) fn failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        // Only the writer changes it; it stays far from its end.
        let failed = self.failed_in_a_row.load(Ordering::Acquire);
        self.failed_in_a_row.store(failed.saturating_add(1), Ordering::Release);
    }

    /// Whether the last commit failed, so that nobody knows if the next will.
    pub(super) fn is_doubtful(&self) -> bool {
        self.closed.load(Ordering::Acquire) || self.failed_in_a_row.load(Ordering::Acquire) > 0
    }

    pub(super) fn is_healthy(&self) -> bool {
        !self.closed.load(Ordering::Acquire)
            && self.failed_in_a_row.load(Ordering::Acquire) < self.options.unhealthy_after
    }

    pub(super) fn stats(&self) -> Stats {
        Stats {
            commits: self.commits.load(Ordering::Relaxed),
            appends: self.appends.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
        }
    }
}
