//! The published conformance fixtures against the gateway: over gRPC, HTTP and WebSocket, and against its engine.
//!
//! One line for each fixture and vector. Ends with 0 when all that ran passed, 1 when one did not, 2 when nothing could
//! be run.

mod fixtures;
mod in_process;
mod ws;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use macp_conform::report::FixtureResult;
use macp_conform::{
    ConformanceTarget, FixtureSet, GrpcTarget, HttpTarget, Outcome, Report, RunOptions, TargetError, run,
    run_with_hash_target,
};

use in_process::InProcess;
use ws::WebSocket;

/// Plays conformance fixtures.
#[derive(Debug, Parser)]
#[command(name = "conformance")]
struct Arguments {
    /// What to play them against.
    #[arg(long, value_enum)]
    target: Target,

    /// Where it listens: grpc://HOST:PORT, http://HOST:PORT or ws://HOST:PORT. A bearer token is the sender's name, so
    /// it must be in development mode.
    #[arg(long, required_if_eq_any([("target", "grpc"), ("target", "http"), ("target", "ws")]))]
    url: Option<String>,

    /// A folder in the form of the specification's schemas/conformance, vectors in its cmt-hash.
    #[arg(long, default_value_os_t = beside_the_repository())]
    fixtures: PathBuf,

    /// Also write the runner's JSON report here.
    #[arg(long)]
    report: Option<PathBuf>,

    /// Fixtures and vectors without .json; default: all.
    names: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Target {
    Grpc,
    Http,
    Ws,
    InProcess,
}

fn beside_the_repository() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/conformance"))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match play(&arguments).await {
        Ok(report) => {
            for result in &report.fixtures {
                println!("{}", line(result));
            }
            println!("{}", closing(&report));
            // An error of the runner counts as well: what it could not play did not pass.
            let failed = report.is_failure() || report.totals.failed + report.totals.errors > 0;
            if failed { ExitCode::from(1) } else { ExitCode::SUCCESS }
        }
        Err(error) => {
            eprintln!("conformance: {error}");
            ExitCode::from(2)
        }
    }
}

async fn play(arguments: &Arguments) -> Result<Report, Box<dyn std::error::Error>> {
    let mut set = fixtures::load(&arguments.fixtures, &arguments.names)?;
    let url = arguments.url.as_deref().unwrap_or_default();
    let report = match arguments.target {
        Target::InProcess => {
            // Nothing that is accepted may replay to another state, whatever a fixture asks for.
            for named in &mut set.fixtures {
                named.fixture.verify_replay_equivalence = true;
            }
            run(&mut InProcess::new().await?, &set, &options()).await
        }
        Target::Grpc => {
            let mut target = GrpcTarget::connect(url).await?;
            let info = target.runtime_info().await?;
            over_network(&mut target, &info, &set).await?
        }
        Target::Http => {
            let mut target = HttpTarget::connect(url).await?;
            let info = target.runtime_info().await?;
            over_network(&mut target, &info, &set).await?
        }
        Target::Ws => {
            let mut target = WebSocket::at(url)?;
            let info = target.runtime_info().await?;
            over_network(&mut target, &info, &set).await?
        }
    };
    if let Some(path) = &arguments.report {
        std::fs::write(path, serde_json::to_vec_pretty(&report)?)?;
    }
    Ok(report)
}

/// No RPC computes a commitment hash, so the vectors run in this process, if the server is of the same release.
async fn over_network(
    target: &mut dyn ConformanceTarget,
    (name, version): &(String, String),
    set: &FixtureSet,
) -> Result<Report, TargetError> {
    if *version == InProcess::version() {
        return Ok(run_with_hash_target(target, &InProcess::new().await?, set, &options()).await);
    }
    eprintln!("{name} {version} is not of this release ({}): no vectors", InProcess::version());
    Ok(run(target, set, &options()).await)
}

/// Everything: which fixtures there are is the folder's matter.
fn options() -> RunOptions {
    RunOptions::default().with_multi_round(true)
}

fn line(result: &FixtureResult) -> String {
    let name = fixtures::stem(&result.name);
    let reason = result.reason.as_deref().unwrap_or("no reason given");
    match result.outcome {
        Outcome::Pass if result.unverified.is_empty() => format!("pass     {name}"),
        Outcome::Pass => format!("pass     {name} (not observable: {})", result.unverified.join(", ")),
        Outcome::Skipped => format!("skipped  {name}: {reason}"),
        Outcome::Error => format!("error    {name}: {reason}"),
        Outcome::Fail => match &result.failure {
            Some(failure) => {
                let step = failure.step.map_or("at the end".to_owned(), |step| format!("at step {step}"));
                format!("FAILED   {name}: {} {step}: {}", failure.assertion, failure.message)
            }
            None => format!("FAILED   {name}: {reason}"),
        },
    }
}

fn closing(report: &Report) -> String {
    let totals = &report.totals;
    let claim = report.claim.as_deref().unwrap_or("none");
    format!(
        "{}: {} passed, {} failed, {} errors, {} skipped; claim: {claim}",
        report.target.description, totals.passed, totals.failed, totals.errors, totals.skipped,
    )
}
