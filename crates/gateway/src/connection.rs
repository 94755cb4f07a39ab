//! One accepted connection: deadlines in every phase, and HTTP/1.1 or HTTP/2 on the same routes.

use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http_body_util::Either;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use macp_auth::ClientCertificate;
use macp_engine::Rarely;
use macp_kernel::Refusal;
use macp_transport_ws::KeptAlong;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::event_stream::{Begun, EventStream, Handover, Served, Told, UntilBegun};
use crate::gate::{Gate, Held};
use crate::presence::{Answer, Deadlines, InFlight, Overdue, Presence};
use crate::routes::{Answering, Body, Routes, refused};
use crate::sniff::{self, Rewound, Version};
use crate::tls::{Io, Opened, Tls};
use crate::watched::Watched;

/// How often an HTTP/2 client is pinged, and how long it may take to answer.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_ANSWER: Duration = Duration::from_secs(20);
/// Largest HTTP/2 header list, in bytes.
const MAX_HEADER_LIST: u32 = 16 << 10;
/// Bytes that one HTTP/2 stream may have waiting to be sent; slow readers hold no more than this.
const MAX_SEND_BUFFER: usize = 64 << 10;
/// Reset streams that a client may leave unhandled before it counts as an attack. More than the library's 20, which clients
/// reach that give up many calls at once; how many there are over time is counted in `frames.rs`.
const MAX_PENDING_RESETS: usize = 200;
/// How long a drain waits for the first request of a connection, which may be on its way or begun; and how long one that
/// leaves has to say so.
const UNASKED: Duration = Duration::from_millis(500);
/// How long after its last answer a connection that drains waits for its client's word that it has heard of the end.
const PARTING: Duration = Duration::from_secs(1);
/// How often a connection that drains is looked at.
const DRAIN_LOOK: Duration = Duration::from_millis(100);
/// The same when somebody waits for its place.
const MAKING_ROOM: Duration = Duration::from_millis(10);
/// How long a connection that is refused may take to ask something, so that it can be told why.
const REFUSING: Duration = Duration::from_secs(3);

/// What all connections of a listener are served by.
pub(crate) struct Serving {
    pub(crate) routes: Routes,
    pub(crate) tls: Option<Tls>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) deadlines: Deadlines,
    pub(crate) max_concurrent_streams: u32,
    pub(crate) draining: CancellationToken,
}

/// A connection that was let in.
pub(crate) struct Admitted {
    pub(crate) stream: TcpStream,
    pub(crate) address: IpAddr,
    pub(crate) held: Held,
    pub(crate) presence: Arc<Presence>,
}

/// Serves a connection until either side ends it. A drain lets the requests in flight finish.
pub(crate) async fn serve(admitted: Admitted, serving: Arc<Serving>) {
    let Admitted { stream, address, held, presence } = admitted;
    let Serving { gate, deadlines, draining, .. } = &*serving;
    // What is needed once is boxed, here and below: it takes no room in a connection that lives long.
    let opening = Box::pin(open(stream, serving.tls.as_ref(), deadlines.handshake));
    let opened = tokio::select! {
        // What has arrived before the drain is looked at.
        biased;
        opened = opening => opened,
        () = presence.asked_to_leave() => return tracing::debug!("a silent connection makes room"),
        // Nothing was asked yet, so nothing is owed.
        () = draining.cancelled() => return,
    };
    let (version, stream, certificate) = match opened {
        Ok(opened) => opened,
        Err(error) => return tracing::debug!(%error, "connection ended before a request"),
    };
    let meter = gate.meter(address, &held);
    let io = Watched::new(stream, Arc::clone(&presence), meter, version == Version::Two);
    let caller = Caller { serving: Arc::clone(&serving), address, held, certificate };
    let over = match version {
        Version::One => serve_http1(io, caller, &serving, &presence).await,
        Version::Two => {
            let _counted = serving.routes.connections.http2();
            let of_requests = Arc::clone(&presence);
            let service = service_fn(move |request| {
                // Begun now and not when its task has a turn, so that others know of it before.
                caller.answer(request, InFlight::begin(&of_requests), None)
            });
            let connection =
                http2(serving.max_concurrent_streams).serve_connection(TokioIo::new(io), service);
            let mut connection = Box::pin(connection);
            supervise(
                &mut connection,
                |connection| connection.as_mut().graceful_shutdown(),
                &serving,
                &presence,
                false,
            )
            .await
        }
    };
    if let Some(Err(error)) = over {
        tracing::debug!(%error, "connection ended with an error");
    }
}

