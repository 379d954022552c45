//! Programmed reads into an MDL's buffer, as far as the border shows them (DMA-86).

use super::{Content, Mdl};

/// What was done with a device, and by all of the machine's.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Activity {
    /// Bytes read from the device's registers.
    pub read: u64,
    /// Bus-master writes of all devices.
    pub mastered: u64,
}

impl Mdl {
    /// It is for a request to the device in this slot.
    pub(in crate::memory) fn is_for(self, slot: Option<usize>) {
        self.state().slot = slot;
    }

    /// The slot of the device whose request it belongs to.
    pub(in crate::memory) fn slot(self) -> Option<usize> {
        self.state().slot
    }

    /// Maps it into system space, unless it is mapped.
    pub(in crate::memory) fn map_once(self, now: Activity) {
        if self.header().MappedSystemVa.is_null() {
            self.set_mapped(true);
            self.open(now);
        }
    }

    /// The processor has its system address from now on.
    pub(in crate::memory) fn open(self, now: Activity) {
        self.state().opened = Some(now.read);
    }

    /// It was locked just now.
    pub(in crate::memory) fn begin(self, now: Activity) {
        self.state().mastered = now.mastered;
    }

    /// Whether `length` bytes that a read returned were copied from registers, and the flush that
    /// ends such a read is missing (DMA-86): no device wrote to memory since the buffer was locked,
    /// a common buffer included, from which the data might be; and since the processor has had it,
    /// so many bytes were read from the registers of the request's own device.
    pub(in crate::memory) fn lacks_pio_flush(self, now: Activity, length: u64) -> bool {
        let state = self.state();
        let Some(read) = state.opened else { return false };
        matches!(state.content, Content::Locked { write: true })
            && length != 0
            && now.mastered == state.mastered
            && now.read - read >= length
    }
}
