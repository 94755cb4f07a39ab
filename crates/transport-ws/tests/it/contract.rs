//! Every line of docs/websocket.md that is not tested elsewhere here, over real sockets and in both encodings.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use macp_auth::Authenticator;
use macp_engine::{Method, MethodKind};
use macp_transport_ws::{Options, Timing};
use macp_wire::gateway::v1::{Call, ClientFrame, client_frame::Body};
use prost::Message as _;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::client::*;

const BOTH: [&str; 2] = ["macp.v1.json", "macp.v1.proto"];
const TOPICS: [&str; 5] = ["SESSIONS", "SIGNALS", "POLICIES", "MODE_REGISTRY", "ROOTS"];

async fn with_timing(change: impl FnOnce(&mut Timing)) -> Server {
    let mut options = Options::new(CAP);
    change(&mut options.timing);
    let tokens = json!([
        {"token": "tok-i", "sender": "agent://i"}, {"token": "tok-i2", "sender": "agent://i"},
        {"token": "tok-a", "sender": "agent://a"},
    ]);
    Server::with(Authenticator::from_tokens_json(&tokens.to_string()).unwrap(), options).await
}

/// A server that waits for clients that do not read, for as long as a busy machine may take.
async fn patient() -> Server {
    let mut options = Options::new(CAP);
    options.timing.stall = Duration::from_secs(600);
    options.timing.heartbeat = Duration::from_secs(600);
    Server::with(Authenticator::dev(), options).await
}

/// A connection without a credential, and its welcome.
async fn anonymous(server: &Server, protocol: &'static str) -> (Client, Value) {
    let (socket, _) = server.upgrade("/macp/v1/ws", &[("sec-websocket-protocol", protocol)]).await.unwrap();
    let mut client = Client { socket, binary: protocol == "macp.v1.proto", ids: 0 };
    let welcome = client.hear().await["welcome"].clone();
    (client, welcome)
}

/// The code of the error that answers a frame.
async fn refused(client: &mut Client, frame: Value) -> Value {
    client.ask("error", frame).await["code"].clone()
}

fn subscribe(session: &str, after: u64) -> Value {
    json!({"subscribe": {"session_id": session, "after_sequence": after}})
}

fn signal(data: &str) -> Value {
    let data = STANDARD.encode(data);
    let mut envelope = envelope("", "Signal", &json!({"signal_type": "presence", "data": data}));
    envelope["mode"] = json!("");
    envelope
}

#[tokio::test]
async fn welcome_tells_what_a_client_needs() {
    let server = with_timing(|timing| timing.heartbeat = Duration::from_millis(1_234)).await;
    let mut seen = Vec::new();
    for protocol in BOTH {
        let (_client, welcome) = anonymous(&server, protocol).await;
        assert_eq!(welcome["sender"], "");
        assert_eq!((&welcome["heartbeat_ms"], &welcome["max_frame_bytes"]), (&json!(1_234), &json!(CAP)));
        assert!(welcome["server_time_unix_ms"].as_i64().unwrap() > 1_700_000_000_000);
        seen.push(welcome["connection_id"].as_str().unwrap().to_owned());
    }
    assert_ne!(seen[0], seen[1]);
}

#[tokio::test]
async fn a_credential_can_come_in_a_frame_and_be_renewed() {
    let server = with_timing(|_| {}).await;
    for protocol in BOTH {
        let (mut client, _) = anonymous(&server, protocol).await;
        for token in ["tok-i", "tok-i2"] {
            let answer = client.ask("authenticated", json!({"authenticate": {"token": token}})).await;
            assert_eq!(answer["sender"], "agent://i");
        }
        client.send(start(&new_session())).await;
        // Another sender has no business on this connection.
        assert_eq!(refused(&mut client, json!({"authenticate": {"token": "tok-a"}})).await, "FORBIDDEN");
        assert_eq!(client.closed().await, 4403);
        for token in ["tok-unknown", ""] {
            let (mut client, _) = anonymous(&server, protocol).await;
            let code = refused(&mut client, json!({"authenticate": {"token": token}})).await;
            assert_eq!(code, "UNAUTHENTICATED");
            assert_eq!(client.closed().await, 4401);
        }
    }
}

