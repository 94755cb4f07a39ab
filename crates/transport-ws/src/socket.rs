//! The socket of a connection: tungstenite reads and answers for the protocol, data frames go out past it.
//!
//! tungstenite copies whatever it writes into a buffer of its own, which keeps the size of the largest frame for as long
//! as the socket lives. What this server sends is ready bytes that many sockets share, and a server does not mask. So a
//! data frame here is its head and a reference to these bytes, written together; tungstenite's own frames (pongs, pings,
//! the close frame) take their place among them, whole.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use futures_util::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

/// Allocated for every socket, so small; larger messages grow it for as long as they are read.
const READ_BUFFER: usize = 2 << 10;
/// Bytes that are gathered before they are written. One frame more, of any size, may wait behind them.
const GATHER: usize = 16 << 10;
/// What tungstenite may keep of its own frames while nothing can be written; a pong that does not fit replaces the one
/// before it.
const CONTROL_BUFFER: usize = 1 << 10;
/// Slices in one call of the operating system.
const SLICES: usize = 64;
/// Places of the queue that an idle socket keeps.
const KEPT: usize = 8;

/// First byte of an unfragmented frame.
const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;

/// The server's side of a WebSocket, after the handshake.
pub(crate) struct Socket<T> {
    inner: WebSocketStream<Outgoing<T>>,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Socket<T> {
    /// A socket on a connection that was upgraded, which reads messages of at most so many bytes.
    pub(crate) async fn new(io: T, max_message: usize) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            // Handed to the queue at once, so that frames leave in the order in which they were given.
            .write_buffer_size(0)
            .max_write_buffer_size(CONTROL_BUFFER)
            .max_message_size(Some(max_message))
            .max_frame_size(Some(max_message))
            .accept_unmasked_frames(false);
        let outgoing = Outgoing { io, queue: VecDeque::new(), queued: 0 };
        Self { inner: WebSocketStream::from_raw_socket(outgoing, Role::Server, Some(config)).await }
    }

    /// The bytes alone, to be shut down: tungstenite counts the close frame as sent once it is written, which here
    /// means that it waits.
    pub(crate) fn into_io(self) -> Outgoing<T> {
        self.inner.into_inner()
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Stream for Socket<T> {
    type Item = Result<Message, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.inner).poll_next(cx)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Sink<Message> for Socket<T> {
    type Error = Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.get_mut().poll_drain(cx, GATHER).map_err(Error::Io)
    }

    fn start_send(mut self: Pin<&mut Self>, message: Message) -> Result<(), Error> {
        match message {
            Message::Text(text) => self.inner.get_mut().push(Piece::frame(TEXT, text.into())),
            Message::Binary(bytes) => self.inner.get_mut().push(Piece::frame(BINARY, bytes)),
            control => Pin::new(&mut self.inner).start_send(control)?,
        }
        Ok(())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }
}

/// A frame, or a tungstenite's own in one piece, without what was written of it.
struct Piece {
    head: [u8; 10],
    head_at: u8,
    head_end: u8,
    body: Bytes,
}

impl Piece {
    /// An unmasked, unfragmented frame (RFC 6455 §5.2).
    fn frame(first: u8, body: Bytes) -> Self {
        let mut head = [first, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let length = body.len() as u64;
        let head_end = match length {
            0..=125 => {
                head[1] = length.to_le_bytes()[0];
                2
            }
            126..=0xFFFF => {
                head[1] = 126;
                head[2..4].copy_from_slice(&length.to_be_bytes()[6..]);
                4
            }
            _ => {
                head[1] = 127;
                head[2..].copy_from_slice(&length.to_be_bytes());
                10
            }
        };
        Self { head, head_at: 0, head_end, body }
    }

    fn head(&self) -> &[u8] {
        &self.head[usize::from(self.head_at)..usize::from(self.head_end)]
    }

    fn len(&self) -> usize {
        self.head().len() + self.body.len()
    }

    fn advance(&mut self, by: usize) {
        let of_head = by.min(self.head().len());
        // At most ten.
        self.head_at += u8::try_from(of_head).unwrap_or_default();
        self.body.advance(by - of_head);
    }
}

/// A byte stream with what waits to be written to it. Whatever is written to it is taken whole or not at all, so that
/// frames of both origins stay in one piece.
pub(crate) struct Outgoing<T> {
    io: T,
    queue: VecDeque<Piece>,
    queued: usize,
}

impl<T: AsyncWrite + Unpin> Outgoing<T> {
    fn push(&mut self, piece: Piece) {
        self.queued += piece.len();
        self.queue.push_back(piece);
    }

