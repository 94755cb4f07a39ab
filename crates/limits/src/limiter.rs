//! A bounded table of what each key has used lately.
//!
//! Each shard has two generations. What is touched moves to the younger one; when that is half of what the shard may
//! hold, or a window old, it becomes the older one, and what was left in there is forgotten: keys that nobody has used
//! for a window, or, under more keys than there is room for, those that were used least recently. So a key that is used
//! a lot is always remembered, and a forgotten one gains no more than what it had used.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher, RandomState};

use parking_lot::Mutex;

/// Keys that a table remembers at most.
pub const REMEMBERED: usize = 65_536;
/// Independent parts, so that callers seldom wait for each other.
const SHARDS: usize = 16;

/// So much in a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// What one key may use.
    pub amount: u64,
    /// Milliseconds in which it may do so; at least one.
    pub window_ms: u32,
}

/// What one key has used.
pub trait Usage: Default {
    /// Uses so much, if there is room at `now_ms`; if not, milliseconds until there is, at least one.
    ///
    /// # Errors
    /// Those milliseconds. Nothing is used then.
    fn take(&mut self, quota: Quota, amount: u64, now_ms: i64) -> Result<(), u64>;

    /// Whether this is worth no more than not to be remembered.
    fn is_idle(&self, quota: Quota, now_ms: i64) -> bool;
}

/// Limits what each of any number of keys uses, in bounded memory.
#[derive(Debug)]
pub struct Limiter<U> {
    quota: Quota,
    secret: RandomState,
    /// Keys in one generation of a shard.
    generation: usize,
    shards: Box<[Mutex<Shard<U>>]>,
}

#[derive(Debug)]
struct Shard<U> {
    younger: Keys<U>,
    older: Keys<U>,
    /// When the younger generation began.
    since: Option<i64>,
}

type Keys<U> = HashedMap<U>;

impl<U: Usage> Limiter<U> {
    /// The limit for each of at most [`REMEMBERED`] keys.
    #[must_use]
    pub fn new(quota: Quota) -> Self {
        Self::remembering(quota, REMEMBERED)
    }

    /// The limit for each of at most so many keys.
    #[must_use]
    pub fn remembering(quota: Quota, keys: usize) -> Self {
        let shard = || Mutex::new(Shard { younger: Keys::default(), older: Keys::default(), since: None });
        Self {
            quota: Quota { window_ms: quota.window_ms.max(1), ..quota },
            secret: RandomState::new(),
            generation: (keys / SHARDS / 2).max(1),
            shards: (0..SHARDS).map(|_| shard()).collect(),
        }
    }

    /// What each key may use.
    #[must_use]
    pub fn quota(&self) -> Quota {
        self.quota
    }

    /// Uses so much of what the key may, at this time in milliseconds since anything.
    ///
    /// # Errors
    /// Milliseconds until there may be room. Nothing was used.
    pub fn take(&self, key: &(impl Hash + ?Sized), amount: u64, now_ms: i64) -> Result<(), u64> {
        let key = self.secret.hash_one(key);
        // The lower bits choose the place within a shard.
        let shard = usize::try_from(key >> 60).unwrap_or_default() % SHARDS;
        let mut shard = self.shards[shard].lock();
        shard.turn(self.quota, self.generation, now_ms);
        let Shard { younger, older, .. } = &mut *shard;
        let usage = younger.entry(key).or_insert_with(|| older.remove(&key).unwrap_or_default());
        usage.take(self.quota, amount, now_ms)
    }

    /// Keys that are remembered now.
    #[must_use]
    pub fn remembered(&self) -> usize {
        let keys = |shard: &Mutex<Shard<U>>| {
            let shard = shard.lock();
            shard.younger.len() + shard.older.len()
        };
        self.shards.iter().map(keys).sum()
    }
}

impl<U: Usage> Shard<U> {
    fn turn(&mut self, quota: Quota, generation: usize, now_ms: i64) {
        let since = *self.since.get_or_insert(now_ms);
        let full = self.younger.len() >= generation;
        // A clock that was set back is not waited for.
        let aged = now_ms < since || now_ms - since >= i64::from(quota.window_ms);
        if !(full || aged) {
            return;
        }
        self.since = Some(now_ms);
        let mut forgotten = std::mem::replace(&mut self.older, std::mem::take(&mut self.younger));
        if !full {
            // Nobody has touched these for a window. Whoever is in debt for longer stays, as far as there is room.
            forgotten.retain(|_, usage| !usage.is_idle(quota, now_ms));
            let room = generation.saturating_sub(1);
            self.younger.extend(forgotten.into_iter().take(room));
        }
    }
}

/// The keys are hashes already.
#[derive(Debug, Default)]
pub(crate) struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

/// A map whose keys are hashes.
pub(crate) type HashedMap<V> = HashMap<u64, V, BuildHasherDefault<Hashed>>;
