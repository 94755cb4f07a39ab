//! The 27 calls: metadata to an identity, request to an engine call, refusal to a status.

use std::sync::Arc;

use futures_util::{TryStreamExt as _, stream};
use http::Extensions;
use macp_auth::Authenticator;
use macp_engine::{Engine, Method, observe};
use macp_kernel::{Identity, Refusal};
use macp_wire::v1;
use prost::Message as _;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

use crate::frame::{SignalFrame, StreamFrame};
use crate::limits::MessageLimits;
use crate::metadata;
use crate::status;
use crate::stream::{InputEnd, SessionStream};
use crate::stubs::macp_runtime_service_server::MacpRuntimeService;
use crate::watch::{self, ResponseStream};
use crate::web::WholeRequest;

/// The protocol's service on one engine.
pub(crate) struct Service {
    engine: Engine,
    authenticator: Arc<Authenticator>,
    limits: MessageLimits,
}

impl Service {
    pub(crate) fn new(engine: Engine, authenticator: Arc<Authenticator>, limits: MessageLimits) -> Self {
        Self { engine, authenticator, limits }
    }

    async fn identify(&self, method: Method, metadata: &MetadataMap, extensions: &Extensions) -> Identity {
        let identity = metadata::identify(&self.authenticator, method, metadata, extensions).await;
        observe::identified(&identity);
        identity
    }

    fn refuse(&self, method: Method, refusal: &Refusal) -> Status {
        self.engine.refused(method.name(), "", refusal);
        status::refused(refusal)
    }

    /// Opens a `StreamSession`: a bad credential is refused before any frame is read, and the stream is answered
    /// before any frame is read, so that the response's head leaves at once.
    async fn open_stream(
        &self,
        request: Request<Streaming<v1::StreamSessionRequest>>,
    ) -> Result<ResponseStream<StreamFrame>, Status> {
        let (metadata, extensions, frames) = request.into_parts();
        let input_end = match extensions.get::<WholeRequest>() {
            Some(WholeRequest) => InputEnd::Follow,
            None => InputEnd::HalfClose,
        };
        let limits = self.limits;
        let frames = frames.map_err(move |status| limits.explain_status(status));
        let identity = self.identify(Method::StreamSession, &metadata, &extensions).await;
        identity.require().map_err(|refusal| self.refuse(Method::StreamSession, &refusal))?;
        // Boxed, since it would have a place in each state of the stream.
        let session = Box::new(SessionStream::new(self.engine.clone(), identity, frames, input_end));
        let frames = stream::unfold(session, |mut session| async move {
            let frame = session.next().await?;
            Some((frame, session))
        });
        Ok(Box::pin(frames))
    }
}

/// Writes the whole implementation, because an attribute sees the inside of a macro call only when it is part of
/// that macro. A call that is missing from the table, or has the wrong types, does not compile.
macro_rules! service {
    (
        unary { $($unary:ident $call:ident($request:ident) -> $response:ident;)* }
        watch { $($watch:ident $open:ident($watched:ident) -> $stream:ident of $event:ty;)* }
    ) => {
        #[tonic::async_trait]
        impl MacpRuntimeService for Service {
            $(
                async fn $call(
                    &self,
                    request: Request<v1::$request>,
                ) -> Result<Response<v1::$response>, Status> {
                    let (metadata, extensions, message) = request.into_parts();
                    let identity = self.identify(Method::$unary, &metadata, &extensions).await;
                    let answer = self.engine.$call(&identity, message).await.and_then(|answer| {
                        self.limits.check_answer(answer.encoded_len())?;
                        Ok(answer)
                    });
                    answer.map(Response::new).map_err(|refusal| self.refuse(Method::$unary, &refusal))
                }
            )*
            $(
                type $stream = ResponseStream<$event>;

                async fn $open(
                    &self,
                    request: Request<v1::$watched>,
                ) -> Result<Response<Self::$stream>, Status> {
                    let (metadata, extensions, _) = request.into_parts();
                    let identity = self.identify(Method::$watch, &metadata, &extensions).await;
                    match self.engine.$open(&identity).await {
                        Ok(events) => {
                            let ends = self.engine.ends(&identity);
                            Ok(Response::new(watch::responses(self.engine.clone(), Method::$watch, ends, events)))
                        }
                        Err(refusal) => Err(self.refuse(Method::$watch, &refusal)),
                    }
                }
            )*

            type StreamSessionStream = ResponseStream<StreamFrame>;

            async fn stream_session(
                &self,
                request: Request<Streaming<v1::StreamSessionRequest>>,
            ) -> Result<Response<Self::StreamSessionStream>, Status> {
                self.open_stream(request).await.map(Response::new)
            }
        }
    };
}

service! {
    unary {
        Initialize initialize(InitializeRequest) -> InitializeResponse;
        Send send(SendRequest) -> SendResponse;
        GetSession get_session(GetSessionRequest) -> GetSessionResponse;
        CancelSession cancel_session(CancelSessionRequest) -> CancelSessionResponse;
        SuspendSession suspend_session(SuspendSessionRequest) -> SuspendSessionResponse;
        ResumeSession resume_session(ResumeSessionRequest) -> ResumeSessionResponse;
        GetManifest get_manifest(GetManifestRequest) -> GetManifestResponse;
        ListModes list_modes(ListModesRequest) -> ListModesResponse;
        ListRoots list_roots(ListRootsRequest) -> ListRootsResponse;
        ListExtModes list_ext_modes(ListExtModesRequest) -> ListExtModesResponse;
        RegisterExtMode register_ext_mode(RegisterExtModeRequest) -> RegisterExtModeResponse;
        UnregisterExtMode unregister_ext_mode(UnregisterExtModeRequest) -> UnregisterExtModeResponse;
        PromoteMode promote_mode(PromoteModeRequest) -> PromoteModeResponse;
        ListSessions list_sessions(ListSessionsRequest) -> ListSessionsResponse;
        RegisterPolicy register_policy(RegisterPolicyRequest) -> RegisterPolicyResponse;
        UnregisterPolicy unregister_policy(UnregisterPolicyRequest) -> UnregisterPolicyResponse;
        GetPolicy get_policy(GetPolicyRequest) -> GetPolicyResponse;
        ListPolicies list_policies(ListPoliciesRequest) -> ListPoliciesResponse;
        WhatIfReplay what_if_replay(WhatIfReplayRequest) -> WhatIfReplayResponse;
        GetDecisionReceipt get_decision_receipt(GetDecisionReceiptRequest) -> GetDecisionReceiptResponse;
        GetReceiptKeys get_receipt_keys(GetReceiptKeysRequest) -> GetReceiptKeysResponse;
    }
    watch {
        WatchModeRegistry watch_mode_registry(WatchModeRegistryRequest)
            -> WatchModeRegistryStream of v1::WatchModeRegistryResponse;
        WatchRoots watch_roots(WatchRootsRequest) -> WatchRootsStream of v1::WatchRootsResponse;
        WatchSignals watch_signals(WatchSignalsRequest) -> WatchSignalsStream of SignalFrame;
        WatchSessions watch_sessions(WatchSessionsRequest) -> WatchSessionsStream of v1::WatchSessionsResponse;
        WatchPolicies watch_policies(WatchPoliciesRequest) -> WatchPoliciesStream of v1::WatchPoliciesResponse;
    }
}
