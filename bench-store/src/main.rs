//! Our own workload on three embedded engines beside a bare write + fdatasync loop, interleaved in one run.
//!
//! `bench-store DIR commits|load|store|start|full [SESSIONS]`, `bench-store DIR fill OPEN ENDED`, `bench-store DIR gateway
//! BINARY`, `bench-store DIR replay`; prints Markdown tables. See docs/adr/0006-embedded-store.md and docs/storage.md.

mod bare;
mod engines;
mod sessions;
mod store;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use engines::{Engine, Put};

/// A record of one accepted envelope, and the summary stored with it.
pub const RECORD: usize = 300;
pub const SUMMARY: usize = 350;
/// Records of one session before another takes its place.
const LIFE: u64 = 20;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let dir = PathBuf::from(&args[1]);
    match args[2].as_str() {
        "commits" => commits(&dir),
        "load" => load(&dir, args.get(3).map_or(1_000_000, |n| n.parse().expect("a number"))),
        "store" => store::writers(&dir),
        "start" => store::start(&dir, args.get(3).map_or(1_000_000, |n| n.parse().expect("a number"))),
        "full" => store::full(&dir),
        "fill" => {
            let count = |at: usize| args[at].parse().expect("a number");
            sessions::fill(&dir, count(3), count(4));
        }
        "gateway" => sessions::gateway(&dir, Path::new(&args[3])),
        "replay" => sessions::replay(&dir),
        other => panic!("unknown part {other}"),
    }
}

type Open = fn(&Path) -> Box<dyn Engine>;

fn candidates() -> Vec<(&'static str, Open)> {
    vec![
        ("bare, written before", |dir| Box::new(bare::Written::open(dir))),
        ("bare, growing", |dir| Box::new(bare::Bare::open(dir))),
        ("fjall", |dir| Box::new(engines::Fjall::open(dir))),
        ("redb", |dir| Box::new(engines::Redb::open(dir))),
        ("sqlite", |dir| Box::new(engines::Sqlite::open(dir))),
    ]
}

pub fn bytes(n: u64, len: usize) -> Vec<u8> {
    // Not compressible, not free: one multiply a word.
    let mut x = n.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        x = x.wrapping_mul(0xD134_2543_DE82_EF95).wrapping_add(1);
        out.extend_from_slice(&x.to_le_bytes());
    }
    out.truncate(len);
    out
}

/// Ids like random UUIDs (version 4): 36 characters in no order.
pub fn id(no: u64) -> Vec<u8> {
    let h = u128::from(no.wrapping_mul(0x9E37_79B9_7F4A_7C15)) << 64
        | u128::from(no.wrapping_mul(0xD134_2543_DE82_EF95));
    let s = format!("{h:032x}");
    format!("{}-{}-4{}-a{}-{}", &s[..8], &s[8..12], &s[13..16], &s[17..20], &s[20..]).into_bytes()
}

struct Traffic {
    slots: Vec<(u64, u64)>,
    next_no: u64,
}

impl Traffic {
    fn new(k: usize, first: u64) -> Self {
        let slots = (0..k as u64).map(|at| (first + at, 0)).collect();
        Self { slots, next_no: first + k as u64 }
    }

    fn batch(&mut self) -> Vec<Put> {
        let mut puts = Vec::with_capacity(self.slots.len());
        for slot in &mut self.slots {
            let (no, seq) = *slot;
            let live = seq + 1 < LIFE;
            puts.push(Put {
                id: id(no),
                no,
                seq,
                live,
                record: bytes(no * LIFE + seq, RECORD),
                summary: bytes(no * LIFE + seq + 7, SUMMARY),
            });
            *slot = if live {
                (no, seq + 1)
            } else {
                self.next_no += 1;
                (self.next_no - 1, 0)
            };
        }
        puts
    }
}

pub fn written() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").expect("/proc");
    let line = io.lines().find(|l| l.starts_with("write_bytes")).expect("write_bytes");
    line.split(' ').nth(1).and_then(|n| n.parse().ok()).expect("a number")
}

fn cpu_ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("/proc");
    let rest: Vec<&str> = stat.rsplit(')').next().expect("fields").split_whitespace().collect();
    rest[11].parse::<u64>().expect("utime") + rest[12].parse::<u64>().expect("stime")
}

#[derive(Default)]
struct Tally {
    latencies: Vec<Duration>,
    records: u64,
    written: u64,
    ticks: u64,
}

