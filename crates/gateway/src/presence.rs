//! What happens on one connection, as far as its deadlines and its claim to a place depend on it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::Notify;

use crate::gate::Held;

/// How long a connection may take over things.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadlines {
    /// Until the first bytes, and for the head of a request (`MACP_HANDSHAKE_TIMEOUT_SECS`).
    pub(crate) handshake: Duration,
    /// Without any progress of what is waiting to be sent (`MACP_STALL_TIMEOUT_SECS`).
    pub(crate) stall: Duration,
    /// Without a request; an open stream is one (`MACP_IDLE_TIMEOUT_SECS`).
    pub(crate) idle: Duration,
}

impl Deadlines {
    /// How often a connection is looked at; a deadline is kept to within that.
    pub(crate) fn look_every(&self) -> Duration {
        let shortest = self.handshake.min(self.stall).min(self.idle);
        (shortest / 8).clamp(Duration::from_millis(50), Duration::from_secs(2))
    }
}

/// What a connection has been found out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overdue {
    /// The head of a request does not come to its end.
    Head,
    /// The client takes nothing of what it is owed.
    Stalled,
    /// Nothing is asked.
    Idle,
}

/// One connection. Instants are milliseconds after its begin, and where there may be none, one more.
#[derive(Debug)]
pub(crate) struct Presence {
    began: Instant,
    has_asked: AtomicBool,
    in_flight: AtomicUsize,
    idle_since: AtomicU64,
    head_since: AtomicU64,
    blocked_since: AtomicU64,
    /// Bodies whose next frame was not asked for since the last one: their client, or the network, does not take it.
    owed: AtomicUsize,
    moved_at: AtomicU64,
    frames: AtomicU64,
    leave: Notify,
}

impl Presence {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            began: Instant::now(),
            has_asked: AtomicBool::new(false),
            in_flight: AtomicUsize::new(0),
            idle_since: AtomicU64::new(0),
            head_since: AtomicU64::new(0),
            blocked_since: AtomicU64::new(0),
            owed: AtomicUsize::new(0),
            moved_at: AtomicU64::new(0),
            frames: AtomicU64::new(0),
            leave: Notify::new(),
        })
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether there was a request.
    pub(crate) fn has_asked(&self) -> bool {
        self.has_asked.load(Ordering::Relaxed)
    }

    /// Whether no request is being answered.
    pub(crate) fn is_idle(&self) -> bool {
        self.in_flight.load(Ordering::Relaxed) == 0
    }

    /// Whether no request was being answered for so long.
    pub(crate) fn is_idle_for(&self, duration: Duration) -> bool {
        let since = Duration::from_millis(self.idle_since.load(Ordering::Relaxed));
        self.is_idle() && self.began.elapsed().saturating_sub(since) >= duration
    }

    /// A request has come.
    pub(crate) fn began(&self) {
        self.has_asked.store(true, Ordering::Relaxed);
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.head_since.store(0, Ordering::Relaxed);
    }

    /// A request was answered, or given up.
    pub(crate) fn ended(&self) {
        self.idle_since.store(self.now(), Ordering::Relaxed);
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// Bytes have come.
    pub(crate) fn heard(&self) {
        if self.is_idle() && self.head_since.load(Ordering::Relaxed) == 0 {
            self.head_since.store(self.now() + 1, Ordering::Relaxed);
        }
    }

    /// Bytes could, or could not, be handed to the network.
    pub(crate) fn wrote(&self, blocked: bool) {
        let was_blocked = self.blocked_since.load(Ordering::Relaxed) != 0;
        if blocked != was_blocked {
            let since = if blocked { self.now() + 1 } else { 0 };
            self.blocked_since.store(since, Ordering::Relaxed);
        }
    }

    /// Whether the network has not taken what it was last given.
    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked_since.load(Ordering::Relaxed) != 0
    }

    /// Frames of bodies that were handed over to be sent.
    pub(crate) fn frames(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }

    /// Asks the connection to end, since its place is needed.
    pub(crate) fn leave(&self) {
        self.leave.notify_one();
    }

    /// Waits for [`Presence::leave`].
    pub(crate) async fn asked_to_leave(&self) {
        self.leave.notified().await;
    }

    /// Which deadline has passed. An HTTP/2 client may connect long before it asks, and its heads come whole, so there
    /// only `is_http1` connections are held to the time of a head.
    pub(crate) fn overdue(&self, deadlines: &Deadlines, is_http1: bool) -> Option<Overdue> {
        let now = self.now();
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let passed = |since: u64, within: Duration| now.saturating_sub(since) >= millis(within);
        let blocked = self.blocked_since.load(Ordering::Relaxed);
        if blocked > 0 && passed(blocked - 1, deadlines.stall) {
            return Some(Overdue::Stalled);
        }
        if self.owed.load(Ordering::Relaxed) > 0
            && passed(self.moved_at.load(Ordering::Relaxed), deadlines.stall)
        {
            return Some(Overdue::Stalled);
        }
        if !self.is_idle() {
            return None;
        }
        let head = self.head_since.load(Ordering::Relaxed);
        if is_http1 && head > 0 && passed(head - 1, deadlines.handshake) {
            return Some(Overdue::Head);
        }
        if is_http1 && !self.has_asked() && passed(0, deadlines.handshake) {
            return Some(Overdue::Head);
        }
        passed(self.idle_since.load(Ordering::Relaxed), deadlines.idle).then_some(Overdue::Idle)
    }
}

