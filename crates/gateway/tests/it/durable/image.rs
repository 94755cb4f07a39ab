//! From the trace of a disk to the directories that a loss of power could have left.
//!
//! What a sync that was answered had to make durable is there. Everything later may be there or not: of a file's
//! unsynced writes none, all, the first few, or for each page of 4 KiB as many as reached it, the last of them in any of
//! its sectors of 512 bytes; its size as of any of these writes; and of the names that came and went without a sync of
//! their directory the first few. A name's sync does not sync what it names, and the other way round.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::ledger::Moment;
use super::random::Random;

const PAGE: usize = 4096;
const SECTOR: usize = 512;

/// A file's content; pages that are not there are zero.
#[derive(Clone, Default)]
struct Content {
    pages: BTreeMap<u64, Vec<u8>>,
    size: u64,
}

/// A change of a file.
#[derive(Clone)]
enum Change {
    Data { offset: u64, bytes: Vec<u8> },
    Truncate(u64),
}

/// A change of the names.
#[derive(Clone)]
enum Naming {
    File(PathBuf, usize),
    Directory(PathBuf),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

impl Naming {
    fn is_in(&self, directory: &Path) -> bool {
        let of = |path: &Path| path.parent() == Some(directory);
        match self {
            Self::File(path, _) | Self::Directory(path) | Self::Remove(path) => of(path),
            Self::Rename(from, to) => of(from) || of(to),
        }
    }
}

#[derive(Clone, Default)]
struct Object {
    durable: Content,
    /// Changes that no sync has covered, with their numbers.
    pending: Vec<(usize, Change)>,
}

/// A disk at one moment: what is certainly on it, and what may be.
#[derive(Clone, Default)]
pub(crate) struct Image {
    root: PathBuf,
    objects: Vec<Object>,
    by_inode: HashMap<u64, usize>,
    /// In order, with their numbers and whether a sync has covered them.
    names: Vec<(usize, Naming, bool)>,
    /// By their numbers: when they began, and of what.
    syncs: HashMap<u64, (usize, u64, Option<PathBuf>)>,
    next: usize,
    /// Whether syncs are believed; a disk that lies is to be found out.
    lies: bool,
}

impl Image {
    /// What is on a disk before anything happens to it.
    pub(crate) fn of(root: &Path) -> Self {
        let mut image = Self { root: root.to_owned(), next: 1, ..Self::default() };
        image.take_over(root);
        image
    }

    /// The same with a disk that forgets what it reported as synced.
    pub(crate) fn that_lies(self) -> Self {
        Self { lies: true, ..self }
    }

