//! The durable engine: streams in a directory of its own, one sync for everything that waits.
//!
//! ```text
//!  DIR/FORMAT      the store's format version
//!  DIR/LOCK        held while a process has the store open
//!  DIR/tables/     the table engine's files (fjall): a journal that every commit is synced to, and sorted tables
//! ```
//!
//! An append is acknowledged after the commit that holds it was synced. See `layout.rs` for what is stored,
//! `writer.rs` for group commit and what happens when a write fails, `journal.rs` for what a crash can leave behind,
//! and `docs/storage.md` for the operator's view.

mod ahead;
mod faults;
mod format;
mod journal;
mod layout;
mod lock;
mod options;
mod round;
mod shared;
mod tables;
mod tails;
mod verify;
mod writer;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::runtime::RuntimeFlavor;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

pub use faults::Faults;
pub use format::is_store;
pub use options::{OpenError, Options};
pub use shared::{Commits, Memory, Stats};
pub use verify::{Exported, Finding, Verified, Verify, first_link, next_link};

use crate::error::{AppendError, StoreError};
use crate::log::{Append, LogStore, Position, Removal, Stored, Summarized, Summary, SummaryFilter};
use lock::Lock;
use round::Job;
use shared::Shared;
use tables::Tables;
use writer::Line;

/// A permit of the queue stands for this many bytes, since a semaphore counts in 32 bits.
const ROOM_UNIT: usize = 256;

/// Streams in a directory.
///
/// Dropping it answers what still waits and releases the directory; that takes at most one commit.
pub struct EmbeddedStore {
    dir: PathBuf,
    shared: Arc<Shared>,
    line: Arc<Line>,
    room: Arc<Semaphore>,
    room_units: usize,
    /// `None` only while it is dropped.
    jobs: Option<Sender<Job>>,
    writer: Option<JoinHandle<()>>,
}

impl EmbeddedStore {
    /// Opens the store in `dir`, which is created if it is not there.
    ///
    /// What a crash left half-written is removed; it was never acknowledged. Blocks for as long as reading the
    /// journal takes.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(dir: impl AsRef<Path>, options: Options) -> Result<Self, OpenError> {
        let dir = dir.as_ref();
        let failed = |why: String| OpenError::Failed { dir: dir.to_owned(), why };
        std::fs::create_dir_all(dir).map_err(|error| failed(error.to_string()))?;
        let lock = Lock::acquire(dir)?;
        format::prepare(dir, format::STEPS)?;
        let tables_dir = dir.join("tables");
        Tables::remove_unfinished(&tables_dir).map_err(|error| failed(error.to_string()))?;
        journal::check(&tables_dir).map_err(|error| match error {
            journal::Error::Damaged(why) => OpenError::Damaged { dir: dir.to_owned(), why },
            journal::Error::Io(error) => failed(format!("journal: {error}")),
        })?;
        let tables = Tables::open(&tables_dir, &options).map_err(|error| match error {
            fjall::Error::Io(_) | fjall::Error::Storage(fjall::LsmError::Io(_)) => failed(error.to_string()),
            error => OpenError::Damaged { dir: dir.to_owned(), why: error.to_string() },
        })?;
        sync_names(dir).map_err(|error| failed(error.to_string()))?;
        let next_number = tables.next_number().map_err(|error| failed(error.to_string()))?;
        let next_commit = tables.next_commit();
        let room_units = (options.queue_bytes / ROOM_UNIT).clamp(1, Semaphore::MAX_PERMITS);
        let shared = Arc::new(Shared::new(tables_dir, options, tables, lock));
        let (jobs, waiting) = channel();
        let line = Arc::new(Line::new(Arc::clone(&shared), next_number, next_commit));
        let writer = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn({
                let (line, shared) = (Arc::clone(&line), Arc::clone(&shared));
                move || line.run(&shared, &waiting)
            })
            .map_err(|error| failed(format!("writer thread: {error}")))?;
        Ok(Self {
            dir: dir.to_owned(),
            shared,
            line,
            room: Arc::new(Semaphore::new(room_units)),
            room_units,
            jobs: Some(jobs),
            writer: Some(writer),
        })
    }

    /// The directory it was opened in.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Counters since it was opened.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// Memory that it holds; none while a fault has closed its tables.
    #[must_use]
    pub fn memory(&self) -> Memory {
        self.shared.tables().map(|tables| tables.memory()).unwrap_or_default()
    }

    /// How large its commits were, and how long they took.
    #[must_use]
    pub fn commits(&self) -> &Commits {
        &self.shared.measured
    }

    /// Jobs that wait for the writer thread.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.line.queued()
    }

    /// Checks every stream; see [`Verify`]. Blocking, to be called outside of the async runtime.
    #[must_use]
    pub fn verify(&self) -> Verify<'_> {
        Verify::new(&self.shared)
    }

    /// A page of a stream's records with their links, each checked; see [`Exported`]. Blocking.
    ///
    /// # Errors
    /// [`StoreError`]; damaged records are [`StoreError::Corrupt`].
    pub fn export(
        &self,
        stream: &Bytes,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Vec<Exported>, StoreError> {
        verify::export(&*self.shared.tables()?, stream, after, limit)
    }

    /// Waits for room in the writer's queue.
    async fn room(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        // Something larger than the whole queue waits until it has the queue to itself.
        let units = bytes.div_ceil(ROOM_UNIT).clamp(1, self.room_units);
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        Arc::clone(&self.room).acquire_many_owned(units).await.ok()
    }

    /// Has a job committed, by this thread or the writer's; false if there is no writer any more.
    fn send(&self, job: Job) -> bool {
        let Some(jobs) = &self.jobs else { return false };
        let job = if may_block() {
            match self.line.commit_alone(job) {
                None => return true,
                Some(job) => job,
            }
        } else {
            job
        };
        self.line.announce();
        jobs.send(job).is_ok()
    }

    /// Reads on a thread where blocking is fine.
    async fn blocking<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Tables) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let tables = self.shared.tables()?;
        let read = tokio::task::spawn_blocking(move || read(&tables));
        read.await.unwrap_or_else(|error| Err(StoreError::Unavailable(error.to_string())))
    }
}

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        // The writer ends when the last sender is gone.
        self.jobs = None;
        if self.writer.take().is_some_and(|writer| writer.join().is_err()) {
            tracing::error!("the store's writer had ended in a panic");
        }
    }
}

