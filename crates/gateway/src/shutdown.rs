//! Signals: the first one drains, the second one ends the process at once.

use std::process::ExitCode;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::RunError;

/// Exit codes by convention: 128 plus the signal's number.
const INTERRUPTED: u8 = 130;
const TERMINATED: u8 = 143;

/// The two signals that end the gateway.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Takes the signals over from the default handlers.
    pub(crate) fn install() -> Result<Self, RunError> {
        let install = |kind| {
            signal(kind).map_err(|error| RunError::start("signal handlers cannot be installed", error))
        };
        Ok(Self {
            interrupt: install(SignalKind::interrupt())?,
            terminate: install(SignalKind::terminate())?,
        })
    }

    /// Waits for the next signal; answers with the exit code of a process that ends by it at once.
    pub(crate) async fn next(&mut self) -> ExitCode {
        tokio::select! {
            _ = self.interrupt.recv() => ExitCode::from(INTERRUPTED),
            _ = self.terminate.recv() => ExitCode::from(TERMINATED),
        }
    }
}
