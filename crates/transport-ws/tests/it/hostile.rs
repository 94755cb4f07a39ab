//! Arbitrary frames, fragments and bytes after an upgrade: no panic, nothing left behind, no effect on others.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use macp_wire::gateway::v1::{ClientFrame, ServerFrame};
use macp_wire::json;
use proptest::prelude::*;
use proptest::test_runner::{TestError, TestRunner};
use prost::Message as _;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::client::*;

const CASES: u32 = 400;
/// More than a connection takes to end by itself: two seconds for closing, one for what is still on its way.
const ENDS_WITHIN: Duration = Duration::from_secs(15);
const MALLORY: &str = "agent://mallory";

/// One frame as it is written, which need not be one.
#[derive(Clone, Debug)]
struct Raw {
    first: u8,
    masked: bool,
    /// What the head says beside the truth about the payload's length.
    lie: i64,
    /// In which of the three forms the length is written.
    form: u8,
    payload: Vec<u8>,
}

impl Raw {
    fn bytes(&self) -> Vec<u8> {
        let length = (self.payload.len() as i64 + self.lie).max(0) as u64;
        let mask = if self.masked { 0x80 } else { 0 };
        let mut bytes = vec![self.first];
        match self.form {
            0 if length < 126 => bytes.push(mask | length as u8),
            0 | 1 if length < 65_536 => {
                bytes.push(mask | 126);
                bytes.extend(&length.to_be_bytes()[6..]);
            }
            _ => {
                bytes.push(mask | 127);
                bytes.extend(length.to_be_bytes());
            }
        }
        if self.masked {
            bytes.extend([0; 4]);
        }
        bytes.extend(&self.payload);
        bytes
    }
}

/// What one attacker does on one connection.
#[derive(Clone, Debug)]
struct Attack {
    protobuf: bool,
    writes: Vec<Vec<u8>>,
    /// Goes away at once, instead of reading to the end.
    vanishes: bool,
}

/// Frames that mean something, about the session of others as well as the attacker's own.
fn meant(victim: &str, own: &str) -> Vec<Value> {
    let mut frames = vec![
        json!({"ping": {}}),
        json!({"watch": {"topic": "SIGNALS"}}),
        json!({"watch": {"topic": "SESSIONS"}}),
        json!({"unwatch": {"topic": "SIGNALS"}}),
        json!({"call": {"method": "ListSessions", "request": {}}}),
        json!({"authenticate": {"token": MALLORY}}),
        json!({"authenticate": {"token": "agent://i"}}),
    ];
    for session in [victim, own] {
        frames.extend([
            json!({"id": "s", "subscribe": {"session_id": session, "after_sequence": 0, "snapshot": true}}),
            json!({"subscribe": {"session_id": session, "after_sequence": 1}}),
            json!({"unsubscribe": {"session_id": session}}),
            json!({"send": {"envelope": proposal(session, "mine")}}),
            json!({"send": {"envelope": vote(session)}}),
            json!({"call": {"method": "CancelSession", "request": {"session_id": session}}}),
            json!({"call": {"method": "SuspendSession", "request": {"session_id": session}}}),
        ]);
    }
    frames
}

fn encoded(frame: &Value, protobuf: bool) -> Vec<u8> {
    let text = frame.to_string().into_bytes();
    if protobuf { json::from_slice::<ClientFrame>(&text).unwrap().encode_to_vec() } else { text }
}

/// Bytes with something overwritten, taken out or put in.
fn mutated(bytes: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let edit = (0..3u8, any::<prop::sample::Index>(), any::<u8>());
    prop::collection::vec(edit, 0..4).prop_map(move |edits| {
        let mut bytes = bytes.clone();
        for (kind, at, byte) in edits {
            if bytes.is_empty() {
                break;
            }
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, byte),
            }
        }
        bytes
    })
}

fn payloads(frames: Vec<Value>, protobuf: bool) -> impl Strategy<Value = Vec<u8>> {
    let frames: Vec<Vec<u8>> = frames.iter().map(|frame| encoded(frame, protobuf)).collect();
    prop_oneof![
        4 => prop::sample::select(frames.clone()),
        3 => prop::sample::select(frames).prop_flat_map(mutated),
        1 => prop::collection::vec(any::<u8>(), 0..300),
    ]
}

