//! How objects end: disposal, cleanup, references, destruction.

// UNSAFETY: calls the driver's cleanup and destroy callbacks.

use std::sync::atomic::Ordering;

use wdk_lite::{NTSTATUS, STATUS_DELETE_PENDING};

use super::context::{Added, Call};
use super::slot::{Slot, State};
use super::{Attributes, Handle};
use crate::RuleId;
use crate::ddi::callback;
use crate::machine::Kernel;
use crate::machine::clock::Deferred;
use crate::verifier::{Violation, broken};
use crate::wdf::Wdf;

impl Wdf {
    /// Deletes an object: its children are disposed first, then it is; cleanup callbacks run on
    /// the way. Each is destroyed when its last reference goes. What needs PASSIVE_LEVEL and does
    /// not have it is left to a worker.
    pub(crate) fn delete(&self, kernel: &Kernel, handle: Handle) {
        let Some(slot) = self.objects.slot(handle) else { return };
        if let Some(parent) = slot.parent().and_then(|parent| self.objects.slot(parent)) {
            let tree = self.objects.tree();
            if parent.state() != State::Live || !slot.advance(State::Live, State::Disposing) {
                // The parent's disposal comes by, or somebody has deleted it already.
                return;
            }
            tree.unlink(parent, slot);
        } else if !slot.advance(State::Live, State::Disposing) {
            return;
        }
        if kernel.irql() > 0 && self.needs_passive(slot) {
            self.defer(kernel, handle, dispose_later);
        } else {
            self.dispose_and_release(kernel, slot, handle);
        }
    }

    /// Deletes an object whose creation failed: the driver's callbacks are not called.
    pub(crate) fn discard(&self, kernel: &Kernel, handle: Handle) {
        self.suppress_callbacks(handle);
        self.delete(kernel, handle);
    }

    fn dispose_and_release(&self, kernel: &Kernel, slot: &Slot, handle: Handle) {
        self.dispose(kernel, slot, handle);
        self.release_children(kernel, slot);
        self.release(kernel, slot, handle);
    }

    /// The first half of a device's removal: all of its children and its own cleanup; the object
    /// stays until [`Wdf::finish`].
    pub(crate) fn dispose_early(&self, kernel: &Kernel, handle: Handle) {
        let Some(slot) = self.objects.slot(handle) else { return };
        if slot.advance(State::Live, State::Disposing) {
            self.dispose(kernel, slot, handle);
        }
    }

    /// The second half: the children and the object itself are released.
    pub(crate) fn finish(&self, kernel: &Kernel, handle: Handle) {
        let Some(slot) = self.objects.slot(handle) else { return };
        if let Some(parent) = slot.parent().and_then(|parent| self.objects.slot(parent)) {
            self.objects.tree().unlink(parent, slot);
        }
        self.release_children(kernel, slot);
        self.release(kernel, slot, handle);
    }

    /// Disposals that a worker still has to do.
    pub(crate) fn deferred_disposals(&self) -> usize {
        self.objects.deferred.load(Ordering::Acquire)
    }

    /// Whether anything in the subtree is disposed at PASSIVE_LEVEL only.
    fn needs_passive(&self, slot: &Slot) -> bool {
        if slot.is_passive() {
            return true;
        }
        if !slot.has_children() {
            return false;
        }
        let mut child = self.objects.tree().first(slot);
        while let Some(this) = child {
            if self.needs_passive(this) {
                return true;
            }
            child = self.objects.tree().next(this);
        }
        false
    }

    fn defer(&self, kernel: &Kernel, handle: Handle, run: fn(&Kernel, usize)) {
        self.objects.deferred.fetch_add(1, Ordering::AcqRel);
        // CAST: a 64-bit machine.
        kernel.queue_work(Deferred { run, argument: handle.bits() as usize });
    }

    /// Phase 1, depth first: children in order of creation, the kind's own disposal, cleanup.
    fn dispose(&self, kernel: &Kernel, slot: &Slot, handle: Handle) {
        let mut child = if slot.has_children() { self.objects.tree().first(slot) } else { None };
        while let Some(this) = child {
            if let Some(handle) = this.handle()
                && this.advance(State::Live, State::Disposing)
            {
                self.dispose(kernel, this, handle);
            }
            child = self.objects.tree().next(this);
        }
        slot.body().dispose(kernel, handle);
        call_all(kernel, slot, handle, Call::Cleanup);
        slot.advance(State::Disposing, State::Disposed);
    }

    /// Phase 2: the children are released in order of creation.
    fn release_children(&self, kernel: &Kernel, slot: &Slot) {
        while slot.has_children() {
            let tree = self.objects.tree();
            let Some(child) = tree.first(slot) else { return };
            tree.unlink(slot, child);
            drop(tree);
            self.release_children(kernel, child);
            if let Some(handle) = child.handle() {
                self.release(kernel, child, handle);
            }
        }
    }

