//! The table of settings: name, default and meaning of each, from which flags, file keys and documentation are made.

/// One setting. In the environment it has its name; in the file and as a flag, the name without `MACP_` in lower case,
/// as `bind_addr` and `--bind-addr`.
#[derive(Debug)]
pub(crate) struct Setting {
    /// The name in the environment, which every message uses.
    pub(crate) name: &'static str,
    /// What is shown as the default; empty if there is none.
    pub(crate) default: &'static str,
    /// The heading under which it is documented.
    pub(crate) group: &'static str,
    /// What it means, in Markdown lines that begin with a space.
    doc: &'static [&'static str],
    /// Whether its value must never be shown, and so cannot be a flag, which every user of the machine can read.
    pub(crate) secret: bool,
}

impl Setting {
    /// The key in the file.
    pub(crate) fn key(&self) -> String {
        self.name.trim_start_matches("MACP_").to_ascii_lowercase()
    }

    /// The long flag, without its dashes.
    pub(crate) fn flag(&self) -> String {
        self.key().replace('_', "-")
    }

    /// What it means, in one paragraph of Markdown.
    pub(crate) fn doc(&self) -> String {
        self.doc.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
    }
}

/// The setting of a name, if there is one.
pub(crate) fn find(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name == name)
}

/// `group { /// Meaning. NAME = "default"; /// Meaning. secret NAME; ... }`
macro_rules! settings {
    ($($group:literal { $($(#[doc = $doc:literal])+ $($secret:ident)? : $name:ident $(= $default:literal)?;)+ })+) => {
        /// Every setting, in the order of the documentation.
        pub(crate) const SETTINGS: &[Setting] = &[
            $($(Setting {
                name: stringify!($name),
                default: settings!(@default $($default)?),
                group: $group,
                doc: &[$($doc),+],
                secret: settings!(@secret $($secret)?),
            },)+)+
        ];
    };
    (@default $default:literal) => { $default };
    (@default) => { "" };
    (@secret secret) => { true };
    (@secret) => { false };
}

settings! {
    "Listeners" {
        /// Address of the listener with the conventional gRPC port. Every listener answers gRPC, HTTP and WebSocket.
        : MACP_BIND_ADDR = "127.0.0.1:50051";
        /// Address of the listener with the conventional HTTP port.
        : MACP_HTTP_BIND_ADDR = "127.0.0.1:8080";
        /// Address of a listener for operators, with `/metrics` and the health probes and nothing else. Set, `/metrics` is
        /// not on the other listeners. It has no TLS and asks for no credential, and serves until the process ends.
        : MACP_ADMIN_BIND_ADDR;
        /// The reference server's name for `MACP_ADMIN_BIND_ADDR`, which wins over it.
        : MACP_METRICS_ADDR;
        /// Where clients reach the HTTP binding, if that is not the listener's address: an absolute URL without a
        /// trailing slash. Its path is a prefix under which every route is served, too; it is told in the manifest.
        : MACP_HTTP_PUBLIC_URL;
        /// Origins of browser pages that may call besides the gateway's own, separated by commas: scheme, host and
        /// port, exactly. `*` is refused.
        : MACP_HTTP_CORS_ORIGINS;
        /// `1` serves gRPC reflection, for `grpcurl` and the like.
        : MACP_GRPC_REFLECTION = "0";
        /// `1` allows plaintext, and, if nobody could authenticate otherwise, takes any bearer as its own sender.
        : MACP_ALLOW_INSECURE = "0";
        /// File with the server's certificate and those between it and its authority, in PEM. With it and its key both
        /// listeners serve TLS and nothing else. Changed files are read at once, and on SIGHUP
        /// ([security.md](security.md)).
        : MACP_TLS_CERT_PATH;
        /// File with the private key of that certificate, in PEM, without a passphrase.
        : MACP_TLS_KEY_PATH;
        /// File with the authorities whose certificates clients may show, in PEM; a certificate is a credential
        /// ([security.md](security.md)).
        : MACP_TLS_CLIENT_CA_PATH;
        /// `required` refuses clients without such a certificate; with `optional` they may have another credential.
        : MACP_TLS_CLIENT_AUTH = "required";
    }
    "Storage" {
        /// Directory of sessions, receipts, and registered modes and policies. One process at a time may have it open.
        : MACP_DATA_DIR = "macp-data";
        /// `1` keeps everything in memory; it is gone with the process.
        : MACP_MEMORY_ONLY = "0";
        /// Seconds after its end when a session is removed, with its receipt; `0` keeps all for ever. Until then it can
        /// be read like any other; afterwards its id is unknown.
        : MACP_SESSION_DISK_RETENTION_SECS = "0";
        /// Sessions leave memory when nobody has used them for a minute, and are read from the disk when they are
        /// needed again. With more than this many in memory a second is enough.
        : MACP_SESSIONS_IN_MEMORY = "100000";
        /// Only `file`, the reference server's default, which here means the embedded store; the others are refused.
        : MACP_STORAGE_BACKEND = "file";
    }
    "Who may call" {
        /// File of static tokens: a JSON array of objects with `token`, `sender` and what the token allows
        /// ([security.md](security.md)). Read again when it changes; what a token had opened that is gone ends.
        : MACP_AUTH_TOKENS_FILE;
        /// The same array as text. Wins over the file.
        secret : MACP_AUTH_TOKENS_JSON;
        /// The `iss` of the JWTs to accept ([security.md](security.md)). Needs one of the two next settings.
        : MACP_AUTH_ISSUER;
        /// Where the issuer publishes its keys, a JWK set. `https://`, or `http://` on this machine.
        : MACP_AUTH_JWKS_URL;
        /// The JWK set itself. Wins over the URL.
        secret : MACP_AUTH_JWKS_JSON;
        /// Seconds after which the keys are fetched again. They are used for up to an hour longer while that fails.
        : MACP_AUTH_JWKS_TTL_SECS = "300";
        /// What the `aud` of a JWT must name.
        : MACP_AUTH_AUDIENCE = "macp-runtime";
        /// Signature algorithms that a JWT may have, of `RS256`, `ES256` and `HS256`. With the last one, which uses a
        /// shared secret, whoever can verify can also sign.
        : MACP_AUTH_JWT_ALGS = "RS256,ES256";
        /// Whose sessions `ListSessions` and `WatchSessions` show: `own`, or `all` as the reference server does.
        : MACP_SESSION_VISIBILITY = "own";
    }
    "Policies" {
        /// Directory of policies (`*.json`) to register at the start, and again when a file changes. The registry is
        /// read-only then.
        : MACP_POLICIES_DIR;
        /// `1` checks that directory, prints what it finds and exits: 0 if every policy would be admitted, else 1.
        : MACP_POLICIES_DRY_RUN = "0";
    }
    "Roots and agents" {
        /// File of the resource roots that `ListRoots` answers: a JSON array of objects with `uri` and `name`. Read again
        /// when it changes, which `WatchRoots` tells.
        : MACP_ROOTS_FILE;
        /// Directory of agents' manifests (`*.json`), which `GetManifest` answers by `agent_id` beside the server's own.
        /// Read again when a file changes.
        : MACP_AGENT_MANIFESTS_DIR;
    }
    "Decision receipts" {
        /// The deployment's own name, the issuer of its receipts. Required with a signing key.
        : MACP_RUNTIME_ID = "macp-gateway";
        /// File with the Ed25519 private key that signs receipts: a JWK or PKCS#8 PEM.
        : MACP_RECEIPT_SIGNING_KEY_PATH;
        /// The same key as text. Give one of the two.
        secret : MACP_RECEIPT_SIGNING_KEY;
        /// Key id to sign under, if the key does not name one itself.
        : MACP_RECEIPT_SIGNING_KID;
        /// File with a JWK set of retired public keys, which are published beside the signing key's.
        : MACP_RECEIPT_PUBLIC_KEYS_PATH;
    }
    "Limits" {
        /// Largest payload of an envelope, in bytes.
        : MACP_MAX_PAYLOAD_BYTES = "1048576";
        /// Largest body of an HTTP request and largest WebSocket message, in bytes. The default is what a payload of
        /// the largest size needs in JSON; less is refused.
        : MACP_HTTP_MAX_BODY_BYTES = "1463638";
        /// Sessions that one sender may start in a minute.
        : MACP_SESSION_START_LIMIT_PER_MINUTE = "60";
        /// Messages that one sender may send in a minute.
        : MACP_MESSAGE_LIMIT_PER_MINUTE = "600";
        /// Payload bytes that one sender may send in a second, on average; a larger message passes alone.
        : MACP_BYTES_PER_SECOND_PER_SENDER = "67108864";
        /// Sessions that one sender may have open. A credential's `max_open_sessions` can only be less.
        : MACP_MAX_OPEN_SESSIONS_PER_SENDER = "100000";
        /// Subscriptions and watches that one sender may have open, on all transports and connections together.
        : MACP_MAX_STREAMS_PER_SENDER = "50000";
        /// Subscriptions and watches of one WebSocket.
        : MACP_WS_MAX_STREAMS = "1000";
        /// Page size of `ListSessions` when the request names none.
        : MACP_LIST_SESSIONS_DEFAULT_PAGE_SIZE = "100";
        /// Largest page size of `ListSessions`.
        : MACP_LIST_SESSIONS_MAX_PAGE_SIZE = "1000";
        /// Connections that one listener holds at a time, WebSockets aside. Beyond it those on which nothing is asked
        /// make room, the silent ones first; if all are busy, new ones are refused with 503.
        : MACP_HTTP_MAX_CONNECTIONS = "1024";
        /// WebSockets that are open at a time, on all listeners together; beyond it upgrades are refused with 503.
        : MACP_WS_MAX_CONNECTIONS = "20000";
        /// HTTP/2 streams on one connection.
        : MACP_MAX_CONCURRENT_STREAMS = "128";
        /// Seconds that a request may take until the head of its response. A stream is not bounded after its head.
        : MACP_REQUEST_TIMEOUT_SECS = "30";
        /// Seconds for each step before a request: the first bytes, the head, the credential of a WebSocket.
        : MACP_HANDSHAKE_TIMEOUT_SECS = "10";
        /// Seconds for the body of a request, or for a gRPC or WebSocket message that was begun.
        : MACP_BODY_TIMEOUT_SECS = "20";
        /// Seconds after which a client that takes nothing of what it is owed is cut off.
        : MACP_STALL_TIMEOUT_SECS = "30";
        /// Seconds after which a connection without a request is closed, pings or not. An open stream is a request.
        : MACP_IDLE_TIMEOUT_SECS = "300";
        /// Seconds between two pings to a WebSocket; one that is silent for twice as long is closed.
        : MACP_WS_HEARTBEAT_SECS = "25";
        /// Seconds without an event after which an event stream sends a comment, so that no proxy takes it for dead;
        /// `0` sends none.
        : MACP_HTTP_SSE_KEEPALIVE_SECS = "15";
    }
    "Peers" {
        /// Connections that one peer address may have, WebSockets among them. IPv6 addresses count by their /64.
        : MACP_MAX_CONNECTIONS_PER_PEER = "1000";
        /// New connections of one peer in a second.
        : MACP_NEW_CONNECTIONS_PER_SECOND_PER_PEER = "200";
        /// Bytes that are read from one peer in a second, on average; more wait in the network.
        : MACP_BYTES_PER_SECOND_PER_PEER = "67108864";
        /// Addresses and networks, separated by commas, that have none of these limits; `none` for nobody.
        : MACP_UNLIMITED_PEERS = "127.0.0.0/8,::1";
        /// Addresses and networks of proxies whose `X-Forwarded-For` or `Forwarded` says who the peer is. The limits then
        /// hold for that peer's requests and WebSockets. From everybody else these headers are ignored.
        : MACP_TRUSTED_PROXIES;
    }
    "Operation" {
        /// Seconds that a shutdown waits for what is in flight.
        : MACP_SHUTDOWN_DRAIN_SECS = "10";
        /// Where the audit log goes ([operations.md](operations.md#audit-log)): `off`, `stdout`, or a file, which is
        /// opened again on SIGHUP.
        : MACP_AUDIT_LOG = "off";
        /// Base address of an OpenTelemetry collector for traces, by OTLP over HTTP
        /// ([operations.md](operations.md#traces)): `http://127.0.0.1:4318`. Wins over `OTEL_EXPORTER_OTLP_ENDPOINT`.
        : MACP_OTLP_ENDPOINT;
        /// `text`, or `json` for one object a line. `RUST_LOG` filters, as `RUST_LOG=info,macp_engine=debug`.
        : MACP_LOG_FORMAT = "text";
    }
}

/// Variables of the reference server, or of its clients, that have no effect here, and why.
pub(crate) const WITHOUT_EFFECT: &[(&str, &str)] = &[
    ("MACP_ROCKSDB_PATH", "the gateway has one embedded store, in MACP_DATA_DIR"),
    ("MACP_REDIS_URL", "the gateway has one embedded store, in MACP_DATA_DIR"),
    (
        "MACP_SESSION_RETENTION_SECS",
        "ended sessions can be read whether they are in memory or not; see MACP_SESSIONS_IN_MEMORY",
    ),
    ("MACP_CHECKPOINT_INTERVAL", "each append keeps the session's summary up to date"),
    ("MACP_COMPACT_TERMINAL_LOGS", "logs of ended sessions are always kept whole"),
    (
        "MACP_STRICT_RECOVERY",
        "a damaged session is unavailable and the others serve; see `macp-gateway log verify`",
    ),
    ("MACP_CLEANUP_INTERVAL_SECS", "deadlines are kept by timers"),
    ("MACP_CONCURRENCY_LIMIT_PER_CONNECTION", "MACP_MAX_CONCURRENT_STREAMS bounds a connection"),
    ("MACP_AUDIT_LEVEL", "accepted messages are in the sessions' logs"),
    ("MACP_AUDIT_INFO_POLICIES", "accepted messages are in the sessions' logs"),
    ("MACP_AUDIT_INFO_MODES", "accepted messages are in the sessions' logs"),
    ("MACP_RUNTIME_ADDRESS", "it is read by clients"),
    ("MACP_RUNTIME_TOKEN", "it is read by clients"),
    ("MACP_RUNTIME_TLS", "it is read by clients"),
    ("MACP_RUNTIME_ALLOW_INSECURE", "it is read by clients"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_each_has_a_meaning() {
        for (number, setting) in SETTINGS.iter().enumerate() {
            assert!(setting.name.starts_with("MACP_"), "{}", setting.name);
            assert!(setting.doc().ends_with('.') && setting.doc().len() > 20, "{}", setting.name);
            assert!(!SETTINGS[..number].iter().any(|other| other.name == setting.name), "{}", setting.name);
            assert!(!WITHOUT_EFFECT.iter().any(|(name, _)| *name == setting.name), "{}", setting.name);
        }
    }
}
