//! Buffers at a chosen page offset, with guard bytes on both sides.
//!
//! The driver gets exactly the bytes asked for, at exactly that place in a page; what lies before
//! and after them in memory belongs to the app and must not change. The guards reach a page and a
//! cache line out on both sides, so that a whole misplaced page is seen as well as one byte.

use std::ops::Range;

use crate::pattern::{Codec, Family, Tag};

/// The page size of every machine that Windows runs on, in bytes.
pub const PAGE: usize = 4096;
/// The cache line size assumed in reports, in bytes.
pub const LINE: usize = 64;
/// The guard on each side, in bytes.
pub const GUARD: usize = PAGE + LINE;
/// The transfer number that guard bytes carry.
pub const GUARD_TRANSFER: u32 = u32::MAX;

/// Whose data the guard bytes are.
pub const GUARD_TAG: Tag = Tag { transfer: GUARD_TRANSFER, family: Family::Plain };

/// Memory to place test buffers in. Everything that is not buffer is guard.
#[derive(Debug)]
pub struct Arena {
    memory: Vec<u8>,
    /// Where the first page boundary is in `memory`.
    page_start: usize,
    codec: Codec,
    buffer: Range<usize>,
}

/// An [`Arena`] without its memory.
#[derive(Clone, Debug)]
pub struct Shape {
    page_start: usize,
    codec: Codec,
    buffer: Range<usize>,
}

/// Guard bytes that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    /// Which side of the buffer.
    pub side: Side,
    /// How far from the buffer the nearest changed byte is; 0 is the byte next to it.
    pub nearest: usize,
    /// How far from the buffer the farthest changed byte is.
    pub farthest: usize,
    /// What should be there, from the lowest to the highest changed byte.
    pub expected: Vec<u8>,
    /// What is there.
    pub actual: Vec<u8>,
}

/// A side of the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Lower addresses.
    Before,
    /// Higher addresses.
    After,
}

impl Arena {
    /// An arena for buffers of up to `length_max` bytes at any page offset.
    #[must_use]
    pub fn new(codec: Codec, length_max: usize) -> Self {
        // One page to reach a page boundary, two for the guard before, which must end anywhere in
        // a page, then the buffer and the guard after it.
        let mut memory = vec![0; 4 * PAGE + length_max + GUARD];
        let address = memory.as_ptr().addr();
        let page_start = address.next_multiple_of(PAGE) - address;
        codec.fill(GUARD_TAG, 0, &mut memory);
        let start = page_start + 2 * PAGE;
        Self { memory, page_start, codec, buffer: start..start }
    }

    /// Moves the buffer. Its bytes are guard bytes until they are filled.
    ///
    /// # Panics
    ///
    /// If the buffer is longer than the arena was made for, or `page_offset` is no page offset.
    pub fn place(&mut self, page_offset: usize, length: usize) {
        assert!(page_offset < PAGE, "{page_offset} is no page offset");
        self.restore();
        let start = self.page_start + 2 * PAGE + page_offset;
        self.buffer = start..start + length;
        assert!(self.buffer.end + GUARD <= self.memory.len(), "the arena is too short");
    }

    /// The offset of the buffer's first byte in its page.
    #[must_use]
    pub fn page_offset(&self) -> usize {
        (self.buffer.start - self.page_start) % PAGE
    }

    /// Where the buffer is in the arena: two buffers whose numbers overlap share memory.
    #[must_use]
    pub fn position(&self) -> usize {
        self.buffer.start - self.page_start
    }

    /// The buffer.
    #[must_use]
    pub fn buffer(&self) -> &[u8] {
        &self.memory[self.buffer.clone()]
    }

