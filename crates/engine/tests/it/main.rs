//! The engine with a memory store: what callers are promised, whatever the transport.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod expiry;
mod faults;
mod lifecycle;
mod limits;
mod receipts;
mod registering;
mod reload;
mod retention;
mod sending;
mod subscribing;
mod support;
mod watching;
mod what_if;
