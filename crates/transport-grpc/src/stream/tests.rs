//! `StreamSession` without sockets: order, turns, drain and races, on a real engine in memory.

use std::pin::pin;

use futures_util::FutureExt;
use macp_engine::testing::memory_engine;
use macp_kernel::Caller;
use macp_wire::modes::decision::v1::ProposalPayload;
use macp_wire::v1::stream_session_response::Response;
use macp_wire::v1::{CancelSessionRequest, SessionStartPayload, StreamSessionResponse};
use prost::Message;
use tokio::sync::mpsc::{self, Sender};
use tokio_stream::wrappers::ReceiverStream;

use super::*;

const SESSION: &str = "11111111-1111-4111-8111-111111111111";
const MODE: &str = "macp.mode.decision.v1";
const ALICE: &str = "agent://alice";

type Input = ReceiverStream<Result<StreamSessionRequest, Status>>;

fn identity(sender: &str) -> Identity {
    Identity::Known(Caller::new(sender))
}

fn envelope(message_type: &str, message_id: &str, payload: &impl Message) -> Envelope {
    Envelope {
        macp_version: "1.0".into(),
        mode: MODE.into(),
        message_type: message_type.into(),
        message_id: message_id.into(),
        session_id: SESSION.into(),
        payload: payload.encode_to_vec().into(),
        ..Envelope::default()
    }
}

fn start() -> Envelope {
    let payload = SessionStartPayload {
        participants: vec![ALICE.into()],
        mode_version: "1.0.0".into(),
        configuration_version: "config.default".into(),
        ttl_ms: 60_000,
        ..SessionStartPayload::default()
    };
    envelope("SessionStart", "start", &payload)
}

fn proposal(id: &str) -> Envelope {
    envelope(
        "Proposal",
        id,
        &ProposalPayload { proposal_id: id.into(), option: "o".into(), ..Default::default() },
    )
}

fn submits(envelope: Envelope) -> Result<StreamSessionRequest, Status> {
    Ok(StreamSessionRequest { envelope: Some(envelope), ..StreamSessionRequest::default() })
}

fn subscribes(after_sequence: u64) -> Result<StreamSessionRequest, Status> {
    Ok(StreamSessionRequest {
        subscribe_session_id: SESSION.into(),
        after_sequence,
        ..StreamSessionRequest::default()
    })
}

fn open(engine: &Engine) -> (Sender<Result<StreamSessionRequest, Status>>, SessionStream<Input>) {
    open_until(engine, InputEnd::HalfClose)
}

fn open_until(
    engine: &Engine,
    input_end: InputEnd,
) -> (Sender<Result<StreamSessionRequest, Status>>, SessionStream<Input>) {
    let (frames, input) = mpsc::channel(1024);
    (frames, SessionStream::new(engine.clone(), identity(ALICE), ReceiverStream::new(input), input_end))
}

/// Only a bound on failure: nothing is timed by it.
async fn soon<F: Future>(what: F) -> F::Output {
    tokio::time::timeout(std::time::Duration::from_secs(20), what).await.expect("it has to come")
}

/// The next response, as the id of the message it is about; an inline error has a `!` before it.
async fn next(stream: &mut SessionStream<Input>) -> String {
    match soon(stream.next()).await {
        None => "end".to_owned(),
        Some(Err(status)) => status.metadata().get("macp-error-code").unwrap().to_str().unwrap().to_owned(),
        Some(Ok(frame)) => match StreamSessionResponse::decode(&*frame.encode_to_vec()).unwrap().response {
            Some(Response::Envelope(envelope)) => envelope.message_id,
            Some(Response::Error(error)) => format!("!{}", error.message_id),
            None => "nothing".to_owned(),
        },
    }
}

async fn session_with(engine: &Engine, proposals: usize) {
    let alice = identity(ALICE);
    engine.submit(&alice, start()).await.unwrap();
    for number in 0..proposals {
        engine.submit(&alice, proposal(&format!("p{number}"))).await.unwrap();
    }
}

