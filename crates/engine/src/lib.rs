//! The asynchronous, transport-free shell around the MACP kernel: one typed method for each protocol call.
//!
//! [`Engine`] is the only door to sessions. Authorization, limits and admission live behind it, so no transport can
//! bypass a rule; transports map bytes to its calls and its answers to bytes. It never sees HTTP, gRPC or
//! WebSocket, nor a concrete store.
//!
//! One accepted envelope: `calls` → `admission` → `sessions` (find the lane) → `lane` (decide, append, apply,
//! publish, reply) → `fanout` (subscribers on every transport).
//!
//! | to find | open |
//! |---|---|
//! | what each call does | `calls.rs`, `handshake.rs`, `listing.rs` |
//! | when an Ack is given | `lane.rs` |
//! | how subscribers resume without gaps | `fanout.rs` |
//! | what may be refused before the kernel | `admission.rs` |
//! | when sessions leave memory, and the store | `deadlines.rs`, `retention.rs` |
//! | what the operator lists in files | `provided.rs`, `reload.rs` |
//! | when a credential ends while something is open | `expiry.rs` |
//! | what ends a stream from outside, and what that costs it | `ends.rs` |
//! | receipts and their keys | `receipts.rs`, `receipt_keys.rs` |
//! | replay under another policy | `what_if.rs` |
//! | what is counted, what is told to the audit log | `counters.rs`, `observe.rs` |

pub mod ack;
mod admission;
mod append_id;
mod calls;
mod clock;
pub mod counters;
mod deadlines;
mod delivery;
mod ends;
mod expiry;
mod fanout;
mod filter;
mod handshake;
mod history;
mod lane;
mod listing;
mod method;
pub mod observe;
mod options;
mod provided;
mod receipt_keys;
mod receipts;
mod recovery;
mod registration;
mod registry;
mod reload;
mod retention;
mod sessions;
mod signals;
#[cfg(feature = "testing")]
pub mod testing;
mod visibility;
mod watch;
mod what_if;

use std::sync::Arc;
use std::time::Duration;

use macp_kernel::UnixMillis;
use macp_limits::Places;
use macp_store::{LogStore, StoreError};
use tokio_util::sync::CancellationToken;

pub use clock::{Clock, SystemClock};
pub use delivery::{Delivery, Form};
pub use ends::{End, Ends, Rarely};
pub use expiry::Expiry;
pub use fanout::{Event, Head, Subscription};
pub use filter::SessionFilter;
pub use history::{EnvelopePage, SessionView};
pub use method::{Method, MethodKind};
pub use options::{Limits, Options, ReceiptOptions, Visibility};
pub use provided::{Agents, MAX_ROOTS, ManifestError, Roots, RootsError};
pub use receipt_keys::{ReceiptKeyError, ReceiptKeys, ReceiptSigner};
pub use receipts::SPACE as RECEIPTS;
pub use signals::{Signal, SignalWatch};
pub use watch::{ModeRegistryWatch, PolicyWatch, RootsWatch, SessionWatch};

use admission::Admission;
use counters::{Counters, Transport};
use expiry::Standing;
use provided::Provided;
use receipts::Issuing;
use registry::Registry;
use sessions::Sessions;
use signals::Signals;

/// Time between two looks at the store's health.
const HEALTH_LOOK: Duration = Duration::from_millis(250);

/// The gateway's core: a cheap handle to the sessions of one store.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
    /// By which way the calls of this handle come in.
    transport: Transport,
}

struct Inner {
    options: Options,
    clock: Arc<dyn Clock>,
    admission: Admission,
    registry: Arc<Registry>,
    provided: Provided,
    standing: Standing,
    sessions: Arc<Sessions>,
    signals: Signals,
    receipts: Issuing,
    /// The subscriptions and watches that each sender has open.
    streams: Arc<Places>,
    counters: Arc<Counters>,
    draining: CancellationToken,
}

impl Engine {
    /// Opens the engine on a store: reads the summaries of the sessions that are not over, so that their deadlines
    /// are kept, and none of their histories. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The store's, when the summaries cannot be read.
    pub async fn open(
        store: Arc<dyn LogStore>,
        clock: Arc<dyn Clock>,
        options: Options,
    ) -> Result<Self, StoreError> {
        let registry = Arc::new(Registry::open(Arc::clone(&store), &options.policies).await?);
        let counters = Arc::new(Counters::default());
        counters.learn(registry.catalog().modes());
        let sessions = Sessions::open(
            store,
            Arc::clone(&clock),
            Arc::clone(&registry),
            &options.limits,
            Arc::clone(&counters),
        )
        .await?;
        deadlines::spawn(&sessions);
        if let Some(kept) = options.retention {
            retention::spawn(&sessions, kept);
        }
        let inner = Inner {
            admission: Admission::new(&options.limits),
            registry,
            provided: Provided::new(options.roots.clone(), options.agents.clone()),
            standing: Standing::default(),
            sessions,
            signals: Signals::default(),
            receipts: Issuing::default(),
            streams: Arc::default(),
            counters,
            draining: CancellationToken::new(),
            options,
            clock,
        };
        Ok(Self { inner: Arc::new(inner), transport: Transport::Direct })
    }

    /// The same engine, for calls that come in by this way. It makes a difference to what is counted and logged alone.
    #[must_use]
    pub fn via(&self, transport: Transport) -> Self {
        Self { inner: Arc::clone(&self.inner), transport }
    }

    /// What was counted since the engine was opened, by all of its handles.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.inner.counters
    }

    pub(crate) fn registry(&self) -> &Registry {
        &self.inner.registry
    }

    /// The settings the engine runs with.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.inner.options
    }

    /// The engine's clock.
    #[must_use]
    pub fn now(&self) -> UnixMillis {
        self.inner.clock.now()
    }

    /// Sessions that are in memory now; the others are in the store alone.
    #[must_use]
    pub fn sessions_in_memory(&self) -> usize {
        self.inner.sessions.in_memory()
    }

    /// Whether new work may be expected to succeed: the store takes appends, and the server does not drain.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        !self.inner.draining.is_cancelled() && self.inner.sessions.store().is_healthy()
    }

    /// Waits until [`Engine::is_ready`] is no longer `known`. A store's health changes without telling anyone, so this
    /// looks a few times a second; the begin of a drain is noticed at once.
    pub async fn readiness_changed(&self, known: bool) {
        while self.is_ready() == known {
            tokio::select! {
                () = tokio::time::sleep(HEALTH_LOOK) => {}
                () = self.inner.draining.cancelled() => return,
            }
        }
    }

    /// Cancelled when the server begins to drain: streams end, new work is refused.
    #[must_use]
    pub fn draining(&self) -> &CancellationToken {
        &self.inner.draining
    }

    /// Begins to drain. What was accepted stays accepted; commands in flight are answered.
    pub fn drain(&self) {
        self.inner.draining.cancel();
    }
}
