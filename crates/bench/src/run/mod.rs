//! The workloads, one in each file, and what they have in common.

pub(crate) mod fanout;
pub(crate) mod idle;
pub(crate) mod lifecycle;
pub(crate) mod replay;
pub(crate) mod resume;
pub(crate) mod send;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout};

use crate::client::{Failure, Link, Pool, Target};
use crate::measure::Recorder;
use crate::process::{Usage, usage};
use crate::progress::Progress;
use crate::report::Samples;
use crate::traffic::{Cast, Filler, Numbers, Session};

/// How long the end of a run waits for answers that are due.
const PATIENCE: Duration = Duration::from_secs(30);
/// Operations side by side while a run is being prepared.
const PREPARING: usize = 32;
/// Worker numbers of the preparation begin here, so that its message ids are nobody else's.
const PREPARER: usize = 0xff00;

/// Uses of the two processes, now.
fn sample(server: Option<u32>) -> (Usage, Option<Usage>) {
    (usage(std::process::id()), server.map(usage))
}

fn samples(before: (Usage, Option<Usage>), after: (Usage, Option<Usage>)) -> Samples {
    Samples { client: (before.0, after.0), server: before.1.zip(after.1) }
}

/// Waits for the measured time, and samples both ends of it.
async fn watch(recorder: &Arc<Recorder>, from: Instant, until: Instant, server: Option<u32>) -> Samples {
    let progress = Progress::show(recorder, Instant::now(), until);
    sleep_until(from.into()).await;
    let before = sample(server);
    sleep_until(until.into()).await;
    let after = sample(server);
    drop(progress);
    samples(before, after)
}

/// Waits for all workers, and no longer than is patient; those that are left had no answer.
async fn gather(mut workers: JoinSet<()>, recorder: &Recorder) {
    let all = async {
        while let Some(ended) = workers.join_next().await {
            if let Err(error) = ended {
                recorder.failed(0, &Failure::new("worker", error.to_string()));
            }
        }
    };
    if timeout(PATIENCE, all).await.is_err() {
        let message = format!("still waiting {} s after the end", PATIENCE.as_secs());
        for _ in 0..workers.len() {
            recorder.failed(0, &Failure::new("no-answer", message.clone()));
        }
    }
}

/// Opens `count` sessions with a proposal in each.
async fn open_sessions(
    target: &Target,
    cast: &Cast,
    pool: &Pool,
    count: usize,
) -> Result<Vec<Session>, Failure> {
    target.resolve().await?;
    let mut workers = JoinSet::new();
    let each = PREPARING.min(count);
    for worker in 0..each {
        let mut link = pool.link(cast, worker).await?;
        let cast = cast.clone();
        workers.spawn(async move {
            let mut numbers = Numbers::of_worker(PREPARER + worker);
            let mut opened = Vec::new();
            for n in (worker..count).step_by(each) {
                opened.push((n, open_session(&mut link, &cast, n, &mut numbers).await?));
            }
            Ok::<_, Failure>(opened)
        });
    }
    let mut sessions = Vec::new();
    while let Some(opened) = workers.join_next().await {
        sessions.extend(opened.map_err(|error| Failure::new("worker", error.to_string()))??);
    }
    sessions.sort_unstable_by_key(|(n, _)| *n);
    Ok(sessions.into_iter().map(|(_, session)| session).collect())
}

async fn open_session(
    link: &mut Link,
    cast: &Cast,
    n: usize,
    numbers: &mut Numbers,
) -> Result<Session, Failure> {
    let session = cast.session(n);
    let initiator = session.roster[0];
    link.send(initiator, cast.start(&session, numbers.next())).await?;
    link.send(initiator, cast.proposal(&session, numbers.next())).await?;
    Ok(session)
}

/// Whom the message number `n` of a session comes from.
fn sender_of(session: &Session, n: usize) -> usize {
    session.roster[n % session.roster.len()]
}

/// Sends messages `numbers` of one session whose deliveries are checked on a board, one after the other.
async fn publish(
    link: &mut Link,
    cast: &Cast,
    session: &Session,
    filler: &Filler,
    board: &crate::board::Board,
    numbers: std::ops::Range<usize>,
) -> Result<(), Failure> {
    for number in numbers {
        let sender = sender_of(session, number);
        let envelope = cast.message(session, sender, number as u64, filler);
        board.send(number, Instant::now());
        link.send(sender, envelope).await?;
    }
    Ok(())
}
