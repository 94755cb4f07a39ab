//! Which HTTP version a plaintext connection speaks, told from its first bytes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// What an HTTP/2 client with prior knowledge sends first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// An HTTP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// HTTP/1.0 or 1.1
    One,
    /// HTTP/2
    Two,
}

/// Reads until the version is certain, which is at the first byte that differs from HTTP/2's preface. The bytes read
/// are given back in front of the stream. The caller sets the deadline.
pub(crate) async fn sniff<S: AsyncRead + Unpin>(mut stream: S) -> io::Result<(Version, Rewound<S>)> {
    let mut seen = [0; PREFACE.len()];
    let mut len = 0;
    let version = loop {
        let read = stream.read(&mut seen[len..]).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        len += read;
        if seen[..len] != PREFACE[..len] {
            break Version::One;
        }
        if len == PREFACE.len() {
            break Version::Two;
        }
    };
    Ok((version, Rewound { first: Bytes::copy_from_slice(&seen[..len]), stream }))
}

/// A stream whose first bytes were read and put back.
pub(crate) struct Rewound<S> {
    first: Bytes,
    stream: S,
}

impl<S> Rewound<S> {
    /// Puts bytes back that were read. Nothing else may be waiting there.
    pub(crate) fn put_back(&mut self, bytes: Bytes) {
        debug_assert!(self.first.is_empty());
        self.first = bytes;
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewound<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let len = self.first.len().min(buffer.remaining());
        buffer.put_slice(&self.first[..len]);
        self.first.advance(len);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rewound<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt as _;

    #[tokio::test]
    async fn version_is_told_from_the_first_bytes_and_nothing_is_lost() {
        let get = &b"GET / HTTP/1.1\r\n\r\n"[..];
        let put = &b"PUT /"[..];
        let preface = &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nrest"[..];
        for (sent, version) in [(get, Version::One), (put, Version::One), (preface, Version::Two)] {
            for chunk in [1, 3, sent.len()] {
                let (mut client, server) = tokio::io::duplex(64);
                for part in sent.chunks(chunk) {
                    client.write_all(part).await.unwrap();
                }
                drop(client);
                let (found, mut rewound) = sniff(server).await.unwrap();
                let mut read = Vec::new();
                rewound.read_to_end(&mut read).await.unwrap();
                assert_eq!((found, &read[..]), (version, sent), "in chunks of {chunk}");
            }
        }
    }

    #[tokio::test]
    async fn a_half_preface_is_no_version() {
        let (mut client, server) = tokio::io::duplex(64);
        client.write_all(&PREFACE[..10]).await.unwrap();
        drop(client);
        assert!(sniff(server).await.is_err());
    }
}
