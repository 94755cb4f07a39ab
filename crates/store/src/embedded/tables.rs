//! The table engine (fjall): reads as of one instant, and one batch as one atomic commit.

use std::ops::Bound;
use std::path::Path;
use std::{fs, io};

use bytes::Bytes;
use fjall::config::FilterPolicy;
use fjall::{
    CompressionType, Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable, Slice, Snapshot,
};

use super::journal;
use super::layout::{self, Damage, Tail};
use super::options::Options;
use super::shared::Memory;
use crate::error::StoreError;
use crate::log::{Position, Stored, Summarized, Summary, SummaryFilter};

/// Flushes that may wait before commits do. The engine would wait by itself at 4, without noticing that the thread
/// that flushes has failed.
const WAITING_FLUSHES: usize = 2;
/// The same for tables that wait for their first compaction; the engine's own limit is 30.
const WAITING_TABLES: usize = 24;

/// The open tables.
pub(super) struct Tables {
    db: Database,
    log: Keyspace,
    live: Keyspace,
    ended: Keyspace,
    side: Keyspace,
}

/// What one commit changes.
#[derive(Default)]
pub(super) struct Changes {
    puts: Vec<(Table, Slice, Slice)>,
    removals: Vec<(Table, Slice)>,
    /// Bytes of keys and values.
    pub(super) bytes: u64,
}

/// Records of a removed stream that are still in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gone {
    pub(super) number: u64,
    /// The first of them.
    next: u64,
    /// The last.
    last: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Table {
    Log,
    Live,
    Ended,
    Side,
}

impl Changes {
    /// Bytes that they will take in the engine's journal.
    pub(super) fn journaled(&self) -> u64 {
        let removed: usize = self.removals.iter().map(|(_, key)| key.len()).sum();
        let items = (self.puts.len() + self.removals.len()) as u64;
        self.bytes + removed as u64 + items * journal::ITEM_OVERHEAD + journal::BATCH_OVERHEAD
    }

    pub(super) fn is_empty(&self) -> bool {
        self.puts.is_empty() && self.removals.is_empty()
    }

    fn put(&mut self, table: Table, key: &[u8], value: Vec<u8>) {
        self.bytes += (key.len() + value.len()) as u64;
        self.puts.push((table, key.into(), value.into()));
    }

    pub(super) fn put_record(&mut self, key: &[u8; 16], sealed: Vec<u8>) {
        self.put(Table::Log, key, sealed);
    }

    /// Puts the head where it belongs; `was_live` tells where an older one is.
    pub(super) fn put_head(&mut self, key: &[u8], sealed: Vec<u8>, live: bool, was_live: Option<bool>) {
        let table = |live| if live { Table::Live } else { Table::Ended };
        if was_live == Some(!live) {
            self.removals.push((table(!live), key.into()));
        }
        self.put(table(live), key, sealed);
    }

    /// Removes a stream's head, and leaves a note that its records are to go.
    pub(super) fn remove_stream(&mut self, head: &[u8], tail: &Tail) {
        self.removals.push((if tail.live { Table::Live } else { Table::Ended }, head.into()));
        self.put_gone(Gone { number: tail.number, next: 1, last: tail.sequence });
    }

    /// Notes the least number that a new stream may have.
    pub(super) fn put_next_number(&mut self, next_number: u64) {
        let key = layout::next_number_key();
        let sealed = layout::seal_side(&key, &next_number.to_be_bytes());
        self.put(Table::Side, &key, sealed);
    }

    fn put_gone(&mut self, gone: Gone) {
        let key = layout::gone_key(gone.number);
        let value = layout::record_key(gone.next, gone.last);
        let sealed = layout::seal_side(&key, &value);
        self.put(Table::Side, &key, sealed);
    }

