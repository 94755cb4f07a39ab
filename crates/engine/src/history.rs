//! Reading a session once, without staying: its metadata with its position, and pages of its history.

use std::sync::Arc;

use macp_kernel::{Identity, Refusal};
use macp_wire::v1::SessionMetadata;

use crate::Engine;
use crate::delivery::Delivery;
use crate::fanout::Event;

/// Envelopes on a page when the caller names no number, and the most that it may name.
const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 1000;
/// Payload bytes after which a page ends, whatever it may hold by number.
const PAGE_BYTES: usize = 4 << 20;

/// A session in one look.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionView {
    /// What `GetSession` answers.
    pub metadata: SessionMetadata,
    /// The ordinal of the last accepted envelope, read in one step with the metadata.
    pub high_water: u64,
}

/// Some accepted envelopes of a session, in order.
#[derive(Debug)]
pub struct EnvelopePage {
    /// The envelopes; none when nothing follows the position that was asked for.
    pub deliveries: Vec<Arc<Delivery>>,
    /// The session when the page was begun. What follows the page is there up to its position.
    pub session: SessionView,
}

impl EnvelopePage {
    /// The position after which the next page begins; `None` when this one reaches the position of the session.
    #[must_use]
    pub fn next_after(&self) -> Option<u64> {
        let last = self.deliveries.last()?.sequence();
        (last < self.session.high_water).then_some(last)
    }
}

impl Engine {
    /// `GetSession` with the session's position.
    ///
    /// # Errors
    /// `UNAUTHENTICATED`, `SESSION_NOT_FOUND`, `FORBIDDEN`.
    pub async fn view_session(&self, identity: &Identity, session_id: &str) -> Result<SessionView, Refusal> {
        let caller = identity.require()?;
        let sessions = &self.inner.sessions;
        let view = sessions.lane(session_id).await?.look(sessions, caller).await?;
        Ok(SessionView { metadata: view.metadata, high_water: view.high_water })
    }

    /// A page of the accepted envelopes after a position: what `StreamSession` would replay.
    ///
    /// `limit` is the most that the page may hold: 100 if there is none, and never above 1000. A page ends early after
    /// 4 MiB of payloads.
    ///
    /// # Errors
    /// As [`Engine::subscribe`]; `INVALID_REQUEST` for a limit of 0.
    pub async fn envelopes(
        &self,
        identity: &Identity,
        session_id: &str,
        after_sequence: u64,
        limit: Option<usize>,
    ) -> Result<EnvelopePage, Refusal> {
        let limit = match limit {
            None => DEFAULT_LIMIT,
            Some(0) => return Err(Refusal::invalid_request("limit must be 1 or more")),
            Some(limit) => limit.min(MAX_LIMIT),
        };
        let mut subscription = self.read_on(identity, session_id, after_sequence).await?;
        let session =
            SessionView { metadata: subscription.metadata().clone(), high_water: subscription.high_water() };
        let mut deliveries = Vec::new();
        let mut bytes = 0;
        let mut at = after_sequence;
        // Up to here everything is there already, so nothing below waits for anyone.
        while at < session.high_water && deliveries.len() < limit && bytes < PAGE_BYTES {
            let Event::Envelope(delivery) = subscription.next().await? else { break };
            at = delivery.sequence();
            bytes += delivery.proto().len();
            deliveries.push(delivery);
        }
        Ok(EnvelopePage { deliveries, session })
    }
}
