//! The KMDF functions of this module. All may be called at up to DISPATCH_LEVEL (KMDF.md 10).

// UNSAFETY: called by drivers with raw handles and pointers.
#![allow(non_snake_case, reason = "names are the WDK's")]

use std::ptr;

use wdk_lite::*;

use super::buffers::{self, End};
use super::cancelable::{self, Marked};
use super::{Place, Request, complete};
use crate::ddi::callback::routine;
use crate::machine::Kernel;
use crate::verifier::Violation;
use crate::wdf::Handle;
use crate::wdf::object::null_parameter;
use crate::wdf::queue::{self, Queue};

/// Makes a request cancelable; its EvtRequestCancel may be called at once
/// (nf-wdfrequest-wdfrequestmarkcancelable, KMDF-26).
pub(crate) unsafe fn WdfRequestMarkCancelable(
    kernel: &Kernel,
    Request: WDFREQUEST,
    EvtRequestCancel: PFN_WDF_REQUEST_CANCEL,
) -> Result<(), Violation> {
    let live = self::Request::live(kernel, Request)?;
    cancelable::mark_or_call(kernel, &live, routine(EvtRequestCancel))
}

/// As above, but never calls back: STATUS_CANCELLED says that the driver has to complete
/// (nf-wdfrequest-wdfrequestmarkcancelableex).
pub(crate) unsafe fn WdfRequestMarkCancelableEx(
    kernel: &Kernel,
    Request: WDFREQUEST,
    EvtRequestCancel: PFN_WDF_REQUEST_CANCEL,
) -> Result<NTSTATUS, Violation> {
    let live = self::Request::live(kernel, Request)?;
    Ok(match cancelable::mark(kernel, &live, routine(EvtRequestCancel))? {
        Marked::Cancelable => STATUS_SUCCESS,
        Marked::Cancelled => STATUS_CANCELLED,
        Marked::NoQueue => STATUS_INVALID_DEVICE_REQUEST,
    })
}

/// Makes a request not cancelable, or tells that a cancel has won
/// (nf-wdfrequest-wdfrequestunmarkcancelable, KMDF-27).
pub(crate) unsafe fn WdfRequestUnmarkCancelable(
    kernel: &Kernel,
    Request: WDFREQUEST,
) -> Result<NTSTATUS, Violation> {
    cancelable::unmark(&self::Request::live(kernel, Request)?)
}

/// Whether a cancel was asked for (nf-wdfrequest-wdfrequestiscanceled, KMDF-30).
pub(crate) unsafe fn WdfRequestIsCanceled(
    kernel: &Kernel,
    Request: WDFREQUEST,
) -> Result<BOOLEAN, Violation> {
    let live = self::Request::live(kernel, Request)?;
    Ok(cancelable::is_cancelled(kernel, &live)?.into())
}

/// Completes a request (nf-wdfrequest-wdfrequestcomplete, KMDF-21 to 24).
pub(crate) unsafe fn WdfRequestComplete(
    kernel: &Kernel,
    Request: WDFREQUEST,
    Status: NTSTATUS,
) -> Result<(), Violation> {
    complete::complete(kernel, Request, Status, None)
}

/// As WdfRequestComplete; priorities do not exist here
/// (nf-wdfrequest-wdfrequestcompletewithpriorityboost).
pub(crate) unsafe fn WdfRequestCompleteWithPriorityBoost(
    kernel: &Kernel,
    Request: WDFREQUEST,
    Status: NTSTATUS,
    _PriorityBoost: CCHAR,
) -> Result<(), Violation> {
    complete::complete(kernel, Request, Status, None)
}

/// Completes a request and sets its Information
/// (nf-wdfrequest-wdfrequestcompletewithinformation).
pub(crate) unsafe fn WdfRequestCompleteWithInformation(
    kernel: &Kernel,
    Request: WDFREQUEST,
    Status: NTSTATUS,
    Information: ULONG_PTR,
) -> Result<(), Violation> {
    complete::complete(kernel, Request, Status, Some(Information))
}

