//! The binding's settings as plain data.

use std::sync::Arc;
use std::time::Duration;

use macp_auth::{Origins, OwnHosts, Tickets};

/// Settings of the WebSocket binding on one listener.
#[derive(Clone, Debug)]
pub struct Options {
    /// Path of the public URL (`MACP_HTTP_PUBLIC_URL`), under which the endpoint is served as well as at the origin
    /// root, so that a proxy may strip it or not. Empty when there is none.
    pub prefix: String,
    /// Largest message that is read, in bytes: the body cap of the HTTP binding.
    pub max_frame_bytes: usize,
    /// Origins of other sites whose pages may connect (`MACP_HTTP_CORS_ORIGINS`); a page of the same origin always may.
    pub cors_origins: Origins,
    /// The origin of the public URL, whose pages are of the same origin although a proxy may change the host.
    pub public_origin: Option<String>,
    /// If the listener can be reached from this machine only: the names that `Host` must be one of, or else a page could
    /// reach it through a rebound DNS name.
    pub own_hosts: Option<OwnHosts>,
    /// Whether the listener speaks TLS: the scheme that a same-origin page must have.
    pub tls: bool,
    /// Sockets that may be open at one time; beyond it upgrades are refused.
    pub max_connections: usize,
    /// Subscriptions and watches of one connection (`MACP_WS_MAX_STREAMS`).
    pub max_streams: usize,
    /// Redeems `?ticket=`; to be shared with the binding that issues them.
    pub tickets: Arc<Tickets>,
    /// How long things may take.
    pub timing: Timing,
}

impl Options {
    /// The defaults for a listener in the clear that others can reach, with this message cap.
    #[must_use]
    pub fn new(max_frame_bytes: usize) -> Self {
        Self {
            prefix: String::new(),
            max_frame_bytes,
            cors_origins: Origins::default(),
            public_origin: None,
            own_hosts: None,
            tls: false,
            max_connections: 10_000,
            max_streams: 1_000,
            tickets: Arc::default(),
            timing: Timing::default(),
        }
    }
}

/// How long a socket may take over things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Interval of the server's pings; a peer that is silent for two of them is closed with 4408.
    pub heartbeat: Duration,
    /// Time for a connection without a credential to authenticate.
    pub authenticate: Duration,
    /// Time for a message that was begun to come to its end.
    pub message: Duration,
    /// Time without any progress while something waits to be written; then the connection is dropped.
    pub stall: Duration,
    /// Time for answers in flight when the server drains.
    pub drain: Duration,
    /// Time for the closing handshake, answers that are queued included.
    pub close: Duration,
    /// The same when the server drains: the process waits for it, so it is shorter.
    pub drained: Duration,
    /// When a drained client should come back, on average.
    pub reconnect_after: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(25),
            authenticate: Duration::from_secs(10),
            message: Duration::from_secs(20),
            stall: Duration::from_secs(30),
            drain: Duration::from_secs(10),
            close: Duration::from_secs(2),
            drained: Duration::from_secs(1),
            reconnect_after: Duration::from_secs(1),
        }
    }
}
