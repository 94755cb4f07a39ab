//! The gateway's process: started on free ports, its log kept, signalled, and its end checked.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::wait::soon;

/// Settings under which any bearer is its own sender.
const DEVELOPMENT: [(&str, &str); 4] = [
    ("MACP_ALLOW_INSECURE", "1"),
    ("MACP_MEMORY_ONLY", "1"),
    ("MACP_MESSAGE_LIMIT_PER_MINUTE", "1000000"),
    ("MACP_SESSION_START_LIMIT_PER_MINUTE", "1000000"),
];
/// The binary.
const PROGRAM: &str = env!("CARGO_BIN_EXE_macp-gateway");
/// Lines of log that a failed test shows.
const SHOWN: usize = 60;

/// A settings list, as variables.
pub(crate) type Settings<'a> = &'a [(&'a str, &'a str)];

/// The binary with these variables and none of the machine's own settings.
pub(crate) fn command(arguments: &[&str], settings: Settings<'_>) -> Command {
    let mut command = environment(Command::new(PROGRAM), settings);
    command.args(arguments);
    command
}

fn environment(mut command: Command, settings: Settings<'_>) -> Command {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("MACP_") {
            command.env_remove(name);
        }
    }
    command
        .env_remove("RUST_LOG")
        .env("MACP_BIND_ADDR", "127.0.0.1:0")
        .env("MACP_HTTP_BIND_ADDR", "127.0.0.1:0")
        .envs(settings.iter().copied())
        .current_dir(env!("CARGO_TARGET_TMPDIR"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// What a process that must end by itself has said and how it ended.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs the binary to its end.
pub(crate) async fn run(arguments: &[&str], settings: Settings<'_>) -> Ended {
    let output = soon("the process ends", command(arguments, settings).output()).await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Text that grows while others wait for what it will say.
struct Transcript {
    text: watch::Receiver<String>,
    reader: JoinHandle<()>,
}

impl Transcript {
    fn of(mut source: impl AsyncRead + Unpin + Send + 'static) -> Self {
        let (write, text) = watch::channel(String::new());
        let reader = tokio::spawn(async move {
            let mut bytes = Vec::new();
            let mut chunk = vec![0; 64 << 10];
            while let Ok(read @ 1..) = source.read(&mut chunk).await {
                bytes.extend_from_slice(&chunk[..read]);
                let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
                let lines = String::from_utf8_lossy(&bytes[..whole]).into_owned();
                bytes.drain(..whole);
                write.send_modify(|text| text.push_str(&lines));
            }
        });
        Self { text, reader }
    }

    /// The first line that has this in it, once it is there.
    async fn line(&self, part: &str) -> String {
        let mut text = self.text.clone();
        let find = |text: &String| text.lines().find(|line| line.contains(part)).map(str::to_owned);
        let found = soon(part, text.wait_for(|text| find(text).is_some())).await;
        find(&found.expect("the process says so before it ends")).unwrap()
    }

    fn so_far(&self) -> String {
        self.text.borrow().clone()
    }
}

/// A gateway that serves.
pub(crate) struct Gateway {
    process: Child,
    stdout: Transcript,
    stderr: Transcript,
    /// The listener of `MACP_BIND_ADDR`.
    pub(crate) grpc: SocketAddr,
    /// The listener of `MACP_HTTP_BIND_ADDR`.
    pub(crate) http: SocketAddr,
}

impl Gateway {
    /// Serves with development identities and no limits on rates.
    pub(crate) async fn start() -> Self {
        Self::with(&[]).await
    }

    /// Serves with these settings on top.
    pub(crate) async fn with(settings: Settings<'_>) -> Self {
        Self::serving(command(&[], &[&DEVELOPMENT, settings].concat())).await
    }

    /// Serves with these settings alone, started in this directory.
    pub(crate) async fn serve_in(directory: &Path, settings: Settings<'_>) -> Self {
        let mut command = command(&["serve"], settings);
        command.current_dir(directory);
        Self::serving(command).await
    }

    async fn serving(command: Command) -> Self {
        let (process, stdout, stderr) = Self::spawn(command);
        let line = stderr.line("serving gRPC").await;
        let addr = |name: &str| {
            let value = line.split_whitespace().find_map(|word| word.strip_prefix(name));
            value.unwrap_or_else(|| panic!("{name} in {line}")).parse().unwrap()
        };
        let (grpc, http) = (addr("grpc_addr="), addr("http_addr="));
        Self { process, stdout, stderr, grpc, http }
    }

    /// Serves, keeping sessions in this directory.
    pub(crate) async fn on(directory: &Path, settings: Settings<'_>) -> Self {
        let directory = directory.to_str().unwrap();
        let durable = [("MACP_MEMORY_ONLY", "0"), ("MACP_DATA_DIR", directory)];
        Self::with(&[&durable, settings].concat()).await
    }

    /// The same, started by another program, which these arguments begin.
    pub(crate) async fn under(wrapper: &[&OsStr], directory: &Path, settings: Settings<'_>) -> Self {
        let durable = [("MACP_MEMORY_ONLY", "0"), ("MACP_DATA_DIR", directory.to_str().unwrap())];
        let mut command =
            environment(Command::new(wrapper[0]), &[&DEVELOPMENT[..], &durable, settings].concat());
        command.args(&wrapper[1..]).arg(PROGRAM);
        Self::serving(command).await
    }

    /// Runs the demo and reads its addresses off the instructions.
    pub(crate) async fn demo(settings: Settings<'_>) -> Self {
        Self::demo_in(Path::new(env!("CARGO_TARGET_TMPDIR")), settings).await
    }

    /// The same, started in this directory.
    pub(crate) async fn demo_in(directory: &Path, settings: Settings<'_>) -> Self {
        let mut command = command(&["demo"], settings);
        command.current_dir(directory);
        let (process, stdout, stderr) = Self::spawn(command);
        stdout.line("Ctrl-C").await;
        let grpc = stdout.line("  gRPC ").await;
        let http = stdout.line("  page ").await;
        let grpc = grpc.split_whitespace().nth(1).unwrap().parse().unwrap();
        let http = http.trim_end_matches('/').rsplit('/').next().unwrap().parse().unwrap();
        Self { process, stdout, stderr, grpc, http }
    }

    fn spawn(mut command: Command) -> (Child, Transcript, Transcript) {
        let mut process = command.spawn().unwrap();
        let stdout = Transcript::of(process.stdout.take().unwrap());
        let stderr = Transcript::of(process.stderr.take().unwrap());
        (process, stdout, stderr)
    }

    /// Both listeners.
    pub(crate) fn ports(&self) -> [SocketAddr; 2] {
        [self.grpc, self.http]
    }

    /// Sends a signal by its name (`TERM`, `INT`).
    pub(crate) async fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.process.id().expect("the process runs"));
        let status = soon("kill", Command::new("sh").args(["-c", &kill]).status()).await.unwrap();
        assert!(status.success(), "{kill}");
    }

    /// Waits until the log has a line with this in it.
    pub(crate) async fn logs(&self, part: &str) -> String {
        self.stderr.line(part).await
    }

    /// What was logged up to now.
    pub(crate) fn log(&self) -> String {
        self.stderr.so_far()
    }

    /// What was written to standard output up to now.
    pub(crate) fn output(&self) -> String {
        self.stdout.so_far()
    }

    /// Waits for the end; the exit code, and how long after `since` it came. Nothing may have panicked.
    pub(crate) async fn ends(&mut self, since: Instant) -> (Option<i32>, Duration) {
        let status = soon("the gateway ends", self.process.wait()).await.unwrap();
        let took = since.elapsed();
        for transcript in [&mut self.stdout, &mut self.stderr] {
            soon("the log ends", &mut transcript.reader).await.unwrap();
        }
        assert!(!self.log().contains("panicked"), "the gateway panicked");
        (status.code(), took)
    }

    /// Kills it at once, as the system does when memory runs out.
    pub(crate) async fn kill(mut self) {
        soon("the gateway is killed", self.process.kill()).await.unwrap();
        assert!(!self.log().contains("panicked"), "the gateway panicked");
    }

    /// Stops a gateway that must still be well: it drains and exits with 0, and nothing has panicked. Its log.
    ///
    /// An open WebSocket that its test does not read delays this by the seconds that a client has for closing.
    pub(crate) async fn stop(mut self) -> String {
        self.signal("TERM").await;
        let (code, _) = self.ends(Instant::now()).await;
        assert_eq!(code, Some(0));
        self.log()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<_> = log.lines().collect();
            let shown = &lines[lines.len().saturating_sub(SHOWN)..];
            eprintln!("---- end of the gateway's log ----\n{}\n----", shown.join("\n"));
        }
    }
}
