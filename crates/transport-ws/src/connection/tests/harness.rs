//! A client of a connection without a socket: two channels, JSON frames, an engine in memory.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::{Sink, SinkExt, Stream};
use macp_auth::Authenticator;
use macp_engine::Engine;
use macp_engine::testing::{ManualClock, memory_engine, memory_engine_by};
use macp_kernel::{Caller, Identity};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_util::sync::PollSender;

use crate::activity::Activity;
use crate::connection::{Connection, End, Setup};
use crate::frame::Encoding;
use crate::options::Timing;

/// The server's end of the channels.
pub(super) struct Pipe {
    rx: mpsc::Receiver<Result<Message, Error>>,
    tx: PollSender<Message>,
}

impl Stream for Pipe {
    type Item = Result<Message, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.rx.poll_recv(cx)
    }
}

impl Sink<Message> for Pipe {
    type Error = Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.tx.poll_ready_unpin(cx).map_err(|_| Error::ConnectionClosed)
    }

    fn start_send(mut self: Pin<&mut Self>, message: Message) -> Result<(), Error> {
        self.tx.start_send_unpin(message).map_err(|_| Error::ConnectionClosed)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.tx.poll_flush_unpin(cx).map_err(|_| Error::ConnectionClosed)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.tx.poll_close_unpin(cx).map_err(|_| Error::ConnectionClosed)
    }
}

/// How a test connection differs from the usual one.
pub(super) struct With {
    pub(super) sender: Option<&'static str>,
    pub(super) encoding: Encoding,
    /// Frames that the client's side takes without reading.
    pub(super) room: usize,
    pub(super) authenticator: Authenticator,
    /// Makes the sender's identity another than the usual one.
    pub(super) identity: fn(&mut Caller),
}

impl Default for With {
    fn default() -> Self {
        Self {
            sender: None,
            encoding: Encoding::Json,
            room: 1024,
            authenticator: Authenticator::dev(),
            identity: |_| {},
        }
    }
}

pub(super) struct Client {
    pub(super) tx: mpsc::Sender<Result<Message, Error>>,
    rx: mpsc::Receiver<Message>,
    task: JoinHandle<End>,
    pub(super) activity: Activity,
    ids: u32,
}

/// Connects, and reads the welcome.
pub(super) async fn connect(engine: &Engine, sender: &'static str) -> Client {
    connect_with(engine, With { sender: Some(sender), ..With::default() }).await
}

pub(super) async fn connect_with(engine: &Engine, with: With) -> Client {
    let mut client = open(engine, with);
    assert!(client.hear().await["welcome"].is_object());
    client
}

/// Connects, and reads nothing.
pub(super) fn open(engine: &Engine, with: With) -> Client {
    let (client_tx, rx) = mpsc::channel(4096);
    let (tx, client_rx) = mpsc::channel(with.room);
    let activity = Activity::new();
    let caller = with.sender.map(|sender| {
        let mut caller = Caller::new(sender);
        (with.identity)(&mut caller);
        caller
    });
    let setup = Setup {
        certificate: None,
        connection_id: uuid::Uuid::new_v4(),
        engine: engine.clone(),
        authenticator: Arc::new(with.authenticator),
        identity: caller.map_or(Identity::Anonymous, Identity::Known),
        encoding: with.encoding,
        max_frame_bytes: 1 << 20,
        max_out: 1 << 24,
        max_streams: 1_000,
        timing: Timing::default(),
        activity: activity.clone(),
    };
    let mut connection = Connection::new(Pipe { rx, tx: PollSender::new(tx) }, setup);
    let task = tokio::spawn(async move {
        let end = connection.run().await;
        connection.finish(end).await;
        end
    });
    Client { tx: client_tx, rx: client_rx, task, activity, ids: 0 }
}

impl Client {
    pub(super) fn say_raw(&self, message: Message) {
        self.tx.try_send(Ok(message)).unwrap();
    }

    pub(super) fn say_text(&self, text: &str) {
        self.say_raw(Message::text(text.to_owned()));
    }

