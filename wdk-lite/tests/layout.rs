//! Layouts against literals: size, alignment and the offset of every field, for the 64-bit
//! Windows ABI. Sources: wdm.h and the pages of the structures (windows-driver-docs-ddi), the
//! public KMDF 1.33 headers (Windows-Driver-Frameworks, src/publicinc/wdf/kmdf/1.33).

use std::mem::{align_of, offset_of, size_of};

use wdk_lite::*;

macro_rules! layout {
    ($($test:ident: $ty:ident, $size:literal, $align:literal { $($field:ident $offset:literal),* $(,)? })*) => {
        $(#[test]
        #[allow(non_snake_case, reason = "named after the structure")]
        fn $test() {
            assert_eq!(size_of::<$ty>(), $size, concat!("size of ", stringify!($ty)));
            assert_eq!(align_of::<$ty>(), $align, concat!("alignment of ", stringify!($ty)));
            $(assert_eq!(
                offset_of!($ty, $field), $offset,
                concat!("offset of ", stringify!($ty), ".", stringify!($field))
            );)*
        })*
    };
}

layout! {
    large_integer: LARGE_INTEGER, 8, 8 { QuadPart 0, u 0 }
    guid: GUID, 16, 4 { Data1 0, Data2 4, Data3 6, Data4 8 }
    unicode_string: UNICODE_STRING, 16, 8 { Length 0, MaximumLength 2, Buffer 8 }
    mdl: MDL, 48, 8 {
        Next 0, Size 8, MdlFlags 10, Process 16, MappedSystemVa 24, StartVa 32, ByteCount 40,
        ByteOffset 44,
    }
    kdpc: KDPC, 64, 8 {}
    kevent: KEVENT, 24, 8 {}
    device_object: DEVICE_OBJECT, 336, 16 {
        Type 0, Size 2, ReferenceCount 4, DriverObject 8, NextDevice 16, AttachedDevice 24,
        CurrentIrp 32, Timer 40, Flags 48, Characteristics 52, Vpb 56, DeviceExtension 64,
        DeviceType 72, StackSize 76, Queue 80, AlignmentRequirement 152, DeviceQueue 160, Dpc 200,
        ActiveThreadCount 264, SecurityDescriptor 272, DeviceLock 280, SectorSize 304, Spare1 306,
        DeviceObjectExtension 312, Reserved 320,
    }
    driver_object: DRIVER_OBJECT, 336, 8 {
        Type 0, Size 2, DeviceObject 8, Flags 16, DriverStart 24, DriverSize 32, DriverSection 40,
        DriverExtension 48, DriverName 56, HardwareDatabase 72, FastIoDispatch 80, DriverInit 88,
        DriverStartIo 96, DriverUnload 104, MajorFunction 112,
    }
    driver_extension: DRIVER_EXTENSION, 40, 8 {
        DriverObject 0, AddDevice 8, Count 16, ServiceKeyName 24,
    }
    irp: IRP, 208, 16 {
        Type 0, Size 2, AllocationProcessorNumber 4, Reserved 6, MdlAddress 8, Flags 16,
        AssociatedIrp 24, ThreadListEntry 32, IoStatus 48, RequestorMode 64, PendingReturned 65,
        StackCount 66, CurrentLocation 67, Cancel 68, CancelIrql 69, ApcEnvironment 70,
        AllocationFlags 71, __bindgen_anon_1 72, UserEvent 80, Overlay 88, CancelRoutine 104,
        UserBuffer 112, Tail 120,
    }
    irp_tail: IRP_TAIL_OVERLAY, 88, 8 {
        __bindgen_anon_1 0, Thread 32, AuxiliaryBuffer 40, __bindgen_anon_2 48,
        OriginalFileObject 72, IrpExtension 80,
    }
    irp_tail_stack: IRP_TAIL_STACK, 24, 8 { ListEntry 0, __bindgen_anon_1 16 }
    irp_driver_context: IRP_DRIVER_CONTEXT, 32, 8 { DriverContext 0 }
    device_queue: KDEVICE_QUEUE, 40, 8 {}
    device_queue_entry: KDEVICE_QUEUE_ENTRY, 24, 8 { DeviceListEntry 0, SortKey 16, Inserted 20 }
    io_status_block: IO_STATUS_BLOCK, 16, 8 { __bindgen_anon_1 0, Information 8 }
    io_stack_location: IO_STACK_LOCATION, 72, 8 {
        MajorFunction 0, MinorFunction 1, Flags 2, Control 3, Parameters 8, DeviceObject 40,
        FileObject 48, CompletionRoutine 56, Context 64,
    }
    io_parameters_transfer: IO_PARAMETERS_TRANSFER, 24, 8 { Length 0, Key 8, ByteOffset 16 }
    io_parameters_write: IO_PARAMETERS_WRITE, 24, 8 { Length 0, Key 8, ByteOffset 16 }
    io_parameters_control: IO_PARAMETERS_CONTROL, 32, 8 {
        OutputBufferLength 0, InputBufferLength 8, IoControlCode 16, Type3InputBuffer 24,
    }
    io_parameters_start: IO_PARAMETERS_START, 16, 8 {
        AllocatedResources 0, AllocatedResourcesTranslated 8,
    }
    file_object: FILE_OBJECT, 216, 8 {
        Type 0, Size 2, DeviceObject 8, Vpb 16, FsContext 24, FsContext2 32,
    }
    full_resource_descriptor: CM_FULL_RESOURCE_DESCRIPTOR, 36, 4 {
        InterfaceType 0, BusNumber 4, PartialResourceList 8,
    }
    partial_resource_list: CM_PARTIAL_RESOURCE_LIST, 28, 4 {
        Version 0, Revision 2, Count 4, PartialDescriptors 8,
    }
    resource_list: CM_RESOURCE_LIST, 40, 4 { Count 0, List 4 }
    connect_interrupt: IO_CONNECT_INTERRUPT_PARAMETERS, 80, 8 { Version 0, __bindgen_anon_1 8 }
    connect_fully_specified: IO_CONNECT_INTERRUPT_FULLY_SPECIFIED_PARAMETERS, 72, 8 {
        PhysicalDeviceObject 0, InterruptObject 8, ServiceRoutine 16, ServiceContext 24,
        SpinLock 32, SynchronizeIrql 40, FloatingSave 41, ShareVector 42, Vector 44, Irql 48,
        InterruptMode 52, ProcessorEnableMask 56, Group 64,
    }
    connect_line_based: IO_CONNECT_INTERRUPT_LINE_BASED_PARAMETERS, 48, 8 {
        PhysicalDeviceObject 0, InterruptObject 8, ServiceRoutine 16, ServiceContext 24,
        SpinLock 32, SynchronizeIrql 40, FloatingSave 41,
    }
    disconnect_interrupt: IO_DISCONNECT_INTERRUPT_PARAMETERS, 16, 8 {
        Version 0, ConnectionContext 8,
    }
    device_description: DEVICE_DESCRIPTION, 64, 8 {
        Version 0, Master 4, ScatterGather 5, DemandMode 6, AutoInitialize 7, Dma32BitAddresses 8,
        IgnoreCount 9, Reserved1 10, Dma64BitAddresses 11, BusNumber 12, DmaChannel 16,
        InterfaceType 20, DmaWidth 24, DmaSpeed 28, MaximumLength 32, DmaPort 36,
        DmaAddressWidth 40, DmaControllerInstance 44, DmaRequestLine 48, DeviceAddress 56,
    }
    dma_adapter: DMA_ADAPTER, 16, 8 { Version 0, Size 2, DmaOperations 8 }
    dma_operations: DMA_OPERATIONS, 320, 8 {
        Size 0, PutDmaAdapter 8, AllocateCommonBuffer 16, FreeCommonBuffer 24,
        AllocateAdapterChannel 32, FlushAdapterBuffers 40, FreeAdapterChannel 48,
        FreeMapRegisters 56, MapTransfer 64, GetDmaAlignment 72, ReadDmaCounter 80,
        GetScatterGatherList 88, PutScatterGatherList 96, CalculateScatterGatherList 104,
        BuildScatterGatherList 112, BuildMdlFromScatterGatherList 120, GetDmaAdapterInfo 128,
        GetDmaTransferInfo 136, InitializeDmaTransferContext 144, AllocateCommonBufferEx 152,
        AllocateAdapterChannelEx 160, ConfigureAdapterChannel 168, CancelAdapterChannel 176,
        MapTransferEx 184, GetScatterGatherListEx 192, BuildScatterGatherListEx 200,
        FlushAdapterBuffersEx 208, FreeAdapterObject 216, CancelMappedTransfer 224,
        AllocateDomainCommonBuffer 232, FlushDmaBuffer 240, JoinDmaDomain 248, LeaveDmaDomain 256,
        GetDmaDomain 264, AllocateCommonBufferWithBounds 272, AllocateCommonBufferVector 280,
        GetCommonBufferFromVectorByIndex 288, FreeCommonBufferFromVector 296,
        FreeCommonBufferVector 304, CreateCommonBufferFromMdl 312,
    }
    scatter_gather_list: SCATTER_GATHER_LIST, 16, 8 { NumberOfElements 0, Reserved 8, Elements 16 }
    scatter_gather_element: SCATTER_GATHER_ELEMENT, 24, 8 { Address 0, Length 8, Reserved 16 }
    dma_adapter_info: DMA_ADAPTER_INFO, 24, 4 { Version 0, V1 4 }
    dma_adapter_info_v1: DMA_ADAPTER_INFO_V1, 20, 4 {
        ReadDmaCounterAvailable 0, ScatterGatherLimit 4, DmaAddressWidth 8, Flags 12,
        MinimumTransferUnit 16,
    }
    dma_transfer_info: DMA_TRANSFER_INFO, 20, 4 { Version 0, __bindgen_anon_1 4 }
    dma_transfer_info_v1: DMA_TRANSFER_INFO_V1, 12, 4 {
        MapRegisterCount 0, ScatterGatherElementCount 4, ScatterGatherListSize 8,
    }
    dma_transfer_info_v2: DMA_TRANSFER_INFO_V2, 16, 4 {
        MapRegisterCount 0, ScatterGatherElementCount 4, ScatterGatherListSize 8,
        LogicalPageCount 12,
    }
    partial_resource_descriptor: CM_PARTIAL_RESOURCE_DESCRIPTOR, 20, 4 {
        Type 0, ShareDisposition 1, Flags 2, u 4,
    }
    driver_globals: WDF_DRIVER_GLOBALS, 56, 8 {
        Driver 0, DriverFlags 8, DriverTag 12, DriverName 16, DisplaceDriverUnload 48,
    }
    driver_config: WDF_DRIVER_CONFIG, 32, 8 {
        Size 0, EvtDriverDeviceAdd 8, EvtDriverUnload 16, DriverInitFlags 24, DriverPoolTag 28,
    }
    object_attributes: WDF_OBJECT_ATTRIBUTES, 56, 8 {
        Size 0, EvtCleanupCallback 8, EvtDestroyCallback 16, ExecutionLevel 24,
        SynchronizationScope 28, ParentObject 32, ContextSizeOverride 40, ContextTypeInfo 48,
    }
    object_context_type_info: WDF_OBJECT_CONTEXT_TYPE_INFO, 40, 8 {
        Size 0, ContextName 8, ContextSize 16, UniqueType 24, EvtDriverGetUniqueContextType 32,
    }
    pnppower_event_callbacks: WDF_PNPPOWER_EVENT_CALLBACKS, 144, 8 {
        Size 0, EvtDeviceD0Entry 8, EvtDeviceD0EntryPostInterruptsEnabled 16, EvtDeviceD0Exit 24,
        EvtDeviceD0ExitPreInterruptsDisabled 32, EvtDevicePrepareHardware 40,
        EvtDeviceReleaseHardware 48, EvtDeviceSelfManagedIoCleanup 56,
        EvtDeviceSelfManagedIoFlush 64, EvtDeviceSelfManagedIoInit 72,
        EvtDeviceSelfManagedIoSuspend 80, EvtDeviceSelfManagedIoRestart 88,
        EvtDeviceSurpriseRemoval 96, EvtDeviceQueryRemove 104, EvtDeviceQueryStop 112,
        EvtDeviceUsageNotification 120, EvtDeviceRelationsQuery 128,
        EvtDeviceUsageNotificationEx 136,
    }
    interrupt_config: WDF_INTERRUPT_CONFIG, 104, 8 {
        Size 0, SpinLock 8, ShareVector 16, FloatingSave 20, AutomaticSerialization 21,
        EvtInterruptIsr 24, EvtInterruptDpc 32, EvtInterruptEnable 40, EvtInterruptDisable 48,
        EvtInterruptWorkItem 56, InterruptRaw 64, InterruptTranslated 72, WaitLock 80,
        PassiveHandling 88, ReportInactiveOnPowerDown 92, CanWakeDevice 96,
    }
    interrupt_info: WDF_INTERRUPT_INFO, 64, 8 {
        Size 0, Reserved1 8, TargetProcessorSet 16, Reserved2 24, MessageNumber 28, Vector 32,
        Irql 36, Mode 40, Polarity 44, MessageSignaled 48, ShareDisposition 49, Group 56,
    }
    interrupt_extended_policy: WDF_INTERRUPT_EXTENDED_POLICY, 32, 8 {
        Size 0, Policy 4, Priority 8, TargetProcessorSetAndGroup 16,
    }
    group_affinity: GROUP_AFFINITY, 16, 8 { Mask 0, Group 8, Reserved 10 }
    processor_number: PROCESSOR_NUMBER, 4, 2 { Group 0, Number 2, Reserved 3 }
    io_queue_config: WDF_IO_QUEUE_CONFIG, 96, 8 {
        Size 0, DispatchType 4, PowerManaged 8, AllowZeroLengthRequests 12, DefaultQueue 13,
        EvtIoDefault 16, EvtIoRead 24, EvtIoWrite 32, EvtIoDeviceControl 40,
        EvtIoInternalDeviceControl 48, EvtIoStop 56, EvtIoResume 64, EvtIoCanceledOnQueue 72,
        Settings 80, Driver 88,
    }
    fileobject_config: WDF_FILEOBJECT_CONFIG, 40, 8 {
        Size 0, EvtDeviceFileCreate 8, EvtFileClose 16, EvtFileCleanup 24,
        AutoForwardCleanupClose 32, FileObjectClass 36,
    }
    timer_config: WDF_TIMER_CONFIG, 40, 8 {
        Size 0, EvtTimerFunc 8, Period 16, AutomaticSerialization 20, TolerableDelay 24,
        UseHighResolutionTimer 32,
    }
    dpc_config: WDF_DPC_CONFIG, 24, 8 { Size 0, EvtDpcFunc 8, AutomaticSerialization 16 }
    workitem_config: WDF_WORKITEM_CONFIG, 24, 8 {
        Size 0, EvtWorkItemFunc 8, AutomaticSerialization 16,
    }
    dma_enabler_config: WDF_DMA_ENABLER_CONFIG, 80, 8 {
        Size 0, Profile 4, MaximumLength 8, EvtDmaEnablerFill 16, EvtDmaEnablerFlush 24,
        EvtDmaEnablerDisable 32, EvtDmaEnablerEnable 40, EvtDmaEnablerSelfManagedIoStart 48,
        EvtDmaEnablerSelfManagedIoStop 56, AddressWidthOverride 64, WdmDmaVersionOverride 68,
        Flags 72,
    }
    request_parameters: WDF_REQUEST_PARAMETERS, 40, 8 { Size 0, MinorFunction 2, Type 4, Parameters 8 }
}

