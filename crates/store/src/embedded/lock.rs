//! The exclusive lock on a data directory.

use std::fs::{File, TryLockError};
use std::io::{Read, Write};
use std::path::Path;

use super::options::OpenError;

/// Held for as long as the store is open. The operating system releases it when the process ends, however it ends.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock, or names who has it.
    pub(super) fn acquire(dir: &Path) -> Result<Self, OpenError> {
        let failed = |error: std::io::Error| OpenError::Failed {
            dir: dir.to_owned(),
            why: format!("lock file: {error}"),
        };
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(dir.join("LOCK"))
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                // Only for the message: without it the process is not named.
                let pid = file.read_to_string(&mut pid).ok().and_then(|_| pid.trim().parse().ok());
                return Err(OpenError::InUse { dir: dir.to_owned(), pid });
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let written = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
        if let Err(error) = written {
            // A full disk must not keep the store from opening; the lock itself is held.
            tracing::warn!(%error, "the process id could not be written into the lock file");
        }
        Ok(Self { _file: file })
    }
}