/// The request's parameters; a structure of another size is left alone
/// (nf-wdfrequest-wdfrequestgetparameters).
pub(crate) unsafe fn WdfRequestGetParameters(
    kernel: &Kernel,
    Request: WDFREQUEST,
    Parameters: PWDF_REQUEST_PARAMETERS,
) -> Result<(), Violation> {
    let live = self::Request::live(kernel, Request)?;
    if Parameters.is_null() {
        return Err(null_parameter("Parameters"));
    }
    // SAFETY: the driver's structure; not NULL.
    let size = unsafe { (*Parameters).Size };
    if usize::from(size) == size_of::<WDF_REQUEST_PARAMETERS>() {
        // SAFETY: as above, and of this structure's size.
        unsafe { Parameters.write(buffers::parameters(&live)) };
    }
    Ok(())
}

/// Address and length of one end's buffer, written where the driver wants them.
///
/// # Safety
/// `buffer` is NULL or valid for writing, and so is `length`.
unsafe fn retrieve(
    kernel: &Kernel,
    request: WDFREQUEST,
    end: End,
    required: usize,
    (buffer, length): (*mut PVOID, *mut usize),
) -> Result<NTSTATUS, Violation> {
    let live = Request::live(kernel, request)?;
    live.owned(crate::RuleId::Kmdf22)?;
    if buffer.is_null() {
        return Err(null_parameter("Buffer"));
    }
    let (status, found) = match buffers::buffer(kernel, &live, end, required) {
        Ok(found) => (STATUS_SUCCESS, found),
        Err(status) => (status, (ptr::null_mut(), 0)),
    };
    // SAFETY: not NULL, so valid for writing.
    unsafe { buffer.write(found.0) };
    if !length.is_null() {
        // SAFETY: not NULL, so valid for writing.
        unsafe { length.write(found.1) };
    }
    Ok(status)
}

/// The input buffer: what the driver reads (nf-wdfrequest-wdfrequestretrieveinputbuffer).
pub(crate) unsafe fn WdfRequestRetrieveInputBuffer(
    kernel: &Kernel,
    Request: WDFREQUEST,
    MinimumRequiredLength: usize,
    Buffer: *mut PVOID,
    Length: *mut usize,
) -> Result<NTSTATUS, Violation> {
    // SAFETY: passed on.
    unsafe { retrieve(kernel, Request, End::Input, MinimumRequiredLength, (Buffer, Length)) }
}

/// The output buffer: what the driver writes (nf-wdfrequest-wdfrequestretrieveoutputbuffer).
pub(crate) unsafe fn WdfRequestRetrieveOutputBuffer(
    kernel: &Kernel,
    Request: WDFREQUEST,
    MinimumRequiredSize: usize,
    Buffer: *mut PVOID,
    Length: *mut usize,
) -> Result<NTSTATUS, Violation> {
    // SAFETY: passed on.
    unsafe { retrieve(kernel, Request, End::Output, MinimumRequiredSize, (Buffer, Length)) }
}

/// The MDL of one end, written where the driver wants it.
///
/// # Safety
/// `out` is NULL or valid for writing.
unsafe fn retrieve_mdl(
    kernel: &Kernel,
    request: WDFREQUEST,
    end: End,
    out: *mut PMDL,
) -> Result<NTSTATUS, Violation> {
    let live = Request::live(kernel, request)?;
    live.owned(crate::RuleId::Dma101)?;
    if out.is_null() {
        return Err(null_parameter("Mdl"));
    }
    let (status, mdl) = match buffers::mdl(kernel, &live, end) {
        Ok(mdl) => (STATUS_SUCCESS, mdl),
        Err(status) => (status, ptr::null_mut()),
    };
    // SAFETY: not NULL, so valid for writing.
    unsafe { out.write(mdl) };
    Ok(status)
}

/// The input buffer's MDL (nf-wdfrequest-wdfrequestretrieveinputwdmmdl).
pub(crate) unsafe fn WdfRequestRetrieveInputWdmMdl(
    kernel: &Kernel,
    Request: WDFREQUEST,
    Mdl: *mut PMDL,
) -> Result<NTSTATUS, Violation> {
    // SAFETY: passed on.
    unsafe { retrieve_mdl(kernel, Request, End::Input, Mdl) }
}

