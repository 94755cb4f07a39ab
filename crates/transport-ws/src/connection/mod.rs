//! One socket from `welcome` to the close frame: a single task that reads, works, writes and keeps time.
//!
//! Generic over the stream of messages, so that tests drive it without a socket. Every source of progress is polled
//! from one place, [`Connection::poll_turn`]; what it found is handled in [`Connection::handle`].

mod requests;
mod time;

use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::join;
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use macp_auth::{Authenticator, ClientCertificate};
use macp_engine::{Engine, Expiry, Rarely};
use macp_kernel::{Identity, Refusal};
use macp_wire::gateway::v1::server_frame::Body;
use macp_wire::gateway::v1::{Draining, Welcome};
use tokio::time::{Instant, Sleep, sleep_until, timeout};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::activity::Activity;
use crate::close::Close;
use crate::faults::Faults;
use crate::frame::Encoding;
use crate::options::Timing;
use crate::outbox::{Out, Outbox};
use crate::streams::Streams;
use crate::work::{Done, Work};

/// Frames written in one turn before the other sources get theirs.
const FRAMES_PER_TURN: usize = 64;

/// Bytes of a client's control frame beside its payload.
const CONTROL_HEAD: u64 = 6;

/// What a connection needs to begin.
pub(crate) struct Setup {
    pub(crate) connection_id: uuid::Uuid,
    pub(crate) engine: Engine,
    pub(crate) authenticator: Arc<Authenticator>,
    pub(crate) certificate: Option<ClientCertificate>,
    pub(crate) identity: Identity,
    pub(crate) encoding: Encoding,
    pub(crate) max_frame_bytes: usize,
    /// Longest frame that is written.
    pub(crate) max_out: usize,
    pub(crate) max_streams: usize,
    pub(crate) timing: Timing,
    pub(crate) activity: Activity,
}

/// How a connection came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The server closes it.
    Close(Close),
    /// The peer closed it, with this code.
    PeerClosed(u16),
    /// The transport broke or does not move.
    Lost,
}

/// Something that has happened.
enum Turn {
    Done(Done),
    Read(Option<Result<Message, Error>>),
    DrainBegan,
    Drained,
    Timer,
    Expired(Refusal),
    WriteFailed(Error),
}

pub(crate) struct Connection<S> {
    socket: S,
    connection_id: uuid::Uuid,
    encoding: Encoding,
    timing: Timing,
    max_frame_bytes: usize,
    activity: Activity,
    work: Work,
    streams: Streams,
    outbox: Outbox,
    faults: Faults,
    draining: Pin<Box<WaitForCancellationFutureOwned>>,
    drain_by: Option<Instant>,
    /// When the connection must have a credential, as long as it has none.
    authenticate_by: Option<Instant>,
    /// The end of the credential that the connection has.
    expiry: Expiry,
    /// Of the drain and of the credential's end.
    rarely: Rarely,
    /// An `authenticate` is being worked on: what follows it waits for its outcome.
    authenticating: bool,
    next_ping: Instant,
    ping_due: bool,
    /// Bytes that are known to belong to whole messages, and since when there are more.
    whole: u64,
    begun_at: Option<Instant>,
    /// The socket was not read in the last turn, so that silence means nothing.
    deaf: bool,
    /// The socket takes no more frames for now.
    write_blocked: bool,
    /// The socket does not get rid of the frames that it took.
    flush_blocked: bool,
    unflushed: usize,
    streams_next: bool,
    timer: Pin<Box<Sleep>>,
    timer_at: Instant,
}

