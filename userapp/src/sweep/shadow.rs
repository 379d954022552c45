//! What the device's memory should hold.

use std::ops::Range;

/// How far around a transfer the device's memory is verified too, in bytes.
const MARGIN: u64 = 64;

/// A copy of the device's memory as it should be.
#[derive(Debug)]
pub(super) struct Shadow {
    memory: Vec<u8>,
}

impl Shadow {
    /// A device of this many bytes that holds nothing known.
    pub(super) fn new(length: usize) -> Self {
        Self { memory: vec![0; length] }
    }

    /// The bytes of a range.
    pub(super) fn bytes(&self, range: Range<u64>) -> &[u8] {
        &self.memory[indices(range)]
    }

    /// The bytes of a range, to be changed.
    pub(super) fn bytes_mut(&mut self, range: Range<u64>) -> &mut [u8] {
        &mut self.memory[indices(range)]
    }

    /// The range with what is around it.
    pub(super) fn widen(&self, range: &Range<u64>) -> Range<u64> {
        // CAST: the length of a vector fits in 64 bits.
        let end = (range.end + MARGIN).min(self.memory.len() as u64);
        range.start.saturating_sub(MARGIN)..end
    }
}

fn indices(range: Range<u64>) -> Range<usize> {
    // CAST: ranges of the device's memory, which the shadow has a copy of.
    range.start as usize..range.end as usize
}