    /// The buffer, to be filled or handed to the driver.
    pub fn buffer_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.buffer.clone()]
    }

    /// Takes the arena apart, for an owner of memory who knows nothing of guards: what is needed
    /// to put it together again, the memory, which must not move meanwhile, and the buffer in it.
    #[must_use]
    pub fn into_parts(self) -> (Shape, Vec<u8>, Range<usize>) {
        let Self { memory, page_start, codec, buffer } = self;
        (Shape { page_start, codec, buffer: buffer.clone() }, memory, buffer)
    }

    /// Puts an arena together again.
    #[must_use]
    pub fn from_parts(shape: Shape, memory: Vec<u8>) -> Self {
        let Shape { page_start, codec, buffer } = shape;
        Self { memory, page_start, codec, buffer }
    }

    /// Looks at every guard byte within reach of the buffer. At most one breach for each side.
    #[must_use]
    pub fn breaches(&self) -> Vec<Breach> {
        [Side::Before, Side::After].into_iter().filter_map(|side| self.breach(side)).collect()
    }

    fn guard(&self, side: Side) -> Range<usize> {
        match side {
            Side::Before => self.buffer.start - GUARD..self.buffer.start,
            Side::After => self.buffer.end..self.buffer.end + GUARD,
        }
    }

    fn breach(&self, side: Side) -> Option<Breach> {
        let guard = self.guard(side);
        let bytes = &self.memory[guard.clone()];
        let first = self.codec.first_mismatch(GUARD_TAG, guard.start as u64, bytes)?;
        let mut expected = vec![0; bytes.len()];
        self.codec.fill(GUARD_TAG, guard.start as u64, &mut expected);
        let last = (first..bytes.len()).rev().find(|&at| bytes[at] != expected[at])?;
        let (nearest, farthest) = match side {
            Side::Before => (GUARD - 1 - last, GUARD - 1 - first),
            Side::After => (first, last),
        };
        let actual = bytes[first..=last].to_vec();
        let expected = expected[first..=last].to_vec();
        Some(Breach { side, nearest, farthest, expected, actual })
    }

    /// Turns the buffer, and whatever was broken around it, into guard bytes again.
    fn restore(&mut self) {
        let reach = self.buffer.start - GUARD..self.buffer.end + GUARD;
        if self.breaches().is_empty() {
            let start = self.buffer.start as u64;
            self.codec.fill(GUARD_TAG, start, &mut self.memory[self.buffer.clone()]);
        } else {
            self.codec.fill(GUARD_TAG, reach.start as u64, &mut self.memory[reach]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arena() -> Arena {
        Arena::new(Codec::new(1), 10_000)
    }

    #[test]
    fn the_buffer_lies_at_its_page_offset() {
        let mut arena = arena();
        for page_offset in [0, 1, 63, 64, 4095] {
            arena.place(page_offset, 10_000);
            assert_eq!(arena.buffer().as_ptr().addr() % PAGE, page_offset);
            assert_eq!(arena.page_offset(), page_offset);
            assert_eq!(arena.buffer().len(), 10_000);
        }
    }

    #[test]
    fn writing_the_whole_buffer_breaks_no_guard() {
        let mut arena = arena();
        for length in [0, 1, 4096, 10_000] {
            arena.place(77, length);
            arena.buffer_mut().fill(0xEE);
            assert_eq!(arena.breaches(), []);
        }
    }

    #[test]
    fn one_changed_byte_is_found_on_either_side_up_to_a_page_and_a_line_away() {
        for distance in [0, 1, 63, 64, 4096, GUARD - 1] {
            let mut arena = arena();
            arena.place(100, 50);
            let before = arena.buffer.start - 1 - distance;
            let after = arena.buffer.end + distance;
            arena.memory[before] ^= 1;
            arena.memory[after] ^= 1;
            let breaches = arena.breaches();
            assert_eq!(breaches.len(), 2);
            for breach in &breaches {
                assert_eq!((breach.nearest, breach.farthest), (distance, distance));
                assert_eq!(breach.expected[0] ^ breach.actual[0], 1);
            }
        }
    }

    #[test]
    fn a_breach_spans_from_its_first_to_its_last_byte() {
        let mut arena = arena();
        arena.place(0, 50);
        let end = arena.buffer.end;
        let broken: Vec<u8> = arena.memory[end + 3..end + 10].iter().map(|byte| !byte).collect();
        arena.memory[end + 3..end + 10].copy_from_slice(&broken);
        let breaches = arena.breaches();
        assert_eq!(breaches.len(), 1);
        assert_eq!(breaches[0].side, Side::After);
        assert_eq!((breaches[0].nearest, breaches[0].farthest), (3, 9));
        assert_eq!(breaches[0].actual, broken);
    }

    #[test]
    fn placing_again_repairs_what_was_broken() {
        let mut arena = arena();
        arena.place(0, 5000);
        arena.buffer_mut().fill(1);
        let end = arena.buffer.end;
        arena.memory[end..end + 100].fill(0);
        arena.place(3, 20);
        assert_eq!(arena.breaches(), []);
    }
}