#[tokio::test]
async fn echoes_come_before_the_answer_to_a_later_frame() {
    let engine = memory_engine().await;
    let (frames, mut stream) = open(&engine);
    for frame in [start(), proposal("p0"), envelope("Vote", "bad", &()), proposal("p1")] {
        frames.try_send(submits(frame)).unwrap();
    }
    drop(frames);
    let mut seen = Vec::new();
    loop {
        seen.push(next(&mut stream).await);
        if seen.last().unwrap() == "end" {
            break;
        }
    }
    assert_eq!(seen, ["start", "p0", "!bad", "p1", "end"]);
    assert_eq!(next(&mut stream).await, "end", "ended for good");
}

#[tokio::test]
async fn a_long_replay_lets_a_frame_through() {
    let engine = memory_engine().await;
    let count = TURN as usize * 3;
    session_with(&engine, count).await;
    let (frames, mut stream) = open(&engine);
    frames.try_send(subscribes(0)).unwrap();
    frames.try_send(submits(envelope("Vote", "bad", &()))).unwrap();
    frames.try_send(submits(proposal("last"))).unwrap();
    let mut seen = Vec::new();
    while seen.last().is_none_or(|last| last != "last") {
        seen.push(next(&mut stream).await);
    }
    let error = seen.iter().position(|id| id == "!bad").unwrap();
    assert!(error <= TURN as usize, "the frame waited for {error} deliveries");
    seen.remove(error);
    let mut expected: Vec<String> = (0..count).map(|number| format!("p{number}")).collect();
    expected.insert(0, "start".into());
    expected.push("last".into());
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn nothing_is_read_ahead_of_the_client() {
    let engine = memory_engine().await;
    let (frames, mut stream) = open(&engine);
    for number in 0..100 {
        let frame = if number == 0 { start() } else { proposal(&format!("p{number}")) };
        frames.try_send(submits(frame)).unwrap();
    }
    assert_eq!(next(&mut stream).await, "start");
    let head = engine.subscribe(&identity(ALICE), SESSION, 0).await.unwrap().head();
    assert_eq!(head, 1, "one response was asked for, so one frame was read");
}

#[tokio::test]
async fn a_later_subscribe_goes_back_and_never_ahead() {
    let engine = memory_engine().await;
    session_with(&engine, 3).await;
    let (frames, mut stream) = open(&engine);
    frames.try_send(subscribes(2)).unwrap();
    assert_eq!(next(&mut stream).await, "p1");
    assert_eq!(next(&mut stream).await, "p2");
    frames.try_send(subscribes(3)).unwrap();
    assert_eq!(next(&mut stream).await, "p2");
    frames.try_send(subscribes(0)).unwrap();
    for id in ["start", "p0", "p1", "p2"] {
        assert_eq!(next(&mut stream).await, id);
    }
    drop(frames);
    assert_eq!(next(&mut stream).await, "end");
}

#[tokio::test]
async fn a_subscribe_ahead_skips_nothing_that_is_owed() {
    let engine = memory_engine().await;
    let count = TURN as usize * 2;
    session_with(&engine, count).await;
    let (frames, mut stream) = open(&engine);
    // The second frame is read in the middle of the replay that the first one began.
    frames.try_send(subscribes(0)).unwrap();
    frames.try_send(subscribes(u64::MAX)).unwrap();
    assert_eq!(next(&mut stream).await, "start");
    for number in 0..count {
        assert_eq!(next(&mut stream).await, format!("p{number}"));
    }
}

#[tokio::test]
async fn beyond_the_end_everything_new_arrives() {
    let engine = memory_engine().await;
    session_with(&engine, 1).await;
    let (frames, mut stream) = open(&engine);
    frames.try_send(subscribes(99)).unwrap();
    frames.try_send(submits(proposal("p1"))).unwrap();
    assert_eq!(next(&mut stream).await, "p1");
}

#[tokio::test]
async fn half_close_delivers_what_was_accepted_until_then() {
    let engine = memory_engine().await;
    session_with(&engine, 200).await;
    let (frames, mut stream) = open(&engine);
    frames.try_send(subscribes(0)).unwrap();
    drop(frames);
    let mut count = 0;
    while next(&mut stream).await != "end" {
        count += 1;
    }
    assert_eq!(count, 201);
}

#[tokio::test]
async fn a_client_that_can_send_no_more_follows_to_the_end_of_the_session() {
    let engine = memory_engine().await;
    session_with(&engine, 1).await;
    let whole = || {
        let (frames, stream) = open_until(&engine, InputEnd::Follow);
        frames.try_send(subscribes(0)).unwrap();
        stream
    };
    let mut live = whole();
    for expected in ["start", "p0"] {
        assert_eq!(next(&mut live).await, expected);
    }
    engine.submit(&identity(ALICE), proposal("p1")).await.unwrap();
    assert_eq!(next(&mut live).await, "p1");
    let cancel = CancelSessionRequest { session_id: SESSION.into(), reason: String::new() };
    engine.cancel_session(&identity(ALICE), cancel).await.unwrap();
    assert_eq!(next(&mut live).await, "end");
    // A session that is over before anybody follows it.
    let mut late = whole();
    for expected in ["start", "p0", "p1", "end"] {
        assert_eq!(next(&mut late).await, expected);
    }
}

#[tokio::test]
async fn half_close_without_a_session_just_ends() {
    let engine = memory_engine().await;
    let (frames, mut stream) = open(&engine);
    frames.try_send(submits(proposal("p"))).unwrap();
    drop(frames);
    assert_eq!(next(&mut stream).await, "!p");
    assert_eq!(next(&mut stream).await, "end");
}

#[tokio::test]
async fn the_drain_ends_a_stream_that_waits() {
    let engine = memory_engine().await;
    session_with(&engine, 0).await;
    let (frames, mut stream) = open(&engine);
    frames.try_send(subscribes(0)).unwrap();
    assert_eq!(next(&mut stream).await, "start");
    {
        let mut waiting = pin!(stream.next());
        assert!(waiting.as_mut().now_or_never().is_none());
        engine.drain();
        assert!(soon(waiting).await.unwrap().is_err());
    }
    assert_eq!(next(&mut stream).await, "end");
    let (_frames, mut late) = open(&engine);
    assert_eq!(next(&mut late).await, "UNAVAILABLE");
}

/// Many streams race to start one session and to send into it: each sees every envelope once and in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn racing_streams_see_one_history() {
    for _ in 0..20 {
        let engine = memory_engine().await;
        let mut streams = Vec::new();
        for number in 0..6 {
            let engine = engine.clone();
            streams.push(tokio::spawn(async move {
                let (frames, mut stream) = open(&engine);
                // The same message id from all: one start is accepted, the others are its duplicates.
                frames.try_send(submits(start())).unwrap();
                frames.try_send(submits(proposal(&format!("p{number}")))).unwrap();
                let own = format!("p{number}");
                let mut seen = Vec::new();
                while seen.last() != Some(&own) {
                    seen.push(next(&mut stream).await);
                    assert!(seen.len() <= 7, "{seen:?}");
                }
                drop(frames);
                loop {
                    match next(&mut stream).await.as_str() {
                        "end" => break,
                        id => seen.push(id.to_owned()),
                    }
                }
                seen
            }));
        }
        let mut all = Vec::new();
        for stream in streams {
            all.push(stream.await.unwrap());
        }
        let (frames, mut reader) = open(&engine);
        frames.try_send(subscribes(0)).unwrap();
        drop(frames);
        let mut history = Vec::new();
        loop {
            match next(&mut reader).await.as_str() {
                "end" => break,
                id => history.push(id.to_owned()),
            }
        }
        assert_eq!(history.len(), 7, "{history:?}");
        for (number, seen) in all.iter().enumerate() {
            let from = history.iter().position(|id| Some(id) == seen.first()).unwrap();
            assert_eq!(
                seen[..],
                history[from..from + seen.len()],
                "stream {number}: a run without gap or repeat"
            );
            assert!(seen.contains(&format!("p{number}")), "stream {number} sees its own");
        }
        assert!(all.iter().any(|seen| seen[0] == "start"), "whoever started the session sees ordinal 1");
    }
}

#[test]
fn every_code_is_one_or_the_other() {
    let ends: Vec<&str> =
        RefusalCode::ALL.iter().filter(|code| ends_stream(**code)).map(|code| code.name()).collect();
    assert_eq!(
        ends,
        [
            "UNAUTHENTICATED",
            "SESSION_ALREADY_EXISTS",
            "PAYLOAD_TOO_LARGE",
            "RATE_LIMITED",
            "INVALID_SESSION_ID",
            "INTERNAL_ERROR",
            "INVALID_POLICY_DEFINITION",
            "STREAM_LAGGED",
            "HISTORY_UNAVAILABLE",
            "UNIMPLEMENTED",
            "UNAVAILABLE",
        ]
    );
}
