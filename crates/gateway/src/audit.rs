//! The audit log: who was turned away, what became of sessions, and who changed the registries; one JSON object a line.
//!
//! Lines are made where the events happen and written by a thread of their own, so that no request waits for a disk.
//! What anybody can cause without end, refusals, is bounded by rate: beyond it events are counted, and the counts are
//! written. Field names are documented in docs/operations.md and do not change.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use macp_counters::Counter;
use macp_engine::observe;
use parking_lot::Mutex;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, Registry};

use crate::cli::RunError;

/// Where the audit log goes (`MACP_AUDIT_LOG`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum AuditLog {
    /// Nowhere.
    #[default]
    Off,
    /// To standard output, which has nothing else on it.
    Stdout,
    /// To the end of this file.
    File(PathBuf),
}

/// Lines that may wait to be written; more are dropped and counted.
const QUEUE: usize = 8192;
/// How often suppressed events are told.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// Time for the last lines at the end.
const CLOSE: Duration = Duration::from_millis(500);
/// Bytes of a client's text that a line holds.
const MAX_TEXT: usize = 256;
/// Refusals of one kind that are written at once, and in a second.
const BURST: f64 = 20.0;
const PER_SECOND: f64 = 5.0;
/// The events that anybody can cause without end.
const BOUNDED: [&str; 3] = ["authentication_failed", "authorization_refused", "rate_limited"];

enum Message {
    Line(String),
    /// The file was moved away: begin a new one.
    Reopen,
    Close,
}

/// The audit log's writer.
pub(crate) struct Audit {
    lines: SyncSender<Message>,
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What makers of lines and their writer share.
#[derive(Debug, Default)]
struct Shared {
    dropped: Counter,
    suppressed: Counter,
    buckets: [Mutex<Bucket>; BOUNDED.len()],
}

/// What may still be written of one kind.
#[derive(Debug)]
struct Bucket {
    room: f64,
    since: Instant,
    /// Not written, and not told yet.
    suppressed: u64,
}

impl Default for Bucket {
    fn default() -> Self {
        Self { room: BURST, since: Instant::now(), suppressed: 0 }
    }
}

impl Bucket {
    fn admits(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.since).as_secs_f64();
        self.room = (self.room + passed * PER_SECOND).min(BURST);
        self.since = now;
        if self.room < 1.0 {
            self.suppressed += 1;
            return false;
        }
        self.room -= 1.0;
        true
    }
}

impl Audit {
    /// Opens the log and starts its writer; `None` if there is to be none.
    ///
    /// # Errors
    /// When the file cannot be opened: who asks for an audit log does not want to serve without.
    pub(crate) fn open(log: &AuditLog) -> Result<Option<Arc<Self>>, RunError> {
        let path = match log {
            AuditLog::Off => return Ok(None),
            AuditLog::Stdout => None,
            AuditLog::File(path) => Some(path.clone()),
        };
        let out = open(path.as_deref()).map_err(|error| {
            let path = path.as_deref().unwrap_or(Path::new("stdout"));
            RunError::start(format!("MACP_AUDIT_LOG={} cannot be written", path.display()), error)
        })?;
        let (lines, waiting) = sync_channel(QUEUE);
        let shared = Arc::<Shared>::default();
        let writer = {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new()
                .name("audit-log".to_owned())
                .spawn(move || write(&waiting, &shared, out, path.as_deref()))
        };
        let thread = writer.map_err(|error| RunError::start("the audit log's thread cannot start", error))?;
        Ok(Some(Arc::new(Self { lines, shared, thread: Mutex::new(Some(thread)) })))
    }

    /// Takes the events, with what the spans around them know.
    pub(crate) fn layer(self: &Arc<Self>) -> Box<dyn Layer<Registry> + Send + Sync> {
        let ours = |target: &str| [observe::AUDIT, observe::SPAN].contains(&target);
        AuditLayer(Arc::clone(self)).with_filter(filter_fn(move |of| ours(of.target()))).boxed()
    }

    /// Lines that were dropped because they could not be written as fast as they came.
    pub(crate) fn dropped(&self) -> u64 {
        self.shared.dropped.get()
    }

    /// Refusals that were counted and not written.
    pub(crate) fn suppressed(&self) -> u64 {
        self.shared.suppressed.get()
    }

    /// Begins the file anew, after somebody has moved it.
    pub(crate) fn reopen(&self) {
        // A full queue is behind; it then goes on in the old file until the next time.
        let _ = self.lines.try_send(Message::Reopen);
    }

