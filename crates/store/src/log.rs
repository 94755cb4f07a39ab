//! The contract itself: what every engine promises.

use async_trait::async_trait;
use bytes::Bytes;

use crate::error::{AppendError, StoreError};

/// Where a record stands in its stream: ordered and opaque.
///
/// Positions grow along a stream, with gaps of any size. They are not counts, and positions of two streams do not
/// compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(u64);

impl Position {
    /// For engines: makes a position from the engine's own number.
    #[must_use]
    pub fn from_engine(number: u64) -> Self {
        Self(number)
    }

    /// For engines: the engine's own number.
    #[must_use]
    pub fn to_engine(self) -> u64 {
        self.0
    }
}

/// Where the writer believes the tail of the stream to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// The stream has no record yet.
    Empty,
    /// The last record is this one.
    At(Position),
}

impl Expected {
    /// The expectation that the tail is at `position`, or that there is none.
    #[must_use]
    pub fn tail(position: Option<Position>) -> Self {
        position.map_or(Self::Empty, Self::At)
    }

    /// Whether it holds for a stream with this tail.
    #[must_use]
    pub fn holds(self, tail: Option<Position>) -> bool {
        self == Self::tail(tail)
    }
}

/// What listings know of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Whether more may happen to the stream by itself; start-up reads only such summaries.
    pub live: bool,
    /// The writer's own bytes.
    pub bytes: Bytes,
}

/// One append: a record, and the summary that is true with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// The stream's id. Never used as a file name.
    pub stream: Bytes,
    /// Where the tail must be.
    pub expected: Expected,
    /// The record.
    pub record: Bytes,
    /// Replaces the stream's summary, atomically with the record.
    pub summary: Summary,
}

/// The removal of a whole stream, with what was kept beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    /// The stream's id; it may begin anew afterwards.
    pub stream: Bytes,
    /// Where the tail must be.
    pub expected: Position,
    /// Side records, as `(space, key)`, that go with it, atomically.
    pub side: Vec<(String, Bytes)>,
}

/// A record and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its place.
    pub position: Position,
    /// The record as it was appended.
    pub record: Bytes,
}

/// A stream and its summary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summarized {
    /// The stream's id.
    pub stream: Bytes,
    /// Its summary as of its last record.
    pub summary: Summary,
}

/// Which summaries to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SummaryFilter {
    /// All of them.
    All,
    /// Only those whose stream is live.
    Live,
    /// Only those whose stream is not.
    Ended,
}

impl SummaryFilter {
    /// Whether a stream that is live, or is not, is to be listed.
    #[must_use]
    pub fn includes(self, live: bool) -> bool {
        match self {
            Self::All => true,
            Self::Live => live,
            Self::Ended => !live,
        }
    }
}

/// An engine that keeps streams.
///
/// Cancelling a call (dropping its future) leaves its outcome unknown. Engines order concurrent appends to one
/// stream; of several with one expected position exactly one succeeds.
#[async_trait]
pub trait LogStore: Send + Sync + 'static {
    /// Appends one record, if the tail is where it is expected.
    ///
    /// # Errors
    /// See [`AppendError`]: only `Unknown` leaves the outcome open.
    async fn append(&self, append: Append) -> Result<Position, AppendError>;

    /// Removes a stream and its summary, if the tail is where it is expected.
    ///
    /// # Errors
    /// See [`AppendError`], as for an append.
    async fn remove(&self, removal: Removal) -> Result<(), AppendError>;

    /// Up to `limit` records after `after` (from the start if `None`), in order. A short answer means the end.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn read(
        &self,
        stream: &Bytes,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Vec<Stored>, StoreError>;

    /// Where the stream ends; `None` when it has no record.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn tail(&self, stream: &Bytes) -> Result<Option<Position>, StoreError>;

    /// The stream's summary as of its last record.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn summary(&self, stream: &Bytes) -> Result<Option<Summary>, StoreError>;

    /// Up to `limit` summaries in ascending order of stream id, beginning after `after`, which need not exist.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn list(
        &self,
        filter: SummaryFilter,
        after: Option<&Bytes>,
        limit: usize,
    ) -> Result<Vec<Summarized>, StoreError>;

    /// Keeps a small record beside the streams under `(space, key)`, replacing an older one; `None` removes it.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn put_side(&self, space: &str, key: &[u8], value: Option<Bytes>) -> Result<(), StoreError>;

    /// Every side record of a space, in ascending order of key.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn list_side(&self, space: &str) -> Result<Vec<(Bytes, Bytes)>, StoreError>;

    /// One side record.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn get_side(&self, space: &str, key: &[u8]) -> Result<Option<Bytes>, StoreError>;

    /// Whether appends may be expected to succeed now; for readiness. Becomes true again by itself when a fault has
    /// passed, without traffic.
    fn is_healthy(&self) -> bool {
        true
    }
}
