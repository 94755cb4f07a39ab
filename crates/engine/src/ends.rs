//! What hardly ever happens, awaited beside what happens all the time.
//!
//! A stream waits for its next delivery, and beside it for the drain and for the end of its caller's credential. Asking
//! these again at each delivery takes locks that all streams share, a thousand times for one envelope. So they have a
//! waker of their own, and are asked only when it was woken.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;
use macp_kernel::{Identity, Refusal};
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::{Engine, Expiry};

/// A waker for futures that are to be polled only after one of them has called.
#[derive(Debug)]
pub struct Rarely(Arc<Called>);

#[derive(Debug)]
struct Called {
    was: AtomicBool,
    task: AtomicWaker,
}

impl Wake for Called {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.was.store(true, Ordering::Release);
        self.task.wake();
    }
}

impl Rarely {
    /// As if it had been called: the futures were never polled.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Called { was: AtomicBool::new(true), task: AtomicWaker::new() }))
    }

    /// The waker to poll all of the futures with, if one of them has called since the last time; the task of `cx` is
    /// woken when one calls from now on. Whoever does not poll all of them until they are pending says so with
    /// [`Rarely::again`].
    #[must_use]
    pub fn called(&self, cx: &Context<'_>) -> Option<Waker> {
        self.0.task.register(cx.waker());
        // Read first, since nearly always there is nothing to take back.
        let called = self.0.was.load(Ordering::Acquire) && self.0.was.swap(false, Ordering::AcqRel);
        called.then(|| Waker::from(Arc::clone(&self.0)))
    }

    /// The futures are to be polled the next time, whether one has called or not.
    pub fn again(&self) {
        self.0.was.store(true, Ordering::Release);
    }
}

impl Default for Rarely {
    fn default() -> Self {
        Self::new()
    }
}

/// How a stream ends for a reason that is neither its source's nor its client's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The server drains.
    Draining,
    /// The caller's credential is no longer good: what to tell its holder.
    Expired(Refusal),
}

/// Waits for the [`End`] of a stream.
pub struct Ends {
    draining: Pin<Box<WaitForCancellationFutureOwned>>,
    expiry: Expiry,
    rarely: Rarely,
}

impl fmt::Debug for Ends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ends").field("expiry", &self.expiry).finish_non_exhaustive()
    }
}

impl Engine {
    /// The ends of a stream of this caller. Must be waited for within a tokio runtime.
    #[must_use]
    pub fn ends(&self, identity: &Identity) -> Ends {
        Ends {
            draining: Box::pin(self.draining().clone().cancelled_owned()),
            expiry: self.expiry(identity),
            rarely: Rarely::new(),
        }
    }
}

impl Ends {
    /// Waits until the stream is to end. Costs next to nothing as long as nothing has happened, so it may be asked
    /// before each delivery. Not to be polled behind an end that was told.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let Some(waker) = self.rarely.called(cx) else { return Poll::Pending };
        let cx = &mut Context::from_waker(&waker);
        if self.draining.as_mut().poll(cx).is_ready() {
            return Poll::Ready(End::Draining);
        }
        self.expiry.poll_reached(cx).map(End::Expired)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::sync::Notify;

    use super::*;
    use crate::testing::memory_engine;

    #[tokio::test]
    async fn a_future_is_polled_once_and_then_only_after_its_call() {
        let (notify, rarely, mut polls) = (Notify::new(), Rarely::new(), 0);
        let mut notified = std::pin::pin!(notify.notified());
        let mut look = |cx: &mut Context<'_>| {
            let Some(waker) = rarely.called(cx) else { return (Poll::Pending, polls) };
            polls += 1;
            (notified.as_mut().poll(&mut Context::from_waker(&waker)), polls)
        };
        for _ in 0..5 {
            let looked = poll_fn(|cx| Poll::Ready(look(cx))).await;
            assert_eq!(looked, (Poll::Pending, 1));
        }
        notify.notify_waiters();
        assert_eq!(poll_fn(|cx| Poll::Ready(look(cx))).await, (Poll::Ready(()), 2));
    }

    /// Whichever task has asked last is woken, and what was not polled is polled the next time.
    #[tokio::test]
    async fn calls_wake_the_task_that_waits() {
        let (notify, rarely) = (Arc::new(Notify::new()), Rarely::new());
        let mut notified = Box::pin(Arc::clone(&notify).notified_owned());
        let mut look = move |cx: &mut Context<'_>| match rarely.called(cx) {
            Some(waker) => {
                rarely.again();
                notified.as_mut().poll(&mut Context::from_waker(&waker))
            }
            None => Poll::Pending,
        };
        assert!(poll_fn(|cx| Poll::Ready(look(cx))).await.is_pending());
        let waiting = tokio::spawn(poll_fn(look));
        tokio::task::yield_now().await;
        notify.notify_waiters();
        waiting.await.unwrap();
    }

    #[tokio::test]
    async fn a_drain_ends_whoever_waits_and_whoever_comes_later() {
        let engine = memory_engine().await;
        let mut ends = engine.ends(&Identity::Anonymous);
        assert!(poll_fn(|cx| Poll::Ready(ends.poll(cx))).await.is_pending());
        let waiting = tokio::spawn(async move { poll_fn(|cx| ends.poll(cx)).await });
        tokio::task::yield_now().await;
        engine.drain();
        assert_eq!(waiting.await.unwrap(), End::Draining);
        let mut late = engine.ends(&Identity::Anonymous);
        assert_eq!(poll_fn(|cx| late.poll(cx)).await, End::Draining);
    }
}
