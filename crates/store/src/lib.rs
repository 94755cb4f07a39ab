//! The log contract: append-only streams with expected positions, summaries and side records.
//!
//! Keys and records are bytes here. This crate knows nothing of the kernel, the engine or a transport; what a
//! record means is theirs.
//!
//! ```text
//!  stream "s-1"   ┌────────┬────────┬────────┐
//!                 │ record │ record │ record │ ◀── tail: position of the last record
//!                 └────────┴────────┴────────┘
//!                 one append = one record, atomic together with the summary below
//!  summary "s-1"  ┌────────────────────────┐
//!                 │ bytes, live or not     │     replaced by each append; listed in order of stream id
//!                 └────────────────────────┘
//! ```
//!
//! An [`LogStore::append`] that returned `Ok` is durable as the engine promises, in order, once. Nobody may assume
//! to be the only writer: the expected position decides who wins.

#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(feature = "embedded")]
pub mod embedded;
mod error;
mod log;
mod memory;

#[cfg(feature = "embedded")]
pub use embedded::{EmbeddedStore, OpenError, Options};
pub use error::{AppendError, StoreError};
pub use log::{Append, Expected, LogStore, Position, Removal, Stored, Summarized, Summary, SummaryFilter};
pub use memory::MemoryStore;
