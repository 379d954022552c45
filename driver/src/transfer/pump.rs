//! The pump: takes the steps of all transfers of a device, one after the other.

use dmaproof_protocol::status;
use wdk_dma::irql::{self, AtMostDispatch, Dispatch};
use wdk_dma::{Finished, Transfer};

use super::schedule::{Action, Ending};
use super::state::Finish;
use super::{common_buffer, packet, pio, scatter_gather, system, v3};
use crate::device::DeviceContext;
use crate::engine::edu::EngineState;
use crate::request::Request;
use crate::sys::{
    _WDF_DEVICE_FAILED_ACTION, BOOLEAN, FALSE, NTSTATUS, STATUS_IO_DEVICE_ERROR, STATUS_IO_TIMEOUT,
    STATUS_SUCCESS, call_unsafe_wdf_function_binding, ntddk,
};
use crate::trace::{Event, trace};

/// Time the device gets for one piece; edu takes 100 ms. In units of 100 ns.
pub(crate) const WATCHDOG: i64 = 250 * 10_000;

/// How long a run may take before an expired watchdog means it. A little less than the watchdog's
/// time, since timers and the clock do not tick together.
pub(crate) const LATE: u64 = 240 * 10_000;

/// After this many times the device counts as failed.
const EXPIRATIONS_MAX: u32 = 4;

/// Takes every step that can be taken now. What happened was recorded under the lock before.
///
/// If the pump is at work already, on this or another processor, that one sees what was recorded
/// and this call returns at once. No lock is held. IRQL: at most DISPATCH_LEVEL.
pub fn pump<L: AtMostDispatch>(context: &DeviceContext, level: &mut L) {
    // Raised first: a thread that claimed the pump and was then preempted would stop everybody.
    irql::raise(level, |dispatch| {
        {
            let mut state = context.state.lock(dispatch);
            if state.pumping {
                return;
            }
            state.pumping = true;
        }
        run(context, dispatch);
    });
}

fn run(context: &DeviceContext, dispatch: &Dispatch) {
    loop {
        let action = {
            let mut state = context.state.lock(dispatch);
            match state.next_action() {
                Some(action) => action,
                None => {
                    state.pumping = false;
                    return;
                }
            }
        };
        perform(context, action, dispatch);
    }
}

fn perform(context: &DeviceContext, action: Action, dispatch: &Dispatch) {
    match action {
        Action::Complete(transfer, ending) => complete(context, transfer, ending),
        Action::CheckEngine(index) => check_engine(context, index, dispatch),
        Action::Flush(index, mapping, finish) => {
            packet::flush(context, index, mapping, finish, dispatch);
        }
        Action::Release(index, granted) => packet::release(context, index, granted, dispatch),
        Action::RequestChannel(index, transfer) => {
            packet::request_channel(context, index, transfer, dispatch);
        }
        Action::StartMapped(index, granted) => packet::start(context, index, granted, dispatch),
        Action::BuildList(index, transfer) => {
            scatter_gather::build(context, index, transfer, dispatch);
        }
        Action::StartElement(index, list) => {
            scatter_gather::start(context, index, list, dispatch);
        }
        Action::Put(index, list) => scatter_gather::put(context, index, list, dispatch),
        Action::CarryCached(index, transfer, buffer, length) => {
            common_buffer::start(context, index, transfer, buffer, length, dispatch);
        }
        Action::CarryUncached(index, transfer, buffer, length) => {
            common_buffer::start(context, index, transfer, buffer, length, dispatch);
        }
        Action::FinishCached(index, transfer, buffer, length, finish) => {
            common_buffer::finish(context, index, transfer, buffer, length, finish, dispatch);
        }
        Action::FinishUncached(index, transfer, buffer, length, finish) => {
            common_buffer::finish(context, index, transfer, buffer, length, finish, dispatch);
        }
        Action::RequestChannelV3(index, transfer) => {
            v3::request_channel(context, index, transfer, dispatch);
        }
        Action::CancelChannelV3(index) => v3::cancel_channel(context, index, dispatch),
        Action::MapV3(index, granted) => v3::map(context, index, granted, dispatch),
        Action::StartElementV3(index, mapping) => v3::start(context, index, mapping, dispatch),
        Action::FlushV3(index, mapping) => v3::flush(context, index, mapping, dispatch),
        Action::ReleaseV3(index, granted) => v3::release(context, index, granted, dispatch),
        Action::RequestSystem(index, transfer) => {
            system::request_channel(context, index, transfer, dispatch);
        }
        Action::StartSystem(index, held) => system::start(context, index, held, dispatch),
        Action::StopSystem => system::stop(context, dispatch),
        Action::FlushSystem(index, programmed, stopped) => {
            system::flush(context, index, programmed, stopped, dispatch);
        }
        Action::ReleaseSystem(index, held) => system::release(context, index, held, dispatch),
        Action::Pio(index, transfer) => pio::perform(context, index, transfer, dispatch),
    }
}