    /// Writes until no more than this is left.
    fn poll_drain(&mut self, cx: &mut Context<'_>, left: usize) -> Poll<io::Result<()>> {
        while self.queued > left {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let mut count = 0;
            for piece in self.queue.iter().take(SLICES / 2) {
                slices[count] = IoSlice::new(piece.head());
                slices[count + 1] = IoSlice::new(&piece.body);
                count += 2;
            }
            let written = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, &slices[..count]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, mut written: usize) {
        self.queued -= written;
        while let Some(piece) = self.queue.front_mut() {
            let of_piece = written.min(piece.len());
            piece.advance(of_piece);
            written -= of_piece;
            if piece.len() > 0 {
                return;
            }
            self.queue.pop_front();
        }
        if self.queue.capacity() > KEPT {
            self.queue = VecDeque::new();
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Outgoing<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Outgoing<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        // A peer that pings and does not read must not fill the queue.
        ready!(self.poll_drain(cx, GATHER))?;
        let body = Bytes::copy_from_slice(buf);
        self.push(Piece { head: [0; 10], head_at: 0, head_end: 0, body });
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx, 0))?;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx, 0))?;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{SinkExt as _, StreamExt as _};
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;

    const MAX: usize = 1 << 20;

    async fn pair(room: usize) -> (Socket<DuplexStream>, WebSocketStream<DuplexStream>) {
        let (server, client) = duplex(room);
        (Socket::new(server, MAX).await, WebSocketStream::from_raw_socket(client, Role::Client, None).await)
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    fn messages() -> impl Strategy<Value = Vec<Message>> {
        let length = prop_oneof![0..4usize, 120..130usize, 65_530..65_540usize, 0..70_000usize];
        let message = (0..8u8, length).prop_map(|(kind, length)| match kind {
            0 => Message::Ping(vec![1; length % 126].into()),
            1 => Message::Pong(vec![2; length % 126].into()),
            2..5 => Message::text("t".repeat(length)),
            _ => Message::binary(vec![3; length]),
        });
        proptest::collection::vec(message, 0..20)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

        /// Read by tungstenite itself: whatever the length, in whichever pieces the transport takes it.
        #[test]
        fn what_is_sent_is_what_is_read(messages in messages(), room in 1..40_000usize) {
            let got = runtime().block_on(async {
                let (mut socket, mut client) = pair(room).await;
                let count = messages.len();
                let sent = messages.clone();
                let write = async move {
                    for message in sent {
                        socket.feed(message).await.unwrap();
                    }
                    socket.flush().await.unwrap();
                    socket
                };
                let read = async {
                    let mut got = Vec::new();
                    while got.len() < count {
                        got.push(client.next().await.unwrap().unwrap());
                    }
                    got
                };
                let (_open, got) = tokio::join!(write, read);
                got
            });
            prop_assert_eq!(got, messages);
        }
    }

    #[tokio::test]
    async fn bytes_are_shared_and_an_idle_socket_keeps_no_queue() {
        let (mut socket, mut client) = pair(1 << 20).await;
        let bytes = Bytes::from(vec![7; 300]);
        for _ in 0..50 {
            socket.feed(Message::Binary(bytes.clone())).await.unwrap();
        }
        let outgoing = socket.inner.get_ref();
        assert!(
            outgoing.queue.len() == 50
                && outgoing.queue.iter().all(|piece| piece.body.as_ptr() == bytes.as_ptr())
        );
        socket.flush().await.unwrap();
        let outgoing = socket.inner.get_ref();
        assert!(outgoing.queue.capacity() <= KEPT && outgoing.queued == 0);
        for _ in 0..50 {
            assert_eq!(client.next().await.unwrap().unwrap(), Message::Binary(bytes.clone()));
        }
    }

    #[tokio::test]
    async fn pings_of_a_peer_that_does_not_read_fill_nothing() {
        let (server, mut client) = duplex(64);
        let mut socket = Socket::new(server, MAX).await;
        let pings = tokio::spawn(async move {
            let ping = [&[0x89, 0x80 | 100, 0, 0, 0, 0][..], &[5; 100]].concat();
            for _ in 0..5_000 {
                client.write_all(&ping).await.unwrap();
            }
            client
        });
        for _ in 0..5_000 {
            assert!(matches!(socket.next().await, Some(Ok(Message::Ping(_)))));
        }
        assert!(socket.inner.get_ref().queued <= GATHER + 200, "{}", socket.inner.get_ref().queued);
        // What was promised is sent in whole frames.
        let mut client = pings.await.unwrap();
        let close = tokio::spawn(async move {
            socket.send(Message::Close(None)).await.unwrap();
            socket.into_io().shutdown().await.unwrap();
        });
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.unwrap();
        close.await.unwrap();
        let mut frames = &rest[..];
        let mut closes = 0;
        while let [kind, length, after @ ..] = frames {
            let (payload, after) = after.split_at(usize::from(*length));
            assert!(*kind == 0x8A && payload == [5; 100] || *kind == 0x88 && payload.is_empty(), "{kind:x}");
            closes += u32::from(*kind == 0x88);
            frames = after;
        }
        assert_eq!((closes, frames), (1, &[][..]));
    }
}
