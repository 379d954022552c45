//! Version 3 transfers: like packets, with a list for each piece, without KeFlushIoBuffers, and
//! with allocations that can be withdrawn.

use core::ffi::c_void;

use wdk_dma::irql::Dispatch;
use wdk_dma::packet::{GIVE_BACK, KEEP_REGISTERS};
use wdk_dma::v3::{GrantedV3, MappingV3, PendingV3};
use wdk_dma::{DmaError, MapRegisters, Transfer};

use super::packet::{prepare, start_engine};
use super::pump::{Held, leave};
use super::slot::{Stage, Token};
use crate::device::DeviceContext;
use crate::request::Request;
use crate::sys::{IO_ALLOCATION_ACTION, PDEVICE_OBJECT, PIRP, PVOID, STATUS_IO_DEVICE_ERROR};
use crate::trace::{Event, trace};

/// Asks for a channel.
pub(crate) fn request_channel(
    context: &DeviceContext,
    index: usize,
    transfer: Transfer<Request>,
    dispatch: &Dispatch,
) {
    let Some(adapter) = context.hardware().v3.as_ref() else {
        withdraw(context, index, transfer.failed(DmaError::NoAdapter), dispatch);
        return;
    };
    let (memory, list) = match context.state.lock(dispatch).slots.get(index) {
        Some(slot) => (slot.transfer_context, slot.list_buffer),
        None => return,
    };
    let (allocating, request) = match transfer.allocate_v3(adapter, memory, list, dispatch) {
        Ok(parts) => parts,
        Err(transfer) => {
            withdraw(context, index, transfer, dispatch);
            return;
        }
    };
    let registers = request.map_registers();
    // AdapterControl may run before the call returns (DMA-36).
    let stage = Stage::ChannelPendingV3(allocating, registers, false);
    context.state.lock(dispatch).set(index, stage);
    // SAFETY: `pending` admits one allocation of the device at a time (DMA-17); the token lives as
    // long as the device; the routine keeps the registers or gives them back.
    let issued = unsafe {
        request.issue(
            context.device_object(),
            Some(adapter_control),
            context.token(index),
            dispatch,
        )
    };
    if let Err(error) = issued {
        // The routine never runs.
        take_back(context, index, Some(error), dispatch);
    }
}

fn withdraw(
    context: &DeviceContext,
    index: usize,
    transfer: Transfer<Request>,
    dispatch: &Dispatch,
) {
    let mut state = context.state.lock(dispatch);
    state.pending = None;
    state.set(index, Stage::Waiting(transfer));
}

/// Takes a transfer back from an allocation whose routine never runs.
fn take_back(context: &DeviceContext, index: usize, error: Option<DmaError>, dispatch: &Dispatch) {
    let mut state = context.state.lock(dispatch);
    match state.take(index) {
        Some(Stage::ChannelPendingV3(allocating, ..)) => {
            // SAFETY: the allocation was refused or cancelled (DMA-68).
            let transfer = unsafe { allocating.withdrawn() };
            let transfer = match error {
                Some(error) => transfer.failed(error),
                None => transfer,
            };
            state.pending = None;
            state.set(index, Stage::Waiting(transfer));
        }
        Some(stage) => state.set(index, stage),
        None => {}
    }
}

/// Withdraws the pending allocation of a transfer that ends. If the system is about to call
/// AdapterControl, that one gets the transfer (DMA-68).
pub(crate) fn cancel_channel(context: &DeviceContext, index: usize, dispatch: &Dispatch) {
    let Some(adapter) = context.hardware().v3.as_ref() else { return };
    let memory = match context.state.lock(dispatch).slots.get(index) {
        Some(slot) => slot.transfer_context,
        None => return,
    };
    let pending = PendingV3::new(adapter, memory);
    // SAFETY: the allocation was issued for this device object; the stage notes the attempt, so
    // there is only one.
    if unsafe { pending.cancel(context.device_object(), dispatch) } {
        take_back(context, index, None, dispatch);
    }
}

