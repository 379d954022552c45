//! KMDF: interrupts.

// UNSAFETY: calls the driver's interrupt callbacks.

mod create;
pub(crate) mod ddi;
mod policy;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};

use parking_lot::Mutex;
use wdk_lite::NT_SUCCESS;

use super::device::{Device, HandleCell};
use super::helpers::SpinLockObject;
use super::helpers::dpc::{Once, deferred, object};
use super::helpers::lock::SpinLock;
use super::helpers::serial::Serialised;
use super::object::{Handle, Kind, Payload};
use crate::RuleId;
use crate::ddi::callback::{self, Routine};
use crate::machine::interrupts::{Handler, LineId, Targets};
use crate::machine::{Kernel, context};
use crate::verifier::{Violation, broken};

/// What an interrupt was created with.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Config {
    pub isr: Routine,
    pub dpc: Routine,
    pub enable: Routine,
    pub disable: Routine,
    pub work: Routine,
    pub serialised: Serialised,
    /// A WDFSPINLOCK shared with other interrupts.
    pub shared: Option<Handle>,
    /// Made in EvtDevicePrepareHardware, so it goes after ReleaseHardware.
    pub from_prepare: bool,
}

/// The interrupt resource an interrupt got.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resource {
    pub line: LineId,
    pub irql: u8,
    pub vector: u32,
    pub message: bool,
    pub targets: Targets,
    /// The same as a mask.
    pub affinity: u64,
    pub shared: bool,
}

/// A WDFINTERRUPT.
#[derive(Debug, Default)]
pub(crate) struct Interrupt {
    pub device: HandleCell,
    /// Order of creation among the device's interrupts.
    pub number: AtomicU32,
    pub config: Mutex<Config>,
    pub resource: Mutex<Option<Resource>>,
    /// The processors that its policy names, a bit for each; 0: any. For its next resource.
    pub policy: AtomicU64,
    /// The level of the lock: its own, or the highest of those that share it.
    pub synchronize: AtomicU8,
    own: SpinLock,
    connected: AtomicBool,
    /// EvtInterruptEnable succeeded.
    enabled: AtomicBool,
    dpc: Once,
    work: Once,
}

impl Payload for Interrupt {
    const KIND: Kind = Kind::Interrupt;

    fn reset(&self) {
        self.device.set(None);
        *self.config.lock() = Config::default();
        *self.resource.lock() = None;
        self.policy.store(0, Ordering::Relaxed);
        self.connected.store(false, Ordering::Release);
        self.enabled.store(false, Ordering::Release);
    }

    fn dispose(&self, kernel: &Kernel, _handle: Handle) {
        self.disconnect(kernel);
        if let Err(violation) = self.flush(kernel) {
            kernel.stop(violation);
        }
    }
}

