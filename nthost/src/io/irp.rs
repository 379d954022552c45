//! I/O request packets, pooled.

// UNSAFETY: references to IRPs are kept without a lifetime.

use std::fmt;
use std::ops::Deref;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use parking_lot::{Mutex, MutexGuard};
use wdk_lite as k;

use super::body::{Body, Completion};
use super::cancel::CancelState;
use crate::machine::Kernel;
use crate::machine::footprint::Thing;
use crate::verifier::{Violation, broken};
use crate::wdf::device::HandleCell;
use crate::{NtStatus, RuleId};

/// One IRP.
#[derive(Debug, Default)]
pub(crate) struct Irp {
    pub cancel: CancelState,
    done: AtomicBool,
    /// Its place in its file's list.
    pub(super) slot: AtomicUsize,
    /// The framework's object for it.
    pub request: HandleCell,
    body: Mutex<Body>,
}

/// An IRP of a machine. The machine's pool keeps every IRP for as long as the machine exists.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct IrpRef(NonNull<Irp>);

// SAFETY: a shared reference to an `Irp`, which is `Sync`.
unsafe impl Send for IrpRef {}
// SAFETY: as above.
unsafe impl Sync for IrpRef {}

impl fmt::Debug for IrpRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Irp({:p})", self.0)
    }
}

impl Deref for IrpRef {
    type Target = Irp;

    #[inline]
    fn deref(&self) -> &Irp {
        // SAFETY: made by `Pool::get` from an IRP that the pool never drops before its machine,
        // and only used by that machine's code.
        unsafe { self.0.as_ref() }
    }
}

impl Irp {
    /// The contents. No lock but that of a file's list is taken, and nobody called, under it.
    #[inline]
    pub(crate) fn body(&self) -> MutexGuard<'_, Body> {
        self.body.lock()
    }

    /// Whether it is complete.
    #[inline]
    pub(crate) fn is_done(&self) -> bool {
        self.done.load(Ordering::Acquire)
    }

    /// Remembers a step of its history.
    #[inline]
    pub(crate) fn step(&self, what: &'static str) {
        self.body.lock().trace.step(what);
    }

    /// The opaque pointer drivers get (WdfRequestWdmGetIrp).
    pub(crate) fn pointer(&self) -> k::PIRP {
        ptr::from_ref(self).cast_mut().cast()
    }

    /// IoCancelIrp, by somebody who keeps the IRP from being used again meanwhile.
    pub(super) fn cancel(&self, kernel: &Kernel) -> Result<(), Violation> {
        if !self.cancel.cancel() {
            return Ok(());
        }
        self.step("cancelled");
        self.cancelled(kernel)
    }

    /// A cancel has won: calls the cancel routine, which is the framework's.
    pub(super) fn cancelled(&self, kernel: &Kernel) -> Result<(), Violation> {
        match self.request.get() {
            Some(request) => kernel.wdf.cancel_request(kernel, request),
            None => Ok(()),
        }
    }

    /// The requester's end: copies buffered output back and returns the result.
    pub(super) fn finish(&self) -> Completion {
        self.body().finish()
    }

    /// The requester does not wait for it any more; returns whether it is complete already.
    pub(super) fn abandon(&self) -> bool {
        let mut body = self.body();
        body.abandoned = true;
        self.is_done()
    }
}

impl IrpRef {
    /// IoCompleteRequest; its MDLs are unlocked before the requester can see it (DMA-100).
    ///
    /// # Errors
    /// KMDF-21 (bug check 0x44) for an IRP that is complete; DMA-100 and SIM-12 when something
    /// still names one of its MDLs.
    pub(crate) fn complete(self, kernel: &Kernel, status: k::NTSTATUS) -> Result<(), Violation> {
        if self.is_done() {
            let message = "an IRP was completed twice";
            // CAST: an address.
            let address = self.0.addr().get() as u64;
            return Err(broken(RuleId::Kmdf21, message).code(0x44, [address, 0, 0, 0]));
        }
        let mdls = self.body().take_mdls();
        release(kernel, mdls)?;
        self.finished(kernel, status);
        Ok(())
    }

    /// The end of completion: the requester sees the result.
    pub(crate) fn finished(self, kernel: &Kernel, status: k::NTSTATUS) {
        kernel.touch(Thing::Application);
        self.request.set(None);
        let abandoned = {
            let mut body = self.body();
            if let Some(file) = body.file.take() {
                file.remove(kernel, self);
            }
            // CAST: a byte count of this process's memory.
            let information = body.information as usize;
            body.result = Completion { status: NtStatus(status), information };
            kernel.io.irps.complete.fetch_add(1, Ordering::Relaxed);
            // When the lock is released the requester may use the IRP for its next request.
            self.done.store(true, Ordering::Release);
            body.abandoned
        };
        if abandoned {
            kernel.io.irps.put(self);
        }
        kernel.poke();
    }
}

/// Unlocks and frees MDLs of a request.
///
/// # Errors
/// DMA-100 and SIM-12 when something still names one.
#[inline]
pub(crate) fn release(kernel: &Kernel, mdls: [k::PMDL; 2]) -> Result<(), Violation> {
    for mdl in mdls {
        if !mdl.is_null() {
            kernel.memory.release_mdl(kernel, mdl)?;
        }
    }
    Ok(())
}

/// The machine's IRPs.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    irps: Mutex<Irps>,
    /// Sent so far, and complete.
    sent: AtomicU64,
    complete: AtomicU64,
}

#[derive(Debug, Default)]
struct Irps {
    /// Every one there is; they stay where they are.
    all: Vec<Arc<Irp>>,
    free: Vec<IrpRef>,
}

impl Irps {
    #[cold]
    fn grow(&mut self) -> IrpRef {
        let irp = Arc::<Irp>::default();
        let pointer = NonNull::from(&*irp);
        self.all.push(irp);
        // Room to give all of them back.
        self.free.reserve(self.all.len());
        IrpRef(pointer)
    }
}

impl Pool {
    /// An IRP with contents as `prepare` makes them.
    #[inline]
    pub(super) fn get(&self, prepare: impl FnOnce(&mut Body)) -> IrpRef {
        let irp = {
            let mut irps = self.irps.lock();
            irps.free.pop().unwrap_or_else(|| irps.grow())
        };
        self.sent.fetch_add(1, Ordering::Relaxed);
        irp.cancel.reset();
        irp.done.store(false, Ordering::Relaxed);
        let mut body = irp.body();
        body.reset();
        prepare(&mut body);
        drop(body);
        irp
    }

    /// Gives an IRP back.
    pub(super) fn put(&self, irp: IrpRef) {
        self.irps.lock().free.push(irp);
    }

    /// How many were sent so far.
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// The same, if all of them are complete.
    pub(super) fn idle(&self) -> Option<u64> {
        let complete = self.complete.load(Ordering::Relaxed);
        Some(self.sent()).filter(|&sent| sent == complete)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_returned_irp_is_used_again_from_scratch() {
        let pool = Pool::default();
        let first = pool.get(|body| body.length = 5);
        let second = pool.get(|_| {});
        assert_ne!(first, second);
        assert!(!first.cancel.cancel());
        pool.put(first);
        let third = pool.get(|body| assert_eq!(body.length, 0));
        assert_eq!(first, third);
        assert!(!third.cancel.is_requested());
    }
}
