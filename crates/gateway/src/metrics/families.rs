//! The families: names, labels and meaning. docs/operations.md has the same list; a test compares.

use macp_engine::counters::{
    Counters, EnvelopeCounters, EnvelopeOutcome, ModeCounters, OTHER, StreamKind, Transition, Transport,
};
use macp_kernel::RefusalCode;
use prometheus::core::Collector as _;
use prometheus::proto::MetricFamily;
use prometheus::{Encoder as _, TextEncoder};

use super::Sources;
use super::text::{Family, MILLIS, NANOS, counted, float, level};

/// The transports that clients use.
const OUTSIDE: &[Transport] = &[Transport::Grpc, Transport::Http, Transport::WebSocket];

/// Everything, as text.
pub(super) fn render(sources: &Sources) -> Result<String, String> {
    let mut families = Vec::new();
    let counters = sources.engine.counters();
    envelopes(counters, &mut families);
    sessions(sources, &mut families);
    streams(sources, &mut families);
    sockets(sources, &mut families);
    store(sources, &mut families);
    runtime(sources, &mut families);
    by_mode(counters, &mut families);
    let families: Vec<MetricFamily> =
        families.into_iter().filter_map(Family::made).chain(sources.process.collect()).collect();
    let mut text = Vec::new();
    TextEncoder::new().encode(&families, &mut text).map_err(|error| error.to_string())?;
    String::from_utf8(text).map_err(|error| error.to_string())
}

/// Envelopes by mode, type and outcome: the reference's two families.
fn envelopes(counters: &Counters, families: &mut Vec<Family>) {
    let mut processed = Family::counter(
        "macp_envelope_processed_total",
        "Envelopes that were received, by mode, message type and what became of them.",
    );
    let mut durations = Family::histogram(
        "macp_envelope_process_duration_seconds",
        "Time from the receipt of an envelope to its acceptance in the store, or its refusal.",
    );
    for mode in counters.modes() {
        for envelope in mode.envelopes() {
            for outcome in EnvelopeOutcome::ALL {
                let histogram = envelope.processing(*outcome);
                let count = histogram.observed().count;
                if count == 0 {
                    continue;
                }
                let mut labels = vec![
                    ("macp_message_type", envelope.message_type().unwrap_or(OTHER)),
                    ("macp_envelope_outcome", outcome.name()),
                ];
                if let Some(name) = mode.name() {
                    labels.insert(0, ("macp_mode_id", name));
                }
                processed.add(&labels, float(count));
                durations.observe(&labels, histogram, NANOS);
            }
        }
    }
    families.extend([processed, durations]);

    let mut refusals = Family::counter(
        "macp_refusals_total",
        "Refusals of requests and of envelopes, by transport and code of the protocol's registry.",
    );
    for transport in OUTSIDE {
        for code in RefusalCode::ALL {
            let labels = [("transport", transport.name()), ("macp_error_code", code.name())];
            refusals.add(&labels, counted(counters.refusals(*transport, *code)));
        }
    }
    let limited = Family::counter(
        "macp_rate_limited_total",
        "Envelopes beyond what a sender may send in a minute, by the limit that was reached.",
    )
    .value(&[("limit", "session_starts")], counted(&counters.limited_starts))
    .value(&[("limit", "messages")], counted(&counters.limited_messages));
    families.extend([refusals, limited]);
}

