//! The command line: what each subcommand does, and how failures reach the operator.
#![allow(clippy::print_stderr, reason = "a command line talks through standard error")]

use std::io::Write as _;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::config::layers::{self, Layers};
use crate::config::{Config, ConfigErrors, DEFAULT_DATA_DIR, document};
use crate::logging::{LogFormat, Told};
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
    /// Serve, configured by flags, MACP_* variables and a file (the default).
    Serve,
    /// Serve on loopback with development identities and no configuration, and say what to try.
    Demo,
    /// Check, export or import the sessions in a data directory that no gateway has open.
    #[command(subcommand)]
    Log(log::Command),
    /// What is configured; starts nothing.
    #[command(subcommand)]
    Config(ConfigCommand),
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum ConfigCommand {
    /// Exit with 1 if `serve` would not start with these settings.
    Check,
    /// Show each setting, the value that holds and where it comes from; secrets are masked.
    Print,
    /// Print the reference of all settings (docs/configuration.md).
    Document,
}

/// Parses the command line, or answers `--help`, `--version` and mistakes, and ends the process.
pub(crate) fn parse() -> (Arguments, Result<Layers, ConfigErrors>) {
    let mut matches = layers::with_flags(Arguments::command()).get_matches();
    // A variable that is no Unicode is no setting.
    let environment =
        std::env::vars_os().filter_map(|(name, value)| name.into_string().ok().zip(value.into_string().ok()));
    let layers = Layers::gather(&matches, environment);
    match Arguments::from_arg_matches_mut(&mut matches) {
        Ok(arguments) => (arguments, layers),
        Err(error) => error.exit(),
    }
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
pub(crate) fn run(arguments: Arguments, layers: Result<Layers, ConfigErrors>) -> Result<ExitCode, RunError> {
    let command = arguments.command.unwrap_or(Command::Serve);
    if matches!(command, Command::Config(ConfigCommand::Document)) {
        return Ok(say(&document::page()));
    }
    let layers = layers?;
    let lookup = |name: &str| layers.value(name);
    if let Command::Log(command) = &command {
        logging::init(LOG_LEVEL, LogFormat::Text, Vec::new());
        let configured = lookup("MACP_DATA_DIR").unwrap_or_else(|| DEFAULT_DATA_DIR.to_owned());
        return log::run(command, configured.as_ref());
    }
    if lookup("MACP_POLICIES_DRY_RUN").as_deref() == Some("1") {
        let directory = lookup("MACP_POLICIES_DIR")
            .ok_or_else(|| RunError::start("MACP_POLICIES_DRY_RUN=1", "MACP_POLICIES_DIR is not set"))?;
        return policies::dry_run(directory.as_ref())
            .map_err(|why| RunError::start("MACP_POLICIES_DIR", why));
    }
    let is_demo = matches!(command, Command::Demo);
    let config = match command {
        Command::Config(ConfigCommand::Print) => return Ok(say(&layers.print())),
        Command::Demo => demo::config(&lookup)?,
        _ => Config::read(&lookup)?,
    };
    if matches!(command, Command::Config(_)) {
        layers.warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
        return Ok(say("the configuration is usable\n"));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| RunError::start("the async runtime cannot start", error))?;
    let told = {
        let _within = runtime.enter();
        Told::start(if is_demo { DEMO_LEVEL } else { LOG_LEVEL }, &config)?
    };
    layers.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    runtime.block_on(app::run(config, layers, is_demo, told))
}

/// Prints a result. A reader that has gone away, as of `| head`, is no fault.
fn say(text: &str) -> ExitCode {
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

/// The table engine speaks of its own housekeeping at `info`.
const LOG_LEVEL: &str = "info,fjall=warn,lsm_tree=warn";
/// A demo is read by a person who wants to see the instructions, not every line of log.
const DEMO_LEVEL: &str = "warn";

/// Tells the operator why nothing runs.
pub(crate) fn complain(error: &RunError) {
    eprintln!("macp-gateway: {error}");
}
