//! The command line, and what keeps the gateway from starting.

use std::net::TcpListener;

use serde_json::json;
use tempfile::TempDir;

use crate::fakes::{Agent, Grpc, Session, accepted};
use crate::process::{Gateway, Settings, run};

const INSECURE: (&str, &str) = ("MACP_ALLOW_INSECURE", "1");
const MEMORY: (&str, &str) = ("MACP_MEMORY_ONLY", "1");
const TOKENS: (&str, &str) = ("MACP_AUTH_TOKENS_JSON", r#"[{"token": "t", "sender": "agent://a"}]"#);

/// Nothing starts: exit code 1, nothing on standard output, and a text that names what is at fault.
async fn refuses(arguments: &[&str], settings: Settings<'_>, names: &[&str]) {
    let ended = run(arguments, settings).await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{settings:?}: {}", ended.stderr);
    assert!(ended.stderr.starts_with("macp-gateway: "), "{settings:?}: {}", ended.stderr);
    for name in names {
        assert!(ended.stderr.contains(name), "{settings:?}: {name} is not in {}", ended.stderr);
    }
}

#[tokio::test]
async fn settings_that_cannot_be_meant_are_refused_by_name() {
    let rows: [(Settings<'_>, &[&str]); 21] = [
        (&[], &["MACP_ALLOW_INSECURE", "MACP_AUTH_TOKENS_FILE"]),
        (&[MEMORY, TOKENS], &["MACP_ALLOW_INSECURE", "plaintext"]),
        (&[MEMORY, ("MACP_ALLOW_INSECURE", "yes")], &["MACP_ALLOW_INSECURE", "nobody can authenticate"]),
        (&[MEMORY, INSECURE, ("MACP_BIND_ADDR", "nowhere")], &["MACP_BIND_ADDR", "nowhere"]),
        (&[MEMORY, INSECURE, ("MACP_HTTP_BIND_ADDR", "127.0.0.1")], &["MACP_HTTP_BIND_ADDR"]),
        (&[MEMORY, INSECURE, ("MACP_BIND_ADDR", "localhost:1")], &["MACP_BIND_ADDR"]),
        // An address of nobody's machine (RFC 5737).
        (&[MEMORY, INSECURE, ("MACP_BIND_ADDR", "192.0.2.1:1")], &["MACP_BIND_ADDR", "192.0.2.1:1"]),
        (
            &[MEMORY, INSECURE, ("MACP_BIND_ADDR", "[::1]:9"), ("MACP_HTTP_BIND_ADDR", "[::1]:9")],
            &["MACP_BIND_ADDR", "MACP_HTTP_BIND_ADDR"],
        ),
        (
            &[MEMORY, INSECURE, ("MACP_TLS_CERT_PATH", "cert.pem")],
            &["MACP_TLS_CERT_PATH", "MACP_TLS_KEY_PATH"],
        ),
        (&[MEMORY, TOKENS, ("MACP_TLS_KEY_PATH", "key.pem")], &["MACP_TLS_KEY_PATH", "MACP_TLS_CERT_PATH"]),
        (
            &[
                MEMORY,
                TOKENS,
                ("MACP_TLS_CERT_PATH", "/nonexistent/c"),
                ("MACP_TLS_KEY_PATH", "/nonexistent/k"),
            ],
            &["MACP_TLS_CERT_PATH=\"/nonexistent/c\"", "MACP_TLS_KEY_PATH=\"/nonexistent/k\""],
        ),
        (
            &[MEMORY, INSECURE, ("MACP_TLS_CLIENT_CA_PATH", "ca.pem")],
            &["MACP_TLS_CLIENT_CA_PATH", "MACP_TLS_CERT_PATH", "MACP_TLS_KEY_PATH"],
        ),
        (
            &[MEMORY, INSECURE, ("MACP_TLS_CLIENT_AUTH", "required")],
            &["MACP_TLS_CLIENT_AUTH", "MACP_TLS_CLIENT_CA_PATH"],
        ),
        (&[MEMORY, INSECURE, ("MACP_TLS_CLIENT_AUTH", "yes")], &["MACP_TLS_CLIENT_AUTH", "optional"]),
        (
            &[MEMORY, TOKENS, ("MACP_BIND_ADDR", "0.0.0.0:0")],
            &["MACP_TLS_CERT_PATH", "MACP_TLS_KEY_PATH", "MACP_ALLOW_INSECURE"],
        ),
        (&[MEMORY, INSECURE, ("MACP_AUTH_ISSUER", "https://issuer")], &["MACP_AUTH_ISSUER"]),
        (&[MEMORY, INSECURE, ("MACP_AUTH_TOKENS_JSON", "{")], &["MACP_AUTH_TOKENS_JSON"]),
        (&[MEMORY, INSECURE, ("MACP_AUTH_TOKENS_FILE", "/nonexistent")], &["MACP_AUTH_TOKENS_FILE"]),
        (&[MEMORY, INSECURE, ("MACP_MAX_PAYLOAD_BYTES", "0")], &["MACP_MAX_PAYLOAD_BYTES"]),
        (&[MEMORY, INSECURE, ("MACP_HTTP_PUBLIC_URL", "/macp")], &["MACP_HTTP_PUBLIC_URL"]),
        (&[MEMORY, INSECURE, ("MACP_HTTP_CORS_ORIGINS", "*")], &["MACP_HTTP_CORS_ORIGINS"]),
    ];
    for (settings, names) in rows {
        refuses(&[], settings, names).await;
        refuses(&["serve"], settings, names).await;
    }
}

#[tokio::test]
async fn every_mistake_is_reported_at_once() {
    let settings = [MEMORY, ("MACP_BIND_ADDR", "x"), ("MACP_HTTP_PUBLIC_URL", "x")];
    let names = ["MACP_BIND_ADDR", "MACP_HTTP_PUBLIC_URL", "MACP_ALLOW_INSECURE", "MACP_AUTH_TOKENS_FILE"];
    refuses(&[], &settings, &names).await;
}

#[tokio::test]
async fn a_port_in_use_is_refused_by_name() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for name in ["MACP_BIND_ADDR", "MACP_HTTP_BIND_ADDR"] {
        refuses(&[], &[MEMORY, INSECURE, (name, &address)], &[name, &address, "in use"]).await;
        refuses(&["demo"], &[(name, &address)], &[name, &address, "in use"]).await;
    }
}

#[tokio::test]
async fn the_demo_listens_on_loopback_only() {
    for name in ["MACP_BIND_ADDR", "MACP_HTTP_BIND_ADDR"] {
        refuses(&["demo"], &[(name, "0.0.0.0:0")], &["loopback"]).await;
        refuses(&["demo"], &[(name, "[::]:0")], &["loopback"]).await;
    }
}

#[tokio::test]
async fn the_demo_needs_no_setting_and_heeds_only_where_it_listens_and_keeps_sessions() {
    let unusable = [
        ("MACP_ALLOW_INSECURE", "0"),
        ("MACP_AUTH_TOKENS_JSON", "{"),
        ("MACP_AUTH_ISSUER", "https://issuer"),
        ("MACP_TLS_CERT_PATH", "cert.pem"),
        ("MACP_MAX_PAYLOAD_BYTES", "0"),
        ("MACP_HTTP_PUBLIC_URL", "x"),
        ("MACP_HTTP_CORS_ORIGINS", "*"),
    ];
    let directory = TempDir::new().unwrap();
    let kept = [("MACP_DATA_DIR", directory.path().to_str().unwrap())];
    for settings in [&[MEMORY][..], &[&kept[..], &unusable].concat()] {
        let gateway = Gateway::demo(settings).await;
        assert!(gateway.ports().iter().all(|port| port.ip().is_loopback()));
        assert_ne!(gateway.grpc, gateway.http);
        for port in gateway.ports() {
            accepted(&mut Grpc::agent(port, "agent://a"), &Session::new().start(&["agent://b"])).await;
        }
        assert!(gateway.output().contains("curl"), "something to paste");
        gateway.stop().await;
    }
}

/// `serve` and `demo` alike keep sessions on disk unless they are told otherwise, and say where.
#[tokio::test]
async fn sessions_are_kept_in_macp_data_by_default() {
    let here = TempDir::new().unwrap();
    let in_words = here.path().join("macp-data").to_str().unwrap().to_owned();
    let session = Session::new();
    let demo = Gateway::demo_in(here.path(), &[]).await;
    accepted(&mut Grpc::agent(demo.grpc, "agent://a"), &session.start(&["agent://b"])).await;
    assert!(demo.output().contains(&in_words), "{}", demo.output());
    // The directory has one owner at a time.
    refuses(&["demo"], &[("MACP_DATA_DIR", &in_words)], &["MACP_DATA_DIR", &in_words, "in use", "pid"]).await;
    demo.stop().await;
    let demo = Gateway::demo_in(here.path(), &[]).await;
    let found =
        Grpc::agent(demo.grpc, "agent://b").call("GetSession", &json!({ "session_id": session.id })).await;
    assert!(found.is_ok(), "{found:?}");
    demo.stop().await;
    let serve = Gateway::serve_in(here.path(), &[INSECURE]).await;
    let found =
        Grpc::agent(serve.grpc, "agent://b").call("GetSession", &json!({ "session_id": session.id })).await;
    assert!(found.is_ok(), "{found:?}");
    serve.stop().await;

    let elsewhere = TempDir::new().unwrap();
    let demo = Gateway::demo_in(elsewhere.path(), &[MEMORY]).await;
    assert!(demo.output().contains("in memory"), "{}", demo.output());
    demo.stop().await;
    assert_eq!(elsewhere.path().read_dir().unwrap().count(), 0);
}

#[tokio::test]
async fn help_and_version_need_no_settings() {
    let help = run(&["--help"], &[]).await;
    assert_eq!((help.code, help.stderr.as_str()), (Some(0), ""));
    for part in ["macp-gateway", "serve", "demo", "log", "--help", "--version"] {
        assert!(help.stdout.contains(part), "{part}: {}", help.stdout);
    }
    let version = run(&["--version"], &[]).await;
    assert_eq!(version.code, Some(0));
    assert_eq!(version.stdout, format!("macp-gateway {}\n", env!("CARGO_PKG_VERSION")));
    for arguments in [&["--nonsense"][..], &["dance"], &["serve", "dance"]] {
        let ended = run(arguments, &[]).await;
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(ended.stderr.contains("--help"), "{arguments:?}: {}", ended.stderr);
    }
}
