//! From an HTTP request to a running connection: all checks come before the upgrade.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::header::{
    CONNECTION, CONTENT_TYPE, RETRY_AFTER, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE, WWW_AUTHENTICATE,
};
use http::request::Parts;
use http::{HeaderName, HeaderValue, StatusCode, Version};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use macp_auth::{Authenticator, ClientCertificate, Credentials, Page};
use macp_engine::{Engine, ack, observe};
use macp_kernel::{Identity, Refusal, RefusalCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use tracing::Instrument as _;

use crate::activity::{Activity, Watched};
use crate::close::Close;
use crate::connection::{Connection, End, Setup};
use crate::handshake::{self, Credential, Handshake, Refused};
use crate::options::Options;
use crate::origin::{self, Denied};
use crate::socket::{Outgoing, Socket};
use crate::sockets::{KeptAlong, Sockets};

const MACP_ERROR_CODE: HeaderName = HeaderName::from_static("macp-error-code");
/// How many times larger than what may be read a written frame may be: the JSON of a payload can be that much longer
/// than its bytes.
const MAX_OUT_FACTOR: usize = 16;
/// Time for the HTTP server to let go of the connection.
const UPGRADE_TIME: Duration = Duration::from_secs(10);
/// How long, and how much of, what a peer still sends is read after the close frame. Closing a socket with unread
/// bytes resets it, and the peer may then never see why.
const LINGER_TIME: Duration = Duration::from_secs(1);
/// The same when the server drains, which one client that says nothing must not delay.
const LINGER_TIME_OF_DRAIN: Duration = Duration::from_millis(250);
const LINGER_BYTES: u64 = 16 << 20;
/// What stands for a connection that ended without a close frame (RFC 6455 §7.4.1).
const NO_FRAME: u16 = 1006;

/// What every upgrade needs.
pub(crate) struct Shared {
    pub(crate) engine: Engine,
    pub(crate) authenticator: Arc<Authenticator>,
    pub(crate) options: Options,
    pub(crate) sockets: Sockets,
}

/// `GET /macp/v1/ws`
pub(crate) async fn upgrade(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (mut head, _) = request.into_parts();
    let on_upgrade = head.extensions.remove::<OnUpgrade>();
    let kept = head.extensions.remove::<KeptAlong>();
    let (handshake, identity) = match admit(&shared, &head).await {
        Ok(admitted) => admitted,
        Err(response) => return *response,
    };
    // A server that does not hand connections over is no place for WebSocket.
    let Some(on_upgrade) = on_upgrade else { return upgrade_required(head.version) };
    let response = switching(&handshake);
    let sockets = shared.sockets.clone();
    let certificate = head.extensions.remove();
    let socket = serve(shared, on_upgrade, handshake, identity, certificate, kept);
    // What is asked on the socket belongs to the request that has opened it.
    sockets.spawn(socket.in_current_span());
    response
}

/// The checks, in order; the first that fails answers. Boxed because responses are large.
async fn admit(shared: &Shared, head: &Parts) -> Result<(Handshake, Identity), Box<Response>> {
    let Shared { engine, authenticator, options, sockets } = shared;
    let (uri, headers) = (&head.uri, &head.headers);
    let origin = origin::check(headers, uri, options).map_err(|denied| {
        // The values are the client's own and hold no credential.
        tracing::debug!(?denied, "upgrade refused: who asks may not");
        let why = match denied {
            Denied::Host => "this Host is not served on a loopback listener",
            Denied::Origin => "this Origin may not connect; the server's list of origins does not have it",
        };
        refuse(engine, &Refusal::forbidden(why))
    })?;
    let handshake = handshake::read(head.version, uri, headers).map_err(|refused| match refused {
        Refused::NotWebSocket => Box::new(upgrade_required(head.version)),
        Refused::Malformed(why) => refuse(engine, &Refusal::invalid_request(why)),
    })?;
    if engine.draining().is_cancelled() {
        return Err(refuse(engine, &unavailable("the server is shutting down; connect again later")));
    }
    if sockets.len() >= options.max_connections {
        return Err(refuse(
            engine,
            &unavailable("too many WebSockets are open (MACP_WS_MAX_CONNECTIONS); connect again later"),
        ));
    }
    let certificate = head.extensions.get::<ClientCertificate>();
    let identity = match &handshake.credential {
        Credential::None if certificate.is_none() => return Ok((handshake, Identity::Anonymous)),
        Credential::None => {
            authenticator.authenticate(&Credentials { certificate, ..Default::default() }).await
        }
        Credential::Token(token) => {
            authenticator.authenticate(&Credentials { bearer: Some(token), token: None, certificate }).await
        }
        // A browser always says the origin of a page that connects.
        Credential::Ticket(ticket) => {
            let now = engine.now();
            let shown = options.tickets.redeem(ticket, Page { origin, own: None }, now);
            certificate.map_or(shown.clone(), |certificate| certificate.beside(shown, now))
        }
        Credential::Bad(why) => Identity::rejected(*why),
    };
    match identity {
        Identity::Known(_) => {
            observe::identified(&identity);
            Ok((handshake, identity))
        }
        Identity::Rejected(refusal) => Err(refuse(engine, &refusal)),
        Identity::Anonymous => {
            Err(refuse(engine, &Refusal::new(RefusalCode::Unauthenticated, "the credential is empty")))
        }
    }
}

fn unavailable(why: &str) -> Refusal {
    Refusal::new(RefusalCode::Unavailable, why)
}

/// A refusal as the HTTP binding writes it.
fn refuse(engine: &Engine, refusal: &Refusal) -> Box<Response> {
    engine.refused("upgrade", "", refusal);
    let mut body = br#"{"error":"#.to_vec();
    macp_wire::json::write(&ack::error(refusal, "", ""), &mut body);
    body.push(b'}');
    let mut response = Response::new(Body::from(body));
    *response.status_mut() =
        StatusCode::from_u16(refusal.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(MACP_ERROR_CODE, HeaderValue::from_static(refusal.code.name()));
    match refusal.code {
        RefusalCode::Unauthenticated => {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        RefusalCode::Unavailable => {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        _ => {}
    }
    Box::new(response)
}

fn upgrade_required(version: Version) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::UPGRADE_REQUIRED;
    let headers = response.headers_mut();
    headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    if version == Version::HTTP_11 {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    }
    response
}

fn switching(handshake: &Handshake) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::from_str(&handshake.accept) {
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    if let Some(protocol) = handshake.protocol {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    }
    response
}

/// An opened socket's bytes.
type Io = Watched<TokioIo<Upgraded>>;

/// Waits for the HTTP server to hand the connection over, and serves it.
///
/// The future lives as long as the socket, and there are many of them. So what is needed once, before and after, is
/// boxed: it takes no room in between.
fn serve(
    shared: Arc<Shared>,
    on_upgrade: OnUpgrade,
    handshake: Handshake,
    identity: Identity,
    certificate: Option<ClientCertificate>,
    kept: Option<KeptAlong>,
) -> impl Future<Output = ()> + Send + 'static {
    let sockets = shared.sockets.clone();
    let opening = Box::pin(open(shared, on_upgrade, handshake, identity, certificate));
    async move {
        // For as long as the socket lives.
        let _kept = kept;
        let Some(mut connection) = opening.await else { return };
        sockets.count_open();
        let end = connection.run().await;
        match end {
            End::Close(close) => sockets.count_close(close.code(), true),
            End::PeerClosed(code) => sockets.count_close(code, false),
            End::Lost => sockets.count_close(NO_FRAME, false),
        }
        Box::pin(close(connection, end)).await;
    }
}

async fn open(
    shared: Arc<Shared>,
    on_upgrade: OnUpgrade,
    handshake: Handshake,
    identity: Identity,
    certificate: Option<ClientCertificate>,
) -> Option<Connection<Socket<Io>>> {
    let upgraded = timeout(UPGRADE_TIME, on_upgrade).await.ok()?.ok()?;
    let Options { max_frame_bytes, max_streams, timing, .. } = shared.options;
    let activity = Activity::new();
    let io = Watched::new(TokioIo::new(upgraded), activity.clone());
    let socket = Socket::new(io, max_frame_bytes).await;
    let connection_id = uuid::Uuid::new_v4();
    let setup = Setup {
        connection_id,
        engine: shared.engine.clone(),
        authenticator: Arc::clone(&shared.authenticator),
        certificate,
        identity,
        // Nothing else of the handshake, which holds the credential, outlives this point.
        encoding: handshake.encoding,
        max_frame_bytes,
        max_out: max_frame_bytes.saturating_mul(MAX_OUT_FACTOR),
        max_streams,
        timing,
        activity,
    };
    tracing::debug!(connection = %connection_id, "socket opened");
    Some(Connection::new(socket, setup))
}

async fn close(connection: Connection<Socket<Io>>, end: End) {
    let connection_id = connection.id();
    let socket = connection.finish(end).await;
    tracing::debug!(connection = %connection_id, ?end, "socket closed");
    let time = if end == End::Close(Close::Drain) { LINGER_TIME_OF_DRAIN } else { LINGER_TIME };
    drop(timeout(time, linger(socket.into_io())).await);
}

async fn linger(mut io: Outgoing<Io>) -> std::io::Result<u64> {
    io.shutdown().await?;
    tokio::io::copy(&mut io.take(LINGER_BYTES), &mut tokio::io::sink()).await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each idle socket costs this much in its task, beside its buffers. A larger future is no fault, but a reason to
    /// look for what lives in it longer than it must.
    #[test]
    fn a_connection_is_small() {
        fn returned<A, B, C, D, E, F, Task>(_: impl Fn(A, B, C, D, E, F) -> Task) -> usize {
            size_of::<Task>()
        }
        let connection = size_of::<Connection<Socket<Io>>>();
        assert!(connection <= 1_280, "{connection}");
        let task = returned(serve);
        assert!(task <= connection + 256, "{task}");
    }
}
