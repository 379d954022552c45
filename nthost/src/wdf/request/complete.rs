//! Completion (KMDF.md 5.3).

use wdk_lite::*;

use super::{Live, Mark, Place, Request, Stop};
use crate::RuleId;
use crate::io::body::Body;
use crate::io::irp;
use crate::io::{IrpRef, Major, Method};
use crate::machine::{Kernel, context};
use crate::verifier::{Violation, broken};
use crate::wdf::Handle;
use crate::wdf::device::Device;
use crate::wdf::queue::Queue;

/// What the requester sees of a status of the framework's own facility.
pub(crate) fn map_status(status: NTSTATUS) -> NTSTATUS {
    /// Customer bit clear, facility 0x20.
    const FACILITY: u32 = 0x0FFF_0000;
    match status {
        STATUS_WDF_PAUSED | STATUS_WDF_BUSY => STATUS_DEVICE_BUSY,
        STATUS_WDF_INTERNAL_ERROR => STATUS_INTERNAL_ERROR,
        STATUS_WDF_NOT_ENOUGH_MAP_REGISTERS => STATUS_INSUFFICIENT_RESOURCES,
        // CAST: the code's bits.
        other if other as u32 & FACILITY == 0x0020_0000 => STATUS_INVALID_DEVICE_REQUEST,
        other => other,
    }
}

/// WdfRequestComplete and its siblings.
///
/// # Errors
/// KMDF-21, 23, 24 and 27, DMA-55, and what ends with the request's MDLs.
pub(super) fn complete(
    kernel: &Kernel,
    raw: WDFREQUEST,
    status: NTSTATUS,
    information: Option<u64>,
) -> Result<(), Violation> {
    let live = Request::live(kernel, raw)?;
    live.owned(RuleId::Kmdf21)?;
    if context::with(|c| c.callback.get()) == "PFN_WDF_DEVICE_SURPRISE_REMOVAL" {
        let message = "a request was completed in EvtDeviceSurpriseRemoval, which only marks state";
        return Err(broken(RuleId::Sur03, message));
    }
    if status == STATUS_PENDING {
        let message = "a request was completed with STATUS_PENDING, which says that it is not";
        return Err(broken(RuleId::Kmdf23, message).code(0xC9, [0x6, 0, 0, 0]));
    }
    check_locks(kernel, &live)?;
    let mdls = {
        let mut body = live.irp.body();
        if let Some(information) = information {
            body.information = information;
        }
        check_information(&live, &body, status)?;
        check_flushes(kernel, &body, status)?;
        if NT_SUCCESS(status) {
            kernel.memory.check_pio_flush(kernel, body.mdl.0, body.information)?;
            if let Err(found) = kernel.memory.check_moved(body.mdl.0, body.information) {
                kernel.breach(found)?;
            }
        }
        body.take_mdls()
    };
    let stop = end_ownership(&live)?;
    irp::release(kernel, mdls)?;
    finish(kernel, &live, stop, map_status(status))
}

#[cold]
fn raced() -> Violation {
    let message = "two threads completed, forwarded or requeued a request at once";
    broken(RuleId::Kmdf21, message)
}

impl Live<'_> {
    /// The request leaves the driver for a queue; returns its part in leaving D0.
    ///
    /// # Errors
    /// KMDF-21 if another thread has taken it somewhere meanwhile.
    pub(in crate::wdf) fn move_away(&self) -> Result<Stop, Violation> {
        let mut own = self.request.lock();
        if own.place != self.place {
            drop(own);
            return Err(raced());
        }
        own.place = Place::Moving;
        Ok(std::mem::take(&mut own.stop))
    }
}

/// The request is no longer the driver's; returns its part in leaving D0.
///
/// # Errors
/// KMDF-21 if another thread completes it too. KMDF-27: a cancelable request is unmarked first,
/// and after a lost race left alone.
fn end_ownership(live: &Live<'_>) -> Result<Stop, Violation> {
    let mut own = live.request.lock();
    let message = match own.mark {
        _ if own.place != live.place => {
            drop(own);
            return Err(raced());
        }
        Mark::None | Mark::Called => {
            own.place = Place::Done;
            own.irp = None;
            return Ok(std::mem::take(&mut own.stop));
        }
        Mark::Marked => "a request was completed while it is cancelable; unmark it first",
        Mark::Claimed => {
            "a request was completed although WdfRequestUnmarkCancelable did not win: its \
             EvtRequestCancel is about to be called and completes it"
        }
    };
    drop(own);
    Err(broken(RuleId::Kmdf27, message).code(0x10D, [6, 0, live.handle.bits(), 0]))
}

