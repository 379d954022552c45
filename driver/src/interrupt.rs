//! Interrupts: line-based or MSI, one routine for both; and the watchdog that stands in for one
//! that never comes.

use core::ptr;

use dmaproof_protocol::InterruptKind;
use wdk_dma::ddk;
use wdk_dma::irql::Dispatch;

use crate::device::DeviceContext;
use crate::sys::{
    BOOLEAN, FALSE, NT_SUCCESS, NTSTATUS, TRUE, ULONG, WDF_NO_OBJECT_ATTRIBUTES, WDFDEVICE,
    WDFINTERRUPT, WDFOBJECT, WDFTIMER, call_unsafe_wdf_function_binding,
};
use crate::transfer;
use crate::transfer::pump::interrupt_time;

/// Creates the interrupt object, in EvtDriverDeviceAdd: the framework gives it the device's line or
/// its first message (KMDF-12). IRQL: PASSIVE_LEVEL.
pub(crate) fn create(device: WDFDEVICE) -> Result<WDFINTERRUPT, NTSTATUS> {
    let mut config = ddk::WDF_INTERRUPT_CONFIG_INIT(Some(evt_isr), Some(evt_dpc));
    let mut interrupt: WDFINTERRUPT = ptr::null_mut();
    // SAFETY: a live device, a complete configuration, no attributes.
    let status = unsafe {
        call_unsafe_wdf_function_binding!(
            WdfInterruptCreate,
            device,
            &mut config,
            WDF_NO_OBJECT_ATTRIBUTES,
            &mut interrupt
        )
    };
    if NT_SUCCESS(status) { Ok(interrupt) } else { Err(status) }
}

/// How the device interrupts. Between PrepareHardware and ReleaseHardware.
pub(crate) fn kind(context: &DeviceContext) -> InterruptKind {
    let mut info = ddk::WDF_INTERRUPT_INFO_INIT();
    // SAFETY: the device's live interrupt; a structure with its size set.
    unsafe {
        call_unsafe_wdf_function_binding!(WdfInterruptGetInfo, context.interrupt(), &mut info);
    }
    match (info.Vector, info.MessageSignaled) {
        (0, _) => InterruptKind::None,
        (_, 0) => InterruptKind::Line,
        _ => InterruptKind::Msi,
    }
}

/// EvtInterruptIsr: says whether the interrupt is the device's, and acknowledges it there. At
/// DIRQL; it may run before the device is enabled and after it is gone (KMDF-14, KMDF-15).
unsafe extern "C" fn evt_isr(interrupt: WDFINTERRUPT, _message: ULONG) -> BOOLEAN {
    // SAFETY: the framework's own argument.
    let device = unsafe { call_unsafe_wdf_function_binding!(WdfInterruptGetDevice, interrupt) };
    // SAFETY: interrupts are connected after device add.
    let Some(context) = (unsafe { DeviceContext::of(device) }) else { return FALSE as BOOLEAN };
    let Some(causes) = context.registers.causes() else {
        context.statistics.interrupts_spurious.increment();
        return FALSE as BOOLEAN;
    };
    context.registers.acknowledge(causes);
    context.statistics.interrupts.increment();
    // One DPC may stand for several interrupts (KMDF-16).
    // SAFETY: called from the interrupt's own service routine.
    let _queued =
        unsafe { call_unsafe_wdf_function_binding!(WdfInterruptQueueDpcForIsr, interrupt) };
    TRUE as BOOLEAN
}

/// EvtInterruptDpc: has the pump look at the engine. What caused the interrupt does not matter.
/// DISPATCH_LEVEL.
unsafe extern "C" fn evt_dpc(_interrupt: WDFINTERRUPT, device: WDFOBJECT) {
    // SAFETY: the associated object is the device, live.
    let Some(context) = (unsafe { DeviceContext::of(device.cast()) }) else { return };
    // SAFETY: DPCs run at DISPATCH_LEVEL (KMDF-17).
    let mut dispatch = unsafe { Dispatch::assume() };
    context.statistics.dpcs.increment();
    context.state.lock(&dispatch).engine.check = true;
    transfer::pump(context, &mut dispatch);
}

/// EvtTimerFunc of the watchdog: a run took longer than it should. DISPATCH_LEVEL.
pub(crate) unsafe extern "C" fn evt_watchdog(timer: WDFTIMER) {
    // SAFETY: the framework's own argument; the device is its parent.
    let device = unsafe { call_unsafe_wdf_function_binding!(WdfTimerGetParentObject, timer) };
    // SAFETY: the parent is the device, live; the timer is started after device add.
    let Some(context) = (unsafe { DeviceContext::of(device.cast()) }) else { return };
    // SAFETY: timers without passive execution level run at DISPATCH_LEVEL.
    let mut dispatch = unsafe { Dispatch::assume() };
    {
        let mut state = context.state.lock(&dispatch);
        state.engine.check = true;
        // A watchdog of an earlier run says nothing about this one.
        state.engine.expired |= interrupt_time() >= state.engine.deadline;
    }
    transfer::pump(context, &mut dispatch);
}
