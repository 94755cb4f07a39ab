//! All sessions: finding or loading a lane, and what the lanes tell the rest of the engine.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use macp_kernel::ids::MAX_SESSION_ID_BYTES;
use macp_kernel::session::Lifecycle;
use macp_kernel::summary::Summary;
use macp_kernel::{Entry, ParticipantId, Refusal, RefusalCode, Session, SessionId, UnixMillis, view};
use macp_limits::Places;
use macp_store::{LogStore, StoreError, SummaryFilter};
use macp_wire::v1::SessionState;
use macp_wire::v1::session_lifecycle_event::EventType;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, broadcast};

use crate::append_id::AppendIds;
use crate::clock::Clock;
use crate::counters::{self, Counters, Transition};
use crate::deadlines::Deadlines;
use crate::lane::{self, Lane};
use crate::observe;
use crate::options::Limits;
use crate::registry::Registry;
use crate::watch::LifecycleEvent;

/// Lifecycle events that a watcher may be behind before it is told that it lagged.
const LIFECYCLE_BUFFER: usize = 4096;
/// Summaries read from the store at a time.
const PAGE: usize = 1024;

pub(crate) struct Sessions {
    store: Arc<dyn LogStore>,
    clock: Arc<dyn Clock>,
    registry: Arc<Registry>,
    lanes: RwLock<HashMap<SessionId, Arc<Lane>>>,
    mailbox: usize,
    /// Lanes above which those that rest leave memory early.
    most_in_memory: usize,
    deadlines: Mutex<Deadlines>,
    deadline_changed: Arc<Notify>,
    lifecycle: broadcast::Sender<LifecycleEvent>,
    open: Places,
    append_ids: AppendIds,
    counters: Arc<Counters>,
}

impl Sessions {
    /// Reads the summaries of live sessions.
    pub(crate) async fn open(
        store: Arc<dyn LogStore>,
        clock: Arc<dyn Clock>,
        registry: Arc<Registry>,
        limits: &Limits,
        counters: Arc<Counters>,
    ) -> Result<Arc<Self>, StoreError> {
        let sessions = Self {
            store,
            clock,
            registry,
            lanes: RwLock::default(),
            mailbox: limits.session_mailbox,
            most_in_memory: limits.sessions_in_memory,
            deadlines: Mutex::default(),
            deadline_changed: Arc::default(),
            lifecycle: broadcast::Sender::new(LIFECYCLE_BUFFER),
            open: Places::new(),
            append_ids: AppendIds::new(),
            counters,
        };
        let mut after: Option<Bytes> = None;
        loop {
            let page = sessions.store.list(SummaryFilter::Live, after.as_ref(), PAGE).await?;
            let short = page.len() < PAGE;
            after = page.last().map(|summarized| summarized.stream.clone()).or(after);
            for summarized in page {
                match Summary::from_bytes(summarized.summary.bytes) {
                    Ok(summary) => sessions.remember(&summary),
                    Err(error) => {
                        let stream = String::from_utf8_lossy(&summarized.stream).into_owned();
                        tracing::error!(%error, session = stream, "summary is damaged; deadline unknown until used");
                    }
                }
            }
            if short {
                return Ok(Arc::new(sessions));
            }
        }
    }

    fn remember(&self, summary: &Summary) {
        let id = SessionId::from_history(&summary.metadata.session_id);
        self.schedule(&id, None, summary.deadline());
        match summary.metadata.state() {
            SessionState::Open => {
                self.open.reserve(&ParticipantId::from(summary.metadata.initiator.as_str()));
                self.counters.open.add(1);
            }
            SessionState::Suspended => self.counters.suspended.add(1),
            _ => {}
        }
    }

    pub(crate) fn store(&self) -> &dyn LogStore {
        &*self.store
    }

