//! One session's order of events: decide, append, apply, publish, reply.
//!
//! A lane has a mailbox and at most one runner. Whoever puts a job into an idle lane becomes its runner: it takes
//! every waiting job, decides and applies them in order, and appends one record for all of them. If the append does
//! not complete at once the rest of the run moves to a task of its own, so that a caller who goes away interrupts
//! nothing. An idle session so costs no task, and an append that is ready at once costs no hop between tasks.
//!
//! Until the append has succeeded nothing leaves the lane: no reply, no delivery, no read of the new state. Any other
//! outcome throws the state away and reloads it from the log.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::Poll;

use bytes::Bytes;
use macp_counters::Gauge;
use macp_kernel::session::Lifecycle;
use macp_kernel::summary::Summary;
use macp_kernel::{
    Acceptance, Caller, Command, Entry, Fact, Refusal, RefusalCode, Reply, Session, SessionId, UnixMillis,
    deadline, process, record, view,
};
use macp_store::{Append, AppendError, Expected};
use macp_wire::v1::{SessionMetadata, SessionState};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, oneshot};

use crate::counters::Counters;
use crate::fanout::Tail;
use crate::recovery::{self, Hot, LoadError};
use crate::sessions::Sessions;

/// Most jobs that one record answers.
const BATCH_JOBS: usize = 256;
/// Payload bytes after which a batch is closed.
const BATCH_BYTES: usize = 4 << 20;
/// Batches that a runner handles before it lets other tasks run.
const BATCHES_PER_TURN: usize = 8;
/// How often a batch is decided again because another writer was first.
const CONFLICT_BUDGET: usize = 8;

/// What a lane answers to a command.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) reply: Reply,
    /// The session's state after the command; unspecified when there is no session.
    pub(crate) state: SessionState,
}

/// What a lane shows of its session.
pub(crate) struct View {
    pub(crate) metadata: SessionMetadata,
    pub(crate) high_water: u64,
}

enum Job {
    Command {
        command: Command,
        reply: oneshot::Sender<Outcome>,
    },
    /// Boxed, since every mailbox keeps room for some jobs, and few of them look.
    Look(Box<Look>),
    Tick,
}

struct Look {
    caller: Caller,
    reply: oneshot::Sender<Result<View, Refusal>>,
}

/// One session's mailbox, state and subscribers.
pub(crate) struct Lane {
    id: SessionId,
    stream: Bytes,
    room: Semaphore,
    mailbox: Mutex<Mailbox>,
    tail: Tail,
    /// Jobs in all mailboxes.
    waiting: Gauge,
    /// When the lane last had something to do, in Unix milliseconds; for unloading.
    last_used: AtomicI64,
}

struct Mailbox {
    jobs: VecDeque<Job>,
    /// The state, while nobody runs and it is loaded.
    hot: Option<Hot>,
    running: bool,
}

impl Lane {
    pub(crate) fn new(id: SessionId, mailbox: usize, counters: &Counters) -> Self {
        Self {
            stream: Bytes::copy_from_slice(id.as_bytes()),
            id,
            room: Semaphore::new(mailbox),
            mailbox: Mutex::new(Mailbox { jobs: VecDeque::new(), hot: None, running: false }),
            tail: Tail::default(),
            waiting: counters.mailbox.clone(),
            last_used: AtomicI64::new(0),
        }
    }

    pub(crate) fn id(&self) -> &SessionId {
        &self.id
    }

    pub(crate) fn stream(&self) -> &Bytes {
        &self.stream
    }

    pub(crate) fn tail(&self) -> &Tail {
        &self.tail
    }

    /// Whether nothing would be lost if the lane left memory, having been unused since `before`.
    pub(crate) fn is_idle(&self, before: UnixMillis) -> bool {
        let mailbox = self.mailbox.lock();
        !mailbox.running
            && mailbox.jobs.is_empty()
            && self.last_used.load(Ordering::Relaxed) <= before.0
            && self.tail.subscribers() == 0
    }

    /// The state in memory, if there is one; `None` while the lane runs.
    #[cfg(feature = "testing")]
    pub(crate) fn at_rest(&self) -> Option<Option<Session>> {
        let mailbox = self.mailbox.lock();
        let held = || mailbox.hot.as_ref().and_then(|hot| hot.session.clone());
        (!mailbox.running).then(held)
    }

