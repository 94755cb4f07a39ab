//! Which store the settings mean, opened.

use std::sync::Arc;

use macp_store::embedded::{EmbeddedStore, Options};
use macp_store::{LogStore, MemoryStore};

use crate::cli::RunError;
use crate::config::Storage;

/// Opens the store. Blocks while a journal is read back.
pub(crate) fn open(storage: &Storage) -> Result<Arc<dyn LogStore>, RunError> {
    match storage {
        Storage::Memory => {
            tracing::warn!("sessions are kept in memory only (MACP_MEMORY_ONLY=1) and end with this process");
            Ok(Arc::new(MemoryStore::new()))
        }
        Storage::Directory(directory) => {
            let store = EmbeddedStore::open(directory, Options::default()).map_err(|error| {
                RunError::start(
                    format!("sessions cannot be kept in MACP_DATA_DIR={}", directory.display()),
                    format!("{error}; MACP_MEMORY_ONLY=1 keeps them in memory"),
                )
            })?;
            tracing::info!(directory = %directory.display(), "sessions are kept on disk");
            Ok(Arc::new(store))
        }
    }
}
