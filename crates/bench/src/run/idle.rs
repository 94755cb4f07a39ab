//! Subscriptions or open sessions that do nothing: what each of them costs, and whether it still works afterwards.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::sleep;

use super::{PREPARING, gather, open_session, open_sessions, publish, sample, samples};
use crate::board::{Board, Reader};
use crate::cli::{Held, IdleArgs};
use crate::client::{Failure, Feed, Feeds, Pool};
use crate::measure::Recorder;
use crate::report::Report;
use crate::traffic::{Filler, Kind, Numbers, OPENING, Session};

/// Operations before the first sample, so that what a server makes once is not counted as the cost of each.
const SETTLING: usize = 50;
/// Worker numbers of the sessions that are held, apart from those of the settling ones.
const HOLDER: usize = 0x8000;

/// Runs the workload.
pub(crate) async fn run(args: &IdleArgs) -> Result<Report, Failure> {
    match args.hold {
        Held::Subscriptions => subscriptions(args).await,
        Held::Sessions => sessions(args).await,
    }
}

async fn hold(args: &IdleArgs) {
    sleep(Duration::from_secs_f64(args.seconds)).await;
}

async fn subscriptions(args: &IdleArgs) -> Result<Report, Failure> {
    let (target, cast) = (args.server.target(), args.server.cast());
    let pool = Pool::open(&target, &cast, 1).await?;
    let session = open_sessions(&target, &cast, &pool, 1).await?.remove(0);
    let connections = if args.server.connections == 0 { args.count } else { args.server.connections };
    // As many again, and gone before the first sample.
    drop(
        follow_all(&Feeds::open(&target, &cast, SETTLING).await?, &session, SETTLING, &Recorder::always())
            .await?,
    );
    sleep(Duration::from_millis(500)).await;

    let recorder = Arc::new(Recorder::always());
    let began = Instant::now();
    let before = sample(args.server.server_pid);
    let feeds = Feeds::open(&target, &cast, connections).await?;
    let held = follow_all(&feeds, &session, args.count, &recorder).await?;
    let elapsed = began.elapsed();
    hold(args).await;
    let after = sample(args.server.server_pid);

    let board = Board::new(1, args.count);
    let proof = Arc::new(Recorder::always());
    let mut readers = JoinSet::new();
    for (number, mut feed) in held.into_iter().enumerate() {
        let (board, proof) = (Arc::clone(&board), Arc::clone(&proof));
        readers.spawn(async move {
            let seen = match feed.next().await {
                Ok(Some(seen)) => Reader::default().see(&board, seen),
                Ok(None) => Err(Failure::new("stream-ended", "an idle stream has ended")),
                Err(failure) => Err(failure),
            };
            match seen {
                Ok(sent) => proof.done(number, sent),
                Err(failure) => proof.failed(number, &failure),
            }
        });
    }
    let filler = Filler::new(Kind::Evaluation, 20);
    let mut link = pool.link(&cast, 0).await?;
    publish(&mut link, &cast, &session, &filler, &board, 0..1).await?;
    gather(readers, &proof).await;

    let proof = proof.totals();
    let mut totals = recorder.totals();
    totals.faults.extend(proof.faults);
    let samples = samples(before, after);
    let report = Report::new("idle", args, "subscriptions", elapsed, totals, samples)
        .with("wake_us", serde_json::to_value(proof.times.summary()).unwrap_or_default());
    Ok(with_bytes_each(report, samples.server, args.count))
}

/// Opens subscriptions, some of them side by side.
async fn follow_all(
    feeds: &Feeds,
    session: &Session,
    count: usize,
    recorder: &Recorder,
) -> Result<Vec<Feed>, Failure> {
    use futures_util::{StreamExt as _, TryStreamExt as _, stream};
    let reader = session.roster[0];
    stream::iter(0..count)
        .map(|number| async move {
            let began = Instant::now();
            let feed = feeds.follow(number, reader, &session.id, OPENING).await?;
            recorder.done(number, began);
            Ok(feed)
        })
        .buffer_unordered(PREPARING)
        .try_collect()
        .await
}

async fn sessions(args: &IdleArgs) -> Result<Report, Failure> {
    let (target, cast) = (args.server.target(), args.server.cast());
    let pool = Arc::new(Pool::open(&target, &cast, args.server.connections.max(1)).await?);
    open_sessions(&target, &cast, &pool, SETTLING).await?;
    sleep(Duration::from_millis(500)).await;

    let recorder = Arc::new(Recorder::always());
    let began = Instant::now();
    let before = sample(args.server.server_pid);
    let mut workers = JoinSet::new();
    for worker in 0..PREPARING {
        let mut link = pool.link(&cast, worker).await?;
        let (cast, recorder, count) = (cast.clone(), Arc::clone(&recorder), args.count);
        workers.spawn(async move {
            let mut numbers = Numbers::of_worker(HOLDER + worker);
            let mut opened = Vec::new();
            for n in (worker..count).step_by(PREPARING) {
                let began = Instant::now();
                opened.push(open_session(&mut link, &cast, n, &mut numbers).await?);
                recorder.done(worker, began);
            }
            Ok::<_, Failure>((link, numbers, opened))
        });
    }
    let mut opened = Vec::new();
    while let Some(ended) = workers.join_next().await {
        opened.push(ended.map_err(|error| Failure::new("worker", error.to_string()))??);
    }
    let elapsed = began.elapsed();
    hold(args).await;
    let after = sample(args.server.server_pid);

    // Every session takes another message.
    let proof = Arc::new(Recorder::always());
    let mut workers = JoinSet::new();
    for (worker, (mut link, mut numbers, sessions)) in opened.into_iter().enumerate() {
        let (cast, proof) = (cast.clone(), Arc::clone(&proof));
        workers.spawn(async move {
            let filler = Filler::new(Kind::Evaluation, 20);
            for session in sessions {
                let began = Instant::now();
                let sender = session.roster[0];
                let envelope = cast.message(&session, sender, numbers.next(), &filler);
                match link.send(sender, envelope).await {
                    Ok(_) => proof.done(worker, began),
                    Err(failure) => proof.failed(worker, &failure),
                }
            }
        });
    }
    gather(workers, &proof).await;
    let proof = proof.totals();
    let mut totals = recorder.totals();
    totals.faults.extend(proof.faults);
    let samples = samples(before, after);
    let report = Report::new("idle", args, "sessions", elapsed, totals, samples)
        .with("wake_us", serde_json::to_value(proof.times.summary()).unwrap_or_default());
    Ok(with_bytes_each(report, samples.server, args.count))
}

/// Adds what the server's memory grew by for each.
fn with_bytes_each(
    report: Report,
    server: Option<(crate::process::Usage, crate::process::Usage)>,
    count: usize,
) -> Report {
    match server {
        Some((before, after)) => {
            report.with("server_bytes_each", after.rss.saturating_sub(before.rss) / count.max(1) as u64)
        }
        None => report,
    }
}
