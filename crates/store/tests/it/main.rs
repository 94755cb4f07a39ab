//! Every engine against the behaviour suite of the contract.

use macp_store::{MemoryStore, conformance};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_engine_keeps_the_contract() {
    conformance::run_all(|| async { MemoryStore::new() }).await;
}
