//! Appends to the embedded store by the size of their batch. The writer is a thread of its own and may split a batch, so
//! these counts vary more than the others.

use bytes::Bytes;
use futures_util::future::join_all;
use macp_store::{Append, EmbeddedStore, Expected, LogStore, Options, Summary};
use tempfile::TempDir;
use tokio::runtime::Builder;

use crate::Step;

/// Usual sizes in bytes.
const RECORD: usize = 300;
const SUMMARY: usize = 120;

pub(crate) fn steps() -> Vec<Step> {
    [1, 8, 64].map(append).into()
}

/// One record for each of so many streams, all at once, each the first of its stream.
fn append(batch: usize) -> Step {
    Step::new(format!("store/append-{batch}"), move || {
        let directory = TempDir::new().unwrap();
        let store = EmbeddedStore::open(directory.path(), Options::default()).unwrap();
        let runtime = Builder::new_current_thread().build().unwrap();
        move |number| {
            let appends = (0..batch).map(|one| {
                store.append(Append {
                    stream: Bytes::from(format!("{:036}", number * batch + one)),
                    expected: Expected::Empty,
                    record: Bytes::from(vec![7; RECORD]),
                    summary: Summary { live: true, bytes: Bytes::from(vec![5; SUMMARY]) },
                })
            });
            for appended in runtime.block_on(join_all(appends)) {
                appended.unwrap();
            }
            let _ = directory.path();
        }
    })
}
