//! `cargo run -p xtask -- <chore>`: chores of the workspace that must give the same result for everyone.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line talks through its output")]

mod asyncapi;
mod deps;
mod openapi;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Chores of the workspace.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Debug, Subcommand)]
enum Chore {
    /// Check which crate may depend on what (ARCHITECTURE.md, "Who may import whom").
    Deps,
    /// Write the AsyncAPI document of the WebSocket binding, or say whether it is what the frame definitions give.
    Asyncapi {
        /// Write nothing; fail if the file is stale.
        #[arg(long)]
        check: bool,
    },
    /// Write the OpenAPI document, or say whether it is what the code gives.
    Openapi {
        /// Write nothing; fail if the file is stale.
        #[arg(long)]
        check: bool,
    },
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().chore {
        Chore::Deps => deps::check()
            .and_then(|()| deps::check_cryptography())
            .map(|()| "every crate keeps to its dependencies".to_owned()),
        Chore::Asyncapi { check } => asyncapi::run(check).map_err(|fault| vec![fault]),
        Chore::Openapi { check } => openapi::run(check).map_err(|fault| vec![fault]),
    };
    match outcome {
        Ok(done) => {
            println!("{done}");
            ExitCode::SUCCESS
        }
        Err(faults) => {
            eprintln!("{}", faults.join("\n"));
            ExitCode::FAILURE
        }
    }
}
