//! PnP and power callbacks.

use wdk_dma::irql::{self, Passive};

use super::{DeviceContext, hardware};
use crate::engine::EngineState;
use crate::sys::{
    _MODE, BOOLEAN, FALSE, KPROCESSOR_MODE, LARGE_INTEGER, NTSTATUS, STATUS_DEVICE_NOT_READY,
    STATUS_SUCCESS, TRUE, WDF_PNPPOWER_EVENT_CALLBACKS, WDF_POWER_DEVICE_STATE, WDFCMRESLIST,
    WDFDEVICE, call_unsafe_wdf_function_binding, ntddk,
};
use crate::trace::{Event, trace};
use crate::transfer;
use crate::transfer::slot::{SLOT_COUNT, Stage};
use crate::transfer::state::{Finish, State};
use crate::transfer::watch::{self, fail_device, interrupt_time};

/// How long the driver waits for the device to stop, in units of 100 ns: 250 ms.
const QUIESCE: u64 = 250 * 10_000;

/// How long it sleeps between looks: 1 ms.
const LOOK: i64 = 10_000;

/// Looks at most this often, whatever the clock says (SUR-02).
const LOOKS_MAX: u32 = 1_000;

/// Fills in the callbacks of this module.
pub(super) fn register(callbacks: &mut WDF_PNPPOWER_EVENT_CALLBACKS) {
    callbacks.EvtDevicePrepareHardware = Some(evt_prepare_hardware);
    callbacks.EvtDeviceReleaseHardware = Some(evt_release_hardware);
    callbacks.EvtDeviceD0Entry = Some(evt_d0_entry);
    callbacks.EvtDeviceD0EntryPostInterruptsEnabled = Some(evt_d0_entry_post_interrupts_enabled);
    callbacks.EvtDeviceD0ExitPreInterruptsDisabled = Some(evt_d0_exit_pre_interrupts_disabled);
    callbacks.EvtDeviceD0Exit = Some(evt_d0_exit);
    callbacks.EvtDeviceSurpriseRemoval = Some(evt_surprise_removal);
}

/// Waits until `done` says so, within [`QUIESCE`]; tells whether it did.
fn wait_until(_passive: &Passive, mut done: impl FnMut() -> bool) -> bool {
    let start = interrupt_time();
    for _ in 0..LOOKS_MAX {
        if done() {
            return true;
        }
        if interrupt_time().saturating_sub(start) >= QUIESCE {
            return done();
        }
        let mut interval = LARGE_INTEGER { QuadPart: -LOOK };
        // CAST: the mode is 0.
        // SAFETY: PASSIVE_LEVEL by the token; a relative time.
        let _status = unsafe {
            ntddk::KeDelayExecutionThread(
                _MODE::KernelMode as KPROCESSOR_MODE,
                FALSE as BOOLEAN,
                &mut interval,
            )
        };
    }
    done()
}

/// EvtDevicePrepareHardware.
unsafe extern "C" fn evt_prepare_hardware(
    device: WDFDEVICE,
    _raw: WDFCMRESLIST,
    translated: WDFCMRESLIST,
) -> NTSTATUS {
    // SAFETY: called after device add.
    let Some(context) = (unsafe { DeviceContext::of(device) }) else {
        return STATUS_DEVICE_NOT_READY;
    };
    // SAFETY: called at PASSIVE_LEVEL (KMDF-01).
    let passive = unsafe { Passive::assume() };
    match hardware::prepare(context, translated, &passive) {
        Ok(()) => STATUS_SUCCESS,
        Err(status) => {
            trace(Event::PrepareFailed(status));
            status
        }
    }
}

/// EvtDeviceD0Entry: the device may still be at work, or have old interrupt causes: it is reset, or
/// stopped, or waited for, and set up anew (KMDF-09). The interrupt is not connected yet (KMDF-05).
unsafe extern "C" fn evt_d0_entry(
    device: WDFDEVICE,
    _previous: WDF_POWER_DEVICE_STATE,
) -> NTSTATUS {
    // SAFETY: called after device add.
    let Some(context) = (unsafe { DeviceContext::of(device) }) else {
        return STATUS_DEVICE_NOT_READY;
    };
    // SAFETY: called at PASSIVE_LEVEL (KMDF-05).
    let mut passive = unsafe { Passive::assume() };
    let registers = &context.registers;
    let present = registers.is_present();
    if present {
        registers.calm();
    }
    let idle = present && wait_until(&passive, || registers.state() != EngineState::Running);
    if !idle || registers.state() != EngineState::Idle {
        trace(Event::DeviceNotReady);
        return STATUS_DEVICE_NOT_READY;
    }
    if let Some(causes) = registers.causes() {
        registers.acknowledge(causes);
    }
    registers.set_up(context.hardware().shared.as_ref());
    {
        let mut state = context.state.lock(&passive);
        let finish = at_rest(&state);
        state.reset_ended(finish);
    }
    transfer::pump(context, &mut passive);
    STATUS_SUCCESS
}

