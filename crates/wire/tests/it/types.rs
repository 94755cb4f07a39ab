//! Every message type of the crate behind one table, so that a test can go over all of them.

use macp_wire::json::{self, Json, JsonError};
use macp_wire::{gateway, modes, v1};
use prost_reflect::{DescriptorPool, MessageDescriptor};
use std::sync::LazyLock;

/// One message type: its conversions, with protobuf bytes standing for the typed message.
#[derive(Clone, Copy)]
pub(crate) struct Type {
    pub(crate) name: &'static str,
    pub(crate) to_json: fn(&[u8]) -> Vec<u8>,
    pub(crate) from_json: fn(&[u8]) -> Result<Vec<u8>, JsonError>,
    pub(crate) deterministic: fn(&[u8]) -> Vec<u8>,
}

impl Type {
    fn of<M: Json>(name: &'static str) -> Self {
        Self {
            name,
            to_json: |bytes| json::to_vec(&M::decode(bytes).unwrap()),
            from_json: |text| json::from_slice::<M>(text).map(|message| json::deterministic_bytes(&message)),
            deterministic: |bytes| json::deterministic_bytes(&M::decode(bytes).unwrap()),
        }
    }

    pub(crate) fn descriptor(&self) -> MessageDescriptor {
        POOL.get_message_by_name(self.name).unwrap()
    }
}

pub(crate) static POOL: LazyLock<DescriptorPool> =
    LazyLock::new(|| DescriptorPool::decode(macp_wire::descriptor::FILE_DESCRIPTOR_SET).unwrap());

