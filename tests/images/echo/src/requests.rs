//! Requests: from the default queue into the manual one, and out of it by the timer.

use core::ptr;

use wdk_dma::ddk;
use wdk_lite::*;

use crate::device::Context;
use crate::{IOCTL_HOLD, IOCTL_RELEASE};

/// How long a request waits: 1 ms from now, in units of 100 ns.
const DELAY: i64 = -10_000;

/// The context of the device that a queue belongs to.
///
/// # Safety
/// A live queue of this driver's device.
unsafe fn context<'d>(queue: WDFQUEUE) -> &'d Context {
    // SAFETY: by the caller's promise.
    let device = unsafe { call_unsafe_wdf_function_binding!(WdfIoQueueGetDevice, queue) };
    // SAFETY: a device with queues was added completely.
    unsafe { Context::of(device) }
}

/// # Safety
/// The driver owns the request.
unsafe fn complete(request: WDFREQUEST, status: NTSTATUS, information: usize) {
    // SAFETY: by the caller's promise. CAST: widening.
    unsafe {
        call_unsafe_wdf_function_binding!(
            WdfRequestCompleteWithInformation,
            request,
            status,
            information as ULONG_PTR
        );
    }
}

/// Lets a request wait for the timer.
///
/// # Safety
/// The driver owns the request, which came from the default queue.
unsafe fn wait(context: &Context, request: WDFREQUEST) {
    // SAFETY: by the caller's promise; another queue of the same device.
    let status = unsafe {
        call_unsafe_wdf_function_binding!(WdfRequestForwardToIoQueue, request, context.waiting)
    };
    if !NT_SUCCESS(status) {
        // SAFETY: still owned.
        unsafe { complete(request, status, 0) };
        return;
    }
    // SAFETY: the device's timer. One that is started already is started anew.
    unsafe { call_unsafe_wdf_function_binding!(WdfTimerStart, context.timer, DELAY) };
}

/// EvtIoRead.
pub(crate) unsafe extern "C" fn evt_read(queue: WDFQUEUE, request: WDFREQUEST, _length: usize) {
    // SAFETY: the queue's own routine, with a request that the driver owns now.
    unsafe { wait(context(queue), request) };
}

/// EvtIoWrite.
pub(crate) unsafe extern "C" fn evt_write(queue: WDFQUEUE, request: WDFREQUEST, length: usize) {
    // SAFETY: the queue's own routine.
    let context = unsafe { context(queue) };
    let mut buffer = ptr::null_mut();
    // SAFETY: an owned write request. CAST: one byte at least.
    let status = unsafe {
        call_unsafe_wdf_function_binding!(
            WdfRequestRetrieveInputBuffer,
            request,
            1,
            &mut buffer,
            ptr::null_mut()
        )
    };
    if !NT_SUCCESS(status) {
        // SAFETY: owned.
        return unsafe { complete(request, status, 0) };
    }
    // SAFETY: the request's buffer of the length that the framework gave.
    let data = unsafe { core::slice::from_raw_parts(buffer.cast::<u8>(), length) };
    if !context.locked(|state| state.put(data)) {
        // SAFETY: owned.
        return unsafe { complete(request, STATUS_INVALID_BUFFER_SIZE, 0) };
    }
    // SAFETY: owned.
    unsafe { wait(context, request) };
}

/// EvtTimerFunc: whatever waits is done. IRQL: DISPATCH_LEVEL.
pub(crate) unsafe extern "C" fn evt_timer(timer: WDFTIMER) {
    // SAFETY: the timer's own routine.
    let device = unsafe { call_unsafe_wdf_function_binding!(WdfTimerGetParentObject, timer) };
    // SAFETY: the timer's parent is the device.
    let context = unsafe { Context::of(device.cast()) };
    loop {
        let mut request = ptr::null_mut();
        // SAFETY: the device's manual queue.
        let status = unsafe {
            call_unsafe_wdf_function_binding!(
                WdfIoQueueRetrieveNextRequest,
                context.waiting,
                &mut request
            )
        };
        if !NT_SUCCESS(status) {
            return;
        }
        // SAFETY: owned, now that it was taken out.
        unsafe { answer(context, request) };
    }
}