    pub(crate) fn shared_store(&self) -> Arc<dyn LogStore> {
        Arc::clone(&self.store)
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    pub(crate) fn append_ids(&self) -> &AppendIds {
        &self.append_ids
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    pub(crate) fn open_sessions(&self) -> &Places {
        &self.open
    }

    pub(crate) fn lifecycle_events(&self) -> broadcast::Receiver<LifecycleEvent> {
        self.lifecycle.subscribe()
    }

    /// The lane of a session that may be about to start.
    pub(crate) fn lane_for_start(&self, id: &SessionId) -> Arc<Lane> {
        if let Some(lane) = self.lanes.read().get(id) {
            return Arc::clone(lane);
        }
        let mut lanes = self.lanes.write();
        let lane = lanes
            .entry(id.clone())
            .or_insert_with(|| Arc::new(Lane::new(id.clone(), self.mailbox, &self.counters)));
        Arc::clone(lane)
    }

    /// The lane of a session that exists. An unknown id leaves nothing in memory.
    pub(crate) async fn lane(&self, id: &str) -> Result<Arc<Lane>, Refusal> {
        if let Some(lane) = self.lanes.read().get(id) {
            return Ok(Arc::clone(lane));
        }
        if id.len() > MAX_SESSION_ID_BYTES {
            return Err(Refusal::session_not_found());
        }
        let tail = self.store.tail(&Bytes::copy_from_slice(id.as_bytes())).await.map_err(|error| {
            tracing::error!(%error, "the store does not answer");
            Refusal::new(RefusalCode::InternalError, "the session cannot be looked up now; retry")
        })?;
        tail.ok_or_else(Refusal::session_not_found)?;
        Ok(self.lane_for_start(&SessionId::from_history(id)))
    }

    /// Forgets the lane if its session turned out not to exist and nobody else holds it.
    pub(crate) fn drop_if_vacant(&self, lane: Arc<Lane>) {
        if !lane.is_vacant() {
            return;
        }
        let mut lanes = self.lanes.write();
        // Held by the table and by us: nobody else can put a job into it now.
        if Arc::strong_count(&lane) == 2 && lane.is_vacant() {
            lanes.remove(lane.id());
        }
    }

    pub(crate) fn in_memory(&self) -> usize {
        self.lanes.read().len()
    }

    /// Whether there are more lanes in memory than there should be.
    pub(crate) fn is_crowded(&self) -> bool {
        self.in_memory() > self.most_in_memory
    }

    /// Takes one session out of memory unless somebody uses it right now; false if somebody does.
    pub(crate) fn unload(&self, id: &SessionId) -> bool {
        let mut lanes = self.lanes.write();
        match lanes.get(id) {
            None => true,
            Some(lane) if Arc::strong_count(lane) == 1 && lane.is_idle(self.clock.now()) => {
                lanes.remove(id);
                true
            }
            Some(_) => false,
        }
    }

    /// Takes the lanes out of memory that nobody has used since `before`; their sessions stay in the store.
    pub(crate) fn unload_idle(&self, before: UnixMillis) {
        self.lanes.write().retain(|_, lane| Arc::strong_count(lane) > 1 || !lane.is_idle(before));
    }

    /// Notes that a session's next deadline moved.
    pub(crate) fn schedule(&self, id: &SessionId, before: Option<UnixMillis>, after: Option<UnixMillis>) {
        if before == after {
            return;
        }
        if self.deadlines.lock().set(id, after) {
            self.deadline_changed.notify_one();
        }
    }

    /// The sessions whose deadline has come, and when to look again.
    pub(crate) fn due(&self, now: UnixMillis) -> (Vec<SessionId>, Option<UnixMillis>) {
        self.deadlines.lock().due(now)
    }

    /// Notified when a deadline became the earliest.
    pub(crate) fn deadline_changed(&self) -> Arc<Notify> {
        Arc::clone(&self.deadline_changed)
    }

    /// Tells the watchers and the counters what changed in the session's lifecycle.
    pub(crate) fn transitions(&self, session: &Session, before: Option<Lifecycle>, entries: &[Entry]) {
        let was_open = before == Some(Lifecycle::Open) || lane::has_start(entries);
        let is_open = session.lifecycle == Lifecycle::Open;
        if was_open && !is_open {
            self.open.release(&session.binding.initiator);
        } else if !was_open && is_open {
            self.open.reserve(&session.binding.initiator);
        }
        self.count(session, before, entries);
        if self.lifecycle.receiver_count() == 0 {
            return;
        }
        for entry in entries {
            if let Some(event_type) = event_of(entry) {
                let event = LifecycleEvent {
                    event_type,
                    session: Arc::new(view::metadata(session)),
                    observed_at: entry.at,
                };
                // Nobody listens any more: nothing to tell.
                drop(self.lifecycle.send(event));
            }
        }
    }
}

impl Sessions {
    fn count(&self, session: &Session, before: Option<Lifecycle>, entries: &[Entry]) {
        self.counters.moved(before, session.lifecycle);
        let binding = &session.binding;
        for entry in entries {
            let Some(transition) = transition_of(entry, session) else { continue };
            let lived = counters::lived(binding.started_at, entry.at);
            self.counters.transition(&binding.mode, transition, lived);
            if session.lifecycle.is_terminal() && transition.ends() {
                observe::session_ended(session, entry);
            }
        }
    }
}

/// What an entry did to the session, where it stands after all of them.
fn transition_of(entry: &Entry, session: &Session) -> Option<Transition> {
    use macp_kernel::Fact;
    match &entry.fact {
        Fact::Started(_) => None,
        Fact::Accepted(accepted) => accepted.resolution.is_some().then_some(Transition::Resolve),
        Fact::Suspended { .. } => Some(Transition::Suspend),
        // A resumption at which a cap was passed ends the session, and nothing follows it.
        Fact::Resumed { .. } if session.lifecycle == Lifecycle::Expired && entry.at == session.last_at => {
            Some(Transition::Expire)
        }
        Fact::Resumed { .. } => Some(Transition::Resume),
        Fact::Cancelled { .. } => Some(Transition::Cancel),
        Fact::Expired { .. } => Some(Transition::Expire),
    }
}

fn event_of(entry: &Entry) -> Option<EventType> {
    use macp_kernel::Fact;
    match &entry.fact {
        Fact::Started(_) => Some(EventType::Created),
        Fact::Accepted(accepted) => accepted.resolution.is_some().then_some(EventType::Resolved),
        Fact::Suspended { .. } => Some(EventType::Suspended),
        Fact::Resumed { .. } => Some(EventType::Resumed),
        Fact::Cancelled { .. } => Some(EventType::Cancelled),
        Fact::Expired { .. } => Some(EventType::Expired),
    }
}
