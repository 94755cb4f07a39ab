//! Whole sessions, as the gateway stores them: its start on many of them, their memory, and their replay.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command as Process, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use macp_kernel::command::Submission;
use macp_kernel::replay::Replay;
use macp_kernel::{Catalog, Command, Session, UnixMillis, process, record, summary};
use macp_store::{Append, EmbeddedStore, Expected, LogStore, Options, Summary, SummaryFilter};
use macp_wire::modes::decision::v1::{ProposalPayload, VotePayload};
use macp_wire::v1::{CommitmentPayload, Envelope, SessionStartPayload};
use prost::Message;

use crate::{id, size, written};

const MODE: &str = "macp.mode.decision.v1";
/// Sessions that are written at a time.
const WRITERS: u64 = 256;

fn now() -> UnixMillis {
    let since = SystemTime::UNIX_EPOCH.elapsed().expect("a clock after 1970");
    UnixMillis(since.as_millis() as i64)
}

/// Submits an envelope to a session in memory; the record of what it came to.
fn submit(session: &mut Option<Session>, catalog: &Catalog, kind: &str, sender: &str, payload: &impl Message, no: u64) -> Bytes {
    let session_id = String::from_utf8(id(no)).expect("an id");
    let count = session.as_ref().map_or(0, |session| session.last_ordinal);
    let envelope = Envelope {
        macp_version: "1.0".into(),
        mode: MODE.into(),
        message_type: kind.into(),
        message_id: String::from_utf8(id(no ^ (count + 1) << 40)).expect("an id"),
        session_id,
        sender: sender.into(),
        timestamp_unix_ms: now().0,
        payload: payload.encode_to_vec().into(),
    };
    let mut entries = Vec::new();
    let submission = Submission { envelope: envelope.into(), within_open_sessions: true };
    process(session, &Command::Submit(submission), catalog, now(), &mut entries).expect("an acceptance");
    record::encode([7; 16], &entries)
}

fn start(session: &mut Option<Session>, catalog: &Catalog, no: u64) -> Bytes {
    let payload = SessionStartPayload {
        intent: "choose the release that goes out this week".into(),
        participants: ["agent://planner", "agent://builder", "agent://reviewer"].map(str::to_owned).to_vec(),
        mode_version: "1.0.0".into(),
        configuration_version: "2026-11".into(),
        ttl_ms: 86_400_000,
        ..SessionStartPayload::default()
    };
    submit(session, catalog, "SessionStart", "agent://planner", &payload, no)
}

fn proposal(session: &mut Option<Session>, catalog: &Catalog, no: u64, name: &str) -> Bytes {
    let payload = ProposalPayload {
        proposal_id: name.into(),
        option: "release 4.2 with the migration switched off".into(),
        rationale: "the migration needs another week of tests".into(),
        ..ProposalPayload::default()
    };
    submit(session, catalog, "Proposal", "agent://builder", &payload, no)
}

fn vote(session: &mut Option<Session>, catalog: &Catalog, no: u64) -> Bytes {
    let payload = VotePayload { proposal_id: "p1".into(), vote: "APPROVE".into(), reason: "agreed".into() };
    submit(session, catalog, "Vote", "agent://reviewer", &payload, no)
}

fn commitment(session: &mut Option<Session>, catalog: &Catalog, no: u64) -> Bytes {
    let payload = CommitmentPayload {
        commitment_id: "c1".into(),
        action: "release.selected".into(),
        authority_scope: "release".into(),
        reason: "all agree".into(),
        mode_version: "1.0.0".into(),
        configuration_version: "2026-11".into(),
        outcome_positive: true,
        ..CommitmentPayload::default()
    };
    submit(session, catalog, "Commitment", "agent://planner", &payload, no)
}

/// Stores decisions: `open` with two envelopes each, `ended` with four. DIR may hold others already.
pub fn fill(dir: &Path, open: u64, ended: u64) {
    let store = Arc::new(EmbeddedStore::open(dir, Options::default()).expect("open"));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("runtime");
    let (begin, before) = (Instant::now(), written());
    runtime.block_on(async {
        let tasks: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let store = Arc::clone(&store);
                tokio::spawn(async move {
                    let catalog = Catalog::default();
                    for no in (writer..open + ended).step_by(WRITERS as usize) {
                        let mut session = None;
                        let mut tail = None;
                        for step in 0..if no < open { 2 } else { 4 } {
                            let record = match step {
                                0 => start(&mut session, &catalog, no),
                                1 => proposal(&mut session, &catalog, no, "p1"),
                                2 => vote(&mut session, &catalog, no),
                                _ => commitment(&mut session, &catalog, no),
                            };
                            let state = session.as_ref().expect("a session");
                            let summary = Summary {
                                live: !state.lifecycle.is_terminal(),
                                bytes: summary::Summary::of(state).to_bytes(),
                            };
                            let stream = Bytes::from(id(no));
                            let append = Append { stream, expected: Expected::tail(tail), record, summary };
                            tail = Some(store.append(append).await.expect("append"));
                        }
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("writer");
        }
    });
    let (took, stats) = (begin.elapsed().as_secs_f64(), store.stats());
    let bytes = written() - before;
    drop(store);
    println!("| open | ended | filled s | envelopes/s | envelopes per sync | bytes written per envelope | disk bytes per session |");
    println!("|---|---|---|---|---|---|---|");
    println!(
        "| {open} | {ended} | {took:.0} | {:.0} | {:.0} | {} | {} |",
        stats.appends as f64 / took,
        stats.appends as f64 / stats.commits as f64,
        bytes / stats.appends,
        size(dir) / (open + ended),
    );
}

/// A gateway that serves, and its end.
struct Gateway(Child);

impl Gateway {
    /// Starts one; how long until it calls itself ready.
    fn start(binary: &Path, dir: &Path) -> (Self, Duration) {
        const HTTP: &str = "127.0.0.1:18473";
        let begin = Instant::now();
        let child = Process::new(binary)
            .env("MACP_ALLOW_INSECURE", "1")
            .env("MACP_DATA_DIR", dir)
            .env("MACP_BIND_ADDR", "127.0.0.1:18472")
            .env("MACP_HTTP_BIND_ADDR", HTTP)
            .stderr(Stdio::null())
            .spawn()
            .expect("the gateway");
        let gateway = Self(child);
        while !ready(HTTP) {
            assert!(begin.elapsed() < Duration::from_secs(120), "it is not ready");
            std::thread::sleep(Duration::from_millis(1));
        }
        (gateway, begin.elapsed())
    }

    /// Anonymous memory in bytes: what is not a page of a file.
    fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).expect("/proc");
        let line = status.lines().find(|line| line.starts_with("RssAnon")).expect("RssAnon");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number") * 1024
    }

    /// Asks it to stop; how long that takes.
    fn stop(mut self) -> Duration {
        let begin = Instant::now();
        let kill = Process::new("kill").args(["-TERM", &self.0.id().to_string()]).status();
        assert!(kill.expect("kill").success());
        assert!(self.0.wait().expect("its end").success());
        begin.elapsed()
    }
}

