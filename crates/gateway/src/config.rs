//! What the gateway runs with, read once from its settings under the reference's names; every mistake is reported together.

mod auth;
pub(crate) mod document;
pub(crate) mod layers;
pub(crate) mod lists;
mod receipts;
pub(crate) mod settings;
mod tls;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use macp_auth::Origins;
use macp_engine::{Agents, Limits, ReceiptOptions, Roots, Visibility};
use macp_kernel::policy::Policy;

use crate::audit::AuditLog;
use crate::gate::PeerLimits;
use crate::logging::LogFormat;
use crate::peers::Networks;
use crate::presence::Deadlines;
use crate::tls::TlsFiles;

pub(crate) use auth::{Auth, JwksSource};

/// Where sessions are kept unless `MACP_DATA_DIR` says otherwise.
pub(crate) const DEFAULT_DATA_DIR: &str = "macp-data";

/// A way to look a setting up by its variable's name; a seam, so that tests need no process environment.
pub(crate) type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Everything the gateway runs with.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// The listener with the conventional gRPC port (`MACP_BIND_ADDR`).
    pub(crate) grpc_addr: SocketAddr,
    /// The listener with the conventional HTTP port (`MACP_HTTP_BIND_ADDR`).
    pub(crate) http_addr: SocketAddr,
    /// TLS on both listeners (`MACP_TLS_*`); plaintext if there is none.
    pub(crate) tls: Option<TlsFiles>,
    /// The listener for metrics and health alone, if there is one (`MACP_ADMIN_BIND_ADDR`).
    pub(crate) admin_addr: Option<SocketAddr>,
    /// Where sessions are kept.
    pub(crate) storage: Storage,
    /// How long a session that is over stays there (`MACP_SESSION_DISK_RETENTION_SECS`); for ever if there is none.
    pub(crate) retention: Option<Duration>,
    /// Who is accepted.
    pub(crate) auth: Auth,
    /// Limits on what callers may ask.
    pub(crate) limits: Limits,
    /// Where clients reach the HTTP binding (`MACP_HTTP_PUBLIC_URL`).
    pub(crate) public_url: Option<PublicUrl>,
    /// Origins of browser pages that may call (`MACP_HTTP_CORS_ORIGINS`).
    pub(crate) cors_origins: Origins,
    /// Largest HTTP body in bytes (`MACP_HTTP_MAX_BODY_BYTES`).
    pub(crate) max_body_bytes: usize,
    /// Connections that one listener holds at a time (`MACP_HTTP_MAX_CONNECTIONS`).
    pub(crate) max_connections: usize,
    /// WebSockets that are open at a time (`MACP_WS_MAX_CONNECTIONS`).
    pub(crate) max_websockets: usize,
    /// How long a connection may take over things.
    pub(crate) deadlines: Deadlines,
    /// How long a body, or a message that was begun, may take (`MACP_BODY_TIMEOUT_SECS`).
    pub(crate) body_timeout: Duration,
    /// Time between two pings to a WebSocket (`MACP_WS_HEARTBEAT_SECS`).
    pub(crate) heartbeat: Duration,
    /// Limits on each peer address.
    pub(crate) peers: PeerLimits,
    /// Subscriptions and watches of one WebSocket (`MACP_WS_MAX_STREAMS`).
    pub(crate) max_socket_streams: usize,
    /// HTTP/2 streams on one connection (`MACP_MAX_CONCURRENT_STREAMS`).
    pub(crate) max_concurrent_streams: u32,
    /// How long a request may take until the head of its response (`MACP_REQUEST_TIMEOUT_SECS`).
    pub(crate) request_timeout: Duration,
    /// Silence after which an event stream sends a comment; zero for never (`MACP_HTTP_SSE_KEEPALIVE_SECS`).
    pub(crate) sse_keepalive: Duration,
    /// How long a shutdown waits for what is in flight (`MACP_SHUTDOWN_DRAIN_SECS`).
    pub(crate) drain: Duration,
    /// Policies to register at the start; with a directory the registry is read-only (`MACP_POLICIES_DIR`).
    pub(crate) policies: Option<Vec<Policy>>,
    /// Roots to list (`MACP_ROOTS_FILE`).
    pub(crate) roots: Roots,
    /// Manifests of agents (`MACP_AGENT_MANIFESTS_DIR`).
    pub(crate) agents: Agents,
    /// Whose sessions listings show (`MACP_SESSION_VISIBILITY`: `own` or `all`).
    pub(crate) visibility: Visibility,
    /// Who issues decision receipts and under which keys (`MACP_RUNTIME_ID`, `MACP_RECEIPT_*`).
    pub(crate) receipts: ReceiptOptions,
    /// Whether gRPC reflection is served (`MACP_GRPC_REFLECTION`).
    pub(crate) reflection: bool,
    /// Where the audit log goes (`MACP_AUDIT_LOG`).
    pub(crate) audit_log: AuditLog,
    /// Where traces are sent (`MACP_OTLP_ENDPOINT`), if the standard's variables do not say it.
    pub(crate) otlp: Option<String>,
    /// How logs are written (`MACP_LOG_FORMAT`).
    pub(crate) log_format: LogFormat,
}

