//! Event streams over HTTP/1.1, served without the HTTP library: once the head of such a response is sent, all that is
//! left to do on its connection is to write chunks.
//!
//! hyper keeps some 24 KiB of buffers, and the state of a request, for as long as a connection lives. A stream that says
//! nothing for hours needs neither. So hyper reads the request and writes the head of the answer, and is then taken off
//! the connection; when the stream ends and the connection goes on, there is a new one.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::{self, IoSlice, Write as _};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::CONNECTION;
use http::{Method, Version};
use http_body_util::Either;
use hyper::body::{Body, Frame};
use hyper::{Request, Response};
use macp_transport_http::EventStream as Marker;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::presence::Presence;

/// Bytes of chunks that are gathered before they are written. One more, of any size, may wait behind them.
const GATHER: usize = 16 << 10;
/// Chunks in one call of the operating system.
const CHUNKS: usize = 21;
/// Bytes that are kept of a client that says what belongs behind the stream.
const KEPT: usize = 8 << 10;
/// Places of the queue that an idle stream keeps.
const KEPT_PLACES: usize = 4;
/// Behind each chunk, and the one of no bytes that ends a body (RFC 9112 §7.1).
const LINE_END: &[u8] = b"\r\n";
const LAST: &[u8] = b"0\r\n\r\n";

/// Where the body of an event stream waits until hyper has sent the head of its response.
pub(crate) struct Handover<B> {
    stream: Mutex<Option<Left<B>>>,
    has_begun: AtomicBool,
}

/// What hyper leaves behind.
pub(crate) struct Left<B> {
    pub(crate) body: B,
    /// Whether the client wants to ask something else on the connection.
    pub(crate) goes_on: bool,
}

impl<B> Handover<B> {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { stream: Mutex::new(None), has_begun: AtomicBool::new(false) })
    }

    /// Whether, should it be answered with an event stream, this request's connection can go on without hyper; if so,
    /// whether it can be used again behind the stream.
    pub(crate) fn takes<T: Body>(request: &Request<T>) -> Option<bool> {
        // hyper must have read all of the request. What it has of a body is read by then by whoever streams to a POST.
        let is_read = request.method() == Method::POST
            || (request.method() == Method::GET && request.body().is_end_stream());
        let closes = |value: &http::HeaderValue| {
            value
                .as_bytes()
                .split(|byte| *byte == b',')
                .any(|word| word.trim_ascii().eq_ignore_ascii_case(b"close"))
        };
        (is_read && request.version() == Version::HTTP_11)
            .then(|| !request.headers().get_all(CONNECTION).iter().any(closes))
    }

    /// Keeps the body of an event stream, and gives hyper one in its place that has nothing to say.
    pub(crate) fn keep(
        self: &Arc<Self>,
        response: Response<B>,
        goes_on: bool,
    ) -> Response<Either<B, Begun<B>>> {
        if response.extensions().get::<Marker>().is_none() {
            return response.map(Either::Left);
        }
        let (head, body) = response.into_parts();
        *self.stream.lock() = Some(Left { body, goes_on });
        Response::from_parts(head, Either::Right(Begun(Arc::clone(self))))
    }

    /// The stream whose head was sent.
    pub(crate) fn take(&self) -> Option<Left<B>> {
        self.has_begun.store(false, Ordering::Relaxed);
        self.stream.lock().take()
    }
}

/// The body that hyper has of an event stream. It is asked for a frame when the head was written before it.
pub(crate) struct Begun<B>(Arc<Handover<B>>);

impl<B> Body for Begun<B> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.has_begun.store(true, Ordering::Relaxed);
        Poll::Pending
    }
}

/// hyper on a connection, until it ends or hands over.
pub(crate) struct UntilBegun<'a, C, B> {
    pub(crate) connection: C,
    pub(crate) handover: &'a Handover<B>,
    pub(crate) presence: &'a Presence,
}

/// How it came to that.
pub(crate) enum Served<T> {
    /// The connection is over.
    Over(T),
    /// An event stream has begun, and hyper holds nothing that is not sent.
    Begun,
}

impl<C: Future + Unpin, B> Future for UntilBegun<'_, C, B> {
    type Output = Served<C::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let over = Pin::new(&mut self.connection).poll(cx);
        // hyper writes until there is nothing left, or until the network takes no more.
        let has_begun = self.handover.has_begun.load(Ordering::Relaxed) && !self.presence.is_blocked();
        match over {
            Poll::Ready(over) => Poll::Ready(Served::Over(over)),
            Poll::Pending if has_begun => Poll::Ready(Served::Begun),
            Poll::Pending => Poll::Pending,
        }
    }
}

