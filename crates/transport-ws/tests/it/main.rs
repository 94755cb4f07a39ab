//! The binding over real sockets: a server on a free port and an independent WebSocket client.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed step fails the test; helpers too")]

mod client;
mod contract;
mod drain;
mod handshake;
mod hostile;
mod logs;
mod session;
mod wire;
