//! The engine's settings, as plain data with the reference's defaults.

use std::time::Duration;

use macp_kernel::policy::Policy;
use macp_wire::v1::TransportEndpoint;

use crate::provided::{Agents, Roots};
use crate::receipt_keys::ReceiptKeys;

/// Limits on what callers may ask.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Largest payload of an envelope in bytes (`MACP_MAX_PAYLOAD_BYTES`).
    pub max_payload_bytes: usize,
    /// `SessionStart`s that one sender may submit in 60 s (`MACP_SESSION_START_LIMIT_PER_MINUTE`).
    pub session_starts_per_minute: u32,
    /// Other messages that one sender may submit in 60 s (`MACP_MESSAGE_LIMIT_PER_MINUTE`).
    pub messages_per_minute: u32,
    /// Payload bytes that one sender may submit in a second, on average (`MACP_BYTES_PER_SECOND_PER_SENDER`).
    pub payload_bytes_per_second: u64,
    /// Open sessions that one sender may have started, whatever its credential allows beyond
    /// (`MACP_MAX_OPEN_SESSIONS_PER_SENDER`).
    pub open_sessions_per_sender: u64,
    /// Subscriptions and watches that one sender may have open (`MACP_MAX_STREAMS_PER_SENDER`).
    pub streams_per_sender: u64,
    /// Sessions on a page when the caller names no size (`MACP_LIST_SESSIONS_DEFAULT_PAGE_SIZE`).
    pub list_default_page_size: usize,
    /// Most sessions on a page (`MACP_LIST_SESSIONS_MAX_PAGE_SIZE`).
    pub list_max_page_size: usize,
    /// Commands that may wait for one session; further callers wait for room.
    pub session_mailbox: usize,
    /// Sessions in memory above which those that rest for a second already leave it (`MACP_SESSIONS_IN_MEMORY`).
    pub sessions_in_memory: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_payload_bytes: macp_kernel::envelope::DEFAULT_MAX_PAYLOAD_BYTES,
            session_starts_per_minute: 60,
            messages_per_minute: 600,
            payload_bytes_per_second: 64 << 20,
            open_sessions_per_sender: 100_000,
            streams_per_sender: 50_000,
            list_default_page_size: 100,
            list_max_page_size: 1000,
            session_mailbox: 1024,
            sessions_in_memory: 100_000,
        }
    }
}

/// Who issues decision receipts, and under which keys (RFC-MACP-0013 §13).
#[derive(Clone, Debug)]
pub struct ReceiptOptions {
    /// The deployment's name in receipts (`MACP_RUNTIME_ID`); those who sign must name their own.
    pub runtime_id: String,
    /// The active key and the published ones.
    pub keys: ReceiptKeys,
}

impl Default for ReceiptOptions {
    fn default() -> Self {
        Self { runtime_id: "macp-gateway".to_owned(), keys: ReceiptKeys::default() }
    }
}

/// The engine's settings.
#[derive(Clone, Debug)]
pub struct Options {
    /// Limits on what callers may ask.
    pub limits: Limits,
    /// The server's own agent id in its manifest.
    pub agent_id: String,
    /// The server's version in `Initialize`.
    pub version: String,
    /// Where the server can be reached; published in its manifest.
    pub transport_endpoints: Vec<TransportEndpoint>,
    /// Roots that `ListRoots` answers at first (`MACP_ROOTS_FILE`); see [`Engine::replace_roots`](crate::Engine::replace_roots).
    pub roots: Roots,
    /// Manifests that `GetManifest` answers at first, beside the server's own (`MACP_AGENT_MANIFESTS_DIR`).
    pub agents: Agents,
    /// Decision receipts.
    pub receipts: ReceiptOptions,
    /// Policies that are registered from the start (`MACP_POLICIES_DIR`); see
    /// [`Engine::replace_policies`](crate::Engine::replace_policies).
    pub policies: Vec<Policy>,
    /// Whether the policy registry refuses changes by calls.
    pub policies_read_only: bool,
    /// How long a session that is over stays in the store, counted from its end; for ever if there is none
    /// (`MACP_SESSION_DISK_RETENTION_SECS`).
    pub retention: Option<Duration>,
    /// Whose sessions `ListSessions` and `WatchSessions` show (`MACP_SESSION_VISIBILITY`).
    pub visibility: Visibility,
}

/// Which sessions an identity is shown by `ListSessions` and `WatchSessions`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Visibility {
    /// Those that it started, takes part in or may observe.
    #[default]
    Own,
    /// All of them, as the reference server does.
    All,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            agent_id: "macp-gateway".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            transport_endpoints: Vec::new(),
            roots: Roots::default(),
            agents: Agents::default(),
            receipts: ReceiptOptions::default(),
            policies: Vec::new(),
            policies_read_only: false,
            retention: None,
            visibility: Visibility::Own,
        }
    }
}
