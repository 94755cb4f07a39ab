//! The end of a credential, for what outlives one request: connections and streams.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use macp_kernel::{Identity, Refusal, RefusalCode, UnixMillis};

use crate::Engine;
use crate::clock::Clock;

/// Longest time between two looks at the clock: a machine that slept, or whose clock was set, is noticed by then.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// Waits for the end of the credential that something was opened with.
pub struct Expiry(Option<Pin<Box<dyn Future<Output = ()> + Send + Sync>>>);

impl fmt::Debug for Expiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expiry").field(&self.0.is_some()).finish()
    }
}

impl Engine {
    /// The end of this identity's credential. Must be waited for within a tokio runtime.
    #[must_use]
    pub fn expiry(&self, identity: &Identity) -> Expiry {
        let clock = Arc::clone(&self.inner.clock);
        Expiry(identity.expires_at().map(|at| Box::pin(until(clock, at)) as _))
    }
}

impl Expiry {
    /// Waits until the credential is no longer good, which may be never; what to tell its holder. Dropping the future
    /// loses nothing.
    pub async fn reached(&mut self) -> Refusal {
        std::future::poll_fn(|cx| self.poll_reached(cx)).await
    }

    /// [`Expiry::reached`] for those that poll.
    pub fn poll_reached(&mut self, cx: &mut Context<'_>) -> Poll<Refusal> {
        let Some(end) = &mut self.0 else { return Poll::Pending };
        std::task::ready!(end.as_mut().poll(cx));
        // A future is not to be polled behind its end.
        self.0 = Some(Box::pin(std::future::ready(())));
        Poll::Ready(Refusal::new(
            RefusalCode::Unauthenticated,
            "the credential has expired; come back with a new one",
        ))
    }
}

async fn until(clock: Arc<dyn Clock>, at: UnixMillis) {
    loop {
        let left = at.since(clock.now());
        if left <= 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(left.unsigned_abs()).min(LOOK_AGAIN)).await;
    }
}
