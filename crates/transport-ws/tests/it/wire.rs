//! The WebSocket layer itself: fragments, sizes, broken peers, and that one peer's trouble is its own.

use futures_util::SinkExt;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::client::*;

fn fragment(data: &str, first: bool, last: bool) -> Message {
    let opcode = OpCode::Data(if first { Data::Text } else { Data::Continue });
    Message::Frame(Frame::message(data.as_bytes().to_vec(), opcode, last))
}

#[tokio::test]
async fn a_fragmented_message_is_one_frame() {
    let server = Server::start().await;
    let mut client = server.connect("agent://i").await;
    client.say_raw(fragment(r#"{"id":"x","#, true, false)).await;
    // Control frames may come in between.
    client.say_raw(Message::Ping(vec![1].into())).await;
    client.say_raw(fragment(r#""pi"#, false, false)).await;
    client.say_raw(fragment(r#"ng":{}}"#, false, true)).await;
    let frame = client.hear().await;
    assert!(frame["pong"].is_object() && frame["id"] == "x", "{frame}");
}

#[tokio::test]
async fn the_cap_holds_for_messages_whole_or_in_parts() {
    let server = Server::start().await;
    let frame = |length: usize| {
        let frame = r#"{"id":"x","ping":{}}"#;
        format!("{frame}{}", " ".repeat(length - frame.len()))
    };
    let mut client = server.connect("agent://i").await;
    client.say_raw(Message::text(frame(CAP))).await;
    assert!(client.hear().await["pong"].is_object());
    client.say_raw(Message::text(frame(CAP + 1))).await;
    assert_eq!(client.closed().await, 1009);

    let mut client = server.connect("agent://i").await;
    let text = frame(CAP + 1);
    client.say_raw(fragment(&text[..CAP / 2], true, false)).await;
    client.say_raw(fragment(&text[CAP / 2..], false, true)).await;
    assert_eq!(client.closed().await, 1009);
}

#[tokio::test]
async fn wrong_kinds_and_broken_frames_are_told_apart() {
    let server = Server::start().await;
    let mut json = server.connect("agent://i").await;
    json.say_raw(Message::binary(vec![1])).await;
    assert_eq!(json.closed().await, 1003);
    let mut proto = server.connect_as("agent://i", "macp.v1.proto").await;
    proto.say_raw(Message::text("{}")).await;
    assert_eq!(proto.closed().await, 1003);
    let mut not_utf8 = server.connect("agent://i").await;
    let frame = Frame::message(vec![0xFF], OpCode::Data(Data::Text), true);
    not_utf8.say_raw(Message::Frame(frame)).await;
    assert_eq!(not_utf8.closed().await, 1007);
    // A client must mask its frames.
    let mut unmasked = server.connect("agent://i").await;
    unmasked.socket.get_mut().write_all(&[0x81, 0x02, b'{', b'}']).await.unwrap();
    assert_eq!(unmasked.closed().await, 1002);
}

#[tokio::test]
async fn a_malformed_frame_ends_nobodys_session() {
    let server = Server::start().await;
    let session = new_session();
    let mut initiator = server.connect("agent://i").await;
    initiator.send(start(&session)).await;
    let mut reader = server.connect("agent://a").await;
    reader.ask("subscribed", json!({"subscribe": {"session_id": session, "after_sequence": 1}})).await;
    assert!(reader.hear().await["synced"].is_object());

    let mut broken = server.connect("agent://b").await;
    broken.ask("subscribed", json!({"subscribe": {"session_id": session, "after_sequence": 1}})).await;
    assert!(broken.hear().await["synced"].is_object());
    broken.say_raw(Message::text("{not json")).await;
    assert_eq!(broken.hear().await["error"]["code"], "INVALID_REQUEST");
    // Its own connection stays, too.
    broken.ask("pong", json!({"ping": {}})).await;
    broken.socket.get_mut().write_all(&[0xFF; 64]).await.unwrap();
    // And one vanishes in the middle of a frame.
    let mut vanished = server.connect("agent://b").await;
    vanished.socket.get_mut().write_all(&[0x81, 0xFE, 0x10]).await.unwrap();
    drop(vanished);

    initiator.send(proposal(&session, "p")).await;
    assert_eq!(reader.delivered().await.0, 2);
    assert_eq!(broken.delivered_or_closed().await, Some(1002));
}

impl Client {
    /// Skips envelopes up to the close frame; its code.
    async fn delivered_or_closed(&mut self) -> Option<u16> {
        loop {
            match self.hear_raw().await? {
                Message::Close(frame) => return frame.map(|frame| frame.code.into()),
                Message::Text(text) => assert!(text.contains("\"envelope\""), "{text}"),
                other => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn pings_are_answered() {
    use futures_util::StreamExt;

    let server = Server::start().await;
    let mut client = server.connect("agent://i").await;
    client.socket.send(Message::Ping(vec![1, 2, 3].into())).await.unwrap();
    let pong = client.socket.next().await.unwrap().unwrap();
    assert_eq!(pong, Message::Pong(vec![1, 2, 3].into()));
}

#[tokio::test]
async fn large_envelopes_pass_in_both_directions() {
    let server = Server::start().await;
    let session = new_session();
    let mut initiator = server.connect("agent://i").await;
    initiator.send(start(&session)).await;
    let rationale = "ü".repeat(400_000);
    for protocol in ["macp.v1.json", "macp.v1.proto"] {
        let mut client = server.connect_as("agent://a", protocol).await;
        let proposal_id = format!("p-{protocol}");
        let payload = json!({"proposal_id": proposal_id, "option": "o", "rationale": rationale});
        client.send(envelope(&session, "Proposal", &payload)).await;
        client.ask("subscribed", json!({"subscribe": {"session_id": session, "after_sequence": 1}})).await;
        let (_, envelope) = client.delivered().await;
        assert_eq!(envelope["payload"]["rationale"], rationale);
    }
}
