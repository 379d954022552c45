//! System DMA: a channel of the system's DMA controller is held for the whole transfer, set up for
//! one piece after the other, and emptied after each (DMA-107).

use core::ffi::c_void;

use wdk_dma::irql::Dispatch;
use wdk_dma::packet::GIVE_BACK;
use wdk_dma::system::{Channel, KEEP_CHANNEL, OnChannel, Programmed};
use wdk_dma::{DmaError, NextPiece, Transfer};

use super::packet::start_engine;
use super::pump::{Held, leave};
use super::slot::{Stage, Token};
use super::state::State;
use crate::device::DeviceContext;
use crate::engine::Run;
use crate::engine::slave::Command;
use crate::request::Request;
use crate::sys::{IO_ALLOCATION_ACTION, PDEVICE_OBJECT, PIRP, PVOID, STATUS_IO_DEVICE_ERROR};
use crate::trace::{Event, trace};

/// Flushes the caches and asks for the channel.
pub(crate) fn request_channel(
    context: &DeviceContext,
    index: usize,
    transfer: Transfer<Request>,
    dispatch: &Dispatch,
) {
    let Some(adapter) = context.hardware().system.as_ref() else {
        let mut state = context.state.lock(dispatch);
        state.pending = None;
        state.set(index, Stage::Waiting(transfer.failed(DmaError::NoAdapter)));
        return;
    };
    let ready = transfer.make_ready(dispatch);
    let request = ready.system_request(adapter);
    let registers = request.map_registers();
    // AdapterControl may run before the call returns, so the transfer is in place first (DMA-36).
    context.state.lock(dispatch).set(index, Stage::ChannelPending(ready, registers));
    // SAFETY: `pending` admits one allocation of the device at a time, from here to the release of
    // the channel (DMA-17, DMA-35); the token lives as long as the device; the routine keeps the
    // channel or gives it back.
    let issued = unsafe {
        request.issue(
            context.device_object(),
            Some(adapter_control),
            context.token(index),
            dispatch,
        )
    };
    if let Err(error) = issued {
        // The routine never runs (DMA-34).
        let mut state = context.state.lock(dispatch);
        state.pending = None;
        match state.take(index) {
            Some(Stage::ChannelPending(ready, _)) => {
                state.set(index, Stage::Waiting(ready.cancel().failed(error)));
            }
            Some(stage) => state.set(index, stage),
            None => {}
        }
    }
}

/// AdapterControl: keeps the channel, or gives it back if the request is gone. It sets nothing up
/// and starts nothing; the pump does. DISPATCH_LEVEL, on any processor.
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
    let adapter = if state.present { context.hardware().system.as_ref() } else { None };
    let (stage, action) = match (state.take(index), adapter) {
        (Some(Stage::ChannelPending(ready, count)), Some(adapter)) => {
            // SAFETY: this routine's own MapRegisterBase and the number asked for (DMA-39).
            let channel = unsafe { Channel::from_adapter_control(adapter, base, count) };
            (Stage::ChannelTaken(ready.on_channel(channel)), KEEP_CHANNEL)
        }
        // The request was completed meanwhile; nothing of it is touched.
        (Some(Stage::Abandoned), _) => {
            context.statistics.slots_abandoned.increment();
            (Stage::Free, GIVE_BACK)
        }
        // The hardware was given up; nobody wants the channel.
        (Some(Stage::ChannelPending(ready, _)), None) => {
            (Stage::Waiting(ready.cancel()), GIVE_BACK)
        }
        (stage, _) => (stage.unwrap_or(Stage::Free), GIVE_BACK),
    };
    state.set(index, stage);
    drop(state);
    // The channel is this driver's only when this routine has returned.
    context.queue_channel(&dispatch);
    action
}

/// AdapterControl has returned: a channel that it kept may be used, and stays pending until it is
/// released. Tells whether there is one.
pub(crate) fn settle(state: &mut State) -> bool {
    let Some(index) = state.pending else { return false };
    match state.take(index) {
        Some(Stage::ChannelTaken(held)) => {
            state.set(index, Stage::OnChannel(held));
            true
        }
        Some(stage) => {
            state.set(index, stage);
            false
        }
        None => false,
    }
}

/// Sets the channel up for the next piece and starts the device on it.
pub(crate) fn start<'a>(
    context: &'a DeviceContext,
    index: usize,
    held: OnChannel<Request>,
    dispatch: &Dispatch,
) -> Held<'a> {
    // A channel that was set up may be flushed only after the device has run (DMA-109), so whether
    // it can is clear beforehand.
    let Some(command) = command(context, index, &held) else {
        let held = held.failed(DmaError::Refused(STATUS_IO_DEVICE_ERROR));
        return leave(context, index, Stage::OnChannel(held), dispatch);
    };
    let programmed = match held.program(dispatch) {
        Ok(programmed) => programmed,
        Err(held) => {
            // Marked as failed; the pump releases it.
            let held = held.failed(DmaError::WrongPiece);
            return leave(context, index, Stage::OnChannel(held), dispatch);
        }
    };
    context.statistics.pieces_mapped.increment();
    let length = programmed.length();
    let run = Run::of_slave(command, length);
    start_engine(context, index, Stage::Programmed(programmed), &run, dispatch)
}

/// What the device is told for the next piece: MapTransfer does not shorten it (DMA-108).
fn command(context: &DeviceContext, index: usize, held: &OnChannel<Request>) -> Option<Command> {
    let NextPiece::Mapped(length) = held.next_piece() else { return None };
    let transfer = held.transfer();
    let offset = context.device_offset(index, transfer.done())?;
    Command::new(offset, length, transfer.direction())
}

/// Ends a piece after the device has stopped, or is gone: the flush brings what the controller's
/// FIFO still holds. A transfer whose device was `stopped` gives the channel back and, unless it
/// ends, begins anew where it stopped: the rest of its buffer needs its caches flushed again.
pub(crate) fn flush(
    context: &DeviceContext,
    index: usize,
    programmed: Programmed<Request>,
    stopped: bool,
    dispatch: &Dispatch,
) {
    let expected = programmed.transfer().done().saturating_add(u64::from(programmed.length()));
    // SAFETY: the device reads idle, or is gone (DMA-54, DMA-109).
    let held = unsafe { programmed.flush(|| context.registers.slave.passed(), dispatch) };
    context.statistics.pieces_flushed.increment();
    let transfer = held.transfer();
    if transfer.outcome() == Err(DmaError::FlushFailed) {
        context.statistics.flush_failures.increment();
    }
    // A device that gave or took fewer bytes has no more for this request.
    let short = !stopped && transfer.outcome().is_ok() && transfer.done() != expected;
    trace(Event::PieceEnded);
    if stopped {
        release(context, index, held, dispatch);
        return;
    }
    let held = if short { held.failed(DmaError::Refused(STATUS_IO_DEVICE_ERROR)) } else { held };
    context.state.lock(dispatch).set(index, Stage::OnChannel(held));
}

/// Frees the channel: the transfer is over or ends. Others may be waiting for it.
pub(crate) fn release(
    context: &DeviceContext,
    index: usize,
    held: OnChannel<Request>,
    dispatch: &Dispatch,
) {
    let transfer = held.release(context.hardware().system.as_ref(), dispatch);
    let mut state = context.state.lock(dispatch);
    state.pending = None;
    state.set(index, Stage::Waiting(transfer));
}
