//! `macp-bench`: a load generator for any MACP server over gRPC, HTTP and WebSocket.
//!
//! `cli` says what can be asked for. A workload (`run/`) takes envelopes from `traffic`, sends and follows them with
//! `client/`, begins operations when `pace` says so, and writes what it saw into a recorder of `measure`, which becomes
//! a `report`. `ceiling/` holds the bare servers, and the bare disk, that a server's figures are set against.
//!
//! Every answer is checked. The exit status is 0 when all were as they have to be, 1 when some were not, and 2 when the
//! run could not begin.

mod board;
mod ceiling;
mod cli;
mod client;
mod measure;
mod pace;
mod process;
mod progress;
mod report;
mod run;
mod traffic;

use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::{Cli, Command};
use crate::client::Failure;
use crate::report::Report;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut runtime = match cli.threads() {
        1 => tokio::runtime::Builder::new_current_thread(),
        threads => {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            builder.worker_threads(threads);
            builder
        }
    };
    let outcome = match runtime.enable_all().build() {
        Ok(runtime) => runtime.block_on(perform(&cli)),
        Err(error) => Err(Failure::new("start", format!("no runtime: {error}"))),
    };
    let result = outcome.and_then(|report| match report {
        Some(report) => cli.publish(&report).map(|()| report.ok()),
        None => Ok(true),
    });
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(failure) => {
            complain(&failure);
            ExitCode::from(2)
        }
    }
}

async fn perform(cli: &Cli) -> Result<Option<Report>, Failure> {
    let report = match &cli.command {
        Command::Send(args) => run::send::run(args).await?,
        Command::Lifecycle(args) => run::lifecycle::run(args).await?,
        Command::Fanout(args) => run::fanout::run(args).await?,
        Command::Idle(args) => run::idle::run(args).await?,
        Command::Resume(args) => run::resume::run(args).await?,
        Command::Replay(args) => run::replay::run(args).await?,
        Command::Ceiling(args) => return ceiling::run(args).await,
    };
    Ok(Some(report))
}

#[allow(clippy::print_stderr, reason = "the program's own error output")]
fn complain(failure: &Failure) {
    eprintln!("macp-bench: {failure}");
}
