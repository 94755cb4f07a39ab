//! The table of the protocol's 27 calls, as a macro: one row for each RPC of `MACPRuntimeService`.

/// Calls the macro `$callback` with one row for each RPC, in the order of the service definition.
///
/// A row is `Name, snake_name, Request, Response, kind;` where the types are paths into this crate and
/// `kind` is one of the words `unary`, `server_stream` and `bidi`.
///
/// ```
/// macro_rules! names {
///     ($($name:ident, $function:ident, $request:ty, $response:ty, $kind:ident;)*) => {
///         [$(stringify!($name)),*]
///     };
/// }
/// assert_eq!(macp_wire::for_each_method!(names).len(), 27);
/// ```
#[macro_export]
macro_rules! for_each_method {
    ($callback:ident) => {
        $callback! {
            Initialize, initialize, $crate::v1::InitializeRequest, $crate::v1::InitializeResponse, unary;
            Send, send, $crate::v1::SendRequest, $crate::v1::SendResponse, unary;
            StreamSession, stream_session, $crate::v1::StreamSessionRequest, $crate::v1::StreamSessionResponse, bidi;
            GetSession, get_session, $crate::v1::GetSessionRequest, $crate::v1::GetSessionResponse, unary;
            CancelSession, cancel_session, $crate::v1::CancelSessionRequest, $crate::v1::CancelSessionResponse, unary;
            SuspendSession, suspend_session, $crate::v1::SuspendSessionRequest, $crate::v1::SuspendSessionResponse, unary;
            ResumeSession, resume_session, $crate::v1::ResumeSessionRequest, $crate::v1::ResumeSessionResponse, unary;
            GetManifest, get_manifest, $crate::v1::GetManifestRequest, $crate::v1::GetManifestResponse, unary;
            ListModes, list_modes, $crate::v1::ListModesRequest, $crate::v1::ListModesResponse, unary;
            WatchModeRegistry, watch_mode_registry, $crate::v1::WatchModeRegistryRequest, $crate::v1::WatchModeRegistryResponse, server_stream;
            ListRoots, list_roots, $crate::v1::ListRootsRequest, $crate::v1::ListRootsResponse, unary;
            WatchRoots, watch_roots, $crate::v1::WatchRootsRequest, $crate::v1::WatchRootsResponse, server_stream;
            ListExtModes, list_ext_modes, $crate::v1::ListExtModesRequest, $crate::v1::ListExtModesResponse, unary;
            RegisterExtMode, register_ext_mode, $crate::v1::RegisterExtModeRequest, $crate::v1::RegisterExtModeResponse, unary;
            UnregisterExtMode, unregister_ext_mode, $crate::v1::UnregisterExtModeRequest, $crate::v1::UnregisterExtModeResponse, unary;
            PromoteMode, promote_mode, $crate::v1::PromoteModeRequest, $crate::v1::PromoteModeResponse, unary;
            WatchSignals, watch_signals, $crate::v1::WatchSignalsRequest, $crate::v1::WatchSignalsResponse, server_stream;
            ListSessions, list_sessions, $crate::v1::ListSessionsRequest, $crate::v1::ListSessionsResponse, unary;
            WatchSessions, watch_sessions, $crate::v1::WatchSessionsRequest, $crate::v1::WatchSessionsResponse, server_stream;
            RegisterPolicy, register_policy, $crate::v1::RegisterPolicyRequest, $crate::v1::RegisterPolicyResponse, unary;
            UnregisterPolicy, unregister_policy, $crate::v1::UnregisterPolicyRequest, $crate::v1::UnregisterPolicyResponse, unary;
            GetPolicy, get_policy, $crate::v1::GetPolicyRequest, $crate::v1::GetPolicyResponse, unary;
            ListPolicies, list_policies, $crate::v1::ListPoliciesRequest, $crate::v1::ListPoliciesResponse, unary;
            WatchPolicies, watch_policies, $crate::v1::WatchPoliciesRequest, $crate::v1::WatchPoliciesResponse, server_stream;
            WhatIfReplay, what_if_replay, $crate::v1::WhatIfReplayRequest, $crate::v1::WhatIfReplayResponse, unary;
            GetDecisionReceipt, get_decision_receipt, $crate::v1::GetDecisionReceiptRequest, $crate::v1::GetDecisionReceiptResponse, unary;
            GetReceiptKeys, get_receipt_keys, $crate::v1::GetReceiptKeysRequest, $crate::v1::GetReceiptKeysResponse, unary;
        }
    };
}
