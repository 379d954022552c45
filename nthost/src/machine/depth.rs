//! How deep the driver's stack is.

use std::sync::atomic::Ordering;

use super::{Kernel, context};
use crate::RuleId;
use crate::verifier::{Violation, broken};

impl Kernel {
    /// How much stack the driver has used since the host called it (SIM-07). Seen at its calls
    /// into the host only.
    ///
    /// # Errors
    /// SIM-07 above the limit.
    #[inline]
    pub(crate) fn check_stack(&self) -> Result<(), Violation> {
        let (top, here) = context::with(|c| (c.driver_frame.get(), c.ddi_frame.get()));
        // Without frame pointers both are zero.
        // CAST: a distance within one stack.
        let used = top.saturating_sub(here) as u64;
        if used <= self.deepest.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.deepest.store(used, Ordering::Relaxed);
        if used <= self.options.stack_limit { Ok(()) } else { Err(too_deep(self, used)) }
    }
}

#[cold]
fn too_deep(kernel: &Kernel, used: u64) -> Violation {
    let limit = kernel.options.stack_limit;
    let callback = context::with(|c| c.callback.get());
    let message = format!("{callback} has used {used} bytes of kernel stack, more than {limit}");
    broken(RuleId::Sim07, message)
}
