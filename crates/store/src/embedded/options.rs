//! How an embedded store is opened, and why that can fail.

use std::path::PathBuf;
use std::sync::Arc;

use super::faults::Faults;

/// Settings of an [`EmbeddedStore`](super::EmbeddedStore). The defaults suit a gateway.
#[derive(Clone, Debug)]
pub struct Options {
    /// Memory for blocks of the tables that were read lately.
    pub cache_bytes: u64,
    /// Bytes that may wait for the writer; more appends wait before they are queued.
    pub queue_bytes: usize,
    /// Tails of streams that are kept in memory, so that an append to a hot stream reads nothing.
    pub cached_tails: usize,
    /// Failed commits in a row after which the store calls itself unhealthy.
    pub unhealthy_after: u32,
    /// Makes chosen commits fail; for tests of this crate and of its users.
    pub faults: Option<Arc<dyn Faults>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cache_bytes: 64 << 20,
            queue_bytes: 64 << 20,
            cached_tails: 1 << 16,
            unhealthy_after: 3,
            faults: None,
        }
    }
}

/// Why a directory was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open, or this one.
    #[error("the data directory {} is in use by another process{}; stop that one, or choose another directory", dir.display(), pid.map_or_else(String::new, |pid| format!(" (pid {pid})")))]
    InUse {
        /// The directory.
        dir: PathBuf,
        /// The process that wrote its id into the lock file last.
        pid: Option<u32>,
    },
    /// Written by a release with a newer format.
    #[error("the data directory {} has store format {found}, written by a newer release; this one reads formats up to {supported}", dir.display())]
    Newer {
        /// The directory.
        dir: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format that this release reads.
        supported: u32,
    },
    /// Holds files, but no store.
    #[error("the data directory {} is not a store of this gateway: {why}", dir.display())]
    NotAStore {
        /// The directory.
        dir: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Damaged where records were already promised to be kept; nothing is dropped without the operator.
    #[error("the store in {} is damaged: {why}; restore it from a backup, or keep the directory and ask for help", dir.display())]
    Damaged {
        /// The directory.
        dir: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The file system or the table engine failed.
    #[error("the store in {} cannot be opened: {why}", dir.display())]
    Failed {
        /// The directory.
        dir: PathBuf,
        /// What failed.
        why: String,
    },
}