/// How an event stream came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// All of it was written.
    All,
    /// The client has gone, or the stream broke off.
    Part,
}

/// A connection on which an event stream is sent: reads nothing but that the client has gone, writes chunks.
pub(crate) struct EventStream<T, B> {
    io: T,
    body: Option<B>,
    queue: VecDeque<Chunk>,
    queued: usize,
    /// Of the first chunk.
    written: usize,
    /// What came in behind the request.
    read: Vec<u8>,
}

/// A chunk's line of length, and its data; what is behind all data is the same.
struct Chunk {
    line: [u8; 10],
    line_end: u8,
    data: Bytes,
    end: &'static [u8],
}

impl Chunk {
    fn of(data: Bytes) -> Self {
        // At most eight digits: no event is longer than 4 GiB.
        let mut line = [0; 10];
        let mut room = &mut line[..];
        let fits = write!(room, "{:x}\r\n", data.len());
        debug_assert!(fits.is_ok());
        let left = room.len();
        let line_end = u8::try_from(line.len() - left).unwrap_or_default();
        Self { line, line_end, data, end: LINE_END }
    }

    fn last() -> Self {
        Self { line: [0; 10], line_end: 0, data: Bytes::new(), end: LAST }
    }

    fn parts(&self) -> [&[u8]; 3] {
        [&self.line[..usize::from(self.line_end)], &self.data, self.end]
    }

    fn len(&self) -> usize {
        self.parts().iter().map(|part| part.len()).sum()
    }
}

impl<T, B> EventStream<T, B>
where
    T: AsyncRead + AsyncWrite + Unpin,
    B: Body<Data = Bytes> + Unpin,
{
    pub(crate) fn new(io: T, body: B, read: &[u8]) -> Self {
        Self { io, body: Some(body), queue: VecDeque::new(), queued: 0, written: 0, read: read.to_vec() }
    }

    /// The connection, and what was read of it.
    pub(crate) fn into_inner(self) -> (T, Bytes) {
        (self.io, self.read.into())
    }

    fn push(&mut self, chunk: Chunk) {
        self.queued += chunk.len();
        self.queue.push_back(chunk);
    }

    /// Takes what the body has, as far as there is room. An error breaks the stream off.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Result<(), B::Error> {
        while self.queued < GATHER
            && let Some(body) = &mut self.body
        {
            match Pin::new(body).poll_frame(cx) {
                Poll::Ready(Some(frame)) => match frame?.into_data() {
                    // A chunk without data would end the body.
                    Ok(data) if !data.is_empty() => self.push(Chunk::of(data)),
                    _ => {}
                },
                Poll::Ready(None) => {
                    self.body = None;
                    self.push(Chunk::last());
                }
                Poll::Pending => break,
            }
        }
        Ok(())
    }

    /// Writes some of what is queued.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut slices = [IoSlice::new(&[]); 3 * CHUNKS];
        let (mut count, mut skip) = (0, self.written);
        for part in self.queue.iter().take(CHUNKS).flat_map(Chunk::parts) {
            let skipped = skip.min(part.len());
            skip -= skipped;
            if skipped < part.len() {
                slices[count] = IoSlice::new(&part[skipped..]);
                count += 1;
            }
        }
        let written = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, &slices[..count]))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.queued -= written;
        self.written += written;
        while let Some(first) = self.queue.front()
            && self.written >= first.len()
        {
            self.written -= first.len();
            self.queue.pop_front();
        }
        if self.queue.is_empty() && self.queue.capacity() > KEPT_PLACES {
            self.queue = VecDeque::new();
        }
        Poll::Ready(Ok(()))
    }

    /// Reads on. Ready once the client has gone.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.read.len() < KEPT {
            let mut room = [MaybeUninit::uninit(); 512];
            let mut buffer = ReadBuf::uninit(&mut room);
            match ready!(Pin::new(&mut self.io).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => self.read.extend_from_slice(buffer.filled()),
                _ => return Poll::Ready(()),
            }
        }
        Poll::Pending
    }
}

