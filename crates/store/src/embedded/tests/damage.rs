//! Damaged records: one stream is refused, the others serve, and the check names what is wrong.

use bytes::Bytes;
use tempfile::TempDir;

use super::{append, fill, findings, length, open};
use crate::error::{AppendError, StoreError};
use crate::log::{LogStore, Position, SummaryFilter};

#[tokio::test]
async fn a_damaged_record_costs_one_stream() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    for stream in ["a", "b", "c"] {
        fill(&store, stream, 9).await;
    }
    assert_eq!(findings(&store), [""; 0]);
    store.shared.tables().unwrap().overwrite_record(2, 5, |value| value[42] ^= 1);

    let b = Bytes::from("b");
    let read = store.read(&b, None, 99).await;
    assert_eq!(
        read,
        Err(StoreError::Corrupt("stream \"b\": a stored value does not match its checksum".into()))
    );
    assert!(store.read(&b, Some(Position::from_engine(5)), 99).await.is_ok(), "behind the damage");
    assert_eq!((length(&store, "a").await, length(&store, "c").await), (9, 9));
    fill_more(&store, "a").await;
    assert_eq!(store.list(SummaryFilter::Live, None, 9).await.unwrap().len(), 3);
    assert_eq!(findings(&store), ["stream \"b\": a stored value does not match its checksum"]);
}

async fn fill_more(store: &super::EmbeddedStore, stream: &str) {
    store.append(append(stream, 10, "more")).await.unwrap();
}

#[tokio::test]
async fn whoever_alters_records_and_checksums_breaks_the_chain() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    for stream in ["a", "b", "c", "d"] {
        fill(&store, stream, 4).await;
    }
    let tables = store.shared.tables().unwrap();
    // A forger who knows the format: another record in the middle, with a checksum that fits.
    tables.overwrite_record(1, 2, |value| {
        let key = super::super::layout::record_key(1, 2);
        let (before, _) = super::super::layout::unseal_record(&key, value).unwrap();
        *value = super::super::layout::seal_record(&key, &before.clone(), b"forged");
    });
    // A record taken out of the middle, and one from the end.
    tables.overwrite_record(2, 2, Vec::clear);
    tables.overwrite_record(3, 4, Vec::clear);
    drop(tables);
    assert_eq!(length(&store, "a").await, 4, "each record by itself looks right");
    assert_eq!(
        findings(&store),
        [
            "stream \"a\": record 3 does not continue the one before it",
            "stream \"b\": record 2 is missing",
            "stream \"c\": record 4 is missing",
        ]
    );
    assert!(store.export(&Bytes::from("a"), None, 9).is_err());
    assert!(matches!(store.read(&Bytes::from("b"), None, 9).await, Err(StoreError::Corrupt(_))));
    assert!(store.export(&Bytes::from("d"), None, 9).is_ok());
}

#[tokio::test]
async fn a_damaged_or_missing_head() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    for stream in ["a", "b", "c"] {
        fill(&store, stream, 3).await;
    }
    drop(store);
    // A store that has forgotten the tails.
    let store = open(&dir);
    let tables = store.shared.tables().unwrap();
    tables.overwrite_live_head(b"a", |value| value[20] ^= 1);
    tables.overwrite_live_head(b"c", Vec::clear);
    drop(tables);
    let refused = store.append(append("a", 4, "x")).await;
    assert!(matches!(refused, Err(AppendError::NotApplied(_))), "{refused:?}");
    assert!(matches!(store.tail(&Bytes::from("a")).await, Err(StoreError::Corrupt(_))));
    let listed = store.list(SummaryFilter::Live, None, 9).await.unwrap();
    assert_eq!(listed.len(), 1, "start-up goes on without it");
    let findings = findings(&store);
    assert_eq!(findings.len(), 3, "{findings:?}");
    assert!(findings[0].starts_with("stream \"a\""), "{findings:?}");
    assert!(findings[1].contains("number 1") && findings[2].contains("number 3"), "{findings:?}");
}

#[tokio::test]
async fn a_damaged_side_record_is_found_by_name() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    fill(&store, "a", 2).await;
    for key in [b"p", b"q"] {
        store.put_side("policies", key, Some(Bytes::from("text"))).await.unwrap();
    }
    assert_eq!(findings(&store), [""; 0]);
    store.shared.tables().unwrap().overwrite_side(b"\0\x08policiesq", |value| value[9] ^= 1);
    assert_eq!(store.get_side("policies", b"p").await, Ok(Some(Bytes::from("text"))));
    assert!(store.get_side("policies", b"q").await.is_err());
    assert_eq!(
        findings(&store),
        ["side record \"q\" of \"policies\": a stored value does not match its checksum"]
    );
}

#[tokio::test]
async fn a_record_of_a_newer_release_is_named() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    fill(&store, "a", 2).await;
    store.shared.tables().unwrap().overwrite_record(1, 2, |value| value[0] = 2);
    let error = store.read(&Bytes::from("a"), None, 9).await.unwrap_err().to_string();
    assert!(error.contains("written by a newer release"), "{error}");
}

#[tokio::test]
async fn export_pages_with_links() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    fill(&store, "a", 10).await;
    let stream = Bytes::from("a");
    let all = store.export(&stream, None, usize::MAX).unwrap();
    assert_eq!(all.len(), 10);
    let page = store.export(&stream, Some(all[3].position), 4).unwrap();
    assert_eq!(page, all[4..8]);
    let verified = store.verify().next().unwrap().unwrap();
    assert_eq!((verified.records, verified.link), (10, all[9].link));
}

/// Damage as a disk makes it: in a file of sorted tables, behind everything that the journal could restore.
#[tokio::test]
async fn a_damaged_block_costs_the_streams_in_it() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    for stream in 0..20 {
        for at in 1..=4 {
            // Each record is larger than a block.
            let record = Bytes::from(vec![b'a' + stream; 6000]);
            store.append(append(&stream.to_string(), at, record)).await.unwrap();
        }
    }
    store.shared.tables().unwrap().flush_log();
    drop(store);
    let mut tables = Vec::new();
    for keyspace in std::fs::read_dir(dir.path().join("tables/keyspaces")).unwrap() {
        let folder = keyspace.unwrap().path().join("tables");
        tables.extend(std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()));
    }
    let log = tables.iter().max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    let mut bytes = std::fs::read(log).unwrap();
    // In the second record: at the edge of a block the neighbour's reads would meet it.
    let first = bytes.windows(100).position(|window| window == [b'a' + 7; 100]).unwrap();
    bytes[first + 8000] ^= 1;
    std::fs::write(log, bytes).unwrap();

    let store = open(&dir);
    for stream in 0..20 {
        let read = store.read(&Bytes::from(stream.to_string()), None, 99).await;
        match stream {
            7 => assert!(matches!(read, Err(StoreError::Corrupt(_))), "{read:?}"),
            _ => assert_eq!(read.map(|records| records.len()), Ok(4), "stream {stream}"),
        }
        let next = append(&stream.to_string(), 5, "more");
        store.append(next).await.unwrap();
    }
    assert_eq!(findings(&store).len(), 1);
}
