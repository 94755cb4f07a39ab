//! The engine's promises that need a look inside: damage, faults, verification.

#![allow(clippy::unwrap_used, reason = "a failed helper is a failed test")]

mod damage;
mod faults;
mod journal;
mod removal;

use bytes::Bytes;
use tempfile::TempDir;

use super::{EmbeddedStore, Options};
use crate::log::{Append, Expected, LogStore, Position, Summary};

pub(in crate::embedded) fn open(dir: &TempDir) -> EmbeddedStore {
    EmbeddedStore::open(dir.path(), Options::default()).unwrap()
}

pub(in crate::embedded) fn append(stream: &str, at: u64, record: impl Into<Bytes>) -> Append {
    let summary = Summary { live: true, bytes: Bytes::from(format!("summary {at}")) };
    let expected = Expected::tail((at > 1).then(|| Position::from_engine(at - 1)));
    Append { stream: Bytes::from(stream.to_owned()), expected, record: record.into(), summary }
}

/// Appends records `1..=count`, each its own commit.
async fn fill(store: &EmbeddedStore, stream: &str, count: u64) {
    for at in 1..=count {
        store.append(append(stream, at, format!("{stream} {at}"))).await.unwrap();
    }
}

pub(in crate::embedded) async fn length(store: &EmbeddedStore, stream: &str) -> usize {
    store.read(&Bytes::from(stream.to_owned()), None, usize::MAX).await.unwrap().len()
}

pub(in crate::embedded) fn findings(store: &EmbeddedStore) -> Vec<String> {
    store.verify().filter_map(Result::err).map(|finding| finding.to_string()).collect()
}

#[tokio::test]
async fn what_is_not_in_a_table_yet_is_in_memory() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    let before = store.memory();
    let record = vec![7; 100_000];
    for at in 1..=10 {
        store.append(append("s", at, record.clone())).await.unwrap();
    }
    let held = store.memory().unflushed - before.unflushed;
    assert!((1_000_000..1_100_000).contains(&held), "{held}");
    assert!(store.memory().cache <= Options::default().cache_bytes);
}
