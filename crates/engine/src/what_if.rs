//! `WhatIfReplay` (RFC-MACP-0012 §8.1): reads a session's stored history and changes nothing.

use bytes::Bytes;
use macp_kernel::what_if::{self, NoReport, WhatIf};
use macp_kernel::{Identity, Refusal, RefusalCode, Session, view};
use macp_store::{LogStore, StoreError};
use macp_wire::v1::{WhatIfReplayRequest, WhatIfReplayResponse};

use crate::Engine;
use crate::lane::View;
use crate::recovery::PAGE;

/// Why a history gave no report.
#[derive(Debug, thiserror::Error)]
enum ReplayError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    NoReport(#[from] NoReport),
    #[error("the stored history does not lead to the state that is served")]
    OtherState,
}

impl Engine {
    /// `WhatIfReplay`
    ///
    /// # Errors
    /// `UNAUTHENTICATED`, `SESSION_NOT_FOUND`, `FORBIDDEN`, `RATE_LIMITED`, `INVALID_REQUEST`,
    /// `INVALID_POLICY_DEFINITION`, `HISTORY_UNAVAILABLE`, `INTERNAL_ERROR`.
    pub async fn what_if_replay(
        &self,
        identity: &Identity,
        request: WhatIfReplayRequest,
    ) -> Result<WhatIfReplayResponse, Refusal> {
        let caller = identity.require()?;
        let sessions = &self.inner.sessions;
        let lane = sessions.lane(&request.session_id).await?;
        let view = lane.look(sessions, caller).await?;
        self.inner.admission.charge(caller, self.now())?;
        let candidate = what_if::admit(request.candidate, &view.metadata.mode)?;
        let replay = WhatIf::new(candidate);
        report(sessions.store(), lane.stream(), replay, &view).await.map_err(|error| {
            tracing::error!(session = request.session_id, %error, "no what-if report");
            error.refusal()
        })
    }
}

async fn report(
    store: &dyn LogStore,
    stream: &Bytes,
    mut replay: WhatIf,
    view: &View,
) -> Result<WhatIfReplayResponse, ReplayError> {
    let mut tail = None;
    loop {
        let page = store.read(stream, tail, PAGE).await?;
        let short = page.len() < PAGE;
        for stored in page {
            replay.record(&stored.record)?;
            tail = Some(stored.position);
        }
        if short {
            break;
        }
        // A long history is replayed twice; other sessions have their turn in between.
        tokio::task::yield_now().await;
    }
    if replay.recorded().is_some_and(|session| !leads_to(session, view)) {
        return Err(ReplayError::OtherState);
    }
    Ok(replay.report()?)
}

/// Whether the replayed session is the one that was looked at, or what became of it since.
fn leads_to(session: &Session, view: &View) -> bool {
    let ended = matches!(
        view.metadata.state(),
        macp_wire::v1::SessionState::Resolved
            | macp_wire::v1::SessionState::Expired
            | macp_wire::v1::SessionState::Cancelled
    );
    if ended { view::metadata(session) == view.metadata } else { session.last_ordinal >= view.high_water }
}

impl ReplayError {
    fn refusal(&self) -> Refusal {
        match self {
            Self::NoReport(NoReport::Incomplete) => Refusal::new(
                RefusalCode::HistoryUnavailable,
                "the session's history is not kept back to its start, and a report from a part would mislead",
            ),
            Self::Store(_) => {
                Refusal::new(RefusalCode::InternalError, "the session's history cannot be read now; retry")
            }
            Self::NoReport(NoReport::Divergence(_)) | Self::OtherState => Refusal::new(
                RefusalCode::InternalError,
                "the session's stored history is damaged or from a newer release; it is not replayed",
            ),
        }
    }
}