impl Interrupt {
    pub(crate) fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Acquire)
    }

    /// The lock: its own or the shared one.
    fn lock<'k>(&'k self, kernel: &'k Kernel) -> &'k SpinLock {
        let shared = self.config.lock().shared;
        let shared = shared.and_then(|lock| kernel.wdf.payload::<SpinLockObject>(lock));
        shared.map_or(&self.own, |object| &object.lock)
    }

    /// Takes the interrupt lock: the calling processor is at the lock's level afterwards.
    pub(crate) fn acquire(&self, kernel: &Kernel) -> Result<(), Violation> {
        let irql = self.synchronize.load(Ordering::Relaxed);
        self.lock(kernel).acquire(kernel, irql, "an interrupt lock", RuleId::Kmdf18)
    }

    pub(crate) fn release(&self, kernel: &Kernel) -> Result<(), Violation> {
        self.lock(kernel).release(kernel, "an interrupt lock", RuleId::Kmdf18)
    }

    /// Runs `body` under the interrupt lock.
    fn locked<R>(&self, kernel: &Kernel, body: impl FnOnce() -> R) -> R {
        if let Err(violation) = self.acquire(kernel) {
            kernel.stop(violation);
        }
        let result = body();
        if let Err(violation) = self.release(kernel) {
            kernel.stop(violation);
        }
        result
    }

    /// Connects the interrupt and enables it; `false` if EvtInterruptEnable failed. Nothing
    /// happens without a resource.
    pub(crate) fn connect(&self, kernel: &Kernel, handle: Handle) -> bool {
        let Some(resource) = *self.resource.lock() else { return true };
        self.connected.store(true, Ordering::Release);
        // CAST: a 64-bit machine.
        let handler = Handler { run: interrupt, argument: handle.bits() as usize };
        kernel.interrupts.connect(resource.line, handler, resource.targets);
        let enable = self.config.lock().enable;
        let good = !enable.is_some() || self.call_edge(kernel, handle, enable, true);
        self.enabled.store(good, Ordering::Release);
        kernel.service();
        good
    }

    /// EvtInterruptEnable or EvtInterruptDisable, under the lock at the interrupt's level.
    fn call_edge(&self, kernel: &Kernel, handle: Handle, routine: Routine, enable: bool) -> bool {
        let Some(device) = self.device.get() else { return true };
        let (interrupt, device) = (handle.raw(), device.raw());
        NT_SUCCESS(self.locked(kernel, || {
            if enable {
                // SAFETY: the driver's EvtInterruptEnable with its objects, under the lock.
                unsafe { callback::PFN_WDF_INTERRUPT_ENABLE(kernel, routine, interrupt, device) }
            } else {
                // SAFETY: the driver's EvtInterruptDisable, likewise.
                unsafe { callback::PFN_WDF_INTERRUPT_DISABLE(kernel, routine, interrupt, device) }
            }
        }))
    }

    /// Disables the interrupt, lets queued DPCs and work items run, and disconnects it; `false`
    /// if EvtInterruptDisable failed, which changes nothing else.
    pub(crate) fn disable(&self, kernel: &Kernel, handle: Handle) -> bool {
        let mut good = true;
        if self.enabled.swap(false, Ordering::AcqRel) {
            let disable = self.config.lock().disable;
            good = !disable.is_some() || self.call_edge(kernel, handle, disable, false);
        }
        for turn in 0..2 {
            if let Err(violation) = self.flush(kernel) {
                kernel.stop(violation);
            }
            // The second flush is for what came in between.
            if turn == 0 {
                self.disconnect(kernel);
            }
        }
        good
    }

    /// No ISR is under way afterwards, and none begins.
    fn disconnect(&self, kernel: &Kernel) {
        if !self.is_connected() {
            return;
        }
        // Under the lock, as the ISR runs: another processor may be in it.
        self.locked(kernel, || self.connected.store(false, Ordering::Release));
        if let Some(resource) = *self.resource.lock() {
            kernel.interrupts.disconnect(resource.line);
        }
    }

    fn flush(&self, kernel: &Kernel) -> Result<(), Violation> {
        self.dpc.flush(kernel, "the flush of an interrupt's DPC")?;
        self.work.flush(kernel, "the flush of an interrupt's work item")
    }

    /// Queues the DPC; `false` if it is queued already.
    pub(crate) fn queue_dpc(&self, kernel: &Kernel, handle: Handle) -> Result<bool, Violation> {
        let config = *self.config.lock();
        if !config.dpc.is_some() && !config.work.is_some() {
            let message = "a DPC was queued for an interrupt that has no EvtInterruptDpc";
            return Err(broken(RuleId::Kmdf16, message).code(0x10D, [9, handle.bits(), 0, 0]));
        }
        let first = self.dpc.enqueue();
        if first {
            kernel.queue_dpc(deferred(handle, run_dpc));
        }
        Ok(first)
    }
}

