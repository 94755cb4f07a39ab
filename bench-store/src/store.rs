//! The finished store: acknowledged appends by concurrent writers, start-up with many sessions, and a full disk.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use macp_store::{
    Append, EmbeddedStore, Expected, LogStore, MemoryStore, Options, Position, Summary, SummaryFilter,
};

use crate::bare::Written;
use crate::engines::{Engine, Put};
use crate::{RECORD, SUMMARY, bytes, id, rss_mb, size, written};

/// Records of one session before its writer begins another.
const LIFE: u64 = 20;

fn append(no: u64, sequence: u64, last: u64, live: bool) -> Append {
    let expected = Expected::tail((sequence > 1).then(|| Position::from_engine(last)));
    let summary = Summary { live, bytes: Bytes::from(bytes(no * 31 + sequence, SUMMARY)) };
    Append {
        stream: Bytes::from(id(no)),
        expected,
        record: Bytes::from(bytes(no * 37 + sequence, RECORD)),
        summary,
    }
}

/// Writers that each wait for an acknowledgement before the next append, for a while; latencies in µs.
async fn drive(store: Arc<dyn LogStore>, writers: u64, first: u64, time: Duration) -> Vec<u64> {
    let until = Instant::now() + time;
    let tasks: Vec<_> = (0..writers)
        .map(|writer| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let (mut no, mut sequence, mut last) = (first + writer, 1, 0);
                let mut latencies = Vec::new();
                while Instant::now() < until {
                    let next = append(no, sequence, last, sequence < LIFE);
                    let start = Instant::now();
                    last = store.append(next).await.expect("append").to_engine();
                    latencies.push(start.elapsed().as_micros() as u64);
                    sequence += 1;
                    if sequence > LIFE {
                        (no, sequence) = (no + writers, 1);
                    }
                }
                latencies
            })
        })
        .collect();
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await.expect("writer"));
    }
    all.sort_unstable();
    all
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("runtime")
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

