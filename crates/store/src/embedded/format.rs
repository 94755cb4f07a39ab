//! The store's format version, and the steps from older formats to this one.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use super::options::OpenError;

/// Names the format; its presence makes a directory a store.
const FILE: &str = "FORMAT";
const MAGIC: &str = "macp-gateway store, format ";

/// Turns a store of one format into the next. Interrupted at any moment it is run again from its start, so it must
/// tolerate its own half-done work.
pub(super) type Step = fn(&Path) -> io::Result<()>;

/// The step at index i leads from format i + 1 to i + 2. This release writes the format that the last one leads to.
pub(super) const STEPS: &[Step] = &[];

/// Whether there is a store in `dir`, of whatever format. Opens nothing and takes no lock.
#[must_use]
pub fn is_store(dir: &Path) -> bool {
    dir.join(FILE).is_file()
}

/// Creates the version file of a new store, or brings an old store to the format that `steps` end in.
pub(super) fn prepare(dir: &Path, steps: &[Step]) -> Result<(), OpenError> {
    let supported = u32::try_from(steps.len()).unwrap_or(u32::MAX).saturating_add(1);
    let failed = |error: io::Error| OpenError::Failed { dir: dir.to_owned(), why: error.to_string() };
    let Some(mut found) = read(dir)? else {
        if let Some(stranger) = stranger(dir).map_err(failed)? {
            let why = format!("it has no {FILE} file, and holds {stranger:?}");
            return Err(OpenError::NotAStore { dir: dir.to_owned(), why });
        }
        return write(dir, supported).map_err(failed);
    };
    if found > supported {
        return Err(OpenError::Newer { dir: dir.to_owned(), found, supported });
    }
    while found < supported {
        tracing::info!(dir = %dir.display(), from = found, to = found + 1, "upgrading the store");
        steps[found as usize - 1](dir).map_err(failed)?;
        found += 1;
        write(dir, found).map_err(failed)?;
    }
    Ok(())
}

/// The directory's format; `None` when it has no version file.
fn read(dir: &Path) -> Result<Option<u32>, OpenError> {
    let text = match fs::read(dir.join(FILE)) {
        Ok(text) => String::from_utf8_lossy(&text).into_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(OpenError::Failed { dir: dir.to_owned(), why: format!("{FILE}: {error}") }),
    };
    let format = text.trim_end().strip_prefix(MAGIC).and_then(|number| number.parse().ok());
    match format {
        Some(0) | None => {
            let why = format!("its {FILE} file does not name a format");
            Err(OpenError::NotAStore { dir: dir.to_owned(), why })
        }
        format => Ok(format),
    }
}

/// Replaces the version file, so that a crash leaves the old or the new one.
fn write(dir: &Path, format: u32) -> io::Result<()> {
    let new = dir.join("FORMAT.new");
    let mut file = fs::File::create(&new)?;
    writeln!(file, "{MAGIC}{format}")?;
    file.sync_all()?;
    fs::rename(&new, dir.join(FILE))?;
    fs::File::open(dir)?.sync_all()
}

/// A file that a store without version file would not hold.
fn stranger(dir: &Path) -> io::Result<Option<std::ffi::OsString>> {
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        if name != "LOCK" && name != "FORMAT.new" && name != "lost+found" {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(dir: &Path) -> String {
        fs::read_to_string(dir.join(FILE)).unwrap()
    }

    #[test]
    fn version_1_is_led_through_every_step_once() {
        let dir = tempfile::tempdir().unwrap();
        prepare(dir.path(), &[]).unwrap();
        assert_eq!(text(dir.path()), "macp-gateway store, format 1\n");
        fn fails(_: &Path) -> io::Result<()> {
            Err(io::Error::other("interrupted"))
        }
        fn second(dir: &Path) -> io::Result<()> {
            fs::write(dir.join("second"), "done")
        }
        fn third(dir: &Path) -> io::Result<()> {
            assert!(dir.join("second").exists());
            fs::write(dir.join("third"), "done")
        }
        assert!(matches!(prepare(dir.path(), &[second, fails]), Err(OpenError::Failed { .. })));
        assert_eq!(text(dir.path()), "macp-gateway store, format 2\n", "what was done stays done");
        prepare(dir.path(), &[fails, third]).unwrap();
        assert_eq!(text(dir.path()), "macp-gateway store, format 3\n");
        assert!(dir.path().join("third").exists());
        prepare(dir.path(), &[fails, fails]).unwrap();
    }

    #[test]
    fn a_newer_format_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), STEPS.len() as u32 + 2).unwrap();
        let error = prepare(dir.path(), STEPS).unwrap_err();
        assert!(error.to_string().contains("written by a newer release"), "{error}");
    }

    #[test]
    fn a_directory_with_other_things_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("thesis.txt"), "years of work").unwrap();
        assert!(matches!(prepare(dir.path(), STEPS), Err(OpenError::NotAStore { .. })));
        fs::write(dir.path().join(FILE), "something else").unwrap();
        assert!(matches!(prepare(dir.path(), STEPS), Err(OpenError::NotAStore { .. })));
    }
}
