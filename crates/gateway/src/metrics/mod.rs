//! `/metrics`: what all crates have counted, as Prometheus reads it.
//!
//! Nothing is counted here and nothing is pushed: a scrape reads the counters. No label has a value that a caller can
//! choose, but for the names of registered modes and their message types, which are bounded where they are counted
//! (`macp_engine::counters`). Sessions, senders and addresses are in no metric, so that `/metrics` may be public.

mod families;
mod text;

use std::sync::Arc;

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use macp_counters::{Counter, Gauge, Held};
use macp_engine::Engine;
use macp_store::embedded::EmbeddedStore;
use macp_transport_ws::Sockets;
use prometheus::process_collector::ProcessCollector;
use tokio::sync::Mutex;

use crate::audit::Audit;

/// The path of the scrape.
pub(crate) const PATH: &str = "/metrics";

/// Connections that were accepted, by the HTTP version that they speak.
#[derive(Clone, Debug, Default)]
pub(crate) struct Connections(Arc<ByVersion>);

#[derive(Debug, Default)]
struct ByVersion {
    one: Tally,
    two: Tally,
    refused: Counter,
}

/// How many there are, and were.
#[derive(Debug, Default)]
struct Tally {
    open: Gauge,
    all: Counter,
}

impl Tally {
    fn count(&self) -> Held {
        self.all.inc();
        self.open.hold()
    }
}

impl Connections {
    /// Counts an HTTP/1.1 connection until the guard is dropped.
    pub(crate) fn http1(&self) -> Held {
        self.0.one.count()
    }

    /// Counts a connection that a limit does not let in, or a request of a client behind a proxy that would be one.
    pub(crate) fn refused(&self) {
        self.0.refused.inc();
    }

    /// Counts an HTTP/2 connection until the guard is dropped.
    pub(crate) fn http2(&self) -> Held {
        self.0.two.count()
    }
}

/// Where everything that is published is read.
#[derive(Clone)]
pub(crate) struct Metrics {
    sources: Arc<Sources>,
    /// Held while a scrape is rendered: many at a time are no more work than one after the other.
    one_at_a_time: Arc<Mutex<()>>,
}

struct Sources {
    engine: Engine,
    /// `None` for a store in memory, which has nothing to wait for.
    store: Option<Arc<EmbeddedStore>>,
    sockets: Sockets,
    connections: Connections,
    audit: Option<Arc<Audit>>,
    process: ProcessCollector,
    runtime: tokio::runtime::Handle,
}

impl Metrics {
    /// Must be called within the runtime whose tasks are counted.
    pub(crate) fn new(
        engine: &Engine,
        store: Option<Arc<EmbeddedStore>>,
        sockets: &Sockets,
        connections: &Connections,
        audit: Option<Arc<Audit>>,
    ) -> Self {
        let sources = Sources {
            engine: engine.clone(),
            store,
            sockets: sockets.clone(),
            connections: connections.clone(),
            audit,
            process: ProcessCollector::for_self(),
            runtime: tokio::runtime::Handle::current(),
        };
        Self { sources: Arc::new(sources), one_at_a_time: Arc::default() }
    }

    /// The route of the scrape.
    pub(crate) fn router(&self) -> Router {
        let metrics = self.clone();
        Router::new().route(PATH, get(move || async move { metrics.answer().await }))
    }

    async fn answer(&self) -> Response {
        let _one = self.one_at_a_time.lock().await;
        let sources = Arc::clone(&self.sources);
        // Counting the open files of a process that has many takes a while.
        let text = tokio::task::spawn_blocking(move || families::render(&sources)).await;
        match text.map_err(|error| error.to_string()).and_then(|rendered| rendered) {
            Ok(text) => {
                ([(CONTENT_TYPE, prometheus::TEXT_FORMAT), (CACHE_CONTROL, "no-store")], text).into_response()
            }
            Err(why) => {
                tracing::error!(why, "metrics cannot be rendered");
                http::StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
        }
    }
}
