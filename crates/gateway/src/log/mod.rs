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
use crate::config::DEFAULT_DATA_DIR;

/// What to do with the log.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    /// Check everything stored: checksums, hash chains, and that replaying each session gives its stored state.
    ///
    /// Exits with 0 if nothing is wrong and with 1 otherwise. The gateway must not run on the directory.
    Verify {
        /// The data directory [default: MACP_DATA_DIR, else ./macp-data]
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
        /// The data directory [default: MACP_DATA_DIR, else ./macp-data]
        #[arg(long, value_name = "DIR")]
        data_dir: Option<PathBuf>,
    },
    /// Read exported sessions and store them: replayed first, byte for byte the same after.
    ///
    /// A session that is there already with the same history is left alone, one that is shorter is continued, and one
    /// that differs is refused. So an interrupted import is simply run again.
    Import {
        /// Files to read; standard input if none is named
        files: Vec<PathBuf>,
        /// The data directory, which is created if it is not there [default: MACP_DATA_DIR, else ./macp-data]
        #[arg(long, value_name = "DIR")]
        data_dir: Option<PathBuf>,
    },
}

/// Runs one of the commands to its end.
pub(crate) fn run(command: &Command) -> Result<ExitCode, RunError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| RunError::start("the async runtime cannot start", error))?;
    match command {
        Command::Verify { dir, links } => verify::run(&runtime, &existing(dir.as_ref())?, *links),
        Command::Export { sessions, all, data_dir } => {
            let sessions = (!all).then_some(&sessions[..]);
            export::run(&runtime, &existing(data_dir.as_ref())?, sessions)
        }
        Command::Import { files, data_dir } => {
            let dir = directory(data_dir.as_ref());
            runtime.block_on(import::run(Arc::new(open(&dir)?), files))
        }
    }
}

/// The directory that an argument or the settings mean.
fn directory(argument: Option<&PathBuf>) -> PathBuf {
    let setting = || std::env::var_os("MACP_DATA_DIR").filter(|value| !value.is_empty()).map(PathBuf::from);
    argument.cloned().or_else(setting).unwrap_or_else(|| DEFAULT_DATA_DIR.into())
}

/// Opens a store that is there: a mistyped name must not make a new one.
fn existing(argument: Option<&PathBuf>) -> Result<EmbeddedStore, RunError> {
    let dir = directory(argument);
    if !is_store(&dir) {
        return Err(RunError::start("no sessions are kept in", dir.display()));
    }
    open(&dir)
}

fn open(dir: &Path) -> Result<EmbeddedStore, RunError> {
    EmbeddedStore::open(dir, Options::default())
        .map_err(|error| RunError::start("the sessions cannot be read", error))
}