/// Where sessions are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Storage {
    /// In memory; gone with the process (`MACP_MEMORY_ONLY=1`).
    Memory,
    /// In this directory (`MACP_DATA_DIR`).
    Directory(PathBuf),
}

/// A public URL and its parts that matter here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PublicUrl {
    /// The whole URL, without a trailing slash.
    pub(crate) url: String,
    /// Its path: empty, or beginning with a slash.
    pub(crate) prefix: String,
    /// Host and port as clients write them.
    pub(crate) authority: String,
}

impl PublicUrl {
    /// Scheme, host and port, as in an `Origin` header.
    pub(crate) fn origin(&self) -> String {
        self.url[..self.url.len() - self.prefix.len()].to_owned()
    }

    /// The host alone, as in a `Host` header without its port.
    pub(crate) fn host(&self) -> &str {
        match self.authority.rsplit_once(':') {
            // An IPv6 address has colons of its own, inside brackets.
            Some((host, port)) if !port.contains(']') => host,
            _ => &self.authority,
        }
    }
}

/// What is wrong with the settings.
#[derive(Debug, thiserror::Error)]
pub(crate) struct ConfigErrors(Vec<String>);

impl ConfigErrors {
    pub(crate) fn one(error: &str) -> Self {
        Self(vec![error.to_owned()])
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration is not usable")?;
        self.0.iter().try_for_each(|error| write!(f, "\n  - {error}"))
    }
}

/// Reads variables and collects what is wrong with them.
struct Reader<'a> {
    lookup: Lookup<'a>,
    errors: Vec<String>,
}

impl Reader<'_> {
    /// A variable's value; an empty one counts as unset.
    fn text(&self, name: &str) -> Option<String> {
        debug_assert!(settings::find(name).is_some(), "{name} is not in the table of settings");
        (self.lookup)(name).filter(|value| !value.is_empty())
    }

    fn flag(&self, name: &str) -> bool {
        self.text(name).as_deref() == Some("1")
    }

    fn parsed<T: FromStr>(&mut self, name: &str, default: T, what: &str) -> T {
        let Some(text) = self.text(name) else { return default };
        text.trim().parse().unwrap_or_else(|_| {
            self.errors.push(format!("{name}={text:?} is not {what}"));
            default
        })
    }

    /// A whole number from 1 up.
    fn count<T: FromStr + PartialOrd + From<u8>>(&mut self, name: &str, default: T) -> T {
        let Some(text) = self.text(name) else { return default };
        match text.trim().parse::<T>() {
            Ok(value) if value >= T::from(1) => value,
            _ => {
                self.errors.push(format!("{name}={text:?} is not a whole number from 1 up"));
                default
            }
        }
    }

    fn seconds(&mut self, name: &str, default: u64) -> Duration {
        Duration::from_secs(self.count(name, default))
    }

    fn networks(&mut self, name: &str, default: &str) -> Networks {
        let text = self.text(name).unwrap_or_else(|| default.to_owned());
        Networks::parse(&text).unwrap_or_else(|why| {
            self.errors.push(format!("{name}: {why}"));
            Networks::default()
        })
    }

    fn address(&mut self, name: &str, default: &str) -> SocketAddr {
        let text = self.text(name).unwrap_or_else(|| default.to_owned());
        text.trim().parse().unwrap_or_else(|_| {
            self.errors.push(format!("{name}={text:?} is not an address like 127.0.0.1:8080 or [::1]:8080"));
            SocketAddr::from(([127, 0, 0, 1], 0))
        })
    }
}

