//! A store of format version 1, written once and kept here: every later release opens it, upgrading if it must.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use macp_store::{EmbeddedStore, Expected, LogStore, Options, Position, SummaryFilter};
use tempfile::TempDir;

use crate::embedded::append;

/// Written by the test below at the commit that introduced format 1; never to be written again.
const VERSION_1: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/store-v1");

#[tokio::test]
async fn a_store_of_version_1_opens() {
    let dir = TempDir::new().unwrap();
    copy(Path::new(VERSION_1), dir.path());
    let store = EmbeddedStore::open(dir.path(), Options::default()).unwrap();
    for (stream, count, live) in [("ended", 3, false), ("open", 2, true), ("other \u{1F980}", 1, true)] {
        let id = Bytes::from(stream.to_owned());
        let records = store.read(&id, None, 99).await.unwrap();
        let texts: Vec<_> = records.iter().map(|stored| String::from_utf8_lossy(&stored.record)).collect();
        assert_eq!(texts, (1..=count).map(|n| format!("{stream} {n}")).collect::<Vec<_>>());
        let summary = store.summary(&id).await.unwrap().unwrap();
        assert_eq!(
            (summary.live, summary.bytes),
            (live, Bytes::from(format!("summary of {stream} {count}")))
        );
    }
    assert_eq!(store.list(SummaryFilter::Live, None, 9).await.unwrap().len(), 2);
    let sides = store.list_side("policies").await.unwrap();
    assert_eq!(sides, [(Bytes::from("policy"), Bytes::from("text"))]);
    let links: Vec<_> = store.verify().map(|found| found.unwrap().link[0]).collect();
    assert_eq!(links, LINKS, "the chain is computed as it was then");
    let next = append("open", Expected::At(Position::from_engine(2)), "open 3", true);
    assert_eq!(store.append(next).await, Ok(Position::from_engine(3)));
}

/// First bytes of the links in the store of version 1.
const LINKS: [u8; 3] = [196, 150, 19];

#[tokio::test]
#[ignore = "writes the fixture of the current format into $FIXTURE_DIR; for a new format"]
async fn write_fixture() {
    let Some(dir) = std::env::var_os("FIXTURE_DIR") else { return };
    let store = EmbeddedStore::open(&dir, Options::default()).unwrap();
    for (stream, count, live) in [("ended", 3_u64, false), ("open", 2, true), ("other \u{1F980}", 1, true)] {
        for n in 1..=count {
            let expected = Expected::tail((n > 1).then(|| Position::from_engine(n - 1)));
            let live = live || n < count;
            store.append(append(stream, expected, &format!("{stream} {n}"), live)).await.unwrap();
        }
    }
    store.put_side("policies", b"policy", Some(Bytes::from("text"))).await.unwrap();
    drop(store);
    // Opening once more cuts the journal to its content.
    drop(EmbeddedStore::open(&dir, Options::default()).unwrap());
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
