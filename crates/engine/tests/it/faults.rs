//! A store that fails: conflicts, refused writes, unknown outcomes, damaged histories.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use macp_store::*;
use macp_wire::v1::GetDecisionReceiptRequest;
use parking_lot::Mutex;

use crate::support::*;

/// What the next append does instead of its work.
#[derive(Clone, Debug)]
enum Fault {
    /// Nothing is written, and the store says so.
    Refused,
    /// Nothing is written, and the store does not know.
    Lost,
    /// The record is written, and the store does not know.
    Hidden,
    /// Another writer is first with this record.
    Overtaken(Bytes, Summary),
    /// The append waits until it is let go.
    Slow(Arc<tokio::sync::Notify>),
}

#[derive(Default)]
struct FaultyStore {
    inner: MemoryStore,
    faults: Mutex<VecDeque<Fault>>,
    /// Side records cannot be written.
    no_side_records: AtomicBool,
}

impl FaultyStore {
    fn next_appends(&self, faults: impl IntoIterator<Item = Fault>) {
        self.faults.lock().extend(faults);
    }
}

#[async_trait]
impl LogStore for FaultyStore {
    async fn append(&self, append: Append) -> Result<Position, AppendError> {
        let fault = self.faults.lock().pop_front();
        match fault {
            None => self.inner.append(append).await,
            Some(Fault::Refused) => Err(AppendError::NotApplied("disk full".into())),
            Some(Fault::Lost) => Err(AppendError::Unknown("sync failed".into())),
            Some(Fault::Hidden) => {
                self.inner.append(append).await?;
                Err(AppendError::Unknown("sync failed".into()))
            }
            Some(Fault::Overtaken(record, summary)) => {
                let other = Append { record, summary, ..append.clone() };
                self.inner.append(other).await?;
                self.inner.append(append).await
            }
            Some(Fault::Slow(gate)) => {
                gate.notified().await;
                self.inner.append(append).await
            }
        }
    }

    async fn remove(&self, removal: Removal) -> Result<(), AppendError> {
        self.inner.remove(removal).await
    }

    async fn read(
        &self,
        stream: &Bytes,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Vec<Stored>, StoreError> {
        self.inner.read(stream, after, limit).await
    }

    async fn tail(&self, stream: &Bytes) -> Result<Option<Position>, StoreError> {
        self.inner.tail(stream).await
    }

    async fn summary(&self, stream: &Bytes) -> Result<Option<Summary>, StoreError> {
        self.inner.summary(stream).await
    }

    async fn list(
        &self,
        filter: SummaryFilter,
        after: Option<&Bytes>,
        limit: usize,
    ) -> Result<Vec<Summarized>, StoreError> {
        self.inner.list(filter, after, limit).await
    }

    async fn put_side(&self, space: &str, key: &[u8], value: Option<Bytes>) -> Result<(), StoreError> {
        if self.no_side_records.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable("disk full".into()));
        }
        self.inner.put_side(space, key, value).await
    }

    async fn list_side(&self, space: &str) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        self.inner.list_side(space).await
    }

    async fn get_side(&self, space: &str, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.inner.get_side(space, key).await
    }
}

async fn started() -> (Arc<FaultyStore>, macp_engine::Engine) {
    let store = Arc::new(FaultyStore::default());
    let clock = Arc::new(macp_engine::testing::ManualClock::at(EPOCH));
    let engine = reopen(Arc::clone(&store) as Arc<dyn LogStore>, &clock, |_| {}).await;
    accept(&engine, "agent://a", start(SESSION)).await;
    (store, engine)
}

#[tokio::test]
async fn a_refused_write_is_no_acceptance() {
    let (store, engine) = started().await;
    let mut subscription = engine.subscribe(&identity("agent://a"), SESSION, 1).await.unwrap();
    for fault in [Fault::Refused, Fault::Lost] {
        store.next_appends([fault]);
        assert_eq!(refuse(&engine, "agent://a", proposal(SESSION, "p")).await, "INTERNAL_ERROR");
        assert_eq!(metadata(&engine, SESSION).await.participant_activity[0].message_count, 1);
    }
    // The fault clears; the same id is accepted, once, and nothing else was delivered.
    accept(&engine, "agent://a", proposal(SESSION, "p")).await;
    assert_eq!(next_envelope(&mut subscription).await, (2, "proposal-p".into()));
}

#[tokio::test]
async fn an_unknown_outcome_that_was_written_is_an_acceptance() {
    let (store, engine) = started().await;
    let mut subscription = engine.subscribe(&identity("agent://a"), SESSION, 1).await.unwrap();
    store.next_appends([Fault::Hidden]);
    accept(&engine, "agent://a", proposal(SESSION, "p")).await;
    accept(&engine, "agent://a", proposal(SESSION, "q")).await;
    for expected in [(2, "proposal-p"), (3, "proposal-q")] {
        assert_eq!(next_envelope(&mut subscription).await, (expected.0, expected.1.into()));
    }
}

