//! The on-card memory: as much host memory as was touched.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use crate::exerciser::MEMORY_LENGTH;

/// Bytes that come into being together.
const CHUNK: usize = 0x1_0000;

/// The on-card memory, all zeros at first.
pub(super) struct Memory {
    chunks: Vec<Option<Box<[u8]>>>,
}

impl Memory {
    pub(super) fn new() -> Self {
        // CAST: 16 MiB.
        let count = MEMORY_LENGTH as usize / CHUNK;
        Self { chunks: (0..count).map(|_| None).collect() }
    }

    /// The chunk of an offset and where in it the offset is.
    fn locate(offset: u64) -> Option<(usize, usize)> {
        let offset = usize::try_from(offset).ok()?;
        Some((offset / CHUNK, offset % CHUNK))
    }

    /// At most `most` bytes at `offset`, up to the end of a chunk; nothing beyond the memory.
    pub(super) fn part(&mut self, offset: u64, most: usize) -> &mut [u8] {
        let Some((index, within)) = Self::locate(offset) else { return &mut [] };
        let Some(chunk) = self.chunks.get_mut(index) else { return &mut [] };
        let chunk = chunk.get_or_insert_with(|| vec![0; CHUNK].into_boxed_slice());
        let end = within.saturating_add(most).min(CHUNK);
        &mut chunk[within..end]
    }

    /// Copies bytes out without making any memory exist.
    pub(super) fn peek(&self, offset: u64, data: &mut [u8]) {
        let mut done = 0;
        while done < data.len() {
            // CAST: `usize` to `u64` keeps every value.
            let found = offset.checked_add(done as u64).and_then(Self::locate);
            let Some((index, within)) = found else { return data[done..].fill(0) };
            let length = (data.len() - done).min(CHUNK - within);
            let target = &mut data[done..done + length];
            match self.chunks.get(index).and_then(Option::as_ref) {
                Some(chunk) => target.copy_from_slice(&chunk[within..within + length]),
                None => target.fill(0),
            }
            done += length;
        }
    }

    pub(super) fn resident(&self) -> usize {
        self.chunks.iter().flatten().count() * CHUNK
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_touched_exists() {
        let mut memory = Memory::new();
        let mut data = [1; 8];
        memory.peek(0, &mut data);
        assert_eq!((data, memory.resident()), ([0; 8], 0));

        memory.part(MEMORY_LENGTH - 4, 100).fill(7);

        memory.peek(MEMORY_LENGTH - 6, &mut data);
        assert_eq!(data, [0, 0, 7, 7, 7, 7, 0, 0]);
        assert_eq!(memory.resident(), CHUNK);
        assert!(memory.part(MEMORY_LENGTH, 4).is_empty());
        assert!(memory.part(u64::MAX, 4).is_empty());
    }
}
