//! Tells when what was read at the start is to be read again: on SIGHUP, and when one of its files has changed.

use std::fmt;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use crate::cli::RunError;

/// How often files are looked at besides: not every file system tells of its changes, and a directory that was not there
/// cannot be watched.
const POLL: Duration = Duration::from_secs(5);
/// How long files must rest before they are read. Who renews one writes several, each in pieces.
const SETTLED: Duration = Duration::from_millis(30);
/// How long a file that never rests is waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// Files of a directory that are told apart.
const MAX_ENTRIES: usize = 10_000;

/// Why something is to be read again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// SIGHUP: whether or not a file has changed.
    Hangup,
    /// This file or directory has changed, or a link on the way to it; perhaps others, too.
    File(PathBuf),
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hangup => f.write_str("SIGHUP"),
            Self::File(path) => write!(f, "{} changed", path.display()),
        }
    }
}

/// Changes of some files and directories, and the signal. As long as one exists, SIGHUP does not end the process.
///
/// What has changed is told by what a path leads to: its device, inode, size and times, and those of the files right in it
/// if it is a directory. So it is the same whether a file is written in place, renamed over, or reached by a link that
/// now points elsewhere (Kubernetes, certbot). A file that goes away or comes back has changed.
pub(crate) struct Changes {
    hangups: Signal,
    files: Vec<PathBuf>,
    seen: Vec<Print>,
    touched: Arc<Notify>,
    /// Tells [`Changes::touched`] of events in the directories of the files; `None` where the system has no such events
    /// left to give, and polling has to do.
    watcher: Option<RecommendedWatcher>,
    watched: Vec<PathBuf>,
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changes").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Changes {
    /// Begins to watch. To miss nothing, begin first and read the files then.
    pub(crate) fn of(files: impl IntoIterator<Item = PathBuf>) -> Result<Self, RunError> {
        let hangups = signal(SignalKind::hangup())
            .map_err(|error| RunError::start("the handler of SIGHUP cannot be installed", error))?;
        let touched = Arc::new(Notify::new());
        let touch = Arc::clone(&touched);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Reading a file is an event, too, and we read them ourselves.
            if event.is_ok_and(|event| !event.kind.is_access()) {
                touch.notify_one();
            }
        });
        let watcher = watcher
            .inspect_err(|error| tracing::warn!(%error, "files are looked at every {POLL:?} only"))
            .ok();
        let mut changes =
            Self { hangups, files: Vec::new(), seen: Vec::new(), touched, watcher, watched: Vec::new() };
        changes.watch(files);
        Ok(changes)
    }

    /// Watches these files from now on, in place of those before.
    pub(crate) fn watch(&mut self, files: impl IntoIterator<Item = PathBuf>) {
        self.files = files.into_iter().collect();
        self.watch_directories();
        self.seen = self.files.iter().map(|file| Print::of(file)).collect();
    }

    /// Waits until the files are to be read again. Safe to drop and call again: no change of a file is lost.
    pub(crate) async fn next(&mut self) -> Cause {
        loop {
            tokio::select! {
                // Closed only with the runtime.
                Some(()) = self.hangups.recv() => {
                    let prints = self.prints().await;
                    self.saw(prints).await;
                    return Cause::Hangup;
                }
                () = self.touched.notified() => {}
                () = sleep(POLL) => {}
            }
            let Some(prints) = self.settled().await else { continue };
            let changed = self.files.iter().zip(prints.iter().zip(&self.seen)).find(|(_, (a, b))| a != b);
            let changed = changed.map(|(file, _)| file.clone());
            self.saw(prints).await;
            if let Some(file) = changed {
                return Cause::File(file);
            }
        }
    }

    /// Takes note of what is about to be told.
    async fn saw(&mut self, prints: Vec<Print>) {
        self.watch_directories();
        if self.prints().await != prints {
            // Changed while its directory was not watched.
            self.touched.notify_one();
        }
        self.seen = prints;
    }

    /// What the files look like once they rest; `None` if they look as they did.
    async fn settled(&self) -> Option<Vec<Print>> {
        let since = Instant::now();
        let mut prints = self.prints().await;
        if prints == self.seen {
            return None;
        }
        while since.elapsed() < PATIENCE {
            sleep(SETTLED).await;
            let later = self.prints().await;
            if later == prints {
                break;
            }
            prints = later;
        }
        Some(prints)
    }

    async fn prints(&self) -> Vec<Print> {
        let files = self.files.clone();
        // A disk may take its time.
        let prints = tokio::task::spawn_blocking(move || files.iter().map(|file| Print::of(file)).collect());
        prints.await.unwrap_or_else(|_| self.seen.clone())
    }

    /// Watches the directories in which a change would be seen: those of the paths as they are written, where links and
    /// files are replaced, and those that the paths lead to, where files are written.
    fn watch_directories(&mut self) {
        let Some(watcher) = &mut self.watcher else { return };
        let mut wanted: Vec<PathBuf> = self.files.iter().flat_map(|file| directories(file)).collect();
        wanted.sort();
        wanted.dedup();
        // Those that are watched already are watched anew: a directory may have been replaced by one of the same name.
        for directory in self.watched.drain(..) {
            // Gone with the directory, if that is gone.
            let _ = watcher.unwatch(&directory);
        }
        for directory in wanted {
            if watcher.watch(&directory, RecursiveMode::NonRecursive).is_ok() {
                self.watched.push(directory);
            }
        }
    }
}

