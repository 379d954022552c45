//! Packet transfers: channel, map registers, one piece after the other.

use core::ffi::c_void;

use wdk_dma::irql::Dispatch;
use wdk_dma::packet::{GIVE_BACK, KEEP_REGISTERS};
use wdk_dma::{Direction, DmaError, Element, Granted, MapRegisters, Mapping, Transfer};

use super::pump::{Held, leave};
use super::slot::{Stage, Token};
use super::state::Finish;
use super::watch;
use crate::device::DeviceContext;
use crate::engine::{Run, Work};
use crate::request::Request;
use crate::sys::{IO_ALLOCATION_ACTION, PDEVICE_OBJECT, PIRP, PVOID, STATUS_IO_DEVICE_ERROR};
use crate::trace::{Event, trace};

/// Flushes the caches and asks for a channel.
pub(crate) fn request_channel(
    context: &DeviceContext,
    index: usize,
    transfer: Transfer<Request>,
    dispatch: &Dispatch,
) {
    let Some(adapter) = context.hardware().v2.as_ref() else {
        let mut state = context.state.lock(dispatch);
        state.pending = None;
        state.set(index, Stage::Waiting(transfer.failed(DmaError::NoAdapter)));
        return;
    };
    let ready = transfer.make_ready(dispatch);
    let request = ready.channel_request(adapter);
    let registers = request.map_registers();
    // AdapterControl may run before the call returns, so the transfer is in place first (DMA-36).
    context.state.lock(dispatch).set(index, Stage::ChannelPending(ready, registers));
    // SAFETY: `pending` admits one allocation of the device at a time (DMA-17, DMA-35); the token
    // lives as long as the device; the routine keeps the registers or gives them back.
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

/// AdapterControl: takes the map registers, or gives them back if the request is gone. It maps
/// nothing and starts nothing; the pump does. DISPATCH_LEVEL, on any processor.
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
    let adapter = if state.present { context.hardware().v2.as_ref() } else { None };
    let (stage, action) = match (state.take(index), adapter) {
        (Some(Stage::ChannelPending(ready, count)), Some(adapter)) => {
            let alignment = state.pieces.alignment;
            // SAFETY: this routine's own MapRegisterBase and the number asked for (DMA-39).
            let registers =
                unsafe { MapRegisters::from_adapter_control(adapter, base, count, alignment) };
            (Stage::Granted(ready.granted(registers)), KEEP_REGISTERS)
        }
        // The request was completed meanwhile; nothing of it is touched.
        (Some(Stage::Abandoned), _) => {
            context.statistics.slots_abandoned.increment();
            (Stage::Free, GIVE_BACK)
        }
        // The hardware was given up; nobody wants the registers.
        (Some(Stage::ChannelPending(ready, _)), None) => {
            (Stage::Waiting(ready.cancel()), GIVE_BACK)
        }
        (stage, _) => (stage.unwrap_or(Stage::Free), GIVE_BACK),
    };
    state.set(index, stage);
    drop(state);
    // The next allocation may not be made before this routine has returned (DMA-35).
    context.queue_channel(&dispatch);
    action
}

/// Maps the next piece, as many of its elements as the engine takes at a time, and starts the
/// engine on it.
pub(crate) fn start<'a>(
    context: &'a DeviceContext,
    index: usize,
    granted: Granted<Request>,
    dispatch: &Dispatch,
) -> Held<'a> {
    let mut mapper = match granted.mapper(dispatch) {
        Ok(mapper) => mapper,
        Err(granted) => {
            // Over, or marked as failed: the pump releases it.
            let granted = match granted.transfer().is_over() {
                true => granted,
                false => granted.failed(DmaError::WrongPiece),
            };
            return leave(context, index, Stage::Granted(granted), dispatch);
        }
    };
    let (done, direction) = (mapper.transfer().done(), mapper.transfer().direction());
    // The engine takes as many elements as it can: so many are mapped.
    let run = prepare(context, index, done, direction, &mut mapper, dispatch);
    let mapping = match mapper.finish() {
        Ok(mapping) => mapping,
        Err(granted) => return leave(context, index, Stage::Granted(granted), dispatch),
    };
    context.statistics.pieces_mapped.increment();
    let Some(run) = run else {
        // SAFETY: the device was never given the piece (DMA-54).
        let granted = unsafe { mapping.flush(false, dispatch) };
        context.statistics.pieces_flushed.increment();
        let granted = granted.failed(DmaError::Refused(STATUS_IO_DEVICE_ERROR));
        return leave(context, index, Stage::Granted(granted), dispatch);
    };
    start_engine(context, index, Stage::Mapped(mapping), &run, dispatch)
}

/// Works out a run for the first elements of a slot's transfer that follow on byte `done`.
pub(crate) fn prepare(
    context: &DeviceContext,
    index: usize,
    done: u64,
    direction: Direction,
    elements: &mut dyn Iterator<Item = Element>,
    dispatch: &Dispatch,
) -> Option<Run> {
    let device = context.device_offset(index, done)?;
    let processor = context.processor(index);
    let work = Work { slot: index, processor, direction, device, elements };
    context.registers.prepare(context.hardware().shared.as_ref(), work, dispatch)
}

/// Starts the engine and its watchdog. The slot has its run first, so that an interrupt finds it,
/// however early it comes.
pub(crate) fn start_engine<'a>(
    context: &'a DeviceContext,
    index: usize,
    stage: Stage,
    run: &Run,
    dispatch: &Dispatch,
) -> Held<'a> {
    trace(Event::PieceStarted { length: run.length });
    let deadline = watch::deadline();
    let memory = context.hardware().shared.as_ref();
    let mut state = context.state.lock(dispatch);
    let tag = state.run(index, stage, run, deadline);
    let armed = state.engine.armed;
    // What only writes to memory is done under the lock; the device hears of it later.
    if run.is_silent() {
        context.registers.start(memory, run, tag);
        if armed {
            return Some(state);
        }
        drop(state);
    } else {
        drop(state);
        context.registers.start(memory, run, tag);
    }
    if !armed {
        watch::arm(context, dispatch);
    }
    None
}

/// Ends a piece after the engine has stopped, or the device is gone.
pub(crate) fn flush<'a>(
    context: &'a DeviceContext,
    index: usize,
    mapping: Mapping<Request>,
    finish: Finish,
    dispatch: &Dispatch,
) -> Held<'a> {
    // SAFETY: the engine reads idle, or the device is gone (DMA-54).
    let granted = unsafe { mapping.flush(finish == Finish::Done, dispatch) };
    context.statistics.pieces_flushed.increment();
    if granted.transfer().outcome() == Err(DmaError::FlushFailed) {
        context.statistics.flush_failures.increment();
    }
    trace(Event::PieceEnded);
    if finish == Finish::Undone {
        // Begun again, unless it ends: what is left needs its caches flushed again (DMA-85).
        return release(context, index, granted, dispatch);
    }
    leave(context, index, Stage::Granted(granted), dispatch)
}

/// Frees the map registers; the transfer is over, ends, or goes on in another way.
pub(crate) fn release<'a>(
    context: &'a DeviceContext,
    index: usize,
    granted: Granted<Request>,
    dispatch: &Dispatch,
) -> Held<'a> {
    let adapter = context.hardware().v2.as_ref()?;
    let transfer = granted.release(adapter, dispatch);
    leave(context, index, Stage::Waiting(transfer), dispatch)
}
