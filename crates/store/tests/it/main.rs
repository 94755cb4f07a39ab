//! Every engine against the behaviour suite of the contract; the durable one against crashes and other processes.

#![allow(clippy::unwrap_used, reason = "a failed helper is a failed test")]

mod embedded;
mod fixture;
mod kill;

use macp_store::{MemoryStore, conformance};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_engine_keeps_the_contract() {
    conformance::run_all(|| async { MemoryStore::new() }).await;
}
