//! What plug and play and power do to queues (KMDF.md 3.9, 4.7).
//!
//! Called by the PnP manager at PASSIVE_LEVEL in kernel mode.

use wdk_lite::_WDF_REQUEST_STOP_ACTION_FLAGS as Flags;

use super::{Config, Handle, Power, Queue, queues, request};
use crate::RuleId;
use crate::ddi::callback;
use crate::io::must;
use crate::machine::{Kernel, Wait};
use crate::verifier::broken;
use crate::wdf::request::{Mark, Place, Request, Stop};

/// Leaving D0: power-managed queues present nothing more, and the driver's requests are stopped.
/// Returns when each is complete, forwarded or acknowledged. With `purge` EvtIoStop is told that
/// the device goes.
pub(crate) fn hold_all(kernel: &Kernel, device: Handle, purge: bool) {
    let all = queues(kernel, device);
    let managed = || all.iter().filter_map(|&handle| managed(kernel, handle));
    for (_, queue) in managed() {
        queue.lock().power = Power::Stopping;
    }
    for (handle, queue) in managed() {
        wait_until(kernel, handle, queue, || queue.lock().dispatching == 0);
    }
    let action =
        if purge { Flags::WdfRequestStopActionPurge } else { Flags::WdfRequestStopActionSuspend };
    for (handle, queue) in managed() {
        stop_owned(kernel, handle, queue, action);
        queue.lock().power = Power::Off;
        must(kernel, queue.run_internal(kernel, handle));
    }
}

/// Back in D0: EvtIoResume for what the driver kept, on all queues; then they present again.
pub(crate) fn resume_all(kernel: &Kernel, device: Handle) {
    let all = queues(kernel, device);
    let managed = || all.iter().filter_map(|&handle| managed(kernel, handle));
    for (handle, queue) in managed() {
        queue.lock().restart();
        resume_owned(kernel, handle, queue);
    }
    for (_, queue) in managed() {
        queue.lock().power = Power::On;
    }
    for (handle, queue) in managed() {
        must(kernel, queue.run_internal(kernel, handle));
    }
}

/// The device failed or goes: the power-managed queues, or the others, refuse requests, cancel
/// those that wait and get rid of the driver's.
pub(crate) fn purge_all(kernel: &Kernel, device: Handle, managed: bool) {
    for handle in queues(kernel, device) {
        let Some(queue) = kernel.wdf.payload::<Queue>(handle) else { continue };
        let of_kind = queue.lock().config.power_managed == managed;
        if of_kind {
            purge(kernel, handle, queue);
            let left = || queue.lock().owned.iter().all(|handle| is_kept(kernel, handle));
            wait_until(kernel, handle, queue, left);
        }
    }
}

/// A queue is deleted: it goes when nobody has a request of it.
pub(super) fn purge_for_good(kernel: &Kernel, handle: Handle, queue: &Queue) {
    purge(kernel, handle, queue);
    let empty = || {
        let state = queue.lock();
        state.owns_nothing() && state.queued.is_empty() && state.dispatching == 0
    };
    wait_until(kernel, handle, queue, empty);
}

fn managed(kernel: &Kernel, handle: Handle) -> Option<(Handle, &Queue)> {
    let queue = kernel.wdf.payload::<Queue>(handle)?;
    let managed = queue.lock().config.power_managed;
    managed.then_some((handle, queue))
}

fn purge(kernel: &Kernel, handle: Handle, queue: &Queue) {
    {
        let mut state = queue.lock();
        state.shut_down();
        state.cancel_queued(kernel, |_| true);
        state.cancel_owned(kernel);
    }
    must(kernel, queue.run_internal(kernel, handle));
    let before = std::mem::replace(&mut queue.lock().power, Power::Stopping);
    wait_until(kernel, handle, queue, || queue.lock().dispatching == 0);
    stop_owned(kernel, handle, queue, Flags::WdfRequestStopActionPurge);
    queue.lock().power = before;
    must(kernel, queue.run_internal(kernel, handle));
}

/// Whether the driver has acknowledged the request and keeps it.
fn is_kept(kernel: &Kernel, handle: Handle) -> bool {
    request(kernel, handle).is_some_and(|request| request.lock().stop == Stop::Kept)
}

/// Calls EvtIoStop for the driver's requests and waits for the answers. A queue without it waits
/// until the driver has completed them all.
fn stop_owned(kernel: &Kernel, handle: Handle, queue: &Queue, action: i32) {
    let config = {
        let mut state = queue.lock();
        state.power = Power::Notifying;
        state.config
    };
    if config.stop.is_some() {
        let owned: Vec<Handle> = queue.lock().owned.iter().collect();
        for request in owned {
            stop_one(kernel, handle, queue, &config, request, action);
        }
    }
    queue.lock().power = Power::Stopping;
    // Cancellations that were held back come now; what waits for the driver goes on.
    must(kernel, queue.run_internal(kernel, handle));
    wait_until(kernel, handle, queue, || {
        let state = queue.lock();
        if config.stop.is_some() { state.notified == 0 } else { state.owned.is_empty() }
    });
}

