//! The rules of `StreamSession` frames, row by row.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use macp_engine::Limits;
use macp_engine::testing::generous_limits;
use macp_store::{
    Append, AppendError, LogStore, MemoryStore, Position, StoreError, Stored, Summarized, Summary,
    SummaryFilter,
};
use macp_wire::v1::{
    CancelSessionRequest, Envelope, SessionStartPayload, StreamSessionRequest, SuspendSessionRequest,
};

use crate::support::{
    ALICE, BOB, EVE, SESSION, Server, Stream, accepted, envelope, proposal, session, small_payloads, start,
    start_payload, submits, subscribes,
};

/// A stream of Bob, bound to [`SESSION`] and past its replay, in the session that Alice started.
async fn bound(server: &Server) -> Stream {
    accepted(&mut server.client(ALICE).await, start(SESSION)).await;
    let mut bob = Stream::open(&mut server.client(BOB).await).await;
    bob.put(subscribes(SESSION, 0)).await;
    assert_eq!(bob.brief().await, "start");
    bob
}

fn ambient() -> Envelope {
    Envelope { session_id: String::new(), mode: String::new(), ..envelope("", "Signal", "s", &()) }
}

#[tokio::test]
async fn frames_that_end_the_stream() {
    let other = session(9);
    let both = StreamSessionRequest { envelope: Some(proposal(SESSION, "p")), ..subscribes(SESSION, 0) };
    let blank_mode = Envelope { mode: " ".into(), ..proposal(SESSION, "p") };
    let blank_session = proposal("", "p");
    let other_mode = Envelope { mode: "macp.mode.task.v1".into(), ..proposal(SESSION, "p") };
    let progress_of_other_mode =
        Envelope { mode: "macp.mode.task.v1".into(), ..envelope(SESSION, "Progress", "pr", &()) };
    for (name, frame) in [
        ("both set", both),
        ("neither set", StreamSessionRequest::default()),
        ("neither set, but a position", StreamSessionRequest { after_sequence: 3, ..Default::default() }),
        ("envelope of another session", submits(proposal(&other, "p"))),
        ("subscribe to another session", subscribes(&other, 0)),
        ("ambient signal", submits(ambient())),
        ("empty envelope", submits(Envelope::default())),
        ("blank mode", submits(blank_mode)),
        ("blank session", submits(blank_session)),
        ("another mode", submits(other_mode)),
        ("progress of another mode", submits(progress_of_other_mode)),
    ] {
        let server = Server::start().await;
        let mut bob = bound(&server).await;
        bob.put(frame).await;
        assert_eq!(bob.rest().await, ["INVALID_ENVELOPE/InvalidArgument"], "{name}");
    }
}

#[tokio::test]
async fn the_first_frame_may_be_bad_too() {
    let server = Server::start().await;
    for frame in [StreamSessionRequest::default(), submits(ambient())] {
        let mut stream = Stream::open(&mut server.client(BOB).await).await;
        stream.put(frame).await;
        assert_eq!(stream.rest().await, ["INVALID_ENVELOPE/InvalidArgument"]);
    }
}

#[tokio::test]
async fn refusals_that_stay_inline() {
    let server = Server::start().await;
    let mut bob = bound(&server).await;
    for (id, envelope, expected) in [
        ("bad", envelope(SESSION, "Vote", "bad", &()), "INVALID_ENVELOPE"),
        ("", Envelope { message_id: String::new(), ..proposal(SESSION, "p") }, "INVALID_ENVELOPE"),
        // A start names its own mode: it is refused as a start, not as a fault of binding.
        (
            "",
            Envelope { message_id: String::new(), mode: "macp.mode.task.v1".into(), ..start(SESSION) },
            "INVALID_ENVELOPE",
        ),
        ("Signal", envelope(SESSION, "Signal", "Signal", &()), "INVALID_ENVELOPE"),
        (
            "version",
            Envelope { macp_version: "2.0".into(), ..proposal(SESSION, "version") },
            "UNSUPPORTED_PROTOCOL_VERSION",
        ),
        ("commit", crate::support::commitment(SESSION, "commit"), "FORBIDDEN"),
    ] {
        bob.put(submits(envelope)).await;
        let error = bob.error().await;
        assert_eq!(
            (error.code.as_str(), error.session_id.as_str(), error.message_id.as_str()),
            (expected, SESSION, id)
        );
        assert!(!error.message.is_empty());
    }
    bob.put(submits(proposal(SESSION, "good"))).await;
    assert_eq!(bob.brief().await, "good", "the stream goes on");
}

