//! The KMDF functions of this module.

// UNSAFETY: called by drivers with raw handles and pointers.
#![allow(non_snake_case, reason = "names are the WDK's")]

use std::ptr;

use wdk_lite::*;

use super::{Handle, Notify, Queue, Type, create, route};
use crate::RuleId;
use crate::ddi::callback::routine;
use crate::machine::{Kernel, context};
use crate::verifier::{Violation, broken};
use crate::wdf::device::{Device, Dispatch, PnpState};
use crate::wdf::object::{AttributeRules, Attributes, ParentRule, null_parameter};
use crate::wdf::request::{Request, complete_unowned};

/// Ends the ownership that EvtIoInCallerContext gave
/// (nf-wdfdevice-wdfdeviceenqueuerequest).
pub(crate) unsafe fn WdfDeviceEnqueueRequest(
    kernel: &Kernel,
    Device: WDFDEVICE,
    Request: WDFREQUEST,
) -> Result<NTSTATUS, Violation> {
    let (_, device) = kernel.wdf.get::<self::Device>(Device)?;
    route::enqueue(kernel, device, &self::Request::live(kernel, Request)?)
}

/// The default queue; NULL without one (nf-wdfdevice-wdfdevicegetdefaultqueue).
pub(crate) unsafe fn WdfDeviceGetDefaultQueue(
    kernel: &Kernel,
    Device: WDFDEVICE,
) -> Result<WDFQUEUE, Violation> {
    let (_, device) = kernel.wdf.get::<self::Device>(Device)?;
    Ok(device.default_queue.get().map_or(ptr::null_mut(), Handle::raw))
}

/// Gives a request type a queue of its own
/// (nf-wdfdevice-wdfdeviceconfigurerequestdispatching; the checks' order is KMDF.md 1.6's).
pub(crate) unsafe fn WdfDeviceConfigureRequestDispatching(
    kernel: &Kernel,
    Device: WDFDEVICE,
    Queue: WDFQUEUE,
    RequestType: WDF_REQUEST_TYPE,
) -> Result<NTSTATUS, Violation> {
    let (of, device) = kernel.wdf.get::<self::Device>(Device)?;
    let (handle, queue) = kernel.wdf.get::<self::Queue>(Queue)?;
    let Some(slot) = Dispatch::from_type(RequestType) else { return Ok(STATUS_INVALID_PARAMETER) };
    if queue.device.get() != Some(of) {
        return Ok(STATUS_INVALID_DEVICE_REQUEST);
    }
    if device.pnp() != PnpState::Init {
        return Ok(STATUS_INVALID_DEVICE_STATE);
    }
    let handles = queue.lock().config.handles(RequestType);
    if !handles || device.default_queue.get() == Some(handle) {
        return Ok(STATUS_INVALID_DEVICE_REQUEST);
    }
    let cell = &device.dispatch[slot as usize];
    if cell.get().is_some() {
        let create = slot == Dispatch::Create;
        return Ok(if create { STATUS_INVALID_PARAMETER } else { STATUS_WDF_BUSY });
    }
    cell.set(Some(handle));
    Ok(STATUS_SUCCESS)
}

/// Makes a queue (nf-wdfio-wdfioqueuecreate, KMDF-36).
pub(crate) unsafe fn WdfIoQueueCreate(
    kernel: &Kernel,
    Device: WDFDEVICE,
    Config: PWDF_IO_QUEUE_CONFIG,
    QueueAttributes: PWDF_OBJECT_ATTRIBUTES,
    Queue: *mut WDFQUEUE,
) -> Result<NTSTATUS, Violation> {
    const RULES: AttributeRules =
        AttributeRules { parent: ParentRule::Allowed, level: true, scope: true };
    let device = kernel.wdf.get::<self::Device>(Device)?;
    if Config.is_null() {
        return Err(null_parameter("Config"));
    }
    // SAFETY: the driver's attributes.
    let attributes = match unsafe { Attributes::read(kernel, QueueAttributes, RULES) }? {
        Ok(attributes) => attributes,
        Err(status) => return Ok(status),
    };
    // SAFETY: not NULL, so valid for reading.
    let size = unsafe { (*Config).Size };
    if size as usize != size_of::<WDF_IO_QUEUE_CONFIG>() {
        return Ok(STATUS_INFO_LENGTH_MISMATCH);
    }
    // SAFETY: as above, and of this structure's size.
    let config = unsafe { Config.read() };
    if Queue.is_null() && config.DefaultQueue == 0 {
        return Ok(STATUS_INVALID_PARAMETER_4);
    }
    let handle = match create::create(kernel, device, &config, &attributes) {
        Ok(handle) => handle,
        Err(status) => return Ok(status),
    };
    if !Queue.is_null() {
        // SAFETY: the driver's out parameter; not NULL.
        unsafe { Queue.write(handle.raw()) };
    }
    Ok(STATUS_SUCCESS)
}

