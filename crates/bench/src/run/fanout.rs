//! One session, many subscribers: how long each delivery takes, and whether all of them get everything in one order.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{PATIENCE, gather, open_sessions, sender_of, watch};
use crate::board::{Board, Reader};
use crate::cli::FanoutArgs;
use crate::client::{Failure, Feed, Feeds, Pool};
use crate::measure::Recorder;
use crate::pace::Pace;
use crate::report::Report;
use crate::traffic::{Filler, OPENING};

/// Messages that one run can send: 32 MiB of notes.
const CAPACITY: usize = 1 << 20;

/// Runs the workload.
pub(crate) async fn run(args: &FanoutArgs) -> Result<Report, Failure> {
    let (target, cast) = (args.server.target(), args.server.cast());
    let pool = Pool::open(&target, &cast, args.server.connections).await?;
    let session = Arc::new(open_sessions(&target, &cast, &pool, 1).await?.remove(0));
    let feeds = Feeds::open(&target, &cast, args.server.connections).await?;
    let board = Board::new(CAPACITY, args.subscribers);
    let mut followed = Vec::new();
    for number in 0..args.subscribers {
        let reader = sender_of(&session, number);
        followed.push(feeds.follow(number, reader, &session.id, OPENING).await?);
    }

    let from = Instant::now() + args.span.warmup();
    let until = from + args.span.duration();
    let deliveries = Arc::new(Recorder::between(from, until));
    let sends = Arc::new(Recorder::between(from, until));
    let mut subscribers = JoinSet::new();
    for (number, feed) in followed.into_iter().enumerate() {
        subscribers.spawn(subscribe(number, feed, Arc::clone(&board), Arc::clone(&deliveries)));
    }

    let pace = Arc::new(Pace::until(until, args.span.rate));
    let window = if args.span.rate.is_some() { CAPACITY } else { args.window.max(1) };
    let next = Arc::new(AtomicUsize::new(0));
    let accepted = Arc::new(AtomicU64::new(0));
    let mut publishers = JoinSet::new();
    for number in 0..args.publishers.max(1) {
        let mut link = pool.link(&cast, number).await?;
        let (cast, session, board) = (cast.clone(), Arc::clone(&session), Arc::clone(&board));
        let (pace, sends) = (Arc::clone(&pace), Arc::clone(&sends));
        let (next, accepted) = (Arc::clone(&next), Arc::clone(&accepted));
        let filler = Filler::new(args.message.message, args.message.payload);
        publishers.spawn(async move {
            while let Some(mut began) = pace.slot().await {
                let message = next.fetch_add(1, Ordering::Relaxed);
                if message >= board.capacity() {
                    return;
                }
                if message >= window {
                    // A closed loop: the slot comes when the slowest subscriber has made room.
                    if timeout(PATIENCE, board.until_complete((message + 1 - window) as u64)).await.is_err() {
                        return;
                    }
                    began = Instant::now();
                }
                let sender = sender_of(&session, message);
                let envelope = cast.message(&session, sender, message as u64, &filler);
                board.send(message, began);
                match link.send(sender, envelope).await {
                    Ok(_) => {
                        accepted.fetch_add(1, Ordering::Relaxed);
                        sends.done(number, began);
                    }
                    Err(failure) => return sends.failed(number, &failure),
                }
            }
        });
    }
    let samples = watch(&deliveries, from, until, args.server.server_pid).await;
    gather(publishers, &sends).await;

    let accepted = accepted.load(Ordering::Relaxed);
    let whole = timeout(PATIENCE, board.until_complete(accepted)).await.is_ok();
    subscribers.abort_all();
    let wanted = accepted * args.subscribers as u64;
    let delivered = board.deliveries();
    if !whole || delivered != wanted {
        let message = format!("{delivered} deliveries of {wanted}");
        deliveries.failed(0, &Failure::new("incomplete", message));
    }
    let sends = sends.totals();
    let mut totals = deliveries.totals();
    totals.faults.extend(sends.faults);
    let report = Report::new("fanout", args, "deliveries", until - from, totals, samples)
        .with("messages", accepted)
        .with("ack_us", serde_json::to_value(sends.times.summary()).unwrap_or_default());
    Ok(match args.span.rate {
        Some(_) => report.with("not_begun", pace.missed()),
        None => report,
    })
}

/// Reads a feed, until somebody aborts it or it does not bring what it must.
async fn subscribe(number: usize, mut feed: Feed, board: Arc<Board>, recorder: Arc<Recorder>) {
    let mut reader = Reader::default();
    loop {
        let seen = match feed.next().await {
            Ok(Some(seen)) => seen,
            Ok(None) => {
                let failure = Failure::new("stream-ended", "the session is open, and its stream has ended");
                return recorder.failed(number, &failure);
            }
            Err(failure) => return recorder.failed(number, &failure),
        };
        match reader.see(&board, seen) {
            Ok(sent) => recorder.done(number, sent),
            Err(failure) => return recorder.failed(number, &failure),
        }
    }
}
