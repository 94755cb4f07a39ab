//! Places that keys hold at a time, given back when they are dropped.

use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::limiter::HashedMap;

/// Independent parts, so that callers seldom wait for each other.
const SHARDS: usize = 16;

/// How many places each key holds. Only keys that hold one take up memory.
#[derive(Default)]
pub struct Places {
    secret: RandomState,
    shards: [Mutex<HashedMap<u64>>; SHARDS],
}

impl fmt::Debug for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Places(of {} keys)", self.keys())
    }
}

impl Places {
    /// Nobody holds one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a place for a key that holds fewer than so many; `None` if it holds as many already.
    #[must_use]
    pub fn take(self: &Arc<Self>, key: &(impl Hash + ?Sized), at_most: u64) -> Option<Place> {
        let key = self.secret.hash_one(key);
        let mut shard = self.shard(key).lock();
        let held = shard.entry(key).or_default();
        if *held >= at_most {
            if *held == 0 {
                shard.remove(&key);
            }
            return None;
        }
        *held += 1;
        Some(Place { of: Arc::clone(self), key })
    }

    /// Takes a place without a guard, to be given back by [`Places::release`]; how many the key held before.
    pub fn reserve(&self, key: &(impl Hash + ?Sized)) -> u64 {
        let key = self.secret.hash_one(key);
        let mut shard = self.shard(key).lock();
        let held = shard.entry(key).or_default();
        *held += 1;
        *held - 1
    }

    /// Gives back a place that [`Places::reserve`] took.
    pub fn release(&self, key: &(impl Hash + ?Sized)) {
        self.give_back(self.secret.hash_one(key));
    }

    /// Keys that hold a place now.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    fn shard(&self, key: u64) -> &Mutex<HashedMap<u64>> {
        &self.shards[usize::try_from(key >> 60).unwrap_or_default() % SHARDS]
    }

    fn give_back(&self, key: u64) {
        let mut shard = self.shard(key).lock();
        if let Some(held) = shard.get_mut(&key) {
            *held = held.saturating_sub(1);
            if *held == 0 {
                shard.remove(&key);
                // A burst of keys leaves no room behind that nobody needs.
                if shard.capacity() > 1024 && shard.len() < shard.capacity() / 8 {
                    shard.shrink_to_fit();
                }
            }
        }
    }
}

/// A place; dropping it gives it back.
#[must_use = "it is given back when it is dropped"]
pub struct Place {
    of: Arc<Places>,
    key: u64,
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Place")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.of.give_back(self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_come_back_and_leave_nothing_behind() {
        let places = Arc::new(Places::new());
        let first = places.take("a", 2);
        let second = places.take("a", 2);
        assert!(first.is_some() && second.is_some() && places.take("a", 2).is_none());
        assert!(places.take("b", 2).is_some(), "keys are apart");
        assert!(places.take("c", 0).is_none());
        drop(first);
        assert!(places.take("a", 2).is_some());
        drop(second);
        assert_eq!(places.keys(), 0);
    }
}
