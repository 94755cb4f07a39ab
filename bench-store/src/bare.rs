//! The floor: the same bytes in one write and one data sync. Reads nothing back.
//!
//! Once at the end of a growing file, where each sync also waits for the file system's own journal to record the new
//! length; once into a file whose blocks were written before, where it does not.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::engines::{Engine, Put};

pub struct Bare {
    file: File,
    buffer: Vec<u8>,
}

impl Bare {
    pub fn open(dir: &Path) -> Self {
        let file = File::options().append(true).create(true).open(dir.join("log")).expect("file");
        Self { file, buffer: Vec::new() }
    }
}

impl Engine for Bare {
    fn commit(&mut self, puts: &[Put]) {
        self.buffer.clear();
        for put in puts {
            self.buffer.extend_from_slice(&put.id);
            self.buffer.extend_from_slice(&put.record);
            self.buffer.extend_from_slice(&put.summary);
        }
        self.file.write_all(&self.buffer).expect("write");
        self.file.sync_data().expect("sync");
    }

    fn list_live(&mut self) -> usize {
        0
    }

    fn read_tail(&mut self, _no: u64, _count: usize) -> usize {
        0
    }

    fn head(&mut self, _id: &[u8]) -> bool {
        true
    }
}

/// Segment size of the second floor.
const SEGMENT: usize = 64 << 20;

pub struct Written {
    file: File,
    at: usize,
    buffer: Vec<u8>,
}

impl Written {
    pub fn open(dir: &Path) -> Self {
        let mut file =
            File::options().write(true).create(true).truncate(true).open(dir.join("log")).expect("file");
        for _ in 0..SEGMENT >> 20 {
            file.write_all(&vec![0; 1 << 20]).expect("write");
        }
        file.sync_all().expect("sync");
        Self { file, at: 0, buffer: Vec::new() }
    }
}

impl Engine for Written {
    fn commit(&mut self, puts: &[Put]) {
        self.buffer.clear();
        for put in puts {
            self.buffer.extend_from_slice(&put.id);
            self.buffer.extend_from_slice(&put.record);
            self.buffer.extend_from_slice(&put.summary);
        }
        if self.at + self.buffer.len() > SEGMENT {
            self.at = 0;
        }
        self.file.write_all_at(&self.buffer, self.at as u64).expect("write");
        self.at += self.buffer.len();
        self.file.sync_data().expect("sync");
    }

    fn list_live(&mut self) -> usize {
        0
    }

    fn read_tail(&mut self, _no: u64, _count: usize) -> usize {
        0
    }

    fn head(&mut self, _id: &[u8]) -> bool {
        true
    }
}
