//! Proof that nothing stored was altered or removed: every checksum, every link of every stream's chain.

use std::collections::HashSet;

use bytes::Bytes;

use super::layout;
use super::shared::Shared;
use super::tables::{Tables, name};
use crate::error::StoreError;
use crate::log::Position;

/// Heads read at a time.
const PAGE: usize = 1024;

/// A record with the hash that stands for it and everything before it in its stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// Its place.
    pub position: Position,
    /// The record as it was appended.
    pub record: Bytes,
    /// `SHA-256(link of the record before, position as 8 bytes, record)`; before the first record
    /// `SHA-256("macp-store stream 1\0", stream id)`.
    pub link: [u8; 32],
}

/// A stream without a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The stream's id.
    pub stream: Bytes,
    /// Its records.
    pub records: u64,
    /// Link of its last record: two stores with the same link hold the same history of this stream.
    pub link: [u8; 32],
}

/// Something that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Finding {
    /// A stream with a damaged, altered or missing record.
    #[error("{}: {why}", name(stream))]
    Stream {
        /// The stream's id.
        stream: Bytes,
        /// What is wrong with it.
        why: String,
    },
    /// Records whose stream is gone.
    #[error("records of a stream (number {number}) whose head is missing")]
    Orphans {
        /// Stands for the stream in the log's keys.
        number: u64,
    },
    /// A side record with a damaged value.
    #[error("side record {:?} of {space:?}: {why}", String::from_utf8_lossy(key))]
    Side {
        /// Its space.
        space: String,
        /// Its key.
        key: Vec<u8>,
        /// What is wrong with it.
        why: String,
    },
    /// The check itself cannot go on.
    #[error("the check ended early: {0}")]
    Stopped(String),
}

/// Goes through every stream in order of id, then looks for records that belong to none, and at the side records.
///
/// It may run beside appends; a stream is checked as of the moment it is reached. Being an iterator of millions, it
/// keeps one page in memory, and 8 bytes for each stream.
pub struct Verify<'a> {
    shared: &'a Shared,
    page: std::vec::IntoIter<Bytes>,
    after: Option<Bytes>,
    /// Findings of one page of side records.
    sides: std::vec::IntoIter<Finding>,
    seen: HashSet<u64>,
    phase: Phase,
}

#[derive(Clone, Copy)]
enum Phase {
    Begin,
    Streams {
        /// Streams that begin during the check have numbers from here on.
        end: u64,
    },
    Orphans {
        next: u64,
        end: u64,
    },
    Sides,
    Done,
}

impl<'a> Verify<'a> {
    pub(super) fn new(shared: &'a Shared) -> Self {
        Self {
            shared,
            page: Vec::new().into_iter(),
            after: None,
            sides: Vec::new().into_iter(),
            seen: HashSet::new(),
            phase: Phase::Begin,
        }
    }

    /// One step; `None` when it only moved on.
    fn step(&mut self) -> Result<Option<Result<Verified, Finding>>, StoreError> {
        // Not kept from step to step: a writer that has to open the tables again waits for all who hold them.
        let tables = self.shared.tables()?;
        match self.phase {
            Phase::Begin => {
                // What is left of removed streams has no head, and rightly so.
                self.seen = tables.gone()?.into_iter().map(|gone| gone.number).collect();
                self.phase = Phase::Streams { end: tables.next_number()? };
            }
            Phase::Streams { end } => {
                if let Some(stream) = self.page.next() {
                    return Ok(Some(verify(&tables, stream, &mut self.seen)));
                }
                let page = tables.streams(self.after.as_deref(), PAGE)?;
                match page.last() {
                    Some(last) => self.after = Some(last.clone()),
                    None => self.phase = Phase::Orphans { next: 0, end },
                }
                self.page = page.into_iter();
            }
            Phase::Orphans { next, end } if next < end => {
                self.phase = Phase::Orphans { next: next + 1, end };
                if !self.seen.contains(&next) && tables.has_number(next)? {
                    return Ok(Some(Err(Finding::Orphans { number: next })));
                }
            }
            Phase::Orphans { .. } => {
                self.after = None;
                self.phase = Phase::Sides;
            }
            Phase::Sides => {
                if let Some(finding) = self.sides.next() {
                    return Ok(Some(Err(finding)));
                }
                let page = tables.check_sides(self.after.as_deref(), PAGE)?;
                match page.last() {
                    Some((last, _)) => self.after = Some(last.clone()),
                    None => self.phase = Phase::Done,
                }
                let damaged = page.into_iter().filter_map(|(key, damage)| {
                    let (space, key) = layout::side_name(&key);
                    damage.map(|damage| Finding::Side { space, key, why: damage.to_string() })
                });
                self.sides = damaged.collect::<Vec<_>>().into_iter();
            }
            Phase::Done => {}
        }
        Ok(None)
    }
}

