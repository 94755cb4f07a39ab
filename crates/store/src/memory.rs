//! The engine without a disk: for `MACP_MEMORY_ONLY=1` and for tests.

use std::collections::BTreeMap;
use std::ops::Bound;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::RwLock;

use crate::error::{AppendError, StoreError};
use crate::log::{Append, LogStore, Position, Removal, Stored, Summarized, Summary, SummaryFilter};

/// Streams in memory; gone with the process.
#[derive(Debug, Default)]
pub struct MemoryStore {
    streams: RwLock<BTreeMap<Bytes, Stream>>,
    side: RwLock<BTreeMap<String, BTreeMap<Bytes, Bytes>>>,
}

#[derive(Debug)]
struct Stream {
    /// The record at index i has position i + 1.
    records: Vec<Bytes>,
    summary: Summary,
}

impl Stream {
    fn tail(&self) -> Position {
        Position::from_engine(self.records.len() as u64)
    }
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

#[async_trait]
impl LogStore for MemoryStore {
    async fn append(&self, append: Append) -> Result<Position, AppendError> {
        let mut streams = self.streams.write();
        let Some(stream) = streams.get_mut(&append.stream) else {
            if !append.expected.holds(None) {
                return Err(AppendError::Conflict { actual: None });
            }
            let stream = Stream { records: vec![append.record], summary: append.summary };
            let position = stream.tail();
            streams.insert(append.stream, stream);
            return Ok(position);
        };
        let actual = Some(stream.tail());
        if !append.expected.holds(actual) {
            return Err(AppendError::Conflict { actual });
        }
        stream.records.push(append.record);
        stream.summary = append.summary;
        Ok(stream.tail())
    }

    async fn remove(&self, removal: Removal) -> Result<(), AppendError> {
        let mut streams = self.streams.write();
        let actual = streams.get(&removal.stream).map(Stream::tail);
        if actual != Some(removal.expected) {
            return Err(AppendError::Conflict { actual });
        }
        let mut side = self.side.write();
        streams.remove(&removal.stream);
        for (space, key) in removal.side {
            if let Some(records) = side.get_mut(&space) {
                records.remove(&key);
            }
        }
        Ok(())
    }

    async fn read(
        &self,
        stream: &Bytes,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Vec<Stored>, StoreError> {
        let skip = after.map_or(0, |position| usize::try_from(position.to_engine()).unwrap_or(usize::MAX));
        let streams = self.streams.read();
        let Some(stream) = streams.get(stream) else { return Ok(Vec::new()) };
        let records = stream.records.iter().enumerate().skip(skip).take(limit);
        Ok(records
            .map(|(at, record)| Stored {
                position: Position::from_engine(at as u64 + 1),
                record: record.clone(),
            })
            .collect())
    }

    async fn tail(&self, stream: &Bytes) -> Result<Option<Position>, StoreError> {
        Ok(self.streams.read().get(stream).map(Stream::tail))
    }

    async fn summary(&self, stream: &Bytes) -> Result<Option<Summary>, StoreError> {
        Ok(self.streams.read().get(stream).map(|stream| stream.summary.clone()))
    }

    async fn list(
        &self,
        filter: SummaryFilter,
        after: Option<&Bytes>,
        limit: usize,
    ) -> Result<Vec<Summarized>, StoreError> {
        let from = after.map_or(Bound::Unbounded, |after| Bound::Excluded(after.clone()));
        let streams = self.streams.read();
        let wanted = streams
            .range((from, Bound::Unbounded))
            .filter(|(_, stream)| filter.includes(stream.summary.live));
        Ok(wanted
            .take(limit)
            .map(|(id, stream)| Summarized { stream: id.clone(), summary: stream.summary.clone() })
            .collect())
    }

    async fn put_side(&self, space: &str, key: &[u8], value: Option<Bytes>) -> Result<(), StoreError> {
        let mut side = self.side.write();
        match value {
            Some(value) => {
                side.entry(space.to_owned()).or_default().insert(Bytes::copy_from_slice(key), value);
            }
            None => {
                if let Some(records) = side.get_mut(space) {
                    records.remove(key);
                }
            }
        }
        Ok(())
    }

    async fn list_side(&self, space: &str) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        let side = self.side.read();
        let records = side.get(space).into_iter().flatten();
        Ok(records.map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    async fn get_side(&self, space: &str, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        Ok(self.side.read().get(space).and_then(|records| records.get(key)).cloned())
    }
}