/// How runs have ended of which only is known that the engine rests: an engine that can be reset
/// may have been.
fn at_rest(state: &State) -> Finish {
    if state.engine.abilities.resettable { Finish::Undone } else { Finish::Done }
}

/// EvtDeviceD0EntryPostInterruptsEnabled: from here on runs may be started.
unsafe extern "C" fn evt_d0_entry_post_interrupts_enabled(
    device: WDFDEVICE,
    _previous: WDF_POWER_DEVICE_STATE,
) -> NTSTATUS {
    // SAFETY: called after device add.
    let Some(context) = (unsafe { DeviceContext::of(device) }) else {
        return STATUS_DEVICE_NOT_READY;
    };
    // SAFETY: called at PASSIVE_LEVEL (KMDF-05).
    let mut passive = unsafe { Passive::assume() };
    context.state.lock(&passive).powered = true;
    transfer::pump(context, &mut passive);
    STATUS_SUCCESS
}

/// EvtDeviceD0ExitPreInterruptsDisabled: the transfer that runs comes to its end here, while the
/// interrupt is still connected: a shared line must not stay asserted with nobody to look (KMDF-06).
unsafe extern "C" fn evt_d0_exit_pre_interrupts_disabled(
    device: WDFDEVICE,
    _target: WDF_POWER_DEVICE_STATE,
) -> NTSTATUS {
    // SAFETY: called after device add.
    let Some(context) = (unsafe { DeviceContext::of(device) }) else { return STATUS_SUCCESS };
    // SAFETY: called at PASSIVE_LEVEL (KMDF-06).
    let mut passive = unsafe { Passive::assume() };
    // EvtDeviceD0Exit looks again and decides: it is called in every case, this one is not.
    let _stopped = leave_d0(context, &mut passive);
    STATUS_SUCCESS
}

/// Starts nothing from here on and brings what runs to its end; tells whether the engine stopped.
fn leave_d0(context: &DeviceContext, passive: &mut Passive) -> bool {
    context.state.lock(passive).powered = false;
    stop_watchdog(context, passive);
    let stopped = quiesce(context, passive);
    // A late step of the pump may have started the watchdog again.
    stop_watchdog(context, passive);
    stopped
}

/// EvtDeviceD0Exit: by its return the device does no more DMA and raises no interrupt (KMDF-08).
unsafe extern "C" fn evt_d0_exit(device: WDFDEVICE, _target: WDF_POWER_DEVICE_STATE) -> NTSTATUS {
    // SAFETY: called after device add.
    let Some(context) = (unsafe { DeviceContext::of(device) }) else { return STATUS_SUCCESS };
    // SAFETY: called at PASSIVE_LEVEL (KMDF-06).
    let mut passive = unsafe { Passive::assume() };
    let stopped = leave_d0(context, &mut passive);
    if let Some(causes) = context.registers.causes() {
        // A line that stays high would trouble whoever shares it.
        context.registers.acknowledge(causes);
    }
    if stopped {
        context.registers.shut_down();
    } else {
        let first = context.state.lock(&passive).fail();
        if first {
            fail_device(context, &passive);
        }
    }
    STATUS_SUCCESS
}

fn stop_watchdog(context: &DeviceContext, passive: &Passive) {
    // SAFETY: the device's live timer, PASSIVE_LEVEL by the token, not in its own callback.
    let _was_queued = unsafe {
        call_unsafe_wdf_function_binding!(WdfTimerStop, context.watchdog(), TRUE as BOOLEAN)
    };
    context.state.lock(passive).engine.armed = false;
}

/// Starts nothing and waits, bounded, until the engine has stopped and the pump rests; an engine
/// that does not stop is reset, where it can be. Then the pieces that were under way are ended.
/// Tells whether the engine stopped.
fn quiesce(context: &DeviceContext, passive: &mut Passive) -> bool {
    let mut engine = wait_for_rest(context, passive);
    if engine == EngineState::Running && context.state.lock(passive).engine.abilities.resettable {
        trace(Event::DeviceReset);
        context.statistics.resets.increment();
        context.registers.calm();
        engine = wait_for_rest(context, passive);
    }
    match engine {
        EngineState::Idle => {
            // What has ended by itself has said so.
            irql::raise(passive, |dispatch| watch::collect(context, u32::MAX, dispatch));
            let mut state = context.state.lock(passive);
            let finish = at_rest(&state);
            state.reset_ended(finish);
        }
        EngineState::Gone => {
            trace(Event::DeviceGone);
            context.state.lock(passive).reset_ended(Finish::Gone);
        }
        EngineState::Running => return false,
    }
    transfer::pump(context, passive);
    true
}

