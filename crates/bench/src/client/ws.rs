//! WebSocket connections: one that many workers send on, and one that follows a session.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use http::Request;
use macp_wire::gateway::v1::client_frame::Body as Ask;
use macp_wire::gateway::v1::server_frame::Body as Answer;
use macp_wire::gateway::v1::{ClientFrame, SendEnvelope, ServerFrame, Subscribe};
use macp_wire::json;
use macp_wire::v1::{Ack, Envelope};
use parking_lot::Mutex;
use prost::Message as _;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::{Failure, Target, Transport};
use crate::traffic::Sender;

type Waiting = Arc<Mutex<HashMap<u64, oneshot::Sender<Answer>>>>;

/// Frames that wait to be written before senders wait for room.
const QUEUE: usize = 4096;

/// An open connection of one sender; clones share it.
#[derive(Clone)]
pub(crate) struct Connection {
    frames: mpsc::Sender<Message>,
    waiting: Waiting,
    asked: Arc<AtomicU64>,
    binary: bool,
}

impl Connection {
    pub(crate) async fn open(target: &Target, sender: &Sender) -> Result<Self, Failure> {
        let (sink, source) = socket(target, sender).await?.split();
        let binary = target.transport == Transport::Ws;
        let (frames, queue) = mpsc::channel(QUEUE);
        let waiting = Waiting::default();
        tokio::spawn(write(sink, queue));
        tokio::spawn(read(source, Arc::clone(&waiting), binary));
        Ok(Self { frames, waiting, asked: Arc::default(), binary })
    }

    pub(crate) async fn send(&self, envelope: Envelope) -> Result<Ack, Failure> {
        let body = Ask::Send(SendEnvelope { envelope: Some(envelope) });
        match self.ask(body).await? {
            Answer::Ack(ack) => Ok(ack),
            Answer::Error(error) => Err(Failure::refused(error)),
            _ => Err(Failure::answer("a send was answered by neither ack nor error")),
        }
    }

    async fn ask(&self, body: Ask) -> Result<Answer, Failure> {
        let id = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
        let (answered, answer) = oneshot::channel();
        self.waiting.lock().insert(id, answered);
        let message = encode(&ClientFrame { id: id.to_string(), body: Some(body) }, self.binary);
        let closed = || Failure::new("connection", "the WebSocket connection was closed");
        self.frames.send(message).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())
    }
}

/// Writes what is queued, and flushes when nothing more is.
async fn write(mut sink: SplitSink<WebSocketStream<TcpStream>, Message>, mut queue: mpsc::Receiver<Message>) {
    while let Some(message) = queue.recv().await {
        let mut next = Some(message);
        while let Some(message) = next {
            if sink.feed(message).await.is_err() {
                return;
            }
            next = queue.try_recv().ok();
        }
        if sink.flush().await.is_err() {
            return;
        }
    }
    // Everybody has left; whether the close frame still arrives does not matter.
    let _ = sink.close().await;
}

/// Gives each answer to the one who waits for it. When the connection ends, those who still wait are told by the drop.
async fn read(mut source: SplitStream<WebSocketStream<TcpStream>>, waiting: Waiting, binary: bool) {
    while let Some(Ok(message)) = source.next().await {
        let Some(frame) = decode(&message, binary) else { continue };
        if let (Ok(id), Some(body)) = (frame.id.parse::<u64>(), frame.body)
            && let Some(answered) = waiting.lock().remove(&id)
        {
            // Whoever asked may have stopped waiting.
            let _ = answered.send(body);
        }
    }
    waiting.lock().clear();
}

fn encode(frame: &ClientFrame, binary: bool) -> Message {
    if binary { Message::binary(frame.encode_to_vec()) } else { Message::text(json::to_string(frame)) }
}

fn decode(message: &Message, binary: bool) -> Option<ServerFrame> {
    match message {
        Message::Binary(bytes) if binary => ServerFrame::decode(bytes.clone()).ok(),
        Message::Text(text) if !binary => json::from_slice(text.as_bytes()).ok(),
        _ => None,
    }
}

async fn socket(target: &Target, sender: &Sender) -> Result<WebSocketStream<TcpStream>, Failure> {
    let protocol = if target.transport == Transport::Ws { "macp.v1.proto" } else { "macp.v1.json" };
    let request = Request::get(format!("ws://{}/macp/v1/ws", target.authority))
        .header("host", &target.authority)
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", generate_key())
        .header("sec-websocket-protocol", protocol)
        .header("authorization", format!("Bearer {}", sender.token))
        .body(())
        .map_err(|_| Failure::new("usage", "a token or an address has characters that no header may hold"))?;
    // Small buffers: thousands of idle connections are held by one process.
    let config = WebSocketConfig::default().read_buffer_size(16 << 10);
    let (mut socket, _) = client_async_with_config(request, target.connect().await?, Some(config))
        .await
        .map_err(Failure::connection)?;
    // The first frame is the welcome.
    match socket.next().await {
        Some(Ok(Message::Binary(_) | Message::Text(_))) => Ok(socket),
        other => Err(Failure::answer(format!("wanted a welcome, got {other:?}"))),
    }
}

/// A connection that follows one session.
pub(crate) struct Follower {
    socket: WebSocketStream<TcpStream>,
}

impl Follower {
    /// Subscribes behind `after`, and waits for the answer.
    pub(crate) async fn open(
        target: &Target,
        sender: &Sender,
        session: &str,
        after: u64,
    ) -> Result<Self, Failure> {
        let binary = target.transport == Transport::Ws;
        let mut socket = socket(target, sender).await?;
        let subscribe =
            Subscribe { session_id: session.to_owned(), after_sequence: after, ..Subscribe::default() };
        let frame = ClientFrame { id: "1".into(), body: Some(Ask::Subscribe(subscribe)) };
        socket.send(encode(&frame, binary)).await.map_err(Failure::connection)?;
        loop {
            let message = match socket.next().await {
                Some(message) => message.map_err(Failure::connection)?,
                None => return Err(Failure::new("connection", "closed instead of an answer to subscribe")),
            };
            match decode(&message, binary).and_then(|frame| frame.body) {
                Some(Answer::Subscribed(_)) => return Ok(Self { socket }),
                Some(Answer::Error(error)) => return Err(Failure::refused(error)),
                _ => {}
            }
        }
    }

    /// The next frame's bytes; `None` when the connection is closed. Pings are answered on the way.
    pub(crate) async fn frame(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Binary(bytes))) => return Ok(Some(bytes)),
                Some(Ok(Message::Text(text))) => return Ok(Some(text.into())),
                Some(Ok(Message::Close(_))) | None => return Ok(None),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(Failure::connection(error)),
            }
        }
    }
}
