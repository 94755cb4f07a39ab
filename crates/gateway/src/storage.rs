//! Which store the settings mean, opened.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use macp_store::embedded::{EmbeddedStore, Options};
use macp_store::{LogStore, MemoryStore};

use crate::cli::RunError;
use crate::config::Storage;

/// An opened store.
pub(crate) struct Store {
    /// As the engine knows it.
    pub(crate) log: Arc<dyn LogStore>,
    /// The same with what is told of it to operators, if it is on a disk.
    pub(crate) embedded: Option<Arc<EmbeddedStore>>,
}

/// Opens the store. Blocks while a journal is read back.
pub(crate) fn open(storage: &Storage) -> Result<Store, RunError> {
    match storage {
        Storage::Memory => {
            tracing::warn!("sessions are kept in memory only (MACP_MEMORY_ONLY=1) and end with this process");
            Ok(Store { log: Arc::new(MemoryStore::new()), embedded: None })
        }
        Storage::Directory(directory) => {
            let store = EmbeddedStore::open(directory, Options::default()).map_err(|error| {
                RunError::start(
                    format!("sessions cannot be kept in MACP_DATA_DIR={}", directory.display()),
                    match who_may_write(directory) {
                        Some(advice) => format!("{error}; {advice}"),
                        None => format!("{error}; MACP_MEMORY_ONLY=1 keeps them in memory"),
                    },
                )
            })?;
            tracing::info!(directory = %directory.display(), "sessions are kept on disk");
            let store = Arc::new(store);
            Ok(Store { log: Arc::clone(&store) as Arc<dyn LogStore>, embedded: Some(store) })
        }
    }
}

/// What to do if this process may not write there, as in a container with a directory of the host that belongs to root.
fn who_may_write(directory: &Path) -> Option<String> {
    let probe = directory.join(".writable");
    match fs::create_dir_all(directory).and_then(|()| fs::File::create(&probe)) {
        Ok(_) => {
            // Whatever it is that failed, it is something else. An empty file does no harm where it stays.
            let _ = fs::remove_file(probe);
            None
        }
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            let me = fs::metadata("/proc/self").ok()?.uid();
            let there = directory.ancestors().find_map(|path| Some((path, fs::metadata(path).ok()?)));
            let (place, owner) = there.map(|(path, found)| (path.display().to_string(), found.uid()))?;
            Some(format!(
                "{place} belongs to user {owner} and this process is user {me}: `chown -R {me} {place}` on the host, \
                 or run as its owner (docker run --user {owner})"
            ))
        }
        Err(_) => None,
    }
}
