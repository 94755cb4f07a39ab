//! The end of a credential, for what outlives one request: connections and streams. It ends by its time, or because the
//! operator took it away.

use std::collections::BTreeSet;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use macp_kernel::{CredentialId, Identity, Refusal, RefusalCode, UnixMillis};

use tokio::sync::watch;

use crate::Engine;
use crate::clock::Clock;

/// Longest time between two looks at the clock: a machine that slept, or whose clock was set, is noticed by then.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// The static credentials that are good; `None`, for all, until the first time that they change.
#[derive(Default)]
pub(crate) struct Standing(watch::Sender<Good>);

type Good = Option<Arc<BTreeSet<CredentialId>>>;

impl Standing {
    /// Takes away every other credential.
    pub(crate) fn replace(&self, good: impl IntoIterator<Item = CredentialId>) {
        self.0.send_replace(Some(Arc::new(good.into_iter().collect())));
    }
}

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
        let Identity::Known(caller) = identity else { return Expiry(None) };
        let time = caller.expires_at.map(|at| until(Arc::clone(&self.inner.clock), at));
        let standing = || self.inner.standing.0.subscribe();
        let withdrawal = caller.credential.map(|credential| taken_away(standing(), credential));
        Expiry(match (time, withdrawal) {
            (None, None) => None,
            (Some(time), None) => Some(Box::pin(time)),
            (None, Some(withdrawal)) => Some(Box::pin(withdrawal)),
            // A client certificate beside a token.
            (Some(time), Some(withdrawal)) => Some(Box::pin(async {
                tokio::select! {
                    () = time => {}
                    () = withdrawal => {}
                }
            })),
        })
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
            "the credential has expired or was withdrawn; come back with a new one",
        ))
    }
}

async fn taken_away(mut standing: watch::Receiver<Good>, credential: CredentialId) {
    let ended = |good: &Good| good.as_ref().is_some_and(|good| !good.contains(&credential));
    if standing.wait_for(ended).await.is_err() {
        // The engine is gone, and with it whoever could take a credential away.
        std::future::pending::<()>().await;
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