    /// Removes the next records of a removed stream; what is left of it then.
    pub(super) fn sweep(&mut self, gone: Gone, limit: u64) -> Option<Gone> {
        let end = gone.last.min(gone.next.saturating_add(limit - 1));
        for sequence in gone.next..=end {
            self.removals.push((Table::Log, layout::record_key(gone.number, sequence).into()));
        }
        if end == gone.last {
            self.removals.push((Table::Side, layout::gone_key(gone.number).into()));
            return None;
        }
        let left = Gone { next: end + 1, ..gone };
        self.put_gone(left);
        Some(left)
    }

    pub(super) fn put_side(&mut self, key: &[u8], sealed: Option<Vec<u8>>) {
        match sealed {
            Some(sealed) => self.put(Table::Side, key, sealed),
            None => self.removals.push((Table::Side, key.into())),
        }
    }
}

impl Tables {
    /// Opens the tables, replaying what the journal holds beyond them.
    pub(super) fn open(dir: &Path, options: &Options) -> fjall::Result<Self> {
        let db = Database::builder(dir)
            .cache_size(options.cache_bytes)
            // Few enough bytes to replay at start-up; the least that the engine accepts.
            .max_journaling_size(64 << 20)
            .manual_journal_persist(true)
            .journal_compression(CompressionType::None)
            .worker_threads(2)
            .open()?;
        let keyspace = |name, memory: u64| {
            db.keyspace(name, || KeyspaceCreateOptions::default().max_memtable_size(memory))
        };
        // Records are only ever read in ranges, which filters cannot help.
        let log = db.keyspace("log", || {
            KeyspaceCreateOptions::default()
                .max_memtable_size(24 << 20)
                .filter_policy(FilterPolicy::disabled())
        })?;
        let (live, ended) = (keyspace("live", 16 << 20)?, keyspace("ended", 16 << 20)?);
        let side = keyspace("side", 4 << 20)?;
        Ok(Self { db, log, live, ended, side })
    }

    /// Memory that they hold.
    pub(super) fn memory(&self) -> Memory {
        Memory { cache: self.db.cache_size(), unflushed: self.db.write_buffer_size() }
    }