/// Ends a read or a write.
///
/// # Safety
/// The driver owns the request.
unsafe fn answer(context: &Context, request: WDFREQUEST) {
    let mut parameters = ddk::WDF_REQUEST_PARAMETERS_INIT();
    // SAFETY: owned; a complete structure.
    unsafe {
        call_unsafe_wdf_function_binding!(WdfRequestGetParameters, request, &mut parameters);
    }
    if parameters.Type == _WDF_REQUEST_TYPE::WdfRequestTypeWrite {
        // SAFETY: the parameters of this type.
        let length = unsafe { parameters.Parameters.Write.Length };
        // SAFETY: owned.
        return unsafe { complete(request, STATUS_SUCCESS, length) };
    }
    let (mut buffer, mut length) = (ptr::null_mut(), 0);
    // SAFETY: an owned read request.
    let status = unsafe {
        call_unsafe_wdf_function_binding!(
            WdfRequestRetrieveOutputBuffer,
            request,
            1,
            &mut buffer,
            &mut length
        )
    };
    if !NT_SUCCESS(status) {
        // SAFETY: owned.
        return unsafe { complete(request, status, 0) };
    }
    // SAFETY: the request's buffer.
    let place = unsafe { core::slice::from_raw_parts_mut(buffer.cast::<u8>(), length) };
    let count = context.locked(|state| state.get(place));
    // SAFETY: owned.
    unsafe { complete(request, STATUS_SUCCESS, count) };
}

/// EvtIoDeviceControl.
pub(crate) unsafe extern "C" fn evt_control(
    queue: WDFQUEUE,
    request: WDFREQUEST,
    _output: usize,
    _input: usize,
    code: ULONG,
) {
    // SAFETY: the queue's own routine.
    let context = unsafe { context(queue) };
    let status = match code {
        // SAFETY: owned.
        IOCTL_HOLD => match unsafe { hold(context, request) } {
            Ok(()) => return,
            Err(status) => status,
        },
        IOCTL_RELEASE => release(context),
        _ => STATUS_INVALID_DEVICE_REQUEST,
    };
    // SAFETY: owned: it is kept nowhere.
    unsafe { complete(request, status, 0) };
}

/// Keeps a request.
///
/// # Safety
/// The driver owns the request.
unsafe fn hold(context: &Context, request: WDFREQUEST) -> Result<(), NTSTATUS> {
    context.locked(|state| {
        if !state.held.is_null() {
            return Err(STATUS_DEVICE_BUSY);
        }
        // Under the lock: the cancel routine, which needs it, finds the request in its place.
        // SAFETY: owned; unlike its older sister the function does not call the routine itself.
        let status = unsafe {
            call_unsafe_wdf_function_binding!(WdfRequestMarkCancelableEx, request, Some(evt_cancel))
        };
        if !NT_SUCCESS(status) {
            return Err(status);
        }
        state.held = request;
        Ok(())
    })
}

/// Ends the request that is kept, unless a cancel is about to.
fn release(context: &Context) -> NTSTATUS {
    let mine = context.locked(|state| {
        let request = core::mem::replace(&mut state.held, ptr::null_mut());
        if request.is_null() {
            return None;
        }
        // Under the lock: the cancel routine completes nothing before it had the lock.
        // SAFETY: kept, so not complete.
        let status =
            unsafe { call_unsafe_wdf_function_binding!(WdfRequestUnmarkCancelable, request) };
        Some((request, status))
    });
    match mine {
        None => STATUS_NO_MORE_ENTRIES,
        Some((_, STATUS_CANCELLED)) => STATUS_CANCELLED,
        Some((request, _)) => {
            // SAFETY: no longer cancelable, so owned by this routine alone.
            unsafe { complete(request, STATUS_SUCCESS, 0) };
            STATUS_SUCCESS
        }
    }
}

/// EvtRequestCancel: whoever finds the request completes it. IRQL: at most DISPATCH_LEVEL.
unsafe extern "C" fn evt_cancel(request: WDFREQUEST) {
    // SAFETY: not complete yet.
    let queue = unsafe { call_unsafe_wdf_function_binding!(WdfRequestGetIoQueue, request) };
    // SAFETY: the queue that the request came from.
    let context = unsafe { context(queue) };
    context.locked(|state| {
        if state.held == request {
            state.held = ptr::null_mut();
        }
    });
    // SAFETY: the framework gave the request back to be cancelled.
    unsafe { complete(request, STATUS_CANCELLED, 0) };
}
