//! Programmed reads into an MDL's buffer, as far as the border shows them (DMA-86).

use super::{Content, Mdl};

/// What a machine's devices had done when a buffer was opened to the processor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opened {
    /// Bytes read from registers.
    pub read: u64,
    /// Bus-master writes.
    pub mastered: u64,
}

impl Mdl {
    /// Maps it into system space, unless it is mapped.
    pub(in crate::memory) fn map_once(self, now: Opened) {
        if self.header().MappedSystemVa.is_null() {
            self.set_mapped(true);
            self.open(now);
        }
    }

    /// The processor has its system address from now on.
    pub(in crate::memory) fn open(self, now: Opened) {
        self.state().opened = Some(now);
    }

    /// Whether `length` bytes that a read returned were copied from registers, and the flush that
    /// ends such a read is missing (DMA-86): the processor had the buffer, no device wrote to
    /// memory meanwhile, and so many bytes were read from registers.
    pub(in crate::memory) fn lacks_pio_flush(self, now: Opened, length: u64) -> bool {
        let state = self.state();
        let Some(then) = state.opened else { return false };
        matches!(state.content, Content::Locked { write: true })
            && length != 0
            && now.mastered == then.mastered
            && now.read - then.read >= length
    }
}
