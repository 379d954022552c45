//! First-fit allocation of contiguous runs of map registers or logical pages.

/// The free runs of a numbered resource.
#[derive(Clone, Debug)]
pub(super) struct Extents {
    /// First number and length of each free run, sorted, never adjacent.
    free: Vec<(u32, u32)>,
}

impl Extents {
    /// `count` free numbers from 0 on.
    pub(super) fn new(count: u32) -> Self {
        let mut free = Vec::with_capacity(16);
        if count != 0 {
            free.push((0, count));
        }
        Self { free }
    }

    /// Takes `count` numbers in a row: the first of them.
    pub(super) fn take(&mut self, count: u32) -> Option<u32> {
        let at = self.free.iter().position(|&(_, length)| length >= count)?;
        let (start, length) = self.free[at];
        if length == count {
            self.free.remove(at);
        } else {
            self.free[at] = (start + count, length - count);
        }
        Some(start)
    }

    /// Gives numbers back that [`Extents::take`] gave.
    pub(super) fn give(&mut self, start: u32, count: u32) {
        let at = self.free.partition_point(|&(other, _)| other < start);
        let joins_next = self.free.get(at).is_some_and(|&(next, _)| start + count == next);
        let joins_last = at > 0 && {
            let (last, length) = self.free[at - 1];
            debug_assert!(last + length <= start, "given back twice");
            last + length == start
        };
        match (joins_last, joins_next) {
            (true, true) => {
                self.free[at - 1].1 += count + self.free[at].1;
                self.free.remove(at);
            }
            (true, false) => self.free[at - 1].1 += count,
            (false, true) => self.free[at] = (start, count + self.free[at].1),
            (false, false) => self.free.insert(at, (start, count)),
        }
    }

    /// Whether `count` numbers in a row are free.
    pub(super) fn fits(&self, count: u32) -> bool {
        self.free.iter().any(|&(_, length)| length >= count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn total(extents: &Extents) -> u32 {
        extents.free.iter().map(|&(_, length)| length).sum()
    }

    #[test]
    fn what_is_given_back_joins_its_neighbours() {
        let mut extents = Extents::new(10);
        let runs = [3, 3, 4].map(|n| extents.take(n).expect("there is room"));
        assert!(!extents.fits(1));

        for (start, count) in [(runs[0], 3), (runs[2], 4), (runs[1], 3)] {
            extents.give(start, count);
        }

        assert_eq!(extents.take(10), Some(0));
    }

    proptest! {
        #[test]
        #[cfg_attr(miri, ignore = "it needs files")]
        fn runs_never_overlap_and_nothing_is_lost(
            steps in prop::collection::vec((1u32..20, any::<prop::sample::Index>()), 1..200)
        ) {
            let mut extents = Extents::new(100);
            let mut live: Vec<(u32, u32)> = Vec::new();
            for (count, which) in steps {
                if let Some(start) = extents.take(count) {
                    prop_assert!(start + count <= 100);
                    prop_assert!(live.iter().all(|&(s, c)| start + count <= s || s + c <= start));
                    live.push((start, count));
                } else if !live.is_empty() {
                    let (start, count) = live.swap_remove(which.index(live.len()));
                    extents.give(start, count);
                }
                let used: u32 = live.iter().map(|&(_, count)| count).sum();
                prop_assert_eq!(total(&extents) + used, 100);
                prop_assert!(extents.free.windows(2).all(|w| w[0].0 + w[0].1 < w[1].0));
            }
        }
    }
}
