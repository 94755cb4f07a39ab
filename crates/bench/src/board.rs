//! What was sent into a session and what its subscribers saw: all of them the same, in one order, everything, once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::client::{Failure, Seen};
use crate::traffic::OPENING;

/// The messages of one session by number, and the order in which they were delivered.
///
/// The first subscriber at a place decides which message is there; all others must agree.
pub(crate) struct Board {
    origin: Instant,
    subscribers: u32,
    messages: Vec<Message>,
    places: Vec<Place>,
    /// Places that all subscribers have reached.
    complete: AtomicU64,
    completed: Notify,
}

struct Message {
    /// When it was sent, in nanoseconds from the origin; 0 if it was not.
    sent: AtomicU64,
    /// Its place, counted from 1; 0 if nobody saw it.
    place: AtomicU64,
}

struct Place {
    /// The message, counted from 1; 0 if nobody was here.
    message: AtomicU64,
    visits: AtomicU32,
}

impl Board {
    /// A board for up to `capacity` messages and so many subscribers.
    pub(crate) fn new(capacity: usize, subscribers: usize) -> Arc<Self> {
        Arc::new(Self {
            // So that no message is sent at 0.
            origin: Instant::now() - Duration::from_nanos(1),
            subscribers: u32::try_from(subscribers).unwrap_or(u32::MAX),
            messages: (0..capacity)
                .map(|_| Message { sent: AtomicU64::new(0), place: AtomicU64::new(0) })
                .collect(),
            places: (0..capacity)
                .map(|_| Place { message: AtomicU64::new(0), visits: AtomicU32::new(0) })
                .collect(),
            complete: AtomicU64::new(0),
            completed: Notify::new(),
        })
    }

    /// How many messages fit.
    pub(crate) fn capacity(&self) -> usize {
        self.messages.len()
    }

    /// Message `number` is being sent; its delivery times count from `at`.
    pub(crate) fn send(&self, number: usize, at: Instant) {
        let nanos = u64::try_from(at.saturating_duration_since(self.origin).as_nanos()).unwrap_or(u64::MAX);
        self.messages[number].sent.store(nanos.max(1), Ordering::Release);
    }

    /// Places that all subscribers have reached.
    pub(crate) fn complete(&self) -> u64 {
        self.complete.load(Ordering::Acquire)
    }

    /// Waits until all subscribers have reached place `count`.
    pub(crate) async fn until_complete(&self, count: u64) {
        loop {
            let completed = self.completed.notified();
            tokio::pin!(completed);
            // Before the look, so that what happens after it is not missed.
            completed.as_mut().enable();
            if self.complete() >= count {
                return;
            }
            completed.await;
        }
    }

    /// All deliveries so far.
    pub(crate) fn deliveries(&self) -> u64 {
        self.places.iter().map(|place| u64::from(place.visits.load(Ordering::Relaxed))).sum()
    }
}

/// Where one subscriber is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reader {
    reached: usize,
}

impl Reader {
    /// How many messages it has seen.
    pub(crate) fn reached(self) -> usize {
        self.reached
    }

    /// The last sequence it has seen, to subscribe behind.
    pub(crate) fn sequence(self) -> u64 {
        OPENING + self.reached as u64
    }

