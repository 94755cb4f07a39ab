//! `cargo run -p xtask -- <chore>`: chores of the workspace that must give the same result for everyone.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line talks through its output")]

mod deps;

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
}

fn main() -> ExitCode {
    let Chore::Deps = Arguments::parse().chore;
    match deps::check() {
        Ok(()) => {
            println!("every crate keeps to its dependencies");
            ExitCode::SUCCESS
        }
        Err(violations) => {
            eprintln!("{}", violations.join("\n"));
            ExitCode::FAILURE
        }
    }
}