    /// Drops a reference; the last one destroys the object.
    fn release(&self, kernel: &Kernel, slot: &Slot, handle: Handle) {
        if !slot.release() {
            return;
        }
        if kernel.irql() > 0 && slot.is_passive() {
            self.defer(kernel, handle, destroy_later);
        } else {
            self.destroy(kernel, slot, handle);
        }
    }

    fn destroy(&self, kernel: &Kernel, slot: &Slot, handle: Handle) {
        call_all(kernel, slot, handle, Call::Destroy);
        self.objects.recycle(slot);
        kernel.poke();
    }

    /// Drops a reference.
    pub(crate) fn dereference(&self, kernel: &Kernel, handle: Handle) {
        if let Err(violation) = self.try_dereference(kernel, handle) {
            kernel.stop(violation);
        }
    }

    /// Drops a reference.
    ///
    /// # Errors
    /// The 0x10D/7 violation when that was the last one of an object nobody deleted.
    pub(super) fn try_dereference(&self, kernel: &Kernel, handle: Handle) -> Result<(), Violation> {
        let Some(slot) = self.objects.slot(handle) else { return Ok(()) };
        if slot.references() == 1 && slot.state() != State::Disposed {
            let message = format!(
                "the last reference of a {} was dropped, but nobody deleted the object",
                slot.kind.name()
            );
            return Err(broken(RuleId::Kmdf42, message)
                .code(0x10D, [7, handle.bits(), 0, 0])
                .from(slot.origin()));
        }
        self.release(kernel, slot, handle);
        Ok(())
    }

    /// Adds a context to an object: its address, and whether it had one of this type.
    pub(super) fn add_context(
        &self,
        handle: Handle,
        attributes: &Attributes,
    ) -> Result<(*mut u8, bool), NTSTATUS> {
        let slot = self.objects.slot(handle).ok_or(STATUS_DELETE_PENDING)?;
        if slot.is_deleted() {
            return Err(STATUS_DELETE_PENDING);
        }
        let context = attributes.context.ok_or(wdk_lite::STATUS_OBJECT_NAME_INVALID)?;
        match slot.contexts.add(context, attributes.cleanup, attributes.destroy) {
            Added::Exists(start) => Ok((start, true)),
            Added::New(start) => {
                self.objects.owners.insert(start.addr(), slot.index);
                Ok((start, false))
            }
        }
    }

    /// The object whose context starts at this address.
    pub(super) fn owner_of_context(&self, context: usize) -> Option<Handle> {
        self.objects.slot_of_block(context)?.handle()
    }

    /// Whether the object's "passive callbacks" flag is set, which serialised callbacks compare.
    pub(crate) fn has_passive_callbacks(&self, handle: Handle) -> bool {
        self.objects.slot(handle).is_some_and(Slot::has_passive_callbacks)
    }

    /// Sets that flag: a passive queue or timer.
    pub(crate) fn set_passive_callbacks(&self, handle: Handle) {
        if let Some(slot) = self.objects.slot(handle) {
            slot.set_passive_callbacks();
        }
    }
}

fn handle_of(argument: usize) -> Option<Handle> {
    // CAST: a 64-bit machine.
    Handle::from_bits(argument as u64)
}

fn dispose_later(kernel: &Kernel, argument: usize) {
    let wdf = &kernel.wdf;
    if let Some(handle) = handle_of(argument)
        && let Some(slot) = wdf.objects.slot(handle)
    {
        wdf.dispose_and_release(kernel, slot, handle);
    }
    wdf.objects.deferred.fetch_sub(1, Ordering::AcqRel);
    kernel.poke();
}

fn destroy_later(kernel: &Kernel, argument: usize) {
    let wdf = &kernel.wdf;
    if let Some(handle) = handle_of(argument)
        && let Some(slot) = wdf.objects.slot(handle)
    {
        wdf.destroy(kernel, slot, handle);
    }
    wdf.objects.deferred.fetch_sub(1, Ordering::AcqRel);
    kernel.poke();
}

/// Calls one callback of each context, the one from the object's creation first.
fn call_all(kernel: &Kernel, slot: &Slot, handle: Handle, call: Call) {
    if !slot.contexts.has_callbacks() {
        return;
    }
    let mut index = 0;
    while let Some(routine) = slot.contexts.routine(index, call) {
        index += 1;
        if !routine.is_some() {
            continue;
        }
        match call {
            // SAFETY: the attributes' cleanup callback, called with its object.
            Call::Cleanup => unsafe {
                callback::PFN_WDF_OBJECT_CONTEXT_CLEANUP(kernel, routine, handle.raw());
            },
            // SAFETY: the attributes' destroy callback, likewise.
            Call::Destroy => unsafe {
                callback::PFN_WDF_OBJECT_CONTEXT_DESTROY(kernel, routine, handle.raw());
            },
        }
    }
}