    fn take_over(&mut self, directory: &Path) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            if metadata.is_dir() {
                self.names.push((0, Naming::Directory(path.clone()), true));
                self.take_over(&path);
                continue;
            }
            let mut durable = Content { size: metadata.len(), ..Content::default() };
            for (at, page) in fs::read(&path).unwrap().chunks(PAGE).enumerate() {
                if page.iter().any(|byte| *byte != 0) {
                    let mut whole = page.to_vec();
                    whole.resize(PAGE, 0);
                    durable.pages.insert(at as u64, whole);
                }
            }
            self.by_inode.insert(metadata.ino(), self.objects.len());
            self.names.push((0, Naming::File(path, self.objects.len()), true));
            self.objects.push(Object { durable, pending: Vec::new() });
        }
    }

    /// Lets everything happen that the trace has up to this moment.
    pub(crate) fn play(&mut self, trace: &[u8], upto: Moment) {
        let mut left = &trace[..usize::try_from(upto).unwrap_or(usize::MAX).min(trace.len())];
        while let Some((length, rest)) = left.split_first_chunk() {
            let Some((record, rest)) = rest.split_at_checked(u32::from_le_bytes(*length) as usize) else {
                break;
            };
            self.happens(Fields(record));
            self.next += 1;
            left = rest;
        }
    }

    fn happens(&mut self, mut fields: Fields<'_>) {
        let now = self.next;
        let names = |image: &mut Self, naming| image.names.push((now, naming, false));
        match fields.byte() {
            1 => {
                let (inode, offset) = (fields.number(), fields.number());
                let change = Change::Data { offset, bytes: fields.0.to_vec() };
                self.object(inode).pending.push((now, change));
            }
            2 => {
                let (inode, size) = (fields.number(), fields.number());
                self.object(inode).pending.push((now, Change::Truncate(size)));
            }
            3 => {
                let (inode, path) = (fields.number(), fields.path());
                // The number may have belonged to a file that is gone.
                self.by_inode.insert(inode, self.objects.len());
                names(self, Naming::File(path, self.objects.len()));
                self.objects.push(Object::default());
            }
            4 => names(self, Naming::Directory(fields.path())),
            5 => {
                let (from, to) = (fields.path(), fields.path());
                names(self, Naming::Rename(from, to));
            }
            6 => names(self, Naming::Remove(fields.path())),
            7 => {
                let (number, inode) = (fields.number(), fields.number());
                let directory = (fields.byte() == 1).then(|| fields.path());
                self.syncs.insert(number, (now, inode, directory));
            }
            8 => {
                let sync = self.syncs.remove(&fields.number()).expect("a sync that began");
                if !self.lies {
                    self.synced(sync);
                }
            }
            other => panic!("a record of kind {other}"),
        }
    }

    fn object(&mut self, inode: u64) -> &mut Object {
        let at = *self.by_inode.get(&inode).expect("a file whose beginning was traced");
        &mut self.objects[at]
    }

    fn synced(&mut self, (began, inode, directory): (usize, u64, Option<PathBuf>)) {
        if let Some(directory) = directory {
            for (at, naming, durable) in &mut self.names {
                *durable |= *at < began && naming.is_in(&directory);
            }
            return;
        }
        let object = self.object(inode);
        let covered = object.pending.partition_point(|(at, _)| *at < began);
        for (_, change) in object.pending.drain(..covered) {
            object.durable.apply(&change);
        }
    }

    /// Makes one of the directories that could be left, at `into`.
    pub(crate) fn write(&self, random: &mut Random, into: &Path) {
        let unsynced: Vec<usize> = self.names.iter().filter(|name| !name.2).map(|name| name.0).collect();
        let kept = match random.below(4) {
            0 => 0,
            1 => unsynced.len(),
            _ => usize::try_from(random.below(unsynced.len() as u64 + 1)).unwrap(),
        };
        let last = unsynced[..kept].last().copied().unwrap_or(0);
        let mut files: BTreeMap<PathBuf, Option<usize>> = BTreeMap::new();
        for (at, naming, durable) in &self.names {
            if !durable && *at > last {
                continue;
            }
            let there = |path: &Path, files: &BTreeMap<PathBuf, Option<usize>>| {
                path.parent().is_some_and(|parent| parent == self.root || files.contains_key(parent))
            };
            match naming {
                Naming::File(path, _) | Naming::Directory(path) if !there(path, &files) => {
                    // In a directory whose own name was lost nobody finds it.
                }
                Naming::File(path, object) => {
                    files.insert(path.clone(), Some(*object));
                }
                Naming::Directory(path) => {
                    files.insert(path.clone(), None);
                }
                Naming::Rename(from, to) => {
                    if let Some(moved) = files.remove(from) {
                        files.insert(to.clone(), moved);
                    }
                }
                Naming::Remove(path) => {
                    files.remove(path);
                }
            }
        }
        fs::create_dir_all(into).unwrap();
        for (path, object) in files {
            let path = into.join(path.strip_prefix(&self.root).unwrap());
            match object {
                None => fs::create_dir(path).unwrap(),
                Some(object) => self.objects[object].left(random).write(&path),
            }
        }
    }
}

impl Object {
    /// What of the file is left.
    fn left(&self, random: &mut Random) -> Content {
        let mut content = self.durable.clone();
        let mut pending: Vec<&Change> = self.pending.iter().map(|(_, change)| change).collect();
        let kept = match random.below(4) {
            0 => 0,
            1 => pending.len(),
            _ => usize::try_from(random.below(pending.len() as u64 + 1)).unwrap(),
        };
        // Everything up to the last change of its length that is kept happened in order.
        let in_order = match random.below(2) {
            0 => kept,
            _ => pending
                .iter()
                .take(kept)
                .rposition(|one| matches!(one, Change::Truncate(_)))
                .map_or(0, |at| at + 1),
        };
        for change in pending.drain(..in_order) {
            content.apply(change);
        }
        if in_order < kept {
            let upto =
                pending.iter().position(|one| matches!(one, Change::Truncate(_))).unwrap_or(pending.len());
            content.scatter(&pending[..upto], random);
        }
        content
    }
}

impl Content {
    fn apply(&mut self, change: &Change) {
        match change {
            Change::Truncate(size) => {
                let size = *size;
                self.pages.retain(|page, _| page * PAGE as u64 <= size);
                if let Some(page) = self.pages.get_mut(&(size / PAGE as u64)) {
                    page[usize::try_from(size % PAGE as u64).unwrap()..].fill(0);
                }
                self.size = size;
            }
            Change::Data { offset, bytes } => {
                for (page, at, piece) in pieces(*offset, bytes) {
                    self.page(page)[at..at + piece.len()].copy_from_slice(piece);
                }
                self.size = self.size.max(offset + bytes.len() as u64);
            }
        }
    }

    fn page(&mut self, page: u64) -> &mut Vec<u8> {
        self.pages.entry(page).or_insert_with(|| vec![0; PAGE])
    }

