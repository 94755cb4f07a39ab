//! The bytes of a connection on their way: noted for its deadlines, counted for its peer's rate, searched for floods.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::frames::Census;
use crate::gate::Meter;
use crate::presence::Presence;

/// How long, and for how many bytes, a client is listened to that still sends what was refused.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 16 << 20;
/// What is read of that at a time.
const SCRAP: usize = 8 << 10;

/// A stream that is watched.
pub(crate) struct Watched<S> {
    stream: S,
    presence: Arc<Presence>,
    meter: Option<Metered>,
    /// Of HTTP/2 only. Boxed, because most connections that live long are WebSockets.
    census: Option<Box<Census>>,
    /// Whether what is to be written has waited for more.
    gathered: bool,
    lingering: Option<Lingering>,
}

/// The end of an HTTP/1.1 connection on which a request was answered before all of it had come. Were it closed with
/// something unread, the client's system would throw away the answer with the connection (RFC 9112 §9.6).
struct Lingering {
    until: Pin<Box<Sleep>>,
    left: usize,
}

/// A meter, and the time until it lets on.
struct Metered {
    meter: Meter,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Metered {
    fn poll_paid(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            match self.meter.pay() {
                Ok(()) => return Poll::Ready(()),
                Err(wait) => self.pause = Some(Box::pin(sleep(wait))),
            }
        }
    }
}

impl<S> Watched<S> {
    pub(crate) fn new(stream: S, presence: Arc<Presence>, meter: Option<Meter>, is_http2: bool) -> Self {
        let census = is_http2.then(|| Box::new(Census::new()));
        let meter = meter.map(|meter| Metered { meter, pause: None });
        Self { stream, presence, meter, census, gathered: false, lingering: None }
    }

    /// Lets whoever is ready have a turn before something is written on a connection with many calls: answers of other
    /// calls are about to come, and all of them take one system call instead of one each. The scheduler would otherwise
    /// run the connection right after each call that wakes it.
    fn poll_gathered(&mut self, cx: &Context<'_>) -> Poll<()> {
        if self.census.is_none() || self.presence.is_idle() {
            return Poll::Ready(());
        }
        self.gathered = !self.gathered;
        if !self.gathered {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// The stream that is watched.
    pub(crate) fn get_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    fn wrote<T>(&self, polled: Poll<T>) -> Poll<T> {
        self.presence.wrote(polled.is_pending());
        polled
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if let Some(metered) = &mut this.meter {
            ready!(metered.poll_paid(cx));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buffer))?;
        let read = &buffer.filled()[before..];
        if read.is_empty() {
            return Poll::Ready(Ok(()));
        }
        this.presence.heard();
        if let Some(metered) = &mut this.meter {
            metered.meter.read(read.len());
        }
        if let Some(census) = &mut this.census
            && let Err(flood) = census.take(read, this.presence.frames())
        {
            tracing::debug!(flood, "an HTTP/2 connection is cut off");
            return Poll::Ready(Err(io::Error::other(flood)));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> Watched<S> {
    /// Reads what is still coming in, for a while. If there is nothing at once, nothing is waited for.
    fn poll_lingered(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut scrap = [0; SCRAP];
        loop {
            let mut scrap = ReadBuf::new(&mut scrap);
            let read = Pin::new(&mut self.stream).poll_read(cx, &mut scrap);
            match (read, &mut self.lingering) {
                (Poll::Ready(Ok(())), _) if !scrap.filled().is_empty() => {
                    let begin = || Lingering { until: Box::pin(sleep(LINGER)), left: LINGER_BYTES };
                    let lingering = self.lingering.get_or_insert_with(begin);
                    lingering.left = lingering.left.saturating_sub(scrap.filled().len());
                    if lingering.left == 0 {
                        return Poll::Ready(());
                    }
                }
                (Poll::Pending, Some(lingering)) => return lingering.until.as_mut().poll(cx),
                _ => return Poll::Ready(()),
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_gathered(cx));
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.wrote(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_gathered(cx));
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.wrote(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lingering.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            if self.census.is_some() {
                return Poll::Ready(Ok(()));
            }
        }
        self.poll_lingered(cx).map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex, empty, join};
    use tokio::time::{Instant, timeout};

    use super::*;

    #[test]
    fn what_is_written_beside_other_calls_waits_one_turn_for_theirs() {
        let presence = Presence::new();
        let mut cx = Context::from_waker(Waker::noop());
        let mut write = |is_http2, times: usize| {
            let stream = join(empty(), Vec::new());
            let mut watched = Watched::new(stream, Arc::clone(&presence), None, is_http2);
            let polls: Vec<_> =
                (0..times).map(|_| Pin::new(&mut watched).poll_write(&mut cx, b"x").is_ready()).collect();
            (polls, watched.stream.writer().len())
        };
        assert_eq!(write(true, 2), (vec![true, true], 2), "nothing is open");
        presence.began();
        assert_eq!(write(false, 2), (vec![true, true], 2), "HTTP/1.1 has one call at a time");
        assert_eq!(write(true, 4), (vec![false, true, false, true], 2));
        presence.ended();
        assert_eq!(write(true, 1), (vec![true], 1));
    }

    #[tokio::test(start_paused = true)]
    async fn who_still_sends_what_was_refused_hears_why() {
        let (mut client, server) = duplex(1 << 10);
        let mut server = Watched::new(server, Presence::new(), None, false);
        client.write_all(&[0; 1 << 10]).await.unwrap();
        server.write_all(b"no").await.unwrap();
        let (sent, closed) = tokio::join!(
            async {
                client.write_all(&[0; 100 << 10]).await.unwrap();
                client.shutdown().await.unwrap();
                client
            },
            server.shutdown()
        );
        closed.unwrap();
        let mut said = String::new();
        drop(server);
        { sent }.read_to_string(&mut said).await.unwrap();
        assert_eq!(said, "no");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_waited_for_long_and_the_silent_not_at_all() {
        for (is_http2, sends, waits) in [(false, false, false), (false, true, true), (true, true, false)] {
            let (mut client, server) = duplex(1 << 10);
            let mut server = Watched::new(server, Presence::new(), None, is_http2);
            if sends {
                client.write_all(b"more").await.unwrap();
            }
            let began = Instant::now();
            timeout(2 * LINGER, server.shutdown()).await.unwrap().unwrap();
            assert_eq!(began.elapsed() >= LINGER, waits, "HTTP/2: {is_http2}, sends: {sends}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_sends_without_end_is_cut_off() {
        let (mut client, server) = duplex(64 << 10);
        let mut server = Watched::new(server, Presence::new(), None, false);
        client.write_all(b"more").await.unwrap();
        let sending = async { while client.write_all(&[0; 64 << 10]).await.is_ok() {} };
        tokio::select! {
            () = sending => panic!("nobody reads any more"),
            closed = server.shutdown() => closed.unwrap(),
        }
    }
}