/// The parts of the unions, which the driver reads through.
#[test]
fn unions_have_their_members_where_the_headers_put_them() {
    type Interrupt = _CM_PARTIAL_RESOURCE_DESCRIPTOR__bindgen_ty_1__bindgen_ty_3;
    type Memory = _CM_PARTIAL_RESOURCE_DESCRIPTOR__bindgen_ty_1__bindgen_ty_5;
    type Raw =
        _CM_PARTIAL_RESOURCE_DESCRIPTOR__bindgen_ty_1__bindgen_ty_4__bindgen_ty_1__bindgen_ty_1;
    assert_eq!(
        (size_of::<Interrupt>(), offset_of!(Interrupt, Vector), offset_of!(Interrupt, Affinity)),
        (16, 4, 8)
    );
    assert_eq!((size_of::<Memory>(), offset_of!(Memory, Length)), (12, 8));
    type Dma = _CM_PARTIAL_RESOURCE_DESCRIPTOR__bindgen_ty_1__bindgen_ty_6;
    type DmaV3 = _CM_PARTIAL_RESOURCE_DESCRIPTOR__bindgen_ty_1__bindgen_ty_7;
    assert_eq!((size_of::<Dma>(), offset_of!(Dma, Channel), offset_of!(Dma, Port)), (12, 0, 4));
    assert_eq!(
        (size_of::<DmaV3>(), offset_of!(DmaV3, RequestLine), offset_of!(DmaV3, TransferWidth)),
        (12, 4, 8)
    );
    assert_eq!(
        (size_of::<Raw>(), offset_of!(Raw, MessageCount), offset_of!(Raw, Vector)),
        (16, 2, 4)
    );
    type ReadWrite = _WDF_REQUEST_PARAMETERS__bindgen_ty_1__bindgen_ty_2;
    assert_eq!(
        (
            offset_of!(ReadWrite, Length),
            offset_of!(ReadWrite, Key),
            offset_of!(ReadWrite, DeviceOffset)
        ),
        (0, 8, 16)
    );
    type Ioctl = _WDF_REQUEST_PARAMETERS__bindgen_ty_1__bindgen_ty_4;
    assert_eq!(
        (
            offset_of!(Ioctl, OutputBufferLength),
            offset_of!(Ioctl, InputBufferLength),
            offset_of!(Ioctl, IoControlCode),
            offset_of!(Ioctl, Type3InputBuffer)
        ),
        (0, 8, 16, 24)
    );
}

