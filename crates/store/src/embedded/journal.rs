//! The table engine's journal after a crash or a fault: what may be removed, and what must not.
//!
//! The engine replays its journal until something does not parse, and drops the rest. It cannot tell the torn end of
//! a commit that nobody was promised from damage in the middle of commits that were acknowledged; and it refuses to
//! open when a torn commit happens to be complete in shape. So its files are looked at before it opens them:
//!
//! - [`check`], at start-up: an incomplete commit at the very end is what a crash leaves, and is removed; what it held
//!   is kept in a file beside. Something unreadable with complete commits behind it is damage, and nothing is touched.
//! - [`cut`], after a failed commit: everything from the first unacknowledged commit on is removed, durably, so that
//!   it cannot come back as if it had been accepted.
//!
//! The format, of fjall 3.1 (pinned; the tests would notice a change):
//!
//! ```text
//!  batch := 1 items:u32 number:u64   item*   3 XXH3-64(item*):u64 "FJL" 3        integers little-endian
//!  item  := 2 kind:u8 compression:u8 keyspace:u64 key:u16 value:u32 stored:u32 bytes(key + stored)
//!         | 4 keyspace:u64
//! ```
//!
//! A new file is as long as it may become, and zero behind its last batch.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;
const TRAILER: &[u8] = b"FJL\x03";

/// What a batch takes beyond its items, and an item beyond its key and value.
pub(super) const BATCH_OVERHEAD: u64 = 26;
pub(super) const ITEM_OVERHEAD: u64 = 21;

#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("{0}")]
    Damaged(String),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A complete batch, and where it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Batch {
    number: u64,
    end: usize,
}

/// Removes what a crash left half-written at the end of the journal.
pub(super) fn check(dir: &Path) -> Result<(), Error> {
    let files = files(dir)?;
    let mut torn: Option<(&Path, usize, Vec<u8>)> = None;
    for path in &files {
        let bytes = fs::read(path)?;
        let batches = batches(&bytes);
        if let Some((torn, at, _)) = &torn
            && !batches.is_empty()
        {
            return Err(damaged(torn, *at));
        }
        let end = batches.last().map_or(0, |batch| batch.end);
        let rest = content(&bytes[end..]);
        if rest.is_empty() {
            continue;
        }
        if holds_later_batch(rest, batches.last().map(|batch| batch.number)) {
            return Err(damaged(path, end));
        }
        // The first one: later files held no batch when it was found, or this is the last file.
        torn.get_or_insert((path, end, rest.to_vec()));
    }
    if let Some((path, end, rest)) = torn {
        let kept = keep(dir, path, &rest)?;
        truncate(path, end)?;
        tracing::warn!(
            file = %path.display(), at = end, bytes = rest.len(), kept = %kept.display(),
            "removed a commit that a crash had left half-written; nobody was promised it",
        );
    }
    Ok(())
}

/// Removes every batch numbered `from` or higher, and whatever is incomplete, and syncs the files.
pub(super) fn cut(dir: &Path, from: u64) -> io::Result<()> {
    for path in files(dir)? {
        let bytes = fs::read(&path)?;
        let kept = batches(&bytes).into_iter().take_while(|batch| batch.number < from).last();
        let end = kept.map_or(0, |batch| batch.end);
        if !content(&bytes[end..]).is_empty() {
            truncate(&path, end)?;
            tracing::warn!(file = %path.display(), at = end, "removed what was not acknowledged");
        }
    }
    Ok(())
}

fn damaged(path: &Path, at: usize) -> Error {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Error::Damaged(format!(
        "journal file {name} is unreadable at byte {at}, with complete commits behind that"
    ))
}

/// The journal's files, oldest first.
pub(super) fn files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files: Vec<(u64, PathBuf)> = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let number = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".jnl")?.parse().ok());
        files.extend(number.map(|number| (number, path)));
    }
    files.sort();
    Ok(files.into_iter().map(|(_, path)| path).collect())
}

/// The complete batches at the start of `bytes`.
fn batches(bytes: &[u8]) -> Vec<Batch> {
    let mut found: Vec<Batch> = Vec::new();
    while let Some(batch) = batch_at(bytes, found.last().map_or(0, |batch| batch.end)) {
        found.push(batch);
    }
    found
}

/// `bytes` without the zeros at their end.
fn content(bytes: &[u8]) -> &[u8] {
    const BLOCK: usize = 4096;
    let mut end = bytes.len();
    // Whole blocks first: a new file has 64 MiB of zeros.
    while end >= BLOCK && bytes[end - BLOCK..end] == [0; BLOCK] {
        end -= BLOCK;
    }
    let end = bytes[..end].iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    &bytes[..end]
}

/// Whether a complete batch with a number above `last` begins anywhere in `bytes`.
fn holds_later_batch(bytes: &[u8], last: Option<u64>) -> bool {
    (0..bytes.len()).any(|at| {
        bytes[at] == START
            && batch_at(bytes, at).is_some_and(|batch| last.is_none_or(|last| batch.number > last))
    })
}

/// The batch that begins at `at`, if it is complete and matches its checksum.
fn batch_at(bytes: &[u8], at: usize) -> Option<Batch> {
    let mut reader = Reader { bytes, at };
    if reader.byte()? != START {
        return None;
    }
    let items = u32::from_le_bytes(reader.array()?);
    let number = u64::from_le_bytes(reader.array()?);
    let first = reader.at;
    for _ in 0..items {
        match reader.byte()? {
            ITEM => {
                reader.skip(10)?;
                let key = u16::from_le_bytes(reader.array()?);
                reader.skip(4)?;
                let stored = u32::from_le_bytes(reader.array()?);
                reader.skip(usize::from(key) + stored as usize)?;
            }
            CLEAR => reader.skip(8)?,
            _ => return None,
        }
    }
    let last = reader.at;
    if reader.byte()? != END {
        return None;
    }
    let checksum = u64::from_le_bytes(reader.array()?);
    let complete = reader.array::<4>()? == TRAILER && xxh3_64(&bytes[first..last]) == checksum;
    complete.then_some(Batch { number, end: reader.at })
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let array = *self.bytes.get(self.at..)?.first_chunk()?;
        self.at += N;
        Some(array)
    }

    fn byte(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    fn skip(&mut self, count: usize) -> Option<()> {
        self.at = self.at.checked_add(count).filter(|&at| at <= self.bytes.len())?;
        Some(())
    }
}

/// Keeps removed bytes for whoever wants to know what they were.
fn keep(dir: &Path, journal: &Path, bytes: &[u8]) -> io::Result<PathBuf> {
    let name = journal.file_name().unwrap_or_default().to_string_lossy();
    let path = dir.join(format!("{name}.torn"));
    let mut file = File::create(&path)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(path)
}

fn truncate(path: &Path, end: usize) -> io::Result<()> {
    let file = File::options().write(true).open(path)?;
    file.set_len(end as u64)?;
    file.sync_all()
}

/// Where the complete batches at the start of `bytes` end.
#[cfg(test)]
pub(super) fn batch_ends(bytes: &[u8]) -> Vec<usize> {
    batches(bytes).into_iter().map(|batch| batch.end).collect()
}