    /// Whether a run found that there is no such session.
    pub(crate) fn is_vacant(&self) -> bool {
        let mailbox = self.mailbox.lock();
        !mailbox.running
            && mailbox.jobs.is_empty()
            && mailbox.hot.as_ref().is_none_or(|hot| hot.session.is_none())
            && self.tail.subscribers() == 0
    }

    /// Runs a command and answers once its outcome is durable.
    pub(crate) async fn command(self: &Arc<Self>, sessions: &Arc<Sessions>, command: Command) -> Outcome {
        let (reply, answer) = oneshot::channel();
        self.put(sessions, Job::Command { command, reply }).await;
        answer
            .await
            .unwrap_or_else(|_| Outcome { reply: Err(interrupted()), state: SessionState::Unspecified })
    }

    /// Reads the session as of everything accepted so far.
    pub(crate) async fn look(
        self: &Arc<Self>,
        sessions: &Arc<Sessions>,
        caller: &Caller,
    ) -> Result<View, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.put(sessions, Job::Look(Box::new(Look { caller: caller.clone(), reply }))).await;
        answer.await.unwrap_or_else(|_| Err(interrupted()))
    }

    /// Lets time pass in the session.
    pub(crate) async fn tick(self: &Arc<Self>, sessions: &Arc<Sessions>) {
        self.put(sessions, Job::Tick).await;
    }

    /// Puts a job into the mailbox, waiting for room, and runs the lane if nobody does.
    async fn put(self: &Arc<Self>, sessions: &Arc<Sessions>, job: Job) {
        if let Ok(permit) = self.room.acquire().await {
            // Given back by the runner when it takes the job out.
            permit.forget();
        }
        {
            let mut mailbox = self.mailbox.lock();
            mailbox.jobs.push_back(job);
            self.waiting.add(1);
            if mailbox.running {
                return;
            }
            mailbox.running = true;
        }
        let mut run: Pin<Box<dyn Future<Output = ()> + Send>> =
            Box::pin(run(Arc::clone(self), Arc::clone(sessions)));
        let first = std::future::poll_fn(|context| Poll::Ready(run.as_mut().poll(context))).await;
        if first.is_pending() {
            tokio::spawn(run);
        }
    }

    /// The next batch, or `None` when the lane comes to rest with `hot`.
    fn take_batch(&self, hot: &mut Option<Hot>) -> Option<Vec<Job>> {
        let mut mailbox = self.mailbox.lock();
        if mailbox.jobs.is_empty() {
            mailbox.hot = hot.take();
            mailbox.running = false;
            return None;
        }
        let mut bytes = 0;
        let mut count = 0;
        for job in mailbox.jobs.iter().take(BATCH_JOBS) {
            bytes += match job {
                Job::Command { command: Command::Submit(submission), .. } => {
                    submission.envelope.payload.len()
                }
                _ => 0,
            };
            if count > 0 && bytes > BATCH_BYTES {
                break;
            }
            count += 1;
        }
        let batch: Vec<Job> = mailbox.jobs.drain(..count).collect();
        if hot.is_none() {
            *hot = mailbox.hot.take();
        }
        drop(mailbox);
        self.waiting.add(-jobs(batch.len()));
        self.room.add_permits(batch.len());
        Some(batch)
    }
}

/// Restores the lane if its runner is dropped or panics: waiting callers learn that the outcome is unknown, and the
/// next job reloads the state from the log.
struct Running(Arc<Lane>, bool);

impl Drop for Running {
    fn drop(&mut self) {
        if !self.1 {
            let jobs = {
                let mut mailbox = self.0.mailbox.lock();
                mailbox.running = false;
                mailbox.hot = None;
                std::mem::take(&mut mailbox.jobs)
            };
            self.0.waiting.add(-self::jobs(jobs.len()));
            self.0.room.add_permits(jobs.len());
        }
    }
}

async fn run(lane: Arc<Lane>, sessions: Arc<Sessions>) {
    let mut running = Running(Arc::clone(&lane), false);
    let mut hot = None;
    let mut batches = 0;
    while let Some(batch) = lane.take_batch(&mut hot) {
        run_batch(&lane, &sessions, &mut hot, batch).await;
        batches += 1;
        if batches % BATCHES_PER_TURN == 0 {
            tokio::task::yield_now().await;
        }
    }
    running.1 = true;
}