impl Iterator for Verify<'_> {
    type Item = Result<Verified, Finding>;

    fn next(&mut self) -> Option<Self::Item> {
        while !matches!(self.phase, Phase::Done) {
            match self.step() {
                Ok(None) => {}
                Ok(Some(found)) => return Some(found),
                Err(error) => {
                    self.phase = Phase::Done;
                    return Some(Err(Finding::Stopped(error.to_string())));
                }
            }
        }
        None
    }
}

/// The link before the first record of a stream.
#[must_use]
pub fn first_link(stream: &[u8]) -> [u8; 32] {
    layout::genesis(stream)
}

/// The link of a record, given the link of the one before it.
#[must_use]
pub fn next_link(before: &[u8; 32], position: Position, record: &[u8]) -> [u8; 32] {
    layout::link(before, position.to_engine(), record)
}

/// Checks one stream from its first record to the head.
fn verify(tables: &Tables, stream: Bytes, seen: &mut HashSet<u64>) -> Result<Verified, Finding> {
    if let Ok(Some((tail, _))) = tables.head(&stream) {
        seen.insert(tail.number);
    }
    let mut chain = layout::genesis(&stream);
    let mut broken = None;
    let mut records = 0;
    let scanned = tables.scan(&stream, None, |sequence, before, record| {
        if *before != chain {
            broken = Some(sequence);
            return false;
        }
        chain = layout::link(&chain, sequence, record);
        records = sequence;
        true
    });
    let why = match (scanned, broken) {
        (_, Some(sequence)) => format!("record {sequence} does not continue the one before it"),
        (Err(StoreError::Corrupt(why) | StoreError::Unavailable(why)), None) => {
            // The finding names the stream itself.
            why.strip_prefix(&format!("{}: ", name(&stream))).unwrap_or(&why).to_owned()
        }
        (Ok(None), None) => "its head disappeared".to_owned(),
        (Ok(Some(tail)), None) if tail.link != chain => {
            format!("its head does not name record {} as the last", tail.sequence)
        }
        (Ok(Some(_)), None) => return Ok(Verified { stream, records, link: chain }),
    };
    Err(Finding::Stream { stream, why })
}

/// A page of records with their links.
pub(super) fn export(
    tables: &Tables,
    stream: &Bytes,
    after: Option<Position>,
    limit: usize,
) -> Result<Vec<Exported>, StoreError> {
    let mut page: Vec<Exported> = Vec::new();
    let mut broken = None;
    let first = layout::genesis(stream);
    tables.scan(stream, after.map(Position::to_engine), |sequence, before, record| {
        let expected = page.last().map(|last| &last.link).or((sequence == 1).then_some(&first));
        if expected.is_some_and(|expected| expected != before) {
            broken = Some(sequence);
            return false;
        }
        if page.len() < limit {
            page.push(Exported {
                position: Position::from_engine(sequence),
                record: Bytes::copy_from_slice(record),
                link: layout::link(before, sequence, record),
            });
        }
        page.len() < limit
    })?;
    match broken {
        Some(sequence) => Err(StoreError::Corrupt(format!(
            "{}: record {sequence} does not continue the one before it",
            name(stream)
        ))),
        None => Ok(page),
    }
}