pub fn writers(dir: &Path) {
    println!(
        "| writers | bare sync p50 µs | memory p50 µs | embedded p50 µs | × (memory + bare) | p99 µs | acks/s | memory acks/s | acks per sync | disk bytes/record |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    let runtime = runtime();
    let time = Duration::from_millis(400);
    for writers in [1_u64, 8, 64, 128, 256] {
        let at = dir.join(format!("store-{writers}"));
        std::fs::create_dir_all(at.join("bare")).expect("directory");
        let embedded = Arc::new(EmbeddedStore::open(at.join("store"), Options::default()).expect("open"));
        let memory = Arc::new(MemoryStore::new());
        let mut bare = Written::open(&at.join("bare"));
        let put = || Put {
            id: id(1),
            no: 1,
            seq: 1,
            live: true,
            record: bytes(1, RECORD),
            summary: bytes(1, SUMMARY),
        };
        let puts: Vec<Put> = (0..1).map(|_| put()).collect();
        let (mut syncs, mut memories, mut p50s, mut p99s) = (vec![], vec![], vec![], vec![]);
        let (mut acks, mut memory_acks) = (vec![], vec![]);
        let (before_written, mut disk) = (embedded.stats(), 0);
        for turn in 0..9_u64 {
            let mut one: Vec<f64> = (0..300)
                .map(|_| {
                    let start = Instant::now();
                    bare.commit(&puts);
                    start.elapsed().as_secs_f64() * 1e6
                })
                .collect();
            one.sort_by(f64::total_cmp);
            syncs.push(one[one.len() / 2]);
            let first = turn * 10_000_000;
            let all = runtime.block_on(drive(memory.clone(), writers, first, time / 4));
            memories.push(all[all.len() / 2] as f64);
            memory_acks.push(all.len() as f64 / time.as_secs_f64() * 4.0);
            let disk_before = written();
            let all = runtime.block_on(drive(embedded.clone(), writers, first, time));
            disk += written() - disk_before;
            p50s.push(all[all.len() / 2] as f64);
            p99s.push(all[all.len() * 99 / 100] as f64);
            acks.push(all.len() as f64 / time.as_secs_f64());
        }
        let stats = embedded.stats();
        let appends = stats.appends - before_written.appends;
        let (sync, memory, p50) = (median(syncs), median(memories), median(p50s));
        println!(
            "| {writers} | {sync:.0} | {memory:.0} | {p50:.0} | {:.2} | {:.0} | {:.0} | {:.0} | {:.1} | {} |",
            p50 / (memory + sync),
            median(p99s),
            median(acks),
            median(memory_acks),
            appends as f64 / stats.commits as f64,
            disk / appends,
        );
    }
}

/// Sessions of four records, every tenth live; closed, opened, live ones listed, histories read.
pub fn start(dir: &Path, sessions: u64) {
    let at = dir.join(format!("start-{sessions}"));
    let runtime = runtime();
    let begin = Instant::now();
    let store = Arc::new(EmbeddedStore::open(&at, Options::default()).expect("open"));
    runtime.block_on(async {
        let tasks: Vec<_> = (0..256_u64)
            .map(|task| {
                let store = Arc::clone(&store);
                tokio::spawn(async move {
                    for no in (task..sessions).step_by(256) {
                        for sequence in 1..=4 {
                            let live = sequence < 4 || no % 10 == 0;
                            store.append(append(no, sequence, sequence - 1, live)).await.expect("append");
                        }
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("writer");
        }
    });
    let loaded = begin.elapsed().as_secs_f64();
    let close = Instant::now();
    drop(store);
    let close = close.elapsed().as_secs_f64() * 1e3;
    let open = Instant::now();
    let store = EmbeddedStore::open(&at, Options::default()).expect("open");
    let opened = open.elapsed().as_secs_f64() * 1e3;
    let list = Instant::now();
    let live = runtime.block_on(async {
        let (mut live, mut after) = (0, None);
        loop {
            let page = store.list(SummaryFilter::Live, after.as_ref(), 1024).await.expect("list");
            live += page.len();
            match page.last() {
                Some(last) => after = Some(last.stream.clone()),
                None => return live,
            }
        }
    });
    let listed = list.elapsed().as_secs_f64() * 1e3;
    assert_eq!(live as u64, sessions.div_ceil(10));
    let read = Instant::now();
    runtime.block_on(async {
        for n in 0..2000_u64 {
            let stream = Bytes::from(id(n.wrapping_mul(0x9E37_79B9) % sessions));
            assert_eq!(store.read(&stream, None, 256).await.expect("read").len(), 4);
        }
    });
    let read = read.elapsed().as_secs_f64() * 1e6 / 2000.0;
    let verify = Instant::now();
    let (good, bad) = store.verify().fold((0, 0), |(good, bad), found| match found {
        Ok(_) => (good + 1, bad),
        Err(_) => (good, bad + 1),
    });
    let verify = verify.elapsed().as_secs_f64();
    assert_eq!((good, bad), (sessions, 0));
    println!(
        "| sessions | loaded s | closed ms | open ms | list live ms | read of 4 µs | verify s | disk MB | RSS MB |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    println!(
        "| {sessions} | {loaded:.0} | {close:.0} | {opened:.0} | {listed:.0} | {read:.0} | {verify:.1} | {} | {} |",
        size(&at) / 1_000_000,
        rss_mb()
    );
}

/// Writes until the disk is full, counts errors, makes room, and goes on. DIR is a small file system of its own.
pub fn full(dir: &Path) {
    let ballast = dir.join("ballast");
    std::fs::write(&ballast, vec![1; 40 << 20]).expect("ballast");
    let store = EmbeddedStore::open(dir.join("store"), Options::default()).expect("open");
    let runtime = runtime();
    let (mut acked, mut errors, mut freed, mut last) = (vec![0_u64; 50], 0, false, String::new());
    let mut after_room = 0;
    for n in 0..1_000_000_u64 {
        let stream = (n % 50) as usize;
        let next = acked[stream] + 1;
        match runtime.block_on(store.append(append(stream as u64, next, next - 1, true))) {
            Ok(position) => {
                acked[stream] = position.to_engine();
                after_room += u64::from(freed);
            }
            Err(error) => {
                errors += 1;
                last = error.to_string();
                std::thread::sleep(Duration::from_millis(20));
                if let Ok(tail) = runtime.block_on(store.tail(&Bytes::from(id(stream as u64)))) {
                    let tail = tail.map_or(0, Position::to_engine);
                    assert!(tail >= acked[stream], "an acknowledged record is gone");
                    acked[stream] = tail;
                }
            }
        }
        if errors == 60 && !freed {
            println!(
                "full after {} acks; healthy: {}; {last}",
                acked.iter().sum::<u64>(),
                store.is_healthy()
            );
            std::fs::remove_file(&ballast).expect("room");
            freed = true;
        }
        if after_room > 3000 {
            break;
        }
    }
    println!(
        "{errors} errors; {after_room} acks after room was made; healthy: {}; {:?}",
        store.is_healthy(),
        store.stats()
    );
    drop(store);
    let store = EmbeddedStore::open(dir.join("store"), Options::default()).expect("open");
    for (stream, &count) in acked.iter().enumerate() {
        let stored =
            runtime.block_on(store.read(&Bytes::from(id(stream as u64)), None, usize::MAX)).expect("read");
        assert_eq!(stored.len() as u64, count, "stream {stream}");
    }
    let findings: Vec<_> = store.verify().filter_map(Result::err).collect();
    println!("reopened: every acknowledged record there; findings: {findings:?}");
}
