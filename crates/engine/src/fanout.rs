//! Cursor subscriptions: replay, then live, with no gap, no repeat and no queue of a subscriber's own.
//!
//! A subscriber is a position in the session's history. While it keeps up it reads the short tail that all
//! subscribers of the session share; further behind it reads the store. So a slow reader loses nothing and costs
//! nothing, and resuming is the same code as starting.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use macp_counters::Held;
use macp_kernel::envelope::Sealed;
use macp_kernel::record::{self, StoredFact};
use macp_kernel::session::Lifecycle;
use macp_kernel::{Refusal, RefusalCode, SessionId};
use macp_limits::Place;
use macp_store::{LogStore, Position};
use macp_wire::v1::{SessionMetadata, SessionState};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::counters::{Counters, StreamKind, Transport};
use crate::delivery::Delivery;
use crate::lane::Lane;

/// Most deliveries that a session keeps for its subscribers.
const TAIL_ENTRIES: usize = 256;
/// Most payload bytes that a session keeps for its subscribers.
const TAIL_BYTES: usize = 1 << 20;
/// Deliveries that a cursor takes at a time, so that a lock or a read serves several.
const BATCH: usize = 64;

/// The end of a session's history as its subscribers see it.
#[derive(Default)]
pub(crate) struct Tail {
    state: Mutex<TailState>,
    /// What `state` says of the head and of the end, for a look without the lock: twice the head, and one more when the
    /// session is over. Written with the lock held; those who wait are woken after each change of it, and only then.
    mark: AtomicU64,
    changed: Notify,
}

#[derive(Default)]
struct TailState {
    /// Contiguous, ending at `head`; empty while nobody subscribes.
    recent: VecDeque<Arc<Delivery>>,
    recent_bytes: usize,
    subscribers: usize,
    head: u64,
    ended: Option<SessionState>,
}

/// What a cursor finds.
enum Found {
    Ready,
    Behind,
    CaughtUp { head: u64, ended: Option<SessionState> },
}

impl Tail {
    fn attach(&self) {
        self.state.lock().subscribers += 1;
    }

    fn detach(&self) {
        let mut state = self.state.lock();
        state.subscribers -= 1;
        if state.subscribers == 0 {
            state.recent = VecDeque::new();
            state.recent_bytes = 0;
        }
    }

    pub(crate) fn subscribers(&self) -> usize {
        self.state.lock().subscribers
    }

    pub(crate) fn head(&self) -> u64 {
        self.state.lock().head
    }

    /// Publishes accepted envelopes, in order, and where the session stands after them.
    pub(crate) fn publish(&self, accepted: impl Iterator<Item = (u64, Arc<Sealed>)>, lifecycle: Lifecycle) {
        {
            let mut state = self.state.lock();
            for (ordinal, sealed) in accepted {
                state.push(ordinal, sealed);
            }
            state.ended = lifecycle.is_terminal().then(|| lifecycle.wire());
            let before = self.mark.swap(state.mark(), Ordering::AcqRel);
            // Nobody waits for anything else.
            if state.subscribers == 0 || before == state.mark() {
                return;
            }
        }
        self.changed.notify_waiters();
    }

    /// Sets what a load found, when nothing was published before.
    pub(crate) fn reset(&self, head: u64, lifecycle: Lifecycle) {
        {
            let mut state = self.state.lock();
            state.head = state.head.max(head);
            state.ended = lifecycle.is_terminal().then(|| lifecycle.wire());
            if self.mark.swap(state.mark(), Ordering::AcqRel) == state.mark() {
                return;
            }
        }
        // What is published of it later changes nothing any more.
        self.changed.notify_waiters();
    }

    /// Whether there is nothing behind this cursor, and more may come.
    fn is_caught_up(&self, cursor: u64) -> bool {
        let mark = self.mark.load(Ordering::Acquire);
        mark & 1 == 0 && mark >> 1 <= cursor
    }

    /// Waits until there is something behind this cursor, or the session is over.
    async fn news_after(&self, cursor: u64) {
        while self.is_caught_up(cursor) {
            let mut changed = pin!(self.changed.notified());
            // Registered before the look, so that a publication in between wakes it.
            changed.as_mut().enable();
            if self.is_caught_up(cursor) {
                changed.await;
            }
        }
    }

