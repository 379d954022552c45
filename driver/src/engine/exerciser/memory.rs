//! The memory that driver and exerciser share: rings and lists.

use testdev::exerciser::command::ELEMENT_LENGTH;
use testdev::exerciser::{ELEMENTS_MAX, Element, QUEUES};
use wdk_dma::irql::Dispatch;
use wdk_dma::{Adapter, CommonBuffer, DmaError, Passive, SharedBuffer, V2};

use super::SLOTS;
use super::rings::{COMPLETIONS_LENGTH, Ring, SUBMISSIONS_LENGTH};

/// Bytes of a slot's list: a page (DMA-22).
const LIST_LENGTH: u32 = ELEMENTS_MAX as u32 * ELEMENT_LENGTH as u32;

/// A slot's own list, a common buffer with an MDL of its own.
#[derive(Debug)]
pub(super) struct List(SharedBuffer);

impl List {
    /// Stores an element.
    pub(super) fn set(&self, index: usize, element: Element) {
        // CAST: far below 2^32.
        let start = (index as u32).saturating_mul(ELEMENT_LENGTH as u32);
        self.0.store(start, element.address);
        self.0.store(start.saturating_add(8), u64::from(element.length));
    }

    /// The element that names the list's first `count` elements.
    pub(super) fn describe(&self, count: u16) -> Element {
        let length = u32::from(count).saturating_mul(ELEMENT_LENGTH as u32);
        Element::new(self.0.address().bits(), length)
    }

    /// Makes the list visible to the device.
    pub(super) fn publish(&self, dispatch: &Dispatch) {
        self.0.publish(dispatch);
    }
}

/// Rings for every queue and a list for every slot, each a common buffer of at most a page.
#[derive(Debug)]
pub(crate) struct Memory {
    rings: [Option<Ring>; QUEUES],
    lists: [Option<List>; SLOTS],
}

impl Memory {
    /// No memory.
    pub(crate) const NONE: Self =
        Self { rings: [const { None }; QUEUES], lists: [const { None }; SLOTS] };

    /// Allocates everything; what there is after a failure is [released](Self::release) like the
    /// whole. IRQL: PASSIVE_LEVEL.
    ///
    /// # Errors
    /// [`DmaError::NoCommonBuffer`], [`DmaError::NoMdl`].
    pub(crate) fn allocate(
        &mut self,
        adapter: &Adapter<V2>,
        passive: &Passive,
    ) -> Result<(), DmaError> {
        let shared =
            |length| CommonBuffer::allocate(adapter, length, passive).map(SharedBuffer::new);
        for place in &mut self.rings {
            let submissions = shared(SUBMISSIONS_LENGTH)?;
            match shared(COMPLETIONS_LENGTH) {
                Ok(completions) => *place = Some(Ring { submissions, completions }),
                Err(error) => {
                    // SAFETY: the device was never given it.
                    unsafe { submissions.release(adapter, passive) };
                    return Err(error);
                }
            }
        }
        for place in &mut self.lists {
            *place = Some(List(shared(LIST_LENGTH)?));
        }
        Ok(())
    }

    pub(super) fn ring(&self, queue: usize) -> Option<&Ring> {
        self.rings.get(queue)?.as_ref()
    }

    pub(super) fn list(&self, slot: usize) -> Option<&List> {
        self.lists.get(slot)?.as_ref()
    }

    fn buffers(&mut self) -> impl Iterator<Item = SharedBuffer> {
        let rings = self.rings.iter_mut().filter_map(Option::take);
        let rings = rings.flat_map(|ring| [ring.submissions, ring.completions]);
        rings.chain(self.lists.iter_mut().filter_map(Option::take).map(|list| list.0))
    }

    /// Frees everything. IRQL: PASSIVE_LEVEL.
    ///
    /// # Safety
    /// The device does not use it any more.
    pub(crate) unsafe fn release(&mut self, adapter: &Adapter<V2>, passive: &Passive) {
        for buffer in self.buffers() {
            // SAFETY: by the caller's promise.
            unsafe { buffer.release(adapter, passive) };
        }
    }

    /// Gives everything up for good: the device never stopped.
    pub(crate) fn abandon(&mut self) {
        self.buffers().for_each(SharedBuffer::abandon);
    }
}
