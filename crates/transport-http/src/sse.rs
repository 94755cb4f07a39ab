//! Server-sent events: the frames, what a source of them yields, and the response body that pulls from it.
//!
//! There is no queue: the body asks its source for the next event when the connection has room for it, and dropping
//! the body (the client has gone) drops the source with everything it holds.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderName, HeaderValue};
use macp_engine::{
    Delivery, End, Ends, Engine, Event, Form, ModeRegistryWatch, PolicyWatch, Rarely, RootsWatch,
    SessionWatch, SignalWatch, Subscription,
};
use macp_kernel::{Identity, Refusal, RefusalCode};
use macp_wire::json::{self, Json};
use macp_wire::v1::SessionState;
use tokio::time::{Instant, Sleep, sleep};

use crate::error::error_body;

/// Sent first, so that the client and every proxy on the way see the stream begin.
const OPENED: Bytes = Bytes::from_static(b": opened\n\n");
const KEEPALIVE: Bytes = Bytes::from_static(b": keepalive\n\n");

/// Marks the response of an event stream among its extensions: when it was made, the request was read to its end.
#[derive(Clone, Copy, Debug)]
pub struct EventStream;

/// What comes next in a stream.
pub(crate) enum Step {
    /// A framed event.
    Event(Bytes),
    /// A framed event after which the stream ends.
    Last(Bytes),
    /// The end.
    End,
}

/// Where the events of one stream come from.
pub(crate) trait Source: Send + 'static {
    /// The next step. Dropping the future loses nothing.
    fn next(&mut self) -> impl Future<Output = Step> + Send;
}

/// The response that streams a source until it ends, its caller's credential ends, the server drains, or the client
/// goes away.
pub(crate) fn response<S: Source>(
    engine: &Engine,
    identity: &Identity,
    keepalive: Duration,
    source: S,
) -> Response {
    response_opened_by(engine, identity, keepalive, OPENED, source)
}