fn directories(file: &Path) -> Vec<PathBuf> {
    let parent = |path: &Path| path.parent().map(Path::to_owned);
    // A relative path without a directory has an empty parent.
    let written = parent(file).map(|parent| if parent.as_os_str().is_empty() { ".".into() } else { parent });
    let found = file.canonicalize().ok();
    let in_place = found.as_deref().and_then(parent);
    let itself = found.filter(|found| found.is_dir());
    [written, in_place, itself].into_iter().flatten().collect()
}

/// What tells one state of a file from another, without its content.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Print {
    file: Option<Stat>,
    /// The files right in it, if it is a directory.
    entries: Vec<(PathBuf, Option<Stat>)>,
}

/// Device, inode, size, and seconds and nanoseconds of the last change of content and of anything.
type Stat = [u64; 7];

impl Print {
    fn of(path: &Path) -> Self {
        let mut entries = Vec::new();
        if let Ok(directory) = std::fs::read_dir(path) {
            let paths = directory.flatten().take(MAX_ENTRIES).map(|entry| entry.path());
            entries = paths.map(|path| (path.clone(), stat(&path))).collect();
            entries.sort();
        }
        Self { file: stat(path), entries }
    }
}

fn stat(path: &Path) -> Option<Stat> {
    let of = std::fs::metadata(path).ok()?;
    let times = [of.mtime(), of.mtime_nsec(), of.ctime(), of.ctime_nsec()].map(i64::cast_unsigned);
    let [mtime, mtime_nsec, ctime, ctime_nsec] = times;
    Some([of.dev(), of.ino(), of.size(), mtime, mtime_nsec, ctime, ctime_nsec])
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// The next cause, which must come by an event: much sooner than the next look.
    async fn promptly(changes: &mut Changes) -> Cause {
        tokio::time::timeout(POLL / 2, changes.next()).await.expect("a change is seen")
    }

    async fn nothing(changes: &mut Changes) {
        let seen = tokio::time::timeout(Duration::from_millis(200), changes.next()).await;
        assert!(seen.is_err(), "{seen:?}");
    }

    fn names(path: &Path) -> Cause {
        Cause::File(path.to_owned())
    }

    #[tokio::test]
    async fn a_file_that_is_written_replaced_removed_and_back() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("tokens.json");
        fs::write(&file, "1").unwrap();
        let mut changes = Changes::of([file.clone()]).unwrap();
        nothing(&mut changes).await;
        fs::read(&file).unwrap();
        fs::write(directory.path().join("another"), "1").unwrap();
        nothing(&mut changes).await;

        fs::write(&file, "2").unwrap();
        assert_eq!(promptly(&mut changes).await, names(&file));
        fs::write(directory.path().join("new"), "3").unwrap();
        fs::rename(directory.path().join("new"), &file).unwrap();
        assert_eq!(promptly(&mut changes).await, names(&file));
        fs::remove_file(&file).unwrap();
        assert_eq!(promptly(&mut changes).await, names(&file));
        fs::write(&file, "4").unwrap();
        assert_eq!(promptly(&mut changes).await, names(&file));
        nothing(&mut changes).await;
    }

    #[tokio::test]
    async fn links_that_point_elsewhere() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        for version in ["..1", "..2", "..3"] {
            fs::create_dir(path(version)).unwrap();
            fs::write(path(version).join("tls.crt"), "same").unwrap();
        }
        // As Kubernetes mounts a secret, and renews it: the file is a link through a link to a directory.
        symlink("..1", path("..data")).unwrap();
        symlink("..data/tls.crt", path("tls.crt")).unwrap();
        let mut changes = Changes::of([path("tls.crt")]).unwrap();
        for (version, old) in [("..2", "..1"), ("..3", "..2")] {
            symlink(version, path("..tmp")).unwrap();
            fs::rename(path("..tmp"), path("..data")).unwrap();
            fs::remove_dir_all(path(old)).unwrap();
            assert_eq!(promptly(&mut changes).await, names(&path("tls.crt")), "{version}");
        }
        // What the link leads to now is watched, too.
        fs::write(path("..3").join("tls.crt"), "other").unwrap();
        assert_eq!(promptly(&mut changes).await, names(&path("tls.crt")));
        // As certbot does.
        fs::remove_file(path("tls.crt")).unwrap();
        symlink("..3/tls.crt", path("tls.crt")).unwrap();
        fs::write(path("fullchain2.pem"), "x").unwrap();
        while changes.seen != changes.prints().await {
            promptly(&mut changes).await;
        }
        fs::remove_file(path("tls.crt")).unwrap();
        symlink("fullchain2.pem", path("tls.crt")).unwrap();
        assert_eq!(promptly(&mut changes).await, names(&path("tls.crt")));
    }

    #[tokio::test]
    async fn a_directory_and_what_is_in_it() {
        let directory = tempfile::tempdir().unwrap();
        let policies = directory.path().join("policies");
        fs::create_dir(&policies).unwrap();
        fs::write(policies.join("a.json"), "1").unwrap();
        let mut changes = Changes::of([policies.clone()]).unwrap();
        fs::write(policies.join("a.json"), "2").unwrap();
        assert_eq!(promptly(&mut changes).await, names(&policies));
        fs::write(policies.join("b.json"), "1").unwrap();
        assert_eq!(promptly(&mut changes).await, names(&policies));
        fs::remove_file(policies.join("a.json")).unwrap();
        assert_eq!(promptly(&mut changes).await, names(&policies));
        // Another one of the same name.
        fs::rename(&policies, directory.path().join("old")).unwrap();
        fs::create_dir(&policies).unwrap();
        assert_eq!(promptly(&mut changes).await, names(&policies));
        fs::write(policies.join("a.json"), "1").unwrap();
        assert_eq!(promptly(&mut changes).await, names(&policies));
    }

    #[tokio::test]
    async fn other_files_from_now_on() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let mut changes = Changes::of([path("one")]).unwrap();
        changes.watch([path("two")]);
        fs::write(path("one"), "1").unwrap();
        nothing(&mut changes).await;
        fs::write(path("two"), "1").unwrap();
        assert_eq!(promptly(&mut changes).await, names(&path("two")));
    }

    #[tokio::test]
    async fn where_no_event_comes_files_are_looked_at() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("later").join("file");
        let mut changes = Changes::of([file.clone()]).unwrap();
        changes.watcher = None;
        tokio::time::pause();
        fs::create_dir(directory.path().join("later")).unwrap();
        fs::write(&file, "1").unwrap();
        assert_eq!(changes.next().await, names(&file));
    }
}
