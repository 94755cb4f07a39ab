//! The gateway as its users have it: the real binary, real sockets, and a client for each transport.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed step fails the test; helpers too")]
#![allow(clippy::print_stderr, reason = "a failed test shows the gateway's log")]

mod durable;
mod event_streams;
mod exposure;
mod extended_connect;
mod fakes;
mod grpc_web;
mod healthy;
mod hostile;
mod jwt;
mod keepalive;
mod log_commands;
mod metrics;
mod origins;
mod parity;
mod process;
mod recovery;
mod refusals;
mod reload;
mod samples;
mod secrets;
mod shutdown;
mod startup;
mod tls;
mod wait;
