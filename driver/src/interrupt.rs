//! Interrupts: line-based, MSI or MSI-X, one routine for all, each message directed to the processor
//! whose requests it is about; and the watchdog that stands in for one that never comes.

use core::ptr;

use dmaproof_protocol::InterruptKind;
use wdk_dma::ddk;
use wdk_dma::irql::Dispatch;

use crate::device::DeviceContext;
use crate::sys::{
    _WDF_INTERRUPT_POLICY, _WDF_INTERRUPT_PRIORITY, BOOLEAN, FALSE, NT_SUCCESS, NTSTATUS, TRUE,
    ULONG, USHORT, WDF_NO_OBJECT_ATTRIBUTES, WDFDEVICE, WDFINTERRUPT, WDFOBJECT, WDFTIMER,
    call_unsafe_wdf_function_binding, ntddk,
};
use crate::transfer;
use testdev::exerciser::QUEUES;

/// Interrupt objects: as many as the device with the most messages has. Those that get no message
/// stay unused (KMDF-12).
pub(crate) const MESSAGES_MAX: usize = 5;

/// Creates the interrupt objects, in EvtDriverDeviceAdd: the framework gives the first the device's
/// line or first message, and each further one a message, as long as there are any (KMDF-12).
/// IRQL: PASSIVE_LEVEL.
pub(crate) fn create(device: WDFDEVICE) -> Result<[WDFINTERRUPT; MESSAGES_MAX], NTSTATUS> {
    let mut interrupts = [ptr::null_mut(); MESSAGES_MAX];
    for interrupt in &mut interrupts {
        let mut config = ddk::WDF_INTERRUPT_CONFIG_INIT(Some(evt_isr), Some(evt_dpc));
        // SAFETY: a live device, a complete configuration, no attributes.
        let status = unsafe {
            call_unsafe_wdf_function_binding!(
                WdfInterruptCreate,
                device,
                &mut config,
                WDF_NO_OBJECT_ATTRIBUTES,
                interrupt
            )
        };
        if !NT_SUCCESS(status) {
            return Err(status);
        }
    }
    for (processor, interrupt) in processors().zip(interrupts) {
        direct(interrupt, processor);
    }
    Ok(interrupts)
}

/// The processors to which messages are directed: those whose requests have a queue of their own, as
/// far as they are active. A message without one is left to the system, and with it what a processor
/// does that is added later.
fn processors() -> impl Iterator<Item = u8> {
    // SAFETY: callable at any level.
    let active = unsafe { ntddk::KeQueryActiveProcessorCountEx(GROUP) };
    // CAST: 4.
    (0..QUEUES as u8).take_while(move |processor| u32::from(*processor) < active)
}

/// The group of these processors.
const GROUP: USHORT = 0;

/// Asks for an interrupt to be taken on this processor, so that a request's DPC runs where the
/// request was begun. The system may still decide otherwise; nothing depends on it. A line, and the
/// message of a device that has only one, is directed to the first processor (KMDF-12).
fn direct(interrupt: WDFINTERRUPT, processor: u8) {
    let mut policy = ddk::WDF_INTERRUPT_EXTENDED_POLICY_INIT();
    policy.Policy = _WDF_INTERRUPT_POLICY::WdfIrqPolicySpecifiedProcessors;
    // The framework refuses a policy without a priority.
    policy.Priority = _WDF_INTERRUPT_PRIORITY::WdfIrqPriorityNormal;
    policy.TargetProcessorSetAndGroup.Mask = 1u64.wrapping_shl(processor.into());
    policy.TargetProcessorSetAndGroup.Group = GROUP;
    // SAFETY: a live interrupt made in EvtDriverDeviceAdd, which is under way; a complete structure.
    unsafe {
        call_unsafe_wdf_function_binding!(WdfInterruptSetExtendedPolicy, interrupt, &mut policy);
    }
}

/// The number of the processor that the caller runs on. Any IRQL; it means something at
/// DISPATCH_LEVEL and above.
pub(crate) fn current_processor() -> u32 {
    // SAFETY: callable at any level; the group is not asked for.
    unsafe { ntddk::KeGetCurrentProcessorNumberEx(ptr::null_mut()) }
}

/// How the device interrupts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Connection {
    pub(crate) kind: InterruptKind,
    /// Messages, or 1 for a line.
    pub(crate) count: u32,
}

impl Connection {
    /// Messages; 0 with a line.
    pub(crate) fn messages(self) -> u32 {
        match self.kind {
            InterruptKind::None | InterruptKind::Line => 0,
            InterruptKind::Msi | InterruptKind::MsiX => self.count,
        }
    }
}

/// How the device interrupts. Between PrepareHardware and ReleaseHardware.
pub(crate) fn connection(context: &DeviceContext) -> Connection {
    let mut found = Connection { kind: InterruptKind::None, count: 0 };
    for &interrupt in context.interrupts() {
        let mut info = ddk::WDF_INTERRUPT_INFO_INIT();
        // SAFETY: one of the device's live interrupts; a structure with its size set.
        unsafe { call_unsafe_wdf_function_binding!(WdfInterruptGetInfo, interrupt, &mut info) };
        found.kind = match (info.Vector, info.MessageSignaled) {
            (0, _) => continue,
            (_, 0) => InterruptKind::Line,
            // Of the devices that the driver knows only one has MSI-X, and no MSI.
            _ if context.registers.exerciser.bar.is_mapped() => InterruptKind::MsiX,
            _ => InterruptKind::Msi,
        };
        found.count = found.count.saturating_add(1);
    }
    found
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

/// EvtInterruptDpc: has the pump look at the engine, first where this interrupt points. What caused
/// it does not matter. DISPATCH_LEVEL.
unsafe extern "C" fn evt_dpc(interrupt: WDFINTERRUPT, device: WDFOBJECT) {
    // SAFETY: the associated object is the device, live.
    let Some(context) = (unsafe { DeviceContext::of(device.cast()) }) else { return };
    // SAFETY: DPCs run at DISPATCH_LEVEL (KMDF-17).
    let mut dispatch = unsafe { Dispatch::assume() };
    context.statistics.dpcs.increment();
    let message = context.interrupts().iter().position(|known| *known == interrupt);
    let message = message.and_then(|message| u32::try_from(message).ok()).unwrap_or(0);
    let mask = context.registers.mask_of(message);
    transfer::pump_after(context, &mut dispatch, |state| {
        state.engine.check |= mask;
        true
    });
}

/// EvtTimerFunc of the watchdog: a run may be late. DISPATCH_LEVEL.
pub(crate) unsafe extern "C" fn evt_watchdog(timer: WDFTIMER) {
    // SAFETY: the framework's own argument; the device is its parent.
    let device = unsafe { call_unsafe_wdf_function_binding!(WdfTimerGetParentObject, timer) };
    // SAFETY: the parent is the device, live; the timer is started after device add.
    let Some(context) = (unsafe { DeviceContext::of(device.cast()) }) else { return };
    // SAFETY: timers without passive execution level run at DISPATCH_LEVEL.
    let mut dispatch = unsafe { Dispatch::assume() };
    {
        let mut state = context.state.lock(&dispatch);
        state.engine.armed = false;
        // With nothing under way it was set for something that has long ended.
        if state.engine.running != 0 || state.engine.resetting.is_some() {
            state.engine.expired = true;
            state.engine.check = u32::MAX;
        }
    }
    transfer::pump(context, &mut dispatch);
}
