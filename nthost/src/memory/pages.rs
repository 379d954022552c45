//! Physical pages: which simulated page frame stands for which page of this process.
//!
//! A page of process memory has a frame from its first lock to its last unlock. Frames lie at
//! 4 GiB or above and are scattered by the machine's seed, so that neighbouring virtual pages have
//! no neighbouring frames. Looking up the host address of a frame takes no lock.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

/// Bytes of a page.
pub(crate) const PAGE: usize = 4096;
/// Bits of a page offset.
pub(crate) const PAGE_SHIFT: u32 = 12;

/// The first frame: 4 GiB.
const FIRST_FRAME: u64 = 0x10_0000;
/// Bits of a slot number: at most 16 GiB are locked at a time.
const SLOT_BITS: u32 = 22;
const SLOTS: u64 = 1 << SLOT_BITS;
/// Slots of one chunk of the table.
const CHUNK: usize = 4096;
/// The first frame behind all memory.
const END_FRAME: u64 = FIRST_FRAME + 2 * SLOTS;

/// First physical address behind all memory that a machine can have.
pub(crate) const END_OF_MEMORY: u64 = END_FRAME << PAGE_SHIFT;
/// First physical address of memory.
pub(crate) const START_OF_MEMORY: u64 = FIRST_FRAME << PAGE_SHIFT;

/// Hashes page and frame numbers: one multiplication.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NumberHasher(u64);

impl Hasher for NumberHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(self.0 ^ u64::from(byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(26);
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }
}

/// A map keyed by page or frame numbers.
pub(crate) type NumberMap<K, V> = HashMap<K, V, BuildHasherDefault<NumberHasher>>;

/// A bijection between slots and frames.
#[derive(Clone, Copy, Debug)]
struct Scatter {
    factor: u64,
    inverse: u64,
    shift: u64,
}

impl Scatter {
    fn new(seed: u64) -> Self {
        let mixed = mix(seed);
        // Odd, so that it has an inverse; far from 0 and from the slots' number, so that slots in
        // a row land far apart.
        let factor = (mixed & (SLOTS / 2 - 1)) | (SLOTS / 8) | 1;
        let mut inverse = factor;
        for _ in 0..5 {
            inverse = inverse.wrapping_mul(2u64.wrapping_sub(factor.wrapping_mul(inverse)));
        }
        Self { factor, inverse, shift: (mixed >> 32) & (SLOTS - 1) }
    }

    fn frame(self, slot: u32) -> u64 {
        let scattered = u64::from(slot).wrapping_mul(self.factor).wrapping_add(self.shift);
        FIRST_FRAME + (scattered & (SLOTS - 1))
    }

    fn slot(self, frame: u64) -> Option<usize> {
        let scattered = frame.checked_sub(FIRST_FRAME).filter(|&n| n < SLOTS)?;
        let slot = scattered.wrapping_sub(self.shift).wrapping_mul(self.inverse) & (SLOTS - 1);
        // CAST: below the number of slots.
        Some(slot as usize)
    }
}

/// Mixes the bits of a number (the finaliser of splitmix64).
pub(crate) const fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}

#[derive(Debug, Default)]
struct Index {
    /// Page number to slot.
    slots: NumberMap<usize, u32>,
    /// Locks of each slot.
    locks: Vec<u32>,
    free: Vec<u32>,
}

/// Host address of the page behind each slot of a chunk; zero if free.
type Chunk = Box<[AtomicUsize]>;

/// The physical pages of one machine.
pub(crate) struct PageTable {
    scatter: Scatter,
    chunks: Box<[OnceLock<Chunk>]>,
    index: Mutex<Index>,
}

impl std::fmt::Debug for PageTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PageTable").field("locked", &self.locked()).finish_non_exhaustive()
    }
}

impl PageTable {
    pub(super) fn new(seed: u64) -> Self {
        let index = Index {
            slots: NumberMap::with_capacity_and_hasher(2 * CHUNK, BuildHasherDefault::default()),
            ..Index::default()
        };
        // CAST: 1024 chunks.
        let chunks = (0..SLOTS as usize / CHUNK).map(|_| OnceLock::new()).collect();
        Self { scatter: Scatter::new(seed), chunks, index: Mutex::new(index) }
    }

    /// Locks the pages that `addresses` lie in, and tells each one's frame.
    ///
    /// # Panics
    /// When more than 16 GiB are locked.
    pub(super) fn lock(&self, first: usize, count: usize, mut tell: impl FnMut(usize, u64)) {
        let mut guard = self.index.lock();
        let index = &mut *guard;
        for page in 0..count {
            let slot = match index.slots.entry(first + page) {
                Entry::Occupied(entry) => *entry.get(),
                Entry::Vacant(entry) => {
                    let slot = index.free.pop().unwrap_or_else(|| {
                        index.locks.push(0);
                        // CAST: checked against the number of slots by `host`.
                        (index.locks.len() - 1) as u32
                    });
                    self.host(slot).store((first + page) << PAGE_SHIFT, Ordering::Release);
                    *entry.insert(slot)
                }
            };
            index.locks[slot as usize] += 1;
            tell(page, self.scatter.frame(slot));
        }
    }