#[tokio::test]
async fn without_a_credential_only_the_open_calls() {
    let server = with_timing(|timing| timing.authenticate = Duration::from_secs(2)).await;
    let session = new_session();
    for protocol in BOTH {
        let (mut client, _) = anonymous(&server, protocol).await;
        let modes = client.ask("result", json!({"call": {"method": "ListModes", "request": {}}})).await;
        assert!(!modes["response"]["modes"].as_array().unwrap().is_empty());
        let ack = client.ask("ack", json!({"send": {"envelope": start(&session)}})).await;
        assert_eq!(ack["error"]["code"], "UNAUTHENTICATED");
        for frame in [
            subscribe(&session, 0),
            json!({"watch": {"topic": "SESSIONS"}}),
            json!({"call": {"method": "ListSessions", "request": {}}}),
        ] {
            assert_eq!(refused(&mut client, frame.clone()).await, "UNAUTHENTICATED", "{frame}");
        }
        // Whatever it has called: the time runs from the upgrade.
        let error = client.hear().await;
        assert_eq!((&error["error"]["code"], &error["id"]), (&json!("UNAUTHENTICATED"), &json!("")));
        assert_eq!(client.closed().await, 4401);
    }
}

#[tokio::test]
async fn every_frame_is_answered_under_its_own_id() {
    let server = Server::start().await;
    for protocol in BOTH {
        let session = new_session();
        let mut client = server.connect_as("agent://i", protocol).await;
        client.send(start(&session)).await;
        // `ask` demands that the next frame has this id and this body.
        client.ask("subscribed", subscribe(&session, 1)).await;
        assert_eq!(client.hear().await["synced"]["sequence"], 1);
        client.ask("unsubscribed", json!({"unsubscribe": {"session_id": session}})).await;
        client.ask("watching", json!({"watch": {"topic": "SIGNALS"}})).await;
        let answer = client.ask("unwatched", json!({"unwatch": {"topic": "SIGNALS"}})).await;
        assert_eq!(answer["topic"], "SIGNALS");
        client.ask("pong", json!({"ping": {}})).await;
        let get = json!({"call": {"method": "GetSession", "request": {"session_id": session}}});
        let result = client.ask("result", get).await;
        assert_eq!(result["method"], "GetSession");
        assert_eq!(result["response"]["metadata"]["session_id"], session);
        // What is not there is ended all the same.
        client.ask("unsubscribed", json!({"unsubscribe": {"session_id": "nothing"}})).await;
        client.ask("unwatched", json!({"unwatch": {"topic": "ROOTS"}})).await;
    }
}

/// A frame as it travels, with any id.
fn ping(binary: bool, id: &str) -> Message {
    if binary {
        let frame = ClientFrame { id: id.into(), body: Some(Body::Ping(Default::default())) };
        Message::binary(frame.encode_to_vec())
    } else {
        Message::text(json!({"id": id, "ping": {}}).to_string())
    }
}

#[tokio::test]
async fn ids_have_a_length() {
    let server = Server::start().await;
    for protocol in BOTH {
        let mut client = server.connect_as("agent://i", protocol).await;
        for id in ["", "x", &"x".repeat(64), &"ü".repeat(32)] {
            client.say_raw(ping(client.binary, id)).await;
            let frame = client.hear().await;
            assert!(frame["pong"].is_object() && frame["id"] == id, "{frame}");
        }
        client.say_raw(ping(client.binary, &"x".repeat(65))).await;
        let frame = client.hear().await;
        assert_eq!((&frame["error"]["code"], &frame["id"]), (&json!("INVALID_REQUEST"), &json!("")));
    }
}

