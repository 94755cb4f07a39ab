//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::Serialize;

use crate::client::{Failure, Target, Transport};
use crate::report::Report;
use crate::traffic::{Cast, Kind, Sender};

/// Load generator for MACP servers over gRPC, HTTP and WebSocket.
///
/// The server must accept the load: raise MACP_MESSAGE_LIMIT_PER_MINUTE, MACP_SESSION_START_LIMIT_PER_MINUTE,
/// MACP_MAX_CONCURRENT_STREAMS and MACP_HTTP_MAX_CONNECTIONS there. Without --token it must be in development mode
/// (MACP_ALLOW_INSECURE=1), where any token is a sender.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Threads that work; default: one for each core that this process may use
    #[arg(long, global = true)]
    threads: Option<usize>,
    /// Also write the report as JSON to this file; - is standard output, and then nothing else goes there
    #[arg(long, global = true, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Send envelopes into sessions, and wait for each Ack
    Send(SendArgs),
    /// Run whole Decision sessions: start, proposal, evaluation, two votes, commitment
    Lifecycle(LifecycleArgs),
    /// Send envelopes into one session with many subscribers, and check what each of them gets
    Fanout(FanoutArgs),
    /// Hold subscriptions or open sessions that do nothing, then check that all of them still work
    Idle(IdleArgs),
    /// Let all subscribers lose their connections at once and resume where they were
    Resume(ResumeArgs),
    /// Read the whole history of a session, over and over again
    Replay(ReplayArgs),
    /// What this machine can do without a MACP server: bare servers to run workloads against, and the bare disk
    Ceiling(CeilingArgs),
}

/// Which server, and who talks to it.
#[derive(Args, Clone, Debug, Serialize)]
pub(crate) struct ServerArgs {
    /// Host and port of the server; plaintext
    #[arg(long, default_value = "127.0.0.1:50051", value_name = "HOST:PORT")]
    pub(crate) target: String,
    #[arg(long, value_enum, default_value_t = Transport::Grpc)]
    pub(crate) transport: Transport,
    /// Connections that the workers share (gRPC and WebSocket; HTTP/1.1 has one for each worker, and WebSocket at least
    /// one for each sender)
    #[arg(long, default_value_t = 1)]
    pub(crate) connections: usize,
    /// How many senders there are
    #[arg(long, default_value_t = 4)]
    pub(crate) senders: usize,
    /// A sender and its token, instead of the senders of development mode; repeat for more
    #[arg(long = "token", value_name = "SENDER=TOKEN", value_parser = sender)]
    #[serde(skip)]
    tokens: Vec<Sender>,
    /// Process of the server, to report its processor time and memory; must be on this machine
    #[arg(long, value_name = "PID")]
    #[serde(skip)]
    pub(crate) server_pid: Option<u32>,
}

fn sender(text: &str) -> Result<Sender, String> {
    match text.split_once('=') {
        Some((name, token)) if !name.is_empty() && !token.is_empty() => {
            Ok(Sender { name: name.to_owned(), token: token.to_owned() })
        }
        _ => Err("must be SENDER=TOKEN".to_owned()),
    }
}

impl ServerArgs {
    pub(crate) fn target(&self) -> Target {
        Target { authority: self.target.clone(), transport: self.transport }
    }

    pub(crate) fn cast(&self) -> Cast {
        Cast::new(self.tokens.clone(), self.senders)
    }
}

/// For how long.
#[derive(Args, Clone, Debug, Serialize)]
pub(crate) struct SpanArgs {
    /// Seconds that are measured
    #[arg(long, default_value_t = 10.0, value_parser = seconds)]
    duration: f64,
    /// Seconds before them that are not
    #[arg(long, default_value_t = 2.0, value_parser = seconds)]
    warmup: f64,
    /// Operations to begin in a second, whether earlier ones have ended or not: times then count from when an operation
    /// was due. Default: each worker begins its next one when the last has ended
    #[arg(long, value_parser = rate)]
    pub(crate) rate: Option<f64>,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.0..=86_400.0).contains(&seconds) => Ok(seconds),
        _ => Err("must be a number of seconds, at most a day".to_owned()),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (0.01..=10_000_000.0).contains(&rate) => Ok(rate),
        _ => Err("must be a number a second between 0.01 and 10000000".to_owned()),
    }
}

impl SpanArgs {
    pub(crate) fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.duration)
    }

    pub(crate) fn warmup(&self) -> Duration {
        Duration::from_secs_f64(self.warmup)
    }
}

/// What is sent.
#[derive(Args, Clone, Debug, Serialize)]
pub(crate) struct MessageArgs {
    #[arg(long, value_enum, default_value_t = Kind::Evaluation)]
    pub(crate) message: Kind,
    /// Bytes of text in each payload
    #[arg(long, default_value_t = 100, value_name = "BYTES")]
    pub(crate) payload: usize,
}

#[derive(Args, Clone, Debug, Serialize)]
pub(crate) struct SendArgs {
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) server: ServerArgs,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) span: SpanArgs,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) message: MessageArgs,
    /// Sessions among which the messages are spread
    #[arg(long, default_value_t = 256)]
    pub(crate) sessions: usize,
    /// Messages that wait for their Ack at a time
    #[arg(long, default_value_t = 128)]
    pub(crate) in_flight: usize,
}

#[derive(Args, Clone, Debug, Serialize)]
pub(crate) struct LifecycleArgs {
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) server: ServerArgs,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) span: SpanArgs,
    /// Sessions that are run at a time
    #[arg(long, default_value_t = 64)]
    pub(crate) in_flight: usize,
}