#[tokio::test]
async fn refused_starts_that_stay_inline_leave_the_stream_bound() {
    let server = Server::start().await;
    let mut alice = Stream::open(&mut server.client(ALICE).await).await;
    let unknown_mode = Envelope { mode: "macp.mode.nope.v1".into(), ..start(SESSION) };
    let no_policy = SessionStartPayload { policy_version: "policy.nope".into(), ..start_payload() };
    let no_ttl = SessionStartPayload { ttl_ms: 0, ..start_payload() };
    for (envelope, expected) in [
        (unknown_mode, "!MODE_NOT_SUPPORTED"),
        (envelope(SESSION, "SessionStart", "start", &no_policy), "!UNKNOWN_POLICY_VERSION"),
        (envelope(SESSION, "SessionStart", "start", &no_ttl), "!INVALID_ENVELOPE"),
        (proposal(SESSION, "early"), "!SESSION_NOT_FOUND"),
        (envelope(SESSION, "Progress", "early", &()), "!SESSION_NOT_FOUND"),
        (start(SESSION), "start"),
        (proposal(SESSION, "p1"), "p1"),
    ] {
        alice.put(submits(envelope)).await;
        assert_eq!(alice.brief().await, expected);
    }
    alice.put(subscribes(&session(3), 0)).await;
    assert_eq!(alice.rest().await, ["INVALID_ENVELOPE/InvalidArgument"]);

    let mut bound_by_refusal = Stream::open(&mut server.client(ALICE).await).await;
    bound_by_refusal.put(submits(proposal(&session(4), "p"))).await;
    assert_eq!(bound_by_refusal.brief().await, "!SESSION_NOT_FOUND");
    bound_by_refusal.put(submits(proposal(SESSION, "p"))).await;
    assert_eq!(bound_by_refusal.rest().await, ["INVALID_ENVELOPE/InvalidArgument"]);
}

#[tokio::test]
async fn a_session_that_is_not_open_is_inline() {
    let server = Server::start().await;
    let mut alice = server.client(ALICE).await;
    let mut bob = bound(&server).await;
    let suspend = SuspendSessionRequest { session_id: SESSION.into(), ..Default::default() };
    alice.suspend_session(suspend).await.unwrap();
    for message_type in ["Proposal", "Progress"] {
        bob.put(submits(envelope(SESSION, message_type, "m", &()))).await;
        assert_eq!(bob.brief().await, "!SESSION_NOT_OPEN", "suspended: {message_type}");
    }
    let cancel = CancelSessionRequest { session_id: SESSION.into(), ..Default::default() };
    alice.cancel_session(cancel).await.unwrap();
    bob.put(submits(proposal(SESSION, "p2"))).await;
    assert_eq!(bob.brief().await, "!SESSION_NOT_OPEN", "cancelled, and no frame said so");
}

#[tokio::test]
async fn refusals_that_end_the_stream() {
    let server = Server::with_limits(small_payloads()).await;
    let spoofed = Envelope { sender: ALICE.into(), ..proposal(SESSION, "p") };
    let large = Envelope { payload: Bytes::from(vec![0; 1025]), ..proposal(SESSION, "p") };
    for (envelope, expected) in [
        (spoofed, "UNAUTHENTICATED/Unauthenticated"),
        (large, "PAYLOAD_TOO_LARGE/ResourceExhausted"),
        (start("short"), "INVALID_SESSION_ID/InvalidArgument"),
    ] {
        let mut bob = Stream::open(&mut server.client(BOB).await).await;
        bob.put(submits(envelope)).await;
        assert_eq!(bob.rest().await, [expected]);
    }
    let mut bob = bound(&server).await;
    bob.put(submits(Envelope { message_id: "another".into(), ..start(SESSION) })).await;
    assert_eq!(bob.rest().await, ["SESSION_ALREADY_EXISTS/AlreadyExists"]);
}