impl<T, B> Future for EventStream<T, B>
where
    T: AsyncRead + AsyncWrite + Unpin,
    B: Body<Data = Bytes> + Unpin,
{
    type Output = Told;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Told> {
        let this = &mut *self;
        if this.poll_gone(cx).is_ready() {
            return Poll::Ready(Told::Part);
        }
        loop {
            if this.poll_body(cx).is_err() {
                return Poll::Ready(Told::Part);
            }
            if this.queue.is_empty() {
                break;
            }
            if ready!(this.poll_write(cx)).is_err() {
                return Poll::Ready(Told::Part);
            }
        }
        match ready!(Pin::new(&mut this.io).poll_flush(cx)) {
            Err(_) => Poll::Ready(Told::Part),
            Ok(()) if this.body.is_none() => Poll::Ready(Told::All),
            Ok(()) => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::{StreamExt as _, stream};
    use http_body_util::StreamBody;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    fn body(events: Vec<Bytes>) -> impl Body<Data = Bytes, Error = Infallible> + Unpin {
        StreamBody::new(stream::iter(events.into_iter().map(|event| Ok(Frame::data(event)))))
    }

    #[tokio::test]
    async fn events_are_chunks_however_the_network_takes_them() {
        let events = [1, 15, 16, 0, 300, 5_000, 70_000];
        let events: Vec<_> = events.map(|length| Bytes::from(vec![b'x'; length])).into();
        let mut expected = Vec::new();
        for event in events.iter().filter(|event| !event.is_empty()) {
            expected.extend_from_slice(format!("{:x}\r\n", event.len()).as_bytes());
            expected.extend_from_slice(event);
            expected.extend_from_slice(b"\r\n");
        }
        expected.extend_from_slice(b"0\r\n\r\n");
        for room in [1, 7, 4_096, 1 << 20] {
            let (server, mut client) = duplex(room);
            let mut stream = EventStream::new(server, body(events.clone()), b"GET");
            let told = tokio::spawn(async move {
                let told = (&mut stream).await;
                (told, stream.into_inner())
            });
            let mut got = vec![0; expected.len()];
            client.read_exact(&mut got).await.unwrap();
            assert!(got == expected, "{room}");
            let (told, (server, read)) = told.await.unwrap();
            assert_eq!((told, &read[..]), (Told::All, &b"GET"[..]));
            drop(server);
            assert_eq!(client.read(&mut [0]).await.unwrap(), 0, "nothing behind it");
        }
    }

    /// What a client says too early is kept, as far as there is room for it, and the end of it is noticed.
    #[tokio::test]
    async fn a_client_that_goes_away_ends_the_stream_and_one_that_talks_does_not() {
        let silent = || StreamBody::new(stream::pending::<Result<Frame<Bytes>, Infallible>>());
        let (server, mut client) = duplex(1 << 20);
        let mut stream = EventStream::new(server, silent(), b"");
        client.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(20), &mut stream).await.is_err());
        assert_eq!(stream.read, b"GET / HTTP/1.1\r\n");
        drop(client);
        assert_eq!(stream.await, Told::Part);

        let (server, mut client) = duplex(1 << 20);
        let mut stream = EventStream::new(server, silent(), b"");
        client.write_all(&[b'x'; 100_000]).await.unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(20), &mut stream).await.is_err());
        assert!(stream.read.len() < KEPT + 512, "{}", stream.read.len());
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_kept_little_for() {
        let endless = stream::repeat(Bytes::from(vec![b'x'; 1_000]))
            .map(|event| Ok::<_, Infallible>(Frame::data(event)));
        let (server, _client) = duplex(64);
        let mut stream = EventStream::new(server, StreamBody::new(endless), b"");
        assert!(tokio::time::timeout(Duration::from_millis(20), &mut stream).await.is_err());
        assert!(stream.queued < GATHER + 1_100, "{}", stream.queued);
    }

    #[test]
    fn only_what_hyper_has_read_to_its_end_leaves_it() {
        use http_body_util::{Empty, Full};
        let takes = |request: http::request::Builder| {
            Handover::<()>::takes(&request.body(Empty::<Bytes>::new()).unwrap())
        };
        assert_eq!(takes(Request::get("/")), Some(true));
        assert_eq!(takes(Request::post("/").header("connection", "keep-alive")), Some(true));
        assert_eq!(takes(Request::get("/").header("connection", "te, Close")), Some(false));
        assert_eq!(takes(Request::head("/")), None);
        assert_eq!(takes(Request::get("/").version(Version::HTTP_10)), None);
        assert_eq!(takes(Request::get("/").version(Version::HTTP_2)), None);
        let with_body = Request::get("/").body(Full::new(Bytes::from_static(b"x"))).unwrap();
        assert_eq!(Handover::<()>::takes(&with_body), None);
    }
}