    /// Writes what waits, for a while.
    pub(crate) fn close(&self) {
        let Some(thread) = self.thread.lock().take() else { return };
        let until = Instant::now() + CLOSE;
        let mut told = false;
        while !thread.is_finished() && Instant::now() < until {
            told = told || self.lines.try_send(Message::Close).is_ok();
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn put(&self, line: String) {
        if self.lines.try_send(Message::Line(line)).is_err() {
            self.shared.dropped.inc();
        }
    }

    /// Whether an event of this kind may be written now.
    fn admits(&self, event: &str) -> bool {
        let Some(kind) = BOUNDED.iter().position(|kind| *kind == event) else { return true };
        let admitted = self.shared.buckets[kind].lock().admits(Instant::now());
        if !admitted {
            self.shared.suppressed.inc();
        }
        admitted
    }
}

fn open(path: Option<&Path>) -> std::io::Result<Box<dyn Write + Send>> {
    match path {
        None => Ok(Box::new(std::io::stdout())),
        Some(path) => {
            let file: File = OpenOptions::new().create(true).append(true).open(path)?;
            Ok(Box::new(BufWriter::new(file)))
        }
    }
}

/// The thread: everything that waits, then one flush; and now and then what was suppressed.
fn write(waiting: &Receiver<Message>, shared: &Shared, mut out: Box<dyn Write + Send>, path: Option<&Path>) {
    let mut faults: u64 = 0;
    let mut told = Instant::now();
    loop {
        let mut next = match waiting.recv_timeout(TELL_EVERY) {
            Ok(message) => Some(message),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let mut written = Ok(());
        let mut last = false;
        while let Some(message) = next {
            match message {
                Message::Line(line) => written = written.and_then(|()| writeln!(out, "{line}")),
                Message::Reopen if path.is_some() => match out.flush().and_then(|()| open(path)) {
                    Ok(new) => out = new,
                    Err(error) => {
                        tracing::error!(%error, "the audit log cannot be opened again; going on in the old file");
                    }
                },
                Message::Reopen => {}
                Message::Close => last = true,
            }
            next = waiting.try_recv().ok();
        }
        if last || told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            for line in suppressed(shared) {
                written = written.and_then(|()| writeln!(out, "{line}"));
            }
        }
        match written.and_then(|()| out.flush()) {
            Ok(()) => faults = 0,
            // Once for each time that it begins: a full disk must not fill the other log.
            Err(error) if faults == 0 => {
                faults = 1;
                tracing::error!(%error, "the audit log cannot be written (MACP_AUDIT_LOG)");
            }
            Err(_) => {}
        }
        if last {
            return;
        }
    }
}

/// A line for each kind of which events were suppressed.
fn suppressed(shared: &Shared) -> Vec<String> {
    let mut lines = Vec::new();
    for (kind, bucket) in BOUNDED.iter().zip(&shared.buckets) {
        let count = std::mem::take(&mut bucket.lock().suppressed);
        if count > 0 {
            let mut line = begun("suppressed");
            line.insert("of".to_owned(), (*kind).into());
            line.insert("count".to_owned(), count.into());
            lines.push(Value::Object(line).to_string());
        }
    }
    lines
}

/// A line with its time and its event.
fn begun(event: &str) -> Map<String, Value> {
    let mut time = String::new();
    // Written to memory.
    let _: fmt::Result = SystemTime.format_time(&mut Writer::new(&mut time));
    let mut line = Map::new();
    line.insert("time".to_owned(), time.into());
    line.insert("event".to_owned(), event.into());
    line
}

/// Makes lines of events.
struct AuditLayer(Arc<Audit>);

/// What a span knows of who is calling.
#[derive(Default)]
struct Who {
    address: Option<Value>,
    sender: Option<Value>,
}

impl Visit for Who {
    fn record_str(&mut self, field: &Field, value: &str) {
        let value = Some(text(value));
        match field.name() {
            "client.address" => self.address = value,
            "macp.sender.id" => self.sender = value,
            _ => {}
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

/// The fields of an event.
struct Line(Map<String, Value>);

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        if !value.is_empty() {
            self.0.insert(field.name().to_owned(), text(value));
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), text(&format!("{value:?}")));
    }
}

/// A text that may be a client's, cut to a length.
fn text(value: &str) -> Value {
    observe::short(value, MAX_TEXT).into()
}

/// Finds the kind of an event.
#[derive(Default)]
struct Kind(String);

impl Visit for Kind {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "event" {
            value.clone_into(&mut self.0);
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

impl<S: Subscriber + for<'l> LookupSpan<'l>> Layer<S> for AuditLayer {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id).filter(|span| span.name() == observe::REQUEST) else { return };
        let mut who = Who::default();
        attributes.record(&mut who);
        span.extensions_mut().insert(who);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(who) = span.extensions_mut().get_mut::<Who>() {
            values.record(who);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if event.metadata().target() != observe::AUDIT {
            return;
        }
        let mut kind = Kind::default();
        event.record(&mut kind);
        if !self.0.admits(&kind.0) {
            return;
        }
        let mut line = Line(begun(&kind.0));
        event.record(&mut line);
        let request = context.event_scope(event).into_iter().flatten();
        for span in request {
            if let Some(who) = span.extensions().get::<Who>() {
                let known = [("peer", &who.address), ("sender", &who.sender)];
                for (name, value) in known {
                    if let Some(value) = value {
                        line.0.insert(name.to_owned(), value.clone());
                    }
                }
            }
        }
        self.0.put(Value::Object(line.0).to_string());
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    fn lines(path: &Path) -> Vec<Value> {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn audited(path: &Path, run: impl FnOnce(&Audit)) {
        let audit = Audit::open(&AuditLog::File(path.to_owned())).unwrap().unwrap();
        let subscriber = tracing_subscriber::registry().with(vec![audit.layer()]);
        tracing::subscriber::with_default(subscriber, || run(&audit));
        audit.close();
    }

    #[test]
    fn floods_are_counted_and_other_events_are_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit");
        audited(&path, |audit| {
            for _ in 0..10_000 {
                tracing::info!(target: observe::AUDIT, event = "authentication_failed", code = "UNAUTHENTICATED");
            }
            for number in 0..100 {
                tracing::info!(target: observe::AUDIT, event = "session_ended", number);
            }
            assert_eq!(audit.dropped(), 0);
        });
        let lines = lines(&path);
        let of = |event: &str| lines.iter().filter(|line| line["event"] == event).collect::<Vec<_>>();
        let (failed, told) = (of("authentication_failed"), of("suppressed"));
        let counted: u64 = told.iter().map(|line| line["count"].as_u64().unwrap()).sum();
        assert!(failed.len() < 100, "{}", failed.len());
        assert_eq!(failed.len() as u64 + counted, 10_000);
        assert!(told.iter().all(|line| line["of"] == "authentication_failed"));
        assert_eq!(of("session_ended").len(), 100);
    }

    #[test]
    fn the_span_says_who_and_long_texts_are_cut() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit");
        audited(&path, |_| {
            let span = tracing::info_span!(
                target: observe::SPAN, "request", "client.address" = "192.0.2.1",
                "macp.sender.id" = tracing::field::Empty,
            );
            let _entered = span.enter();
            span.record("macp.sender.id", "agent://a");
            let session_id = "é".repeat(10_000);
            tracing::info!(target: observe::AUDIT, event = "authorization_refused", session_id = session_id.as_str());
            tracing::info!(target: observe::AUDIT, parent: None, event = "session_ended");
            tracing::info!("another target");
        });
        let lines = lines(&path);
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert_eq!(lines[0]["peer"], "192.0.2.1");
        assert_eq!(lines[0]["sender"], "agent://a");
        assert!(lines[0]["session_id"].as_str().unwrap().len() <= MAX_TEXT);
        assert!(lines[0]["time"].as_str().unwrap().ends_with('Z'));
        assert!(lines[1].get("sender").is_none(), "it is nobody's");
    }

    #[test]
    fn a_file_that_was_moved_is_begun_anew() {
        let directory = tempfile::tempdir().unwrap();
        let (path, moved) = (directory.path().join("audit"), directory.path().join("audit.1"));
        audited(&path, |audit| {
            tracing::info!(target: observe::AUDIT, event = "one");
            while lines(&path).is_empty() {
                std::thread::yield_now();
            }
            std::fs::rename(&path, &moved).unwrap();
            audit.reopen();
            tracing::info!(target: observe::AUDIT, event = "two");
        });
        assert_eq!(lines(&moved)[0]["event"], "one");
        assert_eq!(lines(&path)[0]["event"], "two");
    }
}
