//! The end of streams whose service knows nothing of a drain: reflection's, on which tools stay for as long as they like.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::HeaderMap;
use http_body::Frame;
use macp_engine::Engine;
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::status;

/// Ends what is left of an answer when the server drains, as every other stream ends.
pub(crate) async fn end_with_it(State(engine): State<Engine>, request: Request, next: Next) -> Response {
    let draining = Box::pin(engine.draining().clone().cancelled_owned());
    next.run(request).await.map(|body| Body::new(UntilDrained { body, draining: Some(draining) }))
}

struct UntilDrained {
    body: Body,
    /// `None` once the end was told.
    draining: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

impl http_body::Body for UntilDrained {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Some(draining) = &mut self.draining else { return Poll::Ready(None) };
        let drained = draining.as_mut().poll(cx);
        // An answer that is there goes first.
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            return Poll::Ready(frame);
        }
        ready!(drained);
        self.draining = None;
        let mut trailers = HeaderMap::new();
        let added = status::draining().add_header(&mut trailers);
        Poll::Ready(added.is_ok().then(|| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.draining.is_none() || self.body.is_end_stream()
    }
}