    fn take_after(&self, cursor: u64, into: &mut VecDeque<Arc<Delivery>>) -> Found {
        let state = self.state.lock();
        if cursor >= state.head {
            return Found::CaughtUp { head: state.head, ended: state.ended };
        }
        let Some(first) = state.recent.front().map(|delivery| delivery.sequence()) else {
            return Found::Behind;
        };
        let Some(skip) = (cursor + 1).checked_sub(first) else { return Found::Behind };
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        into.extend(state.recent.iter().skip(skip).take(BATCH).cloned());
        Found::Ready
    }
}

impl TailState {
    fn mark(&self) -> u64 {
        (self.head << 1) | u64::from(self.ended.is_some())
    }

    fn push(&mut self, ordinal: u64, sealed: Arc<Sealed>) {
        self.head = ordinal;
        if self.subscribers == 0 {
            return;
        }
        self.recent_bytes += sealed.bytes().len();
        self.recent.push_back(Arc::new(Delivery::new(ordinal, sealed)));
        while self.recent.len() > TAIL_ENTRIES || (self.recent_bytes > TAIL_BYTES && self.recent.len() > 1) {
            if let Some(oldest) = self.recent.pop_front() {
                self.recent_bytes -= oldest.proto().len();
            }
        }
    }
}

/// What a subscription brings.
#[derive(Clone, Debug)]
pub enum Event {
    /// The next accepted envelope.
    Envelope(Arc<Delivery>),
    /// The session is over and everything was delivered. Comes once; nothing follows.
    Ended {
        /// The terminal state.
        state: SessionState,
        /// The last accepted ordinal.
        last_sequence: u64,
    },
}

/// A counted subscriber of a lane; uncounted when dropped, wherever that happens.
pub(crate) struct Attachment {
    lane: Arc<Lane>,
    _place: Place,
}

impl Attachment {
    /// Counts a subscriber: it sees everything from here on, and reads what came before from the store.
    pub(crate) fn new(lane: &Arc<Lane>, place: Place) -> Self {
        lane.tail().attach();
        Self { lane: Arc::clone(lane), _place: place }
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        self.lane.tail().detach();
    }
}

/// A session's accepted ordinal as it moves, for whoever has given the subscription out of hand: a future of
/// [`Subscription::next`] holds it for as long as nothing comes.
#[derive(Clone)]
pub struct Head(Arc<Lane>);

impl Head {
    /// The session's accepted ordinal now.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.0.tail().head()
    }
}

/// A cursor on one session's accepted envelopes.
pub struct Subscription {
    attachment: Attachment,
    store: Arc<dyn LogStore>,
    after_sequence: u64,
    high_water: u64,
    metadata: SessionMetadata,
    /// The last ordinal that was taken over into `ready`.
    cursor: u64,
    /// Where the cursor stands in the store, once it has read there.
    position: Option<Position>,
    ready: VecDeque<Arc<Delivery>>,
    ended: bool,
    counted: Option<Counted>,
}

/// How a subscription that somebody follows is counted.
struct Counted {
    counters: Arc<Counters>,
    transport: Transport,
    _held: Held,
}

impl Subscription {
    pub(crate) fn new(
        attachment: Attachment,
        store: Arc<dyn LogStore>,
        after_sequence: u64,
        high_water: u64,
        metadata: SessionMetadata,
    ) -> Self {
        Self {
            attachment,
            store,
            after_sequence,
            high_water,
            metadata,
            cursor: after_sequence,
            position: None,
            ready: VecDeque::new(),
            ended: false,
            counted: None,
        }
    }

    /// Counts it, and what it delivers, among those of a transport.
    pub(crate) fn counted(self, counters: &Arc<Counters>, transport: Transport) -> Self {
        let held = counters.hold(transport, StreamKind::Session);
        let counted = Counted { counters: Arc::clone(counters), transport, _held: held };
        Self { counted: Some(counted), ..self }
    }

    /// The session.
    #[must_use]
    pub fn session_id(&self) -> &SessionId {
        self.attachment.lane.id()
    }

