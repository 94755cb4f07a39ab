//! Whole Decision sessions: start, proposal, evaluation, two votes, commitment.

use std::sync::Arc;
use std::time::Instant;

use macp_wire::v1::SessionState;
use tokio::task::JoinSet;

use super::{gather, watch};
use crate::cli::LifecycleArgs;
use crate::client::{Failure, Link, Pool};
use crate::measure::Recorder;
use crate::pace::Pace;
use crate::report::Report;
use crate::traffic::{Cast, Filler, Kind, Numbers};

/// Envelopes of one session.
const ENVELOPES: u64 = 6;

/// Runs the workload.
pub(crate) async fn run(args: &LifecycleArgs) -> Result<Report, Failure> {
    let (target, cast) = (args.server.target(), args.server.cast());
    if cast.senders.len() < 2 {
        return Err(Failure::new("usage", "a decision takes at least two senders"));
    }
    let pool = Pool::open(&target, &cast, args.server.connections).await?;
    let mut links = Vec::new();
    for worker in 0..args.in_flight.max(1) {
        links.push(pool.link(&cast, worker).await?);
    }

    let from = Instant::now() + args.span.warmup();
    let until = from + args.span.duration();
    let recorder = Arc::new(Recorder::between(from, until));
    let pace = Arc::new(Pace::until(until, args.span.rate));
    let mut workers = JoinSet::new();
    let count = links.len();
    for (number, mut link) in links.into_iter().enumerate() {
        let (cast, pace, recorder) = (cast.clone(), Arc::clone(&pace), Arc::clone(&recorder));
        workers.spawn(async move {
            let mut numbers = Numbers::of_worker(number);
            let mut session = number;
            while let Some(began) = pace.slot().await {
                match decide(&mut link, &cast, session, &mut numbers).await {
                    Ok(()) => recorder.done(number, began),
                    Err(failure) => {
                        recorder.failed(number, &failure);
                        if failure.code == "connection" {
                            return;
                        }
                    }
                }
                session += count;
            }
        });
    }
    let samples = watch(&recorder, from, until, args.server.server_pid).await;
    gather(workers, &recorder).await;
    let totals = recorder.totals();
    let envelopes = totals.counted * ENVELOPES;
    let report = Report::new("lifecycle", args, "sessions", until - from, totals, samples);
    let report = report.with("envelopes", envelopes);
    Ok(match args.span.rate {
        Some(_) => report.with("not_begun", pace.missed()),
        None => report,
    })
}

/// One session, from its start to its resolution.
async fn decide(link: &mut Link, cast: &Cast, n: usize, numbers: &mut Numbers) -> Result<(), Failure> {
    let session = cast.session(n);
    let (initiator, other) = (session.roster[0], session.roster[1]);
    let filler = Filler::new(Kind::Evaluation, 20);
    link.send(initiator, cast.start(&session, numbers.next())).await?;
    link.send(initiator, cast.proposal(&session, numbers.next())).await?;
    link.send(other, cast.message(&session, other, numbers.next(), &filler)).await?;
    link.send(initiator, cast.vote(&session, initiator, numbers.next())).await?;
    link.send(other, cast.vote(&session, other, numbers.next())).await?;
    match link.send(initiator, cast.commitment(&session, numbers.next())).await? {
        SessionState::Resolved => Ok(()),
        state => Err(Failure::answer(format!("the session is {} after its Commitment", state.as_str_name()))),
    }
}