    /// Unlocks `count` pages from page number `first` on; a page without a lock is forgotten.
    pub(super) fn unlock(&self, first: usize, count: usize) {
        let mut guard = self.index.lock();
        let index = &mut *guard;
        for page in first..first + count {
            let Entry::Occupied(entry) = index.slots.entry(page) else { continue };
            let slot = *entry.get();
            let locks = &mut index.locks[slot as usize];
            *locks -= 1;
            if *locks == 0 {
                entry.remove();
                index.free.push(slot);
                self.host(slot).store(0, Ordering::Release);
            }
        }
    }

    fn host(&self, slot: u32) -> &AtomicUsize {
        let slot = slot as usize;
        let chunk = self.chunks.get(slot / CHUNK).expect("no machine locks more than 16 GiB");
        let chunk = chunk.get_or_init(|| (0..CHUNK).map(|_| AtomicUsize::new(0)).collect());
        &chunk[slot % CHUNK]
    }

    /// Host address of the page behind a frame, while it is locked.
    #[inline]
    pub(crate) fn host_address(&self, frame: u64) -> Option<usize> {
        let slot = self.scatter.slot(frame)?;
        let address = self.chunks[slot / CHUNK].get()?[slot % CHUNK].load(Ordering::Acquire);
        (address != 0).then_some(address)
    }

    /// The physical address of a byte: in its frame, or in one that no lock will ever have.
    pub(super) fn physical(&self, address: usize) -> u64 {
        let page = address >> PAGE_SHIFT;
        let slot = self.index.lock().slots.get(&page).copied();
        let frame = slot.map_or_else(
            // CAST: a number to be mixed.
            || FIRST_FRAME + SLOTS + (mix(page as u64 ^ self.scatter.shift) & (SLOTS - 1)),
            |slot| self.scatter.frame(slot),
        );
        // CAST: below a page.
        (frame << PAGE_SHIFT) | (address % PAGE) as u64
    }

    /// Pages locked at present.
    pub(crate) fn locked(&self) -> usize {
        self.index.lock().slots.len()
    }
}

/// Pages that a range of bytes touches.
#[inline]
pub(crate) fn span(offset: usize, length: usize) -> usize {
    if length == 0 { 0 } else { (offset % PAGE + length).div_ceil(PAGE) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(table: &PageTable, first: usize, count: usize) -> Vec<u64> {
        let mut frames = vec![0; count];
        table.lock(first, count, |page, frame| frames[page] = frame);
        frames
    }

    #[test]
    fn neighbouring_pages_have_frames_far_apart_at_4_gib_or_above() {
        for seed in 0..20 {
            let table = PageTable::new(seed);

            let frames = frames(&table, 0x1000, 500);

            assert!(frames.iter().all(|&f| f >= FIRST_FRAME));
            assert!(frames.windows(2).all(|pair| pair[0].abs_diff(pair[1]) > 1000));
        }
    }

    #[test]
    fn a_page_keeps_its_frame_while_any_lock_lives_and_is_forgotten_afterwards() {
        let table = PageTable::new(7);
        let first = frames(&table, 10, 1)[0];
        let second = frames(&table, 10, 1)[0];
        assert_eq!(first, second);

        table.unlock(10, 1);
        assert_eq!(table.host_address(first), Some(10 << PAGE_SHIFT));
        table.unlock(10, 1);

        assert_eq!(table.host_address(first), None);
        assert_eq!(table.locked(), 0);
    }

    #[test]
    fn different_seeds_scatter_differently_and_the_same_seed_alike() {
        let of = |seed| frames(&PageTable::new(seed), 0, 16);
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
    }

    #[test]
    fn the_physical_address_of_an_unlocked_page_is_nobodys() {
        let table = PageTable::new(3);
        let address = table.physical(0x5123);
        assert!((START_OF_MEMORY..END_OF_MEMORY).contains(&address));
        assert_eq!(address & 0xFFF, 0x123);
        assert_eq!(table.host_address(address >> PAGE_SHIFT), None);
    }

    #[test]
    fn spans_count_the_pages_touched() {
        assert_eq!(span(0, 4096), 1);
        assert_eq!(span(1, 4096), 2);
        assert_eq!(span(4095, 2), 2);
        assert_eq!(span(5, 0), 0);
    }
}
