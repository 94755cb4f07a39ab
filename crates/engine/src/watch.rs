//! Watches on sessions and registries: hints and lifecycle events, ephemeral by contract.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use macp_counters::Held;
use macp_kernel::summary::Summary;
use macp_kernel::{Refusal, UnixMillis};
use macp_limits::Place;
use macp_store::SummaryFilter;
use macp_wire::v1::session_lifecycle_event::EventType;
use macp_wire::v1::{
    RegistryChanged, RootsChanged, SessionLifecycleEvent, SessionMetadata, WatchModeRegistryResponse,
    WatchPoliciesResponse, WatchRootsResponse, WatchSessionsResponse,
};
use tokio::sync::{broadcast, watch};

use crate::clock::Clock;
use crate::listing;
use crate::provided::Roots;
use crate::registry::Registry;
use crate::sessions::Sessions;
use crate::signals::receive;
use crate::visibility::Shown;

/// Sessions listed from the store at a time during the initial sync.
const PAGE: usize = 256;
/// A start may be appended this long before it is published, in milliseconds; only such sessions can come twice.
const PUBLISH_MARGIN_MS: i64 = 60_000;

/// What a watch holds for as long as it is open: a place among those of its sender, and one in the count of all.
pub(crate) struct Stay {
    pub(crate) _place: Place,
    pub(crate) _held: Held,
}

/// A change of a session's lifecycle, shared by all watchers.
#[derive(Clone, Debug)]
pub(crate) struct LifecycleEvent {
    pub(crate) event_type: EventType,
    pub(crate) session: Arc<SessionMetadata>,
    pub(crate) observed_at: UnixMillis,
}

/// `WatchSessions`: one CREATED for each session there is, then live events.
pub struct SessionWatch {
    sessions: Arc<Sessions>,
    shown: Shown,
    events: broadcast::Receiver<LifecycleEvent>,
    attached_at: UnixMillis,
    /// Where the initial sync stands; `None` once it is done.
    sync: Option<Sync>,
    ready: VecDeque<SessionMetadata>,
    /// Sessions of the sync whose live CREATED may still come.
    recent: HashSet<String>,
    _stay: Stay,
}

struct Sync {
    after: Option<Bytes>,
}

impl SessionWatch {
    pub(crate) fn new(sessions: &Arc<Sessions>, shown: Shown, stay: Stay) -> Self {
        Self {
            // Before the first look at the store, so that nothing falls between.
            events: sessions.lifecycle_events(),
            attached_at: sessions.clock().now(),
            sessions: Arc::clone(sessions),
            shown,
            sync: Some(Sync { after: None }),
            ready: VecDeque::new(),
            recent: HashSet::new(),
            _stay: stay,
        }
    }

    /// The next event. Dropping the future loses nothing.
    ///
    /// # Errors
    /// `STREAM_LAGGED` when the watcher was too slow, `INTERNAL_ERROR` when the store cannot be read; the watch is
    /// then over.
    pub async fn next(&mut self) -> Result<WatchSessionsResponse, Refusal> {
        loop {
            if let Some(metadata) = self.ready.pop_front() {
                let observed_at = UnixMillis(metadata.started_at_unix_ms);
                return Ok(response(EventType::Created, metadata, observed_at));
            }
            if self.sync.is_some() {
                self.read_page().await?;
                continue;
            }
            let event = receive(&mut self.events, "WatchSessions", self.sessions.counters()).await?;
            if !self.shown.includes(&event.session) {
                continue;
            }
            if event.event_type == EventType::Created && self.recent.remove(&event.session.session_id) {
                continue;
            }
            return Ok(response(event.event_type, (*event.session).clone(), event.observed_at));
        }
    }

