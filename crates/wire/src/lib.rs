//! Wire types of the MACP protocol: generated protobuf messages and their canonical JSON mapping.
//!
//! No service, no IO, no async. The messages come from `proto/` (the build script is the workspace's
//! only protobuf compiler); [`json`] is the JSON mapping of RFC-MACP-0001 §10 on these types;
//! [`for_each_method`] lists the protocol's calls; [`descriptor`] holds the compiled descriptors, and
//! [`schema`] the same messages as tables with their comments.

pub mod descriptor;
pub mod json;
mod methods;
pub mod schema;

/// Package `macp.v1`: envelope, acknowledgement, Core payloads, and the requests and responses of all calls.
#[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated from proto/")]
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/macp.v1.rs"));
}

/// Envelope payloads of the modes, one module for each `macp.modes.*` package.
#[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated from proto/")]
pub mod modes {
    /// Decision Mode (RFC-MACP-0007).
    pub mod decision {
        /// Package `macp.modes.decision.v1`.
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/macp.modes.decision.v1.rs"));
        }
    }
    /// Proposal Mode (RFC-MACP-0008).
    pub mod proposal {
        /// Package `macp.modes.proposal.v1`.
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/macp.modes.proposal.v1.rs"));
        }
    }
    /// Task Mode (RFC-MACP-0009).
    pub mod task {
        /// Package `macp.modes.task.v1`.
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/macp.modes.task.v1.rs"));
        }
    }
    /// Handoff Mode (RFC-MACP-0010).
    pub mod handoff {
        /// Package `macp.modes.handoff.v1`.
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/macp.modes.handoff.v1.rs"));
        }
    }
    /// Quorum Mode (RFC-MACP-0011).
    pub mod quorum {
        /// Package `macp.modes.quorum.v1`.
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/macp.modes.quorum.v1.rs"));
        }
    }
    /// The extension mode `ext.multi_round.v1`.
    pub mod multi_round {
        /// Package `macp.modes.multi_round.v1`.
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/macp.modes.multi_round.v1.rs"));
        }
    }
}

/// Frames of this gateway's WebSocket binding.
pub mod gateway {
    /// Package `macp.gateway.v1`: [`ClientFrame`](v1::ClientFrame) and [`ServerFrame`](v1::ServerFrame).
    #[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated from proto/")]
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/macp.gateway.v1.rs"));
    }
}
