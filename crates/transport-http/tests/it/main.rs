//! The HTTP binding over a real engine: tables driven through the router, streams over real connections.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed step fails the test; helpers too")]

mod body_cap;
mod compression;
mod cors;
mod discovery;
mod document;
mod event_source;
mod hostile;
mod precedence;
mod refusals;
mod resources;
mod rfc_paths;
mod rpc;
mod stream_ends;
mod streams;
mod support;
mod tickets;