#[tokio::test]
async fn a_subscription_replays_syncs_lives_and_ends() {
    let server = Server::start().await;
    for protocol in BOTH {
        let session = new_session();
        let mut writer = server.connect("agent://i").await;
        writer.send(start(&session)).await;
        for number in 2..=4 {
            writer.send(proposal(&session, &format!("p{number}"))).await;
        }
        let mut client = server.connect_as("agent://a", protocol).await;
        let mut frame = subscribe(&session, 2);
        frame["subscribe"]["snapshot"] = json!(true);
        let answer = client.ask("subscribed", frame).await;
        assert_eq!((&answer["after_sequence"], &answer["high_water_sequence"]), (&json!(2), &json!(4)));
        assert_eq!(answer["metadata"]["state"], "SESSION_STATE_OPEN");
        assert_eq!([client.delivered().await.0, client.delivered().await.0], [3, 4]);
        let synced = client.hear().await;
        assert_eq!(synced["synced"], json!({"session_id": session, "sequence": 4}));
        writer.send(proposal(&session, "p5")).await;
        assert_eq!(client.delivered().await.0, 5);

        // One subscription a session, and none after `unsubscribed`.
        assert_eq!(refused(&mut client, subscribe(&session, 0)).await, "INVALID_REQUEST");
        client.ask("unsubscribed", json!({"unsubscribe": {"session_id": session}})).await;
        writer.send(proposal(&session, "p6")).await;
        client.ask("pong", json!({"ping": {}})).await;
        // Then again, from where it was left; without a snapshot there is no metadata.
        let answer = client.ask("subscribed", subscribe(&session, 5)).await;
        assert_eq!(answer["metadata"], Value::Null);
        assert_eq!(client.delivered().await.0, 6);
        assert_eq!(client.hear().await["synced"]["sequence"], 6);

        let cancel = json!({"call": {"method": "CancelSession", "request": {"session_id": session}}});
        assert_eq!(writer.ask("result", cancel).await["response"]["ack"]["ok"], true);
        let ended = json!({"session_id": session, "state": "SESSION_STATE_CANCELLED", "last_sequence": 6});
        let mut frame = client.hear().await;
        // The cancellation is a message of the session, if the rules make it one.
        if frame["envelope"].is_object() {
            frame = client.hear().await;
        }
        assert_eq!(frame["ended"]["state"], ended["state"], "{frame}");
        // It is over with the subscription, too: another one gets the same and ends again.
        let answer = client.ask("subscribed", subscribe(&session, 6)).await;
        let mut frame = client.hear().await;
        while frame["ended"].is_null() {
            assert!(frame["envelope"].is_object() || frame["synced"].is_object(), "{frame}");
            frame = client.hear().await;
        }
        assert_eq!(frame["ended"]["last_sequence"], answer["high_water_sequence"]);
    }
}

#[tokio::test]
async fn an_expired_session_ends_its_subscriptions() {
    let server = Server::start().await;
    for protocol in BOTH {
        let session = new_session();
        let mut client = server.connect_as("agent://i", protocol).await;
        let mut first = start(&session);
        first["payload"]["ttl_ms"] = json!(1_000);
        client.send(first).await;
        client.ask("subscribed", subscribe(&session, 1)).await;
        assert_eq!(client.hear().await["synced"]["sequence"], 1);
        let ended = json!({"session_id": session, "state": "SESSION_STATE_EXPIRED", "last_sequence": 1});
        assert_eq!(client.hear().await["ended"], ended);
    }
}

#[tokio::test]
async fn refused_subscriptions_name_the_session() {
    let server = Server::start().await;
    let session = new_session();
    server.connect("agent://i").await.send(start(&session)).await;
    for protocol in BOTH {
        let unknown = new_session();
        let mut outsider = server.connect_as("agent://x", protocol).await;
        for (id, code) in [(&unknown, "SESSION_NOT_FOUND"), (&session, "FORBIDDEN")] {
            let error = outsider.ask("error", subscribe(id, 0)).await;
            assert_eq!((&error["code"], &error["session_id"]), (&json!(code), &json!(id)));
        }
        outsider.ask("pong", json!({"ping": {}})).await;
    }
}