    /// Takes note of what was delivered; when that was sent.
    ///
    /// # Errors
    /// A delivery that is not what has to come here.
    pub(crate) fn see(&mut self, board: &Board, seen: Seen) -> Result<Instant, Failure> {
        let here = self.reached;
        let number = seen.index.and_then(|index| usize::try_from(index).ok());
        let message = number.and_then(|number| board.messages.get(number));
        let (Some(number), Some(message), Some(place)) = (number, message, board.places.get(here)) else {
            return Err(Failure::new("foreign-delivery", "an envelope was delivered that nobody sent"));
        };
        let sent = message.sent.load(Ordering::Acquire);
        if sent == 0 {
            return Err(Failure::new("foreign-delivery", "an envelope was delivered that was not sent yet"));
        }
        if let Some(sequence) = seen.sequence
            && sequence != self.sequence() + 1
        {
            let wanted = self.sequence() + 1;
            return Err(Failure::new("gap", format!("sequence {sequence} instead of {wanted}")));
        }
        agree(&message.place, here as u64 + 1)
            .map_err(|other| Failure::new("order", format!("at place {} and at {other}", here + 1)))?;
        agree(&place.message, number as u64 + 1)
            .map_err(|other| Failure::new("order", format!("message {} instead of {other}", number + 1)))?;
        self.reached += 1;
        if place.visits.fetch_add(1, Ordering::AcqRel) + 1 == board.subscribers {
            board.complete.fetch_add(1, Ordering::AcqRel);
            board.completed.notify_waiters();
        }
        Ok(board.origin + Duration::from_nanos(sent))
    }
}

/// Sets a value that is not set; else it must be the same.
fn agree(slot: &AtomicU64, value: u64) -> Result<(), u64> {
    match slot.compare_exchange(0, value, Ordering::AcqRel, Ordering::Acquire) {
        Err(other) if other != value => Err(other),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board(sent: usize) -> Arc<Board> {
        let board = Board::new(8, 2);
        (0..sent).for_each(|number| board.send(number, Instant::now()));
        board
    }

    fn seen(index: u64) -> Seen {
        Seen { index: Some(index), sequence: None }
    }

    fn code(outcome: Result<Instant, Failure>) -> String {
        outcome.unwrap_err().code
    }

    #[test]
    fn two_subscribers_that_see_the_same_complete_the_board() {
        let board = board(3);
        let (mut a, mut b) = (Reader::default(), Reader::default());
        // Not the order in which they were sent: the server decides.
        for (n, index) in [2, 0, 1].into_iter().enumerate() {
            a.see(&board, seen(index)).unwrap();
            assert_eq!(board.complete(), n as u64);
            b.see(&board, Seen { sequence: Some(OPENING + 1 + n as u64), ..seen(index) }).unwrap();
            assert_eq!(board.complete(), n as u64 + 1);
        }
        assert_eq!(board.deliveries(), 6);
        assert_eq!((a.reached(), a.sequence()), (3, OPENING + 3));
    }

    #[test]
    fn another_order_is_a_fault() {
        let board = board(3);
        let (mut a, mut b) = (Reader::default(), Reader::default());
        a.see(&board, seen(0)).unwrap();
        a.see(&board, seen(1)).unwrap();
        assert_eq!(code(b.see(&board, seen(1))), "order");
        assert_eq!(code(b.see(&board, seen(2))), "order", "and so is one in between");
        b.see(&board, seen(0)).unwrap();
    }

    #[test]
    fn a_message_that_comes_twice_or_was_left_out_is_a_fault() {
        let board = board(3);
        let mut a = Reader::default();
        a.see(&board, seen(0)).unwrap();
        assert_eq!(code(a.see(&board, seen(0))), "order", "twice");
        let skips = Seen { sequence: Some(OPENING + 3), ..seen(2) };
        assert_eq!(code(a.see(&board, skips)), "gap");
    }

    #[test]
    fn what_nobody_sent_is_a_fault() {
        let board = board(1);
        let mut a = Reader::default();
        assert_eq!(code(a.see(&board, seen(1))), "foreign-delivery", "not sent yet");
        assert_eq!(code(a.see(&board, seen(99))), "foreign-delivery");
        assert_eq!(code(a.see(&board, Seen { index: None, sequence: None })), "foreign-delivery");
    }

    #[tokio::test]
    async fn completion_wakes_those_who_wait_for_it() {
        let board = board(1);
        let waits = tokio::spawn({
            let board = Arc::clone(&board);
            async move { board.until_complete(1).await }
        });
        for _ in 0..2 {
            assert!(!waits.is_finished());
            Reader::default().see(&board, seen(0)).unwrap();
        }
        tokio::time::timeout(Duration::from_secs(20), waits).await.unwrap().unwrap();
    }
}
