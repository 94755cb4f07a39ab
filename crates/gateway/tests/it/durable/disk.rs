//! A gateway on the disk of `tests/disk/disk.c`, which remembers what was synced and fails on demand.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use tempfile::TempDir;

use super::ledger::Moment;
use super::traffic::Now;
use crate::process::{Gateway, Settings};

/// How long a sync takes, in microseconds: long enough for others to write meanwhile.
const SYNC: &str = "300";

/// A directory for a store, and everything that is known of what happens to it.
pub(crate) struct Disk {
    folder: TempDir,
    generation: std::cell::Cell<u64>,
}

/// What shall fail; see `disk.c`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    None,
    Eio,
    Enospc,
    Short,
    Sync,
}

impl Disk {
    pub(crate) fn new() -> Self {
        let folder = TempDir::new().unwrap();
        std::fs::create_dir(folder.path().join("root")).unwrap();
        Self { folder, generation: 0.into() }
    }

    /// What is on the disk.
    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    /// The directory of the store on it.
    pub(crate) fn store(&self) -> PathBuf {
        store_in(&self.root())
    }

    pub(crate) fn trace(&self) -> PathBuf {
        self.folder.path().join("trace")
    }

    /// Starts a gateway that knows no other disk.
    pub(crate) async fn gateway(&self, settings: Settings<'_>) -> Gateway {
        let (root, trace, control) = (self.root(), self.trace(), self.folder.path().join("control"));
        let wrapper = [program(), &root, &trace, &control, Path::new(SYNC)];
        Gateway::under(&wrapper.map(Path::as_os_str), &self.store(), settings).await
    }

    /// The length of the trace is the time: what is in it has happened, and all else has not.
    pub(crate) fn now(&self) -> Now {
        let trace = self.trace();
        Arc::new(move || std::fs::metadata(&trace).map_or(0, |metadata| metadata.len()) as Moment)
    }

    /// From now on lets `count` changes of the disk fail, beginning with the one of number `skip`.
    pub(crate) fn fail(&self, kind: Kind, skip: u64, count: u64) {
        self.generation.set(self.generation.get() + 1);
        let kind = format!("{kind:?}").to_lowercase();
        let text = format!("{kind} {skip} {count} {}\n", self.generation.get());
        // Over the old text and never shorter for a moment: it is read at any time.
        let new = self.folder.path().join("control");
        let mut padded = text;
        padded.push_str(&" ".repeat(64 - padded.len()));
        use std::os::unix::fs::FileExt;
        std::fs::File::options().write(true).open(new).unwrap().write_all_at(padded.as_bytes(), 0).unwrap();
    }

    /// How many changes failed since [`Disk::fail`].
    pub(crate) fn failed(&self) -> u64 {
        let text = std::fs::read_to_string(self.folder.path().join("control.state")).unwrap();
        let line = text.lines().next().unwrap_or_default();
        let mut numbers = line.split(' ').map(|number| number.parse::<u64>().unwrap());
        match (numbers.next(), numbers.next(), numbers.next()) {
            (Some(generation), _, Some(failed)) if generation == self.generation.get() => failed,
            _ => 0,
        }
    }
}

/// The directory of the store on a disk.
pub(crate) fn store_in(root: &Path) -> PathBuf {
    root.join("store")
}

/// The supervisor, compiled once in a run.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("disk-{}", std::process::id()));
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/disk/disk.c");
        let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
        let mut command = std::process::Command::new(compiler);
        let status = command.args(["-O1", "-Wall", "-o"]).arg(&program).arg(source).status();
        assert!(status.expect("a C compiler").success());
        program
    })
}
