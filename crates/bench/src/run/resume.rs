//! Reconnect storms: all subscribers lose their connections at once, miss some messages, and resume where they were.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{PATIENCE, open_sessions, publish, sample, samples, sender_of};
use crate::board::{Board, Reader};
use crate::cli::ResumeArgs;
use crate::client::{Failure, Feeds, Pool};
use crate::measure::Recorder;
use crate::report::Report;
use crate::traffic::Filler;

/// Runs the workload.
pub(crate) async fn run(args: &ResumeArgs) -> Result<Report, Failure> {
    let (target, cast) = (args.server.target(), args.server.cast());
    let pool = Pool::open(&target, &cast, 1).await?;
    let session = Arc::new(open_sessions(&target, &cast, &pool, 1).await?.remove(0));
    let mut link = pool.link(&cast, 0).await?;
    let filler = Filler::new(args.message.message, args.message.payload);
    let missed = args.missed.max(1);
    let board = Board::new(missed * args.rounds.max(1), args.subscribers);
    let recorder = Arc::new(Recorder::always());
    let mut readers = vec![Reader::default(); args.subscribers];
    let mut storms = Duration::ZERO;
    let before = sample(args.server.server_pid);
    for round in 0..args.rounds.max(1) {
        publish(&mut link, &cast, &session, &filler, &board, round * missed..(round + 1) * missed).await?;
        let until = (round + 1) * missed;
        // New connections for everybody: the old ones were dropped at the end of the last round.
        let began = Instant::now();
        let mut resumed = JoinSet::new();
        let connections =
            if args.server.connections == 0 { args.subscribers } else { args.server.connections };
        let feeds = Arc::new(Feeds::open(&target, &cast, connections).await?);
        for (number, mut reader) in readers.iter().copied().enumerate() {
            let (feeds, session) = (Arc::clone(&feeds), Arc::clone(&session));
            let (board, recorder) = (Arc::clone(&board), Arc::clone(&recorder));
            resumed.spawn(async move {
                let catch_up = async {
                    let sender = sender_of(&session, number);
                    let mut feed = feeds.follow(number, sender, &session.id, reader.sequence()).await?;
                    while reader.reached() < until {
                        let Some(seen) = feed.next().await? else {
                            return Err(Failure::new("stream-ended", "the stream ended before it caught up"));
                        };
                        reader.see(&board, seen)?;
                    }
                    Ok(feed)
                };
                match timeout(PATIENCE, catch_up).await {
                    Ok(Ok(feed)) => {
                        recorder.done(number, began);
                        Ok((number, reader, feed))
                    }
                    Ok(Err(failure)) => Err(failure),
                    Err(_) => Err(Failure::new("no-answer", "did not catch up in time")),
                }
            });
        }
        // Held until the last one is there, and then all dropped at once.
        let mut open = Vec::new();
        while let Some(ended) = resumed.join_next().await {
            match ended.map_err(|error| Failure::new("worker", error.to_string()))? {
                Ok((number, reader, feed)) => {
                    readers[number] = reader;
                    open.push(feed);
                }
                Err(failure) => recorder.failed(0, &failure),
            }
        }
        storms += began.elapsed();
        if recorder.fault_count() > 0 {
            break;
        }
    }
    let samples = samples(before, sample(args.server.server_pid));
    let report = Report::new("resume", args, "resumed subscriptions", storms, recorder.totals(), samples);
    Ok(report.with("deliveries", board.deliveries()))
}
