//! `log import`: exported sessions checked, replayed and stored again, byte for byte.
#![allow(clippy::print_stdout, reason = "what was imported is the command's output")]

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use bytes::Bytes;
use macp_engine::RECEIPTS;
use macp_kernel::replay::Replay;
use macp_kernel::summary::Summary;
use macp_store::embedded::{first_link, next_link};
use macp_store::{Append, EmbeddedStore, Expected, LogStore, Position};
use tokio::task::JoinSet;

use crate::cli::RunError;
use crate::log::lines::{self, End, Line, hex};

/// Sessions that are stored at a time, so that they share syncs.
const AT_A_TIME: usize = 64;
/// Records compared at a time.
const PAGE: usize = 256;

/// A session that was read to its end and replays.
struct Session {
    stream: Bytes,
    /// Each record and the summary that is true with it.
    records: Vec<(Bytes, macp_store::Summary)>,
    receipt: Option<Bytes>,
}

/// What became of a session.
enum Imported {
    New,
    Continued,
    AlreadyThere,
}

/// Imports every session of the files, or of standard input.
pub(crate) async fn run(store: Arc<EmbeddedStore>, files: &[PathBuf]) -> Result<ExitCode, RunError> {
    let mut storing = Storing { store, tasks: JoinSet::new(), counts: [0; 3] };
    if files.is_empty() {
        read(BufReader::new(std::io::stdin()), "standard input", &mut storing).await?;
    }
    for path in files {
        let name = path.display().to_string();
        let file = File::open(path).map_err(|error| RunError::start(&name, error))?;
        read(BufReader::new(file), &name, &mut storing).await?;
    }
    while storing.one().await? {}
    let [new, continued, there] = storing.counts;
    println!("{new} sessions imported, {continued} continued, {there} already there");
    Ok(ExitCode::SUCCESS)
}

async fn read(mut input: impl BufRead, name: &str, storing: &mut Storing) -> Result<(), RunError> {
    let mut reading: Option<Reading> = None;
    let mut text = String::new();
    for number in 1.. {
        let wrong = |why: String| RunError::start(format!("{name}, line {number}"), why);
        text.clear();
        if input.read_line(&mut text).map_err(|error| wrong(error.to_string()))? == 0 {
            break;
        }
        let line: Line = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        match &mut reading {
            None => reading = Some(Reading::begin(&line).map_err(wrong)?),
            Some(session) => {
                if session.line(line).map_err(wrong)? {
                    let done = reading.take().map(Reading::finish).transpose().map_err(wrong)?;
                    if let Some(session) = done {
                        storing.put(session).await?;
                    }
                }
            }
        }
    }
    match reading {
        Some(session) => Err(RunError::start(
            format!("{name} ends within session {:?}", session.id),
            "it was cut short; the session was not imported",
        )),
        None => Ok(()),
    }
}

/// A session as far as it was read.
struct Reading {
    id: String,
    /// Lines of the record under way.
    lines: Vec<Line>,
    replay: Replay,
    position: u64,
    link: [u8; 32],
    records: Vec<(Bytes, macp_store::Summary)>,
    receipt: Option<Bytes>,
    end: Option<End>,
}

impl Reading {
    fn begin(line: &Line) -> Result<Self, String> {
        match line.macp_log {
            Some(lines::VERSION) => {}
            Some(newer) => {
                return Err(format!(
                    "macp_log is {newer}, written by a newer release; this one reads {}",
                    lines::VERSION
                ));
            }
            None => return Err("a session begins with a line that has macp_log and session_id".to_owned()),
        }
        Ok(Self {
            id: line.session_id.clone(),
            lines: Vec::new(),
            replay: Replay::default(),
            position: 0,
            link: first_link(line.session_id.as_bytes()),
            records: Vec::new(),
            receipt: None,
            end: None,
        })
    }

    /// Takes the next line; true if it was the session's last.
    fn line(&mut self, line: Line) -> Result<bool, String> {
        if line.session_id != self.id || line.macp_log.is_some() {
            return Err(format!("session {:?} is not over: its line with \"end\" is missing", self.id));
        }
        if line.position.is_none() && !self.lines.is_empty() {
            return Err("the link of the record before is missing".to_owned());
        }
        if let Some(end) = line.end {
            self.end = Some(end);
            return Ok(true);
        }
        if let Some(receipt) = line.receipt {
            self.receipt = Some(receipt.into());
            return Ok(false);
        }
        if line.position != Some(self.position + 1) {
            return Err(format!("position {} is missing", self.position + 1));
        }
        let link = line.link.clone();
        self.lines.push(line);
        match link {
            Some(link) => self.record(&link).map(|()| false),
            None => Ok(false),
        }
    }

