//! The time that a message may take to arrive: a client that begins one and does not end it holds nothing for long.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::Request;
use macp_kernel::Refusal;
use tokio::time::{Sleep, sleep};
use tonic::codegen::{Body as HttpBody, StdError};

use crate::status;

/// Bytes before each message: a flag and its length.
const HEAD: usize = 5;
/// Calls on which a client may be silent between its messages.
const STREAMING: [&str; 2] = ["/StreamSession", "/ServerReflectionInfo"];

/// A request's body whose messages must come in time.
pub(crate) struct Paced<B> {
    body: B,
    within: Duration,
    /// Whether silence between messages is fine.
    streams: bool,
    head: [u8; HEAD],
    have: usize,
    /// Bytes of the message that are still to come.
    left: usize,
    /// Runs only while something is waited for.
    timer: Option<Pin<Box<Sleep>>>,
}

/// The request with its body paced.
pub(crate) fn paced<B>(request: Request<B>, within: Duration) -> Request<Paced<B>> {
    let streams = STREAMING.iter().any(|call| request.uri().path().ends_with(call));
    request.map(|body| Paced { body, within, streams, head: [0; HEAD], have: 0, left: 0, timer: None })
}

impl<B> Paced<B> {
    /// Whether a message was begun, and not ended.
    fn is_within_message(&self) -> bool {
        self.have > 0 || self.left > 0
    }

    /// Follows the bytes; true if a message ended in them.
    fn follow(&mut self, mut bytes: &[u8]) -> bool {
        let mut ended = false;
        while !bytes.is_empty() {
            if self.left > 0 {
                let taken = bytes.len().min(self.left);
                bytes.advance(taken);
                self.left -= taken;
                ended |= self.left == 0;
                continue;
            }
            let taken = bytes.len().min(HEAD - self.have);
            self.head[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes.advance(taken);
            if self.have == HEAD {
                let [_, a, b, c, d] = self.head;
                self.have = 0;
                self.left = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
                ended |= self.left == 0;
            }
        }
        ended
    }

    fn too_slow(&self) -> StdError {
        let refusal = Refusal::invalid_request(format!(
            "the message did not come within {} s (MACP_BODY_TIMEOUT_SECS)",
            self.within.as_secs()
        ));
        Box::new(status::refused(&refusal))
    }
}

impl<B> HttpBody for Paced<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<StdError>,
{
    type Data = Bytes;
    type Error = StdError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, StdError>>> {
        let this = &mut *self;
        match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref()
                    && this.follow(data)
                {
                    this.timer = None;
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(end) => Poll::Ready(end.map(|frame| frame.map_err(Into::into))),
            Poll::Pending if this.streams && !this.is_within_message() => Poll::Pending,
            Poll::Pending => {
                let within = this.within;
                let timer = this.timer.get_or_insert_with(|| Box::pin(sleep(within)));
                ready!(timer.as_mut().poll(cx));
                Poll::Ready(Some(Err(this.too_slow())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::{StreamExt, stream};
    use http_body_util::{BodyExt, StreamBody};
    use macp_kernel::RefusalCode;
    use tonic::Status;

    use super::*;

    const WITHIN: Duration = Duration::from_secs(20);

    /// The body of a call that sends these pieces and then nothing.
    fn body(call: &str, pieces: &[&'static [u8]]) -> impl HttpBody<Data = Bytes, Error = StdError> + Unpin {
        let pieces: Vec<_> = pieces
            .iter()
            .map(|piece| Ok::<_, Infallible>(http_body::Frame::data(Bytes::from_static(piece))))
            .collect();
        let body = StreamBody::new(stream::iter(pieces).chain(stream::pending()));
        paced(Request::post(format!("/macp.v1.MACPRuntimeService/{call}")).body(body).unwrap(), WITHIN)
            .into_body()
    }

    /// Reads until nothing comes for an hour, or an error.
    async fn fate(mut body: impl HttpBody<Data = Bytes, Error = StdError> + Unpin) -> Option<StdError> {
        loop {
            match tokio::time::timeout(Duration::from_secs(3_600), body.frame()).await {
                Err(_) => return None,
                Ok(frame) => {
                    if let Err(error) = frame? {
                        return Some(error);
                    }
                }
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_begun_must_end_in_time() {
        for (call, pieces) in [
            ("Send", vec![]),
            ("Send", vec![&b"\0\0\0"[..]]),
            ("Send", vec![b"\0\0\0\0\x02a"]),
            ("Send", vec![b"\0\0\0\0\x01a"]),
            ("StreamSession", vec![b"\0"]),
            ("StreamSession", vec![b"\0\0\0\0\x01a\0\0\0\0\x01"]),
        ] {
            let error = fate(body(call, &pieces)).await.unwrap_or_else(|| panic!("{call} {pieces:?}"));
            let status = error.downcast::<Status>().unwrap();
            let code = status.metadata().get("macp-error-code").unwrap();
            assert_eq!(code, RefusalCode::InvalidRequest.name());
            assert!(status.message().contains("MACP_BODY_TIMEOUT_SECS"), "{status:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn silence_between_the_messages_of_a_stream_is_none() {
        for pieces in [vec![], vec![&b"\0\0\0\0\x01a"[..]], vec![b"\0\0\0\0\0\0\0", b"\0\0\x01a"]] {
            assert!(fate(body("StreamSession", &pieces)).await.is_none(), "{pieces:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_message_has_its_own_time() {
        let steps = stream::unfold(0, |step| async move {
            sleep(WITHIN * 2 / 3).await;
            let piece: &'static [u8] = if step % 2 == 0 { b"\0\0\0\0\x01" } else { b"a" };
            (step < 10)
                .then(|| (Ok::<_, Infallible>(http_body::Frame::data(Bytes::from_static(piece))), step + 1))
        });
        let request = Request::post("/StreamSession").body(StreamBody::new(steps.boxed())).unwrap();
        assert_eq!(paced(request, WITHIN).into_body().collect().await.unwrap().to_bytes().len(), 30);
    }
}
