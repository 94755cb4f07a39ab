//! The five watches as response streams.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;

use futures_util::stream;
use macp_engine::{
    End, Ends, Engine, Method, ModeRegistryWatch, PolicyWatch, RootsWatch, SessionWatch, SignalWatch,
};
use macp_kernel::Refusal;
use macp_wire::v1::{
    WatchModeRegistryResponse, WatchPoliciesResponse, WatchRootsResponse, WatchSessionsResponse,
};
use tokio_stream::Stream;
use tonic::Status;

use crate::frame::SignalFrame;
use crate::status;

/// A response stream of any call.
pub(crate) type ResponseStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// A watch of the engine, as its gRPC responses.
pub(crate) trait Watch: Send + 'static {
    /// The response message.
    type Response: Send + 'static;

    /// The next response, or why the watch ends.
    fn next(&mut self) -> impl Future<Output = Result<Self::Response, Refusal>> + Send;
}

/// Pulls a watch until it refuses, its caller's credential ends or the server drains. There is no buffer here: the watch's own is the bound.
pub(crate) fn responses<W: Watch>(
    engine: Engine,
    method: Method,
    ends: Ends,
    watch: W,
) -> ResponseStream<W::Response> {
    Box::pin(stream::unfold(Some((engine, ends, watch)), move |state| async move {
        let (engine, mut ends, mut watch) = state?;
        let next = {
            let mut next = pin!(watch.next());
            poll_fn(|cx| match ends.poll(cx) {
                // First the ends, so that a busy watch cannot outlive them.
                Poll::Ready(end) => Poll::Ready(Err(end)),
                Poll::Pending => next.as_mut().poll(cx).map(|next| next.map_err(End::Expired)),
            })
            .await
        };
        Some(match next {
            Ok(response) => (Ok(response), Some((engine, ends, watch))),
            Err(End::Draining) => (Err(status::draining()), None),
            // Of the credential or of the watch: told in the same way.
            Err(End::Expired(refusal)) => {
                engine.refused(method.name(), "", &refusal);
                (Err(status::refused(&refusal)), None)
            }
        })
    }))
}

macro_rules! watches {
    ($($watch:ty => $response:ty;)*) => {$(
        impl Watch for $watch {
            type Response = $response;

            async fn next(&mut self) -> Result<Self::Response, Refusal> {
                <$watch>::next(self).await
            }
        }
    )*};
}

watches! {
    ModeRegistryWatch => WatchModeRegistryResponse;
    RootsWatch => WatchRootsResponse;
    SessionWatch => WatchSessionsResponse;
    PolicyWatch => WatchPoliciesResponse;
}

impl Watch for SignalWatch {
    type Response = SignalFrame;

    async fn next(&mut self) -> Result<SignalFrame, Refusal> {
        // The inherent `next`: it takes precedence over this trait's.
        let signal = Self::next(self).await?;
        Ok(SignalFrame::new(&signal))
    }
}
