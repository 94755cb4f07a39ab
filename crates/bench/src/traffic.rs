//! What the workloads send: senders, sessions, and envelopes whose ids tell where they belong.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use macp_wire::modes::decision::v1::{EvaluationPayload, ObjectionPayload, ProposalPayload, VotePayload};
use macp_wire::v1::{CommitmentPayload, Envelope, SessionStartPayload};
use prost::Message as _;
use uuid::Uuid;

const MODE: &str = "macp.mode.decision.v1";
const MODE_VERSION: &str = "1.0.0";
const CONFIGURATION: &str = "bench";
const PROPOSAL: &str = "p1";
/// A day, the longest that the protocol allows: no session may end while it is measured.
const TTL_MS: i64 = 86_400_000;
/// Participants of a session, when there are that many senders.
const ROSTER: usize = 8;

/// Accepted envelopes of a session before the ones that are measured: its start and a proposal.
pub(crate) const OPENING: u64 = 2;

/// A sender and the bearer token that proves it.
#[derive(Clone, Debug)]
pub(crate) struct Sender {
    pub(crate) name: String,
    pub(crate) token: String,
}

/// All senders, and the mark of this run in every message id.
#[derive(Clone, Debug)]
pub(crate) struct Cast {
    pub(crate) senders: Vec<Sender>,
    run: u32,
}

/// A session and who takes part in it, as indexes into the cast. The first one is its initiator.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) id: String,
    pub(crate) roster: Vec<usize>,
}

/// What is sent over and over again: messages of which a session takes any number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// An assessment of the session's proposal.
    Evaluation,
    /// An objection to the session's proposal.
    Objection,
    /// A proposal of its own id.
    Proposal,
}

impl Cast {
    /// A cast of those who are given, or of `count` that exist in development mode, where a token is a sender.
    pub(crate) fn new(given: Vec<Sender>, count: usize) -> Self {
        let senders = if given.is_empty() {
            let name = |n: usize| format!("agent://bench-{n}");
            (0..count.max(1)).map(|n| Sender { name: name(n), token: name(n) }).collect()
        } else {
            given
        };
        Self { senders, run: Uuid::new_v4().as_fields().0 }
    }

    /// The session number `n`: each one begins with another sender.
    pub(crate) fn session(&self, n: usize) -> Session {
        let all = self.senders.len();
        let roster = (0..all.min(ROSTER)).map(|k| (n + k) % all).collect();
        Session { id: Uuid::new_v4().to_string(), roster }
    }

    /// The id of a run's message number `index`, in the form of a random UUID as clients choose them.
    fn message_id(&self, index: u64) -> String {
        let mut id = String::with_capacity(36);
        // Writing to a String does not fail.
        let _ = write!(id, "{:08x}-0000-4000-8000-{:012x}", self.run, index & 0xffff_ffff_ffff);
        id
    }

    /// The number of one of this run's messages; `None` for any other id.
    pub(crate) fn index(&self, message_id: &[u8]) -> Option<u64> {
        let text = std::str::from_utf8(message_id).ok()?;
        let (run, number) = (text.get(..8)?, text.get(24..36)?);
        (u32::from_str_radix(run, 16).ok()? == self.run).then(|| u64::from_str_radix(number, 16).ok())?
    }

    fn envelope(&self, session: &Session, sender: usize, index: u64, kind: &str, payload: Bytes) -> Envelope {
        Envelope {
            macp_version: "1.0".into(),
            mode: MODE.into(),
            message_type: kind.into(),
            message_id: self.message_id(index),
            session_id: session.id.clone(),
            sender: self.senders[sender].name.clone(),
            timestamp_unix_ms: unix_ms(),
            payload,
        }
    }

    pub(crate) fn start(&self, session: &Session, index: u64) -> Envelope {
        let payload = SessionStartPayload {
            intent: "load test".into(),
            participants: session.roster.iter().map(|&sender| self.senders[sender].name.clone()).collect(),
            mode_version: MODE_VERSION.into(),
            configuration_version: CONFIGURATION.into(),
            ttl_ms: TTL_MS,
            ..SessionStartPayload::default()
        };
        self.envelope(session, session.roster[0], index, "SessionStart", payload.encode_to_vec().into())
    }

    pub(crate) fn proposal(&self, session: &Session, index: u64) -> Envelope {
        let payload = ProposalPayload {
            proposal_id: PROPOSAL.into(),
            option: "the only one".into(),
            ..ProposalPayload::default()
        };
        self.envelope(session, session.roster[0], index, "Proposal", payload.encode_to_vec().into())
    }