impl Config {
    /// Reads the settings of `serve`.
    pub(crate) fn read(lookup: Lookup<'_>) -> Result<Self, ConfigErrors> {
        let mut reader = Reader { lookup, errors: Vec::new() };
        let config = assemble(&mut reader);
        match config {
            Some(config) if reader.errors.is_empty() => Ok(config),
            _ => Err(ConfigErrors(reader.errors)),
        }
    }

    /// Whether nobody but this machine can connect.
    pub(crate) fn loopback_only(&self) -> bool {
        self.grpc_addr.ip().is_loopback() && self.http_addr.ip().is_loopback()
    }
}

fn assemble(reader: &mut Reader<'_>) -> Option<Config> {
    let insecure = reader.flag("MACP_ALLOW_INSECURE");
    let tls = tls::read(reader, insecure);
    let has_client_certificates = tls.as_ref().is_some_and(|files| files.clients.is_some());
    let grpc_addr = reader.address("MACP_BIND_ADDR", "127.0.0.1:50051");
    let http_addr = reader.address("MACP_HTTP_BIND_ADDR", "127.0.0.1:8080");
    if grpc_addr == http_addr && grpc_addr.port() != 0 {
        reader
            .errors
            .push(format!("MACP_BIND_ADDR and MACP_HTTP_BIND_ADDR are both {grpc_addr}; give two ports"));
    }
    let defaults = Limits::default();
    let limits = Limits {
        max_payload_bytes: reader.count("MACP_MAX_PAYLOAD_BYTES", defaults.max_payload_bytes),
        session_starts_per_minute: reader
            .count("MACP_SESSION_START_LIMIT_PER_MINUTE", defaults.session_starts_per_minute),
        messages_per_minute: reader.count("MACP_MESSAGE_LIMIT_PER_MINUTE", defaults.messages_per_minute),
        payload_bytes_per_second: reader
            .count("MACP_BYTES_PER_SECOND_PER_SENDER", defaults.payload_bytes_per_second),
        open_sessions_per_sender: reader
            .count("MACP_MAX_OPEN_SESSIONS_PER_SENDER", defaults.open_sessions_per_sender),
        streams_per_sender: reader.count("MACP_MAX_STREAMS_PER_SENDER", defaults.streams_per_sender),
        list_default_page_size: reader
            .count("MACP_LIST_SESSIONS_DEFAULT_PAGE_SIZE", defaults.list_default_page_size),
        sessions_in_memory: reader.count("MACP_SESSIONS_IN_MEMORY", defaults.sessions_in_memory),
        list_max_page_size: reader.count("MACP_LIST_SESSIONS_MAX_PAGE_SIZE", defaults.list_max_page_size),
        ..defaults
    };
    if limits.list_default_page_size > limits.list_max_page_size {
        reader.errors.push(format!(
            "MACP_LIST_SESSIONS_DEFAULT_PAGE_SIZE ({}) is above MACP_LIST_SESSIONS_MAX_PAGE_SIZE ({})",
            limits.list_default_page_size, limits.list_max_page_size
        ));
    }
    let smallest_body = macp_transport_http::Options::default_max_body(limits.max_payload_bytes);
    let max_body_bytes = reader.count("MACP_HTTP_MAX_BODY_BYTES", smallest_body);
    if max_body_bytes < smallest_body {
        reader.errors.push(format!(
            "MACP_HTTP_MAX_BODY_BYTES={max_body_bytes} cannot hold a payload of MACP_MAX_PAYLOAD_BYTES; \
             the least is {smallest_body}"
        ));
    }
    Some(Config {
        grpc_addr,
        http_addr,
        tls,
        admin_addr: admin_addr(reader, [grpc_addr, http_addr]),
        storage: storage(reader),
        retention: retention(reader),
        limits,
        public_url: public_url(reader, insecure),
        cors_origins: cors_origins(reader),
        max_body_bytes,
        max_connections: reader.count("MACP_HTTP_MAX_CONNECTIONS", 1024),
        max_websockets: reader.count("MACP_WS_MAX_CONNECTIONS", 20_000),
        max_socket_streams: reader.count("MACP_WS_MAX_STREAMS", 1_000),
        max_concurrent_streams: reader.count("MACP_MAX_CONCURRENT_STREAMS", 128),
        request_timeout: reader.seconds("MACP_REQUEST_TIMEOUT_SECS", 30),
        deadlines: Deadlines {
            handshake: reader.seconds("MACP_HANDSHAKE_TIMEOUT_SECS", 10),
            stall: reader.seconds("MACP_STALL_TIMEOUT_SECS", 30),
            idle: reader.seconds("MACP_IDLE_TIMEOUT_SECS", 300),
        },
        body_timeout: reader.seconds("MACP_BODY_TIMEOUT_SECS", 20),
        heartbeat: reader.seconds("MACP_WS_HEARTBEAT_SECS", 25),
        peers: PeerLimits {
            connections: reader.count("MACP_MAX_CONNECTIONS_PER_PEER", 1_000),
            arrivals: reader.count("MACP_NEW_CONNECTIONS_PER_SECOND_PER_PEER", 200),
            bytes: reader.count("MACP_BYTES_PER_SECOND_PER_PEER", 64 << 20),
            unlimited: reader.networks("MACP_UNLIMITED_PEERS", "127.0.0.0/8,::1"),
            proxies: reader.networks("MACP_TRUSTED_PROXIES", "none"),
        },
        sse_keepalive: Duration::from_secs(reader.parsed(
            "MACP_HTTP_SSE_KEEPALIVE_SECS",
            15,
            "a whole number of seconds, or 0 for none",
        )),
        drain: Duration::from_secs(reader.parsed(
            "MACP_SHUTDOWN_DRAIN_SECS",
            10,
            "a whole number of seconds",
        )),
        policies: policies(reader),
        roots: lists::roots(reader),
        agents: lists::agents(reader),
        visibility: visibility(reader),
        receipts: receipts::read(reader),
        reflection: reader.flag("MACP_GRPC_REFLECTION"),
        audit_log: match reader.text("MACP_AUDIT_LOG").as_deref() {
            None | Some("off") => AuditLog::Off,
            Some("stdout") => AuditLog::Stdout,
            Some(path) => AuditLog::File(path.into()),
        },
        otlp: otlp(reader),
        log_format: log_format(reader),
        // Last, because there is none when it is at fault: what else is wrong is known by now.
        auth: auth::read(reader, insecure, has_client_certificates)?,
    })
}

