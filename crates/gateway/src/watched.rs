//! The bytes of a connection on their way: noted for its deadlines, counted for its peer's rate, searched for floods.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::frames::Census;
use crate::gate::Meter;
use crate::presence::Presence;

/// A stream that is watched.
pub(crate) struct Watched<S> {
    stream: S,
    presence: Arc<Presence>,
    meter: Option<Metered>,
    /// Of HTTP/2 only. Boxed, because most connections that live long are WebSockets.
    census: Option<Box<Census>>,
    /// Whether what is to be written has waited for more.
    gathered: bool,
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
        Self { stream, presence, meter, census, gathered: false }
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

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
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
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn what_is_written_beside_other_calls_waits_one_turn_for_theirs() {
        let presence = Presence::new();
        let mut cx = Context::from_waker(Waker::noop());
        let mut write = |is_http2, times: usize| {
            let mut watched = Watched::new(Vec::new(), Arc::clone(&presence), None, is_http2);
            let polls: Vec<_> =
                (0..times).map(|_| Pin::new(&mut watched).poll_write(&mut cx, b"x").is_ready()).collect();
            (polls, watched.stream.len())
        };
        assert_eq!(write(true, 2), (vec![true, true], 2), "nothing is open");
        presence.began();
        assert_eq!(write(false, 2), (vec![true, true], 2), "HTTP/1.1 has one call at a time");
        assert_eq!(write(true, 4), (vec![false, true, false, true], 2));
        presence.ended();
        assert_eq!(write(true, 1), (vec![true], 1));
    }
}
