//! Tests of the kernel through its public API: transcripts, tables of rules, and properties of random traffic.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed step fails the test; helpers too")]

mod commitment;
mod commitment_hash;
mod decision;
mod envelope;
mod handoff;
mod lifecycle;
mod multi_round;
mod passthrough;
mod precedence;
mod proposal;
mod props;
mod quorum;
mod receipt;
mod replay;
mod task;
mod transcripts;
mod what_if;
