//! `macp-gateway demo`: no configuration, loopback only, and instructions to paste.
#![allow(clippy::print_stdout, reason = "the instructions are the demo's output")]

use std::net::SocketAddr;

use macp_engine::Limits;

use crate::config::{Config, ConfigErrors, Lookup, Storage};

/// Settings of the demo: development identities on loopback. Ports may be moved with `MACP_BIND_ADDR` and
/// `MACP_HTTP_BIND_ADDR`, and sessions with `MACP_DATA_DIR` and `MACP_MEMORY_ONLY`; limits are wide enough for a room of
/// scripted agents.
pub(crate) fn config(lookup: Lookup<'_>) -> Result<Config, ConfigErrors> {
    let demo = |name: &str| match name {
        "MACP_ALLOW_INSECURE" | "MACP_GRPC_REFLECTION" => Some("1".to_owned()),
        "MACP_BIND_ADDR" | "MACP_HTTP_BIND_ADDR" | "MACP_DATA_DIR" | "MACP_MEMORY_ONLY" => lookup(name),
        _ => None,
    };
    let mut config = Config::read(&demo)?;
    if !config.loopback_only() {
        return Err(ConfigErrors::one(
            "the demo accepts anyone as anybody, so it listens on loopback only; use `serve` for other addresses",
        ));
    }
    config.limits = Limits { session_starts_per_minute: 6_000, messages_per_minute: 60_000, ..config.limits };
    Ok(config)
}

/// Says what to open and what to paste.
pub(crate) fn instructions(grpc: SocketAddr, http: SocketAddr, storage: &Storage) {
    let kept = match storage {
        Storage::Memory => "in memory, and gone when it stops".to_owned(),
        Storage::Directory(directory) => {
            let directory = std::path::absolute(directory).unwrap_or_else(|_| directory.clone());
            format!("in {}, and served again at the next start; delete it to begin anew", directory.display())
        }
    };
    // A session of an earlier demo may still be there.
    let session = uuid::Uuid::new_v4();
    println!(
        "\
MACP gateway demo. Everyone on this machine may act as anybody.
Sessions are kept {kept}.

  page       http://{http}/
  HTTP       http://{http}/macp/v1/{{Method}}
  WebSocket  ws://{http}/macp/v1/ws
  gRPC       {grpc}   (all of them answer on both ports)

Start a decision in another terminal:

  curl -s http://{http}/macp/v1/Send -H 'Content-Type: application/json' -H 'Authorization: Bearer agent://alice' \\
    -d '{{\"envelope\":{{\"macp_version\":\"1.0\",\"mode\":\"macp.mode.decision.v1\",\"message_type\":\"SessionStart\",\
\"message_id\":\"m1\",\"session_id\":\"{session}\",\"payload\":{{\"intent\":\"where to eat\",\
\"participants\":[\"agent://alice\",\"agent://bob\"],\"mode_version\":\"1.0.0\",\"configuration_version\":\"1\",\
\"ttl_ms\":3600000}}}}}}'

Ctrl-C stops it."
    );
}
