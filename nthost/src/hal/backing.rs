//! Memory of common buffers, with tags around what the driver asked for (DMA-25).

// UNSAFETY: raw memory.

use std::alloc::{Layout, alloc, dealloc};
use std::ptr::NonNull;

use super::registers::FILL;
use crate::memory::PAGE;

/// What stands before and behind a common buffer.
const TAG: [u8; 8] = *b"DmaVrfy0";

/// Memory of a common buffer: a page for the tag before it, its pages, a page for the tag behind.
#[derive(Debug)]
pub(super) struct Backing {
    memory: NonNull<u8>,
    layout: Layout,
}

// SAFETY: owned memory without an owner's thread.
unsafe impl Send for Backing {}

impl Backing {
    /// Memory for `length` bytes, with its tags; `None` if there is none.
    pub(super) fn new(length: usize) -> Option<Self> {
        let pages = length.div_ceil(PAGE) + 2;
        let layout = Layout::from_size_align(pages * PAGE, PAGE).ok()?;
        // SAFETY: the layout has a size.
        let memory = NonNull::new(unsafe { alloc(layout) })?;
        // SAFETY: the layout's size was just allocated.
        unsafe { memory.write_bytes(FILL, layout.size()) };
        memory.as_ptr().expose_provenance();
        let backing = Self { memory, layout };
        backing.write_tag(PAGE - TAG.len());
        backing.write_tag(PAGE + length);
        Some(backing)
    }

    /// Address of a byte, counted from the page before the buffer.
    pub(super) fn at(&self, offset: usize) -> *mut u8 {
        assert!(offset < self.layout.size());
        // SAFETY: within the allocation, as just asserted.
        unsafe { self.memory.as_ptr().add(offset) }
    }

    fn write_tag(&self, offset: usize) {
        assert!(offset + TAG.len() <= self.layout.size());
        let place: *mut [u8; 8] = self.at(offset).cast();
        // SAFETY: the tag's bytes lie within the allocation, as just asserted.
        unsafe { place.write(TAG) };
    }

    /// Address of the first byte in a range of the allocation that is not what was written.
    fn first_change(&self, from: usize, expected: impl Iterator<Item = u8>) -> Option<usize> {
        expected.zip(from..).find_map(|(byte, offset)| {
            let at = self.at(offset);
            // SAFETY: within the allocation.
            let found = unsafe { at.read() };
            (found != byte).then(|| at.addr())
        })
    }

    /// What was written outside of the buffer: 1 before it or 2 behind it, where, and in words.
    pub(super) fn stray(&self, length: usize) -> Option<(u64, usize, &'static str)> {
        let end = PAGE + length;
        let padding = end.next_multiple_of(PAGE).max(end + TAG.len()) - end - TAG.len();
        let before = self.first_change(PAGE - TAG.len(), TAG.into_iter());
        let behind = TAG.into_iter().chain(std::iter::repeat_n(FILL, padding));
        let behind = self.first_change(end, behind);
        before.map(|at| (1, at, "before")).or(behind.map(|at| (2, at, "behind")))
    }
}

impl Drop for Backing {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout.
        unsafe { dealloc(self.memory.as_ptr(), self.layout) };
    }
}
