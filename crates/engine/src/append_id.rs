//! Ids of appends, by which an append of unknown outcome is recognised in the log.

use std::sync::atomic::{AtomicU64, Ordering};

/// Makes ids that no other append has, in this process or another one.
///
/// Random where processes differ, and counted where appends do: every append needs one, and asking the operating system
/// for random bytes each time costs more than writing a record to memory.
#[derive(Debug)]
pub(crate) struct AppendIds {
    engine: [u8; 8],
    next: AtomicU64,
}

impl AppendIds {
    pub(crate) fn new() -> Self {
        let [engine @ .., _, _, _, _, _, _, _, _] = uuid::Uuid::new_v4().into_bytes();
        Self { engine, next: AtomicU64::new(0) }
    }

    pub(crate) fn next(&self) -> [u8; 16] {
        let mut id = [0; 16];
        let (engine, count) = id.split_at_mut(8);
        engine.copy_from_slice(&self.engine);
        count.copy_from_slice(&self.next.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_id_comes_twice() {
        let engines: Vec<AppendIds> = (0..100).map(|_| AppendIds::new()).collect();
        let ids: BTreeSet<[u8; 16]> = engines.iter().flat_map(|ids| (0..100).map(|_| ids.next())).collect();
        assert_eq!(ids.len(), 10_000);
    }
}
