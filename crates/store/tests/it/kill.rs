//! A child process writes and says what was acknowledged; killed at any moment, it has told the truth.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use macp_store::{EmbeddedStore, Expected, LogStore, Options};
use tempfile::TempDir;

use crate::embedded::{append, open};

const DIR: &str = "MACP_STORE_KILL_TEST_DIR";
const ROUNDS: u64 = 8;
const STREAMS: u64 = 12;

/// The child; a test only in name, so that the test binary can start itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the child process of the kill test"]
async fn child() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let store = std::sync::Arc::new(EmbeddedStore::open(dir, Options::default()).unwrap());
    for writer in 0..STREAMS {
        let store = std::sync::Arc::clone(&store);
        tokio::spawn(async move {
            let stream = format!("s{writer}");
            let mut tail = store.tail(&Bytes::from(stream.clone())).await.unwrap();
            for n in tail.map_or(1, |tail| tail.to_engine() + 1).. {
                let record = format!("{writer} {n} {}", "x".repeat((n % 50) as usize * 100));
                let position =
                    store.append(append(&stream, Expected::tail(tail), &record, n % 5 > 0)).await.unwrap();
                tail = Some(position);
                // One write, so that the parent never reads half a line as a whole one.
                let line = format!("{writer} {}\n", position.to_engine());
                if std::io::stdout().write_all(line.as_bytes()).is_err() {
                    return;
                }
            }
        });
    }
    tokio::time::sleep(Duration::from_secs(30)).await;
}

#[tokio::test]
async fn every_acknowledged_record_survives_a_kill() {
    let dir = TempDir::new().unwrap();
    let mut acknowledged: HashMap<u64, u64> = HashMap::new();
    let mut found: HashMap<u64, u64> = HashMap::new();
    let mut random = 0x2545_F491_4F6C_DD1D_u64 ^ u64::from(std::process::id());
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "kill::child", "--ignored", "--nocapture", "--quiet"])
            .env(DIR, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = child.stdout.take().unwrap();
        let reader = std::thread::spawn(move || {
            let mut acks = Vec::new();
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                let mut words = line.split(' ').map(str::parse::<u64>);
                if let (Some(Ok(writer)), Some(Ok(position)), None) =
                    (words.next(), words.next(), words.next())
                {
                    acks.push((writer, position));
                }
            }
            acks
        });
        random = random.wrapping_mul(0xD134_2543_DE82_EF95).wrapping_add(1);
        std::thread::sleep(Duration::from_millis(150 + (random >> 40) % 350));
        child.kill().unwrap();
        child.wait().unwrap();
        for (writer, position) in reader.join().unwrap() {
            let last = acknowledged.entry(writer).or_default();
            assert!(position > *last, "round {round}: acknowledged in order, once");
            *last = position;
        }
        let store = open(&dir);
        for writer in 0..STREAMS {
            let stream = Bytes::from(format!("s{writer}"));
            let stored = store.read(&stream, None, usize::MAX).await.unwrap();
            for (at, stored) in stored.iter().enumerate() {
                let expected = format!("{writer} {} ", at + 1);
                assert!(stored.record.starts_with(expected.as_bytes()), "round {round}: {stored:?}");
                assert_eq!(stored.position.to_engine(), at as u64 + 1);
            }
            let last = acknowledged.get(&writer).copied().unwrap_or_default();
            assert!(stored.len() as u64 >= last, "round {round}: {} of {last} acknowledged", stored.len());
            // Each writer had at most one append under way, beyond what it was told or had found.
            let known = last.max(found.get(&writer).copied().unwrap_or_default());
            assert!(stored.len() as u64 <= known + 1, "round {round}: {} after {known}", stored.len());
            found.insert(writer, stored.len() as u64);
        }
        let findings: Vec<_> = store.verify().filter_map(Result::err).collect();
        assert_eq!(findings, [], "round {round}");
    }
    assert!(acknowledged.values().sum::<u64>() > STREAMS, "the child did write: {acknowledged:?}");
}