/// Serves HTTP/1.1: by hyper but for event streams, which go on without it.
async fn serve_http1(
    mut io: Io1,
    caller: Caller,
    serving: &Serving,
    presence: &Arc<Presence>,
) -> Option<hyper::Result<()>> {
    let _counted = serving.routes.connections.http1();
    let handover = Handover::new();
    loop {
        let (caller, of_requests, of_streams) = (caller.clone(), Arc::clone(presence), Arc::clone(&handover));
        let service = service_fn(move |request| {
            caller.answer(request, InFlight::begin(&of_requests), Some(&of_streams))
        });
        let connection = Box::new(http1().serve_connection(TokioIo::new(io), service).with_upgrades());
        let mut by_hyper = UntilBegun { connection, handover: &*handover, presence };
        let served = supervise(
            &mut by_hyper,
            |by_hyper| Pin::new(&mut *by_hyper.connection).graceful_shutdown(),
            serving,
            presence,
            true,
        );
        match served.await? {
            Served::Over(over) => return Some(over),
            Served::Begun => {}
        }
        // Both are there when a stream has begun.
        let (parts, left) = (by_hyper.connection.into_parts()?, handover.take()?);
        let mut goes_on = left.goes_on;
        let mut stream = EventStream::new(parts.io.into_inner(), left.body, &parts.read_buf);
        // The service is hyper's last, and holds what every request does.
        drop((parts.service, parts.read_buf));
        let told = supervise(&mut stream, |_| goes_on = false, serving, presence, true).await?;
        let (stream, read) = stream.into_inner();
        io = stream;
        if told == Told::Part {
            return None;
        }
        if !goes_on {
            // As hyper ends a connection.
            return tokio::time::timeout(PARTING, io.shutdown()).await.ok().map(|_| Ok(()));
        }
        io.get_mut().put_back(read);
    }
}

/// Tells a connection why it is not served: its first request is answered with the refusal.
pub(crate) async fn refuse(stream: TcpStream, tls: Option<Tls>, refusal: Refusal) {
    let answered = async {
        let Ok((version, stream, _)) = open(stream, tls.as_ref(), REFUSING).await else { return };
        let io = TokioIo::new(stream);
        let service = service_fn(move |request: Request<Incoming>| {
            let mut response = refused(request.headers(), &refusal);
            if version == Version::One {
                response
                    .headers_mut()
                    .insert(http::header::CONNECTION, http::HeaderValue::from_static("close"));
            }
            std::future::ready(Ok::<_, std::convert::Infallible>(response))
        });
        let result = match version {
            Version::One => http1().serve_connection(io, service).await,
            Version::Two => {
                let connection = http2(1).serve_connection(io, service);
                tokio::pin!(connection);
                // What was sent by then is answered; the rest goes elsewhere.
                tokio::select! {
                    result = connection.as_mut() => result,
                    () = tokio::time::sleep(UNASKED) => {
                        connection.as_mut().graceful_shutdown();
                        connection.await
                    }
                }
            }
        };
        drop(result);
    };
    drop(tokio::time::timeout(REFUSING, answered).await);
}

/// Shakes hands if TLS is served, and finds out which version the client speaks; each within a deadline.
async fn open(
    stream: TcpStream,
    tls: Option<&Tls>,
    within: Duration,
) -> io::Result<(Version, Rewound<Io>, Option<ClientCertificate>)> {
    let late = |what| io::Error::new(io::ErrorKind::TimedOut, what);
    let Opened { io, negotiated, certificate } = match tls {
        Some(tls) => {
            let accepted = tokio::time::timeout(within, tls.accept(stream)).await;
            accepted.map_err(|_| late("no TLS handshake in time"))??
        }
        None => Opened::plain(stream),
    };
    let sniffed = tokio::time::timeout(within, sniff::sniff(io)).await;
    let (version, io) = sniffed.map_err(|_| late("nothing was sent in time"))??;
    if negotiated.is_some_and(|negotiated| negotiated != version) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not the protocol that TLS has negotiated"));
    }
    Ok((version, io, certificate))
}

fn http1() -> http1::Builder {
    let mut builder = http1::Builder::new();
    // The time of a head is kept here, apart from the time between requests.
    builder.timer(TokioTimer::new()).header_read_timeout(None);
    builder
}

fn http2(max_concurrent_streams: u32) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_ANSWER)
        .max_concurrent_streams(max_concurrent_streams)
        .max_header_list_size(MAX_HEADER_LIST)
        .max_send_buf_size(MAX_SEND_BUFFER)
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS);
    builder
}

/// Whoever is on the other side of a connection.
#[derive(Clone)]
struct Caller {
    serving: Arc<Serving>,
    address: IpAddr,
    held: Held,
    certificate: Option<ClientCertificate>,
}

impl Caller {
    /// Answers a request; an event stream that can leave hyper is kept for that in `handover`. hyper moves the future some
    /// times before it is polled, so it holds little, and nothing of the request.
    fn answer(
        &self,
        request: Request<Incoming>,
        in_flight: InFlight,
        handover: Option<&Arc<Handover<Answer<Body>>>>,
    ) -> impl Future<Output = Result<Response<Out>, std::convert::Infallible>> + Send + use<> {
        let leaves = handover.and_then(|handover| {
            let goes_on = Handover::<Answer<Body>>::takes(&request)?;
            Some((Arc::clone(handover), goes_on))
        });
        let (answering, held) = self.begin(request);
        async move {
            let response = answering.await.map(|body| Answer::new(body, in_flight, held));
            Ok(match leaves {
                Some((handover, goes_on)) => handover.keep(response, goes_on),
                None => response.map(Either::Left),
            })
        }
    }

