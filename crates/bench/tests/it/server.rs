//! Servers for the tests: the gateway's own transports on one port, and the program's bare servers.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use macp_auth::Authenticator;
use macp_engine::testing::generous_limits;
use macp_engine::{Engine, Limits, Options, SystemClock};
use macp_store::MemoryStore;
use tokio::runtime::Runtime;

/// The three transports over an engine in memory, as the gateway mounts them. Gone with this value.
pub(crate) struct Gateway {
    address: String,
    _runtime: Runtime,
}

impl Gateway {
    pub(crate) fn start() -> Self {
        Self::with(generous_limits())
    }

    pub(crate) fn with_message_limit(limit: u32) -> Self {
        Self::with(Limits { messages_per_minute: limit, ..generous_limits() })
    }

    fn with(limits: Limits) -> Self {
        let runtime = Runtime::new().unwrap();
        let address = runtime.block_on(serve(limits)).to_string();
        Self { address, _runtime: runtime }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }
}

async fn serve(limits: Limits) -> SocketAddr {
    let largest = limits.max_payload_bytes;
    let options = Options { limits, ..Options::default() };
    let engine = Engine::open(Arc::new(MemoryStore::new()), Arc::new(SystemClock), options).await.unwrap();
    let anybody = Arc::new(Authenticator::dev());
    let grpc = macp_transport_grpc::Options::default();
    let http = macp_transport_http::Options::new(largest);
    let ws = macp_transport_ws::Options::new(largest * 2);
    let router = macp_transport_grpc::router(engine.clone(), Arc::clone(&anybody), grpc)
        .merge(macp_transport_http::router(engine.clone(), Arc::clone(&anybody), http))
        .merge(macp_transport_ws::router(engine, anybody, ws, macp_transport_ws::Sockets::new()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    address
}

/// A bare server of the program's own. Killed with this value.
pub(crate) struct Spawned {
    child: Child,
    address: String,
}

impl Spawned {
    pub(crate) fn ceiling(kind: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_macp-bench"))
            .args(["ceiling", kind])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ").unwrap().to_owned();
        Self { child, address }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }
}

impl Drop for Spawned {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}