/// A request that is being answered.
pub(crate) struct InFlight(Arc<Presence>);

impl InFlight {
    pub(crate) fn begin(presence: &Arc<Presence>) -> Self {
        presence.began();
        Self(Arc::clone(presence))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.ended();
    }
}

/// The body of a response, until which the request is in flight.
pub(crate) struct Answer<B> {
    body: B,
    request: InFlight,
    is_owed: bool,
    /// What the request holds of its peer's limits.
    _held: Held,
}

impl<B> Answer<B> {
    pub(crate) fn new(body: B, request: InFlight, held: Held) -> Self {
        Self { body, request, is_owed: false, _held: held }
    }

    fn set_owed(&mut self, is_owed: bool) {
        if self.is_owed != is_owed {
            self.is_owed = is_owed;
            if is_owed {
                self.request.0.owed.fetch_add(1, Ordering::Relaxed);
            } else {
                self.request.0.owed.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }
}

impl<B: Body + Unpin> Body for Answer<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        let presence = &self.request.0;
        presence.moved_at.store(presence.now(), Ordering::Relaxed);
        let yields = matches!(polled, Poll::Ready(Some(Ok(_))));
        if yields {
            presence.frames.fetch_add(1, Ordering::Relaxed);
        }
        self.set_owed(yields);
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> Drop for Answer<B> {
    fn drop(&mut self) {
        self.set_owed(false);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::{BodyExt, Full};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const DEADLINES: Deadlines =
        Deadlines { handshake: SECOND, stall: Duration::from_secs(3), idle: Duration::from_secs(5) };

    /// A connection that began so long ago.
    fn since(ago: Duration) -> Arc<Presence> {
        let mut presence = Presence::new();
        Arc::get_mut(&mut presence).unwrap().began = Instant::now().checked_sub(ago).unwrap();
        presence
    }

    #[test]
    fn heads_are_held_to_their_time_and_open_requests_to_none() {
        let silent = since(SECOND);
        assert_eq!(silent.overdue(&DEADLINES, true), Some(Overdue::Head));
        assert_eq!(silent.overdue(&DEADLINES, false), None);
        let open = since(100 * SECOND);
        let request = InFlight::begin(&open);
        assert_eq!(open.overdue(&DEADLINES, true), None);
        drop(request);
        assert_eq!(open.overdue(&DEADLINES, true), None, "idle from now on");
        assert!(open.is_idle_for(Duration::ZERO) && !open.is_idle_for(SECOND));
        let idle = since(5 * SECOND);
        assert_eq!(idle.overdue(&DEADLINES, false), Some(Overdue::Idle));
    }

    #[tokio::test]
    async fn a_body_that_nobody_takes_is_stalled_and_one_without_news_is_not() {
        let presence = since(100 * SECOND);
        let mut full = Answer::new(Full::new(Bytes::from_static(b"x")), InFlight::begin(&presence), None);
        full.frame().await.unwrap().unwrap();
        assert_eq!(presence.overdue(&DEADLINES, false), None, "just now");
        presence.moved_at.store(0, Ordering::Relaxed);
        assert_eq!(presence.overdue(&DEADLINES, false), Some(Overdue::Stalled));
        drop(full);
        let silent = http_body_util::StreamBody::new(futures_util::stream::pending::<
            Result<Frame<Bytes>, std::io::Error>,
        >());
        let mut silent = Answer::new(silent, InFlight::begin(&presence), None);
        assert!(futures_util::poll!(silent.frame()).is_pending());
        presence.moved_at.store(0, Ordering::Relaxed);
        assert_eq!(presence.overdue(&DEADLINES, false), None);
        presence.wrote(true);
        presence.blocked_since.store(1, Ordering::Relaxed);
        assert_eq!(presence.overdue(&DEADLINES, false), Some(Overdue::Stalled));
        presence.wrote(false);
        assert_eq!(presence.overdue(&DEADLINES, false), None);
    }
}
