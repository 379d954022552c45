//! Physical pages, MDLs and pool.

pub(crate) mod ddi;
pub(crate) mod mdl;
pub(crate) mod pages;
mod pool;

use wdk_lite::PMDL;

use crate::RuleId;
use crate::machine::{Kernel, Options, context};
use crate::verifier::{Violation, broken};
use mdl::{Content, Kind, Mdl, Mdls};
pub(crate) use pages::{PAGE, PAGE_SHIFT};
use pages::{PageTable, span};
use pool::Pool;

/// The memory of one machine.
#[derive(Debug)]
pub(crate) struct Memory {
    pub pages: PageTable,
    mdls: Mdls,
    pool: Pool,
}

impl Memory {
    pub(crate) fn new(options: &Options) -> Self {
        Self { pages: PageTable::new(options.seed), mdls: Mdls::default(), pool: Pool::default() }
    }

    /// Locks a requester's buffer and describes it by an MDL, as the I/O manager does for direct
    /// I/O: `write` if the device may write it (DMA-104). Null for an empty buffer.
    pub(crate) fn lock_user_buffer(&self, address: *mut u8, length: usize, write: bool) -> PMDL {
        self.describe(address, length, Content::Locked { write })
    }

    /// Describes nonpaged memory of the I/O manager's, as IoAllocateMdl and
    /// MmBuildMdlForNonPagedPool do. Null for an empty buffer.
    pub(crate) fn describe_nonpaged(&self, address: *mut u8, length: usize) -> PMDL {
        self.describe(address, length, Content::Nonpaged)
    }

    fn describe(&self, address: *mut u8, length: usize, content: Content) -> PMDL {
        if length == 0 {
            return std::ptr::null_mut();
        }
        let exposed = address.expose_provenance();
        let mdl = self.mdls.take(span(exposed, length));
        mdl.initialise(exposed, length, Kind::Request, context::stack());
        self.fill(mdl, content);
        mdl.pointer()
    }

    /// Locks the pages an MDL describes and writes their frames into it.
    fn fill(&self, mdl: Mdl, content: Content) {
        let (first, count) = mdl.page_range();
        self.pages.lock(first, count, |page, frame| mdl.set_frame(page, frame));
        mdl.become_filled(content);
    }

    /// Unlocks what [`Memory::fill`] locked.
    fn empty(&self, mdl: Mdl) {
        if mdl.become_empty() {
            let (first, count) = mdl.page_range();
            self.pages.unlock(first, count);
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
    pub(crate) fn release_mdl(&self, _kernel: &Kernel, mdl: PMDL) -> Result<(), Violation> {
        let mut next = self.mdls.find(mdl);
        while let Some(current) = next {
            if current.is_free() {
                break;
            }
            current.check_unmapped("its request was completed")?;
            next = self.mdls.find(current.recorded_next());
            self.empty(current);
            self.mdls.give_back(current);
        }
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Machine, Profile};

    fn kernel() -> std::sync::Arc<Kernel> {
        Machine::builder(Profile::X64).build().kernel
    }

    #[test]
    fn a_locked_buffer_is_described_byte_by_byte() {
        let kernel = kernel();
        let mut buffer = vec![0u8; 10_000];
        let address = buffer.as_mut_ptr();

        let mdl = kernel.memory.lock_user_buffer(address, buffer.len(), true);

        let mdl = kernel.memory.usable(mdl, "a test").expect("it is live");
        assert_eq!(mdl.start(), address.addr());
        assert_eq!(mdl.byte_count(), buffer.len());
        let frame = mdl.frame(0);
        let page = kernel.memory.pages.host_address(frame);
        assert_eq!(page, Some(address.addr() & !(PAGE - 1)));
    }

    #[test]
    fn a_released_chain_is_forgotten_and_still_recognised() {
        let kernel = kernel();
        let mut buffers = [vec![0u8; 100], vec![0u8; 9000]];
        let [first, second] = buffers
            .each_mut()
            .map(|b| kernel.memory.lock_user_buffer(b.as_mut_ptr(), b.len(), false));
        kernel.memory.chain(first, second);

        kernel.memory.release_mdl(&kernel, first).expect("nothing is mapped");

        assert_eq!(kernel.memory.pages.locked(), 0);
        let found = kernel.memory.usable(second, "MapTransfer").expect_err("it is released");
        assert_eq!(found.rule, RuleId::Dma101);
    }

    #[test]
    fn completion_under_a_mapping_names_who_mapped() {
        let kernel = kernel();
        let mut buffer = vec![0u8; 100];
        let mdl = kernel.memory.lock_user_buffer(buffer.as_mut_ptr(), buffer.len(), false);
        let handle = kernel.memory.usable(mdl, "a test").expect("it is live");
        handle.begin_mapping(Default::default());

        let found = kernel.memory.release_mdl(&kernel, mdl).expect_err("it is mapped");
        assert_eq!(found.rule, RuleId::Dma100);
        handle.end_mapping();
        handle.begin_build(Default::default());

        let found = kernel.memory.release_mdl(&kernel, mdl).expect_err("a build is pending");
        assert_eq!(found.rule, RuleId::Sim12);
    }

    #[test]
    fn changed_flags_are_noticed() {
        let kernel = kernel();
        let mut buffer = vec![0u8; 100];
        let mdl = kernel.memory.lock_user_buffer(buffer.as_mut_ptr(), buffer.len(), false);
        // SAFETY: a live MDL made above.
        unsafe { (*mdl).MdlFlags = 0 };

        let found = kernel.memory.usable(mdl, "MapTransfer").expect_err("its flags are gone");

        assert_eq!(found.rule, RuleId::Dma99);
    }
}