    /// Removes what a crash left of creating the tables, in which nothing can have been stored yet.
    ///
    /// The engine writes its version file last and would stumble over what it wrote before that.
    pub(super) fn remove_unfinished(dir: &Path) -> io::Result<()> {
        if dir.join("version").exists() || !dir.exists() {
            return Ok(());
        }
        let stored = match fs::read_dir(dir.join("keyspaces")) {
            Ok(mut entries) => entries.next().is_some(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(error),
        };
        if stored {
            return Err(io::Error::other("the tables' version file is missing"));
        }
        fs::remove_dir_all(dir)
    }

    /// Commits all changes atomically; they are on disk, and visible, when it returns.
    pub(super) fn commit(&self, changes: Changes) -> fjall::Result<()> {
        self.write(changes, PersistMode::SyncData)
    }

    /// The same without a sync: a crash may undo it, until the next commit has been synced.
    pub(super) fn commit_without_sync(&self, changes: Changes) -> fjall::Result<()> {
        // Not left in the engine's buffer: `ahead.rs` counts on nothing being written between commits.
        self.write(changes, PersistMode::Buffer)
    }

    fn write(&self, changes: Changes, durability: PersistMode) -> fjall::Result<()> {
        let mut batch = self.db.batch().durability(Some(durability));
        let keyspace = |table| match table {
            Table::Log => &self.log,
            Table::Live => &self.live,
            Table::Ended => &self.ended,
            Table::Side => &self.side,
        };
        let Changes { puts, removals, .. } = changes;
        // Within a batch the later of two changes to one key is not told apart from the earlier one, so no key may
        // occur twice: the writer merges them.
        for (table, key) in removals {
            batch.remove(keyspace(table), key);
        }
        for (table, key, value) in puts {
            batch.insert(keyspace(table), key, value);
        }
        batch.commit()
    }

    /// Syncs the journal; fails when an earlier fault has closed the engine for writes.
    pub(super) fn probe(&self) -> fjall::Result<()> {
        self.db.persist(PersistMode::SyncData)
    }

    /// Whether flushes or compactions are so far behind that commits should wait.
    pub(super) fn crowded(&self) -> bool {
        [&self.log, &self.live, &self.ended, &self.side].iter().any(|keyspace| {
            keyspace.sealed_memtable_count() > WAITING_FLUSHES || keyspace.l0_table_count() >= WAITING_TABLES
        })
    }

    /// The engine's number of the next commit; all acknowledged ones have smaller numbers.
    pub(super) fn next_commit(&self) -> u64 {
        self.db.seqno()
    }

    /// The number that the next new stream gets.
    pub(super) fn next_number(&self) -> Result<u64, StoreError> {
        let noted = self.side(&layout::next_number_key())?;
        let noted =
            noted.as_deref().and_then(|value| value.first_chunk()).map_or(1, |n| u64::from_be_bytes(*n));
        let Some(last) = self.log.last_key_value() else { return Ok(noted) };
        let key = last.key().map_err(|error| unavailable(&error))?;
        let (number, _) = layout::parse_record_key(&key)
            .ok_or_else(|| StoreError::Corrupt("a key of the log".to_owned()))?;
        // The streams with the highest numbers may have been removed.
        Ok(noted.max(number + 1))
    }

    /// What is left of removed streams.
    pub(super) fn gone(&self) -> Result<Vec<Gone>, StoreError> {
        let notes = self.sides(&layout::gone_prefix())?;
        let gone = notes.into_iter().map(|(number, value)| {
            let number = number.first_chunk().map(|number| u64::from_be_bytes(*number))?;
            let (next, last) = layout::parse_record_key(&value)?;
            Some(Gone { number, next, last })
        });
        gone.collect::<Option<_>>()
            .ok_or_else(|| StoreError::Corrupt("a note about a removed stream".to_owned()))
    }

    /// Where the stream ends, and its summary.
    pub(super) fn head(&self, stream: &[u8]) -> Result<Option<(Tail, Summary)>, StoreError> {
        if stream.len() > layout::MAX_KEY {
            return Ok(None);
        }
        let key = layout::head_key(stream);
        // One instant for both tables: the stream may be moving from one to the other.
        let snapshot = self.db.snapshot();
        for (keyspace, live) in [(&self.live, true), (&self.ended, false)] {
            if let Some(value) = snapshot.get(keyspace, &key).map_err(|error| unavailable(&error))? {
                let (tail, summary) =
                    layout::unseal_head(&key, &value, live).map_err(|damage| corrupt(stream, damage))?;
                return Ok(Some((tail, Summary { live, bytes: Bytes::copy_from_slice(summary) })));
            }
        }
        Ok(None)
    }

    /// Up to `limit` records of a stream after a sequence, in order.
    pub(super) fn read(
        &self,
        stream: &[u8],
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Stored>, StoreError> {
        let mut records = Vec::new();
        self.scan(stream, after, |sequence, _, record| {
            if records.len() < limit {
                let position = Position::from_engine(sequence);
                records.push(Stored { position, record: Bytes::copy_from_slice(record) });
            }
            records.len() < limit
        })?;
        Ok(records)
    }

    /// Shows `each` the records of a stream after a sequence in order, until it says that it has enough.
    /// Sequences without a gap are part of the check.
    pub(super) fn scan(
        &self,
        stream: &[u8],
        after: Option<u64>,
        mut each: impl FnMut(u64, &layout::Link, &[u8]) -> bool,
    ) -> Result<Option<Tail>, StoreError> {
        let Some((tail, _)) = self.head(stream)? else { return Ok(None) };
        let after = after.unwrap_or(0);
        if after >= tail.sequence {
            return Ok(Some(tail));
        }
        // Up to the tail that was read: appends behind it are not of this scan.
        let range =
            layout::record_key(tail.number, after + 1)..=layout::record_key(tail.number, tail.sequence);
        let mut expected = after + 1;
        for guard in self.log.range(range) {
            let (key, value) = guard.into_inner().map_err(|error| match unavailable(&error) {
                StoreError::Corrupt(why) => StoreError::Corrupt(format!("{}: {why}", name(stream))),
                error => error,
            })?;
            let sequence = layout::parse_record_key(&key).map(|(_, sequence)| sequence);
            if sequence != Some(expected) {
                break;
            }
            let (before, record) =
                layout::unseal_record(&key, &value).map_err(|damage| corrupt(stream, damage))?;
            expected += 1;
            if !each(expected - 1, before, record) {
                return Ok(Some(tail));
            }
        }
        if expected <= tail.sequence {
            return Err(StoreError::Corrupt(format!("{}: record {expected} is missing", name(stream))));
        }
        Ok(Some(tail))
    }

    /// Up to `limit` summaries in order of stream id.
    pub(super) fn list(
        &self,
        filter: SummaryFilter,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Summarized>, StoreError> {
        let snapshot = self.db.snapshot();
        let mut page = Vec::new();
        for (key, value, live) in self.heads(&snapshot, filter, after) {
            if page.len() == limit {
                break;
            }
            let key = key.map_err(|error| unavailable(&error))?;
            let stream = layout::stream_of(&key);
            match layout::unseal_head(&key, &value, live) {
                Ok((_, summary)) => {
                    let summary = Summary { live, bytes: Bytes::copy_from_slice(summary) };
                    page.push(Summarized { stream: Bytes::copy_from_slice(stream), summary });
                }
                // One damaged stream must not hide all others. Whoever asks for it by name is told.
                Err(damage) => tracing::error!("left out of a listing: {}", corrupt(stream, damage)),
            }
        }
        Ok(page)
    }

    /// Up to `limit` ids in order, of damaged streams too.
    pub(super) fn streams(&self, after: Option<&[u8]>, limit: usize) -> Result<Vec<Bytes>, StoreError> {
        let snapshot = self.db.snapshot();
        let heads = self.heads(&snapshot, SummaryFilter::All, after).take(limit);
        heads
            .map(|(key, _, _)| {
                let key = key.map_err(|error| unavailable(&error))?;
                Ok(Bytes::copy_from_slice(layout::stream_of(&key)))
            })
            .collect()
    }

    /// Keys and values of heads after a stream, both tables merged in order; with each whether it is live.
    fn heads(
        &self,
        snapshot: &Snapshot,
        filter: SummaryFilter,
        after: Option<&[u8]>,
    ) -> impl Iterator<Item = (fjall::Result<Slice>, Slice, bool)> {
        let from = after.map_or(Bound::Unbounded, |after| Bound::Excluded(layout::head_key(after)));
        let scan = |keyspace: &Keyspace, live| {
            let range = snapshot.range::<Vec<u8>, _>(keyspace, (from.clone(), Bound::Unbounded));
            range.map(move |guard| match guard.into_inner() {
                Ok((key, value)) => (Ok(key), value, live),
                Err(error) => (Err(error), Slice::from([]), live),
            })
        };
        let live = filter.includes(true).then(|| scan(&self.live, true));
        let mut live = live.into_iter().flatten().peekable();
        let ended = filter.includes(false).then(|| scan(&self.ended, false));
        let mut ended = ended.into_iter().flatten().peekable();
        std::iter::from_fn(move || {
            let live_is_next = match (live.peek(), ended.peek()) {
                (Some((Ok(live), ..)), Some((Ok(ended), ..))) => live < ended,
                (live, _) => live.is_some(),
            };
            if live_is_next { live.next() } else { ended.next() }
        })
    }

    /// One side record.
    pub(super) fn side(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let value = self.side.get(key).map_err(|error| unavailable(&error))?;
        value.map(|value| side_value(key, &value)).transpose()
    }

    /// Every side record whose key begins with `prefix`, without it.
    pub(super) fn sides(&self, prefix: &[u8]) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        let records = self.side.prefix(prefix).map(|guard| {
            let (key, value) = guard.into_inner().map_err(|error| unavailable(&error))?;
            let short = key.get(prefix.len()..).unwrap_or_default();
            Ok((Bytes::copy_from_slice(short), side_value(&key, &value)?))
        });
        records.collect()
    }

    /// Up to `limit` keys of side records in order, each with what is wrong with its value, if anything is.
    pub(super) fn check_sides(
        &self,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Option<Damage>)>, StoreError> {
        let from = after.map_or(Bound::Unbounded, |after| Bound::Excluded(after.to_vec()));
        let page = self.side.range::<Vec<u8>, _>((from, Bound::Unbounded)).take(limit);
        page.map(|guard| {
            let (key, value) = guard.into_inner().map_err(|error| unavailable(&error))?;
            let damage = layout::unseal_side(&key, &value).err();
            Ok((Bytes::copy_from_slice(&key), damage))
        })
        .collect()
    }

    /// Whether the log has anything under a number.
    pub(super) fn has_number(&self, number: u64) -> Result<bool, StoreError> {
        let all = layout::record_key(number, 0)..=layout::record_key(number, u64::MAX);
        match self.log.range(all).next().map(fjall::Guard::key) {
            None => Ok(false),
            Some(Ok(_)) => Ok(true),
            Some(Err(error)) => match unavailable(&error) {
                StoreError::Corrupt(_) => Ok(true),
                error => Err(error),
            },
        }
    }

    /// Writes the log's newest records from memory into a file.
    #[cfg(test)]
    pub(super) fn flush_log(&self) {
        self.log.rotate_memtable_and_wait().unwrap();
    }

    /// Overwrites a stored value as a fault of the disk would.
    #[cfg(test)]
    pub(super) fn overwrite_record(&self, number: u64, sequence: u64, change: impl FnOnce(&mut Vec<u8>)) {
        let key = layout::record_key(number, sequence);
        let mut value = self.log.get(key).unwrap().unwrap().to_vec();
        change(&mut value);
        if value.is_empty() {
            self.log.remove(key).unwrap();
        } else {
            self.log.insert(key, value).unwrap();
        }
    }

    /// The same for a side record.
    #[cfg(test)]
    pub(super) fn overwrite_side(&self, key: &[u8], change: impl FnOnce(&mut Vec<u8>)) {
        let mut value = self.side.get(key).unwrap().unwrap().to_vec();
        change(&mut value);
        self.side.insert(key, value).unwrap();
    }

    /// The same for the head of a live stream.
    #[cfg(test)]
    pub(super) fn overwrite_live_head(&self, stream: &[u8], change: impl FnOnce(&mut Vec<u8>)) {
        let key = layout::head_key(stream);
        let mut value = self.live.get(&key).unwrap().unwrap().to_vec();
        change(&mut value);
        if value.is_empty() {
            self.live.remove(key).unwrap();
        } else {
            self.live.insert(key, value).unwrap();
        }
    }
}

fn side_value(key: &[u8], value: &[u8]) -> Result<Bytes, StoreError> {
    let value = layout::unseal_side(key, value)
        .map_err(|damage| StoreError::Corrupt(format!("a side record: {damage}")))?;
    Ok(Bytes::copy_from_slice(value))
}

pub(super) fn corrupt(stream: &[u8], damage: Damage) -> StoreError {
    StoreError::Corrupt(format!("{}: {damage}", name(stream)))
}

/// A stream in messages.
pub(super) fn name(stream: &[u8]) -> String {
    format!("stream {:?}", String::from_utf8_lossy(stream))
}

/// What a failed read means: a fault of the disk may pass, damaged bytes stay.
pub(super) fn unavailable(error: &fjall::Error) -> StoreError {
    match error {
        fjall::Error::Storage(fjall::LsmError::Io(error)) | fjall::Error::Io(error) => {
            StoreError::Unavailable(error.to_string())
        }
        fjall::Error::Storage(error) => StoreError::Corrupt(error.to_string()),
        error => StoreError::Unavailable(error.to_string()),
    }
}
