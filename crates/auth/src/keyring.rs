//! The key set in use: given once, or replaced by whoever fetches it, and how long it is good.
//!
//! Nothing here fetches. A fetcher waits for [`Keyring::wanted`] and its own timer, and says [`Keyring::begin`] and
//! [`Keyring::end`] around each attempt. So there is one attempt at a time, however many callers wait for it.

use std::sync::Arc;
use std::time::Duration;

use macp_kernel::UnixMillis;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use crate::jwks::KeySet;

/// How much longer than its lifetime a key set is used while it cannot be fetched again.
const STALE_MS: i64 = 3_600_000;
/// Least time between two attempts that callers with unknown keys can cause: their tokens may be made up.
const COOLDOWN_MS: i64 = 10_000;
/// How long a caller waits for an attempt; a little longer than an attempt may take.
const PATIENCE: Duration = Duration::from_secs(6);

/// A key set that is shared by those who use it and whoever replaces it.
#[derive(Debug)]
pub struct Keyring {
    state: watch::Sender<State>,
    wanted: Notify,
    /// How long a fetched set is good; `None` when there is nowhere to fetch one from.
    lifetime_ms: Option<i64>,
}

#[derive(Clone, Debug, Default)]
struct State {
    keys: Option<Arc<KeySet>>,
    /// From when on the keys are too old; `None`: never.
    too_old_at: Option<UnixMillis>,
    fetching: bool,
    last_attempt: Option<UnixMillis>,
}

impl State {
    fn usable(&self, now: UnixMillis) -> Option<Arc<KeySet>> {
        self.keys.clone().filter(|_| self.too_old_at.is_none_or(|end| now < end))
    }
}

impl Keyring {
    /// Keys that never change.
    #[must_use]
    pub fn fixed(keys: KeySet) -> Self {
        let state = State { keys: Some(Arc::new(keys)), ..State::default() };
        Self { state: watch::Sender::new(state), wanted: Notify::new(), lifetime_ms: None }
    }

    /// No keys yet: they are fetched, and good for this long (`MACP_AUTH_JWKS_TTL_SECS`), or up to an hour longer while
    /// they cannot be fetched again.
    #[must_use]
    pub fn fetched(lifetime: Duration) -> Self {
        let lifetime_ms = Some(i64::try_from(lifetime.as_millis()).unwrap_or(i64::MAX));
        Self { state: watch::Sender::new(State::default()), wanted: Notify::new(), lifetime_ms }
    }

    /// The keys, unless there are none or they are too old.
    #[must_use]
    pub fn usable(&self, now: UnixMillis) -> Option<Arc<KeySet>> {
        self.state.borrow().usable(now)
    }

    /// Newer keys than the ones in use, for a token that they do not verify: what an attempt to fetch them comes to.
    /// `None` without an attempt when the last one was a moment ago, or there is nowhere to fetch from.
    pub(crate) async fn newer(&self, now: UnixMillis) -> Option<Arc<KeySet>> {
        self.lifetime_ms?;
        let mut changes = self.state.subscribe();
        {
            let state = changes.borrow_and_update();
            let rested = state.last_attempt.is_none_or(|last| now.since(last).abs() >= COOLDOWN_MS);
            if !(state.fetching || rested) {
                return None;
            }
            if !state.fetching {
                self.wanted.notify_one();
            }
        }
        let attempt = async {
            // The attempt that runs, or that begins now: its end is the next change after which none runs.
            while changes.changed().await.is_ok() {
                if !changes.borrow_and_update().fetching {
                    break;
                }
            }
        };
        timeout(PATIENCE, attempt).await.ok()?;
        self.usable(now)
    }

    /// Waits until a caller has a token that the keys in use do not verify, and an attempt is due.
    pub async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// Notes the beginning of an attempt to fetch keys.
    pub fn begin(&self, now: UnixMillis) {
        self.state.send_modify(|state| {
            state.fetching = true;
            state.last_attempt = Some(now);
        });
    }

    /// Notes the end of an attempt. Without keys, those in use stay until they are too old.
    pub fn end(&self, keys: Option<KeySet>, now: UnixMillis) {
        let lifetime = self.lifetime_ms.unwrap_or(i64::MAX);
        self.state.send_modify(|state| {
            state.fetching = false;
            if let Some(keys) = keys {
                state.keys = Some(Arc::new(keys));
                state.too_old_at = Some(now.plus(lifetime).plus(STALE_MS));
            }
        });
    }
}