#[tokio::test]
async fn every_topic_is_watched_once_and_let_go() {
    let server = Server::start().await;
    server.connect("agent://i").await.send(start(&new_session())).await;
    for protocol in BOTH {
        let mut client = server.connect_as("agent://i", protocol).await;
        for topic in TOPICS {
            let watch = json!({"watch": {"topic": topic}});
            assert_eq!(client.ask("watching", watch.clone()).await["topic"], topic);
            let of = match topic {
                "SESSIONS" => "session",
                "SIGNALS" => "signal",
                "POLICIES" => "policies",
                "MODE_REGISTRY" => "mode_registry",
                _ => "roots",
            };
            if topic == "SIGNALS" {
                // Nothing is kept of signals, so the first one is a new one; its ack may come before or after it.
                let id = client.say(json!({"send": {"envelope": signal("x")}})).await;
                let (mut acked, mut seen) = (false, false);
                while !(acked && seen) {
                    let frame = client.hear().await;
                    acked |= frame["id"] == id && frame["ack"]["ok"] == true;
                    seen |= frame["event"]["signal"]["envelope"]["sender"] == "agent://i";
                }
            } else {
                // One for each session that earlier rounds have left.
                let event = client.hear().await["event"].clone();
                assert!(event["topic"] == topic && event[of].is_object(), "{event}");
            }
            assert_eq!(refused(&mut client, watch).await, "INVALID_REQUEST", "{topic}");
            client.ask("unwatched", json!({"unwatch": {"topic": topic}})).await;
        }
    }
}

/// Lets a client fall behind: whoever does not read has what the kernel and the server's watch hold, and no more.
#[tokio::test]
async fn a_watcher_that_falls_behind_is_told_and_loses_nothing_else() {
    let server = patient().await;
    let data = "s".repeat(30_000);
    for protocol in BOTH {
        let session = new_session();
        let mut slow = server.connect_as("agent://i", protocol).await;
        slow.send(start(&session)).await;
        slow.ask("subscribed", subscribe(&session, 1)).await;
        assert_eq!(slow.hear().await["synced"]["sequence"], 1);
        slow.ask("watching", json!({"watch": {"topic": "SIGNALS"}})).await;
        let mut writer = server.connect_as("agent://i", protocol).await;
        for number in 0..1_500 {
            writer.send(signal(&format!("{number}{data}"))).await;
        }
        writer.send(proposal(&session, "p")).await;
        let (mut signals, mut lagged, mut delivered) = (0, None, None);
        while lagged.is_none() || delivered.is_none() {
            let frame = slow.hear().await;
            if frame["event"].is_object() {
                signals += 1;
                assert!(lagged.is_none(), "an event after the end of its watch");
            } else if frame["error"].is_object() {
                lagged = Some(frame["error"].clone());
            } else {
                delivered = frame["envelope"]["sequence"].as_u64();
            }
        }
        let lagged = lagged.unwrap();
        assert_eq!(lagged["code"], "STREAM_LAGGED");
        assert_eq!(details(&lagged), json!({"topic": "SIGNALS"}));
        assert!(signals < 1_500 && delivered == Some(2));
        // It may watch again.
        slow.ask("watching", json!({"watch": {"topic": "SIGNALS"}})).await;
    }
}

/// The details of an error, which are bytes.
fn details(error: &Value) -> Value {
    let encoded = error["details"].as_str().unwrap();
    serde_json::from_slice(&STANDARD.decode(encoded).unwrap()).unwrap()
}

#[tokio::test]
async fn every_unary_call_by_its_name() {
    let server = Server::start().await;
    for protocol in BOTH {
        let mut client = server.connect_as("agent://i", protocol).await;
        for method in Method::ALL {
            client.say_raw(call(client.binary, method.name())).await;
            let frame = client.hear().await;
            assert_eq!(frame["id"], "m");
            match (method.kind(), &frame["result"], &frame["error"]["code"]) {
                (MethodKind::Unary, Value::Object(result), _) => assert_eq!(result["method"], method.name()),
                (MethodKind::Unary, _, code) => {
                    assert!(code.is_string() && *code != "UNIMPLEMENTED", "{method:?}: {frame}");
                }
                // Streams have frames of their own.
                (_, _, code) => assert_eq!(*code, "INVALID_REQUEST", "{method:?}"),
            }
        }
    }
}