/// K sessions, one record each, one sync; turns of the engines interleave.
fn commits(dir: &Path) {
    println!(
        "| K | engine | commit p10 µs | p50 µs | p99 µs | p10 × bare | p50 × bare | records/s at p50 | disk bytes/record | CPU µs/record |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for k in [1_usize, 8, 64, 256] {
        let mut engines: Vec<_> = candidates()
            .into_iter()
            .map(|(name, open)| {
                let at = dir.join(format!("{name}-{k}"));
                std::fs::create_dir_all(&at).expect("directory");
                (name, open(&at), Traffic::new(k, 0), Tally::default())
            })
            .collect();
        for turn in 0..12 {
            for (_, engine, traffic, tally) in &mut engines {
                let (written_before, ticks_before) = (written(), cpu_ticks());
                let until = Instant::now() + Duration::from_millis(200);
                let mut records = 0;
                while Instant::now() < until {
                    let batch = traffic.batch();
                    let start = Instant::now();
                    engine.commit(&batch);
                    if turn > 0 {
                        tally.latencies.push(start.elapsed());
                    }
                    records += k as u64;
                }
                if turn > 0 {
                    tally.records += records;
                    tally.written += written() - written_before;
                    tally.ticks += cpu_ticks() - ticks_before;
                }
            }
        }
        let mut bare = (0.0, 0.0);
        for (name, _, _, tally) in &mut engines {
            tally.latencies.sort();
            let at =
                |q: f64| tally.latencies[(tally.latencies.len() as f64 * q) as usize].as_secs_f64() * 1e6;
            let (p10, p50, p99) = (at(0.1), at(0.5), at(0.99));
            if *name == "bare, written before" {
                bare = (p10, p50);
            }
            println!(
                "| {k} | {name} | {p10:.0} | {p50:.0} | {p99:.0} | {:.2} | {:.2} | {:.0} | {} | {:.1} |",
                p10 / bare.0,
                p50 / bare.1,
                k as f64 / p50 * 1e6,
                tally.written / tally.records,
                tally.ticks as f64 * 10_000.0 / tally.records as f64,
            );
        }
        drop(engines);
    }
}

/// Many stored sessions, a tenth of them live; then open again, list the live ones, read tails, commit more.
fn load(dir: &Path, sessions: u64) {
    println!("{sessions} sessions of 4 records, every tenth live\n");
    println!(
        "| engine | load s | on disk MB | open ms | list live ms | tail of 4 µs | head µs | commit p50 µs K=1 | K=64 | RSS after MB |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for (name, open) in candidates().into_iter().skip(2) {
        let at = dir.join(format!("{name}-load"));
        std::fs::create_dir_all(&at).expect("directory");
        let start = Instant::now();
        {
            let mut engine = open(&at);
            let mut no = 0;
            while no < sessions {
                let upto = (no + 1000).min(sessions);
                for seq in 0..4 {
                    let puts: Vec<Put> = (no..upto)
                        .map(|no| Put {
                            id: id(no),
                            no,
                            seq,
                            live: seq < 3 || no % 10 == 0,
                            record: bytes(no * LIFE + seq, RECORD),
                            summary: bytes(no + seq, SUMMARY),
                        })
                        .collect();
                    engine.commit(&puts);
                }
                no = upto;
            }
        }
        let loaded = start.elapsed().as_secs_f64();
        let start = Instant::now();
        let mut engine = open(&at);
        let opened = start.elapsed().as_secs_f64() * 1e3;
        let start = Instant::now();
        let live = engine.list_live();
        let listed = start.elapsed().as_secs_f64() * 1e3;
        assert_eq!(live as u64, sessions.div_ceil(10), "{name}");
        let start = Instant::now();
        for n in 0..2000_u64 {
            assert_eq!(engine.read_tail(n.wrapping_mul(0x9E37_79B9) % sessions, 4), 4, "{name}");
        }
        let tails = start.elapsed().as_secs_f64() * 1e6 / 2000.0;
        let start = Instant::now();
        for n in 0..2000_u64 {
            assert!(engine.head(&id(n.wrapping_mul(0x9E37_79B9) % sessions)), "{name}");
        }
        let heads = start.elapsed().as_secs_f64() * 1e6 / 2000.0;
        let mut p50 = |k: usize, first: u64| {
            let mut traffic = Traffic::new(k, sessions + first);
            let mut all: Vec<f64> = (0..600)
                .map(|_| {
                    let batch = traffic.batch();
                    let start = Instant::now();
                    engine.commit(&batch);
                    start.elapsed().as_secs_f64() * 1e6
                })
                .collect();
            all.sort_by(f64::total_cmp);
            all[all.len() / 2]
        };
        let (one, many) = (p50(1, 0), p50(64, 1000));
        println!(
            "| {name} | {loaded:.0} | {} | {opened:.0} | {listed:.0} | {tails:.0} | {heads:.0} | {one:.0} | {many:.0} | {} |",
            size(&at) / 1_000_000,
            rss_mb(),
        );
    }
}

pub fn size(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let entries = std::fs::read_dir(dir).expect("directory");
    entries
        .map(|entry| {
            let entry = entry.expect("entry");
            let meta = entry.metadata().expect("metadata");
            if meta.is_dir() { size(&entry.path()) } else { meta.blocks() * 512 }
        })
        .sum()
}

pub fn rss_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc");
    let line = status.lines().find(|l| l.starts_with("VmRSS")).expect("VmRSS");
    line.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok()).expect("a number") / 1000
}