    /// Sends a frame; its id.
    pub(super) fn say(&mut self, body: Value) -> String {
        self.ids += 1;
        let id = format!("f{}", self.ids);
        let mut frame = body;
        frame["id"] = json!(id);
        self.say_text(&frame.to_string());
        id
    }

    /// The next message, pings left out; `None` at the end.
    pub(super) async fn hear_raw(&mut self) -> Option<Message> {
        loop {
            match self.rx.recv().await {
                Some(Message::Ping(_)) => {}
                message => return message,
            }
        }
    }

    /// The next message, whatever it is.
    pub(super) async fn hear_any(&mut self) -> Option<Message> {
        self.rx.recv().await
    }

    /// The next frame.
    pub(super) async fn hear(&mut self) -> Value {
        match self.hear_raw().await {
            Some(Message::Text(text)) => serde_json::from_str(&text).unwrap(),
            other => panic!("wanted a frame, got {other:?}"),
        }
    }

    /// Whether nothing at all has been sent that was not read.
    pub(super) fn hears_nothing(&mut self) -> bool {
        self.rx.try_recv().is_err()
    }

    /// Sends a frame and returns the body of its answer; skips everything in between.
    pub(super) async fn ask(&mut self, kind: &str, body: Value) -> Value {
        let id = self.say(body.clone());
        loop {
            let frame = self.hear().await;
            if frame["id"] == id {
                assert!(frame[kind].is_object(), "wanted {kind} for {body}, got {frame}");
                return frame[kind].clone();
            }
        }
    }

    /// Sends an envelope that must be accepted.
    pub(super) async fn send(&mut self, envelope: Value) -> Value {
        let ack = self.ask("ack", json!({"send": {"envelope": envelope}})).await;
        assert_eq!(ack["ok"], true, "{ack}");
        ack
    }

    /// The close code, which must come next.
    pub(super) async fn closed(&mut self) -> u16 {
        match self.hear_raw().await {
            Some(Message::Close(Some(frame))) => frame.code.into(),
            other => panic!("wanted a close frame, got {other:?}"),
        }
    }

    /// How the connection ended, once the client has gone.
    pub(super) async fn end(self) -> End {
        let Self { tx, rx, task, .. } = self;
        drop(tx);
        drop(rx);
        task.await.unwrap()
    }

    /// How the connection ended by itself.
    pub(super) async fn ended(&mut self) -> End {
        (&mut self.task).await.unwrap()
    }
}

pub(super) async fn engine() -> Engine {
    memory_engine().await
}

/// An engine whose clock stands at 0 until it is moved.
pub(super) async fn engine_with_clock() -> (Engine, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::at(0));
    (memory_engine_by(Arc::clone(&clock) as _).await, clock)
}

pub(super) const MODE: &str = "macp.mode.decision.v1";

pub(super) fn envelope(session: &str, message_type: &str, payload: Value) -> Value {
    json!({
        "macp_version": "1.0",
        "mode": MODE,
        "message_type": message_type,
        "message_id": uuid::Uuid::new_v4().to_string(),
        "session_id": session,
        "sender": "",
        "payload": payload,
    })
}

pub(super) fn start(session: &str) -> Value {
    envelope(
        session,
        "SessionStart",
        json!({
            "intent": "pick", "participants": ["agent://a", "agent://b"], "ttl_ms": 3_600_000,
            "mode_version": "1.0.0", "configuration_version": "c", "policy_version": "policy.default",
        }),
    )
}

pub(super) fn proposal(session: &str, proposal_id: &str) -> Value {
    envelope(session, "Proposal", json!({"proposal_id": proposal_id, "option": "o", "rationale": "r"}))
}

pub(super) fn new_session() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// Starts a session over a connection of its own and adds `proposals` to it.
pub(super) async fn session(engine: &Engine, proposals: usize) -> String {
    let session = new_session();
    let mut client = connect(engine, "agent://a").await;
    client.send(start(&session)).await;
    for n in 0..proposals {
        client.send(proposal(&session, &format!("p{n}"))).await;
    }
    client.end().await;
    session
}