/// The reference server's name for it is taken as well.
fn admin_addr(reader: &mut Reader<'_>, others: [SocketAddr; 2]) -> Option<SocketAddr> {
    let name =
        ["MACP_ADMIN_BIND_ADDR", "MACP_METRICS_ADDR"].into_iter().find(|name| reader.text(name).is_some())?;
    let addr = reader.address(name, "");
    if addr.port() != 0 && others.contains(&addr) {
        reader
            .errors
            .push(format!("{name}={addr} is the address of another listener; give it one of its own"));
    }
    Some(addr)
}

/// As with the reference server, 0 means for ever.
fn retention(reader: &mut Reader<'_>) -> Option<Duration> {
    let seconds = reader.parsed("MACP_SESSION_DISK_RETENTION_SECS", 0_u64, "a whole number of seconds");
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

fn storage(reader: &mut Reader<'_>) -> Storage {
    if reader.flag("MACP_MEMORY_ONLY") {
        return Storage::Memory;
    }
    if let Some(backend) = reader.text("MACP_STORAGE_BACKEND").filter(|backend| backend != "file") {
        reader.errors.push(format!(
            "MACP_STORAGE_BACKEND={backend:?} is not offered; unset it to keep sessions in MACP_DATA_DIR"
        ));
    }
    Storage::Directory(reader.text("MACP_DATA_DIR").unwrap_or_else(|| DEFAULT_DATA_DIR.into()).into())
}

fn policies(reader: &mut Reader<'_>) -> Option<Vec<Policy>> {
    let directory = reader.text("MACP_POLICIES_DIR")?;
    let loaded = crate::policies::load(directory.as_ref());
    loaded.map_err(|why| reader.errors.push(format!("MACP_POLICIES_DIR={directory:?}: {why}"))).ok()
}

fn visibility(reader: &mut Reader<'_>) -> Visibility {
    match reader.text("MACP_SESSION_VISIBILITY").as_deref() {
        None | Some("own") => Visibility::Own,
        Some("all") => Visibility::All,
        Some(other) => {
            reader.errors.push(format!("MACP_SESSION_VISIBILITY={other:?} is neither own nor all"));
            Visibility::Own
        }
    }
}

fn otlp(reader: &mut Reader<'_>) -> Option<String> {
    let text = reader.text("MACP_OTLP_ENDPOINT")?;
    let scheme = text.parse::<http::Uri>().ok().and_then(|uri| uri.scheme_str().map(str::to_owned));
    if !matches!(scheme.as_deref(), Some("http" | "https")) {
        reader.errors.push(format!("MACP_OTLP_ENDPOINT={text:?} is not a URL like http://127.0.0.1:4318"));
    }
    Some(text)
}

fn log_format(reader: &mut Reader<'_>) -> LogFormat {
    match reader.text("MACP_LOG_FORMAT").as_deref() {
        None | Some("text") => LogFormat::Text,
        Some("json") => LogFormat::Json,
        Some(other) => {
            reader.errors.push(format!("MACP_LOG_FORMAT={other:?} is neither text nor json"));
            LogFormat::Text
        }
    }
}

fn public_url(reader: &mut Reader<'_>, insecure: bool) -> Option<PublicUrl> {
    let text = reader.text("MACP_HTTP_PUBLIC_URL")?;
    let parsed = parse_public_url(&text, insecure);
    parsed.map_err(|why| reader.errors.push(format!("MACP_HTTP_PUBLIC_URL={text:?} {why}"))).ok()
}

fn parse_public_url(text: &str, insecure: bool) -> Result<PublicUrl, &'static str> {
    let uri: http::Uri = text.parse().map_err(|_| "is not an absolute URL")?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err("is not an absolute URL");
    };
    if scheme != "https" && !(scheme == "http" && insecure) {
        return Err("must begin with https:// (http:// needs MACP_ALLOW_INSECURE=1)");
    }
    if authority.as_str().contains('@') {
        return Err("must not hold a user or password");
    }
    if text.contains(['?', '#']) {
        return Err("must not have a query or a fragment");
    }
    if text.ends_with('/') {
        return Err("must not end with a slash");
    }
    // `Uri` gives a path of "/" to a URL without one.
    let prefix = if uri.path() == "/" { "" } else { uri.path() };
    if prefix.contains("//") {
        return Err("must not have an empty path segment");
    }
    // These would be patterns and not text in a route.
    if prefix.contains([':', '*', '{', '}']) {
        return Err("must not have `:`, `*`, `{` or `}` in its path");
    }
    Ok(PublicUrl {
        url: text.to_owned(),
        prefix: prefix.to_owned(),
        authority: authority.as_str().to_owned(),
    })
}

