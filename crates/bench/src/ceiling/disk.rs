//! The bare disk: one record, one write, one data sync, over and over again.

use std::fs::{File, remove_file};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};

use crate::cli::DiskArgs;
use crate::client::Failure;
use crate::measure::Recorder;
use crate::process::usage;
use crate::report::{Report, Samples};

/// Size of the file that is written over.
const WRITTEN: usize = 64 << 20;

/// Measures the disk under a directory.
pub(crate) fn run(args: &DiskArgs) -> Result<Report, Failure> {
    let path = args.dir.join(format!("macp-bench-{}.tmp", std::process::id()));
    let outcome = measure(args, &path);
    // Gone in any case; if it was never made, there is nothing to remove.
    let _ = remove_file(&path);
    outcome.map_err(|error| Failure::new("disk", format!("{}: {error}", path.display())))
}

fn measure(args: &DiskArgs, path: &std::path::Path) -> std::io::Result<Report> {
    let mut file = File::options().write(true).create_new(true).open(path)?;
    let record = vec![0x5a; args.size.clamp(1, WRITTEN)];
    if args.overwrite {
        for _ in 0..WRITTEN >> 20 {
            file.write_all(&[0; 1 << 20])?;
        }
    }
    file.sync_all()?;
    let recorder = Recorder::always();
    let before = usage(std::process::id());
    let start = Instant::now();
    let mut at = 0;
    while start.elapsed() < Duration::from_secs_f64(args.duration) {
        let began = Instant::now();
        if args.overwrite && at + record.len() > WRITTEN {
            at = 0;
        }
        file.write_all_at(&record, at as u64)?;
        at += record.len();
        file.sync_data()?;
        recorder.done(0, began);
    }
    let elapsed = start.elapsed();
    let samples = Samples { client: (before, usage(std::process::id())), server: None };
    Ok(Report::new("disk", args, "synced records", elapsed, recorder.totals(), samples))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_of_writing_are_measured_and_leave_nothing_behind() {
        let dir = std::env::temp_dir().join(format!("macp-bench-test-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        for overwrite in [false, true] {
            let args = DiskArgs { dir: dir.clone(), size: 300, duration: 0.05, overwrite };
            let report = run(&args).unwrap();
            assert!(report.ok(), "{report}");
        }
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 0);
        std::fs::remove_dir(&dir).unwrap();
        let args = DiskArgs { dir, size: 300, duration: 0.05, overwrite: false };
        assert_eq!(run(&args).unwrap_err().code, "disk");
    }
}
