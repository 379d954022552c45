//! From the I/O manager to a queue, and from queue to queue (KMDF.md 4.2, 5.5).

use std::sync::Arc;

use wdk_lite::*;

use super::{Handle, Queue, State};
use crate::RuleId;
use crate::ddi::callback;
use crate::io::{FileState, IrpRef, Major, Method};
use crate::machine::Kernel;
use crate::verifier::{Violation, broken};
use crate::wdf::Wdf;
use crate::wdf::device::{Device, Dispatch, Settings};
use crate::wdf::request::{Live, Mark, Place, Request, complete_unowned};

/// The dispatch-table slot of a request.
fn slot(major: Major) -> Dispatch {
    match major {
        Major::Create => Dispatch::Create,
        Major::Read => Dispatch::Read,
        Major::Write => Dispatch::Write,
        Major::DeviceControl => Dispatch::DeviceControl,
    }
}

impl Settings {
    /// How the device takes the buffers of reads and writes (KMDF-37).
    pub(crate) fn transfer_method(&self, major: Major) -> Method {
        match (self.read_write, major) {
            (_WDF_DEVICE_IO_TYPE::WdfDeviceIoNeither, _) => Method::Neither,
            (_WDF_DEVICE_IO_TYPE::WdfDeviceIoDirect, Major::Read) => Method::OutDirect,
            (_WDF_DEVICE_IO_TYPE::WdfDeviceIoDirect, _) => Method::InDirect,
            _ => Method::Buffered,
        }
    }
}

impl Wdf {
    /// What a device was created with.
    pub(crate) fn settings(&self, device: Handle) -> Arc<Settings> {
        self.payload(device).map(Device::settings).unwrap_or_default()
    }

    /// An IRP for a device arrives through one of its files.
    pub(crate) fn deliver(
        &self,
        kernel: &Kernel,
        file: &FileState,
        irp: IrpRef,
        major: Major,
    ) -> Result<(), Violation> {
        let Some(device) = self.payload::<Device>(file.device) else {
            return irp.complete(kernel, STATUS_INVALID_DEVICE_STATE);
        };
        let caller = file.settings.in_caller_context;
        let queue = device.queue_for(slot(major));
        let queue = queue.and_then(|queue| Some((queue, self.payload::<Queue>(queue)?)));
        if queue.is_none() && !caller.is_some() {
            return irp.complete(kernel, STATUS_INVALID_DEVICE_REQUEST);
        }
        let (handle, request) = match Request::create(kernel, file, irp) {
            Ok(made) => made,
            Err(_) => return irp.complete(kernel, STATUS_INSUFFICIENT_RESOURCES),
        };
        if let (Some((of, queue)), false) = (queue, caller.is_some()) {
            return queue.arrive(kernel, of, (handle, request), irp);
        }
        request.give_to_caller(irp);
        irp.step("delivered to EvtIoInCallerContext");
        let device = file.device.raw();
        // SAFETY: the device's EvtIoInCallerContext, with a new request of it.
        unsafe {
            callback::PFN_WDF_IO_IN_CALLER_CONTEXT(kernel, caller, device, handle.raw());
        }
        Ok(())
    }
}

impl Queue {
    /// A new request: refused, or queued and presented when its turn comes.
    fn arrive(
        &self,
        kernel: &Kernel,
        handle: Handle,
        (request, own): (Handle, &Request),
        irp: IrpRef,
    ) -> Result<(), Violation> {
        let mut state = self.lock();
        if state.accept {
            state.append(handle, request, own, irp);
            return self.run_locked(kernel, handle, state);
        }
        drop(state);
        own.lock().irp = Some(irp);
        complete_unowned(kernel, request, STATUS_INVALID_DEVICE_STATE)
    }
}

impl State {
    /// Puts a request behind the others; one that is cancelled already goes to the cancelled.
    fn append(&mut self, handle: Handle, request: Handle, own: &Request, irp: IrpRef) {
        let mut own = own.lock();
        (own.irp, own.queue) = (Some(irp), Some(handle));
        if irp.cancel.arm().is_ok() {
            own.place = Place::Queued(self.queued.push_back(request));
        } else {
            own.place = Place::Moving;
            self.cancelled.push_back(request);
        }
    }

    /// Puts a request that the driver gave back before the others (KMDF.md 4.7).
    pub(super) fn prepend(&mut self, request: Handle, own: &Request) {
        let mut own = own.lock();
        let armed = !self.cancels_dispatched
            && own.irp.as_ref().is_some_and(|irp| irp.cancel.arm().is_ok());
        if armed {
            own.place = Place::Queued(self.queued.push_front(request));
        } else {
            own.place = Place::Moving;
            self.cancelled.push_back(request);
        }
    }
}

/// WdfRequestForwardToIoQueue.
pub(in crate::wdf) fn forward(
    kernel: &Kernel,
    live: &Live<'_>,
    destination: Handle,
    to: &Queue,
) -> Result<NTSTATUS, Violation> {
    live.owned(RuleId::Kmdf21)?;
    if live.request.lock().mark != Mark::None {
        let message = "a cancelable request was forwarded; unmark it first";
        return Err(broken(RuleId::Kmdf30, message));
    }
    let Some((source, from)) = live.request.queue(kernel) else {
        return Ok(STATUS_INVALID_DEVICE_REQUEST);
    };
    if source == destination || from.device.get() != to.device.get() {
        let message = "a request was forwarded to its own queue, or to another device's";
        return Err(broken(RuleId::Kmdf36, message));
    }
    if !to.lock().accept {
        return Ok(STATUS_WDF_BUSY);
    }
    if let Place::Owned(token) = live.place {
        let mut state = from.lock();
        // From here on nobody takes it for the driver's: EvtIoStop may be about to be called.
        let stop = live.move_away()?;
        state.leave_owned(stop, token);
    }
    live.irp.step("forwarded");
    to.lock().append(destination, live.handle, live.request, live.irp);
    to.run(kernel, destination)?;
    from.run_internal(kernel, source)?;
    Ok(STATUS_SUCCESS)
}

/// WdfDeviceEnqueueRequest: ends EvtIoInCallerContext's ownership.
pub(super) fn enqueue(
    kernel: &Kernel,
    device: &Device,
    live: &Live<'_>,
) -> Result<NTSTATUS, Violation> {
    if live.place != Place::Caller || live.major() == Major::Create {
        let message = "WdfDeviceEnqueueRequest was called outside EvtIoInCallerContext";
        return Err(broken(RuleId::Kmdf40, message));
    }
    let queue = device.queue_for(slot(live.major()));
    let Some((handle, queue)) = queue.and_then(|q| Some((q, kernel.wdf.payload::<Queue>(q)?)))
    else {
        return Ok(STATUS_INVALID_DEVICE_REQUEST);
    };
    {
        let mut state = queue.lock();
        if !state.accept {
            return Ok(STATUS_WDF_BUSY);
        }
        state.append(handle, live.handle, live.request, live.irp);
    }
    queue.run(kernel, handle)?;
    Ok(STATUS_SUCCESS)
}