#[tokio::test]
async fn a_rate_limit_ends_the_stream() {
    let server = Server::with_limits(Limits { messages_per_minute: 1, ..generous_limits() }).await;
    let mut bob = bound(&server).await;
    bob.put(submits(proposal(SESSION, "p1"))).await;
    bob.put(submits(proposal(SESSION, "p2"))).await;
    assert_eq!(bob.rest().await, ["p1", "RATE_LIMITED/ResourceExhausted"]);
}

#[tokio::test]
async fn a_storage_fault_ends_the_stream() {
    let store = Arc::new(Faulty::default());
    let server = Server::with_store(Arc::clone(&store) as _, generous_limits()).await;
    let mut bob = bound(&server).await;
    store.fails.store(true, Ordering::SeqCst);
    bob.put(submits(proposal(SESSION, "p1"))).await;
    assert_eq!(bob.rest().await, ["INTERNAL_ERROR/Internal"]);
}

#[tokio::test]
async fn a_duplicate_has_no_frame() {
    let server = Server::start().await;
    let mut bob = bound(&server).await;
    for frame in [proposal(SESSION, "p1"), proposal(SESSION, "p1"), start(SESSION), proposal(SESSION, "p2")] {
        bob.put(submits(frame)).await;
    }
    assert_eq!((bob.brief().await, bob.brief().await), ("p1".into(), "p2".into()));
}

#[tokio::test]
async fn progress_of_a_session_has_no_frame() {
    let server = Server::start().await;
    let mut bob = bound(&server).await;
    bob.put(submits(envelope(SESSION, "Progress", "pr", &()))).await;
    bob.put(submits(proposal(SESSION, "p1"))).await;
    assert_eq!(bob.brief().await, "p1");
}

#[tokio::test]
async fn an_outsider_is_refused_and_told_nothing() {
    let server = Server::start().await;
    let mut alice = server.client(ALICE).await;
    accepted(&mut alice, start(SESSION)).await;
    let mut eve = Stream::open(&mut server.client(EVE).await).await;
    eve.put(submits(proposal(SESSION, "e1"))).await;
    assert_eq!(eve.brief().await, "!FORBIDDEN");
    accepted(&mut alice, proposal(SESSION, "secret")).await;
    eve.put(submits(proposal(SESSION, "e2"))).await;
    assert_eq!(eve.brief().await, "!FORBIDDEN", "bound, but nothing is delivered");
    eve.half_close();
    assert_eq!(eve.rest().await, ["end"]);
}

/// A memory store whose appends can be made to fail.
#[derive(Default)]
struct Faulty {
    memory: MemoryStore,
    fails: AtomicBool,
}

#[tonic::async_trait]
impl LogStore for Faulty {
    async fn append(&self, append: Append) -> Result<Position, AppendError> {
        if self.fails.load(Ordering::SeqCst) {
            return Err(AppendError::NotApplied("the disk is full".into()));
        }
        self.memory.append(append).await
    }

    async fn remove(&self, removal: macp_store::Removal) -> Result<(), AppendError> {
        self.memory.remove(removal).await
    }

    async fn read(
        &self,
        stream: &Bytes,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Vec<Stored>, StoreError> {
        self.memory.read(stream, after, limit).await
    }

    async fn tail(&self, stream: &Bytes) -> Result<Option<Position>, StoreError> {
        self.memory.tail(stream).await
    }

    async fn summary(&self, stream: &Bytes) -> Result<Option<Summary>, StoreError> {
        self.memory.summary(stream).await
    }

    async fn list(
        &self,
        filter: SummaryFilter,
        after: Option<&Bytes>,
        limit: usize,
    ) -> Result<Vec<Summarized>, StoreError> {
        self.memory.list(filter, after, limit).await
    }

    async fn put_side(&self, space: &str, key: &[u8], value: Option<Bytes>) -> Result<(), StoreError> {
        self.memory.put_side(space, key, value).await
    }

    async fn list_side(&self, space: &str) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        self.memory.list_side(space).await
    }

    async fn get_side(&self, space: &str, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.memory.get_side(space, key).await
    }
}