impl std::fmt::Debug for EmbeddedStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddedStore").field("dir", &self.dir).field("stats", &self.stats()).finish()
    }
}

const ENDED: &str = "the store's writer has ended";

#[async_trait]
impl LogStore for EmbeddedStore {
    async fn append(&self, append: Append) -> Result<Position, AppendError> {
        let ended = || AppendError::NotApplied(ENDED.to_owned());
        let room = self.room(round::append_bytes(&append)).await.ok_or_else(ended)?;
        let (reply, answer) = oneshot::channel();
        if !self.send(Job::Append { append, reply, room }) {
            return Err(ended());
        }
        // The writer answers every job it takes; if it ended in a panic, the job may have been half done.
        answer.await.unwrap_or_else(|_| Err(AppendError::Unknown(ENDED.to_owned())))
    }

    async fn remove(&self, removal: Removal) -> Result<(), AppendError> {
        let not_applied = |why: &str| AppendError::NotApplied(why.to_owned());
        let side: Option<Vec<_>> = removal.side.iter().map(|(space, key)| side_key(space, key)).collect();
        let side = side.ok_or_else(|| not_applied("the name of a side record is too long"))?;
        let room = self.room(removal.stream.len()).await.ok_or_else(|| not_applied(ENDED))?;
        let (reply, answer) = oneshot::channel();
        if !self.send(Job::Remove { removal, side, reply, room }) {
            return Err(not_applied(ENDED));
        }
        answer.await.unwrap_or_else(|_| Err(AppendError::Unknown(ENDED.to_owned()))).map(|_| ())
    }

    async fn read(
        &self,
        stream: &Bytes,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Vec<Stored>, StoreError> {
        // Nothing there, as before a session starts: a point read tells it without a change of threads.
        if after.is_none() && self.shared.tables()?.head(stream)?.is_none() {
            return Ok(Vec::new());
        }
        let stream = stream.clone();
        self.blocking(move |tables| tables.read(&stream, after.map(Position::to_engine), limit)).await
    }

    // Point reads stay on the calling thread: they take microseconds from memory and two block reads from the disk,
    // less than handing them to another thread and back costs under load.

    async fn tail(&self, stream: &Bytes) -> Result<Option<Position>, StoreError> {
        let head = self.shared.tables()?.head(stream)?;
        Ok(head.map(|(tail, _)| Position::from_engine(tail.sequence)))
    }

    async fn summary(&self, stream: &Bytes) -> Result<Option<Summary>, StoreError> {
        Ok(self.shared.tables()?.head(stream)?.map(|(_, summary)| summary))
    }

    async fn list(
        &self,
        filter: SummaryFilter,
        after: Option<&Bytes>,
        limit: usize,
    ) -> Result<Vec<Summarized>, StoreError> {
        let after = after.cloned();
        self.blocking(move |tables| tables.list(filter, after.as_deref(), limit)).await
    }

    async fn put_side(&self, space: &str, key: &[u8], value: Option<Bytes>) -> Result<(), StoreError> {
        let refused = |why: &str| StoreError::Unavailable(why.to_owned());
        let key = side_key(space, key).ok_or_else(|| refused("the name of a side record is too long"))?;
        let bytes = key.len() + value.as_ref().map_or(0, Bytes::len);
        let room = self.room(bytes).await.ok_or_else(|| refused(ENDED))?;
        let (reply, answer) = oneshot::channel();
        if !self.send(Job::Side { key, value, reply, room }) {
            return Err(refused(ENDED));
        }
        answer.await.unwrap_or_else(|_| Err(refused(ENDED)))
    }

    async fn list_side(&self, space: &str) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        let Some(prefix) = layout::side_prefix(space) else { return Ok(Vec::new()) };
        self.blocking(move |tables| tables.sides(&prefix)).await
    }

    async fn get_side(&self, space: &str, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let Some(key) = side_key(space, key) else { return Ok(None) };
        self.shared.tables()?.side(&key)
    }

    /// False after repeated failures in a row, and while the tables are closed after one.
    fn is_healthy(&self) -> bool {
        self.shared.is_healthy() && self.writer.as_ref().is_some_and(|writer| !writer.is_finished())
    }
}

/// Whether this thread may block without stopping the runtime's other tasks.
fn may_block() -> bool {
    let runtime = tokio::runtime::Handle::try_current();
    runtime.is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::MultiThread)
}

/// Makes the names of new directories durable: the data directory's own, those in it, and those of the table engine's
/// keyspaces, which it does not sync itself.
fn sync_names(dir: &Path) -> std::io::Result<()> {
    let tables = dir.join("tables");
    for directory in [&tables.join("keyspaces"), &tables, dir] {
        std::fs::File::open(directory)?.sync_all()?;
    }
    match std::path::absolute(dir)?.parent() {
        Some(parent) => std::fs::File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

fn side_key(space: &str, key: &[u8]) -> Option<Vec<u8>> {
    let key = [layout::side_prefix(space)?.as_slice(), key].concat();
    (key.len() <= layout::MAX_KEY).then_some(key)
}
