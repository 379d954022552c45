//! The device's one queue: checks requests, answers questions, hands transfers to the pump.

mod ending;

use core::ptr;

pub(crate) use ending::evt_file_cleanup;

use dmaproof_protocol::{
    self as protocol, Direction, Ioctl, Limits, Refusal, ResetRequest, StatisticsRequest,
    TransferHeader, check_read_write, status,
};
use wdk_dma::ddk;
use wdk_dma::irql::UpToDispatch;
use wdk_dma::{Footprint, MdlChain, Transfer};
use zerocopy::IntoBytes;

use crate::device::DeviceContext;
use crate::request::Request;
use crate::sys::{
    _WDF_IO_QUEUE_DISPATCH_TYPE, NT_SUCCESS, NTSTATUS, PMDL, STATUS_CANCELLED,
    STATUS_DEVICE_REMOVED, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_DEVICE_REQUEST,
    STATUS_INVALID_DEVICE_STATE, STATUS_NOT_SUPPORTED, STATUS_SUCCESS, ULONG,
    WDF_NO_OBJECT_ATTRIBUTES, WDFDEVICE, WDFQUEUE, WDFREQUEST, call_unsafe_wdf_function_binding,
};
use crate::transfer;
use crate::transfer::slot::{Cancel, PRESENTED_REQUESTS, Stage};
use crate::transfer::state::State;

/// Creates the default queue: parallel, power-managed, as many requests at a time as there are
/// slots for (KMDF-31, KMDF-36). IRQL: PASSIVE_LEVEL.
pub(crate) fn create(device: WDFDEVICE) -> Result<(), NTSTATUS> {
    let mut config = ddk::WDF_IO_QUEUE_CONFIG_INIT_DEFAULT_QUEUE(
        _WDF_IO_QUEUE_DISPATCH_TYPE::WdfIoQueueDispatchParallel,
    );
    config.Settings.Parallel.NumberOfPresentedRequests = PRESENTED_REQUESTS;
    config.EvtIoRead = Some(evt_io_read);
    config.EvtIoWrite = Some(evt_io_write);
    config.EvtIoDeviceControl = Some(evt_io_device_control);
    config.EvtIoStop = Some(ending::evt_io_stop);
    config.EvtIoResume = Some(ending::evt_io_resume);
    let mut queue: WDFQUEUE = ptr::null_mut();
    // SAFETY: a live device, a complete configuration, no attributes.
    let status = unsafe {
        call_unsafe_wdf_function_binding!(
            WdfIoQueueCreate,
            device,
            &mut config,
            WDF_NO_OBJECT_ATTRIBUTES,
            &mut queue
        )
    };
    if NT_SUCCESS(status) { Ok(()) } else { Err(status) }
}

/// The device of a queue.
///
/// # Safety
/// `queue` is the framework's own argument.
unsafe fn context_of<'a>(queue: WDFQUEUE) -> Option<&'a DeviceContext> {
    // SAFETY: live by the caller's promise.
    let device = unsafe { call_unsafe_wdf_function_binding!(WdfIoQueueGetDevice, queue) };
    // SAFETY: requests are presented after device add.
    unsafe { DeviceContext::of(device) }
}

/// EvtIoRead: a packet transfer from the device. IRQL: at most DISPATCH_LEVEL.
unsafe extern "C" fn evt_io_read(queue: WDFQUEUE, request: WDFREQUEST, length: usize) {
    // SAFETY: just presented by the framework.
    let request = unsafe { Request::new(request) };
    // SAFETY: the framework's own argument.
    let context = unsafe { context_of(queue) };
    read_write(context, request, length, Direction::FromDevice);
}

/// EvtIoWrite: a packet transfer to the device. IRQL: at most DISPATCH_LEVEL.
unsafe extern "C" fn evt_io_write(queue: WDFQUEUE, request: WDFREQUEST, length: usize) {
    // SAFETY: just presented by the framework.
    let request = unsafe { Request::new(request) };
    // SAFETY: the framework's own argument.
    let context = unsafe { context_of(queue) };
    read_write(context, request, length, Direction::ToDevice);
}

fn read_write(
    context: Option<&DeviceContext>,
    request: Request,
    length: usize,
    direction: Direction,
) {
    let Some(context) = context else {
        request.complete(STATUS_INVALID_DEVICE_STATE, 0);
        return;
    };
    // SAFETY: EvtIoXxx runs at DISPATCH_LEVEL or below (KMDF-35).
    let level = unsafe { UpToDispatch::assume() };
    let offset = file_offset(&request, direction);
    let mdl = match direction {
        Direction::FromDevice => request.output_mdl(),
        Direction::ToDevice => request.input_mdl(),
    };
    // CAST: usize has 64 bits on the targets of this driver.
    let check = |limits: &Limits| check_read_write(direction, offset, length as u64, limits);
    begin(context, request, mdl, check, level);
}

