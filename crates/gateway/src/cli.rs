//! The command line: what each subcommand does, and how failures reach the operator.
#![allow(clippy::print_stderr, reason = "a command line talks through standard error")]

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{Config, ConfigErrors};
use crate::{app, demo, log, logging, policies};

/// MACP over gRPC, HTTP and WebSocket in one binary.
#[derive(Debug, Parser)]
#[command(name = "macp-gateway", version, about, disable_help_subcommand = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// Serve, configured by MACP_* environment variables (the default).
    Serve,
    /// Serve on loopback with development identities and no configuration, and say what to try.
    Demo,
    /// Check, export or import the sessions in a data directory that no gateway has open.
    #[command(subcommand)]
    Log(log::Command),
}

/// Why the gateway did not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    /// Settings.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// The runtime, a listener or the store.
    #[error("{what}: {why}")]
    Start {
        /// What could not be done.
        what: String,
        /// The cause.
        why: String,
    },
}

impl RunError {
    pub(crate) fn start(what: impl Into<String>, why: impl std::fmt::Display) -> Self {
        Self::Start { what: what.into(), why: why.to_string() }
    }
}

/// Runs the subcommand to its end.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, RunError> {
    let is_demo = match &arguments.command {
        None | Some(Command::Serve) => false,
        Some(Command::Demo) => true,
        Some(Command::Log(command)) => {
            logging::init(LOG_LEVEL);
            return log::run(command);
        }
    };
    if std::env::var("MACP_POLICIES_DRY_RUN").as_deref() == Ok("1") {
        let directory = std::env::var_os("MACP_POLICIES_DIR")
            .ok_or_else(|| RunError::start("MACP_POLICIES_DRY_RUN=1", "MACP_POLICIES_DIR is not set"))?;
        return policies::dry_run(directory.as_ref())
            .map_err(|why| RunError::start("MACP_POLICIES_DIR", why));
    }
    let lookup = |name: &str| std::env::var(name).ok();
    let config = if is_demo { demo::config(&lookup)? } else { Config::from_env(&lookup)? };
    logging::init(if is_demo { DEMO_LEVEL } else { LOG_LEVEL });
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| RunError::start("the async runtime cannot start", error))?;
    runtime.block_on(app::run(config, is_demo))
}

/// The table engine speaks of its own housekeeping at `info`.
const LOG_LEVEL: &str = "info,fjall=warn,lsm_tree=warn";
/// A demo is read by a person who wants to see the instructions, not every line of log.
const DEMO_LEVEL: &str = "warn";

/// Tells the operator why nothing runs.
pub(crate) fn complain(error: &RunError) {
    eprintln!("macp-gateway: {error}");
}
