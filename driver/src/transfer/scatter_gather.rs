//! Scatter/gather transfers: a list in the slot's own memory, and an engine run for as many of its
//! elements as the device takes at a time.

use core::ffi::c_void;

use wdk_dma::irql::Dispatch;
use wdk_dma::{DmaError, ScatterGatherList, Transfer};

use super::packet::{prepare, start_engine};
use super::pump::Held;
use super::schedule::ListPlan;
use super::slot::{Stage, Token};
use crate::device::DeviceContext;
use crate::request::Request;
use crate::sys::{PDEVICE_OBJECT, PIRP, PSCATTER_GATHER_LIST};
use crate::trace::{Event, trace};

/// Flushes the caches and has the list of the next piece built.
pub(crate) fn build(
    context: &DeviceContext,
    index: usize,
    transfer: Transfer<Request>,
    plan: ListPlan,
    dispatch: &Dispatch,
) {
    let Some(adapter) = context.hardware().v2.as_ref() else {
        refused(context, index, transfer.failed(DmaError::NoAdapter), dispatch);
        return;
    };
    let ready = transfer.make_ready(dispatch);
    let (building, request) = match ready.build_list(adapter, plan.alignment, plan.buffer) {
        Ok(parts) => parts,
        Err(transfer) => {
            refused(context, index, transfer, dispatch);
            return;
        }
    };
    // AdapterListControl may run before the call returns (DMA-73).
    context.state.lock(dispatch).set(index, Stage::ListPending(building));
    // SAFETY: the transfer is where the routine finds it; the token lives as long as the device.
    let issued = unsafe {
        request.issue(
            context.device_object(),
            Some(adapter_list_control),
            context.token(index),
            dispatch,
        )
    };
    if let Err(error) = issued {
        let mut state = context.state.lock(dispatch);
        state.pending = None;
        match state.take(index) {
            Some(Stage::ListPending(building)) => {
                // SAFETY: the build was refused (DMA-72).
                let transfer = unsafe { building.refused(error) };
                state.set(index, Stage::Waiting(transfer));
            }
            Some(stage) => state.set(index, stage),
            None => {}
        }
    }
}

fn refused(
    context: &DeviceContext,
    index: usize,
    transfer: Transfer<Request>,
    dispatch: &Dispatch,
) {
    let mut state = context.state.lock(dispatch);
    state.pending = None;
    state.set(index, Stage::Waiting(transfer));
}

/// AdapterListControl: keeps the list for the pump. DISPATCH_LEVEL, on any processor.
unsafe extern "C" fn adapter_list_control(
    _device: PDEVICE_OBJECT,
    _irp: PIRP,
    list: PSCATTER_GATHER_LIST,
    token: *mut c_void,
) {
    // SAFETY: the token of `build`; the device exists while the build is pending.
    let (context, index) = unsafe { Token::of(token) };
    // SAFETY: the system calls AdapterListControl at DISPATCH_LEVEL (DMA-73).
    let dispatch = unsafe { Dispatch::assume() };
    let mut state = context.state.lock(&dispatch);
    state.pending = None;
    // Without `present` nobody but ReleaseHardware looks at the hardware.
    let adapter = if state.present { context.hardware().v2.as_ref() } else { None };
    match (state.take(index), adapter) {
        (Some(Stage::ListPending(building)), Some(adapter)) => {
            // SAFETY: this routine's own list, of the build that is pending for the slot.
            let list = unsafe { building.listed(adapter, list) };
            state.set(index, Stage::Listed(list));
        }
        (Some(stage), _) => state.set(index, stage),
        (None, _) => {}
    }
    context.statistics.pieces_mapped.increment();
    // Under the lock: who sees the list sees that the pump comes for it, and once nothing is held
    // any more, the device may go.
    if !state.pumping {
        context.queue_pump(&dispatch);
    }
}

/// Starts the engine on the current element, and on as many after it as it takes.
pub(crate) fn start<'a>(
    context: &'a DeviceContext,
    index: usize,
    list: ScatterGatherList<Request>,
    dispatch: &Dispatch,
) -> Held<'a> {
    let run = list.current().and_then(|(_, before)| {
        let done = list.transfer().done().checked_add(u64::from(before))?;
        let direction = list.transfer().direction();
        prepare(context, index, done, direction, &mut list.rest(), dispatch)
    });
    match run {
        Some(run) => start_engine(context, index, Stage::Listed(list), &run, dispatch),
        None => put(context, index, list, dispatch),
    }
}

/// Puts the list after the engine has stopped, or without having started it.
pub(crate) fn put<'a>(
    context: &'a DeviceContext,
    index: usize,
    list: ScatterGatherList<Request>,
    dispatch: &Dispatch,
) -> Held<'a> {
    let adapter = context.hardware().v2.as_ref()?;
    let complete = list.is_complete();
    // SAFETY: the engine is not working on the list: it reads idle, was never started on it, or
    // the device is gone (DMA-75).
    let transfer = unsafe { list.put(adapter, dispatch) };
    context.statistics.pieces_flushed.increment();
    trace(Event::PieceEnded);
    let mut state = context.state.lock(dispatch);
    // An incomplete list is put because its transfer ends, or the adapter goes; else it was one
    // that the device cannot work on.
    let interrupted =
        state.releasing || state.slots.get(index).is_some_and(|slot| slot.ending.is_some());
    let transfer = if complete || interrupted {
        transfer
    } else {
        transfer.failed(DmaError::Refused(crate::sys::STATUS_IO_DEVICE_ERROR))
    };
    state.set(index, Stage::Waiting(transfer));
    Some(state)
}
