//! axum alone: a JSON text taken apart into strings and answered by another, and server-sent events from a channel.

use std::convert::Infallible;

use axum::extract::State;
use axum::response::Sse;
use axum::response::sse::Event;
use axum::routing::post;
use axum::serve::ListenerExt as _;
use axum::{Json, Router};
use futures_util::{Stream, StreamExt as _};
use macp_wire::v1::Envelope;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_stream::wrappers::BroadcastStream;

use super::{Everybody, ack, tell};
use crate::client::Failure;

pub(super) async fn serve(listener: TcpListener, everybody: Everybody) -> Result<(), Failure> {
    let router = Router::new()
        .route("/macp/v1/Send", post(send))
        .route("/macp/v1/StreamSession", post(follow))
        .with_state(everybody);
    let listener = listener.tap_io(|socket| {
        // Without it an answer may wait for the client's delayed acknowledgement; nothing else can be done about it.
        let _ = socket.set_nodelay(true);
    });
    axum::serve(listener, router).await.map_err(Failure::connection)
}

#[derive(Deserialize)]
struct Request {
    envelope: Text,
}

/// An envelope as its JSON says it, with nothing checked.
#[derive(Clone, Deserialize, Serialize)]
struct Text {
    macp_version: String,
    mode: String,
    message_type: String,
    message_id: String,
    session_id: String,
    sender: String,
    timestamp: String,
    payload: Value,
}

#[derive(Serialize)]
struct Answer {
    ack: Ack,
}

#[derive(Serialize)]
struct Ack {
    ok: bool,
    duplicate: bool,
    message_id: String,
    session_id: String,
    accepted_at_unix_ms: i64,
    session_state: &'static str,
}

async fn send(State(everybody): State<Everybody>, Json(request): Json<Request>) -> Json<Answer> {
    let text = request.envelope;
    let envelope = Envelope {
        message_type: text.message_type.clone(),
        message_id: text.message_id.clone(),
        session_id: text.session_id.clone(),
        // The channel carries what the bare gRPC server sends; here it is the JSON text, made once.
        payload: if everybody.receiver_count() > 0 {
            serde_json::to_vec(&serde_json::json!({ "envelope": text })).unwrap_or_default().into()
        } else {
            bytes::Bytes::new()
        },
        ..Envelope::default()
    };
    let ack = ack(&envelope);
    let state = ack.session_state().as_str_name();
    tell(&everybody, envelope);
    Json(Answer {
        ack: Ack {
            ok: ack.ok,
            duplicate: false,
            message_id: ack.message_id,
            session_id: ack.session_id,
            accepted_at_unix_ms: ack.accepted_at_unix_ms,
            session_state: state,
        },
    })
}

async fn follow(State(everybody): State<Everybody>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    // A follower that is too slow misses events, which its client notices.
    let envelopes = BroadcastStream::new(everybody.subscribe()).filter_map(async |received| received.ok());
    Sse::new(envelopes.map(|envelope| Ok(Event::default().data(String::from_utf8_lossy(&envelope.payload)))))
}
