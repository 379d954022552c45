//! Mappings that end without their flush, on machines that go on after a breach: as on a system
//! without Driver Verifier, the map registers are simply gone. What waits in the adapter or in a
//! bounce page never reaches the buffer.

use super::Hal;
use super::adapter::{Adapter, State};
use crate::machine::{Kernel, context};
use crate::memory::mdl::Mdl;
use crate::verifier::Violation;

impl State {
    /// Ends the mappings of a grant without flushing them, after the breach was recorded.
    ///
    /// # Errors
    /// `found`, unless the machine goes on.
    pub(super) fn discard_maps(
        &mut self,
        kernel: &Kernel,
        adapter: &Adapter,
        grant: usize,
        found: Violation,
    ) -> Result<(), Violation> {
        kernel.breach(found)?;
        while let Some(mapping) = self.grants[grant].maps.pop() {
            self.unmap(kernel, adapter, mapping, false, context::stack())?;
        }
        Ok(())
    }

    /// Ends the lists that map an MDL, without flushing them.
    fn discard_lists(&mut self, kernel: &Kernel, adapter: &Adapter, mdl: Mdl) {
        for at in 0..self.lists.len() {
            let list = &mut self.lists[at];
            if !list.live || list.mapping.mdls.iter().all(|&(mapped, _)| mapped != mdl) {
                continue;
            }
            list.live = false;
            let (mapping, grant) = (std::mem::take(&mut list.mapping), list.grant);
            // What strayed in its bounce pages is of no interest any more.
            let _ = self.unmap(kernel, adapter, mapping, false, context::stack());
            self.revoke(grant);
            self.kick(kernel, adapter);
        }
    }
}

impl Hal {
    /// An MDL goes away under its mappings: they end without a flush.
    #[cold]
    pub(crate) fn discard(&self, kernel: &Kernel, mdl: Mdl) {
        let count = self.adapters.read().len();
        for adapter in (0..count).filter_map(|number| self.adapter_at(number)) {
            let mut state = adapter.state.lock();
            state.discard_lists(kernel, adapter, mdl);
            for grant in 0..state.grants.len() {
                let maps = &mut state.grants[grant].maps;
                let of = |m: &super::mapping::Mapping| m.mdls.iter().any(|&(m, _)| m == mdl);
                let gone: Vec<_> = maps.extract_if(.., |mapping| of(mapping)).collect();
                for mapping in gone {
                    let _ = state.unmap(kernel, adapter, mapping, false, context::stack());
                }
            }
        }
    }
}
