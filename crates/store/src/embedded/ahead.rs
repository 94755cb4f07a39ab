//! Zeros written ahead of the journal's end, so that a commit overwrites blocks that exist.
//!
//! The engine makes a journal file as long as it may become, and all of it is a hole. A data sync of bytes that went
//! into a hole has the file system allocate blocks and commit that in its own journal, which takes half as long again
//! as the bytes themselves (`macp-bench ceiling disk`, with and without `--overwrite`). So now and then, when everyone
//! has been answered, the next stretch of the hole is filled with the zeros that it is read as.
//!
//! What is written never changes what the file holds: only a hole is filled, found to be one at that moment, and
//! nobody else writes at that moment, since the engine's journal is written by commits alone (each leaves the engine's
//! buffer empty) and the committer that commits is the one that calls this. A journal that was opened again is
//! appended to at its end and has no hole; it stays as it is until the engine begins the next one.

use std::fs::File;
use std::io::{self, IoSlice, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use super::journal;

/// Zeros that are written at a time.
const STRETCH: u64 = 1 << 20;
/// They are written when about so many are left.
const REST: u64 = 128 << 10;
/// Bytes of commits before the first: what hardly stores anything shall not take a megabyte for it.
const IDLE: u64 = 64 << 10;

/// What the journal has behind its end.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    /// The journal file that was filled last.
    filled: Option<PathBuf>,
    /// Bytes of commits until the journal is looked at.
    credit: u64,
}

impl Ahead {
    pub(super) fn new() -> Self {
        Self { filled: None, credit: IDLE }
    }

    /// A commit was synced, and none is under way; it took at most so many bytes of the journal.
    pub(super) fn committed(&mut self, bytes: u64, tables_dir: &Path) {
        self.credit = self.credit.saturating_sub(bytes);
        if self.credit == 0 {
            self.credit = STRETCH;
            if let Err(error) = self.fill(tables_dir) {
                // Without it commits are slower, and that is all. A full disk tells the commits so themselves.
                tracing::debug!(%error, "no zeros ahead of the journal's end");
            }
        }
    }

    /// Fills the next stretch of the newest journal file's hole.
    fn fill(&mut self, tables_dir: &Path) -> io::Result<()> {
        let Some(path) = journal::files(tables_dir)?.pop() else { return Ok(()) };
        let file = File::options().write(true).open(&path)?;
        let Some(hole) = hole(&file)? else { return Ok(()) };
        write_zeros(&file, hole.start, STRETCH.min(hole.end - hole.start))?;
        if self.filled.as_ref() != Some(&path) {
            // Nothing is left of a stretch before.
            self.credit = STRETCH - REST;
            self.filled = Some(path);
        }
        Ok(())
    }
}

/// The hole that reaches to the end of the file.
#[cfg(target_os = "linux")]
fn hole(file: &File) -> io::Result<Option<std::ops::Range<u64>>> {
    use rustix::fs::{SeekFrom, seek};

    let end = file.metadata()?.len();
    // A file system that knows of no holes puts one at the end of the file.
    let start = seek(file, SeekFrom::Hole(0))?;
    if start >= end {
        return Ok(None);
    }
    match seek(file, SeekFrom::Data(start)) {
        Err(rustix::io::Errno::NXIO) => Ok(Some(start..end)),
        Err(error) => Err(error.into()),
        Ok(_) => Ok(None),
    }
}

/// Other systems have other ways to find holes, and file systems that were not measured.
#[cfg(not(target_os = "linux"))]
fn hole(_file: &File) -> io::Result<Option<std::ops::Range<u64>>> {
    Ok(None)
}

/// Writes zeros, in one call where the system takes them all at once.
fn write_zeros(mut file: &File, at: u64, length: u64) -> io::Result<()> {
    static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
    file.seek(SeekFrom::Start(at))?;
    let mut left = usize::try_from(length).map_err(io::Error::other)?;
    while left > 0 {
        let whole = std::iter::repeat_n(ZEROS.len(), left / ZEROS.len());
        let parts: Vec<_> =
            whole.chain([left % ZEROS.len()]).map(|count| IoSlice::new(&ZEROS[..count])).collect();
        match file.write_vectored(&parts)? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => left -= written,
        }
    }
    Ok(())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed helper is a failed test")]

    use std::fs;

    use super::*;
    use crate::embedded::tests::{append, findings, length, open};
    use crate::log::LogStore as _;

    /// Where the zeros or the data of the only journal file end, and how long it is.
    fn reach(dir: &Path) -> (u64, u64) {
        let path = journal::files(&dir.join("tables")).unwrap().pop().unwrap();
        let file = File::options().read(true).open(path).unwrap();
        let end = file.metadata().unwrap().len();
        (hole(&file).unwrap().map_or(end, |hole| hole.start), end)
    }

    #[tokio::test]
    async fn commits_go_into_blocks_that_exist() {
        let dir = tempfile::TempDir::new().unwrap();
        let store = open(&dir);
        let before = reach(dir.path());
        if before.0 == before.1 {
            // A file system without holes: nothing to fill, and nothing is.
            return;
        }
        assert!(before.0 < IDLE, "an empty store takes nothing");
        for at in 1..=600 {
            store.append(append("s", at, vec![7; 4096])).await.unwrap();
            let committed = at * 4096;
            if committed > 2 * IDLE {
                let (zeros, _) = reach(dir.path());
                assert!(zeros > committed + REST / 2, "{zeros} after {committed}");
                assert!(zeros < committed + 2 * STRETCH, "{zeros} after {committed}");
            }
        }
        assert_eq!(reach(dir.path()).1, before.1, "the file is as long as it was");
        drop(store);
        // The engine cuts the zeros off and goes on at the end.
        let store = open(&dir);
        assert_eq!(findings(&store), [""; 0]);
        for at in 601..=700 {
            store.append(append("s", at, vec![7; 4096])).await.unwrap();
        }
        drop(store);
        assert_eq!(length(&open(&dir), "s").await, 700);
    }

    #[test]
    fn only_a_hole_at_the_end_is_filled() {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("7.jnl");
        let file = File::create(&path).unwrap();
        write_at(&file, &[1; 5000], 0);
        write_at(&file, &[2; 5000], 3 << 20);
        file.set_len(4 << 20).unwrap();
        let mut expected = fs::read(&path).unwrap();
        let mut ahead = Ahead::new();
        for _ in 0..8 {
            ahead.committed(2 * STRETCH, dir.path());
        }
        assert!(fs::read(&path).unwrap() == expected, "it reads as before");
        assert_eq!(hole(&file).unwrap(), None, "and has a hole only before the second data");
        // A file that ends with its data has nothing to fill.
        expected.truncate(5000);
        fs::write(&path, &expected).unwrap();
        ahead.committed(2 * STRETCH, dir.path());
        assert!(fs::read(&path).unwrap() == expected);
    }

    fn write_at(file: &File, bytes: &[u8], at: u64) {
        std::os::unix::fs::FileExt::write_all_at(file, bytes, at).unwrap();
    }
}