/// Table indices against literals of wdffuncenum.h: one of each region, the first and the last
/// used.
#[test]
fn framework_functions_have_their_table_indices() {
    macro_rules! indices {
        ($($index:literal => fn $name:ident($($arg:ident: $ty:ty),*) -> $ret:ty;)*) => {
            [$((stringify!($name), $index)),*]
        };
    }
    let list = wdk_lite::wdf_functions!(indices);
    let index = |name: &str| list.iter().find(|f| f.0 == name).expect("is in the list").1;
    for (name, expected) in [
        ("WdfDeviceWdmGetDeviceObject", 31),
        ("WdfDeviceCreate", 75),
        ("WdfDriverCreate", 116),
        ("WdfInterruptCreate", 141),
        ("WdfIoQueueCreate", 152),
        ("WdfObjectGetTypedContextWorker", 202),
        ("WdfRequestComplete", 263),
        ("WdfSpinLockAcquire", 316),
        ("WdfTimerCreate", 318),
        ("WdfWorkItemEnqueue", 380),
        ("WdfDmaEnablerWdmGetDmaAdapter", 385),
        ("WdfInterruptSetExtendedPolicy", 389),
        ("WdfRequestMarkCancelableEx", 393),
    ] {
        assert_eq!(index(name), expected, "{name}");
    }
    assert!(list.iter().all(|f| f.1 < WDF_FUNCTION_COUNT), "every index is in the table");
    assert!(list.windows(2).all(|w| w[0].1 < w[1].1), "the list is sorted and has no duplicate");
}
