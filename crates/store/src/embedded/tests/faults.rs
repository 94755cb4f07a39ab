//! Commits that fail before or after they reach the disk: nothing acknowledged is lost, nothing refused comes back.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tempfile::TempDir;

use super::super::{EmbeddedStore, Faults, Options};
use super::{append, fill, findings, length, open};
use crate::error::{AppendError, StoreError};
use crate::log::{LogStore, Position};

/// Each counts down the calls that still fail.
#[derive(Debug, Default)]
struct Plan {
    before: AtomicU32,
    after: AtomicU32,
    reopen: AtomicU32,
}

fn spend(left: &AtomicU32, error: io::ErrorKind) -> io::Result<()> {
    let spent = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
    if spent.is_ok() { Err(error.into()) } else { Ok(()) }
}

impl Faults for Plan {
    fn before_commit(&self) -> io::Result<()> {
        spend(&self.before, io::ErrorKind::StorageFull)
    }

    fn after_commit(&self) -> io::Result<()> {
        spend(&self.after, io::ErrorKind::Other)
    }

    fn before_reopen(&self) -> io::Result<()> {
        spend(&self.reopen, io::ErrorKind::Other)
    }
}

fn open_with(dir: &TempDir) -> (EmbeddedStore, Arc<Plan>) {
    let plan = Arc::new(Plan::default());
    let options = Options { faults: Some(Arc::<Plan>::clone(&plan)), ..Options::default() };
    (EmbeddedStore::open(dir.path(), options).unwrap(), plan)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_failed_is_certainly_not_there() {
    for after_the_disk in [false, true] {
        let dir = TempDir::new().unwrap();
        let (store, plan) = open_with(&dir);
        fill(&store, "s", 5).await;
        (if after_the_disk { &plan.after } else { &plan.before }).store(1, Ordering::SeqCst);
        let failed = store.append(append("s", 6, "never")).await;
        assert!(matches!(failed, Err(AppendError::NotApplied(_))), "{failed:?}");
        assert_eq!(length(&store, "s").await, 5);
        assert_eq!(store.tail(&Bytes::from("s")).await, Ok(Some(Position::from_engine(5))));
        store.append(append("s", 6, "another")).await.unwrap();
        assert!(store.is_healthy());
        drop(store);
        let store = open(&dir);
        let stored = store.read(&Bytes::from("s"), Some(Position::from_engine(5)), 9).await.unwrap();
        assert_eq!(stored.len(), 1);
        assert_eq!(stored[0].record, "another");
        assert_eq!(findings(&store), [""; 0]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_outcome_is_called_unknown_until_the_tables_open() {
    let dir = TempDir::new().unwrap();
    let (store, plan) = open_with(&dir);
    fill(&store, "s", 5).await;
    plan.after.store(1, Ordering::SeqCst);
    plan.reopen.store(u32::MAX, Ordering::SeqCst);
    let failed = store.append(append("s", 6, "never")).await;
    assert!(matches!(failed, Err(AppendError::Unknown(_))), "{failed:?}");
    assert!(!store.is_healthy(), "reads are refused");
    assert!(matches!(store.tail(&Bytes::from("s")).await, Err(StoreError::Unavailable(_))));
    let refused = store.append(append("s", 6, "refused")).await;
    assert!(matches!(refused, Err(AppendError::NotApplied(_))), "{refused:?}");
    let refused = store.put_side("policies", b"p", Some(Bytes::new())).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    // The fault passes; nobody has to ask.
    plan.reopen.store(0, Ordering::SeqCst);
    healthy(&store).await;
    assert_eq!(length(&store, "s").await, 5);
    store.append(append("s", 6, "at last")).await.unwrap();
    assert_eq!(findings(&store), [""; 0]);
}

#[tokio::test]
async fn repeated_failures_make_it_unhealthy_until_it_works_again() {
    let dir = TempDir::new().unwrap();
    let (store, plan) = open_with(&dir);
    plan.before.store(4, Ordering::SeqCst);
    for _ in 0..3 {
        assert!(store.is_healthy());
        let full = store.append(append("s", 1, "x")).await.unwrap_err();
        assert!(matches!(&full, AppendError::NotApplied(why) if why.contains("no storage space")), "{full}");
    }
    assert!(!store.is_healthy());
    healthy(&store).await;
    assert_eq!(store.stats().failures, 4);
    fill(&store, "s", 3).await;
}

async fn healthy(store: &EmbeddedStore) {
    for _ in 0..200 {
        if store.is_healthy() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("it stays unhealthy: {:?}", store.stats());
}

/// A script of 40 commits, run once for every place where one can fail, before and after the disk.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_at_every_commit_of_a_script() {
    for at in 0..12_usize {
        let dir = TempDir::new().unwrap();
        let (store, plan) = open_with(&dir);
        let mut acknowledged = [0_u64; 3];
        for step in 0..36_usize {
            if step == at * 3 {
                plan.before.store((at % 2) as u32, Ordering::SeqCst);
                plan.after.store(1 - (at % 2) as u32, Ordering::SeqCst);
                plan.reopen.store((at % 3) as u32, Ordering::SeqCst);
            }
            let stream = step % 3;
            let name = stream.to_string();
            let next = acknowledged[stream] + 1;
            match store.append(append(&name, next, format!("{stream} {next}"))).await {
                Ok(position) => acknowledged[stream] = position.to_engine(),
                Err(AppendError::NotApplied(_)) => {}
                Err(AppendError::Unknown(_)) => {
                    healthy(&store).await;
                    let tail = store.tail(&Bytes::from(name)).await.unwrap();
                    acknowledged[stream] = tail.map_or(0, Position::to_engine);
                }
                Err(error) => panic!("step {step}, fault {at}: {error}"),
            }
        }
        healthy(&store).await;
        assert!(store.stats().failures > 0, "fault {at}");
        drop(store);
        let store = open(&dir);
        for (stream, &count) in acknowledged.iter().enumerate() {
            assert_eq!(length(&store, &stream.to_string()).await as u64, count, "fault {at}");
        }
        assert_eq!(findings(&store), [""; 0], "fault {at}");
    }
}
