//! The seam at which tests make commits fail.

use std::fmt::Debug;
use std::io;

/// Decides which commits fail, and where. Every method succeeds unless it is overridden.
pub trait Faults: Debug + Send + Sync {
    /// Asked before a commit reaches the file.
    ///
    /// # Errors
    /// The error that the commit shall fail with, having written nothing.
    fn before_commit(&self) -> io::Result<()> {
        Ok(())
    }

    /// Asked after a commit was written and synced, before anyone hears of it.
    ///
    /// # Errors
    /// The error that the commit shall fail with although its bytes are in the file: a failing sync.
    fn after_commit(&self) -> io::Result<()> {
        Ok(())
    }

    /// Asked before the tables are opened again after a failed commit.
    ///
    /// # Errors
    /// The error that this shall fail with.
    fn before_reopen(&self) -> io::Result<()> {
        Ok(())
    }
}