fn stop_one(
    kernel: &Kernel,
    handle: Handle,
    queue: &Queue,
    config: &Config,
    of: Handle,
    action: i32,
) {
    let Some(found) = request(kernel, of) else { return };
    let cancelable = {
        let mut state = queue.lock();
        let mut own = found.lock();
        let gone = !matches!(own.place, Place::Owned(_)) || own.queue != Some(handle);
        if gone || matches!(own.mark, Mark::Claimed | Mark::Called) {
            return;
        }
        let Some(irp) = own.irp else { return };
        if own.mark == Mark::Marked && irp.cancel.is_claimed() {
            return;
        }
        irp.step("delivered to EvtIoStop");
        own.stop = Stop::Calling;
        // While it is known to be live: another processor may complete it.
        kernel.wdf.reference(of);
        state.notified += 1;
        own.mark == Mark::Marked
    };
    let flag = if cancelable { Flags::WdfRequestStopRequestCancelable } else { 0 };
    // CAST: a set of flags.
    let flags = (action | flag) as u32;
    queue.present(kernel, config.scope, || {
        let (queue, request) = (handle.raw(), of.raw());
        // SAFETY: the queue's EvtIoStop, with a request of it that the driver owns.
        unsafe {
            callback::PFN_WDF_IO_QUEUE_IO_STOP(kernel, config.stop, queue, request, flags);
        }
    });
    stopped(queue, of, found);
    kernel.wdf.dereference(kernel, of);
}

/// EvtIoStop has returned: what the driver said about the request.
fn stopped(queue: &Queue, of: Handle, found: &Request) {
    let mut state = queue.lock();
    let mut own = found.lock();
    match (own.stop, own.place) {
        (Stop::Calling, Place::Owned(_)) => own.stop = Stop::Awaited,
        (Stop::Keep, Place::Owned(_)) => {
            state.notified -= 1;
            own.stop = Stop::Kept;
        }
        (Stop::Return, Place::Owned(token)) => {
            state.leave_owned(std::mem::take(&mut own.stop), token);
            drop(own);
            state.prepend(of, found);
        }
        _ => {}
    }
}

/// EvtIoResume for each request that was acknowledged and kept.
fn resume_owned(kernel: &Kernel, handle: Handle, queue: &Queue) {
    let config = {
        let mut state = queue.lock();
        state.power = Power::Notifying;
        state.config
    };
    let owned: Vec<Handle> = queue.lock().owned.iter().collect();
    for of in owned {
        let Some(found) = request(kernel, of) else { continue };
        let resumes = {
            let mut own = found.lock();
            let kept = own.stop == Stop::Kept && matches!(own.place, Place::Owned(_));
            own.stop = if kept { Stop::None } else { own.stop };
            let resumes = kept
                && config.resume.is_some()
                && !matches!(own.mark, Mark::Claimed | Mark::Called);
            if resumes {
                kernel.wdf.reference(of);
            }
            resumes
        };
        if !resumes {
            continue;
        }
        queue.present(kernel, config.scope, || {
            let (queue, request) = (handle.raw(), of.raw());
            // SAFETY: the queue's EvtIoResume, with a request of it that the driver kept.
            unsafe { callback::PFN_WDF_IO_QUEUE_IO_RESUME(kernel, config.resume, queue, request) };
        });
        kernel.wdf.dereference(kernel, of);
    }
}

/// Waits for the driver; KMDF-32 when nothing can make it go on.
fn wait_until(kernel: &Kernel, handle: Handle, queue: &Queue, condition: impl Fn() -> bool) {
    if condition() || kernel.wait(None, condition) == Wait::Satisfied {
        return;
    }
    let owned: Vec<Handle> = queue.lock().owned.iter().collect();
    let first = owned.first().and_then(|&of| request(kernel, of)?.lock().irp);
    let trace = first.map(|irp| irp.body().trace.to_string()).unwrap_or_default();
    let message = format!(
        "the device cannot leave D0 or go: the driver holds {} request(s) of a queue and nothing \
         left in the machine can end them; history of the first: {trace}",
        owned.len()
    );
    // CAST: an identifier.
    kernel.stop(broken(RuleId::Kmdf32, message).code(0x9F, [3, 0, 0, handle.bits()]))
}
