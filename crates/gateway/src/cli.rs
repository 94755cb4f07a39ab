//! The command line: what each subcommand does, and how failures reach the operator.
#![allow(clippy::print_stderr, reason = "a command line talks through standard error")]

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{Config, ConfigErrors};
use crate::{app, demo, logging, policies};

/// MACP over gRPC, HTTP and WebSocket in one binary.
#[derive(Debug, Parser)]
#[command(name = "macp-gateway", version, about, disable_help_subcommand = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum Command {
    /// Serve, configured by MACP_* environment variables (the default).
    Serve,
    /// Serve on loopback with development identities and no configuration, and say what to try.
    Demo,
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
    let command = arguments.command.unwrap_or(Command::Serve);
    if std::env::var("MACP_POLICIES_DRY_RUN").as_deref() == Ok("1") {
        let directory = std::env::var_os("MACP_POLICIES_DIR")
            .ok_or_else(|| RunError::start("MACP_POLICIES_DRY_RUN=1", "MACP_POLICIES_DIR is not set"))?;
        return policies::dry_run(directory.as_ref())
            .map_err(|why| RunError::start("MACP_POLICIES_DIR", why));
    }
    let config = match command {
        Command::Serve => Config::from_env(&|name| std::env::var(name).ok())?,
        Command::Demo => demo::config(&|name| std::env::var(name).ok())?,
    };
    logging::init(command_default_level(command));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| RunError::start("the async runtime cannot start", error))?;
    runtime.block_on(app::run(config, matches!(command, Command::Demo)))
}

/// A demo is read by a person who wants to see the instructions, not every line of log.
fn command_default_level(command: Command) -> &'static str {
    match command {
        // The table engine speaks of its own housekeeping at `info`.
        Command::Serve => "info,fjall=warn,lsm_tree=warn",
        Command::Demo => "warn",
    }
}

/// Tells the operator why nothing runs.
pub(crate) fn complain(error: &RunError) {
    eprintln!("macp-gateway: {error}");
}
