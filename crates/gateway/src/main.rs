//! `macp-gateway`: parse the command line, build, run, drain, exit.

mod app;
mod audit;
mod cli;
mod client;
mod config;
mod connection;
mod demo;
mod event_stream;
mod frames;
mod gate;
mod health;
mod jwks;
mod listener;
mod log;
mod logging;
mod metrics;
mod outgoing;
mod peers;
mod policies;
mod presence;
mod rebound;
mod reference;
mod refresh;
mod reload;
mod routes;
mod shutdown;
mod sniff;
mod storage;
mod tls;
mod traces;
mod watched;
mod web;

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// What the system's allocator costs instead: docs/benchmarks.md.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let (arguments, layers) = cli::parse();
    match cli::run(arguments, layers) {
        Ok(code) => code,
        Err(error) => {
            cli::complain(&error);
            ExitCode::FAILURE
        }
    }
}