/// The output buffer's MDL (nf-wdfrequest-wdfrequestretrieveoutputwdmmdl).
pub(crate) unsafe fn WdfRequestRetrieveOutputWdmMdl(
    kernel: &Kernel,
    Request: WDFREQUEST,
    Mdl: *mut PMDL,
) -> Result<NTSTATUS, Violation> {
    // SAFETY: passed on.
    unsafe { retrieve_mdl(kernel, Request, End::Output, Mdl) }
}

/// Sets what a later completion reports (nf-wdfrequest-wdfrequestsetinformation).
pub(crate) unsafe fn WdfRequestSetInformation(
    kernel: &Kernel,
    Request: WDFREQUEST,
    Information: ULONG_PTR,
) -> Result<(), Violation> {
    self::Request::live(kernel, Request)?.irp.body().information = Information;
    Ok(())
}

/// The Information set so far (nf-wdfrequest-wdfrequestgetinformation).
pub(crate) unsafe fn WdfRequestGetInformation(
    kernel: &Kernel,
    Request: WDFREQUEST,
) -> Result<ULONG_PTR, Violation> {
    Ok(self::Request::live(kernel, Request)?.irp.body().information)
}

/// The file object the request was sent through; NULL without one
/// (nf-wdfrequest-wdfrequestgetfileobject).
pub(crate) unsafe fn WdfRequestGetFileObject(
    kernel: &Kernel,
    Request: WDFREQUEST,
) -> Result<WDFFILEOBJECT, Violation> {
    let live = self::Request::live(kernel, Request)?;
    let object = live.irp.body().file.as_ref().and_then(|file| file.object());
    Ok(object.map_or(ptr::null_mut(), Handle::raw))
}

/// Whether the request comes from user mode (nf-wdfrequest-wdfrequestgetrequestormode).
pub(crate) unsafe fn WdfRequestGetRequestorMode(
    kernel: &Kernel,
    Request: WDFREQUEST,
) -> Result<KPROCESSOR_MODE, Violation> {
    let live = self::Request::live(kernel, Request)?;
    let kernel_mode = live.irp.body().kernel_mode;
    let mode = if kernel_mode { _MODE::KernelMode } else { _MODE::UserMode };
    // CAST: 0 or 1.
    Ok(mode as KPROCESSOR_MODE)
}

/// Moves a request to another queue of its device
/// (nf-wdfrequest-wdfrequestforwardtoioqueue, KMDF.md 5.5).
pub(crate) unsafe fn WdfRequestForwardToIoQueue(
    kernel: &Kernel,
    Request: WDFREQUEST,
    DestinationQueue: WDFQUEUE,
) -> Result<NTSTATUS, Violation> {
    let live = self::Request::live(kernel, Request)?;
    let (destination, to) = kernel.wdf.get::<Queue>(DestinationQueue)?;
    queue::forward(kernel, &live, destination, to)
}

/// The queue that presented the request; NULL without one
/// (nf-wdfrequest-wdfrequestgetioqueue).
pub(crate) unsafe fn WdfRequestGetIoQueue(
    kernel: &Kernel,
    Request: WDFREQUEST,
) -> Result<WDFQUEUE, Violation> {
    let live = self::Request::live(kernel, Request)?;
    let own = live.request.lock();
    let queue = if own.place == Place::Caller { None } else { own.queue };
    Ok(queue.map_or(ptr::null_mut(), Handle::raw))
}

/// Answers EvtIoStop (nf-wdfrequest-wdfrequeststopacknowledge, KMDF-33,
/// KMDF-34).
pub(crate) unsafe fn WdfRequestStopAcknowledge(
    kernel: &Kernel,
    Request: WDFREQUEST,
    Requeue: BOOLEAN,
) -> Result<(), Violation> {
    let live = self::Request::live(kernel, Request)?;
    self::Request::acknowledge(kernel, &live, Requeue != 0)
}

/// The request's IRP: a stable address with nothing a driver may look at behind it
/// (nf-wdfrequest-wdfrequestwdmgetirp).
pub(crate) unsafe fn WdfRequestWdmGetIrp(
    kernel: &Kernel,
    Request: WDFREQUEST,
) -> Result<PIRP, Violation> {
    Ok(self::Request::live(kernel, Request)?.irp.pointer())
}
