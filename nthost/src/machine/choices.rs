//! The machine's choices: whatever the documents leave open is drawn here, from the seed.
//!
//! One stream serves the HAL, the cache adversary and the schedulers, so that a run is repeated by
//! its seed.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::memory::pages::mix;

/// The stream of one machine.
#[derive(Debug)]
pub(crate) struct Choices(AtomicU64);

impl Choices {
    pub(super) fn new(seed: u64) -> Self {
        Self(AtomicU64::new(mix(seed)))
    }

    /// A number below `bound`.
    pub(crate) fn below(&self, bound: u32) -> u32 {
        let drawn = mix(self.0.fetch_add(0x9E37_79B9, Ordering::Relaxed));
        // CAST: below `bound`.
        (drawn % u64::from(bound.max(1))) as u32
    }

    /// `true` once in `times`.
    pub(crate) fn coin(&self, times: u32) -> bool {
        self.below(times) == 0
    }
}