#[tokio::test]
async fn a_start_that_was_not_written_leaves_nothing() {
    let (store, engine) = started().await;
    let id = "second-0123456789abcdef0";
    store.next_appends([Fault::Refused]);
    assert_eq!(refuse(&engine, "agent://a", start(id)).await, "INTERNAL_ERROR");
    assert_eq!(refuse(&engine, "agent://a", proposal(id, "p")).await, "SESSION_NOT_FOUND");
    accept(&engine, "agent://a", start(id)).await;
}

#[tokio::test]
async fn another_writer_is_heard_and_the_command_decided_again() {
    // What the other writer appends: a proposal with the same id, made by an engine of its own.
    let (other_store, other) = started().await;
    accept(&other, "agent://b", proposal(SESSION, "p").clone()).await;
    let stream = Bytes::from_static(SESSION.as_bytes());
    let record = other_store.read(&stream, None, 9).await.unwrap()[1].record.clone();
    let summary = other_store.summary(&stream).await.unwrap().unwrap();

    let (store, engine) = started().await;
    let mut subscription = engine.subscribe(&identity("agent://a"), SESSION, 1).await.unwrap();
    store.next_appends([Fault::Overtaken(record, summary)]);
    let ack = engine.send_envelope(&identity("agent://a"), proposal(SESSION, "p")).await;
    assert!(ack.ok && ack.duplicate, "the other writer's message has the id: {ack:?}");
    assert_eq!(next_envelope(&mut subscription).await, (2, "proposal-p".into()));
    accept(&engine, "agent://a", proposal(SESSION, "q")).await;
    assert_eq!(next_envelope(&mut subscription).await, (3, "proposal-q".into()));
}

#[tokio::test]
async fn nothing_leaves_before_the_append_and_a_caller_that_leaves_interrupts_nothing() {
    use futures_util::FutureExt as _;
    let (store, engine) = started().await;
    let mut subscription = engine.subscribe(&identity("agent://a"), SESSION, 1).await.unwrap();
    let gate = Arc::new(tokio::sync::Notify::new());
    store.next_appends([Fault::Slow(Arc::clone(&gate))]);
    let a = identity("agent://a");
    let mut send = Box::pin(engine.send_envelope(&a, proposal(SESSION, "p")));
    assert!(send.as_mut().now_or_never().is_none(), "no Ack before the append");
    assert!(subscription.next().now_or_never().is_none(), "no delivery before the append");
    drop(send);
    gate.notify_one();
    assert_eq!(next_envelope(&mut subscription).await, (2, "proposal-p".into()));
}

#[tokio::test]
async fn waiting_commands_share_one_record() {
    let (store, engine) = started().await;
    let gate = Arc::new(tokio::sync::Notify::new());
    store.next_appends([Fault::Slow(Arc::clone(&gate))]);
    let send = |id: usize| {
        let engine = engine.clone();
        async move { accept(&engine, "agent://a", proposal(SESSION, &id.to_string())).await }
    };
    let sends = futures_util::future::join_all((0..50).map(send));
    let release = async { gate.notify_one() };
    futures_util::join!(sends, release);
    let records = store.read(&Bytes::from_static(SESSION.as_bytes()), None, 99).await.unwrap();
    assert_eq!(records.len(), 3, "the start, the first, and one for the 49 that waited");
}

#[tokio::test]
async fn a_damaged_history_takes_down_its_own_session_only() {
    let (store, engine) = started().await;
    let bad = "damaged-0123456789abcdef";
    let summary = Summary { live: true, bytes: Bytes::new() };
    let append = Append {
        stream: Bytes::from_static(bad.as_bytes()),
        expected: Expected::Empty,
        record: Bytes::from_static(b"\x01garbage"),
        summary,
    };
    store.append(append).await.unwrap();
    assert_eq!(refuse(&engine, "agent://a", proposal(bad, "p")).await, "INTERNAL_ERROR");
    accept(&engine, "agent://a", proposal(SESSION, "p")).await;
}

#[tokio::test]
async fn a_receipt_that_cannot_be_kept_is_not_issued() {
    let (store, engine) = started().await;
    accept(&engine, "agent://a", proposal(SESSION, "p")).await;
    accept(&engine, "agent://a", commitment(SESSION)).await;
    let a = identity("agent://a");
    let get = || engine.get_decision_receipt(&a, GetDecisionReceiptRequest { session_id: SESSION.into() });
    store.no_side_records.store(true, Ordering::SeqCst);
    assert_eq!(get().await.unwrap_err().code.name(), "INTERNAL_ERROR");
    assert_eq!(store.list_side("receipts").await, Ok(Vec::new()), "nothing is left of it");
    store.no_side_records.store(false, Ordering::SeqCst);
    assert_eq!(get().await.unwrap().receipt_json, get().await.unwrap().receipt_json);
}
