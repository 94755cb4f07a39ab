//! One round of the writer: checks every waiting job against the tails and stages what the commit will hold.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::layout::{self, Tail};
use super::tables::{Changes, Tables};
use super::tails::Tails;
use crate::error::{AppendError, StoreError};
use crate::log::{Append, Position, Removal, Summary};

/// What waits for the writer, with its share of the queue's room.
pub(super) enum Job {
    Append {
        append: Append,
        reply: oneshot::Sender<Result<Position, AppendError>>,
        room: OwnedSemaphorePermit,
    },
    Remove {
        removal: Removal,
        /// Keys of the side records that go with it.
        side: Vec<Vec<u8>>,
        reply: oneshot::Sender<Result<Position, AppendError>>,
        room: OwnedSemaphorePermit,
    },
    Side {
        key: Vec<u8>,
        value: Option<Bytes>,
        reply: oneshot::Sender<Result<(), StoreError>>,
        room: OwnedSemaphorePermit,
    },
}

impl Job {
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Append { append, .. } => append_bytes(append),
            Self::Remove { removal, .. } => removal.stream.len(),
            Self::Side { key, value, .. } => key.len() + value.as_ref().map_or(0, Bytes::len),
        }
    }
}

pub(super) fn append_bytes(append: &Append) -> usize {
    append.stream.len() + append.record.len() + append.summary.bytes.len()
}

/// Why a commit is not known to have succeeded.
pub(super) enum Failure {
    /// Its bytes are certainly not in the store.
    NotApplied(String),
    /// They may be.
    Unknown(String),
}

/// What is said when one round would remove a stream and do something else with it.
const REMOVED: &str = "the stream is being removed or appended to at this moment";

/// An append that was checked, waiting for the commit.
enum Checked {
    Applied(Position),
    /// Refused whatever becomes of the commit.
    Refused(AppendError),
    /// Refused because of an append in the same commit.
    Overtaken(Position),
}

/// A stream's head as the commit will leave it.
struct NewHead {
    tail: Tail,
    summary: Summary,
    /// Which table the head is in now, if any.
    was_live: Option<bool>,
}

#[derive(Default)]
pub(super) struct Round {
    changes: Changes,
    heads: HashMap<Bytes, NewHead>,
    removed: HashSet<Bytes>,
    /// The same streams with their tails.
    gone: Vec<(Bytes, Tail)>,
    sides: HashMap<Vec<u8>, Option<Bytes>>,
    appended: u64,
    appends: Vec<(oneshot::Sender<Result<Position, AppendError>>, Checked)>,
    side_replies: Vec<oneshot::Sender<Result<(), StoreError>>>,
    /// Given back when the round is over.
    rooms: Vec<OwnedSemaphorePermit>,
}

impl Round {
    /// Checks one job and stages its changes.
    pub(super) fn add(&mut self, job: Job, tables: &Tables, tails: &mut Tails, next_number: &mut u64) {
        match job {
            Job::Append { append, reply, room } => {
                let checked = self.check(append, tables, tails, next_number);
                self.appends.push((reply, checked));
                self.rooms.push(room);
            }
            Job::Remove { removal, side, reply, room } => {
                let checked = self.check_removal(&removal, side, tables, tails);
                self.appends.push((reply, checked));
                self.rooms.push(room);
            }
            Job::Side { key, value, reply, room } => {
                self.sides.insert(key, value);
                self.side_replies.push(reply);
                self.rooms.push(room);
            }
        }
    }

    fn check(
        &mut self,
        append: Append,
        tables: &Tables,
        tails: &mut Tails,
        next_number: &mut u64,
    ) -> Checked {
        let Append { stream, expected, record, summary } = append;
        if stream.len() > layout::MAX_KEY {
            let why = format!("a stream id may have {} bytes", layout::MAX_KEY);
            return Checked::Refused(AppendError::NotApplied(why));
        }
        if self.removed.contains(&stream) {
            return Checked::Refused(AppendError::NotApplied(REMOVED.to_owned()));
        }
        let staged = self.heads.get(&stream).map(|head| (head.tail, head.was_live));
        let before = match staged {
            Some((tail, _)) => Some(tail),
            None => match tails.get(&stream) {
                Some(tail) => Some(tail),
                None => match tables.head(&stream) {
                    Ok(head) => head.map(|(tail, _)| tail),
                    Err(error) => return Checked::Refused(AppendError::NotApplied(error.to_string())),
                },
            },
        };
        let actual = before.map(|tail| Position::from_engine(tail.sequence));
        if !expected.holds(actual) {
            return match actual {
                Some(position) if staged.is_some() => Checked::Overtaken(position),
                actual => Checked::Refused(AppendError::Conflict { actual }),
            };
        }
        let (number, sequence, link) = match &before {
            Some(tail) => (tail.number, tail.sequence + 1, tail.link),
            None => {
                *next_number += 1;
                (*next_number - 1, 1, layout::genesis(&stream))
            }
        };
        let key = layout::record_key(number, sequence);
        self.changes.put_record(&key, layout::seal_record(&key, &link, &record));
        let tail =
            Tail { number, sequence, link: layout::link(&link, sequence, &record), live: summary.live };
        let was_live = staged.map_or_else(|| before.map(|tail| tail.live), |(_, was_live)| was_live);
        self.heads.insert(stream, NewHead { tail, summary, was_live });
        self.appended += 1;
        Checked::Applied(Position::from_engine(sequence))
    }