    pub(crate) fn vote(&self, session: &Session, sender: usize, index: u64) -> Envelope {
        let payload =
            VotePayload { proposal_id: PROPOSAL.into(), vote: "APPROVE".into(), reason: "fine".into() };
        self.envelope(session, sender, index, "Vote", payload.encode_to_vec().into())
    }

    pub(crate) fn commitment(&self, session: &Session, index: u64) -> Envelope {
        let payload = CommitmentPayload {
            commitment_id: "c1".into(),
            action: "option.selected".into(),
            authority_scope: "bench".into(),
            reason: "all approve".into(),
            mode_version: MODE_VERSION.into(),
            configuration_version: CONFIGURATION.into(),
            outcome_positive: true,
            ..CommitmentPayload::default()
        };
        self.envelope(session, session.roster[0], index, "Commitment", payload.encode_to_vec().into())
    }

    /// One of the messages that are sent over and over again.
    pub(crate) fn message(&self, session: &Session, sender: usize, index: u64, filler: &Filler) -> Envelope {
        let (kind, payload) = match filler.kind {
            Kind::Evaluation => ("Evaluation", filler.payload.clone()),
            Kind::Objection => ("Objection", filler.payload.clone()),
            Kind::Proposal => {
                let payload = ProposalPayload {
                    proposal_id: format!("p{index:x}"),
                    option: filler.text.clone(),
                    ..ProposalPayload::default()
                };
                ("Proposal", payload.encode_to_vec().into())
            }
        };
        self.envelope(session, sender, index, kind, payload)
    }
}

/// The payload of the messages that are sent over and over again, made once.
#[derive(Clone, Debug)]
pub(crate) struct Filler {
    kind: Kind,
    text: String,
    payload: Bytes,
}

impl Filler {
    /// A payload with a text of about `size` bytes in it.
    pub(crate) fn new(kind: Kind, size: usize) -> Self {
        let text = "as good as any other, and better than most; ".chars().cycle().take(size.max(1)).collect();
        let payload = match kind {
            Kind::Evaluation => EvaluationPayload {
                proposal_id: PROPOSAL.into(),
                recommendation: "APPROVE".into(),
                confidence: 0.75,
                reason: String::clone(&text),
            }
            .encode_to_vec(),
            Kind::Objection => ObjectionPayload {
                proposal_id: PROPOSAL.into(),
                reason: String::clone(&text),
                severity: "low".into(),
            }
            .encode_to_vec(),
            Kind::Proposal => Vec::new(),
        };
        Self { kind, text, payload: payload.into() }
    }
}

fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Message numbers of one worker: apart from those of every other worker of the run.
#[derive(Debug)]
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn of_worker(worker: usize) -> Self {
        Self((worker as u64) << 32)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 += 1;
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_ids_are_uuids_and_tell_their_number() {
        let cast = Cast::new(Vec::new(), 1);
        for index in [0, 1, 0xabc, (7 << 32) + 5, 0xffff_ffff_ffff] {
            let id = cast.message_id(index);
            assert_eq!(Uuid::parse_str(&id).unwrap().get_version_num(), 4, "{id}");
            assert_eq!(cast.index(id.as_bytes()), Some(index));
        }
        let mut other = cast.clone();
        other.run ^= 1;
        assert_eq!(cast.index(other.message_id(1).as_bytes()), None, "of another run");
        assert_eq!(cast.index(b"short"), None);
        assert_eq!(cast.index("é".repeat(20).as_bytes()), None, "no slice inside a character");
    }

    #[test]
    fn workers_have_numbers_of_their_own() {
        let (mut a, mut b) = (Numbers::of_worker(0), Numbers::of_worker(1));
        assert_eq!((a.next(), a.next(), b.next()), (1, 2, (1 << 32) + 1));
    }

    #[test]
    fn rosters_have_no_sender_twice() {
        for senders in [1, 2, 8, 20] {
            let cast = Cast::new(Vec::new(), senders);
            for n in 0..30 {
                let mut roster = cast.session(n).roster;
                assert_eq!(roster.len(), senders.min(ROSTER));
                assert_eq!(roster[0], n % senders);
                roster.sort_unstable();
                roster.dedup();
                assert_eq!(roster.len(), senders.min(ROSTER));
            }
        }
    }
}
