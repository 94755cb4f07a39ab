//! The whole history of a session, read over and over again.

use std::sync::Arc;
use std::time::Instant;

use tokio::task::JoinSet;

use super::{gather, open_sessions, publish, sender_of, watch};
use crate::board::{Board, Reader};
use crate::cli::ReplayArgs;
use crate::client::{Failure, Feeds, Pool};
use crate::measure::Recorder;
use crate::pace::Pace;
use crate::report::Report;
use crate::traffic::{Filler, OPENING};

/// Runs the workload.
pub(crate) async fn run(args: &ReplayArgs) -> Result<Report, Failure> {
    let (target, cast) = (args.server.target(), args.server.cast());
    let pool = Pool::open(&target, &cast, 1).await?;
    let session = Arc::new(open_sessions(&target, &cast, &pool, 1).await?.remove(0));
    let filler = Filler::new(args.message.message, args.message.payload);
    let history = args.history.max(1);
    // Every replay visits every place once more; how many there will be is not known.
    let board = Board::new(history, usize::MAX);
    let mut link = pool.link(&cast, 0).await?;
    publish(&mut link, &cast, &session, &filler, &board, 0..history).await?;

    let readers = args.readers.max(1);
    let feeds = Arc::new(Feeds::open(&target, &cast, readers).await?);
    let from = Instant::now() + args.span.warmup();
    let until = from + args.span.duration();
    let recorder = Arc::new(Recorder::between(from, until));
    let pace = Arc::new(Pace::until(until, args.span.rate));
    let mut workers = JoinSet::new();
    for number in 0..readers {
        let (feeds, session, board) = (Arc::clone(&feeds), Arc::clone(&session), Arc::clone(&board));
        let (pace, recorder) = (Arc::clone(&pace), Arc::clone(&recorder));
        workers.spawn(async move {
            while let Some(began) = pace.slot().await {
                let replay = async {
                    let sender = sender_of(&session, number);
                    let mut feed = feeds.follow(number, sender, &session.id, 0).await?;
                    for _ in 0..OPENING {
                        feed.next().await?;
                    }
                    let mut reader = Reader::default();
                    while reader.reached() < history {
                        let Some(seen) = feed.next().await? else {
                            return Err(Failure::new("stream-ended", "a replay ended before its end"));
                        };
                        reader.see(&board, seen)?;
                    }
                    Ok(())
                };
                match replay.await {
                    Ok(()) => recorder.done(number, began),
                    Err(failure) => return recorder.failed(number, &failure),
                }
            }
        });
    }
    let samples = watch(&recorder, from, until, args.server.server_pid).await;
    gather(workers, &recorder).await;
    let totals = recorder.totals();
    let envelopes = totals.counted * (history as u64 + OPENING);
    let rate = envelopes as f64 / (until - from).as_secs_f64();
    let report = Report::new("replay", args, "replays", until - from, totals, samples);
    Ok(report.with("envelopes", envelopes).with("envelopes_a_second", rate.round()))
}