/// Stops what runs on a device that can be stopped and not reset.
fn stop_runs(context: &DeviceContext, passive: &Passive) {
    let mut state = context.state.lock(passive);
    let abilities = state.engine.abilities;
    if abilities.stoppable && !abilities.resettable {
        let running = state.slots.iter_mut().filter_map(|slot| slot.run.as_mut());
        running.for_each(|run| run.stopping = true);
        drop(state);
        context.registers.calm();
    }
}

/// Waits, bounded, until the pump rests and the engine too, or the device is gone.
fn wait_for_rest(context: &DeviceContext, passive: &Passive) -> EngineState {
    let mut engine = EngineState::Running;
    let mut told = false;
    wait_until(passive, || {
        if context.state.lock(passive).pumping {
            return false;
        }
        // Only now: a pump under way might have started the device after an earlier stop.
        if !core::mem::replace(&mut told, true) {
            stop_runs(context, passive);
        }
        engine = context.registers.state();
        engine != EngineState::Running
    });
    engine
}

/// EvtDeviceSurpriseRemoval: only marks the state (SUR-03); queues stop next, and EvtIoStop acts
/// on it.
unsafe extern "C" fn evt_surprise_removal(device: WDFDEVICE) {
    // SAFETY: called after device add.
    let Some(context) = (unsafe { DeviceContext::of(device) }) else { return };
    // SAFETY: called at PASSIVE_LEVEL (SUR-03).
    let passive = unsafe { Passive::assume() };
    context.state.lock(&passive).surprise_removed = true;
}

/// EvtDeviceReleaseHardware: undoes PrepareHardware, however far it got.
///
/// The bus does not know of the removal yet, so a device that has not stopped may still master it
/// here: the driver waits once more, bounded, and if the engine still runs, abandons what it uses.
unsafe extern "C" fn evt_release_hardware(
    device: WDFDEVICE,
    _translated: WDFCMRESLIST,
) -> NTSTATUS {
    // SAFETY: called after device add.
    let Some(context) = (unsafe { DeviceContext::of(device) }) else { return STATUS_SUCCESS };
    // SAFETY: called at PASSIVE_LEVEL (KMDF-02).
    let mut passive = unsafe { Passive::assume() };
    let running = {
        let mut state = context.state.lock(&passive);
        state.powered = false;
        state.releasing = true;
        state.engine.running != 0
    };
    let stopped = !running || quiesce(context, &mut passive);
    transfer::pump(context, &mut passive);
    // A list that was built meanwhile is put by the pump, which its DPC calls (DMA-80).
    let rests = || context.state.lock(&passive).has_given_back();
    // An allocation of version 2 cannot be withdrawn, and its routine needs the device: it may
    // wait long for map registers, but unless this device keeps them for good it ends (DMA-98).
    let mut rested = wait_until(&passive, rests);
    while stopped && !rested {
        rested = wait_until(&passive, rests);
    }
    let never_stopped = !stopped || !rested;
    if never_stopped {
        trace(Event::DeviceNeverStopped);
        abandon(context, &passive);
    }
    hardware::release(context, never_stopped, &passive);
    context.state.lock(&passive).releasing = false;
    STATUS_SUCCESS
}

/// Gives up what the device may still use, for good: the request is never completed, nothing is
/// flushed, freed or put (DMA-100).
fn abandon(context: &DeviceContext, passive: &Passive) {
    let mut state = context.state.lock(passive);
    let pending = state.pending;
    for index in 0..SLOT_COUNT {
        let run = state.slots.get_mut(index).and_then(|slot| slot.run.take());
        if run.is_none() && pending != Some(index) {
            continue;
        }
        let stage = match state.take(index) {
            Some(Stage::Mapped(mapping)) => {
                mapping.abandon();
                Stage::NeverStopped
            }
            Some(Stage::Listed(list)) => {
                list.abandon();
                Stage::NeverStopped
            }
            Some(Stage::MappedV3(mapping)) => {
                mapping.abandon();
                Stage::NeverStopped
            }
            Some(Stage::Programmed(programmed)) => {
                programmed.abandon();
                Stage::NeverStopped
            }
            // The request goes out of reach with its transfer, uncompleted.
            Some(Stage::CarryingCached(_, buffer, _)) => {
                buffer.abandon();
                Stage::NeverStopped
            }
            Some(Stage::CarryingUncached(_, buffer, _)) => {
                buffer.abandon();
                Stage::NeverStopped
            }
            // The pending callback still finds its slot.
            Some(stage) => stage,
            None => continue,
        };
        state.set(index, stage);
    }
    state.engine.forget_runs();
}
