//! WDFDPC and WDFWORKITEM: a routine that is queued at most once and may run again meanwhile.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

use parking_lot::Mutex;
use wdk_lite::*;

use super::serial::Serialised;
use crate::RuleId;
use crate::ddi::callback::{self, Routine};
use crate::machine::clock::Deferred;
use crate::machine::{Kernel, context};
use crate::verifier::{Violation, broken};
use crate::wdf::object::{Handle, Kind, Payload};

/// What DPCs, work items and the like share: queued once, running any number of times.
#[derive(Debug, Default)]
pub(crate) struct Once {
    queued: AtomicBool,
    running: AtomicU32,
    /// Thread plus one of the last run that began, while any runs. A callback that waits may go on
    /// with another processor, and others have its own meanwhile.
    runner: AtomicUsize,
}

impl Once {
    /// Marks it queued; `false` if it was.
    pub(crate) fn enqueue(&self) -> bool {
        !self.queued.swap(true, Ordering::AcqRel)
    }

    /// It was taken off the queue without running.
    pub(crate) fn removed(&self) {
        self.queued.store(false, Ordering::Release);
    }

    /// It runs: no longer queued while `body` is under way.
    pub(crate) fn run(&self, kernel: &Kernel, body: impl FnOnce()) {
        self.running.fetch_add(1, Ordering::AcqRel);
        self.queued.store(false, Ordering::Release);
        let outer = self.runner.swap(here(), Ordering::AcqRel);
        body();
        // Another run may have begun before this one, and go on.
        let order = (Ordering::AcqRel, Ordering::Relaxed);
        let _ = self.runner.compare_exchange(here(), outer, order.0, order.1);
        self.running.fetch_sub(1, Ordering::AcqRel);
        kernel.poke();
    }

    /// Whether the calling thread is inside it.
    pub(crate) fn is_inside(&self) -> bool {
        self.running.load(Ordering::Acquire) != 0 && self.runner.load(Ordering::Relaxed) == here()
    }

    /// Whether it is neither queued nor running.
    pub(crate) fn is_quiet(&self) -> bool {
        !self.queued.load(Ordering::Acquire) && self.running.load(Ordering::Acquire) == 0
    }

    /// Waits until it is quiet.
    pub(crate) fn flush(&self, kernel: &Kernel, what: &str) -> Result<(), Violation> {
        if self.is_quiet() {
            return Ok(());
        }
        wait_until(kernel, what, || self.is_quiet())
    }
}

fn here() -> usize {
    context::with(|c| c.thread.get()) + 1
}

/// Waits at PASSIVE_LEVEL until `condition` holds.
///
/// # Errors
/// Above PASSIVE_LEVEL, or when nothing can make it hold (SIM-09).
pub(crate) fn wait_until(
    kernel: &Kernel,
    what: &str,
    condition: impl Fn() -> bool,
) -> Result<(), Violation> {
    let irql = kernel.irql();
    if irql > 0 {
        let message = format!("{what} waits; it was called at IRQL {irql}, not PASSIVE_LEVEL");
        return Err(broken(RuleId::Sim09, message).code(0xC4, [0x121, 0, 0, 0]));
    }
    kernel.wait(None, &condition);
    if condition() {
        return Ok(());
    }
    Err(broken(
        RuleId::Sim09,
        format!("{what} waits for what nothing in the machine can bring about"),
    ))
}

/// A WDFDPC.
#[derive(Debug, Default)]
pub(crate) struct Dpc {
    pub config: Mutex<(Routine, Serialised)>,
    pub once: Once,
}

impl Payload for Dpc {
    const KIND: Kind = Kind::Dpc;

    fn dispose(&self, kernel: &Kernel, handle: Handle) {
        if kernel.remove_dpc(deferred(handle, run_dpc)) {
            self.once.removed();
        }
        if let Err(violation) = self.once.flush(kernel, "the deletion of a WDFDPC") {
            kernel.stop(violation);
        }
    }
}

/// Later work for an object.
pub(crate) fn deferred(handle: Handle, run: fn(&Kernel, usize)) -> Deferred {
    // CAST: a 64-bit machine.
    Deferred { run, argument: handle.bits() as usize }
}

/// The object of later work.
pub(crate) fn object<T: Payload>(kernel: &Kernel, argument: usize) -> Option<(Handle, &T)> {
    // CAST: as above.
    let handle = Handle::from_bits(argument as u64)?;
    Some((handle, kernel.wdf.payload(handle)?))
}

/// Runs a WDFDPC.
pub(crate) fn run_dpc(kernel: &Kernel, argument: usize) {
    let Some((handle, dpc)) = object::<Dpc>(kernel, argument) else { return };
    let (routine, serialised) = *dpc.config.lock();
    dpc.once.run(kernel, || {
        serialised.run(kernel, || {
            // SAFETY: the driver's EvtDpcFunc with its DPC, at DISPATCH_LEVEL.
            unsafe { callback::PFN_WDF_DPC(kernel, routine, handle.raw()) }
        });
    });
}

/// A WDFWORKITEM.
#[derive(Debug, Default)]
pub(crate) struct WorkItem {
    pub config: Mutex<(Routine, Serialised)>,
    pub once: Once,
}

impl Payload for WorkItem {
    const KIND: Kind = Kind::WorkItem;

    fn dispose(&self, kernel: &Kernel, _handle: Handle) {
        // From its own callback the framework does not wait either.
        if self.once.is_inside() {
            return;
        }
        if let Err(violation) = self.once.flush(kernel, "the deletion of a WDFWORKITEM") {
            kernel.stop(violation);
        }
    }
}

/// Runs a WDFWORKITEM.
pub(crate) fn run_work(kernel: &Kernel, argument: usize) {
    let Some((handle, item)) = object::<WorkItem>(kernel, argument) else { return };
    let (routine, serialised) = *item.config.lock();
    item.once.run(kernel, || {
        serialised.run(kernel, || {
            // SAFETY: the driver's EvtWorkItemFunc with its work item, at PASSIVE_LEVEL.
            unsafe { callback::PFN_WDF_WORKITEM(kernel, routine, handle.raw()) }
        });
    });
}

/// The parent of such an object as the driver gets it.
pub(crate) fn parent_of(kernel: &Kernel, handle: Handle) -> WDFOBJECT {
    kernel.wdf.parent(handle).map_or(std::ptr::null_mut(), Handle::raw)
}
