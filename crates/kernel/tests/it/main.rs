//! Tests of the kernel through its public API: transcripts, tables of rules, and properties of random traffic.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed step fails the test; helpers too")]

mod commitment;
mod decision;
mod envelope;
mod lifecycle;
mod precedence;
mod props;
mod replay;
mod transcripts;