/// Looks whether the engine has finished. Only its own register decides, never an interrupt alone.
fn check_engine(context: &DeviceContext, index: usize, dispatch: &Dispatch) {
    let engine = context.registers.state();
    let mut rearm = false;
    let mut fail = false;
    {
        let mut state = context.state.lock(dispatch);
        match engine {
            EngineState::Idle => state.run_ended(Finish::Idle),
            EngineState::Gone => state.run_ended(Finish::Gone),
            EngineState::Running if state.engine.expired => {
                state.engine.expired = false;
                state.engine.expirations = state.engine.expirations.saturating_add(1);
                // The request stays until the engine stops: the device may still write (KMDF-29).
                if let Some(slot) = state.slots.get_mut(index) {
                    slot.end(STATUS_IO_TIMEOUT);
                }
                rearm = true;
                fail = state.engine.expirations == EXPIRATIONS_MAX && !state.failed;
                state.failed |= fail;
            }
            EngineState::Running => {}
        }
    }
    if engine != EngineState::Running {
        stop_watchdog(context, dispatch);
    }
    match engine {
        EngineState::Gone => trace(Event::DeviceGone),
        EngineState::Running if rearm => trace(Event::PieceLate),
        EngineState::Idle | EngineState::Running => {}
    }
    if rearm {
        start_watchdog(context, dispatch);
    }
    if fail {
        fail_device(context, dispatch);
    }
}

/// Starts the watchdog for a run of the engine. IRQL: at most DISPATCH_LEVEL.
pub(crate) fn start_watchdog(context: &DeviceContext, _level: &impl AtMostDispatch) {
    // SAFETY: the device's live timer; a negative time is relative.
    let _was_queued =
        unsafe { call_unsafe_wdf_function_binding!(WdfTimerStart, context.watchdog(), -WATCHDOG) };
}

fn stop_watchdog(context: &DeviceContext, _dispatch: &Dispatch) {
    // SAFETY: the device's live timer; without waiting any level up to DISPATCH_LEVEL will do.
    let _was_queued = unsafe {
        call_unsafe_wdf_function_binding!(WdfTimerStop, context.watchdog(), FALSE as BOOLEAN)
    };
}

/// The machine's time since start, in units of 100 ns. Any IRQL.
pub(crate) fn interrupt_time() -> u64 {
    let mut counter = 0;
    // SAFETY: callable at any level; the counter is ours.
    unsafe { ntddk::KeQueryInterruptTimePrecise(&mut counter) }
}

/// Tells the system that the device has failed for good; it will be removed. IRQL: at most
/// DISPATCH_LEVEL.
pub(crate) fn fail_device(context: &DeviceContext, _level: &impl AtMostDispatch) {
    trace(Event::DeviceFailed);
    // SAFETY: a live device; any level up to DISPATCH_LEVEL; the call only sends for a removal.
    unsafe {
        call_unsafe_wdf_function_binding!(
            WdfDeviceSetFailed,
            context.device(),
            _WDF_DEVICE_FAILED_ACTION::WdfDeviceFailedNoRestart
        );
    }
}

/// Completes a request: nothing of it is mapped, and no lock is held.
fn complete(context: &DeviceContext, transfer: Transfer<Request>, ending: Ending) {
    let remaining = transfer.remaining();
    let Finished { owner, outcome, bytes } = transfer.finish();
    let status = match (ending.status, outcome) {
        (Some(status), _) => status,
        (None, Err(error)) => error.status(),
        (None, Ok(())) if remaining == 0 => STATUS_SUCCESS,
        (None, Ok(())) => STATUS_IO_DEVICE_ERROR,
    };
    count(context, status, &ending, bytes);
    let information = if status == STATUS_SUCCESS { bytes } else { 0 };
    // CAST: no more than the buffer's length, which fits.
    owner.complete(status, information as usize);
}

fn count(context: &DeviceContext, status: NTSTATUS, ending: &Ending, bytes: u64) {
    let statistics = &context.statistics;
    match status {
        STATUS_SUCCESS => {
            if let Some(asked) = &ending.asked {
                statistics.count_transfer(asked.path(), asked.direction(), bytes);
            }
        }
        status::CANCELLED => statistics.cancelled.increment(),
        STATUS_IO_TIMEOUT => statistics.timed_out.increment(),
        _ => statistics.errors.increment(),
    }
}