    async fn read_page(&mut self) -> Result<(), Refusal> {
        let Some(sync) = &self.sync else { return Ok(()) };
        let store = self.sessions.shared_store();
        let page = store
            .list(SummaryFilter::All, sync.after.as_ref(), PAGE)
            .await
            .map_err(|error| listing::unreadable(&error))?;
        let next = page.last().map(|summarized| summarized.stream.clone());
        self.sync = (page.len() == PAGE).then_some(Sync { after: next });
        for summarized in page {
            let summary =
                Summary::from_bytes(summarized.summary.bytes).map_err(|error| listing::unreadable(&error))?;
            if !self.shown.includes(&summary.metadata) {
                continue;
            }
            if summary.metadata.started_at_unix_ms >= self.attached_at.0 - PUBLISH_MARGIN_MS {
                self.recent.insert(summary.metadata.session_id.clone());
            }
            self.ready.push_back(summary.metadata);
        }
        Ok(())
    }
}

fn response(
    event_type: EventType,
    session: SessionMetadata,
    observed_at: UnixMillis,
) -> WatchSessionsResponse {
    WatchSessionsResponse {
        event: Some(SessionLifecycleEvent {
            event_type: event_type.into(),
            session: Some(session),
            observed_at_unix_ms: observed_at.0,
        }),
    }
}

/// A watch that says "may have changed": once at first, then after each change. Several changes that a slow watcher
/// has not looked at come as one, which is all that a hint can say.
struct Hint<T> {
    changes: watch::Receiver<T>,
    clock: Arc<dyn Clock>,
    first: bool,
}

impl<T> Hint<T> {
    fn new(changes: watch::Receiver<T>, clock: Arc<dyn Clock>) -> Self {
        Self { changes, clock, first: true }
    }

    /// Waits for the next hint and says when it was given.
    async fn next(&mut self) -> UnixMillis {
        if !self.first && self.changes.changed().await.is_err() {
            // The registry lives in the engine, which the watcher's transport holds.
            return std::future::pending().await;
        }
        if self.first {
            self.changes.mark_unchanged();
            self.first = false;
        }
        self.clock.now()
    }
}

/// `WatchModeRegistry`
pub struct ModeRegistryWatch(Hint<u64>, #[expect(dead_code, reason = "counts while it is there")] Held);

impl ModeRegistryWatch {
    pub(crate) fn new(registry: &Registry, clock: Arc<dyn Clock>, held: Held) -> Self {
        Self(Hint::new(registry.mode_changes(), clock), held)
    }

    /// The next hint; the first comes at once.
    ///
    /// # Errors
    /// None at present; hints coalesce and so never lag.
    pub async fn next(&mut self) -> Result<WatchModeRegistryResponse, Refusal> {
        let at = self.0.next().await;
        let change = RegistryChanged { registry: "modes".to_owned(), observed_at_unix_ms: at.0 };
        Ok(WatchModeRegistryResponse { change: Some(change) })
    }
}

/// `WatchPolicies`
pub struct PolicyWatch {
    hint: Hint<u64>,
    registry: Arc<Registry>,
    _stay: Stay,
}

impl PolicyWatch {
    pub(crate) fn new(registry: &Arc<Registry>, clock: Arc<dyn Clock>, stay: Stay) -> Self {
        let hint = Hint::new(registry.policy_changes(), clock);
        Self { hint, registry: Arc::clone(registry), _stay: stay }
    }

    /// The full set of policies: at once, then after each change.
    ///
    /// # Errors
    /// None at present; states coalesce and so never lag.
    pub async fn next(&mut self) -> Result<WatchPoliciesResponse, Refusal> {
        let at = self.hint.next().await;
        let catalog = self.registry.catalog();
        Ok(WatchPoliciesResponse {
            descriptors: catalog.policies().map(|policy| policy.descriptor().clone()).collect(),
            observed_at_unix_ms: at.0,
        })
    }
}

/// `WatchRoots`
pub struct RootsWatch(Hint<Roots>, #[expect(dead_code, reason = "counts while it is there")] Held);

impl RootsWatch {
    pub(crate) fn new(changes: watch::Receiver<Roots>, clock: Arc<dyn Clock>, held: Held) -> Self {
        Self(Hint::new(changes, clock), held)
    }

    /// The next hint; the first comes at once.
    ///
    /// # Errors
    /// None at present; hints coalesce and so never lag.
    pub async fn next(&mut self) -> Result<WatchRootsResponse, Refusal> {
        let at = self.0.next().await;
        Ok(WatchRootsResponse { change: Some(RootsChanged { observed_at_unix_ms: at.0 }) })
    }
}