/// Accepts and presents requests (nf-wdfio-wdfioqueuestart).
pub(crate) unsafe fn WdfIoQueueStart(kernel: &Kernel, Queue: WDFQUEUE) -> Result<(), Violation> {
    let (handle, queue) = kernel.wdf.get::<self::Queue>(Queue)?;
    queue.lock().start();
    queue.run_internal(kernel, handle)
}

/// Accepts requests but presents none; the callback comes when the driver owns none
/// (nf-wdfio-wdfioqueuestop).
pub(crate) unsafe fn WdfIoQueueStop(
    kernel: &Kernel,
    Queue: WDFQUEUE,
    StopComplete: PFN_WDF_IO_QUEUE_STATE,
    Context: WDFCONTEXT,
) -> Result<(), Violation> {
    let (handle, queue) = kernel.wdf.get::<self::Queue>(Queue)?;
    if context::with(|c| c.callback.get()) == "PFN_WDF_DEVICE_SURPRISE_REMOVAL" {
        let message = "a queue was stopped in EvtDeviceSurpriseRemoval, which only marks state";
        return Err(broken(RuleId::Sur03, message));
    }
    let complete = routine(StopComplete);
    let twice = {
        let mut state = queue.lock();
        let twice = complete.is_some() && state.stop_complete.is_some();
        if !twice {
            state.stop();
            if complete.is_some() {
                state.stop_complete = Some(Notify::new(complete, Context));
            }
        }
        twice
    };
    if twice {
        let message = "WdfIoQueueStop was called while the callback of another one is outstanding";
        return Err(broken(RuleId::Kmdf36, message).code(0x10D, [0xA, handle.bits(), 0, 0]));
    }
    queue.run_internal(kernel, handle)
}

/// The queue's device (nf-wdfio-wdfioqueuegetdevice).
pub(crate) unsafe fn WdfIoQueueGetDevice(
    kernel: &Kernel,
    Queue: WDFQUEUE,
) -> Result<WDFDEVICE, Violation> {
    let (_, queue) = kernel.wdf.get::<self::Queue>(Queue)?;
    Ok(queue.device.get().map_or(ptr::null_mut(), Handle::raw))
}

/// Takes the next request of a manual or sequential queue
/// (nf-wdfio-wdfioqueueretrievenextrequest, KMDF.md 4.5).
pub(crate) unsafe fn WdfIoQueueRetrieveNextRequest(
    kernel: &Kernel,
    Queue: WDFQUEUE,
    OutRequest: *mut WDFREQUEST,
) -> Result<NTSTATUS, Violation> {
    let (_, queue) = kernel.wdf.get::<self::Queue>(Queue)?;
    if OutRequest.is_null() {
        return Err(null_parameter("OutRequest"));
    }
    {
        let state = queue.lock();
        if state.config.kind == Type::Parallel {
            return Ok(STATUS_INVALID_DEVICE_STATE);
        }
        if state.is_paused() {
            return Ok(STATUS_WDF_PAUSED);
        }
    }
    loop {
        let found = queue.lock().retrieve(kernel);
        match found {
            Some(Ok(request)) => {
                // SAFETY: the driver's out parameter; not NULL.
                unsafe { OutRequest.write(request.raw()) };
                return Ok(STATUS_SUCCESS);
            }
            Some(Err(empty)) => complete_unowned(kernel, empty, STATUS_SUCCESS)?,
            None => return Ok(STATUS_NO_MORE_ENTRIES),
        }
    }
}