/// A call with an empty request, as it travels, of a method that need not exist.
fn call(binary: bool, method: &str) -> Message {
    if binary {
        let call = Call { method: method.into(), request: Default::default() };
        Message::binary(ClientFrame { id: "m".into(), body: Some(Body::Call(call)) }.encode_to_vec())
    } else {
        Message::text(json!({"id": "m", "call": {"method": method, "request": {}}}).to_string())
    }
}

/// Frames that cannot be meant, as they travel.
fn malformed(binary: bool) -> Vec<Message> {
    if !binary {
        return [
            "",
            "null",
            "[]",
            "{",
            "{}",
            r#"{"id":"m"}"#,
            r#"{"id":"m","ping":{},"watch":{"topic":"ROOTS"}}"#,
            r#"{"id":"m","ping":{},"ping":{}}"#,
            r#"{"id":"m","dance":{}}"#,
            r#"{"id":"m","watch":{"topic":"WEATHER"}}"#,
            r#"{"id":"m","watch":{}}"#,
            r#"{"id":"m","call":{"method":"Nothing","request":{}}}"#,
            r#"{"id":"m","call":{"method":"GetSession","request":{"session_id":7}}}"#,
            r#"{"id":"m","call":{"method":"ListModes","request":7}}"#,
            r#"{"id":7,"ping":{}}"#,
        ]
        .into_iter()
        .map(Message::text)
        .collect();
    }
    let frame = |body| ClientFrame { id: "m".into(), body: Some(body) }.encode_to_vec();
    let call = |method: &str, request: &'static [u8]| {
        frame(Body::Call(Call { method: method.into(), request: request.into() }))
    };
    [
        vec![],
        vec![0xFF],
        vec![0x0A, 0x01, b'm'],
        [frame(Body::Ping(Default::default())), frame(Body::Watch(Default::default()))].concat(),
        frame(Body::Watch(macp_wire::gateway::v1::Watch { topic: 99 })),
        frame(Body::Watch(Default::default())),
        call("Nothing", b""),
        call("GetSession", b"\x0a\xFF"),
        // A body of the future.
        vec![0x0A, 0x01, b'm', 0xFA, 0x07, 0x00],
    ]
    .into_iter()
    .map(Message::binary)
    .collect()
}

#[tokio::test]
async fn malformed_frames_are_answered_until_there_are_twenty() {
    let server = Server::start().await;
    for protocol in BOTH {
        let mut client = server.connect_as("agent://i", protocol).await;
        let frames = malformed(client.binary);
        for frame in &frames {
            client.say_raw(frame.clone()).await;
            let answer = client.hear().await;
            assert_eq!(answer["error"]["code"], "INVALID_REQUEST", "{frame:?}: {answer}");
            assert!(answer["id"] == "" || answer["id"] == "m", "{answer}");
        }
        client.ask("pong", json!({"ping": {}})).await;
        for _ in frames.len()..20 {
            client.say_raw(frames[0].clone()).await;
            assert_eq!(client.hear().await["error"]["code"], "INVALID_REQUEST");
        }
        assert_eq!(client.closed().await, 1008);
    }
}

#[tokio::test]
async fn a_fault_inside_an_envelope_is_an_ack() {
    let server = Server::start().await;
    for protocol in BOTH {
        let mut client = server.connect_as("agent://i", protocol).await;
        let mut faulty = start(&new_session());
        faulty["macp_version"] = json!("9");
        let ack = client.ask("ack", json!({"send": {"envelope": faulty}})).await;
        assert_eq!(ack["error"]["code"], "UNSUPPORTED_PROTOCOL_VERSION");
        let ack = client.ask("ack", json!({"send": {}})).await;
        assert_eq!((&ack["ok"], &ack["error"]["code"]), (&json!(false), &json!("INVALID_ENVELOPE")));
    }
}

