//! What was dropped instead of released.
//!
//! Release is an explicit call that takes a token for the level it needs. A value that is dropped
//! all the same releases itself where the level is right; where it is not, calling would break a
//! rule worse than leaking does, so it is leaked and counted here.

use core::sync::atomic::{AtomicU32, Ordering};

static LEAKED: AtomicU32 = AtomicU32::new(0);

/// How many adapters, common buffers, sets of map registers, lists and mappings were leaked since
/// the driver was loaded. Anything but 0 is a bug in the driver. Any IRQL.
#[must_use]
pub fn count() -> u32 {
    LEAKED.load(Ordering::Relaxed)
}

#[cold]
pub(crate) fn report() {
    LEAKED.fetch_add(1, Ordering::Relaxed);
}
