//! KMDF 1.33 types in wdk-sys's names and shapes (64-bit Windows).

use crate::types::*;

macro_rules! handles {
    ($($name:ident, $target:ident;)*) => {
        $(#[doc = concat!("What a [`", stringify!($name), "`] points to; private to the framework.")]
          #[repr(C)]
          #[derive(Debug)]
          pub struct $target { _unused: [u8; 0] }
          #[doc = concat!("The framework handle `", stringify!($name), "`.")]
          pub type $name = *mut $target;)*
    };
}

handles! {
    WDFDRIVER, WDFDRIVER__; WDFDEVICE, WDFDEVICE__; WDFQUEUE, WDFQUEUE__;
    WDFREQUEST, WDFREQUEST__; WDFFILEOBJECT, WDFFILEOBJECT__; WDFINTERRUPT, WDFINTERRUPT__;
    WDFSPINLOCK, WDFSPINLOCK__; WDFWAITLOCK, WDFWAITLOCK__; WDFTIMER, WDFTIMER__;
    WDFDPC, WDFDPC__; WDFWORKITEM, WDFWORKITEM__; WDFCMRESLIST, WDFCMRESLIST__;
    WDFDMAENABLER, WDFDMAENABLER__; WDFMEMORY, WDFMEMORY__;
    PWDFDEVICE_INIT, WDFDEVICE_INIT;
}

alias! {
    WDFOBJECT = HANDLE; WDFCONTEXT = PVOID;
    PWDF_DRIVER_GLOBALS = *mut WDF_DRIVER_GLOBALS; WDF_DRIVER_GLOBALS = _WDF_DRIVER_GLOBALS;
    WDF_DRIVER_CONFIG = _WDF_DRIVER_CONFIG; PWDF_DRIVER_CONFIG = *mut _WDF_DRIVER_CONFIG;
    WDF_OBJECT_ATTRIBUTES = _WDF_OBJECT_ATTRIBUTES;
    PWDF_OBJECT_ATTRIBUTES = *mut _WDF_OBJECT_ATTRIBUTES;
    WDF_OBJECT_CONTEXT_TYPE_INFO = _WDF_OBJECT_CONTEXT_TYPE_INFO;
    PCWDF_OBJECT_CONTEXT_TYPE_INFO = *const _WDF_OBJECT_CONTEXT_TYPE_INFO;
    WDF_PNPPOWER_EVENT_CALLBACKS = _WDF_PNPPOWER_EVENT_CALLBACKS;
    PWDF_PNPPOWER_EVENT_CALLBACKS = *mut _WDF_PNPPOWER_EVENT_CALLBACKS;
    WDF_INTERRUPT_CONFIG = _WDF_INTERRUPT_CONFIG;
    PWDF_INTERRUPT_CONFIG = *mut _WDF_INTERRUPT_CONFIG;
    WDF_INTERRUPT_INFO = _WDF_INTERRUPT_INFO; PWDF_INTERRUPT_INFO = *mut _WDF_INTERRUPT_INFO;
    WDF_INTERRUPT_EXTENDED_POLICY = _WDF_INTERRUPT_EXTENDED_POLICY;
    PWDF_INTERRUPT_EXTENDED_POLICY = *mut _WDF_INTERRUPT_EXTENDED_POLICY;
    WDF_IO_QUEUE_CONFIG = _WDF_IO_QUEUE_CONFIG; PWDF_IO_QUEUE_CONFIG = *mut _WDF_IO_QUEUE_CONFIG;
    WDF_FILEOBJECT_CONFIG = _WDF_FILEOBJECT_CONFIG;
    PWDF_FILEOBJECT_CONFIG = *mut _WDF_FILEOBJECT_CONFIG;
    WDF_TIMER_CONFIG = _WDF_TIMER_CONFIG; PWDF_TIMER_CONFIG = *mut _WDF_TIMER_CONFIG;
    WDF_DPC_CONFIG = _WDF_DPC_CONFIG; PWDF_DPC_CONFIG = *mut _WDF_DPC_CONFIG;
    WDF_WORKITEM_CONFIG = _WDF_WORKITEM_CONFIG; PWDF_WORKITEM_CONFIG = *mut _WDF_WORKITEM_CONFIG;
    WDF_DMA_ENABLER_CONFIG = _WDF_DMA_ENABLER_CONFIG;
    PWDF_DMA_ENABLER_CONFIG = *mut _WDF_DMA_ENABLER_CONFIG;
    WDF_REQUEST_PARAMETERS = _WDF_REQUEST_PARAMETERS;
    PWDF_REQUEST_PARAMETERS = *mut _WDF_REQUEST_PARAMETERS;
}

