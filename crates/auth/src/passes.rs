//! Passes: what lets a browser's `EventSource` come back to the stream that it was cut from.
//!
//! An `EventSource` reconnects by itself, with the URL that it was made with; the ticket in there is used up. What else it
//! sends is the id of the last event that it got, so that is where the stream has put a pass. It is no part of a URL,
//! and good for one session and one page.

use std::collections::{BTreeSet, HashMap};

use macp_kernel::{Caller, UnixMillis};

use crate::page::{Bound, Page};

/// How long after its last stream a pass is good, in milliseconds.
const GRACE_MS: i64 = 300_000;
/// Passes that are kept for streams that are gone; the one whose time is up first makes room. Those of open streams are
/// as many as there are streams.
const RELEASED: usize = 16_384;

pub(crate) type Key = [u8; 32];

#[derive(Default)]
pub(crate) struct Passes {
    all: HashMap<Key, Entry>,
    /// Those that no stream holds, by the end of their time.
    released: BTreeSet<(UnixMillis, Key)>,
}

struct Entry {
    caller: Caller,
    bound: Bound,
    session_id: Box<str>,
    holders: usize,
    /// Only while nobody holds it.
    expires_at: UnixMillis,
}

impl Passes {
    /// A new pass, held once.
    pub(crate) fn insert(&mut self, key: Key, caller: &Caller, page: Page<'_>, session_id: &str) {
        let entry = Entry {
            caller: caller.clone(),
            bound: Bound::to(page),
            session_id: session_id.into(),
            holders: 1,
            expires_at: UnixMillis(i64::MAX),
        };
        self.all.insert(key, entry);
    }

    /// Holds a pass once more, if it is good: whose it is.
    pub(crate) fn hold(
        &mut self,
        key: &Key,
        page: Page<'_>,
        session_id: &str,
        now: UnixMillis,
    ) -> Option<Caller> {
        self.forget_expired(now);
        let entry = self.all.get_mut(key)?;
        if *entry.session_id != *session_id || !entry.bound.admits(page) || entry.caller.has_expired(now) {
            return None;
        }
        self.released.remove(&(entry.expires_at, *key));
        entry.holders += 1;
        Some(entry.caller.clone())
    }

    /// Gives back what [`Passes::insert`] and [`Passes::hold`] took.
    pub(crate) fn release(&mut self, key: &Key, now: UnixMillis) {
        let Some(entry) = self.all.get_mut(key) else { return };
        entry.holders = entry.holders.saturating_sub(1);
        if entry.holders == 0 {
            entry.expires_at = UnixMillis(now.0.saturating_add(GRACE_MS));
            self.released.insert((entry.expires_at, *key));
        }
        self.forget_expired(now);
        while self.released.len() > RELEASED
            && let Some((_, key)) = self.released.pop_first()
        {
            self.all.remove(&key);
        }
    }

    fn forget_expired(&mut self, now: UnixMillis) {
        while let Some((expires_at, key)) = self.released.first().copied()
            && expires_at <= now
        {
            self.released.pop_first();
            self.all.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_000_000);
    const KEY: Key = [1; 32];
    const PAGE: Page<'_> = Page { origin: None, own: None };

    fn later(ms: i64) -> UnixMillis {
        UnixMillis(NOW.0 + ms)
    }

    fn key(n: usize) -> Key {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&n.to_be_bytes());
        key
    }

    #[test]
    fn a_pass_outlives_its_stream_for_a_while() {
        let mut passes = Passes::default();
        let caller = Caller::new("agent://a");
        passes.insert(KEY, &caller, PAGE, "s");
        // The server may not have noticed yet that the first stream is gone.
        assert_eq!(passes.hold(&KEY, PAGE, "s", later(10_000_000)), Some(caller.clone()));
        passes.release(&KEY, later(10_000_000));
        assert_eq!(passes.released.len(), 0, "still held once");
        passes.release(&KEY, NOW);
        assert_eq!(passes.hold(&KEY, PAGE, "s", later(299_999)), Some(caller));
        assert_eq!(passes.released.len(), 0);
        passes.release(&KEY, later(299_999));
        assert_eq!(passes.hold(&KEY, PAGE, "s", later(599_999)), None);
        assert!(passes.all.is_empty() && passes.released.is_empty());
        passes.release(&KEY, NOW);
        assert!(passes.all.is_empty(), "an unknown pass is not released");
    }

    #[test]
    fn a_pass_is_for_one_session_and_one_page() {
        let mut passes = Passes::default();
        let app = Page { origin: Some("https://app.example"), own: Some(false) };
        passes.insert(KEY, &Caller::new("agent://a"), app, "s");
        assert_eq!(passes.hold(&KEY, app, "t", NOW), None);
        assert_eq!(passes.hold(&KEY, PAGE, "s", NOW), None);
        assert_eq!(passes.hold(&[2; 32], app, "s", NOW), None);
        assert!(passes.hold(&KEY, app, "s", NOW).is_some());
    }

    #[test]
    fn how_many_are_kept_is_bounded() {
        let mut passes = Passes::default();
        for n in 0..=RELEASED {
            passes.insert(key(n), &Caller::new("agent://a"), PAGE, "s");
            passes.release(&key(n), UnixMillis(i64::try_from(n).unwrap()));
        }
        assert_eq!((passes.all.len(), passes.released.len()), (RELEASED, RELEASED));
        assert_eq!(passes.hold(&key(0), PAGE, "s", UnixMillis(0)), None, "the oldest made room");
        assert!(passes.hold(&key(1), PAGE, "s", UnixMillis(0)).is_some());
    }
}
