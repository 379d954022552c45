//! Endings that come from outside: cancellation, power-down, removal, a closed file.

use wdk_dma::irql::{Passive, UpToDispatch};

use super::context_of;
use crate::device::DeviceContext;
use crate::sys::{
    _WDF_REQUEST_STOP_ACTION_FLAGS, BOOLEAN, FALSE, STATUS_CANCELLED, STATUS_DEVICE_REMOVED,
    STATUS_INVALID_DEVICE_STATE, ULONG, WDFFILEOBJECT, WDFQUEUE, WDFREQUEST,
    call_unsafe_wdf_function_binding,
};
use crate::transfer;
use crate::transfer::slot::Cancel;

/// EvtRequestCancel: records the wish; the pump ends the transfer as soon as the device cannot
/// touch its pages any more (KMDF-29). IRQL: at most DISPATCH_LEVEL.
pub(super) unsafe extern "C" fn evt_cancel(request: WDFREQUEST) {
    // SAFETY: the framework's own argument, owned by the driver until it completes it.
    let queue = unsafe { call_unsafe_wdf_function_binding!(WdfRequestGetIoQueue, request) };
    if queue.is_null() {
        return;
    }
    // SAFETY: the request's queue, live.
    let Some(context) = (unsafe { context_of(queue) }) else { return };
    // SAFETY: EvtRequestCancel runs at DISPATCH_LEVEL or below.
    let mut level = unsafe { UpToDispatch::assume() };
    {
        let mut state = context.state.lock(&level);
        if let Some(slot) = state.find(request) {
            slot.cancel = Cancel::Settled;
            slot.ending = Some(STATUS_CANCELLED);
        }
        state.engine.told_to_end = true;
    }
    transfer::pump(context, &mut level);
}

/// EvtIoStop: the device leaves D0 or goes for good.
///
/// Every request stays the driver's and is acknowledged, so that the power-down goes on: D0Exit
/// stops the device and ends what was under way, and what waits goes on after EvtIoResume
/// (KMDF-33; a running transfer is the named exception to KMDF-34). When the device goes for good,
/// what does not run ends here.
pub(super) unsafe extern "C" fn evt_io_stop(queue: WDFQUEUE, request: WDFREQUEST, flags: ULONG) {
    // SAFETY: the framework's own argument.
    let Some(context) = (unsafe { context_of(queue) }) else { return };
    // SAFETY: EvtIoStop runs at DISPATCH_LEVEL or below.
    let mut level = unsafe { UpToDispatch::assume() };
    // CAST: the C constant is a small positive number.
    let purge = flags & _WDF_REQUEST_STOP_ACTION_FLAGS::WdfRequestStopActionPurge as ULONG != 0;
    {
        let mut state = context.state.lock(&level);
        let removed = state.surprise_removed || state.gone;
        if let Some(slot) = state.find(request) {
            slot.stopped = true;
            if removed {
                slot.end(STATUS_DEVICE_REMOVED);
            } else if purge {
                slot.end(STATUS_INVALID_DEVICE_STATE);
            }
            // Claimed, the request is completed below without having to wait for anything.
            if !(slot.ends_at_once() && slot.claim()) {
                acknowledge(request);
            }
        }
        // Not found: the pump is completing it.
        state.engine.told_to_end = true;
    }
    transfer::pump(context, &mut level);
}

/// Keeps the request over the power-down. Under the lock, so that the pump cannot complete it
/// meanwhile. It stays cancelable.
fn acknowledge(request: WDFREQUEST) {
    // SAFETY: owned by the driver, inside EvtIoStop for this request (KMDF-33).
    unsafe {
        call_unsafe_wdf_function_binding!(WdfRequestStopAcknowledge, request, FALSE as BOOLEAN);
    }
}

/// EvtIoResume: the device is back in D0. IRQL: at most DISPATCH_LEVEL.
pub(super) unsafe extern "C" fn evt_io_resume(queue: WDFQUEUE, request: WDFREQUEST) {
    // SAFETY: the framework's own argument.
    let Some(context) = (unsafe { context_of(queue) }) else { return };
    // SAFETY: EvtIoResume runs at DISPATCH_LEVEL or below.
    let mut level = unsafe { UpToDispatch::assume() };
    if let Some(slot) = context.state.lock(&level).find(request) {
        slot.stopped = false;
    }
    transfer::pump(context, &mut level);
}

/// EvtFileCleanup: the last handle of a file is closed. The framework cancels what is queued; what
/// the driver owns, the driver ends (KMDF-47). IRQL: PASSIVE_LEVEL.
pub(crate) unsafe extern "C" fn evt_file_cleanup(file: WDFFILEOBJECT) {
    // SAFETY: the framework's own argument.
    let device = unsafe { call_unsafe_wdf_function_binding!(WdfFileObjectGetDevice, file) };
    // SAFETY: files are opened after device add.
    let Some(context) = (unsafe { DeviceContext::of(device) }) else { return };
    // SAFETY: EvtFileCleanup runs at PASSIVE_LEVEL (KMDF-46).
    let mut passive = unsafe { Passive::assume() };
    {
        let mut state = context.state.lock(&passive);
        for slot in state.slots.iter_mut().filter(|slot| slot.is_of(file)) {
            slot.end(STATUS_CANCELLED);
        }
        state.engine.told_to_end = true;
    }
    transfer::pump(context, &mut passive);
}
