//! Physical pages, MDLs and pool.

mod blocks;
pub(crate) mod cache;
pub(crate) mod ddi;
pub(crate) mod mdl;
pub(crate) mod pages;
mod pool;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use parking_lot::Mutex;
use wdk_lite::PMDL;

use crate::RuleId;
use crate::machine::{Kernel, Options, context};
use crate::verifier::{CallStack, Violation, broken};
use blocks::Mdls;
use cache::Cache;
pub(crate) use mdl::Activity;
use mdl::{Content, Kind, Mdl};
pub(crate) use pages::{PAGE, PAGE_SHIFT};
use pages::{PageTable, span};
use pool::Pool;

/// Calls of MmGetPhysicalAddress that are remembered.
const REMEMBERED: usize = 16;

/// The memory of one machine.
#[derive(Debug)]
pub(crate) struct Memory {
    pub pages: PageTable,
    mdls: Mdls,
    pool: Pool,
    /// The last calls of MmGetPhysicalAddress: physical pages, and where.
    asked: Mutex<VecDeque<(u64, CallStack)>>,
    /// `None` where processor and devices see the same memory.
    pub cache: Option<Mutex<Cache>>,
}

impl Memory {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            pages: PageTable::new(options.seed),
            mdls: Mdls::default(),
            pool: Pool::default(),
            asked: Mutex::default(),
            cache: Cache::new(options.profile, options.record_caches).map(Mutex::new),
        }
    }

    /// The driver asked for the physical address of a byte.
    fn ask(&self, physical: u64, at: CallStack) {
        let mut asked = self.asked.lock();
        if asked.len() == REMEMBERED {
            asked.pop_front();
        }
        asked.push_back((physical >> PAGE_SHIFT, at));
    }

    /// Where the driver asked for physical addresses of this page last, as far as is remembered.
    pub(crate) fn asked_for(&self, physical: u64) -> Option<CallStack> {
        let asked = self.asked.lock();
        asked.iter().rev().find(|(page, _)| *page == physical >> PAGE_SHIFT).map(|&(_, at)| at)
    }

    /// Locks a requester's buffer and describes it by an MDL, as the I/O manager does for direct
    /// I/O: `write` if the device may write it (DMA-104). Null for an empty buffer.
    pub(crate) fn lock_user_buffer(
        &self,
        kernel: &Kernel,
        address: *mut u8,
        length: usize,
        write: bool,
    ) -> PMDL {
        self.describe(kernel, address, length, Content::Locked { write }, None)
    }

    /// The same for a request to the device in `slot`.
    pub(crate) fn lock_request_buffer(
        &self,
        kernel: &Kernel,
        (address, length): (*mut u8, usize),
        write: bool,
        slot: Option<usize>,
    ) -> PMDL {
        self.describe(kernel, address, length, Content::Locked { write }, slot)
    }

    /// Describes nonpaged memory of the I/O manager's, as IoAllocateMdl and
    /// MmBuildMdlForNonPagedPool do. Null for an empty buffer.
    pub(crate) fn describe_nonpaged(
        &self,
        kernel: &Kernel,
        address: *mut u8,
        length: usize,
    ) -> PMDL {
        self.describe(kernel, address, length, Content::Nonpaged, None)
    }

    fn describe(
        &self,
        kernel: &Kernel,
        address: *mut u8,
        length: usize,
        content: Content,
        slot: Option<usize>,
    ) -> PMDL {
        if length == 0 {
            return std::ptr::null_mut();
        }
        let exposed = address.expose_provenance();
        let mdl = self.mdls.take(span(exposed, length));
        mdl.initialise(exposed, length, Kind::Request, context::stack());
        mdl.is_for(slot);
        self.fill(kernel, mdl, content);
        mdl.pointer()
    }

    /// Locks the pages an MDL describes and writes their frames into it.
    fn fill(&self, kernel: &Kernel, mdl: Mdl, content: Content) {
        let (first, count) = mdl.page_range();
        self.pages.lock(first, count, |page, frame| mdl.set_frame(page, frame));
        mdl.become_filled(content);
        mdl.begin(kernel.device_activity(mdl.slot()));
        if let Some(mut cache) = kernel.caches() {
            cache.lock(&kernel.choices, mdl.start(), mdl.byte_count(), |page| mdl.frame(page));
        }
    }

    /// Unlocks what [`Memory::fill`] locked.
    fn empty(&self, kernel: &Kernel, mdl: Mdl) {
        let exists = mdl.memory_exists();
        if mdl.become_empty() {
            if let Some(mut cache) = kernel.caches().filter(|_| exists) {
                cache.unlock(&kernel.choices, mdl.start(), mdl.byte_count());
            }
            let (first, count) = mdl.page_range();
            self.pages.unlock(first, count);
        }
    }

    /// A common buffer was allocated: pages of its own, which have frames and lines where caches
    /// are not coherent.
    pub(crate) fn add_common(&self, kernel: &Kernel, start: usize, pages: usize, cached: bool) {
        let Some(mut cache) = kernel.caches() else { return };
        let mut frames = Vec::with_capacity(pages);
        self.pages.lock(start >> PAGE_SHIFT, pages, |_, frame| frames.push(frame));
        let cached = kernel.options.profile.caches_common_buffer(cached);
        let frame = |page: usize| frames[page];
        cache.add_common(&kernel.choices, start, pages * PAGE, frame, cached);
    }

    /// That common buffer is about to be freed.
    pub(crate) fn remove_common(&self, kernel: &Kernel, start: usize, pages: usize) {
        self.forget(kernel, start, pages * PAGE);
        let Some(mut cache) = kernel.caches() else { return };
        cache.forget(start, pages * PAGE);
        self.pages.unlock(start >> PAGE_SHIFT, pages);
    }

    /// Memory is about to be freed that MDLs may still describe: nothing of it is in a cache any
    /// more, and nobody touches it for their sake.
    fn forget(&self, kernel: &Kernel, start: usize, length: usize) {
        let Some(mut cache) = kernel.caches() else { return };
        for mdl in self.mdls.of_driver_within(start, length) {
            if mdl.lose_memory() {
                cache.forget(mdl.start(), mdl.byte_count());
            }
        }
    }

    /// Appends `next` to the chain that ends with `last`.
    pub(crate) fn chain(&self, last: PMDL, next: PMDL) {
        if let (Some(last), Some(_)) = (self.mdls.find(last), self.mdls.find(next)) {
            last.set_next(next);
        }
    }

    /// The live MDL at this address, with its header as the kernel left it.
    ///
    /// # Errors
    /// SIM-11 for a pointer to no MDL, DMA-101 for that of a completed request, DMA-99 for
    /// changed flags, DMA-102 for a changed header.
    pub(crate) fn usable(&self, mdl: PMDL, call: &str) -> Result<Mdl, Violation> {
        self.usable_with_content(mdl, call).map(|(mdl, _)| mdl)
    }

    /// As [`Memory::usable`], and tells what it describes.
    pub(crate) fn usable_with_content(
        &self,
        mdl: PMDL,
        call: &str,
    ) -> Result<(Mdl, Content), Violation> {
        let Some(found) = self.mdls.find(mdl) else {
            let what = if mdl.is_null() { "NULL" } else { "a pointer to no MDL" };
            return Err(broken(RuleId::Sim11, format!("{call} was given {what} as its MDL")));
        };
        let content = found.check_usable(call)?;
        Ok((found, content))
    }

    /// Ends a request's MDLs at its completion: unlocks their pages, forgets them and recycles
    /// the whole chain. An MDL that is already released is passed over.
    ///
    /// # Errors
    /// DMA-100 if a mapping still names one, SIM-12 if a list is still being built for one.
    pub(crate) fn release_mdl(&self, kernel: &Kernel, mdl: PMDL) -> Result<(), Violation> {
        let mut next = self.mdls.find(mdl);
        while let Some(current) = next {
            if current.is_free() {
                break;
            }
            if let Err(found) = current.check_unmapped("its request was completed") {
                if found.rule != RuleId::Dma100 {
                    return Err(found);
                }
                kernel.breach(found)?;
                kernel.hal.discard(kernel, current);
            }
            next = self.mdls.find(current.recorded_next());
            self.empty(kernel, current);
            self.mdls.give_back(current);
        }
        Ok(())
    }

    /// Calls `check` for each MDL of a request's chain.
    fn check_chain(
        &self,
        mdl: PMDL,
        check: impl Fn(Mdl) -> Result<(), Violation>,
    ) -> Result<(), Violation> {
        let mut next = self.mdls.find(mdl).filter(|mdl| !mdl.is_free());
        while let Some(current) = next {
            check(current)?;
            next = self.mdls.find(current.recorded_next()).filter(|mdl| !mdl.is_free());
        }
        Ok(())
    }

    /// Checks that nothing is mapped, and no list being built, through a request's MDLs.
    ///
    /// # Errors
    /// As [`Memory::release_mdl`].
    pub(crate) fn check_idle(&self, mdl: PMDL, deed: &str) -> Result<(), Violation> {
        self.check_chain(mdl, |mdl| mdl.check_unmapped(deed))
    }

    /// Checks that no flush failed to deliver data of a request's MDLs.
    ///
    /// # Errors
    /// DMA-55 if one did.
    pub(crate) fn check_arrived(&self, mdl: PMDL) -> Result<(), Violation> {
        self.check_chain(mdl, Mdl::check_arrived)
    }

    /// Checks that no device left bytes of a request's MDLs alone which `reported` says were moved.
    ///
    /// # Errors
    /// DMA-77 if one did.
    pub(crate) fn check_moved(&self, mdl: PMDL, reported: u64) -> Result<(), Violation> {
        self.check_chain(mdl, |mdl| mdl.check_moved(reported))
    }

    /// Maps a request's MDL into system space, unless it is mapped.
    pub(crate) fn map_once(&self, kernel: &Kernel, mdl: PMDL) {
        if let Some(found) = self.mdls.find(mdl) {
            found.map_once(kernel.device_activity(found.slot()));
        }
    }

    /// DMA-86, as far as the border shows it, for a read that returned `length` bytes.
    pub(crate) fn check_pio_flush(
        &self,
        kernel: &Kernel,
        mdl: PMDL,
        length: u64,
    ) -> Result<(), Violation> {
        let Some(found) = self.mdls.find(mdl).filter(|mdl| !mdl.is_free()) else { return Ok(()) };
        if !found.lacks_pio_flush(kernel.device_activity(found.slot()), length) {
            return Ok(());
        }
        kernel.lapse(
            RuleId::Dma86,
            "registers were read into a request's buffer, and the request was completed without \
             KeFlushIoBuffers(Mdl, TRUE, FALSE)",
        )
    }

    /// What the driver allocated and did not free: pool, or an MDL (SIM-10).
    pub(crate) fn leaks(&self) -> Option<Violation> {
        self.pool.leak().or_else(|| self.mdls.leak())
    }

    /// Checks that nothing is mapped through an MDL of the driver's that describes these bytes.
    pub(crate) fn check_not_mapped(
        &self,
        start: usize,
        length: usize,
        deed: &str,
    ) -> Result<(), Violation> {
        self.mdls.mapped_within(start, length).map_or(Ok(()), |mdl| mdl.check_unmapped(deed))
    }

    /// Whether an address lies in physical memory.
    pub(crate) fn is_physical(&self, address: u64) -> bool {
        (pages::START_OF_MEMORY..pages::END_OF_MEMORY).contains(&address)
    }
}
