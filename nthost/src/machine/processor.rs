//! Virtual processors: IRQL, DPC queue, and the lock that kernel-mode code holds.

// UNSAFETY: a processor is acquired on one call and released on another, so its lock is used raw.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use parking_lot::RawMutex;
use parking_lot::lock_api::{RawMutex as _, RawMutexTimed as _};

use super::clock::Deferred;

/// A virtual processor.
pub(crate) struct Processor {
    lock: RawMutex,
    irql: AtomicU8,
    /// DPCs waiting, so that the common case is one load.
    waiting: AtomicU32,
    /// One runs, or an expired timer: set before it is no longer waiting elsewhere.
    in_dpc: AtomicBool,
    dpcs: Mutex<VecDeque<Deferred>>,
}

impl std::fmt::Debug for Processor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Processor").field("irql", &self.irql).finish_non_exhaustive()
    }
}

impl Processor {
    pub(crate) fn new() -> Self {
        Self {
            lock: RawMutex::INIT,
            irql: AtomicU8::new(0),
            waiting: AtomicU32::new(0),
            in_dpc: AtomicBool::new(false),
            dpcs: Mutex::new(VecDeque::with_capacity(64)),
        }
    }

    /// Takes the processor for kernel-mode code, if it is free.
    #[inline]
    pub(super) fn try_acquire(&self) -> bool {
        self.lock.try_lock()
    }

    /// Whether somebody holds it.
    #[inline]
    pub(super) fn is_held(&self) -> bool {
        self.lock.is_locked()
    }

    /// Takes the processor if it is free soon enough.
    pub(super) fn acquire_within(&self, patience: Duration) -> bool {
        self.lock.try_lock_for(patience)
    }

    /// Gives the processor back.
    ///
    /// # Safety
    /// The calling thread holds it.
    #[inline]
    pub(super) unsafe fn release(&self) {
        // SAFETY: the caller holds the lock.
        unsafe { self.lock.unlock() }
    }

    /// The current interrupt request level.
    #[inline]
    pub(crate) fn irql(&self) -> u8 {
        self.irql.load(Ordering::Relaxed)
    }

    /// Sets the level; returns the old one.
    #[inline]
    pub(crate) fn set_irql(&self, irql: u8) -> u8 {
        // Only who holds the processor does so.
        let old = self.irql.load(Ordering::Relaxed);
        self.irql.store(irql, Ordering::Relaxed);
        old
    }

    /// Appends a DPC.
    pub(crate) fn queue_dpc(&self, dpc: Deferred) {
        let mut dpcs = self.dpcs.lock();
        dpcs.push_back(dpc);
        self.waiting.fetch_add(1, Ordering::Release);
    }

    /// Removes a DPC that has not started; `false` if there is none such.
    pub(crate) fn remove_dpc(&self, dpc: Deferred) -> bool {
        let mut dpcs = self.dpcs.lock();
        let same =
            |d: &Deferred| d.argument == dpc.argument && std::ptr::fn_addr_eq(d.run, dpc.run);
        let Some(at) = dpcs.iter().position(same) else {
            return false;
        };
        dpcs.remove(at);
        self.waiting.fetch_sub(1, Ordering::Release);
        true
    }

    /// Whether a DPC waits.
    #[inline]
    pub(crate) fn has_dpc(&self) -> bool {
        self.waiting.load(Ordering::Acquire) != 0
    }

    /// Takes the next DPC; the processor is in it from now on.
    pub(super) fn take_dpc(&self) -> Option<Deferred> {
        if !self.has_dpc() {
            return None;
        }
        let dpc = self.dpcs.lock().pop_front()?;
        self.set_in_dpc(true);
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        Some(dpc)
    }

    /// A DPC, or what is like one, begins or has returned.
    pub(super) fn set_in_dpc(&self, inside: bool) {
        self.in_dpc.store(inside, Ordering::SeqCst);
    }

    /// Whether no DPC waits, and none runs.
    pub(super) fn is_through_with_dpcs(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) == 0 && !self.in_dpc.load(Ordering::SeqCst)
    }
}