    /// The answer, and what the request holds of its peer's limits meanwhile.
    fn begin(&self, mut request: Request<Incoming>) -> (Answering, Held) {
        let Self { serving, address, held, certificate } = self;
        let Serving { routes, gate, .. } = &**serving;
        let upgrades = request.headers().contains_key(http::header::UPGRADE);
        let client = gate.behind_proxy(request.headers(), *address);
        let held = match client {
            None => held.clone(),
            Some(client) => match gate.enter_behind_proxy(client, upgrades) {
                Ok(held) => held,
                Err(refusal) => {
                    routes.connections.refused();
                    return (Answering::of(refused(request.headers(), &refusal)), None);
                }
            },
        };
        if let Some(certificate) = certificate {
            request.extensions_mut().insert(certificate.clone());
        }
        if let Some(place) = held.clone().filter(|_| upgrades) {
            request.extensions_mut().insert(KeptAlong::new(place));
        }
        (routes.answer(request, client.unwrap_or(*address)), held)
    }
}

/// The bytes of an HTTP/1.1 connection.
type Io1 = Watched<Rewound<Io>>;
/// The body of a response as hyper has it.
type Out = Either<Answer<Body>, Begun<Answer<Body>>>;

/// What has happened to a connection.
enum Turn<T> {
    Over(T),
    Drain,
    Leave,
    Look,
}

/// Drives a connection to its end, and cuts it off, which is `None`, when it is overdue, when its place is needed, or for
/// a drain. hyper alone would wait for the rest of a head, and for an HTTP/2 client's word that it has heard of the end,
/// from clients that have not asked for anything.
async fn supervise<C: Future + Unpin>(
    connection: &mut C,
    shut_down: impl FnOnce(&mut C),
    serving: &Serving,
    presence: &Presence,
    is_http1: bool,
) -> Option<C::Output> {
    let Serving { deadlines, draining, .. } = serving;
    let mut look = tokio::time::interval(deadlines.look_every());
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut drain, mut place) = (pin!(draining.cancelled()), pin!(presence.asked_to_leave()));
    let rarely = Rarely::new();
    loop {
        let turn = poll_fn(|cx| {
            // What has arrived before the drain is looked at.
            if let Poll::Ready(over) = Pin::new(&mut *connection).poll(cx) {
                return Poll::Ready(Turn::Over(over));
            }
            let Some(waker) = rarely.called(cx) else { return Poll::Pending };
            let cx = &mut Context::from_waker(&waker);
            if drain.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Turn::Drain);
            }
            if place.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Turn::Leave);
            }
            ready!(look.poll_tick(cx));
            rarely.again();
            Poll::Ready(Turn::Look)
        });
        match turn.await {
            Turn::Over(over) => return Some(over),
            Turn::Drain => break shut_down(connection),
            Turn::Leave => {
                tracing::debug!("an idle connection makes room");
                return leave(connection, shut_down, MAKING_ROOM).await;
            }
            Turn::Look => match presence.overdue(deadlines, is_http1) {
                None => {}
                Some(Overdue::Idle) => return leave(connection, shut_down, UNASKED).await,
                Some(overdue) => {
                    tracing::debug!(?overdue, "a connection is cut off");
                    return None;
                }
            },
        }
    }
    if !presence.has_asked() {
        let first = tokio::time::timeout(UNASKED, &mut *connection).await.ok();
        if first.is_some() || !presence.has_asked() {
            return first;
        }
    }
    // What is in flight may finish, but neither wait for a client that takes nothing, nor, when it has finished, for one
    // that says nothing.
    let mut look = tokio::time::interval(DRAIN_LOOK);
    let since = tokio::time::Instant::now();
    loop {
        tokio::select! {
            biased;
            over = &mut *connection => return Some(over),
            _ = look.tick() => {
                // What crosses the farewell on its way is still answered.
                let parted = since.elapsed() >= PARTING && presence.is_idle_for(PARTING);
                if parted || presence.overdue(deadlines, is_http1).is_some() {
                    return None;
                }
            }
        }
    }
}

/// Says goodbye on a connection on which nothing is asked. A request that crosses it on its way is still answered.
async fn leave<C: Future + Unpin>(
    connection: &mut C,
    shut_down: impl FnOnce(&mut C),
    within: Duration,
) -> Option<C::Output> {
    shut_down(connection);
    tokio::time::timeout(within, connection).await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each idle connection costs this much in its task, beside what is boxed. A larger future is no fault, but a reason to
    /// look for what lives in it longer than it must.
    #[test]
    fn a_connection_is_small() {
        fn returned<A, B, Task>(_: impl Fn(A, B) -> Task) -> usize {
            size_of::<Task>()
        }
        assert!(returned(serve) <= 2_048, "{}", returned(serve));
    }
}
