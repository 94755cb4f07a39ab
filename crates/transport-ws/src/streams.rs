//! A connection's subscriptions and watches: cursors that are read when the socket can take more.
//!
//! Each cursor has at most one delivery at hand. While the socket is blocked nothing is taken out of `ready`, so no
//! cursor moves on, and a slow reader costs the server one shared delivery for each session it follows. The futures
//! themselves are always polled: one that reads the store would hold what it has taken there for as long as it is
//! not. Cursors take turns.

use std::collections::{HashMap, VecDeque};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::{AbortHandle, Abortable, BoxFuture, FutureExt};
use futures_util::stream::{FuturesUnordered, StreamExt};
use macp_engine::{Head, ack};
use macp_kernel::Refusal;
use macp_wire::gateway::v1::server_frame::Body;
use macp_wire::gateway::v1::{Ended, SubscriptionHead, Synced, Topic};
use macp_wire::v1::MacpError;

use crate::frame::Encoding;
use crate::outbox::Out;
use crate::source::{Item, Source};

/// What a stream is about; a connection has one of each.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    Session(String),
    Topic(Topic),
}

/// Why a stream cannot begin.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Busy {
    /// There is one already.
    Taken,
    /// There are too many.
    Full,
}

/// Which of the streams that a key has named, over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Generation(u64);

pub(crate) struct Streams {
    encoding: Encoding,
    at_most: usize,
    slots: HashMap<Key, Slot>,
    /// Cursors that wait for their next item.
    waiting: FuturesUnordered<Abortable<BoxFuture<'static, (Cursor, Next)>>>,
    /// Cursors whose next item is at hand, in turn.
    ready: VecDeque<(Cursor, Next)>,
    last_generation: u64,
}

struct Slot {
    generation: Generation,
    /// Present once the engine has opened the stream of a session.
    head: Option<Head>,
    /// Stops the wait for the next item.
    abort: Option<AbortHandle>,
}

struct Cursor {
    key: Key,
    generation: Generation,
    source: Source,
    /// The sequence at which `synced` is due, until it was sent.
    synced_at: Option<u64>,
}

/// What a cursor has to say next.
enum Next {
    /// The answer to the frame that began the stream: the first frame of it.
    Opening(Out),
    Synced(u64),
    Item(Result<Item, Refusal>),
}

impl Streams {
    pub(crate) fn new(encoding: Encoding, at_most: usize) -> Self {
        Self {
            encoding,
            at_most,
            slots: HashMap::new(),
            waiting: FuturesUnordered::new(),
            ready: VecDeque::new(),
            last_generation: 0,
        }
    }

    /// Takes the place of a stream that the engine is about to open.
    pub(crate) fn begin(&mut self, key: Key) -> Result<Generation, Busy> {
        if self.slots.contains_key(&key) {
            return Err(Busy::Taken);
        }
        if self.slots.len() >= self.at_most {
            return Err(Busy::Full);
        }
        self.last_generation += 1;
        let generation = Generation(self.last_generation);
        self.slots.insert(key, Slot { generation, head: None, abort: None });
        Ok(generation)
    }

    /// Most subscriptions and watches of the connection.
    pub(crate) fn at_most(&self) -> usize {
        self.at_most
    }

    /// Gives the place back: the engine did not open the stream. False if it was given up before.
    pub(crate) fn failed(&mut self, key: &Key, generation: Generation) -> bool {
        let is_current = self.is_current(key, generation);
        if is_current {
            self.slots.remove(key);
        }
        is_current
    }

    /// Starts an opened stream with the frame that answers its request. False if it was given up meanwhile.
    pub(crate) fn opened(&mut self, key: Key, generation: Generation, source: Source, opening: Out) -> bool {
        let Some(slot) = self.slots.get_mut(&key).filter(|slot| slot.generation == generation) else {
            return false;
        };
        let synced_at = match &source {
            Source::Session(subscription) => {
                slot.head = Some(subscription.head_handle());
                Some(subscription.high_water())
            }
            _ => None,
        };
        self.put((Cursor { key, generation, source, synced_at }, Next::Opening(opening)));
        true
    }

    /// Ends a stream at the client's request: no frame of it follows. Returns the answer that still has to be given
    /// to the request that began it.
    pub(crate) fn end(&mut self, key: &Key) -> Option<Out> {
        let slot = self.slots.remove(key)?;
        if let Some(abort) = slot.abort {
            abort.abort();
        }
        let at = self.ready.iter().position(|(cursor, _)| cursor.generation == slot.generation)?;
        match self.ready.remove(at)? {
            (_, Next::Opening(out)) => Some(out),
            _ => None,
        }
    }

