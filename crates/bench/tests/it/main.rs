//! The program itself, against real servers on free ports: what it reports, and that it notices what is wrong.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod server;

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use server::{Gateway, Spawned};

const TRANSPORTS: [&str; 4] = ["grpc", "http", "ws", "ws-json"];

fn bench(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_macp-bench")).args(arguments).output().unwrap()
}

/// Runs a workload that must succeed; its report.
fn report(workload: &str, target: &str, transport: &str, more: &[&str]) -> Value {
    let mut arguments = vec![workload, "--target", target, "--transport", transport, "--json", "-"];
    arguments.extend(more);
    let output = bench(&arguments);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{arguments:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(&text).unwrap()
}

const BRIEF: [&str; 4] = ["--duration", "0.3", "--warmup", "0.05"];

#[test]
fn sends_on_every_transport() {
    let gateway = Gateway::start();
    for transport in TRANSPORTS {
        let more = [&BRIEF[..], &["--sessions", "5", "--in-flight", "8", "--connections", "2"]].concat();
        let report = report("send", gateway.address(), transport, &more);
        assert!(report["operations"].as_u64().unwrap() > 10, "{report}");
        assert!(report["latency_us"]["p50"].as_f64().unwrap() > 0.0, "{report}");
        assert_eq!(report["settings"]["transport"], transport);
        assert_eq!(report["faults"], serde_json::json!({}));
    }
}

#[test]
fn a_fixed_rate_is_kept() {
    let gateway = Gateway::start();
    let more = ["--duration", "1", "--warmup", "0.1", "--rate", "200", "--in-flight", "16"];
    let report = report("send", gateway.address(), "grpc", &more);
    let rate = report["rate"].as_f64().unwrap();
    assert!((150.0..=210.0).contains(&rate), "{report}");
    assert!(report["not_begun"].is_u64());
}

#[test]
fn whole_sessions_on_every_transport() {
    let gateway = Gateway::start();
    for transport in TRANSPORTS {
        let more = [&BRIEF[..], &["--in-flight", "4"]].concat();
        let report = report("lifecycle", gateway.address(), transport, &more);
        let sessions = report["operations"].as_u64().unwrap();
        assert!(sessions > 0, "{report}");
        assert_eq!(report["envelopes"].as_u64().unwrap(), sessions * 6);
    }
}

#[test]
fn fan_out_is_complete_on_every_transport() {
    let gateway = Gateway::start();
    for transport in TRANSPORTS {
        for rate in [&[][..], &["--rate", "100"]] {
            let more = [&BRIEF[..], &["--subscribers", "10"], rate].concat();
            let report = report("fanout", gateway.address(), transport, &more);
            assert!(report["operations"].as_u64().unwrap() > 0, "{report}");
            assert!(report["messages"].as_u64().unwrap() > 0, "{report}");
        }
    }
}

#[test]
fn what_is_held_still_works() {
    let gateway = Gateway::start();
    let pid = std::process::id().to_string();
    for transport in TRANSPORTS {
        for hold in ["subscriptions", "sessions"] {
            let more = ["--hold", hold, "--count", "60", "--seconds", "0.1", "--server-pid", &pid];
            let report = report("idle", gateway.address(), transport, &more);
            assert_eq!(report["operations"], 60, "{report}");
            assert_eq!(report["wake_us"]["count"], 60, "{report}");
            assert!(
                report["server_bytes_each"].is_u64() && report["server"]["rss_after"].as_u64().unwrap() > 0
            );
        }
    }
}

#[test]
fn storms_and_replays_bring_everything() {
    let gateway = Gateway::start();
    for transport in TRANSPORTS {
        let storm = ["--subscribers", "20", "--rounds", "3", "--missed", "7"];
        let storms = report("resume", gateway.address(), transport, &storm);
        assert_eq!(storms["operations"], 60, "{storms}");
        assert_eq!(storms["deliveries"], 20 * 3 * 7, "{storms}");

        let more = [&BRIEF[..], &["--history", "30", "--readers", "2"]].concat();
        let replays = report("replay", gateway.address(), transport, &more);
        let count = replays["operations"].as_u64().unwrap();
        assert!(count > 0, "{replays}");
        assert_eq!(replays["envelopes"].as_u64().unwrap(), count * 32);
    }
}

#[test]
fn bare_servers_take_the_same_workloads() {
    for (kind, transport) in [("grpc", "grpc"), ("http", "http"), ("ws", "ws")] {
        let bare = Spawned::ceiling(kind);
        let more = [&BRIEF[..], &["--in-flight", "8", "--sessions", "2"]].concat();
        let sends = report("send", bare.address(), transport, &more);
        assert!(sends["operations"].as_u64().unwrap() > 10, "{sends}");
        let more = [&BRIEF[..], &["--subscribers", "5"]].concat();
        let fanout = report("fanout", bare.address(), transport, &more);
        assert!(fanout["operations"].as_u64().unwrap() > 0, "{fanout}");
    }
}

/// Refusals make the run fail, and are counted by their code.
#[test]
fn refusals_are_faults() {
    let gateway = Gateway::with_message_limit(20);
    for transport in TRANSPORTS {
        let mut arguments =
            vec!["send", "--target", gateway.address(), "--transport", transport, "--json", "-"];
        // Of senders of its own, so that one transport does not use up the limit of the next.
        let (one, two) =
            (format!("agent://{transport}-1=agent://{transport}-1"), "agent://nobody=agent://nobody");
        arguments.extend(["--token", &one, "--token", two, "--sessions", "1", "--in-flight", "2"]);
        arguments.extend(BRIEF);
        let output = bench(&arguments);
        assert_eq!(output.status.code(), Some(1), "{transport}");
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(report["faults"]["RATE_LIMITED"]["count"].as_u64().unwrap() > 0, "{report}");
        assert!(report["faults"]["RATE_LIMITED"]["first"].as_str().unwrap().len() > 5, "{report}");
    }
}

#[test]
fn a_run_that_cannot_begin_says_why() {
    let gateway = Gateway::start();
    let output = bench(&["send", "--target", "127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("127.0.0.1:1 cannot be reached"));

    let output = bench(&["lifecycle", "--target", gateway.address(), "--senders", "1"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("at least two senders"));

    let output = bench(&["fanout", "--subscribers"]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn the_report_goes_to_a_file_as_well() {
    let gateway = Gateway::start();
    let file = std::env::temp_dir().join(format!("macp-bench-report-{}.json", std::process::id()));
    let path = file.to_str().unwrap();
    let arguments = [&["send", "--target", gateway.address(), "--json", path][..], &BRIEF].concat();
    let output = bench(&arguments);
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("send: "));
    let report: Value = serde_json::from_slice(&std::fs::read(Path::new(path)).unwrap()).unwrap();
    assert_eq!(report["workload"], "send");
    std::fs::remove_file(file).unwrap();
}