fn ready(addr: &str) -> bool {
    let Ok(mut stream) = TcpStream::connect(addr) else { return false };
    let request = format!("GET /readyz HTTP/1.1\r\nhost: {addr}\r\nconnection: close\r\n\r\n");
    let mut answer = String::new();
    stream.write_all(request.as_bytes()).is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && answer.starts_with("HTTP/1.1 200")
}

/// Starts and stops a gateway a few times on what is stored in DIR; medians.
pub fn gateway(dir: &Path, binary: &Path) {
    let empty = dir.with_extension("empty");
    let (nothing, _) = Gateway::start(binary, &empty);
    std::thread::sleep(Duration::from_millis(500));
    let base = nothing.memory();
    nothing.stop();
    std::fs::remove_dir_all(&empty).expect("an empty store");
    let store = EmbeddedStore::open(dir, Options::default()).expect("open");
    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    let mut counts = [0_u64; 2];
    for (at, filter) in [SummaryFilter::Live, SummaryFilter::Ended].into_iter().enumerate() {
        let mut after = None;
        loop {
            let page = runtime.block_on(store.list(filter, after.as_ref(), 4096)).expect("list");
            counts[at] += page.len() as u64;
            match page.last() {
                Some(last) => after = Some(last.stream.clone()),
                None => break,
            }
        }
    }
    drop(store);
    let (mut starts, mut stops, mut memory) = (Vec::new(), Vec::new(), 0);
    for _ in 0..5 {
        let (gateway, ready) = Gateway::start(binary, dir);
        std::thread::sleep(Duration::from_millis(500));
        memory = gateway.memory();
        starts.push(ready.as_millis());
        stops.push(gateway.stop().as_millis());
    }
    starts.sort_unstable();
    stops.sort_unstable();
    println!("| open | ended | ready ms (median, worst of 5) | stopped ms | memory MB | of that per open session, bytes |");
    println!("|---|---|---|---|---|---|");
    println!(
        "| {} | {} | {}, {} | {}, {} | {} | {} |",
        counts[0],
        counts[1],
        starts[2],
        starts[4],
        stops[2],
        stops[4],
        memory / 1_000_000,
        memory.saturating_sub(base) / counts[0].max(1),
    );
}

/// Replays sessions from memory and from the store, one thread.
pub fn replay(dir: &Path) {
    let catalog = Catalog::default();
    println!("| entries of a session | from memory: entries/s | from the store: entries/s |");
    println!("|---|---|---|");
    for length in [4_u64, 20, 200, 2000] {
        let mut records = Vec::new();
        let mut session = None;
        records.push(start(&mut session, &catalog, 1));
        while records.len() < length as usize {
            let name = format!("p{}", records.len());
            records.push(proposal(&mut session, &catalog, 1, &name));
        }
        let rounds = 400_000 / length;
        let begin = Instant::now();
        for _ in 0..rounds {
            let mut replay = Replay::default();
            for record in &records {
                replay.record(record).expect("a replay");
            }
            assert_eq!(replay.session().expect("a session").last_ordinal, length);
        }
        let memory = (rounds * length) as f64 / begin.elapsed().as_secs_f64();

        let at = dir.join(format!("replay-{length}"));
        let store = EmbeddedStore::open(&at, Options::default()).expect("open");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
        let stream = Bytes::from(id(1));
        let mut tail = None;
        for record in &records {
            let summary = Summary { live: true, bytes: Bytes::from(vec![0; 300]) };
            let (stream, record) = (stream.clone(), record.clone());
            let append = Append { stream, expected: Expected::tail(tail), record, summary };
            tail = Some(runtime.block_on(store.append(append)).expect("append"));
        }
        let begin = Instant::now();
        for _ in 0..rounds {
            let mut replay = Replay::default();
            let mut after = None;
            loop {
                let page = runtime.block_on(store.read(&stream, after, 256)).expect("read");
                let short = page.len() < 256;
                for stored in page {
                    replay.record(&stored.record).expect("a replay");
                    after = Some(stored.position);
                }
                if short {
                    break;
                }
            }
            assert_eq!(replay.session().expect("a session").last_ordinal, length);
        }
        let stored = (rounds * length) as f64 / begin.elapsed().as_secs_f64();
        println!("| {length} | {memory:.0} | {stored:.0} |");
    }
}