    /// Stages a removal. A stream that this round appends to is not removed, and the other way round, so that no key
    /// changes twice.
    fn check_removal(
        &mut self,
        removal: &Removal,
        side: Vec<Vec<u8>>,
        tables: &Tables,
        tails: &mut Tails,
    ) -> Checked {
        let stream = &removal.stream;
        if self.heads.contains_key(stream) || self.removed.contains(stream) {
            return Checked::Refused(AppendError::NotApplied(REMOVED.to_owned()));
        }
        let tail = match tails.get(stream) {
            Some(tail) => Some(tail),
            None => match tables.head(stream) {
                Ok(head) => head.map(|(tail, _)| tail),
                Err(error) => return Checked::Refused(AppendError::NotApplied(error.to_string())),
            },
        };
        let actual = tail.map(|tail| Position::from_engine(tail.sequence));
        let Some(tail) = tail.filter(|_| actual == Some(removal.expected)) else {
            return Checked::Refused(AppendError::Conflict { actual });
        };
        self.gone.push((stream.clone(), tail));
        self.removed.insert(stream.clone());
        for key in side {
            self.sides.insert(key, None);
        }
        Checked::Applied(removal.expected)
    }

    /// Whether a stream is removed.
    pub(super) fn removes(&self) -> bool {
        !self.removed.is_empty()
    }

    /// The changes of this round; each key once.
    pub(super) fn changes(&mut self, next_number: u64) -> Changes {
        let mut changes = std::mem::take(&mut self.changes);
        for (stream, head) in &self.heads {
            let key = layout::head_key(stream);
            let sealed = layout::seal_head(&key, &head.tail, &head.summary.bytes);
            changes.put_head(&key, sealed, head.tail.live, head.was_live);
        }
        for (stream, tail) in &self.gone {
            changes.remove_stream(&layout::head_key(stream), tail);
        }
        if !self.gone.is_empty() {
            changes.put_next_number(next_number);
        }
        for (key, value) in self.sides.drain() {
            let sealed = value.map(|value| layout::seal_side(&key, &value));
            changes.put_side(&key, sealed);
        }
        changes
    }

    /// Records in the changes.
    pub(super) fn appended(&self) -> u64 {
        self.appended
    }

    /// The commit succeeded: remembers the tails and answers everyone.
    pub(super) fn succeed(self, tails: &mut Tails) {
        for stream in &self.removed {
            tails.remove(stream);
        }
        for (stream, head) in self.heads {
            tails.put(stream, head.tail);
        }
        for (reply, checked) in self.appends {
            // A caller that went away is not told; its record is there all the same.
            drop(reply.send(match checked {
                Checked::Applied(position) => Ok(position),
                Checked::Refused(error) => Err(error),
                Checked::Overtaken(position) => Err(AppendError::Conflict { actual: Some(position) }),
            }));
        }
        for reply in self.side_replies {
            drop(reply.send(Ok(())));
        }
    }

    /// The commit failed: answers everyone with what is known.
    pub(super) fn fail(self, failure: &Failure) {
        for (reply, checked) in self.appends {
            drop(reply.send(Err(match (checked, failure) {
                (Checked::Refused(error), _) => error,
                (Checked::Applied(_), Failure::Unknown(why)) => AppendError::Unknown(why.clone()),
                // This one was certainly not written; what overtook it may not have been either.
                (Checked::Applied(_), Failure::NotApplied(why))
                | (Checked::Overtaken(_), Failure::NotApplied(why) | Failure::Unknown(why)) => {
                    AppendError::NotApplied(why.clone())
                }
            })));
        }
        let (Failure::NotApplied(why) | Failure::Unknown(why)) = failure;
        for reply in self.side_replies {
            drop(reply.send(Err(StoreError::Unavailable(why.clone()))));
        }
    }
}

/// Answers a job that was never looked at.
pub(super) fn refuse(job: Job, why: &str) {
    match job {
        Job::Append { reply, .. } | Job::Remove { reply, .. } => {
            drop(reply.send(Err(AppendError::NotApplied(why.to_owned()))));
        }
        Job::Side { reply, .. } => drop(reply.send(Err(StoreError::Unavailable(why.to_owned())))),
    }
}
