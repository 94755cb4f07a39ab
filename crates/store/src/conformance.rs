//! The behaviour suite of the contract. Every engine runs it: `conformance::run_all(|| async { engine })`.
//!
//! Each case gets a fresh store. A failing case panics with what it expected. Durability across restarts and
//! damaged files are the business of the engines that promise something there, in suites of their own.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;

use crate::error::AppendError;
use crate::log::{Append, Expected, LogStore, Position, Removal, Summary, SummaryFilter};

/// Runs every case, each on a store of its own.
///
/// # Panics
/// When the engine breaks the contract.
pub async fn run_all<S, F, Fut>(fresh: F)
where
    S: LogStore,
    F: Fn() -> Fut,
    Fut: Future<Output = S>,
{
    empty_stream(fresh().await).await;
    append_then_read(fresh().await).await;
    conflicts_write_nothing(fresh().await).await;
    streams_are_apart(fresh().await).await;
    one_writer_wins(Arc::new(fresh().await)).await;
    reads_page(fresh().await).await;
    summaries_follow_appends(fresh().await).await;
    summaries_page_in_order(fresh().await).await;
    large_record(fresh().await).await;
    any_bytes_are_an_id(fresh().await).await;
    side_records(fresh().await).await;
    removal(fresh().await).await;
}

fn id(name: &str) -> Bytes {
    Bytes::copy_from_slice(name.as_bytes())
}

fn append(stream: &str, expected: Expected, record: &str) -> Append {
    append_live(stream, expected, record, true)
}

fn append_live(stream: &str, expected: Expected, record: &str, live: bool) -> Append {
    let summary = Summary { live, bytes: Bytes::from(format!("summary of {record}")) };
    Append { stream: id(stream), expected, record: Bytes::from(record.to_owned()), summary }
}

async fn write(store: &impl LogStore, stream: &str, expected: Expected, record: &str) -> Position {
    match store.append(append(stream, expected, record)).await {
        Ok(position) => position,
        Err(error) => panic!("append of {record:?} to {stream:?} with {expected:?}: {error}"),
    }
}

async fn records(store: &impl LogStore, stream: &str) -> Vec<(Position, Bytes)> {
    match store.read(&id(stream), None, usize::MAX).await {
        Ok(stored) => stored.into_iter().map(|s| (s.position, s.record)).collect(),
        Err(error) => panic!("read of {stream:?}: {error}"),
    }
}

async fn empty_stream(store: impl LogStore) {
    assert_eq!(store.tail(&id("s")).await, Ok(None));
    assert_eq!(store.summary(&id("s")).await, Ok(None));
    assert_eq!(records(&store, "s").await, []);
    assert_eq!(store.list(SummaryFilter::All, None, 10).await, Ok(vec![]));
}

async fn append_then_read(store: impl LogStore) {
    let first = write(&store, "s", Expected::Empty, "a").await;
    let second = write(&store, "s", Expected::At(first), "b").await;
    assert!(first < second, "positions grow");
    assert_eq!(store.tail(&id("s")).await, Ok(Some(second)));
    assert_eq!(records(&store, "s").await, [(first, id("a")), (second, id("b"))]);
}

async fn conflicts_write_nothing(store: impl LogStore) {
    let conflict = |actual| Err(AppendError::Conflict { actual });
    let nowhere = Position::from_engine(77);
    assert_eq!(store.append(append("s", Expected::At(nowhere), "x")).await, conflict(None));
    assert_eq!(store.tail(&id("s")).await, Ok(None));
    let first = write(&store, "s", Expected::Empty, "a").await;
    let second = write(&store, "s", Expected::At(first), "b").await;
    for stale in [Expected::Empty, Expected::At(first), Expected::At(Position::from_engine(u64::MAX))] {
        assert_eq!(store.append(append("s", stale, "x")).await, conflict(Some(second)), "{stale:?}");
    }
    assert_eq!(records(&store, "s").await, [(first, id("a")), (second, id("b"))]);
    let summary = store.summary(&id("s")).await;
    assert_eq!(summary, Ok(Some(Summary { live: true, bytes: id("summary of b") })));
}