/// The file offset of a read or write request.
fn file_offset(request: &Request, direction: Direction) -> i64 {
    let mut parameters = ddk::WDF_REQUEST_PARAMETERS_INIT();
    // SAFETY: a live request that the driver owns; the size is set.
    unsafe {
        call_unsafe_wdf_function_binding!(
            WdfRequestGetParameters,
            request.handle(),
            &mut parameters
        );
    }
    match direction {
        // SAFETY: the request is a read, so this member is the one that was written.
        Direction::FromDevice => unsafe { parameters.Parameters.Read.DeviceOffset },
        // SAFETY: the request is a write, so this member is the one that was written.
        Direction::ToDevice => unsafe { parameters.Parameters.Write.DeviceOffset },
    }
}

/// EvtIoDeviceControl. Codes are compared whole (SEC-02). IRQL: at most DISPATCH_LEVEL.
unsafe extern "C" fn evt_io_device_control(
    queue: WDFQUEUE,
    request: WDFREQUEST,
    output_length: usize,
    _input_length: usize,
    code: ULONG,
) {
    // SAFETY: just presented by the framework.
    let request = unsafe { Request::new(request) };
    // SAFETY: the framework's own argument.
    let Some(context) = (unsafe { context_of(queue) }) else {
        request.complete(STATUS_INVALID_DEVICE_STATE, 0);
        return;
    };
    // SAFETY: EvtIoXxx runs at DISPATCH_LEVEL or below (KMDF-35).
    let mut level = unsafe { UpToDispatch::assume() };
    match Ioctl::try_from(code) {
        Ok(Ioctl::ToDevice) => {
            control(context, request, output_length, Direction::ToDevice, level);
        }
        Ok(Ioctl::FromDevice) => {
            control(context, request, output_length, Direction::FromDevice, level);
        }
        Ok(Ioctl::Query) => query(context, request, &level),
        Ok(Ioctl::Statistics) => statistics(context, request),
        Ok(Ioctl::Reset) => reset(context, request, &mut level),
        Err(_) => {
            context.statistics.refused.increment();
            request.complete(STATUS_INVALID_DEVICE_REQUEST, 0);
        }
    }
}

/// A transfer: the header in the system's copy of the input, the data in the caller's pages.
fn control(
    context: &DeviceContext,
    request: Request,
    output_length: usize,
    direction: Direction,
    level: UpToDispatch,
) {
    let header = input(&request).and_then(TransferHeader::read);
    // The second buffer of both direct methods (KMDF-38).
    let mdl = request.output_mdl();
    let check = |limits: &Limits| {
        // CAST: usize has 64 bits on the targets of this driver.
        header.and_then(|header| header.check(direction, output_length as u64, limits))
    };
    begin(context, request, mdl, check, level);
}

fn input(request: &Request) -> Result<&[u8], Refusal> {
    // No input buffer is one that is too short.
    request.input().map_err(|_| Refusal::HeaderTooShort)
}

fn query(context: &DeviceContext, mut request: Request, level: &UpToDispatch) {
    if let Err(refusal) = input(&request).and_then(protocol::QueryRequest::read) {
        refuse(context, request, refusal.status());
        return;
    }
    // The answer was put together at start; it holds no address.
    let reply = context.state.lock(level).reply;
    let written = request.write_output(reply.as_bytes());
    answer(context, request, written, size_of_val(&reply));
}

fn statistics(context: &DeviceContext, mut request: Request) {
    if let Err(refusal) = input(&request).and_then(StatisticsRequest::read) {
        refuse(context, request, refusal.status());
        return;
    }
    let counters = context.statistics.snapshot();
    let written = request.write_output(counters.as_bytes());
    answer(context, request, written, size_of_val(&counters));
}

fn answer(context: &DeviceContext, request: Request, written: Result<(), NTSTATUS>, length: usize) {
    match written {
        Ok(()) => request.complete(STATUS_SUCCESS, length),
        Err(status) => refuse(context, request, status),
    }
}

/// Resets the device, where it can be; what is under way begins again.
fn reset(context: &DeviceContext, request: Request, level: &mut UpToDispatch) {
    if let Err(refusal) = input(&request).and_then(ResetRequest::read) {
        refuse(context, request, refusal.status());
        return;
    }
    if context.state.lock(level).ask_reset() {
        transfer::pump(context, level);
        request.complete(STATUS_SUCCESS, 0);
    } else {
        refuse(context, request, STATUS_NOT_SUPPORTED);
    }
}

fn refuse(context: &DeviceContext, request: Request, status: NTSTATUS) {
    context.statistics.refused.increment();
    request.complete(status, 0);
}