fn jobs(count: usize) -> i64 {
    // A mailbox is bounded far below.
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// What a batch came to before it was appended.
struct Decided {
    entries: Vec<Entry>,
    outcomes: Vec<Option<Outcome>>,
    before: Option<Lifecycle>,
    deadline_before: Option<UnixMillis>,
}

async fn run_batch(lane: &Lane, sessions: &Sessions, hot: &mut Option<Hot>, batch: Vec<Job>) {
    sessions.counters().batches.observe(batch.len() as u64);
    for _ in 0..CONFLICT_BUDGET {
        let state = match hot {
            Some(state) => state,
            None => match load(lane, sessions).await {
                Ok(loaded) => hot.insert(loaded),
                Err(refusal) => return refuse_all(batch, &refusal),
            },
        };
        let now = sessions.clock().now();
        lane.last_used.store(now.0, Ordering::Relaxed);
        let decided = decide_batch(state, &batch, sessions, now);
        if decided.entries.is_empty() {
            // A tick took the session off the list of deadlines; if it came too early, put it back.
            let deadline = state.session.as_ref().and_then(deadline::next_deadline);
            if batch.iter().any(|job| matches!(job, Job::Tick)) {
                sessions.schedule(&lane.id, None, deadline);
            }
            return answer(state, batch, decided.outcomes);
        }
        let append_id = sessions.append_ids().next();
        let Some(append) = append_of(lane, state, append_id, &decided.entries) else {
            return refuse_all(batch, &interrupted());
        };
        match sessions.store().append(append).await {
            Ok(position) => {
                state.tail = Some(position);
                publish(lane, sessions, state, &decided);
                return answer(state, batch, decided.outcomes);
            }
            Err(AppendError::Conflict { actual }) => {
                tracing::warn!(session = %lane.id, ?actual, "another writer was first; deciding again");
                *hot = None;
            }
            Err(error) => {
                tracing::error!(session = %lane.id, %error, "append failed");
                *hot = None;
                return settle(lane, sessions, hot, batch, &append_id, decided, &error).await;
            }
        }
    }
    refuse_all(
        batch,
        &Refusal::new(RefusalCode::InternalError, "other writers were always first; retry later"),
    );
}

/// Decides and applies every job of the batch, in order, at one instant.
fn decide_batch(hot: &mut Hot, batch: &[Job], sessions: &Sessions, now: UnixMillis) -> Decided {
    let catalog = sessions.registry().catalog();
    let session = &mut hot.session;
    let before = session.as_ref().map(|session| session.lifecycle);
    let deadline_before = session.as_ref().and_then(deadline::next_deadline);
    let mut entries = Vec::new();
    let outcomes = batch
        .iter()
        .map(|job| match job {
            Job::Command { command, .. } => {
                let reply = process(session, command, &catalog, now, &mut entries);
                Some(Outcome { reply, state: wire_state(session.as_ref()) })
            }
            // A reader sees the session as of now: what time alone has done to it is done first.
            Job::Look(_) | Job::Tick => {
                if session.is_some() {
                    // A tick is never refused in an existing session.
                    let _: Reply = process(session, &Command::Tick, &catalog, now, &mut entries);
                }
                None
            }
        })
        .collect();
    Decided { entries, outcomes, before, deadline_before }
}

fn append_of(lane: &Lane, hot: &Hot, append_id: [u8; 16], entries: &[Entry]) -> Option<Append> {
    // Entries come only from a session that exists or has just begun.
    let session = hot.session.as_ref()?;
    Some(Append {
        stream: lane.stream.clone(),
        expected: Expected::tail(hot.tail),
        record: record::encode(append_id, entries),
        summary: macp_store::Summary {
            live: !session.lifecycle.is_terminal(),
            bytes: Summary::bytes_of(session),
        },
    })
}

/// Loads the session; publishes what other writers appended since this lane last published.
async fn load(lane: &Lane, sessions: &Sessions) -> Result<Hot, Refusal> {
    let published = lane.tail.head();
    let after = (published > 0).then_some(published);
    let loaded = recovery::load(sessions.store(), &lane.stream, after).await.map_err(|error| {
        tracing::error!(session = %lane.id, %error, "session cannot be loaded");
        if matches!(error, LoadError::Divergence(_)) {
            sessions.counters().replay_mismatches.inc();
        }
        error.refusal()
    })?;
    if let Some(session) = &loaded.hot.session {
        if after.is_some() {
            lane.tail.publish(delivered(&loaded.newer), session.lifecycle);
        } else {
            lane.tail.reset(session.last_ordinal, session.lifecycle);
        }
        sessions.schedule(&lane.id, None, deadline::next_deadline(session));
    }
    Ok(loaded.hot)
}

/// After an append that failed or whose outcome is unknown: what is in the log decides.
async fn settle(
    lane: &Lane,
    sessions: &Sessions,
    hot: &mut Option<Hot>,
    batch: Vec<Job>,
    append_id: &[u8; 16],
    decided: Decided,
    error: &AppendError,
) {
    let message = match error {
        AppendError::NotApplied(_) => {
            "the message could not be stored; nothing was accepted, retry with the same message_id"
        }
        _ => "it is not known whether the message was stored; retry with the same message_id",
    };
    if matches!(error, AppendError::Unknown(_)) {
        match recovery::load(sessions.store(), &lane.stream, Some(lane.tail.head())).await {
            Ok(loaded) if loaded.last_append.as_deref() == Some(&append_id[..]) => {
                let state = hot.insert(loaded.hot);
                publish(lane, sessions, state, &decided);
                return answer(state, batch, decided.outcomes);
            }
            Ok(_) => {}
            Err(error) => tracing::error!(session = %lane.id, %error, "the log cannot be read back"),
        }
    }
    refuse_all(batch, &Refusal::new(RefusalCode::InternalError, message));
}

/// Tells everyone what the appended entries did.
fn publish(lane: &Lane, sessions: &Sessions, hot: &Hot, decided: &Decided) {
    let Some(session) = &hot.session else { return };
    lane.tail.publish(delivered(&decided.entries), session.lifecycle);
    sessions.schedule(&lane.id, decided.deadline_before, deadline::next_deadline(session));
    sessions.transitions(session, decided.before, &decided.entries);
}

fn delivered(entries: &[Entry]) -> impl Iterator<Item = (u64, Arc<macp_kernel::envelope::Sealed>)> + '_ {
    entries
        .iter()
        .filter_map(|entry| entry.delivered().map(|(ordinal, sealed)| (ordinal, Arc::clone(sealed))))
}

