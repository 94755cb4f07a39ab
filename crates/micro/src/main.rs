//! `macp-micro`: one inner step of the gateway, so many times.
//!
//! ```text
//! macp-micro --list          the names of the steps
//! macp-micro NAME COUNT      that step so many times, for a counter of instructions
//! macp-micro --time [PART]   the time of each step whose name has PART in it
//! ```
//!
//! What a step works on is made beforehand and is the same whatever the count. So two runs with different counts differ
//! by the steps alone; `bench/instructions` takes that difference under callgrind.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is a command")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a step that fails has no cost to tell")]

mod codec;
mod engine;
mod inputs;
mod kernel;
mod store;

use std::process::ExitCode;
use std::time::Instant;

/// The most times that a step can be asked for: what is made beforehand is made for so many.
const MOST: usize = 2_000;

/// A step of which everything is ready.
type Ready = Box<dyn FnMut(usize)>;

/// A step.
struct Step {
    name: String,
    /// Makes what it works on; the result does it once for each number from 0.
    prepare: Box<dyn Fn() -> Ready>,
}

impl Step {
    fn new<F: FnMut(usize) + 'static>(name: impl Into<String>, prepare: impl Fn() -> F + 'static) -> Self {
        Self { name: name.into(), prepare: Box::new(move || Box::new(prepare())) }
    }

    fn run(&self, count: usize) -> u128 {
        let mut step = (self.prepare)();
        let began = Instant::now();
        for number in 0..count {
            step(number);
        }
        began.elapsed().as_nanos()
    }
}

fn steps() -> Vec<Step> {
    [kernel::steps(), codec::steps(), engine::steps(), store::steps()].into_iter().flatten().collect()
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["--list"] => {
            for step in steps() {
                println!("{}", step.name);
            }
        }
        ["--time", ref part @ ..] if part.len() < 2 => {
            let part = part.first().copied().unwrap_or_default();
            for step in steps().iter().filter(|step| step.name.contains(part)) {
                let fastest = (0..5).map(|_| step.run(MOST)).min().unwrap_or_default();
                println!("{:40} {:>9} ns", step.name, fastest / MOST as u128);
            }
        }
        [name, count] => {
            let count = count.parse().ok().filter(|count| *count <= MOST);
            match (steps().iter().find(|step| step.name == name), count) {
                (Some(step), Some(count)) => drop(step.run(count)),
                _ => return usage(),
            }
        }
        _ => return usage(),
    }
    ExitCode::SUCCESS
}

fn usage() -> ExitCode {
    eprintln!("macp-micro --list | --time [PART] | NAME COUNT (at most {MOST})");
    ExitCode::from(2)
}