fn sessions(sources: &Sources, families: &mut Vec<Family>) {
    let counters = sources.engine.counters();
    let mut transitions = Family::counter(
        "macp_session_transitions_total",
        "Changes of sessions' lifecycles, by mode and kind.",
    );
    let mut durations = Family::histogram(
        "macp_session_duration_seconds",
        "Time from a session's start to its end, by mode and terminal state.",
    );
    for mode in counters.modes() {
        let Some(name) = mode.name() else { continue };
        for transition in Transition::ALL {
            let counter = mode.transitions(*transition);
            if counter.get() > 0 {
                let labels = [("macp_mode_id", name), ("macp_operation_name", transition.name())];
                transitions.add(&labels, counted(counter));
            }
            let state = match transition {
                Transition::Resolve => "SESSION_STATE_RESOLVED",
                Transition::Expire => "SESSION_STATE_EXPIRED",
                Transition::Cancel => "SESSION_STATE_CANCELLED",
                Transition::Suspend | Transition::Resume => continue,
            };
            if let Some(lifetimes) = mode.lifetimes(*transition).filter(|all| all.observed().count > 0) {
                let labels = [("macp_mode_id", name), ("macp_session_state", state)];
                durations.observe(&labels, lifetimes, MILLIS);
            }
        }
    }
    let living = Family::gauge("macp_sessions", "Sessions that are not over, by state.")
        .value(&[("macp_session_state", "SESSION_STATE_OPEN")], level(&counters.open))
        .value(&[("macp_session_state", "SESSION_STATE_SUSPENDED")], level(&counters.suspended));
    let in_memory = Family::gauge("macp_sessions_in_memory", "Sessions that are held in memory.")
        .value(&[], float(sources.engine.sessions_in_memory() as u64));
    let mailbox = Family::gauge(
        "macp_mailbox_commands",
        "Commands that wait in the mailboxes of sessions, all sessions together.",
    )
    .value(&[], level(&counters.mailbox));
    let mut batches = Family::histogram(
        "macp_session_batch_commands",
        "Commands of one session that were decided and stored together.",
    );
    batches.observe(&[], &counters.batches, 1.0);
    let receipts = Family::counter(
        "macp_receipts_issued_total",
        "Decision receipts that were issued for the first time.",
    )
    .value(&[("signed", "true")], counted(&counters.receipts_signed))
    .value(&[("signed", "false")], counted(&counters.receipts_unsigned));
    let failures = Family::counter(
        "macp_receipt_issue_failures_total",
        "Decision receipts that a fault of the server prevented.",
    )
    .value(&[], counted(&counters.receipt_failures));
    let mismatches = Family::counter(
        "macp_replay_mismatches_total",
        "Times that a session's stored history was not accepted by the rules; the session is not served.",
    )
    .value(&[], counted(&counters.replay_mismatches));
    families.extend([
        transitions,
        durations,
        living,
        in_memory,
        mailbox,
        batches,
        receipts,
        failures,
        mismatches,
    ]);
}

fn streams(sources: &Sources, families: &mut Vec<Family>) {
    let counters = sources.engine.counters();
    let mut open = Family::gauge(
        "macp_streams",
        "Subscriptions to sessions and watches that are open, by transport and what they follow.",
    );
    let mut resumes = Family::counter(
        "macp_subscription_resumes_total",
        "Subscriptions that went on behind an envelope that their client had seen.",
    );
    let mut delivered = Family::counter(
        "macp_envelopes_delivered_total",
        "Envelopes that were delivered to subscribers, replay included.",
    );
    for transport in OUTSIDE {
        let labels = [("transport", transport.name())];
        for kind in StreamKind::ALL {
            let labels = [("transport", transport.name()), ("kind", kind.name())];
            open.add(&labels, level(counters.streams(*transport, *kind)));
        }
        resumes.add(&labels, counted(counters.resumes(*transport)));
        delivered.add(&labels, counted(counters.delivered(*transport)));
    }
    let lagged = Family::counter(
        "macp_watches_lagged_total",
        "Watches that were ended because their client was too slow (STREAM_LAGGED).",
    )
    .value(&[], counted(&counters.lagged));
    families.extend([open, resumes, delivered, lagged]);
}

fn sockets(sources: &Sources, families: &mut Vec<Family>) {
    let by_version = &sources.connections.0;
    let websockets = &sources.sockets;
    let open = Family::gauge("macp_connections", "Connections that are open, by protocol.")
        .value(&[("protocol", "http1")], level(&by_version.one.open))
        .value(&[("protocol", "http2")], level(&by_version.two.open))
        .value(&[("protocol", "websocket")], float(websockets.len() as u64));
    let all = Family::counter("macp_connections_total", "Connections that were opened, by protocol.")
        .value(&[("protocol", "http1")], counted(&by_version.one.all))
        .value(&[("protocol", "http2")], counted(&by_version.two.all))
        .value(&[("protocol", "websocket")], float(websockets.opened()));
    let mut closes = Family::counter(
        "macp_websocket_closes_total",
        "WebSockets that were closed, by close code and by who closed; 1005 is no code, 1006 no close frame.",
    );
    for close in websockets.closes() {
        let code = close.code.map_or_else(|| "other".to_owned(), |code| code.to_string());
        for (by, count) in [("server", close.by_server), ("client", close.by_client)] {
            if count > 0 {
                closes.add(&[("code", &code), ("by", by)], float(count));
            }
        }
    }
    let refused = Family::counter(
        "macp_connections_refused_total",
        "Connections that the limits of a listener, or of their peer's address, did not let in.",
    )
    .value(&[], counted(&by_version.refused));
    families.extend([open, all, refused, closes]);
}