/// A transfer that is not begun.
enum Rejected {
    /// The request asks for something that cannot be.
    Refused(Request, NTSTATUS),
    /// There is no place for it, or it was cancelled.
    NotEntered(Transfer<Request>, NTSTATUS),
}

/// Puts a transfer into a slot, if it passes the `check`, and lets the pump go on.
fn begin(
    context: &DeviceContext,
    request: Request,
    mdl: Result<PMDL, NTSTATUS>,
    check: impl FnOnce(&Limits) -> Result<protocol::Transfer, Refusal>,
    mut level: UpToDispatch,
) {
    // SAFETY: the request's own chain, which lives until the request is completed (DMA-100).
    let chain = mdl.map(|mdl| unsafe { MdlChain::new(mdl) });
    let chain = chain.and_then(|chain| chain.ok_or(status::BUFFER_TOO_SMALL));
    // It looks at every page, so it comes before the lock.
    let buffer = chain.map(|chain| (chain, chain.footprint()));
    let mut rejected = None;
    transfer::pump_after(context, &mut level, |state| {
        rejected = admit(context, state, request, buffer, check).err();
        rejected.is_none()
    });
    match rejected {
        None => {}
        Some(Rejected::Refused(request, status)) => refuse(context, request, status),
        Some(Rejected::NotEntered(transfer, status)) => {
            if status == STATUS_CANCELLED {
                context.statistics.cancelled.increment();
            } else {
                context.statistics.errors.increment();
            }
            transfer.finish().owner.complete(status, 0);
        }
    }
}

fn admit(
    context: &DeviceContext,
    state: &mut State,
    request: Request,
    buffer: Result<(MdlChain, Footprint), NTSTATUS>,
    check: impl FnOnce(&Limits) -> Result<protocol::Transfer, Refusal>,
) -> Result<(), Rejected> {
    let asked = match check(&state.limits) {
        Ok(asked) => asked,
        Err(refusal) => return Err(Rejected::Refused(request, refusal.status())),
    };
    let buffer = match buffer {
        Ok(buffer) => buffer,
        Err(status) => return Err(Rejected::Refused(request, status)),
    };
    let direction = match asked.direction() {
        Direction::ToDevice => wdk_dma::Direction::ToDevice,
        Direction::FromDevice => wdk_dma::Direction::FromDevice,
    };
    // SAFETY: the request keeps its MDLs alive (DMA-100), and the I/O manager probed the pages for
    // the direction: read requests and METHOD_OUT_DIRECT for writing (DMA-104).
    let transfer = unsafe { Transfer::new(request, buffer.0, direction, asked.length()) };
    let transfer =
        transfer.map_err(|(request, error)| Rejected::Refused(request, error.status()))?;
    enter(context, state, transfer, buffer, asked)
        .map_err(|(transfer, status)| Rejected::NotEntered(transfer, status))
}

/// Takes a slot and marks the request cancelable, in this order (KMDF-26).
fn enter(
    context: &DeviceContext,
    state: &mut State,
    transfer: Transfer<Request>,
    buffer: (MdlChain, Footprint),
    asked: protocol::Transfer,
) -> Result<(), (Transfer<Request>, NTSTATUS)> {
    if state.gone || state.surprise_removed {
        return Err((transfer, STATUS_DEVICE_REMOVED));
    }
    if state.failed {
        return Err((transfer, status::DEVICE_NOT_READY));
    }
    let handle = transfer.owner().handle();
    let mut slots = state.slots.iter_mut().enumerate();
    let free = slots.find(|(_, slot)| matches!(slot.stage, Stage::Free));
    let Some((index, slot)) = free else {
        return Err((transfer, STATUS_INSUFFICIENT_RESOURCES));
    };
    slot.forget_request();
    slot.handle = handle;
    slot.chain = Some(buffer);
    slot.asked = Some(asked);
    context.set_origin(index, asked.offset());
    slot.stage = Stage::Waiting(transfer);
    // SAFETY: owned by the driver and not cancelable; this form never calls back, so the lock may
    // be held, and a cancel routine that runs at once waits for it (KMDF-26).
    let marked = unsafe {
        call_unsafe_wdf_function_binding!(
            WdfRequestMarkCancelableEx,
            handle,
            Some(ending::evt_cancel)
        )
    };
    if NT_SUCCESS(marked) {
        slot.cancel = Cancel::Marked;
        state.line_up(index);
        return Ok(());
    }
    match slot.take() {
        Stage::Waiting(transfer) => {
            state.forget(index, Stage::Free);
            Err((transfer, marked))
        }
        stage => {
            slot.stage = stage;
            Ok(())
        }
    }
}
