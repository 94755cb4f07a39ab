//! `macp-gateway demo`: no configuration, loopback only, and instructions to paste.
#![allow(clippy::print_stdout, reason = "the instructions are the demo's output")]

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use macp_engine::Limits;

use crate::config::{Config, ConfigErrors, Lookup, Storage};

/// Settings of the demo: development identities on loopback. Ports may be moved with `MACP_BIND_ADDR` and
/// `MACP_HTTP_BIND_ADDR`, and sessions with `MACP_DATA_DIR` and `MACP_MEMORY_ONLY`; limits are wide enough for a room of
/// scripted agents. The page lists everybody's sessions, and its receipts are signed with a key that nobody keeps.
pub(crate) fn config(lookup: Lookup<'_>) -> Result<Config, ConfigErrors> {
    let key = signing_key()?;
    // An earlier demo's receipts name a key of their own, so that they are not taken for signed by this one.
    let kid = format!("demo-{}", uuid::Uuid::new_v4());
    let demo = |name: &str| match name {
        "MACP_ALLOW_INSECURE" | "MACP_GRPC_REFLECTION" => Some("1".to_owned()),
        // Whoever may act as anybody may see what anybody sees.
        "MACP_SESSION_VISIBILITY" => Some("all".to_owned()),
        "MACP_RUNTIME_ID" => Some("macp-gateway-demo".to_owned()),
        "MACP_RECEIPT_SIGNING_KEY" => Some(key.clone()),
        "MACP_RECEIPT_SIGNING_KID" => Some(kid.clone()),
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

/// A fresh Ed25519 key for as long as the process runs.
fn signing_key() -> Result<String, ConfigErrors> {
    // PKCS#8 of an Ed25519 key (RFC 8410): everything before the 32 bytes of the key itself.
    let mut document = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20".to_vec();
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(|error| {
        ConfigErrors::one(&format!("no random numbers for the demo's signing key: {error}"))
    })?;
    document.extend_from_slice(&key);
    Ok(format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(document)))
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed step fails the test")]
mod tests {
    use super::config;

    #[test]
    fn receipts_are_signed_with_a_key_of_this_run_only() {
        let nothing = |_: &str| None;
        let [first, second] =
            [config(&nothing).unwrap(), config(&nothing).unwrap()].map(|c| c.receipts.keys.jwks());
        assert!(first.contains("Ed25519"), "{first}");
        assert_ne!(first, second);
    }

    #[test]
    fn nobody_else_reaches_it() {
        let open = |name: &str| (name == "MACP_BIND_ADDR").then(|| "0.0.0.0:0".to_owned());
        assert!(config(&open).unwrap_err().to_string().contains("loopback only"));
    }
}
