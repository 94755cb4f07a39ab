//! The composition root: store, engine, transports and listeners put together, run, and drained.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use macp_auth::Tickets;
use macp_engine::{Engine, Options as EngineOptions, SystemClock};
use macp_transport_ws::Sockets;
use macp_wire::v1::TransportEndpoint;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::audit::Audit;
use crate::cli::RunError;
use crate::config::layers::Layers;
use crate::config::{Config, Storage};
use crate::connection::Serving;
use crate::gate::Gate;
use crate::jwks::Fetcher;
use crate::listener::Listener;
use crate::logging::Told;
use crate::metrics::{Connections, Metrics};
use crate::refresh::Refresher;
use crate::reload::Changes;
use crate::routes::Observed;
use crate::shutdown::Signals;
use crate::tls::Tls;
use crate::{demo, routes, storage};

/// Connections of the operators' listener: a few scrapers and probes.
const ADMIN_CONNECTIONS: usize = 64;

/// Runs the gateway until a signal ends it.
///
/// `layers` is where the configuration is from, `told` what its operators are told by.
pub(crate) async fn run(
    config: Config,
    layers: Layers,
    is_demo: bool,
    told: Told,
) -> Result<ExitCode, RunError> {
    let mut signals = Signals::install()?;
    let grpc = Listener::bind(config.grpc_addr, "MACP_BIND_ADDR").await?;
    let http = Listener::bind(config.http_addr, "MACP_HTTP_BIND_ADDR").await?;
    let admin = match config.admin_addr {
        Some(addr) => Some(Listener::bind(addr, "MACP_ADMIN_BIND_ADDR").await?),
        None => None,
    };
    let store = storage::open(&config.storage)?;
    let options = EngineOptions {
        limits: config.limits.clone(),
        transport_endpoints: endpoints(&config, grpc.addr(), http.addr()),
        policies_read_only: config.policies.is_some(),
        policies: config.policies.clone().unwrap_or_default(),
        roots: config.roots.clone(),
        agents: config.agents.clone(),
        visibility: config.visibility,
        receipts: config.receipts.clone(),
        retention: config.retention,
        ..EngineOptions::default()
    };
    let engine = Engine::open(store.log, Arc::new(SystemClock), options)
        .await
        .map_err(|error| RunError::start("the store cannot be read", error))?;
    warn_of_open_doors(&config);
    if let Some(source) = &config.auth.jwks {
        // Not waited for: a server that can serve nothing else would be down with its issuer.
        tokio::spawn(Fetcher::new(source.clone())?.run(engine.draining().clone()));
    }

    let tls = config.tls.clone().map(|files| Tls::start(files, engine.draining().clone())).transpose()?;
    if !is_demo {
        let refresher = Refresher::new(layers, &config, &engine)?;
        tokio::spawn(refresher.run(engine.draining().clone()));
    }
    if let Some(audit) = told.audit.clone() {
        tokio::spawn(reopen_on_hangup(audit, Changes::of([])?));
    }
    let connections = TaskTracker::new();
    let sockets = Sockets::new();
    let tickets = Arc::new(Tickets::new());
    let gate = Arc::new(Gate::new(config.peers.clone()));
    let counted = Connections::default();
    let metrics = Metrics::new(&engine, store.embedded, &sockets, &counted, told.audit.clone());
    let observed = Observed { metrics, connections: counted };
    let (grpc_addr, http_addr) = (grpc.addr(), http.addr());
    let mut accepting = Vec::new();
    for listener in [grpc, http] {
        let routes = routes::of(&config, &engine, &sockets, &tickets, &observed, listener.addr());
        let serving = Serving {
            routes,
            tls: tls.clone(),
            gate: Arc::clone(&gate),
            deadlines: config.deadlines,
            max_concurrent_streams: config.max_concurrent_streams,
            draining: engine.draining().clone(),
        };
        accepting.push(tokio::spawn(listener.run(
            Arc::new(serving),
            config.max_connections,
            connections.clone(),
        )));
    }
    if let Some(admin) = admin {
        tracing::info!(admin_addr = %admin.addr(), "serving metrics and health for operators");
        // To the very end: what a drain does is seen here. Its connections are not waited for.
        let serving = Serving {
            routes: routes::admin(&engine, &observed),
            tls: None,
            gate: Arc::new(Gate::new(config.peers.clone())),
            deadlines: config.deadlines,
            max_concurrent_streams: config.max_concurrent_streams,
            draining: CancellationToken::new(),
        };
        tokio::spawn(admin.run(Arc::new(serving), ADMIN_CONNECTIONS, TaskTracker::new()));
    }
    tracing::info!(%grpc_addr, %http_addr, tls = config.tls.is_some(), version = env!("CARGO_PKG_VERSION"), "serving gRPC, HTTP and WebSocket on both");
    if is_demo {
        demo::instructions(grpc_addr, http_addr, &config.storage);
    }

    signals.next().await;
    tracing::info!(within = ?config.drain, "draining; a second signal ends the process at once");
    engine.drain();
    let drained = async {
        for task in accepting {
            // The loop neither panics nor is it aborted; if it did end otherwise, it accepts nothing either.
            drop(task.await);
        }
        connections.close();
        connections.wait().await;
        sockets.close();
        sockets.wait().await;
    };
    tokio::select! {
        () = drained => tracing::info!("drained"),
        () = tokio::time::sleep(config.drain) => {
            tracing::warn!(connections = connections.len(), "not drained in time; closing what is left");
        }
        code = signals.next() => return Ok(code),
    }
    tokio::select! {
        () = told.finish() => Ok(ExitCode::SUCCESS),
        code = signals.next() => Ok(code),
    }
}