/// The same with what the stream begins with, which goes out at once.
pub(crate) fn response_opened_by<S: Source>(
    engine: &Engine,
    identity: &Identity,
    keepalive: Duration,
    opening: Bytes,
    source: S,
) -> Response {
    let pull = Box::new(Pull {
        engine: engine.clone(),
        ends: engine.ends(identity),
        silence: (!keepalive.is_zero()).then(|| Box::new(Silence::of(keepalive))),
        source,
        stage: Stage::Opening(opening),
    });
    // Boxed, since it would have a place in each state of the stream.
    let events = stream::unfold(pull, |mut pull| async move {
        let bytes = pull.next().await?;
        Some((Ok::<_, Infallible>(bytes), pull))
    });
    let mut response = Response::new(Body::from_stream(events));
    response.extensions_mut().insert(EventStream);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // nginx would collect events into blocks otherwise.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}

struct Pull<S> {
    engine: Engine,
    ends: Ends,
    /// `None` if the client is to hear nothing of it.
    silence: Option<Box<Silence>>,
    source: S,
    stage: Stage,
}

/// Since when a stream has said nothing. Its timer is not set anew for each event, but when it runs out.
struct Silence {
    at_most: Duration,
    since: Instant,
    timer: Pin<Box<Sleep>>,
    rarely: Rarely,
}

impl Silence {
    fn of(at_most: Duration) -> Self {
        Self { at_most, since: Instant::now(), timer: Box::pin(sleep(at_most)), rarely: Rarely::new() }
    }

    fn broken(&mut self) {
        self.since = Instant::now();
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(waker) = self.rarely.called(cx) else { return Poll::Pending };
        let cx = &mut Context::from_waker(&waker);
        while self.timer.as_mut().poll(cx).is_ready() {
            let until = self.since + self.at_most;
            if until <= Instant::now() {
                self.broken();
                self.rarely.again();
                self.timer.as_mut().reset(self.since + self.at_most);
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(until);
        }
        Poll::Pending
    }
}

enum Stage {
    Opening(Bytes),
    Running,
    Ended,
}

impl<S: Source> Pull<S> {
    async fn next(&mut self) -> Option<Bytes> {
        match std::mem::replace(&mut self.stage, Stage::Running) {
            Stage::Opening(opening) => return Some(opening),
            Stage::Ended => return None,
            Stage::Running => {}
        }
        let step = {
            let Self { engine, ends, silence, source, .. } = self;
            let mut next = pin!(source.next());
            poll_fn(|cx| match ends.poll(cx) {
                // Asked first, since a source that always has an event would hide them.
                Poll::Ready(End::Draining) => Poll::Ready(Step::End),
                Poll::Ready(End::Expired(refusal)) => {
                    engine.refused("event stream", "", &refusal);
                    Poll::Ready(Step::Last(error_event(&refusal, "")))
                }
                Poll::Pending => match (next.as_mut().poll(cx), &mut *silence) {
                    (Poll::Pending, Some(silence)) => silence.poll(cx).map(|()| Step::Event(KEEPALIVE)),
                    (step, _) => step,
                },
            })
            .await
        };
        match step {
            Step::Event(bytes) => {
                if let Some(silence) = &mut self.silence {
                    silence.broken();
                }
                Some(bytes)
            }
            Step::Last(bytes) => {
                self.stage = Stage::Ended;
                Some(bytes)
            }
            Step::End => None,
        }
    }
}

impl Source for Subscription {
    async fn next(&mut self) -> Step {
        match Self::next(self).await {
            Ok(Event::Envelope(delivery)) => Step::Event(delivery.form(Form::Sse, envelope_event).clone()),
            Ok(Event::Ended { state: SessionState::Resolved, .. }) => Step::End,
            Ok(Event::Ended { state, .. }) => {
                let refusal = Refusal::new(
                    RefusalCode::SessionNotOpen,
                    format!("the session ended without a resolution: {}", state.as_str_name()),
                );
                Step::Last(error_event(&refusal, self.session_id().as_str()))
            }
            Err(refusal) => Step::Last(error_event(&refusal, self.session_id().as_str())),
        }
    }
}

impl Source for SignalWatch {
    async fn next(&mut self) -> Step {
        match Self::next(self).await {
            // An ambient envelope is delivered to signal watches only, and who sent it does not change.
            Ok(signal) => Step::Event(
                signal
                    .delivery
                    .form(Form::Sse, |delivery| signal_event(delivery, signal.sender_authenticated))
                    .clone(),
            ),
            Err(refusal) => Step::Last(error_event(&refusal, "")),
        }
    }
}

macro_rules! watches {
    ($($watch:ident),*) => {
        $(impl Source for $watch {
            async fn next(&mut self) -> Step {
                match Self::next(self).await {
                    Ok(message) => Step::Event(message_event(&message)),
                    Err(refusal) => Step::Last(error_event(&refusal, "")),
                }
            }
        })*
    };
}

watches!(ModeRegistryWatch, PolicyWatch, RootsWatch, SessionWatch);

/// An accepted envelope with its ordinal as the event's id.
pub(crate) fn envelope_event(delivery: &Delivery) -> Bytes {
    let mut event = Vec::with_capacity(delivery.json().len() + 48);
    event.extend_from_slice(b"id: ");
    event.extend_from_slice(delivery.sequence().to_string().as_bytes());
    event.extend_from_slice(b"\ndata: ");
    json::write_stream_session_response(delivery.json(), &mut event);
    event.extend_from_slice(b"\n\n");
    event.into()
}

fn signal_event(delivery: &Delivery, sender_authenticated: bool) -> Bytes {
    data_event(b"data: ", |event| {
        json::write_watch_signals_response(delivery.json(), sender_authenticated, event);
    })
}

fn message_event<M: Json>(message: &M) -> Bytes {
    data_event(b"data: ", |event| json::write(message, event))
}

/// The last event of a stream that cannot go on.
pub(crate) fn error_event(refusal: &Refusal, session_id: &str) -> Bytes {
    data_event(b"event: error\ndata: ", |event| event.extend_from_slice(&error_body(refusal, session_id)))
}

/// Canonical JSON is one line, so it is one `data` field.
pub(crate) fn data_event(start: &[u8], write: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut event = start.to_vec();
    write(&mut event);
    event.extend_from_slice(b"\n\n");
    event.into()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::Router;
    use axum::routing::get;
    use macp_engine::testing::memory_engine;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::Notify;

    use super::*;

    /// Tells when it is dropped.
    struct Guarded {
        dropped: Arc<Notify>,
        step: fn() -> Option<Step>,
    }

    impl Source for Guarded {
        async fn next(&mut self) -> Step {
            tokio::task::yield_now().await;
            match (self.step)() {
                Some(step) => step,
                None => std::future::pending().await,
            }
        }
    }

    impl Drop for Guarded {
        fn drop(&mut self) {
            self.dropped.notify_one();
        }
    }

    /// Whether the source is silent or never stops, a client that closes its connection releases it.
    #[tokio::test]
    async fn a_client_that_goes_away_releases_the_source() {
        for step in [|| None, || Some(Step::Event(KEEPALIVE))] as [fn() -> Option<Step>; 2] {
            let engine = memory_engine().await;
            let dropped = Arc::new(Notify::new());
            let source_dropped = Arc::clone(&dropped);
            let stream = get(async move || {
                response(
                    &engine,
                    &Identity::Anonymous,
                    Duration::from_secs(3600),
                    Guarded { dropped: source_dropped, step },
                )
            });
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            tokio::spawn(async move { axum::serve(listener, Router::new().route("/", stream)).await });
            let mut socket = TcpStream::connect(address).await.unwrap();
            socket.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b": opened\n\n") {
                head.push(socket.read_u8().await.unwrap());
            }
            drop(socket);
            tokio::time::timeout(Duration::from_secs(20), dropped.notified()).await.expect("released");
        }
    }

    #[tokio::test]
    async fn a_source_that_never_pauses_does_not_hide_the_drain() {
        let engine = memory_engine().await;
        let dropped = Arc::new(Notify::new());
        let source = Guarded { dropped: Arc::clone(&dropped), step: || Some(Step::Event(KEEPALIVE)) };
        let body = response(&engine, &Identity::Anonymous, Duration::ZERO, source).into_body();
        let reader = tokio::spawn(axum::body::to_bytes(body, usize::MAX));
        tokio::task::yield_now().await;
        engine.drain();
        reader.await.unwrap().unwrap();
        dropped.notified().await;
    }
}
