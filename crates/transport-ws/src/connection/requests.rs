//! Client frames: what each asks for, and what becomes of the answer.

use std::ops::ControlFlow;

use futures_util::{Sink, Stream};
use macp_engine::{ack, observe};
use macp_kernel::{Identity, Refusal, RefusalCode};
use macp_wire::gateway::v1::server_frame::Body as Answer;
use macp_wire::gateway::v1::{Authenticated, Pong, Unsubscribed, Unwatched};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::{Connection, End};
use crate::close::Close;
use crate::frame::{Body, Encoding, Inbound, Malformed};
use crate::outbox::{CALL_COST, Out};
use crate::streams::{Busy, Generation, Key};
use crate::work::{Done, refusal_frame};

/// What stands for a close frame without a code (RFC 6455 §7.4.1).
const NO_CODE: u16 = 1005;

impl<S> Connection<S>
where
    S: Sink<Message, Error = Error> + Stream<Item = Result<Message, Error>> + Unpin,
{
    /// Takes a message in.
    pub(super) fn read(&mut self, message: &Message) -> ControlFlow<End> {
        let bytes = match (message, self.encoding) {
            (Message::Text(text), Encoding::Json) => text.as_bytes(),
            (Message::Binary(bytes), Encoding::Proto) => &bytes[..],
            (Message::Text(_) | Message::Binary(_), _) => {
                return ControlFlow::Break(End::Close(Close::WrongKind));
            }
            (Message::Close(frame), _) => {
                let code = frame.as_ref().map_or(NO_CODE, |frame| frame.code.into());
                return ControlFlow::Break(End::PeerClosed(code));
            }
            // Pings are answered below this layer, and raw frames are never read.
            (Message::Ping(_) | Message::Pong(_) | Message::Frame(_), _) => return ControlFlow::Continue(()),
        };
        match self.encoding.decode(bytes) {
            Ok(Inbound { id, body }) => {
                self.outbox.took_in(if matches!(body, Body::Call(_)) { CALL_COST } else { 1 });
                self.request(id, body)
            }
            Err(malformed) => {
                self.outbox.took_in(malformed.cost);
                self.malformed(&malformed)
            }
        }
    }

    fn request(&mut self, id: String, body: Body) -> ControlFlow<End> {
        match body {
            Body::Authenticate { token } => {
                self.authenticating = true;
                self.work.authenticate(id, token);
            }
            Body::Send(Ok(Some(envelope))) => self.work.send((id, envelope)),
            Body::Send(Ok(None)) => self.refuse_envelope(&id, "send.envelope is missing", "", ""),
            Body::Send(Err(fault)) => {
                self.refuse_envelope(&id, &fault.message, &fault.message_id, &fault.session_id);
            }
            Body::Subscribe { session_id, after_sequence, snapshot } => {
                match self.streams.begin(Key::Session(session_id.clone())) {
                    Ok(generation) => {
                        self.work.subscribe(id, session_id, generation, after_sequence, snapshot);
                    }
                    Err(busy) => return self.busy(id, busy, "this session has a subscription already"),
                }
            }
            Body::Watch(topic) => match self.streams.begin(Key::Topic(topic)) {
                Ok(generation) => self.work.watch(id, topic, generation),
                Err(busy) => return self.busy(id, busy, "this topic is watched already"),
            },
            Body::Unsubscribe { session_id } => {
                self.end(&Key::Session(session_id.clone()));
                self.answer(&id, Answer::Unsubscribed(Unsubscribed { session_id }));
            }
            Body::Unwatch(topic) => {
                self.end(&Key::Topic(topic));
                self.answer(&id, Answer::Unwatched(Unwatched { topic: topic.into() }));
            }
            Body::Call(call) => self.work.call(id, call),
            Body::Ping => {
                let server_time_unix_ms = self.work.engine().now().0;
                let pong = Pong { server_time_unix_ms, subscriptions: self.streams.heads() };
                self.answer(&id, Answer::Pong(pong));
            }
        }
        ControlFlow::Continue(())
    }

    /// Takes the outcome of a client frame.
    pub(super) fn done(&mut self, done: Done) -> ControlFlow<End> {
        match done {
            Done::Answered(out) => self.outbox.push(out),
            Done::Malformed(malformed) => return self.malformed(&malformed),
            Done::Authenticated { id, identity } => return self.authenticated(&id, identity),
            Done::Opened { id, key, generation, opened: Ok((source, opening)) } => {
                if !self.streams.opened(key, generation, source, opening) {
                    self.given_up(&id);
                }
            }
            Done::Opened { id, key, generation, opened: Err(refusal) } => {
                self.not_opened(&id, &key, generation, &refusal);
            }
        }
        ControlFlow::Continue(())
    }

    fn authenticated(&mut self, id: &str, identity: Identity) -> ControlFlow<End> {
        self.authenticating = false;
        // Nobody has looked at it meanwhile, and it may be another one from now on.
        self.rarely.again();
        let (refusal, close) = match (&identity, self.work.identity()) {
            (Identity::Known(new), Identity::Known(old)) if new.sender != old.sender => (
                Refusal::forbidden("this connection belongs to another sender; open one for this credential"),
                Close::Forbidden,
            ),
            // What was opened with the old credential stays open, so it must be covered by the new one.
            (Identity::Known(new), Identity::Known(old))
                if old.capabilities.is_observer && !new.capabilities.is_observer =>
            {
                (
                    Refusal::forbidden(
                        "this credential lacks the connection's is_observer; open a connection for it",
                    ),
                    Close::Forbidden,
                )
            }
            (Identity::Known(new), _) => {
                let sender = new.sender.to_string();
                self.authenticate_by = None;
                self.expiry = self.work.engine().expiry(&identity);
                observe::identified(&identity);
                self.work.set_identity(identity);
                self.answer(id, Answer::Authenticated(Authenticated { sender }));
                return ControlFlow::Continue(());
            }
            (Identity::Anonymous, _) => {
                (Refusal::new(RefusalCode::Unauthenticated, "the token is empty"), Close::Unauthenticated)
            }
            // Not judged: the same credential may be good in a moment.
            (Identity::Rejected(refusal), _) if refusal.code == RefusalCode::Unavailable => {
                self.refuse(id, refusal);
                return ControlFlow::Continue(());
            }
            (Identity::Rejected(refusal), _) => (refusal.clone(), Close::Unauthenticated),
        };
        self.refuse(id, &refusal);
        ControlFlow::Break(End::Close(close))
    }

    /// Takes the end of the connection's credential.
    pub(super) fn expired(&mut self, refusal: &Refusal) -> ControlFlow<End> {
        self.note("connection", "", refusal);
        self.outbox.push(Out::unasked(refusal_frame(self.encoding, "", refusal)));
        ControlFlow::Break(End::Close(Close::Unauthenticated))
    }

    /// Ends a stream, with the answer to the frame that began it if that is still due.
    fn end(&mut self, key: &Key) {
        if let Some(opening) = self.streams.end(key) {
            self.outbox.push(opening);
        }
    }

    fn not_opened(&mut self, id: &str, key: &Key, generation: Generation, refusal: &Refusal) {
        if !self.streams.failed(key, generation) {
            return self.given_up(id);
        }
        let error = match key {
            Key::Session(session_id) => {
                self.note("subscribe", session_id, refusal);
                ack::error(refusal, session_id, "")
            }
            Key::Topic(_) => {
                self.note("watch", "", refusal);
                ack::error(refusal, "", "")
            }
        };
        self.answer(id, Answer::Error(error));
    }

    /// Answers a frame whose stream was ended before it had begun.
    fn given_up(&mut self, id: &str) {
        self.refuse(id, &Refusal::invalid_request("ended by a later frame before it had begun"));
    }

    fn busy(&mut self, id: String, busy: Busy, taken: &str) -> ControlFlow<End> {
        match busy {
            Busy::Taken => self.malformed(&Malformed::new(id, taken)),
            Busy::Full => {
                let message = format!(
                    "a connection has at most {} subscriptions and watches (MACP_WS_MAX_STREAMS); end one first, or \
                     open another connection",
                    self.streams.at_most()
                );
                self.refuse(&id, &Refusal::new(RefusalCode::RateLimited, message));
                ControlFlow::Continue(())
            }
        }
    }

    /// Answers a `send` whose envelope cannot be handed to the engine.
    fn refuse_envelope(&mut self, id: &str, message: &str, message_id: &str, session_id: &str) {
        let refusal = match self.work.identity().require() {
            Ok(_) => Refusal::invalid_envelope(message),
            Err(unauthenticated) => unauthenticated,
        };
        self.note("Send", session_id, &refusal);
        self.answer(id, Answer::Ack(ack::refused(message_id, session_id, &refusal)));
    }

    /// Answers a message that is no frame, or a frame that cannot be meant.
    fn malformed(&mut self, malformed: &Malformed) -> ControlFlow<End> {
        let refusal = Refusal::invalid_request(malformed.reason.clone());
        self.note("frame", "", &refusal);
        let frame = refusal_frame(self.encoding, &malformed.id, &refusal);
        self.outbox.push(Out::answer(frame, malformed.cost));
        if self.faults.record(Instant::now()) {
            return ControlFlow::Break(End::Close(Close::Abuse));
        }
        ControlFlow::Continue(())
    }

    fn refuse(&mut self, id: &str, refusal: &Refusal) {
        self.note("frame", "", refusal);
        self.outbox.push(Out::answer(refusal_frame(self.encoding, id, refusal), 1));
    }

    pub(super) fn note(&self, call: &str, session_id: &str, refusal: &Refusal) {
        self.work.engine().refused(call, session_id, refusal);
    }

    fn answer(&mut self, id: &str, body: Answer) {
        self.outbox.push(Out::answer(self.encoding.encode(id, body), 1));
    }
}
