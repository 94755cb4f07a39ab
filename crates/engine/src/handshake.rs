//! What the server says of itself: `Initialize` and its manifest. Both tell only what is really served.

use macp_kernel::{Catalog, PROTOCOL_VERSION, Refusal, RefusalCode};
use macp_wire::v1::{
    AgentManifest, CancellationCapability, Capabilities, DecisionReceiptCapability, ExperimentalCapabilities,
    InitializeRequest, InitializeResponse, ManifestCapability, ModeRegistryCapability,
    PolicyRegistryCapability, ProgressCapability, RootsCapability, RuntimeInfo, SessionsCapability,
};

use crate::options::Options;

/// Negotiates the protocol version (RFC-MACP-0001 §4).
pub(crate) fn initialize(
    options: &Options,
    catalog: &Catalog,
    request: &InitializeRequest,
) -> Result<InitializeResponse, Refusal> {
    if request.supported_protocol_versions.is_empty() {
        return Err(Refusal::invalid_request("supported_protocol_versions is empty; offer \"1.0\""));
    }
    if !request.supported_protocol_versions.iter().any(|version| version == PROTOCOL_VERSION) {
        return Err(Refusal::new(
            RefusalCode::UnsupportedProtocolVersion,
            format!("this server speaks protocol version {PROTOCOL_VERSION:?}, which was not offered"),
        ));
    }
    Ok(InitializeResponse {
        selected_protocol_version: PROTOCOL_VERSION.to_owned(),
        runtime_info: Some(RuntimeInfo {
            name: "macp-gateway".to_owned(),
            title: "MACP gateway".to_owned(),
            version: options.version.clone(),
            description: "MACP coordination over gRPC, HTTP and WebSocket".to_owned(),
            website_url: String::new(),
        }),
        capabilities: Some(capabilities(options)),
        supported_modes: supported_modes(catalog),
        instructions: String::new(),
    })
}

fn capabilities(options: &Options) -> Capabilities {
    Capabilities {
        sessions: Some(SessionsCapability { stream: true, list_sessions: true, watch_sessions: true }),
        cancellation: Some(CancellationCapability { cancel_session: true }),
        progress: Some(ProgressCapability { progress: true }),
        manifest: Some(ManifestCapability { get_manifest: true }),
        mode_registry: Some(ModeRegistryCapability { list_modes: true, list_changed: true }),
        roots: Some(RootsCapability { list_roots: true, list_changed: true }),
        policy_registry: Some(PolicyRegistryCapability {
            register_policy: !options.policies_read_only,
            list_policies: true,
            list_changed: true,
            rule_extensions: Vec::new(),
            what_if_replay: true,
        }),
        decision_receipt: Some(DecisionReceiptCapability {
            get_decision_receipt: true,
            signed: options.receipts.keys.signs(),
        }),
        experimental: Some(ExperimentalCapabilities {
            features: [("ext_mode_lifecycle".to_owned(), "true".to_owned())].into(),
        }),
    }
}

/// The server's own manifest (RFC-MACP-0005 §3).
pub(crate) fn manifest(options: &Options, catalog: &Catalog) -> AgentManifest {
    let content_types = ["application/macp-envelope+proto", "application/macp-envelope+json"];
    AgentManifest {
        agent_id: options.agent_id.clone(),
        title: "MACP gateway".to_owned(),
        description: "MACP coordination over gRPC, HTTP and WebSocket".to_owned(),
        supported_modes: supported_modes(catalog),
        input_content_types: content_types.map(str::to_owned).to_vec(),
        output_content_types: content_types.map(str::to_owned).to_vec(),
        metadata: Default::default(),
        transport_endpoints: options.transport_endpoints.clone(),
    }
}

fn supported_modes(catalog: &Catalog) -> Vec<String> {
    catalog.modes().map(|entry| entry.descriptor.mode.clone()).collect()
}
