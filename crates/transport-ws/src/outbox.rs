//! Frames that are ready to be written, and the account of client frames that are still being worked on.

use std::collections::VecDeque;

use bytes::Bytes;

/// Most client frames in work; at the limit the socket is not read.
pub(crate) const MAX_IN_WORK: usize = 256;
/// What a `call` counts for: its answer may be a page of a list, a thousand times the size of an `ack`.
pub(crate) const CALL_COST: usize = 8;
/// Bytes of answers that wait for the socket; beyond it the socket is not read.
const MAX_QUEUED_BYTES: usize = 1 << 20;

/// A server frame, and the share of the limit on work that it frees once it is written.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Out {
    pub(crate) frame: Bytes,
    cost: usize,
}

impl Out {
    /// An answer to a client frame of this cost.
    pub(crate) fn answer(frame: Bytes, cost: usize) -> Self {
        Self { frame, cost }
    }

    /// A frame that answers none.
    pub(crate) fn unasked(frame: Bytes) -> Self {
        Self { frame, cost: 0 }
    }
}

/// Answers on their way to the socket. Deliveries of streams are not kept here but read when there is room.
#[derive(Default)]
pub(crate) struct Outbox {
    queue: VecDeque<Out>,
    bytes: usize,
    in_work: usize,
}

impl Outbox {
    /// Notes that a client frame of this cost is being worked on.
    pub(crate) fn took_in(&mut self, cost: usize) {
        self.in_work += cost;
    }

    pub(crate) fn push(&mut self, out: Out) {
        self.bytes += out.frame.len();
        self.queue.push_back(out);
    }

    pub(crate) fn pop(&mut self) -> Option<Out> {
        let out = self.queue.pop_front()?;
        self.bytes -= out.frame.len();
        Some(out)
    }

    /// Notes that a frame was handed to the socket, from here or from a stream.
    pub(crate) fn written(&mut self, out: &Out) {
        self.in_work -= out.cost;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Gives back the room of an empty queue. For idle connections: it comes with the heartbeat.
    pub(crate) fn rest(&mut self) {
        if self.queue.is_empty() {
            self.queue = VecDeque::new();
        }
    }

    /// Whether the client may send more.
    pub(crate) fn has_room(&self) -> bool {
        self.in_work < MAX_IN_WORK && self.bytes < MAX_QUEUED_BYTES
    }

    /// Whether every client frame was answered and every answer handed to the socket.
    pub(crate) fn is_settled(&self) -> bool {
        self.in_work == 0 && self.queue.is_empty()
    }
}