fn cors_origins(reader: &mut Reader<'_>) -> Origins {
    let Some(text) = reader.text("MACP_HTTP_CORS_ORIGINS") else { return Origins::default() };
    Origins::parse(&text).unwrap_or_else(|error| {
        reader.errors.push(format!("MACP_HTTP_CORS_ORIGINS: {error}"));
        Origins::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(variables: &[(&str, &str)]) -> Result<Config, String> {
        let lookup =
            |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
        Config::read(&lookup).map_err(|error| error.to_string())
    }

    const TOKENS: (&str, &str) = ("MACP_AUTH_TOKENS_JSON", r#"[{"token":"s3cret","sender":"agent://a"}]"#);
    const INSECURE: (&str, &str) = ("MACP_ALLOW_INSECURE", "1");

    #[test]
    fn plaintext_and_no_authentication_need_consent() {
        let error = config(&[]).unwrap_err();
        assert!(error.contains("plaintext") && error.contains("nobody can authenticate"), "{error}");
        let error = config(&[TOKENS]).unwrap_err();
        assert!(error.contains("plaintext") && !error.contains("nobody"), "{error}");
        assert!(config(&[INSECURE]).unwrap().auth.authenticator.is_dev());
        assert!(!config(&[INSECURE, TOKENS]).unwrap().auth.authenticator.is_dev());
        assert!(config(&[("MACP_ALLOW_INSECURE", "true")]).is_err(), "only 1 is consent");
    }

    #[test]
    fn defaults_are_the_reference_ones() {
        let config = config(&[INSECURE]).unwrap();
        assert_eq!(config.grpc_addr.to_string(), "127.0.0.1:50051");
        assert_eq!(config.http_addr.to_string(), "127.0.0.1:8080");
        assert_eq!(config.storage, Storage::Directory("macp-data".into()));
        assert_eq!(config.limits.max_payload_bytes, 1_048_576);
        assert_eq!(config.max_body_bytes, 1_463_638);
        assert_eq!((config.limits.session_starts_per_minute, config.limits.messages_per_minute), (60, 600));
        assert_eq!(config.drain, Duration::from_secs(10));
        assert_eq!(config.sse_keepalive, Duration::from_secs(15));
        assert!(config.loopback_only() && !config.reflection && config.public_url.is_none());
    }

    #[test]
    fn every_mistake_is_reported_at_once() {
        let error = config(&[
            INSECURE,
            ("MACP_BIND_ADDR", "nowhere"),
            ("MACP_MAX_PAYLOAD_BYTES", "0"),
            ("MACP_MESSAGE_LIMIT_PER_MINUTE", "many"),
            ("MACP_HTTP_PUBLIC_URL", "ftp://x"),
            ("MACP_HTTP_CORS_ORIGINS", "*"),
            ("MACP_SHUTDOWN_DRAIN_SECS", "-1"),
            ("MACP_HTTP_SSE_KEEPALIVE_SECS", "1.5"),
            ("MACP_TLS_CERT_PATH", "cert.pem"),
            ("MACP_AUTH_ISSUER", "https://issuer"),
        ])
        .unwrap_err();
        for part in [
            "MACP_BIND_ADDR=",
            "MACP_MAX_PAYLOAD_BYTES=",
            "MACP_MESSAGE_LIMIT_PER_MINUTE=",
            "MACP_HTTP_PUBLIC_URL=",
            "MACP_HTTP_CORS_ORIGINS",
            "MACP_SHUTDOWN_DRAIN_SECS=",
            "MACP_HTTP_SSE_KEEPALIVE_SECS=",
            "MACP_TLS_CERT_PATH",
            "MACP_AUTH_ISSUER",
        ] {
            assert!(error.contains(part), "{part} is missing in {error}");
        }
    }

    #[test]
    fn conflicting_settings_are_refused() {
        for (variables, part) in [
            (&[("MACP_BIND_ADDR", "127.0.0.1:8080")][..], "give two ports"),
            (&[("MACP_HTTP_MAX_BODY_BYTES", "1000")], "the least is 1463638"),
            (&[("MACP_LIST_SESSIONS_DEFAULT_PAGE_SIZE", "2000")], "is above"),
            (&[("MACP_AUTH_TOKENS_JSON", "[]")], "nobody can authenticate"),
            (&[("MACP_AUTH_TOKENS_FILE", "/nonexistent/tokens")], "cannot be read"),
        ] {
            let error = config(&[&[INSECURE], variables].concat()).unwrap_err();
            assert!(error.contains(part), "{variables:?}: {error}");
        }
    }

    #[test]
    fn public_urls() {
        let ok = |text: &str| parse_public_url(text, false).map(|url| url.prefix);
        assert_eq!(ok("https://macp.example"), Ok(String::new()));
        assert_eq!(ok("https://macp.example:8443/a/b"), Ok("/a/b".into()));
        for bad in [
            "macp.example",
            "http://macp.example",
            "https://macp.example/",
            "https://macp.example/a/",
            "https://u:p@macp.example",
            "https://macp.example/a?b",
            "https://macp.example/a#b",
            "https://macp.example/a//b",
            "https://macp.example/:a",
            "https://macp.example/*",
        ] {
            assert!(ok(bad).is_err(), "{bad}");
        }
        let url = parse_public_url("http://localhost:8080/a", true).unwrap();
        assert_eq!((url.origin().as_str(), url.host()), ("http://localhost:8080", "localhost"));
    }

    #[test]
    fn no_secret_in_errors_or_debug_output() {
        let error = config(&[("MACP_AUTH_TOKENS_JSON", r#"[{"token":"s3.cret"}]"#)]).unwrap_err();
        assert!(!error.contains("s3"), "{error}");
        assert!(!format!("{:?}", config(&[INSECURE, TOKENS]).unwrap()).contains("s3cret"));
    }
}