    /// How far each subscribed session has got.
    pub(crate) fn heads(&self) -> Vec<SubscriptionHead> {
        let head = |(key, slot): (&Key, &Slot)| match (key, &slot.head) {
            (Key::Session(session_id), Some(head)) => Some(SubscriptionHead {
                session_id: session_id.clone(),
                high_water_sequence: head.sequence(),
            }),
            _ => None,
        };
        self.slots.iter().filter_map(head).collect()
    }

    /// Gives back the room of an empty queue. For idle connections: it comes with the heartbeat.
    pub(crate) fn rest(&mut self) {
        if self.ready.is_empty() {
            self.ready = VecDeque::new();
        }
    }

    /// Takes over what has come. True if there is something to write.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        while let Poll::Ready(Some(next)) = self.waiting.poll_next_unpin(cx) {
            // An aborted wait is that of a stream that was ended.
            if let Ok(next) = next {
                self.put(next);
            }
        }
        !self.ready.is_empty()
    }

    /// The next frame to write, and lets its cursor move on.
    pub(crate) fn pop(&mut self) -> Option<Out> {
        loop {
            let (cursor, next) = self.ready.pop_front()?;
            if !self.is_current(&cursor.key, cursor.generation) {
                continue;
            }
            return Some(match next {
                Next::Opening(out) => {
                    let after = cursor.source.after_sequence();
                    self.advance(cursor, after);
                    out
                }
                Next::Synced(sequence) => {
                    let session_id = cursor.source.session_id();
                    let frame = self.encoding.encode("", Body::Synced(Synced { session_id, sequence }));
                    self.pull(cursor);
                    Out::unasked(frame)
                }
                Next::Item(item) => Out::unasked(self.item(cursor, item)),
            });
        }
    }

    fn item(&mut self, cursor: Cursor, item: Result<Item, Refusal>) -> Bytes {
        match item {
            Ok(Item::Envelope(delivery)) => {
                let frame = self.encoding.envelope(&delivery);
                self.advance(cursor, delivery.sequence());
                frame
            }
            Ok(Item::Signal(signal)) => {
                self.pull(cursor);
                self.encoding.signal(&signal)
            }
            Ok(Item::Update(topic, update)) => {
                self.pull(cursor);
                self.encoding.event(topic, *update)
            }
            Ok(Item::Ended { state, last_sequence }) => {
                // Ended, the stream makes room; the client may subscribe again.
                self.slots.remove(&cursor.key);
                let session_id = cursor.source.session_id();
                self.encoding
                    .encode("", Body::Ended(Ended { session_id, state: state.into(), last_sequence }))
            }
            Err(refusal) => {
                self.slots.remove(&cursor.key);
                self.encoding.encode("", Body::Error(broken(&cursor.key, &refusal)))
            }
        }
    }

    /// Lets a session's cursor move on behind `delivered`, by way of `synced` if that is due.
    fn advance(&mut self, mut cursor: Cursor, delivered: u64) {
        if cursor.synced_at.is_some_and(|at| delivered >= at) {
            let at = cursor.synced_at.take().unwrap_or_default();
            self.put((cursor, Next::Synced(at)));
        } else {
            self.pull(cursor);
        }
    }

    /// Puts a cursor at the end of the turn. Most connections have one, and by itself the queue begins with room for
    /// four.
    fn put(&mut self, next: (Cursor, Next)) {
        if self.ready.capacity() == 0 {
            self.ready.reserve_exact(1);
        }
        self.ready.push_back(next);
    }

    /// Asks the cursor for its next item.
    fn pull(&mut self, mut cursor: Cursor) {
        // Most of the time, in a replay, it is at hand: that costs no allocation and no wake-up.
        if !cursor.source.is_caught_up()
            && let Some(item) = cursor.source.next().now_or_never()
        {
            self.put((cursor, Next::Item(item)));
            return;
        }
        let (abort, registration) = AbortHandle::new_pair();
        if let Some(slot) = self.slots.get_mut(&cursor.key) {
            slot.abort = Some(abort);
        }
        let wait = async move {
            let item = cursor.source.next().await;
            (cursor, Next::Item(item))
        };
        self.waiting.push(Abortable::new(wait.boxed(), registration));
    }

    fn is_current(&self, key: &Key, generation: Generation) -> bool {
        self.slots.get(key).is_some_and(|slot| slot.generation == generation)
    }
}

/// The error of a stream that cannot go on; it names the stream, since no frame is answered.
fn broken(key: &Key, refusal: &Refusal) -> MacpError {
    match key {
        Key::Session(session_id) => ack::error(refusal, session_id, ""),
        Key::Topic(topic) => {
            let mut error = ack::error(refusal, "", "");
            error.message = format!("{}: {}", topic.as_str_name(), error.message);
            if error.details.is_empty() {
                error.details = format!("{{\"topic\":\"{}\"}}", topic.as_str_name()).into();
            }
            error
        }
    }
}