enumeration! {
    _WDF_TRI_STATE as WDF_TRI_STATE { WdfFalse = 0, WdfTrue = 1, WdfUseDefault = 2 }
    _WDF_EXECUTION_LEVEL as WDF_EXECUTION_LEVEL {
        WdfExecutionLevelInvalid = 0, WdfExecutionLevelInheritFromParent = 1,
        WdfExecutionLevelPassive = 2, WdfExecutionLevelDispatch = 3,
    }
    _WDF_SYNCHRONIZATION_SCOPE as WDF_SYNCHRONIZATION_SCOPE {
        WdfSynchronizationScopeInvalid = 0, WdfSynchronizationScopeInheritFromParent = 1,
        WdfSynchronizationScopeDevice = 2, WdfSynchronizationScopeQueue = 3,
        WdfSynchronizationScopeNone = 4,
    }
    _WDF_IO_QUEUE_DISPATCH_TYPE as WDF_IO_QUEUE_DISPATCH_TYPE {
        WdfIoQueueDispatchInvalid = 0, WdfIoQueueDispatchSequential = 1,
        WdfIoQueueDispatchParallel = 2, WdfIoQueueDispatchManual = 3, WdfIoQueueDispatchMax = 4,
    }
    _WDF_DEVICE_IO_TYPE as WDF_DEVICE_IO_TYPE {
        WdfDeviceIoUndefined = 0, WdfDeviceIoNeither = 1, WdfDeviceIoBuffered = 2,
        WdfDeviceIoDirect = 3, WdfDeviceIoBufferedOrDirect = 4, WdfDeviceIoMaximum = 5,
    }
    _WDF_POWER_DEVICE_STATE as WDF_POWER_DEVICE_STATE {
        WdfPowerDeviceInvalid = 0, WdfPowerDeviceD0 = 1, WdfPowerDeviceD1 = 2,
        WdfPowerDeviceD2 = 3, WdfPowerDeviceD3 = 4, WdfPowerDeviceD3Final = 5,
        WdfPowerDevicePrepareForHibernation = 6, WdfPowerDeviceMaximum = 7,
    }
    _WDF_REQUEST_TYPE as WDF_REQUEST_TYPE {
        WdfRequestTypeCreate = 0, WdfRequestTypeClose = 2, WdfRequestTypeRead = 3,
        WdfRequestTypeWrite = 4, WdfRequestTypeDeviceControl = 14,
        WdfRequestTypeDeviceControlInternal = 15, WdfRequestTypeCleanup = 18,
    }
    _WDF_REQUEST_STOP_ACTION_FLAGS as WDF_REQUEST_STOP_ACTION_FLAGS {
        WdfRequestStopActionInvalid = 0, WdfRequestStopActionSuspend = 1,
        WdfRequestStopActionPurge = 2, WdfRequestStopRequestCancelable = 0x1000_0000,
    }
    _WDF_DEVICE_FAILED_ACTION as WDF_DEVICE_FAILED_ACTION {
        WdfDeviceFailedUndefined = 0, WdfDeviceFailedAttemptRestart = 1,
        WdfDeviceFailedNoRestart = 2,
    }
    _WDF_FILEOBJECT_CLASS as WDF_FILEOBJECT_CLASS {
        WdfFileObjectInvalid = 0, WdfFileObjectNotRequired = 1,
        WdfFileObjectWdfCanUseFsContext = 2, WdfFileObjectWdfCanUseFsContext2 = 3,
        WdfFileObjectWdfCannotUseFsContexts = 4,
    }
    _WDF_INTERRUPT_POLARITY as WDF_INTERRUPT_POLARITY {
        WdfInterruptPolarityUnknown = 0, WdfInterruptActiveHigh = 1, WdfInterruptActiveLow = 2,
    }
    _WDF_INTERRUPT_POLICY as WDF_INTERRUPT_POLICY {
        WdfIrqPolicyMachineDefault = 0, WdfIrqPolicyAllCloseProcessors = 1,
        WdfIrqPolicyOneCloseProcessor = 2, WdfIrqPolicyAllProcessorsInMachine = 3,
        WdfIrqPolicySpecifiedProcessors = 4, WdfIrqPolicySpreadMessagesAcrossAllProcessors = 5,
    }
    _WDF_INTERRUPT_PRIORITY as WDF_INTERRUPT_PRIORITY {
        WdfIrqPriorityUndefined = 0, WdfIrqPriorityLow = 1, WdfIrqPriorityNormal = 2,
        WdfIrqPriorityHigh = 3,
    }
    _WDF_DMA_PROFILE as WDF_DMA_PROFILE {
        WdfDmaProfileInvalid = 0, WdfDmaProfilePacket = 1, WdfDmaProfileScatterGather = 2,
        WdfDmaProfilePacket64 = 3, WdfDmaProfileScatterGather64 = 4,
        WdfDmaProfileScatterGatherDuplex = 5, WdfDmaProfileScatterGather64Duplex = 6,
        WdfDmaProfileSystem = 7, WdfDmaProfileSystemDuplex = 8,
    }
    _WDF_DMA_DIRECTION as WDF_DMA_DIRECTION {
        WdfDmaDirectionReadFromDevice = 0, WdfDmaDirectionWriteToDevice = 1,
    }
}