    /// The ordinal after which the subscription began.
    #[must_use]
    pub fn after_sequence(&self) -> u64 {
        self.after_sequence
    }

    /// The session's accepted ordinal when the subscription attached: replay ends there, live begins.
    #[must_use]
    pub fn high_water(&self) -> u64 {
        self.high_water
    }

    /// The session's metadata, read in one step with [`Subscription::high_water`].
    #[must_use]
    pub fn metadata(&self) -> &SessionMetadata {
        &self.metadata
    }

    /// A look at [`Subscription::head`] that does not need the subscription.
    #[must_use]
    pub fn head_handle(&self) -> Head {
        Head(Arc::clone(&self.attachment.lane))
    }

    /// The session's accepted ordinal now.
    #[must_use]
    pub fn head(&self) -> u64 {
        self.attachment.lane.tail().head()
    }

    /// Whether [`Subscription::next`] would wait now: a look that costs no lock.
    #[must_use]
    pub fn is_caught_up(&self) -> bool {
        self.ready.is_empty() && (self.ended || self.attachment.lane.tail().is_caught_up(self.cursor))
    }

    /// The next event, in order. An ordinal at or below [`Subscription::after_sequence`] is never delivered.
    /// Dropping the future loses nothing.
    ///
    /// # Errors
    /// `INTERNAL_ERROR` when history cannot be read; the subscription is then of no further use.
    pub async fn next(&mut self) -> Result<Event, Refusal> {
        loop {
            if let Some(delivery) = self.ready.pop_front() {
                if let Some(Counted { counters, transport, .. }) = &self.counted {
                    counters.delivered(*transport).inc();
                }
                return Ok(Event::Envelope(delivery));
            }
            if self.ended {
                return std::future::pending().await;
            }
            let tail = self.attachment.lane.tail();
            tail.news_after(self.cursor).await;
            match tail.take_after(self.cursor, &mut self.ready) {
                Found::Ready => {}
                Found::Behind => self.read_behind().await?,
                Found::CaughtUp { head, ended: Some(state) } => {
                    self.ended = true;
                    return Ok(Event::Ended { state, last_sequence: head });
                }
                Found::CaughtUp { ended: None, .. } => {}
            }
            self.cursor = self.ready.back().map_or(self.cursor, |delivery| delivery.sequence());
        }
    }

    /// Takes the next deliveries from the store. State changes only after the read, so it may be dropped.
    async fn read_behind(&mut self) -> Result<(), Refusal> {
        let page = self
            .store
            .read(self.attachment.lane.stream(), self.position, BATCH)
            .await
            .map_err(|error| unreadable(self.attachment.lane.id(), &error))?;
        if page.is_empty() {
            return Err(unreadable(self.attachment.lane.id(), &"the log ends before the published head"));
        }
        for stored in page {
            self.position = Some(stored.position);
            let sealed =
                delivered(&stored.record).map_err(|error| unreadable(self.attachment.lane.id(), &error))?;
            for (ordinal, sealed) in sealed {
                if ordinal > self.cursor {
                    self.ready.push_back(Arc::new(Delivery::new(ordinal, Arc::new(sealed))));
                }
            }
        }
        Ok(())
    }
}

fn unreadable(session: &SessionId, error: &dyn std::fmt::Display) -> Refusal {
    tracing::error!(%session, %error, "history cannot be read for a subscriber");
    Refusal::new(
        RefusalCode::InternalError,
        "the session's history cannot be read now; subscribe again later",
    )
}

/// The envelopes of a stored record that clients see, with their ordinals.
fn delivered(bytes: &Bytes) -> Result<Vec<(u64, Sealed)>, String> {
    let body = record::decode(bytes).map_err(|error| error.to_string())?;
    let mut out = Vec::with_capacity(body.entries.len());
    for entry in body.entries {
        let (ordinal, envelope) = match entry.fact {
            Some(StoredFact::Started(start)) => (1, start.envelope),
            Some(StoredFact::Accepted(accepted)) => (accepted.ordinal, accepted.envelope),
            _ => continue,
        };
        out.push((ordinal, Sealed::from_bytes(envelope).map_err(|error| error.to_string())?));
    }
    Ok(out)
}
