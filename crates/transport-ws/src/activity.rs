//! When bytes last came from and went to the peer: any byte is a sign of life, not only whole messages.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Duration, Instant};

/// The two instants, shared between the socket's bytes and its connection.
#[derive(Clone)]
pub(crate) struct Activity(Arc<Marks>);

struct Marks {
    base: Instant,
    /// Milliseconds after `base`.
    heard: AtomicU64,
    written: AtomicU64,
    /// Bytes that came, in all.
    bytes: AtomicU64,
}

impl Activity {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Marks {
            base: Instant::now(),
            heard: AtomicU64::new(0),
            written: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }))
    }

    /// The peer was heard now.
    pub(crate) fn mark_heard(&self) {
        self.mark(&self.0.heard);
    }

    /// The peer's side took bytes now.
    pub(crate) fn mark_written(&self) {
        self.mark(&self.0.written);
    }

    /// So many bytes came now.
    pub(crate) fn took(&self, bytes: usize) {
        self.mark_heard();
        self.0.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Bytes that came, in all.
    pub(crate) fn bytes(&self) -> u64 {
        self.0.bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn heard(&self) -> Instant {
        self.at(&self.0.heard)
    }

    pub(crate) fn written(&self) -> Instant {
        self.at(&self.0.written)
    }

    fn mark(&self, mark: &AtomicU64) {
        let elapsed = u64::try_from(self.0.base.elapsed().as_millis()).unwrap_or(u64::MAX);
        mark.store(elapsed, Ordering::Relaxed);
    }

    fn at(&self, mark: &AtomicU64) -> Instant {
        self.0.base + Duration::from_millis(mark.load(Ordering::Relaxed))
    }
}

/// A byte stream that notes its activity.
pub(crate) struct Watched<T> {
    inner: T,
    activity: Activity,
}

impl<T> Watched<T> {
    pub(crate) fn new(inner: T, activity: Activity) -> Self {
        Self { inner, activity }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        let read = buf.filled().len() - before;
        if read > 0 {
            self.activity.took(read);
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write(cx, buf))?;
        if written > 0 {
            self.activity.mark_written();
        }
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write_vectored(cx, slices))?;
        if written > 0 {
            self.activity.mark_written();
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
