//! `StreamSession`: the binding's rules for the frames of one stream, apart from the sockets.
//!
//! One stream is bound to one session by its first envelope or subscribe frame. It pulls: a frame is read only
//! when the client has room for responses, and an envelope to deliver is read from the session's history by a
//! cursor. So nothing queues here, and a slow client costs only its own place in history.
//!
//! What the protocol says is decided by the engine; here is only which frames are allowed, which refusals are
//! frames and which end the stream (RFC-MACP-0006 §3.2).

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll};

use futures_util::StreamExt;
use macp_engine::{End as Ended, Ends, Engine, Event, Method, Subscription, ack};
use macp_kernel::envelope::core_type;
use macp_kernel::{Identity, Refusal, RefusalCode};
use macp_wire::v1::{Envelope, MacpError, StreamSessionRequest};
use tokio_stream::Stream;
use tonic::Status;

use crate::frame::StreamFrame;
use crate::status;

/// Deliveries after which a waiting frame goes first, so that a long replay cannot hold up the client's own
/// envelopes for ever.
const TURN: u32 = 64;

/// One `StreamSession` call.
pub(crate) struct SessionStream<I> {
    engine: Engine,
    identity: Identity,
    ends: Ends,
    /// The client's frames; `None` once the client is done.
    input: Option<I>,
    /// The session that every frame must be about.
    bound: Option<String>,
    /// Where delivery stands; absent until the session exists and the caller may read it.
    cursor: Option<Cursor>,
    /// Deliveries since the last frame.
    turn: u32,
    input_end: InputEnd,
    ended: bool,
}

/// What it means that a client sends no more frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InputEnd {
    /// It is done: what was accepted until now is delivered, and the stream ends.
    HalfClose,
    /// Nothing: it could send no more. What it has subscribed to is delivered until the session ends.
    Follow,
}

/// A place in the session's history.
struct Cursor {
    subscription: Subscription,
    /// The last ordinal delivered.
    position: u64,
    /// The last ordinal owed to a client that is done.
    until: u64,
    /// The session is over, and everything of it was delivered.
    last: bool,
}

/// What happened first.
enum Woken {
    Ended(Ended),
    Event(Result<Event, Refusal>),
    Frame(Option<Result<StreamSessionRequest, Status>>),
}

/// How a stream ends.
enum End {
    /// The client was done and has everything.
    Done,
    Refused(Refusal),
    /// The transport's own word on a frame that could not be read.
    Transport(Status),
}