impl<S> Connection<S>
where
    S: Sink<Message, Error = Error> + Stream<Item = Result<Message, Error>> + Unpin,
{
    pub(crate) fn new(socket: S, setup: Setup) -> Self {
        let now = Instant::now();
        let known = matches!(setup.identity, Identity::Known(_));
        let Setup { connection_id, engine, authenticator, certificate, identity, encoding, timing, .. } =
            setup;
        Self {
            socket,
            connection_id,
            encoding,
            timing,
            max_frame_bytes: setup.max_frame_bytes,
            activity: setup.activity,
            expiry: engine.expiry(&identity),
            draining: Box::pin(engine.draining().clone().cancelled_owned()),
            rarely: Rarely::new(),
            work: Work::new(engine, authenticator, certificate, encoding, setup.max_out, identity),
            streams: Streams::new(encoding, setup.max_streams),
            outbox: Outbox::default(),
            faults: Faults::default(),
            drain_by: None,
            authenticate_by: (!known).then(|| now + timing.authenticate),
            authenticating: false,
            next_ping: now + timing.heartbeat,
            ping_due: false,
            whole: 0,
            begun_at: None,
            deaf: false,
            write_blocked: false,
            flush_blocked: false,
            unflushed: 0,
            streams_next: false,
            timer: Box::pin(sleep_until(now + timing.heartbeat)),
            timer_at: now + timing.heartbeat,
        }
    }

    pub(crate) fn id(&self) -> uuid::Uuid {
        self.connection_id
    }

    /// Serves the connection until it is to end; [`Connection::finish`] ends it.
    pub(crate) async fn run(&mut self) -> End {
        let welcome = self.encoding.encode("", Body::Welcome(self.welcome()));
        self.outbox.push(Out::unasked(welcome));
        loop {
            let turn = std::future::poll_fn(|cx| self.poll_turn(cx)).await;
            if let ControlFlow::Break(end) = self.handle(turn) {
                return end;
            }
        }
    }

    fn welcome(&self) -> Welcome {
        let sender = match self.work.identity() {
            Identity::Known(caller) => caller.sender.to_string(),
            _ => String::new(),
        };
        Welcome {
            connection_id: self.connection_id.to_string(),
            sender,
            heartbeat_ms: u32::try_from(self.timing.heartbeat.as_millis()).unwrap_or(u32::MAX),
            max_frame_bytes: self.max_frame_bytes as u64,
            server_time_unix_ms: self.work.engine().now().0,
        }
    }

    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<Turn> {
        if let Poll::Ready(done) = self.work.poll(cx) {
            return Poll::Ready(Turn::Done(done));
        }
        if let Some(waker) = self.rarely.called(cx) {
            let rare = self.poll_rare(&mut Context::from_waker(&waker));
            if rare.is_ready() {
                self.rarely.again();
                return rare;
            }
        }
        let mut frames = 0;
        while frames < FRAMES_PER_TURN {
            match self.poll_write(cx) {
                Poll::Ready(Ok(())) => frames += 1,
                Poll::Ready(Err(error)) => return Poll::Ready(Turn::WriteFailed(error)),
                Poll::Pending => break,
            }
        }
        if self.unflushed >= FRAMES_PER_TURN
            && let Poll::Ready(Err(error)) = self.poll_flush(cx)
        {
            return Poll::Ready(Turn::WriteFailed(error));
        }
        if self.drain_by.is_some() && self.outbox.is_settled() {
            return Poll::Ready(Turn::Drained);
        }
        if let Poll::Ready(message) = self.poll_read(cx) {
            return Poll::Ready(Turn::Read(message));
        }
        // Only now: as long as there is something to do, what is written is sent along with what follows.
        if let Poll::Ready(Err(error)) = self.poll_flush(cx) {
            return Poll::Ready(Turn::WriteFailed(error));
        }
        if self.poll_timer(cx).is_ready() {
            return Poll::Ready(Turn::Timer);
        }
        if frames == FRAMES_PER_TURN {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// What hardly ever happens; polled only when it may have.
    fn poll_rare(&mut self, cx: &mut Context<'_>) -> Poll<Turn> {
        // A credential that is being looked at may be the next one.
        if !self.authenticating
            && let Poll::Ready(refusal) = self.expiry.poll_reached(cx)
        {
            return Poll::Ready(Turn::Expired(refusal));
        }
        if self.drain_by.is_none() && self.draining.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Turn::DrainBegan);
        }
        Poll::Pending
    }

    /// Hands one frame to the socket. Pending if there is none, or no room.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let has_streams = self.streams.poll(cx);
        if !(self.ping_due || has_streams || !self.outbox.is_empty()) {
            return Poll::Pending;
        }
        match self.socket.poll_ready_unpin(cx) {
            Poll::Ready(ready) => ready?,
            Poll::Pending => {
                self.note_blocked();
                self.write_blocked = true;
                return Poll::Pending;
            }
        }
        self.write_blocked = false;
        if std::mem::take(&mut self.ping_due) {
            return Poll::Ready(self.hand_over(Message::Ping(Bytes::new())));
        }
        // Answers and streams alternate, so that neither holds the other up.
        self.streams_next = !self.streams_next;
        let out = if self.streams_next {
            self.streams.pop().or_else(|| self.outbox.pop())
        } else {
            self.outbox.pop().or_else(|| self.streams.pop())
        };
        // None if all that was ready belonged to streams that were ended.
        let Some(out) = out else { return Poll::Pending };
        self.outbox.written(&out);
        let Some(message) = self.encoding.message(out.frame) else {
            return Poll::Ready(Err(Error::AttackAttempt));
        };
        Poll::Ready(self.hand_over(message))
    }

    fn hand_over(&mut self, message: Message) -> Result<(), Error> {
        self.unflushed += 1;
        self.socket.start_send_unpin(message)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if self.unflushed == 0 {
            return Poll::Ready(Ok(()));
        }
        let flushed = self.socket.poll_flush_unpin(cx);
        if flushed.is_ready() {
            self.unflushed = 0;
        } else {
            self.note_blocked();
        }
        self.flush_blocked = flushed.is_pending();
        flushed
    }

    /// Starts the clock of [`Timing::stall`] unless it runs.
    fn note_blocked(&self) {
        if !(self.write_blocked || self.flush_blocked) {
            self.activity.mark_written();
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Message, Error>>> {
        if !self.reads() {
            self.deaf = true;
            return Poll::Pending;
        }
        if std::mem::take(&mut self.deaf) {
            self.activity.mark_heard();
            // The peer could not go on with it.
            self.begun_at = None;
        }
        let polled = self.socket.poll_next_unpin(cx);
        self.follow(&polled);
        polled
    }

    /// Notes whether the peer is within a message, as far as that can be told from outside of tungstenite: by the bytes
    /// that have come since the last whole one. Control frames may come within a message and are not part of it.
    fn follow(&mut self, polled: &Poll<Option<Result<Message, Error>>>) {
        let bytes = self.activity.bytes();
        match polled {
            Poll::Ready(Some(Ok(Message::Text(_) | Message::Binary(_)))) => self.whole = bytes,
            Poll::Ready(Some(Ok(control))) => {
                self.whole = bytes.min(self.whole + CONTROL_HEAD + control.len() as u64);
            }
            Poll::Ready(_) => return,
            Poll::Pending if bytes > self.whole => {
                self.begun_at.get_or_insert_with(Instant::now);
                return;
            }
            Poll::Pending => {}
        }
        if bytes <= self.whole {
            self.begun_at = None;
        }
    }

    /// Whether the peer may say something now; if not, its bytes wait in the transport.
    fn reads(&self) -> bool {
        self.drain_by.is_none() && !self.authenticating && self.outbox.has_room()
    }

    fn handle(&mut self, turn: Turn) -> ControlFlow<End> {
        match turn {
            Turn::Done(done) => self.done(done),
            Turn::Read(Some(Ok(message))) => {
                self.activity.mark_heard();
                self.read(&message)
            }
            Turn::Read(Some(Err(error))) => {
                tracing::debug!(connection = %self.connection_id, %error, "socket cannot be read");
                ControlFlow::Break(Close::of_read_error(&error).map_or(End::Lost, End::Close))
            }
            Turn::Read(None) => ControlFlow::Break(End::Lost),
            Turn::DrainBegan => {
                self.drain_by = Some(Instant::now() + self.timing.drain);
                let draining = Draining { reconnect_after_ms: self.reconnect_after_ms() };
                self.outbox.push(Out::unasked(self.encoding.encode("", Body::Draining(draining))));
                ControlFlow::Continue(())
            }
            Turn::Drained => ControlFlow::Break(End::Close(Close::Drain)),
            Turn::Timer => self.time(Instant::now()),
            Turn::Expired(refusal) => self.expired(&refusal),
            Turn::WriteFailed(Error::WriteBufferFull(_) | Error::AttackAttempt) => {
                tracing::error!(connection = %self.connection_id, "a frame cannot be written");
                ControlFlow::Break(End::Close(Close::Internal))
            }
            Turn::WriteFailed(error) => {
                tracing::debug!(connection = %self.connection_id, %error, "socket cannot be written");
                ControlFlow::Break(End::Lost)
            }
        }
    }

    /// Between half and one and a half of the average, so that the clients of a server do not come back at once.
    fn reconnect_after_ms(&self) -> u32 {
        let average = u32::try_from(self.timing.reconnect_after.as_millis()).unwrap_or(u32::MAX);
        let [.., random] = *self.connection_id.as_bytes();
        average / 2 + average / 255 * u32::from(random)
    }

    /// Says what is left to say, and leaves nothing undone that was taken in. The socket, as far as it came.
    pub(crate) async fn finish(self, end: End) -> S {
        let Self { mut socket, work, mut outbox, encoding, .. } = self;
        let farewell = async {
            if let End::Close(close) = end {
                while let Some(message) = outbox.pop().and_then(|out| encoding.message(out.frame)) {
                    socket.feed(message).await?;
                }
                socket.send(Message::Close(Some(close.frame()))).await?;
            }
            if end != End::Lost {
                // The peer's close frame, or the way of our answer to it.
                while let Some(message) = socket.next().await {
                    message?;
                }
            }
            Ok::<_, Error>(())
        };
        // A peer that does not take part in closing is let go of.
        let time = if end == End::Close(Close::Drain) { self.timing.drained } else { self.timing.close };
        let farewell = timeout(time, farewell);
        let work = timeout(time, work.finish());
        drop(join(farewell, work).await);
        socket
    }
}

#[cfg(test)]
mod tests;
