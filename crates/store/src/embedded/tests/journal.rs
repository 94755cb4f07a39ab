//! The journal after a crash: torn ends are repaired, damage in the middle is refused and left alone.

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use super::super::{EmbeddedStore, OpenError, Options};
use super::{fill, findings, length, open};

fn journal(dir: &TempDir) -> PathBuf {
    let files = fs::read_dir(dir.path().join("tables")).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "jnl")).max().unwrap()
}

/// The journal without the zeros at its end.
fn content(dir: &TempDir) -> Vec<u8> {
    let mut bytes = fs::read(journal(dir)).unwrap();
    bytes.truncate(bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1));
    bytes
}

/// Where each batch ends.
fn ends(bytes: &[u8]) -> Vec<usize> {
    super::super::journal::batch_ends(bytes)
}

async fn filled(records: u64) -> (TempDir, Vec<u8>) {
    let dir = TempDir::new().unwrap();
    fill(&open(&dir), "s", records).await;
    let bytes = content(&dir);
    (dir, bytes)
}

#[tokio::test]
async fn our_reading_of_the_journal_is_the_engines() {
    let (_dir, bytes) = filled(20).await;
    let ends = ends(&bytes);
    assert_eq!(ends.len(), 20, "one batch for each commit");
    assert_eq!(ends.last(), Some(&bytes.len()));
}

#[tokio::test]
async fn a_torn_last_commit_is_removed_wherever_it_is_torn() {
    let (dir, bytes) = filled(6).await;
    let ends = ends(&bytes);
    let (last, end) = (ends[4], ends[5]);
    let mut torn: Vec<(String, Vec<u8>)> =
        (last..end).step_by(7).map(|at| (format!("cut at {at}"), bytes[..at].to_vec())).collect();
    for at in (last..end).step_by(13) {
        // Pages reach the disk in any order: the end is there, something before it is not.
        let mut holed = bytes.clone();
        holed[at..end.min(at + 9)].fill(0);
        torn.push((format!("hole at {at}"), holed));
        let mut garbled = bytes.clone();
        garbled[at] ^= 0x55;
        torn.push((format!("garbled at {at}"), garbled));
    }
    for (what, bytes) in torn {
        fs::write(journal(&dir), &bytes).unwrap();
        let store =
            EmbeddedStore::open(dir.path(), Options::default()).unwrap_or_else(|e| panic!("{what}: {e}"));
        let kept = length(&store, "s").await;
        assert!(kept == 5 || (kept == 6 && what.starts_with("hole")), "{what}: {kept} records");
        assert_eq!(findings(&store), [""; 0], "{what}");
        drop(store);
    }
}

#[tokio::test]
async fn garbage_behind_the_last_commit_is_removed() {
    let (dir, bytes) = filled(6).await;
    for garbage in [&b"\x01"[..], b"\x01\x05\0\0\0garbage", b"\xff\xff\xff", b"\x02\x00\x00"] {
        fs::write(journal(&dir), [&bytes, garbage].concat()).unwrap();
        let store = open(&dir);
        assert_eq!(length(&store, "s").await, 6);
        fill(&store, &format!("{garbage:?}"), 2).await;
        drop(store);
        assert_eq!(findings(&open(&dir)), [""; 0]);
    }
    assert!(
        fs::read_dir(dir.path().join("tables"))
            .unwrap()
            .any(|entry| { entry.unwrap().file_name().to_string_lossy().ends_with(".torn") })
    );
}

#[tokio::test]
async fn damage_before_acknowledged_commits_is_refused_and_left_alone() {
    let (dir, bytes) = filled(6).await;
    let ends = ends(&bytes);
    for at in (0..ends[4]).step_by(37) {
        let mut garbled = bytes.clone();
        garbled[at] ^= 0x55;
        fs::write(journal(&dir), &garbled).unwrap();
        let error = EmbeddedStore::open(dir.path(), Options::default()).unwrap_err();
        assert!(matches!(error, OpenError::Damaged { .. }), "byte {at}: {error}");
        assert_eq!(fs::read(journal(&dir)).unwrap(), garbled, "nothing was touched");
    }
    fs::write(journal(&dir), &bytes).unwrap();
    assert_eq!(length(&open(&dir), "s").await, 6);
}

#[tokio::test]
async fn a_crash_while_the_store_was_created() {
    let dir = TempDir::new().unwrap();
    drop(open(&dir));
    let tables = dir.path().join("tables");
    fs::remove_dir_all(tables.join("keyspaces")).unwrap();
    fs::remove_file(tables.join("version")).unwrap();
    fill(&open(&dir), "s", 3).await;
    // With something stored it is no unfinished store any more.
    fs::remove_file(tables.join("version")).unwrap();
    assert!(matches!(EmbeddedStore::open(dir.path(), Options::default()), Err(OpenError::Failed { .. })));
}
