//! Engines and clocks for tests of this and other crates.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use macp_kernel::{Session, UnixMillis};
use macp_store::MemoryStore;

use crate::clock::{Clock, SystemClock};
use crate::{Engine, Limits, Options};

/// A clock that moves only when told to.
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock that stands at `ms`.
    #[must_use]
    pub fn at(ms: i64) -> Self {
        Self(AtomicI64::new(ms))
    }

    /// Moves the clock; negative values move it back.
    pub fn advance(&self, ms: i64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> UnixMillis {
        UnixMillis(self.0.load(Ordering::SeqCst))
    }
}

/// Limits that no test runs into by accident.
#[must_use]
pub fn generous_limits() -> Limits {
    Limits {
        session_starts_per_minute: 1_000_000,
        messages_per_minute: 1_000_000,
        payload_bytes_per_second: 1 << 40,
        ..Limits::default()
    }
}

/// An engine on a fresh memory store, with the machine's clock and generous rate limits.
///
/// # Panics
/// Never: a memory store opens.
pub async fn memory_engine() -> Engine {
    memory_engine_by(Arc::new(SystemClock)).await
}

/// The same, by this clock.
///
/// # Panics
/// Never: a memory store opens.
#[allow(clippy::expect_used, reason = "a memory store does not fail, and this is for tests")]
pub async fn memory_engine_by(clock: Arc<dyn Clock>) -> Engine {
    let options = Options { limits: generous_limits(), ..Options::default() };
    Engine::open(Arc::new(MemoryStore::new()), clock, options).await.expect("a memory store opens")
}

impl Engine {
    /// The state that this engine holds of a session, with everything that it has answered; `None` when the session
    /// is not in memory.
    pub async fn held(&self, session_id: &str) -> Option<Session> {
        let lane = self.inner.sessions.lane(session_id).await.ok()?;
        loop {
            // An answer leaves the lane just before the state comes to rest.
            match lane.at_rest() {
                Some(held) => return held,
                None => tokio::task::yield_now().await,
            }
        }
    }

    /// How many subscriptions of a session there are. None may outlive its client.
    pub async fn subscribers(&self, session_id: &str) -> usize {
        match self.inner.sessions.lane(session_id).await {
            Ok(lane) => lane.tail().subscribers(),
            Err(_) => 0,
        }
    }

    /// How many watches of signals there are.
    #[must_use]
    pub fn signal_watchers(&self) -> usize {
        self.inner.signals.watchers()
    }
}
