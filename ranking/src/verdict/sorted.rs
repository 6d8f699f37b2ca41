//! A sorted collection without a byte to spare.

use std::mem;

/// Bytes of a block: all have the same size, so that what one frees another one takes. jemalloc would use a page more for
/// each of more than 14 KiB.
const BLOCK: usize = 8 << 10;
/// Least number of entries that wait to be merged.
const LEAST_WAITING: usize = 1024;

/// Distinct entries in ascending order, in blocks that are full, and at most a sixteenth of as many that wait to be merged
/// into them. A tree's nodes, or a vector that doubles, would leave up to half of the memory empty.
///
/// Adding `n` entries takes time in proportion to `n log n`.
#[derive(Clone, Debug)]
pub(super) struct Sorted<T> {
    blocks: Vec<Vec<T>>,
    merged: usize,
    waiting: Vec<T>,
    /// Puts what the second entry says into the first, which is equal to it.
    absorb: fn(&mut T, T),
}

impl<T: Ord + Copy> Sorted<T> {
    pub(super) fn new(absorb: fn(&mut T, T)) -> Sorted<T> {
        Sorted {
            blocks: Vec::new(),
            merged: 0,
            waiting: Vec::new(),
            absorb,
        }
    }

    pub(super) fn add(&mut self, entry: T) {
        if self.waiting.len() == self.waiting.capacity() {
            self.merge();
            let most = LEAST_WAITING.max(self.merged / 16);
            // Seldom: each time leaves a hole where it was.
            if most >= 2 * self.waiting.capacity() {
                self.waiting.reserve_exact(most);
            }
        }
        self.waiting.push(entry);
    }

    /// Merges what waits: block by block, so that each is freed before the next one is needed.
    fn merge(&mut self) {
        let mut waiting = mem::take(&mut self.waiting);
        waiting.sort_unstable();
        let mut earlier = waiting.iter().copied().peekable();
        let merged = mem::take(&mut self.blocks);
        self.merged = 0;
        for entry in merged.into_iter().flatten() {
            while let Some(earlier) = earlier.next_if(|earlier| *earlier <= entry) {
                self.append(earlier);
            }
            self.append(entry);
        }
        earlier.for_each(|last| self.append(last));
        waiting.clear();
        self.waiting = waiting;
    }

    /// Adds an entry that is not less than any.
    fn append(&mut self, entry: T) {
        let full = BLOCK / size_of::<T>();
        match self.blocks.last_mut() {
            Some(block) if block[block.len() - 1] == entry => {
                let at = block.len() - 1;
                (self.absorb)(&mut block[at], entry);
                return;
            }
            Some(block) if block.len() < full => block.push(entry),
            _ => {
                let mut block = Vec::with_capacity(full);
                block.push(entry);
                self.blocks.push(block);
            }
        }
        self.merged += 1;
    }

    /// The entries, in blocks.
    pub(super) fn finish(mut self) -> Blocks<T> {
        self.merge();
        Blocks {
            blocks: self.blocks,
            len: self.merged,
        }
    }
}

/// Distinct entries in ascending order.
pub(super) struct Blocks<T> {
    blocks: Vec<Vec<T>>,
    len: usize,
}

impl<T: Ord> Blocks<T> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.blocks.iter().flatten()
    }

    pub(super) fn contains(&self, entry: &T) -> bool {
        let after = self.blocks.partition_point(|block| block[0] <= *entry);
        let block = after.checked_sub(1).map(|at| &self.blocks[at]);
        block.is_some_and(|block| block.binary_search(entry).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(50))]
        #[test]
        fn entries_are_those_of_a_set(added in proptest::collection::vec(0u64..20_000, 0..12_000)) {
            let mut sorted = Sorted::new(|_, _| {});
            added.iter().for_each(|entry| sorted.add(*entry));
            let sorted = sorted.finish();
            let set: BTreeSet<u64> = added.into_iter().collect();
            prop_assert_eq!(sorted.len(), set.len());
            prop_assert!(sorted.iter().eq(&set));
            for entry in 0..20_100 {
                prop_assert_eq!(sorted.contains(&entry), set.contains(&entry));
            }
        }
    }

    #[test]
    fn no_memory_is_left_empty() {
        let mut sorted = Sorted::new(|_, _| {});
        for _ in 0..3 {
            // In no order.
            (0..200_000u64).for_each(|n| sorted.add(n * 7_919 % 200_000));
        }
        let entries: usize = sorted.blocks.iter().map(Vec::capacity).sum::<usize>() + sorted.waiting.capacity();
        assert!(entries < 220_000, "{entries}");
    }
}
