//! Memory of MDLs, by size.

// UNSAFETY: blocks are raw memory, since the frames of an MDL follow its header.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::collections::VecDeque;
use std::ptr::NonNull;

use parking_lot::{Mutex, RwLock};
use wdk_lite::*;

use super::mdl::{Block, Kind, Mdl};
use super::pages::NumberMap;
use crate::RuleId;
use crate::verifier::{Violation, broken};

/// Number of size classes: MDLs of 1, 2, 4, ... pages.
const CLASSES: usize = 21;

/// The MDLs of one machine.
#[derive(Debug, Default)]
pub(super) struct Mdls {
    /// Every block ever made, by the address of its MDL.
    known: RwLock<NumberMap<usize, Mdl>>,
    free: Mutex<[VecDeque<Mdl>; CLASSES]>,
}

fn layout(class: u32) -> Layout {
    let frames = Layout::array::<PFN_NUMBER>(1 << class).expect("an MDL's size fits");
    Layout::new::<Block>().extend(frames).expect("an MDL's size fits").0.pad_to_align()
}

impl Mdls {
    /// An MDL with room for `pages` frames.
    pub(super) fn take(&self, pages: usize) -> Mdl {
        let class = pages.max(1).next_power_of_two().trailing_zeros();
        // CAST: a small number.
        let free = self.free.lock()[class as usize].pop_front();
        free.unwrap_or_else(|| self.make(class))
    }

    fn make(&self, class: u32) -> Mdl {
        // SAFETY: the layout has a size.
        let memory = unsafe { alloc_zeroed(layout(class)) }.cast::<Block>();
        let Some(block) = NonNull::new(memory) else { handle_alloc_error(layout(class)) };
        // SAFETY: fresh memory of the block's layout.
        unsafe { block.write(Block::new(class)) };
        let mdl = Mdl::of(block);
        self.known.write().insert(mdl.pointer().expose_provenance(), mdl);
        mdl
    }

    pub(super) fn find(&self, mdl: PMDL) -> Option<Mdl> {
        self.known.read().get(&mdl.addr()).copied()
    }

    /// Frees an MDL; its memory stays readable.
    pub(super) fn give_back(&self, mdl: Mdl) {
        mdl.become_free();
        // CAST: a small number.
        self.free.lock()[mdl.class() as usize].push_back(mdl);
    }

    /// The MDLs of the driver's that describe some of these bytes.
    pub(super) fn of_driver_within(&self, start: usize, length: usize) -> Vec<Mdl> {
        let known = self.known.read();
        let overlaps = |mdl: &Mdl| {
            let (first, bytes) = (mdl.start(), mdl.byte_count());
            first < start + length && start < first + bytes && mdl.kind() == Kind::Driver
        };
        known.values().copied().filter(overlaps).collect()
    }

    /// One of them that is mapped.
    pub(super) fn mapped_within(&self, start: usize, length: usize) -> Option<Mdl> {
        self.of_driver_within(start, length).into_iter().find(|mdl| mdl.is_busy())
    }

    /// An MDL that the driver allocated and did not free.
    pub(super) fn leak(&self) -> Option<Violation> {
        let known = self.known.read();
        let mut leaked = known.values().filter(|mdl| mdl.kind() == Kind::Driver);
        let first = leaked.next()?;
        let count = 1 + leaked.count();
        let message = format!("{count} MDL(s) from IoAllocateMdl were never freed");
        let code = [0x62, 0, 0, count as u64];
        Some(broken(RuleId::Sim10, message).code(0xC4, code).from(first.origin()))
    }
}

impl Drop for Mdls {
    fn drop(&mut self) {
        for mdl in self.known.get_mut().values() {
            let class = mdl.class();
            // SAFETY: made by `make`, still initialised, and nobody holds a handle any more.
            unsafe { mdl.memory().drop_in_place() };
            // SAFETY: allocated by `make` with this layout.
            unsafe { dealloc(mdl.memory().as_ptr().cast(), layout(class)) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn freed_blocks_are_reused_by_size() {
        let mdls = Mdls::default();
        let first = mdls.take(3);
        mdls.give_back(first);
        assert_eq!(mdls.take(4), first);
        assert_ne!(mdls.take(4), first);
    }
}
