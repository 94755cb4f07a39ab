//! One accepted connection: deadlines until the first request, then HTTP/1.1 or HTTP/2 on the same routes.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use macp_auth::ClientCertificate;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::routes::Routes;
use crate::sniff::{self, Rewound, Version};
use crate::tls::{Io, Opened, Tls};

/// How long a client may take to say which HTTP version it speaks.
const FIRST_BYTES: Duration = Duration::from_secs(10);
/// How long the head of an HTTP/1.1 request may take, also between requests.
const HEAD: Duration = Duration::from_secs(10);
/// How often an HTTP/2 client is pinged, and how long it may take to answer.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_ANSWER: Duration = Duration::from_secs(20);
/// Largest HTTP/2 header list, in bytes.
const MAX_HEADER_LIST: u32 = 16 << 10;
/// Bytes that one HTTP/2 stream may have waiting to be sent; slow readers hold no more than this.
const MAX_SEND_BUFFER: usize = 64 << 10;
/// Reset streams that a client may leave unhandled before it counts as an attack.
const MAX_PENDING_RESETS: usize = 20;
/// How long a drain waits for the first request of a connection, which may be on its way or begun.
const UNASKED: Duration = Duration::from_millis(500);

/// Serves a connection until either side ends it. A drain lets the requests in flight finish.
pub(crate) async fn serve(
    stream: TcpStream,
    tls: Option<Tls>,
    routes: Routes,
    max_concurrent_streams: u32,
    draining: CancellationToken,
) {
    let opened = tokio::select! {
        // What has arrived before the drain is looked at.
        biased;
        opened = open(stream, tls) => opened,
        // Nothing was asked yet, so nothing is owed.
        () = draining.cancelled() => return,
    };
    let (version, stream, certificate) = match opened {
        Ok(opened) => opened,
        Err(error) => return tracing::debug!(%error, "connection ended before a request"),
    };
    let io = TokioIo::new(stream);
    let asked = Arc::new(AtomicBool::new(false));
    let service = {
        let asked = Arc::clone(&asked);
        service_fn(move |mut request: Request<Incoming>| {
            asked.store(true, Ordering::Relaxed);
            if let Some(certificate) = &certificate {
                request.extensions_mut().insert(certificate.clone());
            }
            routes.clone().answer(request)
        })
    };
    let result = match version {
        Version::One => {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD)
                .serve_connection(io, service)
                .with_upgrades();
            until_drained(connection, http1::UpgradeableConnection::graceful_shutdown, &draining, &asked)
                .await
        }
        Version::Two => {
            let connection = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .keep_alive_interval(PING_EVERY)
                .keep_alive_timeout(PING_ANSWER)
                .max_concurrent_streams(max_concurrent_streams)
                .max_header_list_size(MAX_HEADER_LIST)
                .max_send_buf_size(MAX_SEND_BUFFER)
                .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
                .serve_connection(io, service);
            until_drained(connection, http2::Connection::graceful_shutdown, &draining, &asked).await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "connection ended with an error");
    }
}

/// Shakes hands if TLS is served, and finds out which version the client speaks; each within a deadline.
async fn open(
    stream: TcpStream,
    tls: Option<Tls>,
) -> io::Result<(Version, Rewound<Io>, Option<ClientCertificate>)> {
    let Opened { io, negotiated, certificate } = match tls {
        Some(tls) => tls.accept(stream).await?,
        None => Opened::plain(stream),
    };
    let sniffed = tokio::time::timeout(FIRST_BYTES, sniff::sniff(io)).await;
    let (version, io) =
        sniffed.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "nothing was sent in time"))??;
    if negotiated.is_some_and(|negotiated| negotiated != version) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not the protocol that TLS has negotiated"));
    }
    Ok((version, io, certificate))
}

/// Drives a connection to its end. hyper alone would wait for the rest of a head, and for an HTTP/2 client's word
/// that it has heard of the end, from clients that have not asked for anything.
async fn until_drained<C: Future<Output = hyper::Result<()>>>(
    connection: C,
    shut_down: impl FnOnce(Pin<&mut C>),
    draining: &CancellationToken,
    asked: &AtomicBool,
) -> hyper::Result<()> {
    tokio::pin!(connection);
    tokio::select! {
        // What has arrived before the drain is looked at.
        biased;
        result = connection.as_mut() => return result,
        () = draining.cancelled() => shut_down(connection.as_mut()),
    }
    if !asked.load(Ordering::Relaxed) {
        let first = tokio::time::timeout(UNASKED, connection.as_mut()).await;
        if first.is_ok() || !asked.load(Ordering::Relaxed) {
            return first.unwrap_or(Ok(()));
        }
    }
    connection.await
}