/// A message, mostly well-formed, in one to four parts with control frames in between.
fn parts(payload: Vec<u8>, protobuf: bool) -> impl Strategy<Value = Vec<Vec<u8>>> {
    let control = prop_oneof![
        4 => Just(None),
        1 => (prop::sample::select(vec![0x89u8, 0x8A]), prop::collection::vec(any::<u8>(), 0..126)).prop_map(Some),
    ];
    let cuts = prop::collection::vec((any::<prop::sample::Index>(), control), 0..4);
    let fault = prop_oneof![
        12 => Just(None),
        1 => (any::<u8>(), any::<bool>(), -3..3i64, 0..3u8).prop_map(Some),
    ];
    (cuts, fault, prop_oneof![9 => Just(protobuf), 1 => Just(!protobuf)]).prop_map(
        move |(cuts, fault, binary)| {
            let mut places: Vec<usize> = cuts.iter().map(|(cut, _)| cut.index(payload.len() + 1)).collect();
            places.sort_unstable();
            places.push(payload.len());
            let mut from = 0;
            let mut out = Vec::new();
            for (number, to) in places.iter().copied().enumerate() {
                let opcode = if number > 0 { 0 } else { 1 + u8::from(binary) };
                let fin = if number + 1 == places.len() { 0x80 } else { 0 };
                let part = payload[from..to].to_vec();
                out.push(Raw { first: fin | opcode, masked: true, lie: 0, form: 0, payload: part });
                if let Some((_, Some((first, payload)))) = cuts.get(number) {
                    out.push(Raw { first: *first, masked: true, lie: 0, form: 0, payload: payload.clone() });
                }
                from = to;
            }
            if let (Some((first, masked, lie, form)), Some(last)) = (fault, out.last_mut()) {
                *last = Raw { first, masked, lie, form, payload: last.payload.clone() };
            }
            out.iter().map(Raw::bytes).collect()
        },
    )
}

fn attacks(victim: &str, own: &str) -> impl Strategy<Value = Attack> + use<> {
    let frames = meant(victim, own);
    (any::<bool>(), any::<bool>(), 1..4_000usize).prop_flat_map(move |(protobuf, vanishes, chunk)| {
        let message = payloads(frames.clone(), protobuf)
            .prop_flat_map(move |payload| parts(payload, protobuf))
            .prop_map(|parts| parts.concat());
        let anything = prop::collection::vec(any::<u8>(), 0..100);
        let written = prop_oneof![15 => message, 1 => anything];
        prop::collection::vec(written, 1..16).prop_map(move |writes| {
            // Cut anywhere on the way: a frame is not a segment.
            let writes = writes.concat().chunks(chunk).map(<[u8]>::to_vec).collect();
            Attack { protobuf, writes, vanishes }
        })
    })
}

/// Carries an attack out. What the server says must be frames to the end.
async fn carry_out(server: &Server, attack: &Attack) -> Result<(), TestCaseError> {
    let protocol = if attack.protobuf { "macp.v1.proto" } else { "macp.v1.json" };
    let offered = format!("{protocol}, {}", bearer(MALLORY));
    let (socket, _) = server.upgrade("/macp/v1/ws", &[("sec-websocket-protocol", &offered)]).await.unwrap();
    let mut tcp: TcpStream = socket.into_inner();
    for bytes in &attack.writes {
        // The server may have closed already.
        if tcp.write_all(bytes).await.is_err() {
            break;
        }
    }
    if attack.vanishes {
        return Ok(());
    }
    let _ = tcp.shutdown().await;
    let mut said = Vec::new();
    let read = tokio::time::timeout(ENDS_WITHIN, tcp.read_to_end(&mut said)).await;
    prop_assert!(read.is_ok(), "the connection does not end");
    check_frames(&said, attack.protobuf)
}