async fn streams_are_apart(store: impl LogStore) {
    // One id is a prefix of the other, and they interleave.
    let a1 = write(&store, "a", Expected::Empty, "a1").await;
    let b1 = write(&store, "ab", Expected::Empty, "b1").await;
    let a2 = write(&store, "a", Expected::At(a1), "a2").await;
    let b2 = write(&store, "ab", Expected::At(b1), "b2").await;
    assert_eq!(records(&store, "a").await, [(a1, id("a1")), (a2, id("a2"))]);
    assert_eq!(records(&store, "ab").await, [(b1, id("b1")), (b2, id("b2"))]);
}

async fn one_writer_wins(store: Arc<impl LogStore>) {
    let mut tail = None;
    for round in 0..20 {
        let writers: Vec<_> = (0..8)
            .map(|writer| {
                let store = Arc::clone(&store);
                let append = append("s", Expected::tail(tail), &format!("{round}-{writer}"));
                tokio::spawn(async move { store.append(append).await })
            })
            .collect();
        let mut won = Vec::new();
        for writer in writers {
            match writer.await {
                Ok(Ok(position)) => won.push(position),
                Ok(Err(AppendError::Conflict { .. })) => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(won.len(), 1, "exactly one of eight writers with one expected position wins");
        tail = won.pop();
    }
    assert_eq!(records(&*store, "s").await.len(), 20);
}

async fn reads_page(store: impl LogStore) {
    let mut tail = None;
    let mut all = Vec::new();
    for n in 0..25 {
        let position = write(&store, "s", Expected::tail(tail), &n.to_string()).await;
        tail = Some(position);
        all.push((position, Bytes::from(n.to_string())));
    }
    let mut paged = Vec::new();
    let mut after = None;
    loop {
        let page = store.read(&id("s"), after, 10).await.unwrap_or_else(|error| panic!("{error}"));
        let short = page.len() < 10;
        after = page.last().map(|stored| stored.position).or(after);
        paged.extend(page.into_iter().map(|stored| (stored.position, stored.record)));
        if short {
            break;
        }
    }
    assert_eq!(paged, all);
    assert_eq!(store.read(&id("s"), tail, 10).await, Ok(vec![]), "nothing after the tail");
}

async fn summaries_follow_appends(store: impl LogStore) {
    let first = write(&store, "s", Expected::Empty, "a").await;
    let ended = append_live("s", Expected::At(first), "b", false);
    assert!(store.append(ended).await.is_ok());
    let summary = Summary { live: false, bytes: id("summary of b") };
    assert_eq!(store.summary(&id("s")).await, Ok(Some(summary)));
    assert_eq!(store.list(SummaryFilter::Live, None, 10).await, Ok(vec![]));
    assert_eq!(store.list(SummaryFilter::All, None, 10).await.map(|all| all.len()), Ok(1));
}

async fn summaries_page_in_order(store: impl LogStore) {
    for name in ["d", "a", "c", "e", "b"] {
        let live = name != "c";
        assert!(store.append(append_live(name, Expected::Empty, name, live)).await.is_ok());
    }
    let list = async |filter, after: Option<&str>, limit| {
        let after = after.map(id);
        match store.list(filter, after.as_ref(), limit).await {
            Ok(page) => page.into_iter().map(|s| s.stream).collect::<Vec<_>>(),
            Err(error) => panic!("{error}"),
        }
    };
    let ids = |names: &[&str]| names.iter().map(|name| id(name)).collect::<Vec<_>>();
    assert_eq!(list(SummaryFilter::All, None, 2).await, ids(&["a", "b"]));
    assert_eq!(list(SummaryFilter::All, Some("b"), 2).await, ids(&["c", "d"]));
    assert_eq!(
        list(SummaryFilter::All, Some("bb"), 9).await,
        ids(&["c", "d", "e"]),
        "a cursor need not exist"
    );
    assert_eq!(list(SummaryFilter::Live, None, 9).await, ids(&["a", "b", "d", "e"]));
    assert_eq!(list(SummaryFilter::All, Some("e"), 9).await, ids(&[]));
}

async fn large_record(store: impl LogStore) {
    let record = Bytes::from(vec![7_u8; 3 << 20]);
    let summary = Summary { live: true, bytes: Bytes::new() };
    let append = Append { stream: id("s"), expected: Expected::Empty, record: record.clone(), summary };
    assert!(store.append(append).await.is_ok());
    assert_eq!(records(&store, "s").await[0].1, record);
}

async fn any_bytes_are_an_id(store: impl LogStore) {
    for raw in [&b"../../etc/passwd"[..], b"\0", b"\xff\xfe", b"a/b", b"."] {
        let summary = Summary { live: true, bytes: Bytes::new() };
        let stream = Bytes::copy_from_slice(raw);
        let append =
            Append { stream: stream.clone(), expected: Expected::Empty, record: stream.clone(), summary };
        assert!(store.append(append).await.is_ok(), "{raw:?}");
        let back = store.read(&stream, None, 9).await;
        assert_eq!(back.map(|stored| stored[0].record.clone()), Ok(stream));
    }
    assert_eq!(store.list(SummaryFilter::All, None, 99).await.map(|all| all.len()), Ok(5));
}

async fn removal(store: impl LogStore) {
    let remove = |stream, expected| Removal {
        stream: id(stream),
        expected,
        side: vec![("receipts".to_owned(), id(stream))],
    };
    let nowhere = Position::from_engine(9);
    assert_eq!(store.remove(remove("s", nowhere)).await, Err(AppendError::Conflict { actual: None }));
    let other = write(&store, "other", Expected::Empty, "x").await;
    let mut tail = None;
    for name in ["a", "b", "c"] {
        tail = Some(write(&store, "s", Expected::tail(tail), name).await);
    }
    let Some(tail) = tail else { panic!("three records were appended") };
    for stream in ["s", "other"] {
        assert_eq!(store.put_side("receipts", stream.as_bytes(), Some(id("receipt"))).await, Ok(()));
    }
    let stale = Position::from_engine(tail.to_engine() - 1);
    assert_eq!(store.remove(remove("s", stale)).await, Err(AppendError::Conflict { actual: Some(tail) }));
    assert_eq!(records(&store, "s").await.len(), 3);
    assert_eq!(store.remove(remove("s", tail)).await, Ok(()));
    empty_stream_beside(&store, "s").await;
    assert_eq!(store.get_side("receipts", b"s").await, Ok(None));
    assert_eq!(store.get_side("receipts", b"other").await, Ok(Some(id("receipt"))));
    assert_eq!(records(&store, "other").await, [(other, id("x"))]);
    // The id may be used again, and begins anew.
    assert_eq!(store.remove(remove("s", tail)).await, Err(AppendError::Conflict { actual: None }));
    let again = write(&store, "s", Expected::Empty, "again").await;
    assert_eq!(records(&store, "s").await, [(again, id("again"))]);
    assert_eq!(store.list(SummaryFilter::Ended, None, 9).await, Ok(vec![]));
    assert!(store.append(append_live("s", Expected::At(again), "end", false)).await.is_ok());
    let ended = store.list(SummaryFilter::Ended, None, 9).await;
    assert_eq!(ended.map(|ended| ended.into_iter().map(|s| s.stream).collect::<Vec<_>>()), Ok(vec![id("s")]));
}

async fn empty_stream_beside(store: &impl LogStore, stream: &str) {
    assert_eq!(store.tail(&id(stream)).await, Ok(None));
    assert_eq!(store.summary(&id(stream)).await, Ok(None));
    assert_eq!(records(store, stream).await, []);
}

async fn side_records(store: impl LogStore) {
    assert_eq!(store.get_side("policies", b"p").await, Ok(None));
    for (key, value) in [("p", "1"), ("a", "2"), ("p", "3")] {
        assert_eq!(store.put_side("policies", key.as_bytes(), Some(id(value))).await, Ok(()));
    }
    assert_eq!(store.put_side("modes", b"p", Some(id("other"))).await, Ok(()));
    assert_eq!(store.get_side("policies", b"p").await, Ok(Some(id("3"))));
    assert_eq!(store.list_side("policies").await, Ok(vec![(id("a"), id("2")), (id("p"), id("3"))]));
    assert_eq!(store.put_side("policies", b"a", None).await, Ok(()));
    assert_eq!(store.put_side("policies", b"never there", None).await, Ok(()));
    assert_eq!(store.list_side("policies").await, Ok(vec![(id("p"), id("3"))]));
}
