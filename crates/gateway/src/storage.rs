//! Which store the settings mean, opened.

use std::sync::Arc;

use macp_store::{LogStore, MemoryStore};

use crate::cli::RunError;
use crate::config::Storage;

/// Opens the store.
pub(crate) fn open(storage: &Storage) -> Result<Arc<dyn LogStore>, RunError> {
    match storage {
        Storage::Memory => {
            tracing::warn!("sessions are kept in memory only (MACP_MEMORY_ONLY=1) and end with this process");
            Ok(Arc::new(MemoryStore::new()))
        }
        Storage::Directory(directory) => Err(RunError::start(
            format!("sessions cannot be kept in {}", directory.display()),
            "this release has no durable store yet; set MACP_MEMORY_ONLY=1 to keep sessions in memory",
        )),
    }
}
