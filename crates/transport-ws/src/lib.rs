//! The WebSocket binding `macp.transport.websocket.v1`: one socket for sending, subscribing, watching and calling.
//!
//! This crate maps frames to calls of the engine and its answers to frames; it decides nothing about the protocol.
//! It knows neither the other transports nor a store. The contract is `docs/websocket.md`.
//!
//! One frame: `upgrade` (checks, then a socket) → `connection` (the loop) → `frame` (bytes to requests) →
//! `connection/requests` → `work` (engine calls in flight) → `outbox` → the socket. Envelopes and events come from
//! `streams`, when the socket can take them.

mod activity;
mod call;
mod close;
mod connection;
mod faults;
mod frame;
mod handshake;
mod options;
mod order;
mod origin;
mod outbox;
mod socket;
mod sockets;
mod source;
mod streams;
mod upgrade;
mod work;

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use macp_auth::Authenticator;
use macp_engine::Engine;
use macp_engine::counters::Transport;

pub use options::{Options, Timing};
pub use sockets::{KeptAlong, Sockets};

use upgrade::Shared;

/// Path of the endpoint, behind the prefix.
pub const PATH: &str = "/macp/v1/ws";

/// The endpoint, at its path and at its path behind the prefix. Has no fallback, so that it can be merged with other
/// routers. Its sockets are counted in `sockets`, which the routers of several listeners may share.
pub fn router(
    engine: Engine,
    authenticator: Arc<Authenticator>,
    options: Options,
    sockets: Sockets,
) -> Router {
    let engine = engine.via(Transport::WebSocket);
    let prefix = options.prefix.trim_end_matches('/').to_owned();
    let shared = Arc::new(Shared { engine, authenticator, options, sockets });
    let mut router = Router::new().route(PATH, get(upgrade::upgrade));
    if !prefix.is_empty() {
        router = router.route(&format!("{prefix}{PATH}"), get(upgrade::upgrade));
    }
    router.with_state(shared)
}
