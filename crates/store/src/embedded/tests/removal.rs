//! Streams that are removed: at once for everybody, their records bit by bit, and nothing of them comes back.

use std::time::Duration;

use bytes::Bytes;
use tempfile::TempDir;

use super::super::EmbeddedStore;
use super::{append, fill, findings, length, open};
use crate::error::AppendError;
use crate::log::{LogStore, Position, Removal};

async fn remove(store: &EmbeddedStore, stream: &str, records: u64) {
    let stream = Bytes::from(stream.to_owned());
    let side = vec![("receipts".to_owned(), stream.clone())];
    store.remove(Removal { stream, expected: Position::from_engine(records), side }).await.unwrap();
}

/// Numbers of streams that have records, of those up to `last`.
fn numbers(store: &EmbeddedStore, last: u64) -> Vec<u64> {
    let tables = store.shared.tables().unwrap();
    (1..=last).filter(|number| tables.has_number(*number).unwrap()).collect()
}

async fn swept(store: &EmbeddedStore, number: u64) {
    for _ in 0..400 {
        if !store.shared.tables().unwrap().has_number(number).unwrap() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("records of a removed stream are still there");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_stream_stays_away_and_its_number_with_it() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    for stream in ["a", "b"] {
        fill(&store, stream, 3).await;
        store.put_side("receipts", stream.as_bytes(), Some(Bytes::from("receipt"))).await.unwrap();
    }
    remove(&store, "b", 3).await;
    swept(&store, 2).await;
    drop(store);
    let store = open(&dir);
    assert_eq!((length(&store, "a").await, length(&store, "b").await), (3, 0));
    assert_eq!(store.get_side("receipts", b"b").await, Ok(None));
    assert_eq!(store.list_side("receipts").await.unwrap().len(), 1);
    assert_eq!(findings(&store), [""; 0]);
    // It had the highest number, which is nobody's now.
    fill(&store, "b", 1).await;
    assert_eq!(numbers(&store, 9), [1, 3]);
    let late = store.append(append("b", 4, "x")).await;
    assert_eq!(late, Err(AppendError::Conflict { actual: Some(Position::from_engine(1)) }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_records_of_a_long_stream_go_bit_by_bit_and_over_restarts() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    // More than goes with the removal itself; the rest goes when the store has nothing else to do.
    const LONG: u64 = 300;
    fill(&store, "short", 2).await;
    fill(&store, "long", LONG).await;
    remove(&store, "long", LONG).await;
    assert_eq!(length(&store, "long").await, 0);
    assert_eq!(findings(&store), [""; 0], "what is left is known");
    drop(store);
    let store = open(&dir);
    assert_eq!(findings(&store), [""; 0]);
    swept(&store, 2).await;
    assert_eq!(findings(&store), [""; 0]);
    assert_eq!(length(&store, "short").await, 2);
    assert!(store.shared.tables().unwrap().gone().unwrap().is_empty());
}
