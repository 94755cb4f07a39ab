//! The ambient plane: Signals and Progress go to whoever watches now, and are forgotten.

use std::sync::Arc;

use macp_kernel::envelope::{Sealed, check_ambient_payload};
use macp_kernel::{Acceptance, Caller, Refusal, RefusalCode, UnixMillis};
use macp_wire::v1::{Envelope, SessionState};
use tokio::sync::broadcast;

use crate::counters::Counters;
use crate::delivery::Delivery;
use crate::watch::Stay;

/// Signals that a watcher may be behind before it is told that it lagged.
const BUFFER: usize = 1024;

/// An ambient envelope as watchers get it.
#[derive(Clone, Debug)]
pub struct Signal {
    /// The envelope, with the authenticated sender.
    pub delivery: Arc<Delivery>,
    /// Whether a verified credential names the sender; watchers must not act on others (RFC-MACP-0004 §4.1).
    pub sender_authenticated: bool,
}

#[derive(Debug)]
pub(crate) struct Signals(broadcast::Sender<Signal>);

impl Default for Signals {
    fn default() -> Self {
        Self(broadcast::Sender::new(BUFFER))
    }
}

impl Signals {
    /// Checks an admitted ambient envelope and hands it to the watchers.
    pub(crate) fn publish(
        &self,
        caller: &Caller,
        mut envelope: Envelope,
        now: UnixMillis,
    ) -> Result<Acceptance, Refusal> {
        check_ambient_payload(&envelope)?;
        if self.0.receiver_count() > 0 {
            if envelope.timestamp_unix_ms == 0 {
                envelope.timestamp_unix_ms = now.0;
            }
            let delivery = Arc::new(Delivery::new(0, Arc::new(Sealed::new(envelope))));
            // The last watcher may leave in between; then nobody is told, as if it had left before.
            drop(self.0.send(Signal { delivery, sender_authenticated: caller.verified }));
        }
        Ok(Acceptance { duplicate: false, accepted_at: now, state: SessionState::Unspecified })
    }

    #[cfg(feature = "testing")]
    pub(crate) fn watchers(&self) -> usize {
        self.0.receiver_count()
    }

    pub(crate) fn watch(&self, counters: &Arc<Counters>, stay: Stay) -> SignalWatch {
        SignalWatch { signals: self.0.subscribe(), counters: Arc::clone(counters), _stay: stay }
    }
}

/// A watch on ambient envelopes from now on.
pub struct SignalWatch {
    signals: broadcast::Receiver<Signal>,
    counters: Arc<Counters>,
    _stay: Stay,
}

impl SignalWatch {
    /// The next ambient envelope. Dropping the future loses nothing.
    ///
    /// # Errors
    /// `STREAM_LAGGED` when the watcher was too slow; the watch is then over.
    pub async fn next(&mut self) -> Result<Signal, Refusal> {
        receive(&mut self.signals, "WatchSignals", &self.counters).await
    }
}

/// Takes the next event of a bounded, ephemeral watch.
pub(crate) async fn receive<T: Clone>(
    receiver: &mut broadcast::Receiver<T>,
    watch: &str,
    counters: &Counters,
) -> Result<T, Refusal> {
    match receiver.recv().await {
        Ok(event) => Ok(event),
        Err(broadcast::error::RecvError::Lagged(missed)) => {
            counters.lagged.inc();
            Err(Refusal::new(
                RefusalCode::StreamLagged,
                format!(
                    "this {watch} stream was too slow and missed {missed} events; watch again and reconcile"
                ),
            ))
        }
        // The sender lives in the engine, which the watcher's transport holds.
        Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
    }
}