/// For logrotate: the audit log goes on in a new file once the old one was moved away.
async fn reopen_on_hangup(audit: Arc<Audit>, mut changes: Changes) {
    loop {
        changes.next().await;
        audit.reopen();
    }
}

/// Where the manifest says that clients reach the server: the public URL if there is one, else the addresses that the
/// listeners really have. A listener on every address has no name of its own, so nothing is guessed for it.
fn endpoints(config: &Config, grpc: SocketAddr, http: SocketAddr) -> Vec<TransportEndpoint> {
    let endpoint = |transport: &str, uri: String, content_type: &str| TransportEndpoint {
        transport: transport.to_owned(),
        uri,
        content_types: vec![content_type.to_owned()],
        metadata: Default::default(),
    };
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    let own = |addr: SocketAddr| (!addr.ip().is_unspecified()).then(|| format!("{scheme}://{addr}"));
    let mut endpoints = Vec::new();
    if let Some(uri) = own(grpc) {
        endpoints.push(endpoint("macp.transport.grpc.v1", uri, "application/macp-envelope+proto"));
    }
    let public = config.public_url.as_ref().map(|public| public.url.clone());
    if let Some(url) = public.or_else(|| own(http)) {
        // "http" becomes "ws" and "https" becomes "wss".
        let socket = url.replacen("http", "ws", 1) + "/macp/v1/ws";
        endpoints.push(endpoint("macp.transport.http.v1", url, "application/json"));
        endpoints.push(endpoint("macp.transport.websocket.v1", socket, "application/macp-envelope+json"));
    }
    endpoints
}

fn warn_of_open_doors(config: &Config) {
    if config.storage == Storage::Memory && config.receipts.keys.signs() {
        tracing::warn!(
            "signed receipts are kept in memory only (MACP_MEMORY_ONLY=1) and end with this process"
        );
    }
    if config.auth.authenticator.is_dev() {
        tracing::warn!(
            "development identities: any bearer is accepted as its own sender (MACP_ALLOW_INSECURE=1)"
        );
    }
    if config.tls.is_none() && !config.loopback_only() {
        tracing::warn!("serving plaintext beyond loopback (MACP_ALLOW_INSECURE=1); put TLS in front");
    }
}
