//! Sessions that are long over leave the store: a slow walk over the ended ones, bounded at each step.
//!
//! There is no index by time, which every session would have to pay for when it ends. Each walk reads the summaries of
//! all ended sessions, a page at a time with pauses between, and removes what is due.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use macp_kernel::summary::Summary;
use macp_kernel::{SessionId, UnixMillis};
use macp_store::{Removal, StoreError, SummaryFilter};

use crate::receipts;
use crate::sessions::Sessions;

/// Summaries read at a time.
const PAGE: usize = 512;
/// Pause after each page, so that a walk costs others little: at most 5,000 sessions a second.
const PAUSE: Duration = Duration::from_millis(100);
/// Between two walks: a hundredth of the time that sessions are kept, within these bounds.
const LEAST_BETWEEN: Duration = Duration::from_secs(1);
const MOST_BETWEEN: Duration = Duration::from_secs(600);

/// Starts the task that removes sessions which ended longer ago than `kept`. It ends with the engine.
pub(crate) fn spawn(sessions: &Arc<Sessions>, kept: Duration) {
    tokio::spawn(run(Arc::downgrade(sessions), kept));
}

async fn run(sessions: Weak<Sessions>, kept: Duration) {
    let between = (kept / 100).clamp(LEAST_BETWEEN, MOST_BETWEEN);
    let kept_ms = i64::try_from(kept.as_millis()).unwrap_or(i64::MAX);
    loop {
        let mut after = None;
        let mut removed = 0;
        loop {
            let Some(sessions) = sessions.upgrade() else { return };
            let due = UnixMillis(sessions.clock().now().0.saturating_sub(kept_ms));
            match page(&sessions, after.as_ref(), due).await {
                Ok((last, count)) => {
                    removed += count;
                    after = last;
                }
                Err(error) => {
                    tracing::warn!(%error, "ended sessions cannot be removed now; trying again later");
                    after = None;
                }
            }
            if after.is_none() {
                break;
            }
            // Asleep, the task must not keep the engine alive.
            drop(sessions);
            tokio::time::sleep(PAUSE).await;
        }
        if removed > 0 {
            tracing::info!(sessions = removed, ?kept, "removed sessions that ended long ago");
        }
        tokio::time::sleep(between).await;
    }
}

/// Removes what is due of one page; the page's last id if more may follow, and how many were removed.
async fn page(
    sessions: &Sessions,
    after: Option<&Bytes>,
    due: UnixMillis,
) -> Result<(Option<Bytes>, u64), StoreError> {
    let listed = sessions.store().list(SummaryFilter::Ended, after, PAGE).await?;
    let last = (listed.len() == PAGE).then(|| listed.last().map(|last| last.stream.clone())).flatten();
    let mut removed = 0;
    for summarized in listed {
        // A damaged one is kept: nobody knows how old it is.
        let Ok(summary) = Summary::from_bytes(summarized.summary.bytes) else { continue };
        if summary.ended().is_none_or(|ended| ended > due) {
            continue;
        }
        match remove(sessions, summarized.stream, &summary.metadata.session_id).await {
            Ok(done) => removed += u64::from(done),
            Err(error) => tracing::warn!(
                session = summary.metadata.session_id, %error, "an ended session cannot be removed now",
            ),
        }
    }
    Ok((last, removed))
}

/// Removes a session and its receipt, unless somebody uses it at this moment; then the next walk does.
async fn remove(sessions: &Sessions, stream: Bytes, id: &str) -> Result<bool, String> {
    if !sessions.unload(&SessionId::from_history(id)) {
        return Ok(false);
    }
    let tail = sessions.store().tail(&stream).await.map_err(|error| error.to_string())?;
    let Some(expected) = tail else { return Ok(false) };
    let side = vec![(receipts::SPACE.to_owned(), stream.clone())];
    let removal = Removal { stream, expected, side };
    sessions.store().remove(removal).await.map_err(|error| error.to_string())?;
    Ok(true)
}
