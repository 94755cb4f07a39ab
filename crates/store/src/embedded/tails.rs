//! Tails of hot streams in memory, so that their appends read nothing.

use std::collections::HashMap;

use bytes::Bytes;

use super::layout::Tail;

/// A bounded map in two generations: what was not used during one generation leaves with the next.
#[derive(Debug)]
pub(super) struct Tails {
    young: HashMap<Bytes, Tail>,
    old: HashMap<Bytes, Tail>,
    generation: usize,
}

impl Tails {
    pub(super) fn new(capacity: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), generation: (capacity / 2).max(1) }
    }

    pub(super) fn get(&mut self, stream: &Bytes) -> Option<Tail> {
        if let Some(tail) = self.young.get(stream) {
            return Some(*tail);
        }
        let tail = self.old.remove(stream)?;
        self.put(stream.clone(), tail);
        Some(tail)
    }

    pub(super) fn put(&mut self, stream: Bytes, tail: Tail) {
        if self.young.len() >= self.generation && !self.young.contains_key(&stream) {
            self.old = std::mem::take(&mut self.young);
        }
        // An older tail in the other generation is never seen again: this one is found first and outlives it.
        self.young.insert(stream, tail);
    }

    /// Forgets the tail of a stream that was removed.
    pub(super) fn remove(&mut self, stream: &Bytes) {
        self.young.remove(stream);
        self.old.remove(stream);
    }

    /// Forgets everything; the next use reads the disk.
    pub(super) fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail(sequence: u64) -> Tail {
        Tail { number: 1, sequence, link: [0; 32], live: true }
    }

    #[test]
    fn keeps_what_is_used_and_never_an_old_tail() {
        let mut tails = Tails::new(8);
        let hot = Bytes::from("hot");
        for n in 0..100_u64 {
            tails.put(hot.clone(), tail(n));
            tails.put(Bytes::from(n.to_string()), tail(n));
            assert_eq!(tails.get(&hot), Some(tail(n)));
            assert!(tails.young.len() + tails.old.len() <= 8);
        }
        assert_eq!(tails.get(&Bytes::from("0")), None);
        tails.clear();
        assert_eq!(tails.get(&hot), None);
    }
}
