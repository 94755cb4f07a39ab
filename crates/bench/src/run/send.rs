//! Envelopes into sessions, each with its Ack.

use std::sync::Arc;
use std::time::Instant;

use tokio::task::JoinSet;

use super::{gather, open_sessions, sender_of, watch};
use crate::cli::SendArgs;
use crate::client::{Failure, Link, Pool};
use crate::measure::Recorder;
use crate::pace::Pace;
use crate::report::Report;
use crate::traffic::{Cast, Filler, Numbers, Session};

/// Runs the workload.
pub(crate) async fn run(args: &SendArgs) -> Result<Report, Failure> {
    let (target, cast) = (args.server.target(), args.server.cast());
    let pool = Pool::open(&target, &cast, args.server.connections).await?;
    let sessions: Arc<[Session]> = open_sessions(&target, &cast, &pool, args.sessions.max(1)).await?.into();
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
    for (number, link) in links.into_iter().enumerate() {
        let worker = Worker {
            number,
            of: count,
            link,
            cast: cast.clone(),
            sessions: Arc::clone(&sessions),
            filler: Filler::new(args.message.message, args.message.payload),
        };
        workers.spawn(worker.run(Arc::clone(&pace), Arc::clone(&recorder)));
    }
    let samples = watch(&recorder, from, until, args.server.server_pid).await;
    gather(workers, &recorder).await;
    let report = Report::new("send", args, "messages", until - from, recorder.totals(), samples);
    Ok(match args.span.rate {
        Some(_) => report.with("not_begun", pace.missed()),
        None => report,
    })
}

struct Worker {
    number: usize,
    of: usize,
    link: Link,
    cast: Cast,
    sessions: Arc<[Session]>,
    filler: Filler,
}

impl Worker {
    /// Visits every `of`th session in turn.
    async fn run(mut self, pace: Arc<Pace>, recorder: Arc<Recorder>) {
        let mut numbers = Numbers::of_worker(self.number);
        let mut visit = 0;
        while let Some(began) = pace.slot().await {
            let session = &self.sessions[(self.number + visit * self.of) % self.sessions.len()];
            let sender = sender_of(session, self.number / self.sessions.len() + visit);
            let envelope = self.cast.message(session, sender, numbers.next(), &self.filler);
            visit += 1;
            match self.link.send(sender, envelope).await {
                Ok(_) => recorder.done(self.number, began),
                Err(failure) => {
                    recorder.failed(self.number, &failure);
                    if failure.code == "connection" {
                        return;
                    }
                }
            }
        }
    }
}