    /// A record is complete: it must continue the chain, and the rules must accept it.
    fn record(&mut self, link: &str) -> Result<(), String> {
        let record = lines::record(&std::mem::take(&mut self.lines))?;
        self.position += 1;
        self.link = next_link(&self.link, Position::from_engine(self.position), &record);
        if hex(&self.link) != link {
            return Err("the link does not fit: this entry or one before it was altered".to_owned());
        }
        self.replay.record(&record).map_err(|error| error.to_string())?;
        let session = self.replay.session().ok_or("the record begins no session")?;
        if session.id.as_str() != self.id {
            return Err(format!("an entry of session {:?}", session.id.as_str()));
        }
        let summary = macp_store::Summary {
            live: !session.lifecycle.is_terminal(),
            bytes: Summary::of(session).to_bytes(),
        };
        self.records.push((record, summary));
        Ok(())
    }

    fn finish(self) -> Result<Session, String> {
        let end = End { position: self.position, link: hex(&self.link) };
        if self.end.as_ref() != Some(&end) {
            return Err(format!(
                "the session ends at position {}, not where its end is said to be",
                end.position
            ));
        }
        Ok(Session { stream: Bytes::from(self.id), records: self.records, receipt: self.receipt })
    }
}

/// Sessions on their way into the store.
struct Storing {
    store: Arc<EmbeddedStore>,
    tasks: JoinSet<Result<Imported, RunError>>,
    counts: [u64; 3],
}

impl Storing {
    async fn put(&mut self, session: Session) -> Result<(), RunError> {
        if self.tasks.len() >= AT_A_TIME {
            self.one().await?;
        }
        let store = Arc::clone(&self.store);
        self.tasks.spawn(async move {
            let name = format!("session {:?}", String::from_utf8_lossy(&session.stream));
            keep(&store, session).await.map_err(|why| RunError::start(name, why))
        });
        Ok(())
    }

    /// Waits until one more session is stored; false if there is none on its way.
    async fn one(&mut self) -> Result<bool, RunError> {
        let Some(done) = self.tasks.join_next().await else { return Ok(false) };
        let imported = done.map_err(|error| RunError::start("an import was interrupted", error))??;
        self.counts[imported as usize] += 1;
        Ok(true)
    }
}

async fn keep(store: &EmbeddedStore, session: Session) -> Result<Imported, String> {
    let Session { stream, records, receipt } = session;
    let there = matching(store, &stream, &records).await?;
    let kept = store.get_side(RECEIPTS, &stream).await.map_err(|error| error.to_string())?;
    if let (Some(kept), Some(receipt)) = (&kept, &receipt)
        && kept != receipt
    {
        return Err("another receipt was issued for it here".to_owned());
    }
    let mut tail = (there > 0).then(|| Position::from_engine(there as u64));
    let left = records.len().saturating_sub(there);
    for (record, summary) in records.into_iter().skip(there) {
        let append = Append { stream: stream.clone(), expected: Expected::tail(tail), record, summary };
        tail = Some(store.append(append).await.map_err(|error| error.to_string())?);
    }
    if let (None, Some(receipt)) = (kept, receipt) {
        store.put_side(RECEIPTS, &stream, Some(receipt)).await.map_err(|error| error.to_string())?;
    }
    Ok(match (there, left) {
        (0, _) => Imported::New,
        (_, 0) => Imported::AlreadyThere,
        _ => Imported::Continued,
    })
}

/// How many records of the session are stored already.
async fn matching(
    store: &EmbeddedStore,
    stream: &Bytes,
    records: &[(Bytes, macp_store::Summary)],
) -> Result<usize, String> {
    let mut there = 0;
    loop {
        let after = (there > 0).then(|| Position::from_engine(there as u64));
        let page = store.read(stream, after, PAGE).await.map_err(|error| error.to_string())?;
        for stored in &page {
            // A stored history that goes on behind the imported one holds it all the same.
            if records.get(there).is_some_and(|(record, _)| record != &stored.record) {
                return Err(format!(
                    "another history is stored under this id, from position {} on",
                    there + 1
                ));
            }
            there += 1;
        }
        if page.len() < PAGE {
            return Ok(there);
        }
    }
}