#[tokio::test]
async fn a_connection_follows_a_thousand_sessions_and_no_more() {
    let server = Server::start().await;
    let sessions: Vec<String> = (0..1_001).map(|_| new_session()).collect();
    let mut writer = server.connect("agent://i").await;
    for session in &sessions {
        writer.send(start(session)).await;
    }
    for protocol in BOTH {
        let mut client = server.connect_as("agent://a", protocol).await;
        for session in &sessions[..1_000] {
            client.ask("subscribed", subscribe(session, 1)).await;
            assert_eq!(client.hear().await["synced"]["session_id"], *session);
        }
        for frame in [subscribe(&sessions[1_000], 1), json!({"watch": {"topic": "ROOTS"}})] {
            assert_eq!(refused(&mut client, frame).await, "RATE_LIMITED");
        }
        let pong = client.ask("pong", json!({"ping": {}})).await;
        let heads = pong["subscriptions"].as_array().unwrap();
        assert_eq!(heads.len(), 1_000);
        assert!(heads.iter().all(|head| head["high_water_sequence"] == 1));
        // One that is ended makes room.
        client.ask("unsubscribed", json!({"unsubscribe": {"session_id": sessions[0]}})).await;
        client.ask("subscribed", subscribe(&sessions[1_000], 1)).await;
    }
}

/// Whoever hears nothing and says nothing is closed with a code that says why.
#[tokio::test]
async fn the_server_pings_and_closes_who_is_silent() {
    let server = with_timing(|timing| timing.heartbeat = Duration::from_millis(100)).await;
    for protocol in BOTH {
        let offered = format!("{protocol}, {}", bearer("tok-i"));
        let offer = [("sec-websocket-protocol", offered.as_str())];
        // Answering pings, which the client does whenever it reads, is enough to stay.
        let (socket, _) = server.upgrade("/macp/v1/ws", &offer).await.unwrap();
        let mut answering = Client { socket, binary: protocol == "macp.v1.proto", ids: 0 };
        answering.hear().await;
        let pings = tokio::time::timeout(Duration::from_secs(1), answering.hear_raw()).await;
        assert!(pings.is_err(), "closed although it answers: {pings:?}");

        // One that leaves the pings unread does not answer them.
        let (socket, _) = server.upgrade("/macp/v1/ws", &offer).await.unwrap();
        let mut silent = Client { socket, binary: protocol == "macp.v1.proto", ids: 0 };
        silent.hear().await;
        let bytes = read_to_end(silent.socket.into_inner()).await;
        let (pings, close) = bytes.split_at(bytes.iter().position(|byte| *byte == 0x88).unwrap());
        assert!(pings.starts_with(&[0x89, 0]), "{pings:?}");
        assert_eq!(close[2..4], 4408u16.to_be_bytes(), "{close:?}");
    }
}

async fn read_to_end(mut socket: tokio::net::TcpStream) -> Vec<u8> {
    use tokio::io::AsyncReadExt as _;
    let mut bytes = Vec::new();
    let read = socket.read_to_end(&mut bytes);
    tokio::time::timeout(Duration::from_secs(20), read).await.unwrap().unwrap();
    bytes
}

/// A slow reader of a session loses nothing, whatever is accepted meanwhile.
#[tokio::test]
async fn who_stops_reading_gets_everything_later() {
    let server = patient().await;
    let rationale = "r".repeat(20_000);
    for protocol in BOTH {
        let session = new_session();
        let mut writer = server.connect_as("agent://i", protocol).await;
        writer.send(start(&session)).await;
        let mut slow = server.connect_as("agent://a", protocol).await;
        slow.ask("subscribed", subscribe(&session, 0)).await;
        for number in 2..=1_500u64 {
            let payload = json!({"proposal_id": format!("p{number}"), "option": "o", "rationale": rationale});
            writer.send(envelope(&session, "Proposal", &payload)).await;
        }
        let mut next = 1;
        while next <= 1_500 {
            let frame = slow.hear().await;
            if frame["synced"].is_null() {
                assert_eq!(frame["envelope"]["sequence"], next);
                next += 1;
            }
        }
        slow.ask("pong", json!({"ping": {}})).await;
    }
}
