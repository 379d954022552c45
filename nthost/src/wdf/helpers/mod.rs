//! KMDF: locks, timers, DPCs, work items, resource lists and DMA enablers.

pub(crate) mod ddi;
pub(crate) mod dpc;
pub(crate) mod enabler;
pub(crate) mod lock;
pub(crate) mod resources;
pub(crate) mod serial;
pub(crate) mod timer;

use std::sync::atomic::{AtomicBool, Ordering};

use super::object::{Kind, Payload};

/// A WDFSPINLOCK.
#[derive(Debug, Default)]
pub(crate) struct SpinLockObject {
    pub lock: lock::SpinLock,
    /// Some interrupt's lock, which WdfSpinLockAcquire must not take.
    of_interrupt: AtomicBool,
}

impl Payload for SpinLockObject {
    const KIND: Kind = Kind::SpinLock;

    fn reset(&self) {
        self.of_interrupt.store(false, Ordering::Relaxed);
    }
}

impl SpinLockObject {
    pub(crate) fn is_interrupts(&self) -> bool {
        self.of_interrupt.load(Ordering::Relaxed)
    }

    pub(crate) fn set_interrupts(&self) {
        self.of_interrupt.store(true, Ordering::Relaxed);
    }
}