/// Sends the answers. A caller that went away is no concern of the session.
fn answer(hot: &Hot, batch: Vec<Job>, outcomes: Vec<Option<Outcome>>) {
    for (job, outcome) in batch.into_iter().zip(outcomes) {
        match (job, outcome) {
            (Job::Command { reply, .. }, Some(outcome)) => drop(reply.send(outcome)),
            (Job::Look(asked), _) => {
                drop(asked.reply.send(look(hot.session.as_ref(), &asked.caller)));
            }
            (Job::Command { .. } | Job::Tick, _) => {}
        }
    }
}

fn look(session: Option<&Session>, caller: &Caller) -> Result<View, Refusal> {
    let session = session.ok_or_else(Refusal::session_not_found)?;
    if !session.may_read(caller) {
        return Err(Refusal::forbidden(
            "only the initiator, declared participants and observers may read this session",
        ));
    }
    Ok(View { metadata: view::metadata(session), high_water: session.last_ordinal })
}

fn refuse_all(batch: Vec<Job>, refusal: &Refusal) {
    for job in batch {
        match job {
            Job::Command { reply, .. } => {
                let outcome = Outcome { reply: Err(refusal.clone()), state: SessionState::Unspecified };
                drop(reply.send(outcome));
            }
            Job::Look(asked) => drop(asked.reply.send(Err(refusal.clone()))),
            Job::Tick => {}
        }
    }
}

fn wire_state(session: Option<&Session>) -> SessionState {
    session.map_or(SessionState::Unspecified, |session| session.lifecycle.wire())
}

fn interrupted() -> Refusal {
    Refusal::new(
        RefusalCode::InternalError,
        "the request was interrupted and its outcome is unknown; retry with the same message_id",
    )
}

/// Whether the entries hold the start of the session.
pub(crate) fn has_start(entries: &[Entry]) -> bool {
    entries.iter().any(|entry| matches!(entry.fact, Fact::Started(_)))
}

/// Whether a submission was newly accepted.
pub(crate) fn newly_accepted(reply: &Result<Acceptance, Refusal>) -> bool {
    reply.as_ref().is_ok_and(|acceptance| !acceptance.duplicate)
}
