//! What can go wrong with an append, told apart by what the writer knows afterwards.

use crate::log::Position;

/// Why an append did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The stream's tail is not where the writer expected it; nothing was written.
    #[error("the stream's tail is at {actual:?}, not where the writer expected it")]
    Conflict {
        /// Where the tail is; `None` when the stream is empty.
        actual: Option<Position>,
    },
    /// Certainly nothing was written.
    #[error("the record was not written: {0}")]
    NotApplied(String),
    /// It may or may not have been written; read the stream back to find out.
    #[error("it is not known whether the record was written: {0}")]
    Unknown(String),
}

/// Why a read or a side record failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The engine cannot answer now.
    #[error("the store does not answer: {0}")]
    Unavailable(String),
    /// What is stored is damaged.
    #[error("stored data is damaged: {0}")]
    Corrupt(String),
}
