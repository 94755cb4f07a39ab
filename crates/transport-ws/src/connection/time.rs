//! A connection's deadlines: heartbeat, silence, stall, credential and drain, on one timer.

use std::ops::ControlFlow;
use std::task::{Context, Poll};

use futures_util::{Sink, Stream};
use macp_kernel::{Refusal, RefusalCode};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::{Connection, End};
use crate::close::Close;
use crate::outbox::Out;
use crate::work::refusal_frame;

impl<S> Connection<S>
where
    S: Sink<Message, Error = Error> + Stream<Item = Result<Message, Error>> + Unpin,
{
    pub(super) fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            // A deadline that has moved away is met by waking up once too early, which is cheaper than moving the
            // timer with every byte.
            let due = self.next_deadline();
            if due < self.timer_at {
                self.set_timer(due);
            }
            std::task::ready!(self.timer.as_mut().poll(cx));
            if due <= Instant::now() {
                return Poll::Ready(());
            }
            self.set_timer(due);
        }
    }

    fn set_timer(&mut self, at: Instant) {
        self.timer.as_mut().reset(at);
        self.timer_at = at;
    }

    fn next_deadline(&self) -> Instant {
        [self.drain_by, self.authenticate_by(), self.stalled_at(), self.silent_at(), self.finish_by()]
            .into_iter()
            .flatten()
            .fold(self.next_ping, Instant::min)
    }

    fn authenticate_by(&self) -> Option<Instant> {
        self.authenticate_by.filter(|_| !self.authenticating)
    }

    fn stalled_at(&self) -> Option<Instant> {
        (self.write_blocked || self.flush_blocked).then(|| self.activity.written() + self.timing.stall)
    }

    fn silent_at(&self) -> Option<Instant> {
        self.reads().then(|| self.activity.heard() + 2 * self.timing.heartbeat)
    }

    fn finish_by(&self) -> Option<Instant> {
        self.begun_at.filter(|_| self.reads()).map(|at| at + self.timing.message)
    }

    /// Does what is due.
    pub(super) fn time(&mut self, now: Instant) -> ControlFlow<End> {
        if self.stalled_at().is_some_and(|at| at <= now) {
            return ControlFlow::Break(End::Lost);
        }
        if self.drain_by.is_some_and(|at| at <= now) {
            return ControlFlow::Break(End::Close(Close::Drain));
        }
        if self.silent_at().is_some_and(|at| at <= now) {
            return ControlFlow::Break(End::Close(Close::Silent));
        }
        if self.finish_by().is_some_and(|at| at <= now) {
            return ControlFlow::Break(End::Close(Close::Unfinished));
        }
        if self.authenticate_by().is_some_and(|at| at <= now) {
            let refusal = Refusal::new(
                RefusalCode::Unauthenticated,
                "no credential came in time; present one on the upgrade or in an authenticate frame",
            );
            self.note("connection", "", &refusal);
            self.outbox.push(Out::unasked(refusal_frame(self.encoding, "", &refusal)));
            return ControlFlow::Break(End::Close(Close::Unauthenticated));
        }
        if self.next_ping <= now {
            self.next_ping = now + self.timing.heartbeat;
            self.ping_due = true;
            self.streams.rest();
            self.outbox.rest();
            self.work.rest();
        }
        ControlFlow::Continue(())
    }
}