fn store(sources: &Sources, families: &mut Vec<Family>) {
    let healthy = sources.engine.is_ready();
    families.push(
        Family::gauge("macp_ready", "1 while the server is ready, as /readyz says it; else 0.")
            .value(&[], if healthy { 1.0 } else { 0.0 }),
    );
    let Some(store) = &sources.store else { return };
    let (stats, memory) = (store.stats(), store.memory());
    let mut records = Family::histogram(
        "macp_store_commit_records",
        "Records that the store made durable with one data sync.",
    );
    records.observe(&[], &store.commits().records, 1.0);
    let mut time =
        Family::histogram("macp_store_commit_seconds", "Time that a commit took with its data sync.");
    time.observe(&[], &store.commits().time, NANOS);
    families.extend([
        records,
        time,
        Family::counter("macp_store_bytes_total", "Bytes of keys and values that were committed.")
            .value(&[], float(stats.bytes)),
        Family::counter("macp_store_failures_total", "Commits that failed.")
            .value(&[], float(stats.failures)),
        Family::gauge("macp_store_cache_bytes", "Memory with blocks of tables that were read lately.")
            .value(&[], float(memory.cache)),
        Family::gauge(
            "macp_store_unflushed_bytes",
            "Memory with what was committed and is not in a table yet.",
        )
        .value(&[], float(memory.unflushed)),
        Family::gauge("macp_store_queue_jobs", "Appends that wait for the store's writer.")
            .value(&[], float(store.queued() as u64)),
    ]);
}

fn runtime(sources: &Sources, families: &mut Vec<Family>) {
    let metrics = sources.runtime.metrics();
    families.extend([
        Family::gauge("macp_build_info", "1, with the version of the gateway.")
            .value(&[("version", env!("CARGO_PKG_VERSION"))], 1.0),
        Family::gauge("macp_tokio_alive_tasks", "Tasks of the asynchronous runtime that are not over.")
            .value(&[], float(metrics.num_alive_tasks() as u64)),
        Family::gauge("macp_tokio_workers", "Threads that run these tasks.")
            .value(&[], float(metrics.num_workers() as u64)),
        Family::counter(
            "macp_audit_dropped_total",
            "Lines of the audit log that could not be written as fast as they came.",
        )
        .value(&[], float(sources.audit.as_ref().map_or(0, |audit| audit.dropped()))),
        Family::counter(
            "macp_audit_suppressed_total",
            "Refusals that the audit log has counted and not written, beyond its rates.",
        )
        .value(&[], float(sources.audit.as_ref().map_or(0, |audit| audit.suppressed()))),
    ]);
}

/// The reference's older families by mode, which it keeps for dashboards that were made for them.
fn by_mode(counters: &Counters, families: &mut Vec<Family>) {
    type Count = fn(&ModeCounters) -> u64;
    let rows: &[(&str, Count)] = &[
        ("macp_sessions_started_total", |mode| envelopes_of(mode, Some("SessionStart"), false)),
        ("macp_sessions_resolved_total", |mode| mode.transitions(Transition::Resolve).get()),
        ("macp_sessions_expired_total", |mode| mode.transitions(Transition::Expire).get()),
        ("macp_sessions_cancelled_total", |mode| mode.transitions(Transition::Cancel).get()),
        ("macp_sessions_suspended_total", |mode| mode.transitions(Transition::Suspend).get()),
        ("macp_sessions_resumed_total", |mode| mode.transitions(Transition::Resume).get()),
        ("macp_messages_accepted_total", |mode| envelopes_of(mode, None, false)),
        ("macp_messages_rejected_total", |mode| envelopes_of(mode, None, true)),
        ("macp_commitments_accepted_total", |mode| envelopes_of(mode, Some("Commitment"), false)),
        ("macp_commitments_rejected_total", |mode| envelopes_of(mode, Some("Commitment"), true)),
    ];
    for (name, count) in rows {
        let mut family = Family::counter(
            name,
            "Deprecated, as with the reference server: see macp_envelope_processed_total and \
             macp_session_transitions_total.",
        );
        for mode in counters.modes() {
            if let (Some(label), count @ 1..) = (mode.name(), count(mode)) {
                family.add(&[("mode", label)], float(count));
            }
        }
        families.push(family);
    }
}

fn envelopes_of(mode: &ModeCounters, message_type: Option<&str>, rejected: bool) -> u64 {
    let outcome = if rejected { EnvelopeOutcome::Rejected } else { EnvelopeOutcome::Accepted };
    let of_type = |row: &&EnvelopeCounters| message_type.is_none() || row.message_type() == message_type;
    mode.envelopes().filter(of_type).map(|row| row.processing(outcome).observed().count).sum()
}