pub(crate) static TYPES: LazyLock<Vec<Type>> = LazyLock::new(|| {
    vec![
        Type::of::<v1::Envelope>("macp.v1.Envelope"),
        Type::of::<v1::MacpError>("macp.v1.MACPError"),
        Type::of::<v1::Ack>("macp.v1.Ack"),
        Type::of::<v1::PolicyDescriptor>("macp.v1.PolicyDescriptor"),
        Type::of::<v1::PolicyRegistryCapability>("macp.v1.PolicyRegistryCapability"),
        Type::of::<v1::RegisterPolicyRequest>("macp.v1.RegisterPolicyRequest"),
        Type::of::<v1::RegisterPolicyResponse>("macp.v1.RegisterPolicyResponse"),
        Type::of::<v1::UnregisterPolicyRequest>("macp.v1.UnregisterPolicyRequest"),
        Type::of::<v1::UnregisterPolicyResponse>("macp.v1.UnregisterPolicyResponse"),
        Type::of::<v1::GetPolicyRequest>("macp.v1.GetPolicyRequest"),
        Type::of::<v1::GetPolicyResponse>("macp.v1.GetPolicyResponse"),
        Type::of::<v1::ListPoliciesRequest>("macp.v1.ListPoliciesRequest"),
        Type::of::<v1::ListPoliciesResponse>("macp.v1.ListPoliciesResponse"),
        Type::of::<v1::WatchPoliciesRequest>("macp.v1.WatchPoliciesRequest"),
        Type::of::<v1::WatchPoliciesResponse>("macp.v1.WatchPoliciesResponse"),
        Type::of::<v1::WhatIfReplayRequest>("macp.v1.WhatIfReplayRequest"),
        Type::of::<v1::WhatIfEntryOutcome>("macp.v1.WhatIfEntryOutcome"),
        Type::of::<v1::WhatIfEntry>("macp.v1.WhatIfEntry"),
        Type::of::<v1::WhatIfOutcome>("macp.v1.WhatIfOutcome"),
        Type::of::<v1::WhatIfDenial>("macp.v1.WhatIfDenial"),
        Type::of::<v1::WhatIfReplayResponse>("macp.v1.WhatIfReplayResponse"),
        Type::of::<v1::Root>("macp.v1.Root"),
        Type::of::<v1::ClientInfo>("macp.v1.ClientInfo"),
        Type::of::<v1::RuntimeInfo>("macp.v1.RuntimeInfo"),
        Type::of::<v1::SessionsCapability>("macp.v1.SessionsCapability"),
        Type::of::<v1::CancellationCapability>("macp.v1.CancellationCapability"),
        Type::of::<v1::ProgressCapability>("macp.v1.ProgressCapability"),
        Type::of::<v1::ManifestCapability>("macp.v1.ManifestCapability"),
        Type::of::<v1::ModeRegistryCapability>("macp.v1.ModeRegistryCapability"),
        Type::of::<v1::RootsCapability>("macp.v1.RootsCapability"),
        Type::of::<v1::DecisionReceiptCapability>("macp.v1.DecisionReceiptCapability"),
        Type::of::<v1::ExperimentalCapabilities>("macp.v1.ExperimentalCapabilities"),
        Type::of::<v1::Capabilities>("macp.v1.Capabilities"),
        Type::of::<v1::InitializeRequest>("macp.v1.InitializeRequest"),
        Type::of::<v1::InitializeResponse>("macp.v1.InitializeResponse"),
        Type::of::<v1::SignalPayload>("macp.v1.SignalPayload"),
        Type::of::<v1::ProgressPayload>("macp.v1.ProgressPayload"),
        Type::of::<v1::SessionStartPayload>("macp.v1.SessionStartPayload"),
        Type::of::<v1::SessionCancelPayload>("macp.v1.SessionCancelPayload"),
        Type::of::<v1::SessionSuspendPayload>("macp.v1.SessionSuspendPayload"),
        Type::of::<v1::SessionResumePayload>("macp.v1.SessionResumePayload"),
        Type::of::<v1::CommitmentRef>("macp.v1.CommitmentRef"),
        Type::of::<v1::CommitmentPayload>("macp.v1.CommitmentPayload"),
        Type::of::<v1::ParticipantActivity>("macp.v1.ParticipantActivity"),
        Type::of::<v1::SessionMetadata>("macp.v1.SessionMetadata"),
        Type::of::<v1::GetSessionRequest>("macp.v1.GetSessionRequest"),
        Type::of::<v1::CancelSessionRequest>("macp.v1.CancelSessionRequest"),
        Type::of::<v1::SuspendSessionRequest>("macp.v1.SuspendSessionRequest"),
        Type::of::<v1::SuspendSessionResponse>("macp.v1.SuspendSessionResponse"),
        Type::of::<v1::ResumeSessionRequest>("macp.v1.ResumeSessionRequest"),
        Type::of::<v1::ResumeSessionResponse>("macp.v1.ResumeSessionResponse"),
        Type::of::<v1::GetManifestRequest>("macp.v1.GetManifestRequest"),
        Type::of::<v1::TransportEndpoint>("macp.v1.TransportEndpoint"),
        Type::of::<v1::AgentManifest>("macp.v1.AgentManifest"),
        Type::of::<v1::ModeDescriptor>("macp.v1.ModeDescriptor"),
        Type::of::<v1::ListModesRequest>("macp.v1.ListModesRequest"),
        Type::of::<v1::ListModesResponse>("macp.v1.ListModesResponse"),
        Type::of::<v1::ListRootsRequest>("macp.v1.ListRootsRequest"),
        Type::of::<v1::ListRootsResponse>("macp.v1.ListRootsResponse"),
        Type::of::<v1::WatchModeRegistryRequest>("macp.v1.WatchModeRegistryRequest"),
        Type::of::<v1::WatchRootsRequest>("macp.v1.WatchRootsRequest"),
        Type::of::<v1::RegistryChanged>("macp.v1.RegistryChanged"),
        Type::of::<v1::RootsChanged>("macp.v1.RootsChanged"),
        Type::of::<v1::SendRequest>("macp.v1.SendRequest"),
        Type::of::<v1::SendResponse>("macp.v1.SendResponse"),
        Type::of::<v1::StreamSessionRequest>("macp.v1.StreamSessionRequest"),
        Type::of::<v1::StreamSessionResponse>("macp.v1.StreamSessionResponse"),
        Type::of::<v1::GetSessionResponse>("macp.v1.GetSessionResponse"),
        Type::of::<v1::CancelSessionResponse>("macp.v1.CancelSessionResponse"),
        Type::of::<v1::GetManifestResponse>("macp.v1.GetManifestResponse"),
        Type::of::<v1::WatchModeRegistryResponse>("macp.v1.WatchModeRegistryResponse"),
        Type::of::<v1::WatchRootsResponse>("macp.v1.WatchRootsResponse"),
        Type::of::<v1::ListExtModesRequest>("macp.v1.ListExtModesRequest"),
        Type::of::<v1::ListExtModesResponse>("macp.v1.ListExtModesResponse"),
        Type::of::<v1::RegisterExtModeRequest>("macp.v1.RegisterExtModeRequest"),
        Type::of::<v1::RegisterExtModeResponse>("macp.v1.RegisterExtModeResponse"),
        Type::of::<v1::UnregisterExtModeRequest>("macp.v1.UnregisterExtModeRequest"),
        Type::of::<v1::UnregisterExtModeResponse>("macp.v1.UnregisterExtModeResponse"),
        Type::of::<v1::PromoteModeRequest>("macp.v1.PromoteModeRequest"),
        Type::of::<v1::PromoteModeResponse>("macp.v1.PromoteModeResponse"),
        Type::of::<v1::WatchSignalsRequest>("macp.v1.WatchSignalsRequest"),
        Type::of::<v1::WatchSignalsResponse>("macp.v1.WatchSignalsResponse"),
        Type::of::<v1::ListSessionsRequest>("macp.v1.ListSessionsRequest"),
        Type::of::<v1::ListSessionsResponse>("macp.v1.ListSessionsResponse"),
        Type::of::<v1::WatchSessionsRequest>("macp.v1.WatchSessionsRequest"),
        Type::of::<v1::SessionLifecycleEvent>("macp.v1.SessionLifecycleEvent"),
        Type::of::<v1::WatchSessionsResponse>("macp.v1.WatchSessionsResponse"),
        Type::of::<v1::GetDecisionReceiptRequest>("macp.v1.GetDecisionReceiptRequest"),
        Type::of::<v1::GetDecisionReceiptResponse>("macp.v1.GetDecisionReceiptResponse"),
        Type::of::<v1::GetReceiptKeysRequest>("macp.v1.GetReceiptKeysRequest"),
        Type::of::<v1::GetReceiptKeysResponse>("macp.v1.GetReceiptKeysResponse"),
        Type::of::<modes::decision::v1::ProposalPayload>("macp.modes.decision.v1.ProposalPayload"),
        Type::of::<modes::decision::v1::EvaluationPayload>("macp.modes.decision.v1.EvaluationPayload"),
        Type::of::<modes::decision::v1::ObjectionPayload>("macp.modes.decision.v1.ObjectionPayload"),
        Type::of::<modes::decision::v1::VotePayload>("macp.modes.decision.v1.VotePayload"),
        Type::of::<modes::proposal::v1::ProposalPayload>("macp.modes.proposal.v1.ProposalPayload"),
        Type::of::<modes::proposal::v1::CounterProposalPayload>(
            "macp.modes.proposal.v1.CounterProposalPayload",
        ),
        Type::of::<modes::proposal::v1::AcceptPayload>("macp.modes.proposal.v1.AcceptPayload"),
        Type::of::<modes::proposal::v1::RejectPayload>("macp.modes.proposal.v1.RejectPayload"),
        Type::of::<modes::proposal::v1::WithdrawPayload>("macp.modes.proposal.v1.WithdrawPayload"),
        Type::of::<modes::task::v1::TaskRequestPayload>("macp.modes.task.v1.TaskRequestPayload"),
        Type::of::<modes::task::v1::TaskAcceptPayload>("macp.modes.task.v1.TaskAcceptPayload"),
        Type::of::<modes::task::v1::TaskRejectPayload>("macp.modes.task.v1.TaskRejectPayload"),
        Type::of::<modes::task::v1::TaskUpdatePayload>("macp.modes.task.v1.TaskUpdatePayload"),
        Type::of::<modes::task::v1::TaskCompletePayload>("macp.modes.task.v1.TaskCompletePayload"),
        Type::of::<modes::task::v1::TaskFailPayload>("macp.modes.task.v1.TaskFailPayload"),
        Type::of::<modes::handoff::v1::HandoffOfferPayload>("macp.modes.handoff.v1.HandoffOfferPayload"),
        Type::of::<modes::handoff::v1::HandoffContextPayload>("macp.modes.handoff.v1.HandoffContextPayload"),
        Type::of::<modes::handoff::v1::HandoffAcceptPayload>("macp.modes.handoff.v1.HandoffAcceptPayload"),
        Type::of::<modes::handoff::v1::HandoffDeclinePayload>("macp.modes.handoff.v1.HandoffDeclinePayload"),
        Type::of::<modes::quorum::v1::ApprovalRequestPayload>("macp.modes.quorum.v1.ApprovalRequestPayload"),
        Type::of::<modes::quorum::v1::ApprovePayload>("macp.modes.quorum.v1.ApprovePayload"),
        Type::of::<modes::quorum::v1::RejectPayload>("macp.modes.quorum.v1.RejectPayload"),
        Type::of::<modes::quorum::v1::AbstainPayload>("macp.modes.quorum.v1.AbstainPayload"),
        Type::of::<modes::multi_round::v1::ContributePayload>("macp.modes.multi_round.v1.ContributePayload"),
        Type::of::<gateway::v1::ClientFrame>("macp.gateway.v1.ClientFrame"),
        Type::of::<gateway::v1::ServerFrame>("macp.gateway.v1.ServerFrame"),
        Type::of::<gateway::v1::Authenticate>("macp.gateway.v1.Authenticate"),
        Type::of::<gateway::v1::SendEnvelope>("macp.gateway.v1.SendEnvelope"),
        Type::of::<gateway::v1::Subscribe>("macp.gateway.v1.Subscribe"),
        Type::of::<gateway::v1::Unsubscribe>("macp.gateway.v1.Unsubscribe"),
        Type::of::<gateway::v1::Watch>("macp.gateway.v1.Watch"),
        Type::of::<gateway::v1::Unwatch>("macp.gateway.v1.Unwatch"),
        Type::of::<gateway::v1::Call>("macp.gateway.v1.Call"),
        Type::of::<gateway::v1::Ping>("macp.gateway.v1.Ping"),
        Type::of::<gateway::v1::Welcome>("macp.gateway.v1.Welcome"),
        Type::of::<gateway::v1::Authenticated>("macp.gateway.v1.Authenticated"),
        Type::of::<gateway::v1::Subscribed>("macp.gateway.v1.Subscribed"),
        Type::of::<gateway::v1::Synced>("macp.gateway.v1.Synced"),
        Type::of::<gateway::v1::SessionEnvelope>("macp.gateway.v1.SessionEnvelope"),
        Type::of::<gateway::v1::Ended>("macp.gateway.v1.Ended"),
        Type::of::<gateway::v1::Event>("macp.gateway.v1.Event"),
        Type::of::<gateway::v1::CallResult>("macp.gateway.v1.CallResult"),
        Type::of::<gateway::v1::Pong>("macp.gateway.v1.Pong"),
        Type::of::<gateway::v1::SubscriptionHead>("macp.gateway.v1.SubscriptionHead"),
        Type::of::<gateway::v1::Watching>("macp.gateway.v1.Watching"),
        Type::of::<gateway::v1::Unwatched>("macp.gateway.v1.Unwatched"),
        Type::of::<gateway::v1::Unsubscribed>("macp.gateway.v1.Unsubscribed"),
        Type::of::<gateway::v1::Draining>("macp.gateway.v1.Draining"),
    ]
});

pub(crate) fn named(name: &str) -> Type {
    *TYPES.iter().find(|kind| kind.name == name).unwrap()
}

/// The table above is written by hand: it must miss nothing.
#[test]
fn the_table_has_every_message() {
    let mut listed: Vec<_> = TYPES.iter().map(|kind| kind.name.to_owned()).collect();
    let messages = POOL.all_messages().filter(|message| !message.is_map_entry());
    let mut compiled: Vec<_> = messages.map(|message| message.full_name().to_owned()).collect();
    listed.sort_unstable();
    compiled.sort_unstable();
    assert_eq!(listed, compiled);
}
