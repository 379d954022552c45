//! Counts by place, and the place of the n-th of all that is counted: in a time that does not grow
//! with the places as a walk over them would.

/// Places of a block.
const BLOCK: usize = 64;

/// A count for each of some places, numbered from 0.
#[derive(Debug, Default)]
pub(super) struct Counts {
    each: Vec<u32>,
    /// The sums of [`BLOCK`] places each.
    blocks: Vec<u32>,
    total: u32,
}

impl Counts {
    /// The count of a place is this from now on.
    pub(super) fn set(&mut self, place: usize, count: u32) {
        if place >= self.each.len() {
            self.each.resize(place + 1, 0);
            self.blocks.resize(place / BLOCK + 1, 0);
        }
        let before = std::mem::replace(&mut self.each[place], count);
        let block = &mut self.blocks[place / BLOCK];
        *block = *block - before + count;
        self.total = self.total - before + count;
    }

    /// The sum.
    pub(super) fn total(&self) -> u32 {
        self.total
    }

    /// The place of number `n`, counted from 0 through all places in order, and its number there.
    pub(super) fn find(&self, n: u32) -> Option<(usize, u32)> {
        let (block, left) = nth(&self.blocks, n)?;
        let first = block * BLOCK;
        let (place, left) = nth(&self.each[first..], left)?;
        Some((first + place, left))
    }
}

/// The index of the count that number `n` falls into, and its number there.
fn nth(counts: &[u32], mut n: u32) -> Option<(usize, u32)> {
    for (index, &count) in counts.iter().enumerate() {
        if n < count {
            return Some((index, n));
        }
        n -= count;
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_nth_is_where_a_walk_finds_it(
            changes in proptest::collection::vec((0_usize..200, 0_u32..65), 0..300),
        ) {
            let mut counts = Counts::default();
            let mut plain = [0_u32; 200];
            for (place, count) in changes {
                counts.set(place, count);
                plain[place] = count;
            }
            prop_assert_eq!(counts.total(), plain.iter().sum::<u32>());
            for n in 0..=counts.total() {
                prop_assert_eq!(counts.find(n), nth(&plain, n));
            }
        }
    }
}