impl From<Refusal> for End {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl<I> SessionStream<I>
where
    I: Stream<Item = Result<StreamSessionRequest, Status>> + Unpin,
{
    /// A stream of an authenticated caller.
    pub(crate) fn new(engine: Engine, identity: Identity, input: I, input_end: InputEnd) -> Self {
        let ends = engine.ends(&identity);
        Self {
            engine,
            identity,
            ends,
            input: Some(input),
            bound: None,
            cursor: None,
            turn: 0,
            input_end,
            ended: false,
        }
    }

    /// The next response; a status is the last. To be polled to its end, or dropped together with the stream: a
    /// frame that was read is then being submitted.
    pub(crate) async fn next(&mut self) -> Option<Result<StreamFrame, Status>> {
        if self.ended {
            return None;
        }
        match self.step().await {
            Ok(frame) => Some(Ok(frame)),
            Err(end) => {
                self.ended = true;
                match end {
                    End::Done => None,
                    End::Refused(refusal) => {
                        self.note(&refusal);
                        Some(Err(status::refused(&refusal)))
                    }
                    End::Transport(status) => Some(Err(status)),
                }
            }
        }
    }

    async fn step(&mut self) -> Result<StreamFrame, End> {
        loop {
            if self.input.is_none() && self.cursor.as_ref().is_none_or(Cursor::is_drained) {
                return Err(End::Done);
            }
            let frame = match self.woken().await {
                Woken::Ended(Ended::Draining) => return Err(End::Transport(status::draining())),
                Woken::Ended(Ended::Expired(refusal)) => return Err(refusal.into()),
                Woken::Event(event) => self.deliver(event?),
                Woken::Frame(Some(Ok(request))) => self.accept(request).await?,
                Woken::Frame(Some(Err(status))) => return Err(End::Transport(status)),
                Woken::Frame(None) => {
                    self.half_close();
                    None
                }
            };
            if let Some(frame) = frame {
                return Ok(frame);
            }
        }
    }

    /// Waits for the drain, the end of the credential, a delivery or a frame. A delivery goes before a frame that is also
    /// there: what was accepted earlier is then seen before the answer to what was sent later.
    async fn woken(&mut self) -> Woken {
        let Self { ends, input, cursor, turn, .. } = self;
        let frames_first = *turn >= TURN;
        let mut event = pin!(next_event(cursor.as_mut()));
        poll_fn(|cx| {
            if let Poll::Ready(ended) = ends.poll(cx) {
                return Poll::Ready(Woken::Ended(ended));
            }
            if frames_first && let Poll::Ready(frame) = poll_frame(input, cx) {
                return Poll::Ready(Woken::Frame(frame));
            }
            if let Poll::Ready(event) = event.as_mut().poll(cx) {
                return Poll::Ready(Woken::Event(event));
            }
            if frames_first {
                return Poll::Pending;
            }
            poll_frame(input, cx).map(Woken::Frame)
        })
        .await
    }

    fn deliver(&mut self, event: Event) -> Option<StreamFrame> {
        match event {
            Event::Envelope(delivery) => {
                self.turn = self.turn.saturating_add(1);
                if let Some(cursor) = &mut self.cursor {
                    cursor.position = delivery.sequence();
                }
                Some(StreamFrame::envelope(&delivery))
            }
            // On gRPC the end of a session does not end its streams, and has no frame; but nothing more is owed to
            // a client that is done.
            Event::Ended { .. } => {
                if let Some(cursor) = &mut self.cursor {
                    cursor.last = true;
                    cursor.until = 0;
                }
                None
            }
        }
    }

    async fn accept(&mut self, request: StreamSessionRequest) -> Result<Option<StreamFrame>, Refusal> {
        self.turn = 0;
        let StreamSessionRequest { envelope, subscribe_session_id, after_sequence } = request;
        match (envelope, subscribe_session_id.is_empty()) {
            (Some(envelope), true) => self.submit(envelope).await,
            (None, false) => self.subscribe(subscribe_session_id, after_sequence).await,
            (Some(_), false) => Err(Refusal::invalid_envelope(
                "a frame carries an envelope or subscribe_session_id, not both; send two frames",
            )),
            (None, true) => Err(Refusal::invalid_envelope(
                "a frame carries an envelope or subscribe_session_id; both are absent",
            )),
        }
    }

    async fn submit(&mut self, envelope: Envelope) -> Result<Option<StreamFrame>, Refusal> {
        if envelope.session_id.is_empty() || envelope.mode.trim().is_empty() {
            return Err(Refusal::invalid_envelope(
                "StreamSession carries envelopes of one session: session_id and mode must be set; \
                 use Send for ambient messages",
            ));
        }
        self.check_bound(&envelope.session_id)?;
        // Bound before the envelope is decided: its refusal leaves the stream bound.
        self.bound = Some(envelope.session_id.clone());
        let (session_id, message_id) = (envelope.session_id.clone(), envelope.message_id.clone());
        let (message_type, mode) = (envelope.message_type.clone(), envelope.mode.clone());

        // Delivery starts at the head as it is before the envelope is decided, so its own echo is part of it.
        // A session that does not exist has head 0: if it exists afterwards, delivery starts at its first
        // envelope, which is then this one or one of a start that won the race.
        let unborn = self.cursor.is_none() && !self.attach(&session_id, u64::MAX).await?;
        let outcome = self.engine.submit_on_stream(&self.identity, envelope).await;
        if unborn && !matches!(&outcome, Err(refusal) if ends_stream(refusal.code)) {
            self.attach(&session_id, 0).await?;
        }

        match outcome {
            // Accepted: the echo comes by the cursor. Duplicate: no frame.
            Ok(_) => Ok(None),
            Err(refusal) if ends_stream(refusal.code) => Err(refusal),
            Err(refusal) if self.is_of_another_mode(&refusal, &message_type, &mode) => Err(refusal),
            Err(refusal) => {
                self.note(&refusal);
                Ok(Some(StreamFrame::error(ack::error(&refusal, &session_id, &message_id))))
            }
        }
    }

    fn note(&self, refusal: &Refusal) {
        let session_id = self.bound.as_deref().unwrap_or_default();
        self.engine.refused(Method::StreamSession.name(), session_id, refusal);
    }

    async fn subscribe(
        &mut self,
        session_id: String,
        after_sequence: u64,
    ) -> Result<Option<StreamFrame>, Refusal> {
        self.check_bound(&session_id)?;
        // A later subscribe can only go back: what the cursor still owes is not skipped.
        if self.cursor.as_ref().is_some_and(|cursor| cursor.position <= after_sequence) {
            return Ok(None);
        }
        match Cursor::open(&self.engine, &self.identity, &session_id, after_sequence).await {
            Ok(cursor) => {
                self.bound = Some(session_id);
                self.cursor = Some(cursor);
                Ok(None)
            }
            // Names neither session nor message: to a caller that may not read it, it does not exist.
            Err(refusal) if refusal.code == RefusalCode::Forbidden => {
                self.engine.refused(Method::StreamSession.name(), &session_id, &refusal);
                Ok(Some(StreamFrame::error(MacpError {
                    code: refusal.code.name().to_owned(),
                    message: refusal.message,
                    ..MacpError::default()
                })))
            }
            Err(refusal) => Err(refusal),
        }
    }

    /// Attaches delivery behind `after_sequence`, if the caller may read the session. False: there is no such
    /// session.
    async fn attach(&mut self, session_id: &str, after_sequence: u64) -> Result<bool, Refusal> {
        match Cursor::open(&self.engine, &self.identity, session_id, after_sequence).await {
            Ok(cursor) => {
                self.cursor = Some(cursor);
                Ok(true)
            }
            Err(refusal) if refusal.code == RefusalCode::SessionNotFound => Ok(false),
            // Whoever may not read may still try to send; the engine decides that.
            Err(refusal) if refusal.code == RefusalCode::Forbidden => Ok(true),
            Err(refusal) => Err(refusal),
        }
    }

    fn check_bound(&self, session_id: &str) -> Result<(), Refusal> {
        match &self.bound {
            Some(bound) if bound != session_id => Err(Refusal::invalid_envelope(
                "this stream is bound to another session; open one stream for each session",
            )),
            _ => Ok(()),
        }
    }

    /// Whether the envelope was refused for naming another mode than its session's: a fault of binding, which
    /// ends the stream although its code is one that is otherwise inline. A caller that may not read the session
    /// is not told its mode in this way either.
    fn is_of_another_mode(&self, refusal: &Refusal, message_type: &str, mode: &str) -> bool {
        refusal.code == RefusalCode::InvalidEnvelope
            && message_type != core_type::SESSION_START
            && self.cursor.as_ref().is_some_and(|cursor| cursor.subscription.metadata().mode != mode)
    }

    /// The client sends no more.
    fn half_close(&mut self) {
        self.input = None;
        if let Some(cursor) = &mut self.cursor {
            cursor.until = match self.input_end {
                InputEnd::HalfClose => cursor.subscription.head(),
                InputEnd::Follow if cursor.last => 0,
                InputEnd::Follow => u64::MAX,
            };
        }
    }
}

impl Cursor {
    /// Opens delivery behind `after_sequence`, or behind the head if that is beyond the end: on gRPC later
    /// envelopes arrive even if their ordinal is not above what was asked for.
    async fn open(
        engine: &Engine,
        identity: &Identity,
        session_id: &str,
        after_sequence: u64,
    ) -> Result<Self, Refusal> {
        let mut subscription = engine.subscribe(identity, session_id, after_sequence).await?;
        let mut position = after_sequence;
        if subscription.high_water() < after_sequence {
            // Whatever is accepted between the two calls is above this position, so it is not lost.
            position = subscription.high_water();
            subscription = engine.subscribe(identity, session_id, position).await?;
        }
        Ok(Self { subscription, position, until: 0, last: false })
    }

