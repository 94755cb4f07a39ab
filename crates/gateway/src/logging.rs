//! Logs by `tracing` on standard error, as text or JSON, filtered by `RUST_LOG`; beside them traces and the audit log.

use std::io::IsTerminal as _;
use std::sync::Arc;

use macp_engine::observe;
use tracing_subscriber::filter::{FilterExt as _, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

use crate::audit::Audit;
use crate::cli::RunError;
use crate::config::Config;
use crate::traces::Traces;

/// How a line of log is written (`MACP_LOG_FORMAT`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for collectors.
    Json,
}

/// Where traces and the audit log go, if they are on.
pub(crate) struct Told {
    pub(crate) audit: Option<Arc<Audit>>,
    pub(crate) traces: Option<Traces>,
}

impl Told {
    /// Starts all three. Must be called within the runtime.
    pub(crate) fn start(default_level: &str, config: &Config) -> Result<Self, RunError> {
        let audit = Audit::open(&config.audit_log)?;
        let (traces, fault) = match Traces::start(config.otlp.as_deref()) {
            Ok(traces) => (traces, None),
            Err(fault) => (None, Some(fault)),
        };
        let beside = audit.iter().map(Audit::layer).chain(traces.iter().map(Traces::layer));
        init(default_level, config.log_format, beside.collect());
        if let Some(why) = fault {
            tracing::error!(why, "no traces are sent");
        }
        Ok(Self { audit, traces })
    }

    /// Writes and sends what waits, for some seconds at most.
    pub(crate) async fn finish(self) {
        if let Some(traces) = self.traces {
            traces.finish().await;
        }
        if let Some(audit) = self.audit {
            // The last thing that a process does: nobody waits for this thread.
            audit.close();
        }
    }
}

/// Starts logging, and what else there is. `default_level` holds unless `RUST_LOG` says otherwise.
pub(crate) fn init(
    default_level: &str,
    format: LogFormat,
    beside: Vec<Box<dyn Layer<Registry> + Send + Sync>>,
) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default_level));
    // The audit log and traces have places of their own.
    let filter = filter.and(filter_fn(|of| ![observe::AUDIT, observe::SPAN].contains(&of.target())));
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = match format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).with_filter(filter).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_filter(filter).boxed(),
    };
    let all: Vec<_> = beside.into_iter().chain([lines]).collect();
    tracing_subscriber::registry().with(all).init();
}