/// KMDF-23: completion may call the driver again, so it holds no spin lock of its own.
fn check_locks(kernel: &Kernel, live: &Live<'_>) -> Result<(), Violation> {
    let held = context::with(|c| c.locks.get());
    if held == 0 {
        return Ok(());
    }
    let device: Option<&Device> = live.request.device.get().and_then(|d| kernel.wdf.payload(d));
    let framework = match live.request.queue(kernel) {
        Some((_, queue)) => queue.framework_locks(kernel),
        None => u32::from(device.is_some_and(|d| !d.lock.is_passive() && d.lock.is_held())),
    };
    if held <= framework {
        return Ok(());
    }
    let message = format!(
        "a request was completed with {} spin lock(s) held; completion may present the next \
         request at once",
        held - framework
    );
    Err(broken(RuleId::Kmdf23, message).code(0xC4, [0x1000, 0, 0, 0]))
}

/// DMA-55: no success after a flush that failed. Only a machine that was told to lets one fail.
fn check_flushes(kernel: &Kernel, body: &Body, status: NTSTATUS) -> Result<(), Violation> {
    if kernel.options.flush_failure.is_none() || !NT_SUCCESS(status) {
        return Ok(());
    }
    kernel.memory.check_arrived(body.mdl.0)?;
    kernel.memory.check_arrived(body.system_mdl.0)
}

/// KMDF-24.
fn check_information(live: &Live<'_>, body: &Body, status: NTSTATUS) -> Result<(), Violation> {
    // CAST: a length in this process's memory.
    let (information, length) = (body.information, body.length as u64);
    if !NT_SUCCESS(status) || information <= length {
        return Ok(());
    }
    let what = match (body.major, body.kernel_mode) {
        (Major::Create, _) | (Major::DeviceControl, true) => return Ok(()),
        (Major::DeviceControl, false) if length == 0 && body.method != Method::Buffered => {
            return Ok(());
        }
        (Major::DeviceControl, false) if length == 0 => {
            let message = format!(
                "a control request without output buffer was completed with Information \
                 {information}"
            );
            return Err(broken(RuleId::Kmdf24, message));
        }
        (Major::DeviceControl, false) => "output buffer",
        (Major::Read | Major::Write, _) => "length",
    };
    let message = format!(
        "a request was completed with Information {information}, more than its {what} of {length} \
         bytes"
    );
    Err(broken(RuleId::Kmdf24, message).code(0x10D, [6, 4, live.handle.bits(), information]))
}

/// The driver's request ends: cleanup callbacks, then the requester sees it, then its queue.
fn finish(kernel: &Kernel, live: &Live<'_>, stop: Stop, status: NTSTATUS) -> Result<(), Violation> {
    let wdf = &kernel.wdf;
    wdf.reference(live.handle);
    wdf.delete(kernel, live.handle);
    create_ended(kernel, live.irp, status);
    live.irp.finished(kernel, status);
    if let (Some(of), Place::Owned(token)) = (live.queue, live.place)
        && let Some(queue) = wdf.payload::<Queue>(of)
    {
        queue.lose(kernel, of, token, stop)?;
    }
    wdf.dereference(kernel, live.handle);
    Ok(())
}

/// The framework itself completes a request that is on no list.
pub(crate) fn complete_unowned(
    kernel: &Kernel,
    handle: Handle,
    status: NTSTATUS,
) -> Result<(), Violation> {
    let Some(request) = kernel.wdf.payload::<Request>(handle) else { return Ok(()) };
    let (irp, presented) = {
        let mut own = request.lock();
        own.place = Place::Done;
        (own.irp.take(), own.presented)
    };
    let Some(irp) = irp else { return Ok(()) };
    irp.body().information = 0;
    if !presented {
        kernel.wdf.suppress_callbacks(handle);
    }
    kernel.wdf.reference(handle);
    kernel.wdf.delete(kernel, handle);
    create_ended(kernel, irp, status);
    irp.complete(kernel, status)?;
    kernel.wdf.dereference(kernel, handle);
    Ok(())
}

/// A failed create takes its file object along (KMDF.md 8.3).
fn create_ended(kernel: &Kernel, irp: IrpRef, status: NTSTATUS) {
    if NT_SUCCESS(status) {
        return;
    }
    let file = {
        let body = irp.body();
        if body.major == Major::Create { body.file.clone() } else { None }
    };
    if let Some(file) = file {
        kernel.wdf.forget_file(kernel, &file);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn framework_statuses_are_translated_for_the_requester() {
        for (from, to) in [
            (STATUS_SUCCESS, STATUS_SUCCESS),
            (STATUS_CANCELLED, STATUS_CANCELLED),
            (STATUS_BUFFER_OVERFLOW, STATUS_BUFFER_OVERFLOW),
            (STATUS_WDF_BUSY, STATUS_DEVICE_BUSY),
            (STATUS_WDF_PAUSED, STATUS_DEVICE_BUSY),
            (STATUS_WDF_INTERNAL_ERROR, STATUS_INTERNAL_ERROR),
            (STATUS_WDF_TOO_FRAGMENTED, STATUS_INVALID_DEVICE_REQUEST),
            (STATUS_WDF_TOO_MANY_TRANSFERS, STATUS_INVALID_DEVICE_REQUEST),
            (STATUS_WDF_NOT_ENOUGH_MAP_REGISTERS, STATUS_INSUFFICIENT_RESOURCES),
        ] {
            assert_eq!(map_status(from), to);
        }
    }
}
