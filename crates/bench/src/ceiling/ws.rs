//! tungstenite alone: each `send` frame answered by an `ack` frame, and envelopes from a channel, in protobuf.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http::HeaderValue;
use http::header::SEC_WEBSOCKET_PROTOCOL;
use macp_wire::gateway::v1::client_frame::Body as Asked;
use macp_wire::gateway::v1::server_frame::Body;
use macp_wire::gateway::v1::{ClientFrame, ServerFrame, SessionEnvelope, Subscribed, Welcome};
use macp_wire::v1::Envelope;
use prost::Message as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast::Receiver;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async};

use super::{Everybody, ack, tell};
use crate::client::Failure;
use crate::traffic::OPENING;

pub(super) async fn serve(listener: TcpListener, everybody: Everybody) -> Result<(), Failure> {
    loop {
        let (socket, _) = listener.accept().await.map_err(Failure::connection)?;
        socket.set_nodelay(true).map_err(Failure::connection)?;
        let everybody = everybody.clone();
        tokio::spawn(async move {
            // What was wrong with a connection shows in the client.
            let _ = connection(socket, everybody).await;
        });
    }
}

/// Agrees to the one encoding that is spoken here.
#[expect(
    clippy::result_large_err,
    clippy::unnecessary_wraps,
    reason = "the handshake's callback has this type"
)]
fn agree(_: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
    response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("macp.v1.proto"));
    Ok(response)
}

async fn connection(socket: TcpStream, everybody: Everybody) -> Result<(), Error> {
    let mut socket = accept_hdr_async(socket, agree).await?;
    socket.send(frame("", Body::Welcome(Welcome::default()))).await?;
    while let Some(message) = socket.next().await {
        let mut message = Some(message?);
        // What has come is answered together.
        while let Some(Message::Binary(bytes)) = message {
            let asked = ClientFrame::decode(bytes).unwrap_or_default();
            match asked.body {
                Some(Asked::Send(send)) => {
                    let envelope = send.envelope.unwrap_or_default();
                    socket.feed(frame(&asked.id, Body::Ack(ack(&envelope)))).await?;
                    tell(&everybody, envelope);
                }
                Some(Asked::Subscribe(_)) => {
                    let receiver = everybody.subscribe();
                    socket.send(frame(&asked.id, Body::Subscribed(Subscribed::default()))).await?;
                    return follow(socket, receiver).await;
                }
                _ => {}
            }
            message = futures_util::FutureExt::now_or_never(socket.next()).flatten().transpose()?;
        }
        socket.flush().await?;
    }
    Ok(())
}

async fn follow(
    mut socket: WebSocketStream<TcpStream>,
    mut envelopes: Receiver<Arc<Envelope>>,
) -> Result<(), Error> {
    let mut sequence = OPENING;
    // A follower that is too slow is cut off, which its client notices.
    while let Ok(envelope) = envelopes.recv().await {
        sequence += 1;
        let envelope = SessionEnvelope {
            session_id: envelope.session_id.clone(),
            sequence,
            envelope: Some(Arc::unwrap_or_clone(envelope)),
        };
        socket.send(frame("", Body::Envelope(envelope))).await?;
    }
    Ok(())
}

fn frame(id: &str, body: Body) -> Message {
    Message::Binary(Bytes::from(ServerFrame { id: id.to_owned(), body: Some(body) }.encode_to_vec()))
}
