//! The only protobuf compiler of the workspace: messages for `macp-wire`, stubs for `macp-transport-grpc`.
//!
//! Two manifests name this file as their build script; it looks at which package is being built.
//! The compiler is pure Rust, so no `protoc` is needed.
#![allow(clippy::print_stdout, reason = "build scripts talk to cargo through standard output")]

#[path = "crates/wire/codegen/json.rs"]
mod json;
#[path = "crates/wire/codegen/schema.rs"]
mod schema;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

use prost::Message;
use prost_types::FileDescriptorSet;
use tonic_prost_build::Config;

/// Every proto file, relative to `proto/`.
const FILES: [&str; 10] = [
    "macp/v1/envelope.proto",
    "macp/v1/policy.proto",
    "macp/v1/core.proto",
    "macp/modes/decision/v1/decision.proto",
    "macp/modes/proposal/v1/proposal.proto",
    "macp/modes/task/v1/task.proto",
    "macp/modes/handoff/v1/handoff.proto",
    "macp/modes/quorum/v1/quorum.proto",
    "macp/modes/multi_round/v1/multi_round.proto",
    "macp/gateway/v1/websocket.proto",
];

/// The file that holds the service; its imports bring the messages.
const SERVICE: &str = "macp/v1/core.proto";

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../..");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    for input in ["build.rs", "proto", "crates/wire/codegen"] {
        println!("cargo::rerun-if-changed={}", root.join(input).display());
    }
    let proto = root.join("proto");
    match env::var("CARGO_PKG_NAME")?.as_str() {
        "macp-wire" => messages(protox::compile(FILES, [proto])?, &out),
        "macp-transport-grpc" => stubs(&protox::compile([SERVICE], [proto])?, &out),
        other => Err(format!("build.rs has nothing to build for package {other}").into()),
    }
}

/// Writes one file of message types for each proto package (`macp.v1.rs`, …), the JSON codec of these
/// types (`json.rs`), tables of their members and comments (`schema.rs`) and the descriptors without comments
/// (`descriptors.bin`).
fn messages(mut files: FileDescriptorSet, out: &Path) -> Result<(), Box<dyn Error>> {
    fs::write(out.join("json.rs"), json::generate(&files)?)?;
    fs::write(out.join("schema.rs"), schema::generate(&files)?)?;
    Config::new().btree_map(["."]).bytes(["."]).compile_fds(files.clone())?;
    for file in &mut files.file {
        file.source_code_info = None;
    }
    fs::write(out.join("descriptors.bin"), files.encode_to_vec())?;
    Ok(())
}

/// Writes the service stubs, which use macp-wire's message types. macp-transport-grpc includes them as
///
/// ```ignore
/// mod stubs { include!(concat!(env!("OUT_DIR"), "/server/macp.v1.rs")); }   // macp_runtime_service_server
/// mod client { include!(concat!(env!("OUT_DIR"), "/client/macp.v1.rs")); }  // macp_runtime_service_client
/// ```
///
/// In the server stubs the responses of the two busy streams are the including crate's own
/// `frame::StreamFrame` and `frame::SignalFrame`: they carry bytes that were encoded once for all receivers. Its codec is
/// `codec::Codec`.
fn stubs(files: &FileDescriptorSet, out: &Path) -> Result<(), Box<dyn Error>> {
    let (server, client) = (out.join("server"), out.join("client"));
    fs::create_dir_all(&server)?;
    fs::create_dir_all(&client)?;
    let stubs = || tonic_prost_build::configure().extern_path(".macp.v1", "::macp_wire::v1");
    stubs()
        .build_client(false)
        .extern_path(".macp.v1.StreamSessionResponse", "crate::frame::StreamFrame")
        .extern_path(".macp.v1.WatchSignalsResponse", "crate::frame::SignalFrame")
        .codec_path("crate::codec::Codec")
        .out_dir(server)
        .compile_fds(files.clone())?;
    // Without `connect`, which needs tonic's transport in the crate itself: clients are built over a channel.
    stubs().build_server(false).build_transport(false).out_dir(client).compile_fds(files.clone())?;
    Ok(())
}