/// Declares a structure of which every field is documented by its name in the WDK headers, with
/// an all-zero default as wdk-sys gives it.
macro_rules! wdf_struct {
    ($($(#[$meta:meta])* struct $name:ident { $($field:ident: $ty:ty,)* })*) => {
        $($(#[$meta])*
          #[repr(C)]
          #[derive(Clone, Copy, Debug)]
          pub struct $name {
              $(#[doc = concat!("`", stringify!($field), "`.")] pub $field: $ty,)*
          }
          impl Default for $name {
              fn default() -> Self {
                  // SAFETY: integers, raw pointers and optional functions only; zero is a value
                  // of each.
                  unsafe { core::mem::zeroed() }
              }
          })*
    };
}

wdf_struct! {
    /// Per-driver data the framework owns; first argument of every table call.
    struct _WDF_DRIVER_GLOBALS {
        Driver: WDFDRIVER,
        DriverFlags: ULONG,
        DriverTag: ULONG,
        DriverName: [CHAR; 32],
        DisplaceDriverUnload: BOOLEAN,
    }
    /// `WdfDriverCreate`'s configuration.
    struct _WDF_DRIVER_CONFIG {
        Size: ULONG,
        EvtDriverDeviceAdd: PFN_WDF_DRIVER_DEVICE_ADD,
        EvtDriverUnload: PFN_WDF_DRIVER_UNLOAD,
        DriverInitFlags: ULONG,
        DriverPoolTag: ULONG,
    }
    /// Attributes of any object.
    struct _WDF_OBJECT_ATTRIBUTES {
        Size: ULONG,
        EvtCleanupCallback: PFN_WDF_OBJECT_CONTEXT_CLEANUP,
        EvtDestroyCallback: PFN_WDF_OBJECT_CONTEXT_DESTROY,
        ExecutionLevel: WDF_EXECUTION_LEVEL,
        SynchronizationScope: WDF_SYNCHRONIZATION_SCOPE,
        ParentObject: WDFOBJECT,
        ContextSizeOverride: usize,
        ContextTypeInfo: PCWDF_OBJECT_CONTEXT_TYPE_INFO,
    }
    /// Identifies a context type by its address.
    struct _WDF_OBJECT_CONTEXT_TYPE_INFO {
        Size: ULONG,
        ContextName: LPCSTR,
        ContextSize: usize,
        UniqueType: PCWDF_OBJECT_CONTEXT_TYPE_INFO,
        EvtDriverGetUniqueContextType: PFN_GET_UNIQUE_CONTEXT_TYPE,
    }
    /// The PnP and power callbacks.
    struct _WDF_PNPPOWER_EVENT_CALLBACKS {
        Size: ULONG,
        EvtDeviceD0Entry: PFN_WDF_DEVICE_D0_ENTRY,
        EvtDeviceD0EntryPostInterruptsEnabled: PFN_WDF_DEVICE_D0_ENTRY_POST_INTERRUPTS_ENABLED,
        EvtDeviceD0Exit: PFN_WDF_DEVICE_D0_EXIT,
        EvtDeviceD0ExitPreInterruptsDisabled: PFN_WDF_DEVICE_D0_EXIT_PRE_INTERRUPTS_DISABLED,
        EvtDevicePrepareHardware: PFN_WDF_DEVICE_PREPARE_HARDWARE,
        EvtDeviceReleaseHardware: PFN_WDF_DEVICE_RELEASE_HARDWARE,
        EvtDeviceSelfManagedIoCleanup: PFN_WDF_DEVICE_SELF_MANAGED_IO_CLEANUP,
        EvtDeviceSelfManagedIoFlush: PFN_WDF_DEVICE_SELF_MANAGED_IO_FLUSH,
        EvtDeviceSelfManagedIoInit: PFN_WDF_DEVICE_SELF_MANAGED_IO_INIT,
        EvtDeviceSelfManagedIoSuspend: PFN_WDF_DEVICE_SELF_MANAGED_IO_SUSPEND,
        EvtDeviceSelfManagedIoRestart: PFN_WDF_DEVICE_SELF_MANAGED_IO_RESTART,
        EvtDeviceSurpriseRemoval: PFN_WDF_DEVICE_SURPRISE_REMOVAL,
        EvtDeviceQueryRemove: PFN_WDF_DEVICE_QUERY_REMOVE,
        EvtDeviceQueryStop: PFN_WDF_DEVICE_QUERY_STOP,
        EvtDeviceUsageNotification: PFN_WDF_DEVICE_USAGE_NOTIFICATION,
        EvtDeviceRelationsQuery: PFN_WDF_DEVICE_RELATIONS_QUERY,
        EvtDeviceUsageNotificationEx: PFN_WDF_DEVICE_USAGE_NOTIFICATION_EX,
    }
    /// `WdfInterruptCreate`'s configuration.
    struct _WDF_INTERRUPT_CONFIG {
        Size: ULONG,
        SpinLock: WDFSPINLOCK,
        ShareVector: WDF_TRI_STATE,
        FloatingSave: BOOLEAN,
        AutomaticSerialization: BOOLEAN,
        EvtInterruptIsr: PFN_WDF_INTERRUPT_ISR,
        EvtInterruptDpc: PFN_WDF_INTERRUPT_DPC,
        EvtInterruptEnable: PFN_WDF_INTERRUPT_ENABLE,
        EvtInterruptDisable: PFN_WDF_INTERRUPT_DISABLE,
        EvtInterruptWorkItem: PFN_WDF_INTERRUPT_WORKITEM,
        InterruptRaw: PCM_PARTIAL_RESOURCE_DESCRIPTOR,
        InterruptTranslated: PCM_PARTIAL_RESOURCE_DESCRIPTOR,
        WaitLock: WDFWAITLOCK,
        PassiveHandling: BOOLEAN,
        ReportInactiveOnPowerDown: WDF_TRI_STATE,
        CanWakeDevice: BOOLEAN,
    }
    /// What `WdfInterruptGetInfo` tells; `Group` is 8-aligned in C.
    struct _WDF_INTERRUPT_INFO {
        Size: ULONG,
        Reserved1: ULONG64,
        TargetProcessorSet: KAFFINITY,
        Reserved2: ULONG,
        MessageNumber: ULONG,
        Vector: ULONG,
        Irql: KIRQL,
        Mode: KINTERRUPT_MODE,
        Polarity: WDF_INTERRUPT_POLARITY,
        MessageSignaled: BOOLEAN,
        ShareDisposition: UCHAR,
        __bindgen_padding_0: [u8; 6],
        Group: USHORT,
        __bindgen_padding_1: [u16; 3],
    }
    /// What `WdfInterruptSetExtendedPolicy` is told.
    struct _WDF_INTERRUPT_EXTENDED_POLICY {
        Size: ULONG,
        Policy: WDF_INTERRUPT_POLICY,
        Priority: WDF_INTERRUPT_PRIORITY,
        TargetProcessorSetAndGroup: GROUP_AFFINITY,
    }
    /// `WdfIoQueueCreate`'s configuration.
    struct _WDF_IO_QUEUE_CONFIG {
        Size: ULONG,
        DispatchType: WDF_IO_QUEUE_DISPATCH_TYPE,
        PowerManaged: WDF_TRI_STATE,
        AllowZeroLengthRequests: BOOLEAN,
        DefaultQueue: BOOLEAN,
        EvtIoDefault: PFN_WDF_IO_QUEUE_IO_DEFAULT,
        EvtIoRead: PFN_WDF_IO_QUEUE_IO_READ,
        EvtIoWrite: PFN_WDF_IO_QUEUE_IO_WRITE,
        EvtIoDeviceControl: PFN_WDF_IO_QUEUE_IO_DEVICE_CONTROL,
        EvtIoInternalDeviceControl: PFN_WDF_IO_QUEUE_IO_INTERNAL_DEVICE_CONTROL,
        EvtIoStop: PFN_WDF_IO_QUEUE_IO_STOP,
        EvtIoResume: PFN_WDF_IO_QUEUE_IO_RESUME,
        EvtIoCanceledOnQueue: PFN_WDF_IO_QUEUE_IO_CANCELED_ON_QUEUE,
        Settings: _WDF_IO_QUEUE_CONFIG__bindgen_ty_1,
        Driver: WDFDRIVER,
    }
    /// Parameters of a parallel queue.
    struct _WDF_IO_QUEUE_CONFIG__bindgen_ty_1__bindgen_ty_1 {
        NumberOfPresentedRequests: ULONG,
    }
    /// `WdfDeviceInitSetFileObjectConfig`'s configuration.
    struct _WDF_FILEOBJECT_CONFIG {
        Size: ULONG,
        EvtDeviceFileCreate: PFN_WDF_DEVICE_FILE_CREATE,
        EvtFileClose: PFN_WDF_FILE_CLOSE,
        EvtFileCleanup: PFN_WDF_FILE_CLEANUP,
        AutoForwardCleanupClose: WDF_TRI_STATE,
        FileObjectClass: WDF_FILEOBJECT_CLASS,
    }
    /// `WdfTimerCreate`'s configuration; the last member is 8-aligned in C.
    struct _WDF_TIMER_CONFIG {
        Size: ULONG,
        EvtTimerFunc: PFN_WDF_TIMER,
        Period: ULONG,
        AutomaticSerialization: BOOLEAN,
        TolerableDelay: ULONG,
        __bindgen_padding_0: [u8; 4],
        UseHighResolutionTimer: BOOLEAN,
        __bindgen_padding_1: [u8; 7],
    }
    /// `WdfDpcCreate`'s configuration.
    struct _WDF_DPC_CONFIG {
        Size: ULONG,
        EvtDpcFunc: PFN_WDF_DPC,
        AutomaticSerialization: BOOLEAN,
    }
    /// `WdfWorkItemCreate`'s configuration.
    struct _WDF_WORKITEM_CONFIG {
        Size: ULONG,
        EvtWorkItemFunc: PFN_WDF_WORKITEM,
        AutomaticSerialization: BOOLEAN,
    }
    /// `WdfDmaEnablerCreate`'s configuration.
    struct _WDF_DMA_ENABLER_CONFIG {
        Size: ULONG,
        Profile: WDF_DMA_PROFILE,
        MaximumLength: usize,
        EvtDmaEnablerFill: PFN_WDF_DMA_ENABLER_CALLBACK,
        EvtDmaEnablerFlush: PFN_WDF_DMA_ENABLER_CALLBACK,
        EvtDmaEnablerDisable: PFN_WDF_DMA_ENABLER_CALLBACK,
        EvtDmaEnablerEnable: PFN_WDF_DMA_ENABLER_CALLBACK,
        EvtDmaEnablerSelfManagedIoStart: PFN_WDF_DMA_ENABLER_CALLBACK,
        EvtDmaEnablerSelfManagedIoStop: PFN_WDF_DMA_ENABLER_CALLBACK,
        AddressWidthOverride: ULONG,
        WdmDmaVersionOverride: ULONG,
        Flags: ULONG,
    }
    /// Parameters of a read or write.
    struct _WDF_REQUEST_PARAMETERS__bindgen_ty_1__bindgen_ty_2 {
        Length: usize,
        Key: ULONG,
        DeviceOffset: LONGLONG,
    }
    /// Parameters of a device control request.
    struct _WDF_REQUEST_PARAMETERS__bindgen_ty_1__bindgen_ty_4 {
        OutputBufferLength: usize,
        InputBufferLength: usize,
        IoControlCode: ULONG,
        Type3InputBuffer: PVOID,
    }
}

/// Settings by dispatch type.
#[repr(C)]
#[derive(Clone, Copy)]
pub union _WDF_IO_QUEUE_CONFIG__bindgen_ty_1 {
    /// Of a parallel queue.
    pub Parallel: _WDF_IO_QUEUE_CONFIG__bindgen_ty_1__bindgen_ty_1,
}

impl core::fmt::Debug for _WDF_IO_QUEUE_CONFIG__bindgen_ty_1 {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        // SAFETY: the only member is an integer.
        unsafe { self.Parallel }.fmt(f)
    }
}

/// Parameters of a request, by type.
#[repr(C)]
#[derive(Clone, Copy)]
pub union _WDF_REQUEST_PARAMETERS__bindgen_ty_1 {
    /// Of a read.
    pub Read: _WDF_REQUEST_PARAMETERS__bindgen_ty_1__bindgen_ty_2,
    /// Of a write.
    pub Write: _WDF_REQUEST_PARAMETERS__bindgen_ty_1__bindgen_ty_2,
    /// Of a device control request.
    pub DeviceIoControl: _WDF_REQUEST_PARAMETERS__bindgen_ty_1__bindgen_ty_4,
    /// The raw words.
    pub Others: [usize; 4],
}

/// `WdfRequestGetParameters`' answer.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct _WDF_REQUEST_PARAMETERS {
    /// `Size`.
    pub Size: USHORT,
    /// `MinorFunction`.
    pub MinorFunction: UCHAR,
    /// `Type`.
    pub Type: WDF_REQUEST_TYPE,
    /// `Parameters`.
    pub Parameters: _WDF_REQUEST_PARAMETERS__bindgen_ty_1,
}

impl Default for _WDF_REQUEST_PARAMETERS {
    fn default() -> Self {
        Self {
            Size: 0,
            MinorFunction: 0,
            Type: 0,
            Parameters: _WDF_REQUEST_PARAMETERS__bindgen_ty_1 { Others: [0; 4] },
        }
    }
}
