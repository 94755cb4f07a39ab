//! Keeps the `send`s of one session in the order in which they came.
//!
//! Frames are worked on at the same time. The engine takes the envelopes of a session that it has in memory in the
//! order in which they are handed over, but two that arrive while it has to look the session up may overtake one
//! another. So the first `send` of a session goes alone; once it is done the others follow, all at once and in order.

use std::collections::{HashMap, VecDeque};

use macp_wire::v1::Envelope;

/// A `send` with its correlation id.
pub(crate) type Send = (String, Envelope);

#[derive(Default)]
pub(crate) struct SendOrder {
    sessions: HashMap<String, Queue>,
}

#[derive(Default)]
struct Queue {
    running: usize,
    /// A `send` was answered while the next ones waited: the session is in memory as long as any is running.
    warm: bool,
    waiting: VecDeque<Send>,
}

impl SendOrder {
    /// Takes a `send`; gives it back when it may begin now.
    pub(crate) fn admit(&mut self, send: Send) -> Option<Send> {
        // Ambient envelopes have no session and no order.
        if send.1.session_id.is_empty() {
            return Some(send);
        }
        let queue = self.sessions.entry(send.1.session_id.clone()).or_default();
        if queue.running > 0 && !queue.warm {
            queue.waiting.push_back(send);
            return None;
        }
        queue.running += 1;
        Some(send)
    }

    /// Notes that a `send` of the session was answered; returns those that may begin now, in order.
    pub(crate) fn answered(&mut self, session_id: &str) -> VecDeque<Send> {
        let Some(queue) = self.sessions.get_mut(session_id) else { return VecDeque::new() };
        let next = std::mem::take(&mut queue.waiting);
        queue.running = queue.running - 1 + next.len();
        queue.warm = true;
        if queue.running == 0 {
            self.sessions.remove(session_id);
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn send(id: &str, session_id: &str) -> Send {
        (id.into(), Envelope { session_id: session_id.into(), ..Envelope::default() })
    }

    fn ids(sends: impl IntoIterator<Item = Send>) -> Vec<String> {
        sends.into_iter().map(|(id, _)| id).collect()
    }

    #[test]
    fn the_first_goes_alone_and_the_others_follow_in_order() {
        let mut order = SendOrder::default();
        assert_eq!(ids(order.admit(send("1", "s"))), ["1"]);
        assert_eq!(order.admit(send("2", "s")), None);
        assert_eq!(order.admit(send("3", "s")), None);
        assert_eq!(ids(order.admit(send("4", "other"))), ["4"]);
        assert_eq!(ids(order.answered("s")), ["2", "3"]);
        assert_eq!(ids(order.admit(send("5", "s"))), ["5"], "warm");
        for _ in 0..3 {
            assert!(order.answered("s").is_empty());
        }
        assert!(order.answered("other").is_empty());
        assert!(order.sessions.is_empty());
    }

    #[test]
    fn ambient_envelopes_do_not_wait() {
        let mut order = SendOrder::default();
        assert!(order.admit(send("1", "")).is_some());
        assert!(order.admit(send("2", "")).is_some());
        assert!(order.answered("").is_empty());
    }
}
