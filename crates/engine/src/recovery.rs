//! From a stored log to live state: read in pages, fold, remember the tail.

use bytes::Bytes;
use macp_kernel::record::RecordError;
use macp_kernel::replay::{Divergence, Replay};
use macp_kernel::{Entry, Refusal, RefusalCode, Session, record};
use macp_store::{LogStore, Position, StoreError};

/// Records read from the store at a time.
pub(crate) const PAGE: usize = 256;

/// A session's state and where its log ends.
#[derive(Debug, Default)]
pub(crate) struct Hot {
    pub(crate) session: Option<Session>,
    pub(crate) tail: Option<Position>,
}

/// Why a session's log gave no state.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Divergence(#[from] Divergence),
}

impl LoadError {
    /// What a caller is told; the cause is in the log.
    pub(crate) fn refusal(&self) -> Refusal {
        let message = match self {
            Self::Store(StoreError::Unavailable(_)) => {
                "the session's history cannot be read now; retry with the same message_id"
            }
            Self::Divergence(
                Divergence::Record(RecordError::Newer(_)) | Divergence::NewerSemantics { .. },
            ) => {
                "the session's stored history was written by a newer release and is not served by this one; \
                 its operator has to upgrade the server"
            }
            Self::Store(StoreError::Corrupt(_)) | Self::Divergence(_) => {
                "the session's stored history is damaged and is not served; other sessions are not affected"
            }
        };
        Refusal::new(RefusalCode::InternalError, message)
    }
}

/// What loading found.
pub(crate) struct Loaded {
    pub(crate) hot: Hot,
    /// Random id of the last append, to recognise one whose outcome was unknown.
    pub(crate) last_append: Option<Bytes>,
    /// Entries after the ordinal that was asked for, in order.
    pub(crate) newer: Vec<Entry>,
}

/// Reads and folds the whole log of a session; keeps the delivered entries above `after_ordinal`.
pub(crate) async fn load(
    store: &dyn LogStore,
    stream: &Bytes,
    after_ordinal: Option<u64>,
) -> Result<Loaded, LoadError> {
    let mut replay = Replay::default();
    let mut tail = None;
    let mut last_append = None;
    let mut newer = Vec::new();
    loop {
        let page = store.read(stream, tail, PAGE).await?;
        let short = page.len() < PAGE;
        for stored in page {
            let body = record::decode(&stored.record).map_err(Divergence::from)?;
            last_append = Some(body.append_id.clone());
            let entries = replay.body(body)?;
            tail = Some(stored.position);
            if let Some(after) = after_ordinal {
                newer.extend(entries.into_iter().filter(|e| e.delivered().is_some_and(|(n, _)| n > after)));
            }
        }
        if short {
            break;
        }
    }
    Ok(Loaded { hot: Hot { session: replay.into_session(), tail }, last_append, newer })
}
