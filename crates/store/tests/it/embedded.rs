//! The durable engine from outside: the contract, reopening, the lock, group commit.

use std::sync::Arc;

use bytes::Bytes;
use macp_store::{
    Append, AppendError, EmbeddedStore, Expected, LogStore, OpenError, Options, Position, Summary,
    SummaryFilter, conformance,
};
use tempfile::TempDir;

pub(crate) fn open(dir: &TempDir) -> EmbeddedStore {
    EmbeddedStore::open(dir.path(), Options::default()).unwrap()
}

pub(crate) fn append(stream: &str, expected: Expected, record: &str, live: bool) -> Append {
    let summary = Summary { live, bytes: Bytes::from(format!("summary of {record}")) };
    let stream = Bytes::from(stream.to_owned());
    Append { stream, expected, record: Bytes::from(record.to_owned()), summary }
}

/// Everything that the contract shows of a store.
async fn contents(store: &EmbeddedStore) -> String {
    let mut text = String::new();
    for summarized in store.list(SummaryFilter::All, None, usize::MAX).await.unwrap() {
        let records = store.read(&summarized.stream, None, usize::MAX).await.unwrap();
        text.push_str(&format!("{summarized:?} {records:?}\n"));
    }
    let live = store.list(SummaryFilter::Live, None, usize::MAX).await.unwrap();
    text + &format!("{live:?} {:?}", store.list_side("policies").await.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded_engine_keeps_the_contract() {
    let parent = TempDir::new().unwrap();
    let next = std::sync::atomic::AtomicUsize::new(0);
    conformance::run_all(|| async {
        let number = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        EmbeddedStore::open(parent.path().join(number.to_string()), Options::default()).unwrap()
    })
    .await;
}

#[tokio::test]
async fn reopening_keeps_everything() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    for n in 0..30_u64 {
        let stream = format!("s{}", n % 7);
        let expected = Expected::tail((n >= 7).then(|| Position::from_engine(n / 7)));
        store.append(append(&stream, expected, &n.to_string(), n < 25)).await.unwrap();
    }
    store.put_side("policies", b"p", Some(Bytes::from("v"))).await.unwrap();
    // One stream that ended and goes on.
    store.append(append("again", Expected::Empty, "a", false)).await.unwrap();
    let first = Position::from_engine(1);
    store.append(append("again", Expected::At(first), "b", true)).await.unwrap();
    let before = contents(&store).await;
    assert_eq!(store.list(SummaryFilter::Live, None, 99).await.unwrap().len(), 3);
    drop(store);
    for _ in 0..3 {
        let store = open(&dir);
        assert_eq!(contents(&store).await, before);
        // Positions go on where they were.
        let conflict = store.append(append("again", Expected::Empty, "c", true)).await;
        assert_eq!(conflict, Err(AppendError::Conflict { actual: Some(Position::from_engine(2)) }));
    }
}

#[tokio::test]
async fn a_second_opener_is_refused_by_name() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    let error = EmbeddedStore::open(dir.path(), Options::default()).unwrap_err();
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    let message = error.to_string();
    assert!(message.contains(&dir.path().display().to_string()), "{message}");
    assert!(message.contains(&format!("pid {}", std::process::id())), "{message}");
    drop(store);
    drop(open(&dir));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_writers_share_syncs() {
    let dir = TempDir::new().unwrap();
    let store = Arc::new(open(&dir));
    let writers: Vec<_> = (0..64)
        .map(|writer| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let mut tail = None;
                for n in 0..25 {
                    let record = format!("{writer}-{n}");
                    let next = append(&format!("s{writer}"), Expected::tail(tail), &record, n < 24);
                    tail = Some(store.append(next).await.unwrap());
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let stats = store.stats();
    assert_eq!(stats.appends, 64 * 25);
    // Two at a time would be 800; one at a time 1600. Sixty-four wait while the disk syncs, so there are far fewer.
    assert!(stats.commits <= 800, "{stats:?}");
    assert_eq!(store.list(SummaryFilter::Live, None, 999).await.unwrap(), []);
    assert_eq!(store.verify().filter(Result::is_ok).count(), 64);
    assert_eq!(store.verify().filter(Result::is_err).count(), 0);
}

#[tokio::test]
async fn ids_that_no_key_can_hold_are_refused() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    let long = "x".repeat(70_000);
    let refused = store.append(append(&long, Expected::Empty, "a", true)).await;
    assert!(matches!(refused, Err(AppendError::NotApplied(_))), "{refused:?}");
    assert_eq!(store.tail(&Bytes::from(long.clone())).await, Ok(None));
    assert!(store.put_side(&long, b"k", Some(Bytes::new())).await.is_err());
    assert_eq!(store.get_side(&long, b"k").await, Ok(None));
    // The empty id is one like any other.
    store.append(append("", Expected::Empty, "a", true)).await.unwrap();
    assert_eq!(store.read(&Bytes::new(), None, 9).await.unwrap().len(), 1);
}