    fn is_drained(&self) -> bool {
        self.position >= self.until
    }
}

async fn next_event(cursor: Option<&mut Cursor>) -> Result<Event, Refusal> {
    match cursor {
        Some(cursor) => cursor.subscription.next().await,
        None => std::future::pending().await,
    }
}

fn poll_frame<I>(
    input: &mut Option<I>,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<StreamSessionRequest, Status>>>
where
    I: Stream<Item = Result<StreamSessionRequest, Status>> + Unpin,
{
    input.as_mut().map_or(Poll::Pending, |input| input.poll_next_unpin(cx))
}

/// Whether a refused envelope ends its stream with a status. Every other refusal is an inline error.
fn ends_stream(code: RefusalCode) -> bool {
    match code {
        RefusalCode::Unauthenticated
        | RefusalCode::SessionAlreadyExists
        | RefusalCode::PayloadTooLarge
        | RefusalCode::RateLimited
        | RefusalCode::InvalidSessionId
        | RefusalCode::InternalError
        | RefusalCode::InvalidPolicyDefinition
        // Of the gateway's own or of streams: nothing that the next envelope could do better.
        | RefusalCode::StreamLagged
        | RefusalCode::HistoryUnavailable
        | RefusalCode::Unimplemented
        | RefusalCode::Unavailable => true,
        RefusalCode::Forbidden
        | RefusalCode::SessionNotFound
        | RefusalCode::SessionNotOpen
        | RefusalCode::DuplicateMessage
        | RefusalCode::InvalidEnvelope
        | RefusalCode::UnsupportedProtocolVersion
        | RefusalCode::ModeNotSupported
        | RefusalCode::UnknownPolicyVersion
        | RefusalCode::PolicyDenied
        | RefusalCode::RegistryReadOnly
        | RefusalCode::InvalidRequest
        | RefusalCode::AgentNotFound
        | RefusalCode::ReceiptUnavailable => false,
    }
}

#[cfg(test)]
mod tests;
