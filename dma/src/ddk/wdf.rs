//! The initial values of KMDF's structures, as the `*_INIT` functions of its headers set them.

#![allow(non_snake_case, reason = "the names are the WDK's")]
#![allow(
    clippy::field_reassign_with_default,
    reason = "zero everything first, as the C functions do; bindings differ in their padding fields"
)]

use super::ContextType;
use crate::sys::{
    _WDF_EXECUTION_LEVEL, _WDF_FILEOBJECT_CLASS, _WDF_INTERRUPT_POLICY, _WDF_INTERRUPT_PRIORITY,
    _WDF_IO_QUEUE_DISPATCH_TYPE, _WDF_SYNCHRONIZATION_SCOPE, _WDF_TRI_STATE, BOOLEAN, PFN_WDF_DPC,
    PFN_WDF_DRIVER_DEVICE_ADD, PFN_WDF_INTERRUPT_DPC, PFN_WDF_INTERRUPT_ISR, PFN_WDF_TIMER, TRUE,
    ULONG, USHORT, WDF_DPC_CONFIG, WDF_DRIVER_CONFIG, WDF_FILEOBJECT_CONFIG, WDF_INTERRUPT_CONFIG,
    WDF_INTERRUPT_EXTENDED_POLICY, WDF_INTERRUPT_INFO, WDF_IO_QUEUE_CONFIG,
    WDF_IO_QUEUE_DISPATCH_TYPE, WDF_OBJECT_ATTRIBUTES, WDF_PNPPOWER_EVENT_CALLBACKS,
    WDF_REQUEST_PARAMETERS, WDF_TIMER_CONFIG,
};

const fn size<T>() -> ULONG {
    // CAST: sizes of small structures.
    size_of::<T>() as ULONG
}

/// Driver configuration with this device-add callback.
#[must_use]
pub fn WDF_DRIVER_CONFIG_INIT(add: PFN_WDF_DRIVER_DEVICE_ADD) -> WDF_DRIVER_CONFIG {
    let mut config = WDF_DRIVER_CONFIG::default();
    config.Size = size::<WDF_DRIVER_CONFIG>();
    config.EvtDriverDeviceAdd = add;
    config
}

/// Object attributes: level and scope inherited from the parent.
#[must_use]
pub fn WDF_OBJECT_ATTRIBUTES_INIT() -> WDF_OBJECT_ATTRIBUTES {
    let mut attributes = WDF_OBJECT_ATTRIBUTES::default();
    attributes.Size = size::<WDF_OBJECT_ATTRIBUTES>();
    attributes.ExecutionLevel = _WDF_EXECUTION_LEVEL::WdfExecutionLevelInheritFromParent;
    attributes.SynchronizationScope =
        _WDF_SYNCHRONIZATION_SCOPE::WdfSynchronizationScopeInheritFromParent;
    attributes
}

/// Object attributes with a context of this type.
#[must_use]
pub fn WDF_OBJECT_ATTRIBUTES_INIT_CONTEXT_TYPE<T>(
    context: &'static ContextType<T>,
) -> WDF_OBJECT_ATTRIBUTES {
    let mut attributes = WDF_OBJECT_ATTRIBUTES_INIT();
    attributes.ContextTypeInfo = context.info();
    attributes
}

/// PnP and power callbacks, all absent.
#[must_use]
pub fn WDF_PNPPOWER_EVENT_CALLBACKS_INIT() -> WDF_PNPPOWER_EVENT_CALLBACKS {
    let mut callbacks = WDF_PNPPOWER_EVENT_CALLBACKS::default();
    callbacks.Size = size::<WDF_PNPPOWER_EVENT_CALLBACKS>();
    callbacks
}

/// Interrupt configuration with these routines.
#[must_use]
pub fn WDF_INTERRUPT_CONFIG_INIT(
    isr: PFN_WDF_INTERRUPT_ISR,
    dpc: PFN_WDF_INTERRUPT_DPC,
) -> WDF_INTERRUPT_CONFIG {
    let mut config = WDF_INTERRUPT_CONFIG::default();
    config.Size = size::<WDF_INTERRUPT_CONFIG>();
    config.ShareVector = _WDF_TRI_STATE::WdfUseDefault;
    config.EvtInterruptIsr = isr;
    config.EvtInterruptDpc = dpc;
    config.ReportInactiveOnPowerDown = _WDF_TRI_STATE::WdfUseDefault;
    config
}