/// The line's interrupt: calls the ISR under the lock.
fn interrupt(kernel: &Kernel, argument: usize) -> bool {
    let Some((handle, interrupt)) = object::<Interrupt>(kernel, argument) else { return false };
    let isr = interrupt.config.lock().isr;
    let message = interrupt.number.load(Ordering::Relaxed);
    let call = || {
        if !interrupt.is_connected() {
            return 0;
        }
        // SAFETY: the driver's EvtInterruptIsr with its interrupt, at DIRQL under the lock.
        unsafe { callback::PFN_WDF_INTERRUPT_ISR(kernel, isr, handle.raw(), message) }
    };
    let is_gone = || interrupt.device.get().is_some_and(|device| kernel.pnp.is_gone(device));
    let message_signaled = interrupt.resource.lock().is_some_and(|resource| resource.message);
    // A message that was on its way when the device vanished is nobody else's: an ISR need not ask
    // the device about it, but one that does must understand the answer. One for a line must ask.
    let must_ask = !message_signaled && is_gone();
    let before = context::with(|c| c.unanswered.replace(false));
    let claimed = interrupt.locked(kernel, call) != 0;
    let unanswered = context::with(|c| c.unanswered.replace(before));
    if claimed && (must_ask || unanswered && is_gone()) {
        let message = "EvtInterruptIsr claimed an interrupt of a device that is gone";
        kernel.stop(broken(RuleId::Sur01, message));
    }
    claimed
}

/// The interrupt's DPC, at DISPATCH_LEVEL.
fn run_dpc(kernel: &Kernel, argument: usize) {
    let Some((handle, interrupt)) = object::<Interrupt>(kernel, argument) else { return };
    let config = *interrupt.config.lock();
    let Some(device) = interrupt.device.get() else { return };
    interrupt.dpc.run(kernel, || {
        if config.work.is_some() {
            if interrupt.work.enqueue() {
                kernel.queue_work(deferred(handle, run_work));
            }
            return;
        }
        config.serialised.run(kernel, || {
            // SAFETY: the driver's EvtInterruptDpc with its interrupt and device.
            unsafe {
                callback::PFN_WDF_INTERRUPT_DPC(kernel, config.dpc, handle.raw(), device.raw());
            }
        });
    });
}

/// The interrupt's work item, at PASSIVE_LEVEL.
fn run_work(kernel: &Kernel, argument: usize) {
    let Some((handle, interrupt)) = object::<Interrupt>(kernel, argument) else { return };
    let config = *interrupt.config.lock();
    let Some(device) = interrupt.device.get() else { return };
    interrupt.work.run(kernel, || {
        config.serialised.run(kernel, || {
            // SAFETY: the driver's EvtInterruptWorkItem with its interrupt and device.
            unsafe {
                callback::PFN_WDF_INTERRUPT_WORKITEM(
                    kernel,
                    config.work,
                    handle.raw(),
                    device.raw(),
                );
            }
        });
    });
}

/// The interrupts of a device in order of creation.
pub(crate) fn of_device<'k>(kernel: &'k Kernel, device: &Device) -> Vec<(Handle, &'k Interrupt)> {
    let handles = device.interrupts.lock().clone();
    handles.into_iter().filter_map(|handle| Some((handle, kernel.wdf.payload(handle)?))).collect()
}

/// Interrupts that share a lock synchronise at the highest level of the group.
pub(crate) fn settle_levels(kernel: &Kernel, device: &Device) {
    let interrupts = of_device(kernel, device);
    let level = |interrupt: &Interrupt| interrupt.resource.lock().map_or(0, |r| r.irql);
    for (_, interrupt) in &interrupts {
        let shared = interrupt.config.lock().shared;
        let group = interrupts
            .iter()
            .filter(|(_, other)| shared.is_some() && other.config.lock().shared == shared);
        let highest = group.map(|(_, other)| level(other)).max();
        let irql = highest.unwrap_or(0).max(level(interrupt));
        interrupt.synchronize.store(irql, Ordering::Relaxed);
    }
}
