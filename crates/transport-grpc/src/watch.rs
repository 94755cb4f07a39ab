//! The five watches as response streams.

use std::pin::Pin;

use futures_util::stream;
use macp_engine::{
    Engine, Expiry, Method, ModeRegistryWatch, PolicyWatch, RootsWatch, SessionWatch, SignalWatch,
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
    expiry: Expiry,
    watch: W,
) -> ResponseStream<W::Response> {
    Box::pin(stream::unfold(Some((engine, expiry, watch)), move |state| async move {
        let (engine, mut expiry, mut watch) = state?;
        tokio::select! {
            // First the drain, so that a busy watch cannot outlive it.
            biased;
            () = engine.draining().cancelled() => Some((Err(status::draining()), None)),
            refusal = expiry.reached() => {
                engine.refused(method.name(), "", &refusal);
                Some((Err(status::refused(&refusal)), None))
            }
            next = watch.next() => Some(match next {
                Ok(response) => (Ok(response), Some((engine, expiry, watch))),
                Err(refusal) => {
                    engine.refused(method.name(), "", &refusal);
                    (Err(status::refused(&refusal)), None)
                }
            }),
        }
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