/// An interrupt information structure to be filled in.
#[must_use]
pub fn WDF_INTERRUPT_INFO_INIT() -> WDF_INTERRUPT_INFO {
    let mut info = WDF_INTERRUPT_INFO::default();
    info.Size = size::<WDF_INTERRUPT_INFO>();
    info
}

/// An interrupt's policy: the machine's default, with no priority of its own.
#[must_use]
pub fn WDF_INTERRUPT_EXTENDED_POLICY_INIT() -> WDF_INTERRUPT_EXTENDED_POLICY {
    let mut policy = WDF_INTERRUPT_EXTENDED_POLICY::default();
    policy.Size = size::<WDF_INTERRUPT_EXTENDED_POLICY>();
    policy.Policy = _WDF_INTERRUPT_POLICY::WdfIrqPolicyMachineDefault;
    policy.Priority = _WDF_INTERRUPT_PRIORITY::WdfIrqPriorityUndefined;
    policy
}

/// Configuration of a device's default queue. A parallel queue presents without a limit.
#[must_use]
pub fn WDF_IO_QUEUE_CONFIG_INIT_DEFAULT_QUEUE(
    dispatch: WDF_IO_QUEUE_DISPATCH_TYPE,
) -> WDF_IO_QUEUE_CONFIG {
    // SAFETY: integers, handles and optional functions only; zero is a value of each.
    let mut config: WDF_IO_QUEUE_CONFIG = unsafe { core::mem::zeroed() };
    config.Size = size::<WDF_IO_QUEUE_CONFIG>();
    config.PowerManaged = _WDF_TRI_STATE::WdfUseDefault;
    config.DispatchType = dispatch;
    // CAST: TRUE is 1.
    config.DefaultQueue = TRUE as BOOLEAN;
    if dispatch == _WDF_IO_QUEUE_DISPATCH_TYPE::WdfIoQueueDispatchParallel {
        config.Settings.Parallel.NumberOfPresentedRequests = ULONG::MAX;
    }
    config
}

/// File object configuration without callbacks.
#[must_use]
pub fn WDF_FILEOBJECT_CONFIG_INIT() -> WDF_FILEOBJECT_CONFIG {
    let mut config = WDF_FILEOBJECT_CONFIG::default();
    config.Size = size::<WDF_FILEOBJECT_CONFIG>();
    config.AutoForwardCleanupClose = _WDF_TRI_STATE::WdfUseDefault;
    config.FileObjectClass = _WDF_FILEOBJECT_CLASS::WdfFileObjectWdfCannotUseFsContexts;
    config
}

/// One-shot timer configuration.
#[must_use]
pub fn WDF_TIMER_CONFIG_INIT(callback: PFN_WDF_TIMER) -> WDF_TIMER_CONFIG {
    let mut config = WDF_TIMER_CONFIG::default();
    config.Size = size::<WDF_TIMER_CONFIG>();
    config.EvtTimerFunc = callback;
    // CAST: TRUE is 1.
    config.AutomaticSerialization = TRUE as BOOLEAN;
    config
}

/// DPC configuration.
#[must_use]
pub fn WDF_DPC_CONFIG_INIT(callback: PFN_WDF_DPC) -> WDF_DPC_CONFIG {
    let mut config = WDF_DPC_CONFIG::default();
    config.Size = size::<WDF_DPC_CONFIG>();
    config.EvtDpcFunc = callback;
    // CAST: TRUE is 1.
    config.AutomaticSerialization = TRUE as BOOLEAN;
    config
}

/// A request parameters structure to be filled in.
#[must_use]
pub fn WDF_REQUEST_PARAMETERS_INIT() -> WDF_REQUEST_PARAMETERS {
    let mut parameters = WDF_REQUEST_PARAMETERS::default();
    // CAST: the size of a small structure.
    parameters.Size = size_of::<WDF_REQUEST_PARAMETERS>() as USHORT;
    parameters
}