/// AdapterControl of a version 3 allocation. DISPATCH_LEVEL, on any processor.
unsafe extern "C" fn adapter_control(
    _device: PDEVICE_OBJECT,
    _irp: PIRP,
    base: PVOID,
    token: *mut c_void,
) -> IO_ALLOCATION_ACTION {
    // SAFETY: the token of `request_channel`; the device exists while the allocation is pending.
    let (context, index) = unsafe { Token::of(token) };
    // SAFETY: the system calls AdapterControl at DISPATCH_LEVEL (DMA-36).
    let dispatch = unsafe { Dispatch::assume() };
    let mut state = context.state.lock(&dispatch);
    state.channel_taken = true;
    // Without `present` nobody but ReleaseHardware looks at the hardware.
    let adapter = if state.present { context.hardware().v3.as_ref() } else { None };
    let alignment = state.pieces_v3.alignment;
    let (stage, action) = match (state.take(index), adapter) {
        (Some(Stage::ChannelPendingV3(allocating, count, _)), Some(adapter)) => {
            // SAFETY: this routine's own MapRegisterBase and the number asked for (DMA-39).
            let registers =
                unsafe { MapRegisters::from_adapter_control(adapter, base, count, alignment) };
            (Stage::GrantedV3(allocating.granted(registers)), KEEP_REGISTERS)
        }
        // The hardware was given up; nobody wants the registers.
        (Some(Stage::ChannelPendingV3(allocating, ..)), None) => {
            // SAFETY: the allocation ends with this routine's answer (DMA-38).
            let transfer = unsafe { allocating.withdrawn() };
            (Stage::Waiting(transfer), GIVE_BACK)
        }
        (stage, _) => (stage.unwrap_or(Stage::Free), GIVE_BACK),
    };
    state.set(index, stage);
    drop(state);
    context.queue_channel(&dispatch);
    action
}

/// Maps the next piece.
pub(crate) fn map<'a>(
    context: &'a DeviceContext,
    index: usize,
    granted: GrantedV3<Request>,
    dispatch: &Dispatch,
) -> Held<'a> {
    let stage = match granted.map(dispatch) {
        Ok(mapping) => {
            context.statistics.pieces_mapped.increment();
            Stage::MappedV3(mapping)
        }
        // The pump releases it.
        Err(granted) if granted.transfer().is_over() => Stage::GrantedV3(granted),
        Err(granted) => Stage::GrantedV3(granted.failed(DmaError::WrongPiece)),
    };
    leave(context, index, stage, dispatch)
}

/// Starts the engine on the current element, and on as many after it as it takes.
pub(crate) fn start<'a>(
    context: &'a DeviceContext,
    index: usize,
    mapping: MappingV3<Request>,
    dispatch: &Dispatch,
) -> Held<'a> {
    let run = mapping.current().and_then(|(_, before)| {
        let done = mapping.transfer().done().checked_add(u64::from(before))?;
        prepare(context, index, done, mapping.direction(), &mut mapping.rest(), dispatch)
    });
    match run {
        Some(run) => start_engine(context, index, Stage::MappedV3(mapping), &run, dispatch),
        None => flush(context, index, mapping, dispatch),
    }
}

/// Ends a piece after the engine has stopped, or without having started it.
pub(crate) fn flush<'a>(
    context: &'a DeviceContext,
    index: usize,
    mapping: MappingV3<Request>,
    dispatch: &Dispatch,
) -> Held<'a> {
    let complete = mapping.is_complete();
    // SAFETY: the engine is not working on the piece: it reads idle, was never started on it, or
    // the device is gone (DMA-67).
    let granted = unsafe { mapping.flush(dispatch) };
    context.statistics.pieces_flushed.increment();
    if granted.transfer().outcome() == Err(DmaError::FlushFailed) {
        context.statistics.flush_failures.increment();
    }
    trace(Event::PieceEnded);
    let mut state = context.state.lock(dispatch);
    let interrupted =
        state.releasing || state.slots.get(index).is_some_and(|slot| slot.ending.is_some());
    let granted = if complete || interrupted {
        granted
    } else {
        granted.failed(DmaError::Refused(STATUS_IO_DEVICE_ERROR))
    };
    state.set(index, Stage::GrantedV3(granted));
    Some(state)
}

/// Frees the map registers; the transfer is over, ends, or goes on in another way.
pub(crate) fn release<'a>(
    context: &'a DeviceContext,
    index: usize,
    granted: GrantedV3<Request>,
    dispatch: &Dispatch,
) -> Held<'a> {
    let adapter = context.hardware().v3.as_ref()?;
    let transfer = granted.release(adapter, dispatch);
    leave(context, index, Stage::Waiting(transfer), dispatch)
}
