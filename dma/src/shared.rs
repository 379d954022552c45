//! Common buffers that processor and device use at the same time: rings and lists.

use core::sync::atomic::{Ordering, fence};

use crate::adapter::Adapter;
use crate::adapter::V2;
use crate::address::LogicalAddress;
use crate::common_buffer::{Cached, CommonBuffer};
use crate::irql::{AtMostDispatch, Passive};
use crate::mdl::DMA;
use crate::transfer::Direction;

/// Bytes of a word: what is loaded and stored at once.
const WORD: u32 = 8;

/// A cached common buffer in which processor and device each have parts of their own.
///
/// It is accessed in naturally aligned words of 64 bits, and between those accesses and the
/// device's stands a flush of the processor's caches, through the buffer's own MDL (DMA-90):
/// [`publish`](SharedBuffer::publish) after the processor has stored something for the device, and
/// [`observe`](SharedBuffer::observe) before it loads what the device has stored. No 64-byte line
/// may hold words that both sides store, or one side's flush undoes what the other one stored.
#[derive(Debug)]
#[must_use]
pub struct SharedBuffer(CommonBuffer<Cached>);

impl SharedBuffer {
    /// Takes a common buffer, zeroed.
    pub fn new(mut buffer: CommonBuffer<Cached>) -> Self {
        buffer.clear();
        Self(buffer)
    }

    /// Where the device finds it (DMA-24).
    #[must_use]
    pub fn address(&self) -> LogicalAddress {
        self.0.address()
    }

    /// Length, bytes.
    #[must_use]
    pub fn length(&self) -> u32 {
        self.0.length()
    }

    fn word(&self, offset: u32) -> Option<*mut u64> {
        let end = offset.checked_add(WORD)?;
        let inside = end <= self.0.length() && offset & (WORD - 1) == 0;
        // CAST: 32 bits fit a 64-bit usize.
        // SAFETY: inside the buffer by the line above.
        inside.then(|| unsafe { self.0.va().as_ptr().add(offset as usize) }.cast())
    }

    /// Stores a word at a byte offset that is a multiple of 8; nothing beyond the end.
    pub fn store(&self, offset: u32, value: u64) {
        if let Some(word) = self.word(offset) {
            // SAFETY: aligned, since common buffers begin at a page (DMA-22), and inside the
            // buffer; volatile, since the device reads it.
            unsafe { word.write_volatile(value) };
        }
    }

    /// Loads the word at a byte offset that is a multiple of 8; 0 beyond the end.
    #[must_use]
    pub fn load(&self, offset: u32) -> u64 {
        match self.word(offset) {
            // SAFETY: as for `store`; volatile, since the device writes it.
            Some(word) => unsafe { word.read_volatile() },
            None => 0,
        }
    }

    /// Stores zeros everywhere. The device does not use the buffer meanwhile.
    pub fn clear(&self) {
        let mut offset = 0;
        while offset < self.0.length() {
            self.store(offset, 0);
            offset = offset.saturating_add(WORD);
        }
    }

    /// Makes what was stored visible to the device: KeFlushIoBuffers for a transfer to it. IRQL: at
    /// most DISPATCH_LEVEL.
    pub fn publish(&self, _level: &impl AtMostDispatch) {
        self.flush(Direction::ToDevice);
        fence(Ordering::SeqCst);
    }

    /// Makes what the device has stored visible to the processor: KeFlushIoBuffers for a transfer
    /// from it, before a transfer begins and before every look. IRQL: at most DISPATCH_LEVEL.
    pub fn observe(&self, _level: &impl AtMostDispatch) {
        fence(Ordering::SeqCst);
        self.flush(Direction::FromDevice);
    }

    fn flush(&self, direction: Direction) {
        if let Some(mdl) = self.0.mdl() {
            mdl.flush_io_buffers(direction, DMA);
        }
    }

    /// Frees the buffer. IRQL: PASSIVE_LEVEL (DMA-30).
    ///
    /// # Safety
    /// The device does not use it any more.
    pub unsafe fn release(self, adapter: &Adapter<V2>, passive: &Passive) {
        self.0.release(adapter, passive);
    }

    /// Gives the buffer up for good: the device never stopped (DMA-30).
    pub fn abandon(self) {
        self.0.abandon();
    }
}