/// Whole, unmasked, unfragmented frames, of which those with data are server frames; nothing follows the close frame.
fn check_frames(mut bytes: &[u8], protobuf: bool) -> Result<(), TestCaseError> {
    while let [first, second, rest @ ..] = bytes {
        let (length, rest) = match (*second, rest) {
            (126, [a, b, rest @ ..]) => (usize::from(u16::from_be_bytes([*a, *b])), rest),
            (127, [a, b, c, d, e, f, g, h, rest @ ..]) => {
                (u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]) as usize, rest)
            }
            (short, rest) => (usize::from(short), rest),
        };
        // A connection that is reset loses its end.
        let Some((payload, rest)) = rest.split_at_checked(length) else { return Ok(()) };
        match *first {
            0x81 | 0x82 => {
                prop_assert_eq!(*first == 0x82, protobuf);
                let frame = if protobuf {
                    ServerFrame::decode(payload).map(|frame| json::encode_server_frame(&frame)).ok()
                } else {
                    Some(payload.to_vec())
                };
                let frame: Value = serde_json::from_slice(&frame.unwrap_or_default())
                    .map_err(|error| TestCaseError::fail(format!("{error}: {payload:?}")))?;
                prop_assert_ne!(&frame["error"]["code"], "INTERNAL_ERROR", "{}", frame);
                prop_assert_ne!(&frame["ack"]["error"]["code"], "INTERNAL_ERROR", "{}", frame);
            }
            0x88 => prop_assert!(length == 0 || length >= 2),
            0x89 | 0x8A => prop_assert!(length < 126),
            other => prop_assert!(false, "first byte {:x}", other),
        }
        bytes = rest;
    }
    Ok(())
}

/// Waits for what must come to pass.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(ENDS_WITHIN, wait).await.unwrap_or_else(|_| panic!("{what}"));
}

static PANICS: AtomicUsize = AtomicUsize::new(0);

#[test]
fn frames_and_fragments_do_no_harm() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (server, victim, own) = runtime.block_on(async {
        let server = Server::start().await;
        let (victim, own) = (new_session(), new_session());
        let mut writer = server.connect("agent://i").await;
        writer.send(start(&victim)).await;
        let mut first = start(&own);
        first["payload"]["participants"] = json!([MALLORY]);
        server.connect(MALLORY).await.send(first).await;
        (server, victim, own)
    });
    // A panic in a socket's task would only be a line of log.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if std::thread::current().name().is_none_or(|name| name.starts_with("tokio")) {
            PANICS.fetch_add(1, Ordering::SeqCst);
        }
        hook(info);
    }));

    let (mut reader, mut writer) = runtime.block_on(async {
        let mut reader = server.connect("agent://a").await;
        reader.ask("subscribed", json!({"subscribe": {"session_id": victim, "after_sequence": 1}})).await;
        assert!(reader.hear().await["synced"].is_object());
        (reader, server.connect("agent://i").await)
    });
    let config = ProptestConfig {
        cases: CASES,
        failure_persistence: None,
        max_shrink_iters: 200,
        ..Default::default()
    };
    let outcome = TestRunner::new(config).run(&attacks(&victim, &own), |attack| {
        runtime.block_on(carry_out(&server, &attack))?;
        prop_assert_eq!(PANICS.load(Ordering::SeqCst), 0);
        Ok(())
    });
    if let Err(TestError::Fail(reason, attack)) = outcome {
        panic!("{reason}: {attack:?}");
    }

    runtime.block_on(async {
        until("sockets are left", async || server.sockets.len() == 2).await;
        until("subscriptions are left", async || {
            let of_others = server.engine.subscribers(&victim).await;
            (of_others, server.engine.subscribers(&own).await, server.engine.signal_watchers()) == (1, 0, 0)
        })
        .await;
        // Nobody but its own members has moved the session.
        for sequence in 2..5 {
            writer.send(proposal(&victim, &format!("p{sequence}"))).await;
            let (found, envelope) = reader.delivered().await;
            assert_eq!((found, &envelope["sender"]), (sequence, &json!("agent://i")));
        }
    });
}
