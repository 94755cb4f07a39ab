//! `macp-gateway log`: what an operator does with stored sessions while no gateway has them open.

mod export;
mod import;
mod lines;
mod verify;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Subcommand;
use macp_store::EmbeddedStore;
use macp_store::embedded::{Options, is_store};

use crate::cli::RunError;

/// What to do with the log in the data directory (`--data-dir`, `MACP_DATA_DIR`).
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    /// Check everything stored: checksums, hash chains, and that replaying each session gives its stored state.
    ///
    /// Exits with 0 if nothing is wrong and with 1 otherwise. The gateway must not run on the directory.
    Verify {
        /// The data directory, if not the configured one
        dir: Option<PathBuf>,
        /// Also print each session's id, number of records and last link, to be kept elsewhere
        #[arg(long)]
        links: bool,
    },
    /// Write sessions as canonical JSON lines, one entry a line, to standard output.
    Export {
        /// Ids of the sessions
        #[arg(required_unless_present = "all", value_name = "SESSION")]
        sessions: Vec<String>,
        /// Every session, in order of id
        #[arg(long, conflicts_with = "sessions")]
        all: bool,
    },
    /// Read exported sessions and store them: replayed first, byte for byte the same after.
    ///
    /// A session that is there already with the same history is left alone, one that is shorter is continued, and one
    /// that differs is refused. So an interrupted import is simply run again. A data directory that is not there is
    /// created.
    Import {
        /// Files to read; standard input if none is named
        files: Vec<PathBuf>,
    },
}

/// Runs one of the commands to its end; `configured` is the data directory of the settings.
pub(crate) fn run(command: &Command, configured: &Path) -> Result<ExitCode, RunError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| RunError::start("the async runtime cannot start", error))?;
    match command {
        Command::Verify { dir, links } => {
            verify::run(&runtime, &existing(dir.as_deref().unwrap_or(configured))?, *links)
        }
        Command::Export { sessions, all } => {
            let sessions = (!all).then_some(&sessions[..]);
            export::run(&runtime, &existing(configured)?, sessions)
        }
        Command::Import { files } => runtime.block_on(import::run(Arc::new(open(configured)?), files)),
    }
}

/// Opens a store that is there: a mistyped name must not make a new one.
fn existing(dir: &Path) -> Result<EmbeddedStore, RunError> {
    if !is_store(dir) {
        return Err(RunError::start("no sessions are kept in", dir.display()));
    }
    open(dir)
}

fn open(dir: &Path) -> Result<EmbeddedStore, RunError> {
    EmbeddedStore::open(dir, Options::default())
        .map_err(|error| RunError::start("the sessions cannot be read", error))
}