    /// Of these writes each page has as many as happened to reach it.
    fn scatter(&mut self, writes: &[&Change], random: &mut Random) {
        let mut by_page: BTreeMap<u64, Vec<(usize, &[u8])>> = BTreeMap::new();
        let mut size = self.size;
        let as_of = random.below(writes.len() as u64 + 1) as usize;
        for (number, write) in writes.iter().enumerate() {
            let Change::Data { offset, bytes } = write else { continue };
            for (page, at, piece) in pieces(*offset, bytes) {
                by_page.entry(page).or_default().push((at, piece));
            }
            if number < as_of {
                size = size.max(offset + bytes.len() as u64);
            }
        }
        for (page, pieces) in by_page {
            let reached = random.below(pieces.len() as u64 + 1) as usize;
            for (at, piece) in &pieces[..reached] {
                self.page(page)[*at..at + piece.len()].copy_from_slice(piece);
            }
            if let Some((at, piece)) = pieces.get(reached) {
                for (sector, bytes) in sectors(*at, piece) {
                    if random.below(2) == 0 {
                        self.page(page)[sector..sector + bytes.len()].copy_from_slice(bytes);
                    }
                }
            }
        }
        self.apply(&Change::Truncate(size));
    }

    fn write(&self, path: &Path) {
        let file = File::create(path).unwrap();
        file.set_len(self.size).unwrap();
        for (page, bytes) in &self.pages {
            let offset = page * PAGE as u64;
            let length = usize::try_from(self.size.saturating_sub(offset)).unwrap().min(PAGE);
            file.write_all_at(&bytes[..length], offset).unwrap();
        }
    }
}

/// The parts of a write on each page: the page, where on it, and what.
fn pieces(offset: u64, bytes: &[u8]) -> impl Iterator<Item = (u64, usize, &[u8])> {
    parts(usize::try_from(offset).unwrap(), bytes, PAGE)
        .map(|(at, piece)| ((at / PAGE) as u64, at % PAGE, piece))
}

/// The parts of a write on each sector.
fn sectors(at: usize, bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    parts(at, bytes, SECTOR)
}

fn parts(mut at: usize, mut bytes: &[u8], unit: usize) -> impl Iterator<Item = (usize, &[u8])> {
    std::iter::from_fn(move || {
        let (piece, rest) = bytes.split_at(bytes.len().min(unit - at % unit));
        let begin = at;
        (at, bytes) = (at + piece.len(), rest);
        (!piece.is_empty()).then_some((begin, piece))
    })
}

/// The fields of a record.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn byte(&mut self) -> u8 {
        let (byte, rest) = self.0.split_first().unwrap();
        self.0 = rest;
        *byte
    }

    fn number(&mut self) -> u64 {
        let (number, rest) = self.0.split_first_chunk().unwrap();
        self.0 = rest;
        u64::from_le_bytes(*number)
    }

    fn path(&mut self) -> PathBuf {
        let (length, rest) = self.0.split_first_chunk().unwrap();
        let (path, rest) = rest.split_at(u32::from_le_bytes(*length) as usize);
        self.0 = rest;
        String::from_utf8(path.to_vec()).unwrap().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, fields: &[&[u8]]) -> Vec<u8> {
        let body: Vec<u8> = [&[kind][..], &fields.concat()].concat();
        [&u32::try_from(body.len()).unwrap().to_le_bytes()[..], &body].concat()
    }

    fn text(path: &str) -> Vec<u8> {
        [&u32::try_from(path.len()).unwrap().to_le_bytes()[..], path.as_bytes()].concat()
    }

    /// A file that is created, written, synced, written again: only what the syncs cover is certain.
    #[test]
    fn syncs_keep_what_they_cover_and_nothing_else_is_certain() {
        let n = |number: u64| number.to_le_bytes();
        let sync = |number: u64, inode: u64, directory: bool, path: &str| {
            [
                record(7, &[&n(number), &n(inode), &[u8::from(directory)], &text(path)]),
                record(8, &[&n(number)]),
            ]
            .concat()
        };
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name).to_str().unwrap().to_owned();
        let trace = [
            record(3, &[&n(7), &text(&path("a"))]),
            record(1, &[&n(7), &n(0), b"first"]),
            sync(0, 7, false, &path("a")),
            sync(1, 1, true, root.path().to_str().unwrap()),
            record(3, &[&n(8), &text(&path("b"))]),
            record(1, &[&n(7), &n(5), &[b'x'; 9000]]),
        ]
        .concat();
        let mut outcomes: BTreeMap<(bool, Vec<u8>), usize> = BTreeMap::new();
        for seed in 0..200 {
            let mut image = Image::of(root.path());
            image.play(&trace, trace.len() as u64);
            let into = tempfile::tempdir().unwrap();
            image.write(&mut Random::new(seed), into.path());
            let content = fs::read(into.path().join("a")).unwrap();
            assert_eq!(&content[..5], b"first");
            *outcomes.entry((into.path().join("b").exists(), content)).or_default() += 1;
            let mut liar = Image::of(root.path()).that_lies();
            liar.play(&trace, trace.len() as u64);
            let into = tempfile::tempdir().unwrap();
            liar.write(&mut Random::new(seed), into.path());
            outcomes.entry((true, fs::read(into.path().join("a")).unwrap_or_default())).or_default();
        }
        assert!(outcomes.len() > 20, "many things may happen: {}", outcomes.len());
        assert!(outcomes.keys().any(|(_, content)| content.is_empty()), "and with a liar anything");
        assert!(outcomes.keys().any(|(exists, _)| *exists) && outcomes.keys().any(|(exists, _)| !*exists));
    }
}