#[derive(Args, Clone, Debug, Serialize)]
pub(crate) struct FanoutArgs {
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) server: ServerArgs,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) span: SpanArgs,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) message: MessageArgs,
    /// Subscribers of the session (gRPC streams share --connections; the others have one connection each)
    #[arg(long, default_value_t = 100)]
    pub(crate) subscribers: usize,
    /// Messages that wait for their Ack at a time
    #[arg(long, default_value_t = 4)]
    pub(crate) publishers: usize,
    /// Messages that some subscriber may not have yet while the next one is sent; unlimited with --rate
    #[arg(long, default_value_t = 16)]
    pub(crate) window: usize,
}

/// What is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Held {
    /// Subscriptions to one session
    Subscriptions,
    /// Open sessions, without a subscription
    Sessions,
}

#[derive(Args, Clone, Debug, Serialize)]
pub(crate) struct IdleArgs {
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) server: ServerArgs,
    #[arg(long, value_enum, default_value_t = Held::Subscriptions)]
    pub(crate) hold: Held,
    /// How many (gRPC streams share --connections, 0 for one each; the others have one connection each)
    #[arg(long, default_value_t = 1000)]
    pub(crate) count: usize,
    /// Seconds to hold them
    #[arg(long, default_value_t = 5.0, value_parser = seconds)]
    pub(crate) seconds: f64,
}

#[derive(Args, Clone, Debug, Serialize)]
pub(crate) struct ResumeArgs {
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) server: ServerArgs,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) message: MessageArgs,
    /// Subscribers of the session
    #[arg(long, default_value_t = 200)]
    pub(crate) subscribers: usize,
    /// How often all of them lose their connections
    #[arg(long, default_value_t = 5)]
    pub(crate) rounds: usize,
    /// Messages that are sent while they are away
    #[arg(long, default_value_t = 50)]
    pub(crate) missed: usize,
}

#[derive(Args, Clone, Debug, Serialize)]
pub(crate) struct ReplayArgs {
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) server: ServerArgs,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) span: SpanArgs,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) message: MessageArgs,
    /// Messages in the session
    #[arg(long, default_value_t = 1000)]
    pub(crate) history: usize,
    /// Readers at a time
    #[arg(long, default_value_t = 4)]
    pub(crate) readers: usize,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct CeilingArgs {
    #[command(subcommand)]
    pub(crate) what: Ceiling,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Ceiling {
    /// Serve gRPC on tonic alone: an Ack for each Send, and each envelope to all streams
    Grpc(ListenArgs),
    /// Serve HTTP on axum alone: JSON in, JSON out, and server-sent events
    Http(ListenArgs),
    /// Serve WebSocket on tungstenite alone
    Ws(ListenArgs),
    /// Write and sync records, one after the other
    Disk(DiskArgs),
}

#[derive(Args, Clone, Debug)]
pub(crate) struct ListenArgs {
    /// Where to listen; the address is printed once it is bound
    #[arg(long, default_value = "127.0.0.1:0", value_name = "HOST:PORT")]
    pub(crate) listen: String,
}

#[derive(Args, Clone, Debug, Serialize)]
pub(crate) struct DiskArgs {
    /// Directory for the file, on the disk in question
    #[arg(long, default_value = ".")]
    pub(crate) dir: PathBuf,
    /// Bytes of each record
    #[arg(long, default_value_t = 300)]
    pub(crate) size: usize,
    /// Seconds that are measured
    #[arg(long, default_value_t = 5.0, value_parser = seconds)]
    pub(crate) duration: f64,
    /// Write into a file whose blocks exist, instead of at the end of one that grows
    #[arg(long)]
    pub(crate) overwrite: bool,
}

impl Cli {
    /// How many threads are to work.
    pub(crate) fn threads(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        self.threads.unwrap_or_else(cores).max(1)
    }

    /// Writes a report to where it is wanted.
    #[allow(clippy::print_stdout, reason = "the program's own output")]
    pub(crate) fn publish(&self, report: &Report) -> Result<(), Failure> {
        let json = serde_json::to_string_pretty(report)
            .map_err(|error| Failure::new("report", format!("no JSON: {error}")))?;
        match &self.json {
            Some(file) if file.as_os_str() == "-" => println!("{json}"),
            Some(file) => {
                std::fs::write(file, json + "\n").map_err(|error| {
                    Failure::new("report", format!("{} cannot be written: {error}", file.display()))
                })?;
                print!("{report}");
            }
            None => print!("{report}"),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn values_out_of_range_are_refused() {
        for wrong in [
            &["send", "--rate", "0"][..],
            &["send", "--rate", "NaN"],
            &["send", "--duration", "-1"],
            &["send", "--duration", "inf"],
            &["send", "--token", "agent"],
            &["send", "--token", "=t"],
            &["send", "--transport", "carrier-pigeon"],
        ] {
            let arguments = ["macp-bench"].iter().chain(wrong);
            assert!(Cli::try_parse_from(arguments).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn given_tokens_replace_the_senders_of_development_mode() {
        let cli = Cli::try_parse_from(["macp-bench", "send", "--token", "a=1=2", "--token", "b=x"]).unwrap();
        let Command::Send(args) = cli.command else { panic!("another command") };
        let senders = args.server.cast().senders;
        assert_eq!(senders.len(), 2);
        assert_eq!((senders[0].name.as_str(), senders[0].token.as_str()), ("a", "1=2"));
        assert!(!serde_json::to_string(&args).unwrap().contains("1=2"), "no token in a report");
    }
}
