//! The lists of every crossing between driver and kernel.
//!
//! Each macro hands its list to the macro named by the caller, so that one list serves
//! declarations, tables and wrappers alike.

/// The kernel functions, `fn Name(Argument: Type, ...) -> Result;`, exported by `ntoskrnl.exe`.
#[macro_export]
macro_rules! kernel_exports {
    ($expand:ident) => {
        $expand! {
            fn ExAllocatePool2(Flags: POOL_FLAGS, NumberOfBytes: SIZE_T, Tag: ULONG) -> PVOID;
            fn ExFreePoolWithTag(P: PVOID, Tag: ULONG) -> ();
            fn IoAcquireCancelSpinLock(Irql: PKIRQL) -> ();
            fn IoAllocateMdl(VirtualAddress: PVOID, Length: ULONG, SecondaryBuffer: BOOLEAN, ChargeQuota: BOOLEAN, Irp: PIRP) -> PMDL;
            fn IoAttachDeviceToDeviceStack(SourceDevice: PDEVICE_OBJECT, TargetDevice: PDEVICE_OBJECT) -> PDEVICE_OBJECT;
            fn IoBuildPartialMdl(SourceMdl: PMDL, TargetMdl: PMDL, VirtualAddress: PVOID, Length: ULONG) -> ();
            fn IoConnectInterruptEx(Parameters: PIO_CONNECT_INTERRUPT_PARAMETERS) -> NTSTATUS;
            fn IoCreateDevice(DriverObject: PDRIVER_OBJECT, DeviceExtensionSize: ULONG, DeviceName: PUNICODE_STRING, DeviceType: ULONG, DeviceCharacteristics: ULONG, Exclusive: BOOLEAN, DeviceObject: *mut PDEVICE_OBJECT) -> NTSTATUS;
            fn IoCreateSymbolicLink(SymbolicLinkName: PUNICODE_STRING, DeviceName: PUNICODE_STRING) -> NTSTATUS;
            fn IoDeleteDevice(DeviceObject: PDEVICE_OBJECT) -> ();
            fn IoDeleteSymbolicLink(SymbolicLinkName: PUNICODE_STRING) -> NTSTATUS;
            fn IoDetachDevice(TargetDevice: PDEVICE_OBJECT) -> ();
            fn IoDisconnectInterruptEx(Parameters: PIO_DISCONNECT_INTERRUPT_PARAMETERS) -> ();
            fn IoFreeMdl(Mdl: PMDL) -> ();
            fn IoGetDmaAdapter(PhysicalDeviceObject: PDEVICE_OBJECT, DeviceDescription: *mut _DEVICE_DESCRIPTION, NumberOfMapRegisters: PULONG) -> *mut _DMA_ADAPTER;
            fn IoReleaseCancelSpinLock(Irql: KIRQL) -> ();
            fn IofCallDriver(DeviceObject: PDEVICE_OBJECT, Irp: PIRP) -> NTSTATUS;
            fn IofCompleteRequest(Irp: PIRP, PriorityBoost: CCHAR) -> ();
            fn KeAcquireSpinLockAtDpcLevel(SpinLock: PKSPIN_LOCK) -> ();
            fn KeAcquireSpinLockRaiseToDpc(SpinLock: PKSPIN_LOCK) -> KIRQL;
            fn KeClearEvent(Event: PRKEVENT) -> ();
            fn KeDelayExecutionThread(WaitMode: KPROCESSOR_MODE, Alertable: BOOLEAN, Interval: PLARGE_INTEGER) -> NTSTATUS;
            fn KeFlushIoBuffers(Mdl: PMDL, ReadOperation: BOOLEAN, DmaOperation: BOOLEAN) -> ();
            fn KeFlushQueuedDpcs() -> ();
            fn KeGetCurrentIrql() -> KIRQL;
            fn KeGetCurrentProcessorNumberEx(ProcNumber: PPROCESSOR_NUMBER) -> ULONG;
            fn KeInitializeDpc(Dpc: PRKDPC, DeferredRoutine: PKDEFERRED_ROUTINE, DeferredContext: PVOID) -> ();
            fn KeInitializeEvent(Event: PRKEVENT, Type: EVENT_TYPE, State: BOOLEAN) -> ();
            fn KeInitializeSpinLock(SpinLock: PKSPIN_LOCK) -> ();
            fn KeInsertQueueDpc(Dpc: PRKDPC, SystemArgument1: PVOID, SystemArgument2: PVOID) -> BOOLEAN;
            fn KeLowerIrql(NewIrql: KIRQL) -> ();
            fn KeQueryActiveProcessorCountEx(GroupNumber: USHORT) -> ULONG;
            fn KeQueryInterruptTimePrecise(QpcTimeStamp: PULONG64) -> ULONG64;
            fn KeReleaseSpinLock(SpinLock: PKSPIN_LOCK, NewIrql: KIRQL) -> ();
            fn KeReleaseSpinLockFromDpcLevel(SpinLock: PKSPIN_LOCK) -> ();
            fn KeSetEvent(Event: PRKEVENT, Increment: KPRIORITY, Wait: BOOLEAN) -> LONG;
            fn KeStallExecutionProcessor(MicroSeconds: ULONG) -> ();
            fn KeWaitForSingleObject(Object: PVOID, WaitReason: KWAIT_REASON, WaitMode: KPROCESSOR_MODE, Alertable: BOOLEAN, Timeout: PLARGE_INTEGER) -> NTSTATUS;
            fn KfRaiseIrql(NewIrql: KIRQL) -> KIRQL;
            fn MmBuildMdlForNonPagedPool(MemoryDescriptorList: PMDL) -> ();
            fn MmGetPhysicalAddress(BaseAddress: PVOID) -> PHYSICAL_ADDRESS;
            fn MmMapIoSpaceEx(PhysicalAddress: PHYSICAL_ADDRESS, NumberOfBytes: SIZE_T, Protect: ULONG) -> PVOID;
            fn MmMapLockedPagesSpecifyCache(MemoryDescriptorList: PMDL, AccessMode: KPROCESSOR_MODE, CacheType: MEMORY_CACHING_TYPE, RequestedAddress: PVOID, BugCheckOnFailure: ULONG, Priority: ULONG) -> PVOID;
            fn MmProbeAndLockPages(MemoryDescriptorList: PMDL, AccessMode: KPROCESSOR_MODE, Operation: LOCK_OPERATION) -> ();
            fn MmUnlockPages(MemoryDescriptorList: PMDL) -> ();
            fn MmUnmapIoSpace(BaseAddress: PVOID, NumberOfBytes: SIZE_T) -> ();
            fn MmUnmapLockedPages(BaseAddress: PVOID, MemoryDescriptorList: PMDL) -> ();
        }
    };
}

/// The KMDF functions, `index => fn Name(Argument: Type, ...) -> Result;`: the index in the KMDF
/// 1.33 function table and the arguments without the leading driver globals.
#[macro_export]
macro_rules! wdf_functions {
    ($expand:ident) => {
        $expand! {
            31 => fn WdfDeviceWdmGetDeviceObject(Device: WDFDEVICE) -> PDEVICE_OBJECT;
            33 => fn WdfDeviceWdmGetPhysicalDevice(Device: WDFDEVICE) -> PDEVICE_OBJECT;
            39 => fn WdfDeviceGetDriver(Device: WDFDEVICE) -> WDFDRIVER;
            55 => fn WdfDeviceInitSetPnpPowerEventCallbacks(DeviceInit: PWDFDEVICE_INIT, PnpPowerEventCallbacks: PWDF_PNPPOWER_EVENT_CALLBACKS) -> ();
            61 => fn WdfDeviceInitSetIoType(DeviceInit: PWDFDEVICE_INIT, IoType: WDF_DEVICE_IO_TYPE) -> ();
            62 => fn WdfDeviceInitSetExclusive(DeviceInit: PWDFDEVICE_INIT, IsExclusive: BOOLEAN) -> ();
            66 => fn WdfDeviceInitSetDeviceType(DeviceInit: PWDFDEVICE_INIT, DeviceType: ULONG) -> ();
            67 => fn WdfDeviceInitAssignName(DeviceInit: PWDFDEVICE_INIT, DeviceName: PCUNICODE_STRING) -> NTSTATUS;
            68 => fn WdfDeviceInitAssignSDDLString(DeviceInit: PWDFDEVICE_INIT, SDDLString: PCUNICODE_STRING) -> NTSTATUS;
            70 => fn WdfDeviceInitSetCharacteristics(DeviceInit: PWDFDEVICE_INIT, DeviceCharacteristics: ULONG, OrInValues: BOOLEAN) -> ();
            71 => fn WdfDeviceInitSetFileObjectConfig(DeviceInit: PWDFDEVICE_INIT, FileObjectConfig: PWDF_FILEOBJECT_CONFIG, FileObjectAttributes: PWDF_OBJECT_ATTRIBUTES) -> ();
            72 => fn WdfDeviceInitSetRequestAttributes(DeviceInit: PWDFDEVICE_INIT, RequestAttributes: PWDF_OBJECT_ATTRIBUTES) -> ();
            74 => fn WdfDeviceInitSetIoInCallerContextCallback(DeviceInit: PWDFDEVICE_INIT, EvtIoInCallerContext: PFN_WDF_IO_IN_CALLER_CONTEXT) -> ();
            75 => fn WdfDeviceCreate(DeviceInit: *mut PWDFDEVICE_INIT, DeviceAttributes: PWDF_OBJECT_ATTRIBUTES, Device: *mut WDFDEVICE) -> NTSTATUS;
            76 => fn WdfDeviceSetStaticStopRemove(Device: WDFDEVICE, Stoppable: BOOLEAN) -> ();
            77 => fn WdfDeviceCreateDeviceInterface(Device: WDFDEVICE, InterfaceClassGUID: *const GUID, ReferenceString: PCUNICODE_STRING) -> NTSTATUS;
            78 => fn WdfDeviceSetDeviceInterfaceState(Device: WDFDEVICE, InterfaceClassGUID: *const GUID, ReferenceString: PCUNICODE_STRING, IsInterfaceEnabled: BOOLEAN) -> ();
            87 => fn WdfDeviceSetFailed(Device: WDFDEVICE, FailedAction: WDF_DEVICE_FAILED_ACTION) -> ();
            91 => fn WdfDeviceEnqueueRequest(Device: WDFDEVICE, Request: WDFREQUEST) -> NTSTATUS;
            92 => fn WdfDeviceGetDefaultQueue(Device: WDFDEVICE) -> WDFQUEUE;
            93 => fn WdfDeviceConfigureRequestDispatching(Device: WDFDEVICE, Queue: WDFQUEUE, RequestType: WDF_REQUEST_TYPE) -> NTSTATUS;
            94 => fn WdfDmaEnablerCreate(Device: WDFDEVICE, Config: PWDF_DMA_ENABLER_CONFIG, Attributes: PWDF_OBJECT_ATTRIBUTES, DmaEnablerHandle: *mut WDFDMAENABLER) -> NTSTATUS;
            111 => fn WdfDpcCreate(Config: PWDF_DPC_CONFIG, Attributes: PWDF_OBJECT_ATTRIBUTES, Dpc: *mut WDFDPC) -> NTSTATUS;
            112 => fn WdfDpcEnqueue(Dpc: WDFDPC) -> BOOLEAN;
            113 => fn WdfDpcCancel(Dpc: WDFDPC, Wait: BOOLEAN) -> BOOLEAN;
            114 => fn WdfDpcGetParentObject(Dpc: WDFDPC) -> WDFOBJECT;
            116 => fn WdfDriverCreate(DriverObject: PDRIVER_OBJECT, RegistryPath: PCUNICODE_STRING, DriverAttributes: PWDF_OBJECT_ATTRIBUTES, DriverConfig: PWDF_DRIVER_CONFIG, Driver: *mut WDFDRIVER) -> NTSTATUS;
            139 => fn WdfFileObjectGetDevice(FileObject: WDFFILEOBJECT) -> WDFDEVICE;
            141 => fn WdfInterruptCreate(Device: WDFDEVICE, Configuration: PWDF_INTERRUPT_CONFIG, Attributes: PWDF_OBJECT_ATTRIBUTES, Interrupt: *mut WDFINTERRUPT) -> NTSTATUS;
            142 => fn WdfInterruptQueueDpcForIsr(Interrupt: WDFINTERRUPT) -> BOOLEAN;
            143 => fn WdfInterruptSynchronize(Interrupt: WDFINTERRUPT, Callback: PFN_WDF_INTERRUPT_SYNCHRONIZE, Context: WDFCONTEXT) -> BOOLEAN;
            144 => fn WdfInterruptAcquireLock(Interrupt: WDFINTERRUPT) -> ();
            145 => fn WdfInterruptReleaseLock(Interrupt: WDFINTERRUPT) -> ();
            149 => fn WdfInterruptGetInfo(Interrupt: WDFINTERRUPT, Info: PWDF_INTERRUPT_INFO) -> ();
            151 => fn WdfInterruptGetDevice(Interrupt: WDFINTERRUPT) -> WDFDEVICE;
            152 => fn WdfIoQueueCreate(Device: WDFDEVICE, Config: PWDF_IO_QUEUE_CONFIG, QueueAttributes: PWDF_OBJECT_ATTRIBUTES, Queue: *mut WDFQUEUE) -> NTSTATUS;
            154 => fn WdfIoQueueStart(Queue: WDFQUEUE) -> ();
            155 => fn WdfIoQueueStop(Queue: WDFQUEUE, StopComplete: PFN_WDF_IO_QUEUE_STATE, Context: WDFCONTEXT) -> ();
            157 => fn WdfIoQueueGetDevice(Queue: WDFQUEUE) -> WDFDEVICE;
            158 => fn WdfIoQueueRetrieveNextRequest(Queue: WDFQUEUE, OutRequest: *mut WDFREQUEST) -> NTSTATUS;
            202 => fn WdfObjectGetTypedContextWorker(Handle: WDFOBJECT, TypeInfo: PCWDF_OBJECT_CONTEXT_TYPE_INFO) -> PVOID;
            203 => fn WdfObjectAllocateContext(Handle: WDFOBJECT, ContextAttributes: PWDF_OBJECT_ATTRIBUTES, Context: *mut PVOID) -> NTSTATUS;
            204 => fn WdfObjectContextGetObject(ContextPointer: PVOID) -> WDFOBJECT;
            205 => fn WdfObjectReferenceActual(Handle: WDFOBJECT, Tag: PVOID, Line: LONG, File: PCCH) -> ();
            206 => fn WdfObjectDereferenceActual(Handle: WDFOBJECT, Tag: PVOID, Line: LONG, File: PCCH) -> ();
            207 => fn WdfObjectCreate(Attributes: PWDF_OBJECT_ATTRIBUTES, Object: *mut WDFOBJECT) -> NTSTATUS;
            208 => fn WdfObjectDelete(Object: WDFOBJECT) -> ();
            255 => fn WdfRequestMarkCancelable(Request: WDFREQUEST, EvtRequestCancel: PFN_WDF_REQUEST_CANCEL) -> ();
            256 => fn WdfRequestUnmarkCancelable(Request: WDFREQUEST) -> NTSTATUS;
            257 => fn WdfRequestIsCanceled(Request: WDFREQUEST) -> BOOLEAN;
            263 => fn WdfRequestComplete(Request: WDFREQUEST, Status: NTSTATUS) -> ();
            264 => fn WdfRequestCompleteWithPriorityBoost(Request: WDFREQUEST, Status: NTSTATUS, PriorityBoost: CCHAR) -> ();
            265 => fn WdfRequestCompleteWithInformation(Request: WDFREQUEST, Status: NTSTATUS, Information: ULONG_PTR) -> ();
            266 => fn WdfRequestGetParameters(Request: WDFREQUEST, Parameters: PWDF_REQUEST_PARAMETERS) -> ();
            269 => fn WdfRequestRetrieveInputBuffer(Request: WDFREQUEST, MinimumRequiredLength: usize, Buffer: *mut PVOID, Length: *mut usize) -> NTSTATUS;
            270 => fn WdfRequestRetrieveOutputBuffer(Request: WDFREQUEST, MinimumRequiredSize: usize, Buffer: *mut PVOID, Length: *mut usize) -> NTSTATUS;
            271 => fn WdfRequestRetrieveInputWdmMdl(Request: WDFREQUEST, Mdl: *mut PMDL) -> NTSTATUS;
            272 => fn WdfRequestRetrieveOutputWdmMdl(Request: WDFREQUEST, Mdl: *mut PMDL) -> NTSTATUS;
            275 => fn WdfRequestSetInformation(Request: WDFREQUEST, Information: ULONG_PTR) -> ();
            276 => fn WdfRequestGetInformation(Request: WDFREQUEST) -> ULONG_PTR;
            277 => fn WdfRequestGetFileObject(Request: WDFREQUEST) -> WDFFILEOBJECT;
            280 => fn WdfRequestGetRequestorMode(Request: WDFREQUEST) -> KPROCESSOR_MODE;
            281 => fn WdfRequestForwardToIoQueue(Request: WDFREQUEST, DestinationQueue: WDFQUEUE) -> NTSTATUS;
            282 => fn WdfRequestGetIoQueue(Request: WDFREQUEST) -> WDFQUEUE;
            284 => fn WdfRequestStopAcknowledge(Request: WDFREQUEST, Requeue: BOOLEAN) -> ();
            285 => fn WdfRequestWdmGetIrp(Request: WDFREQUEST) -> PIRP;
            304 => fn WdfCmResourceListGetCount(List: WDFCMRESLIST) -> ULONG;
            305 => fn WdfCmResourceListGetDescriptor(List: WDFCMRESLIST, Index: ULONG) -> PCM_PARTIAL_RESOURCE_DESCRIPTOR;
            315 => fn WdfSpinLockCreate(SpinLockAttributes: PWDF_OBJECT_ATTRIBUTES, SpinLock: *mut WDFSPINLOCK) -> NTSTATUS;
            316 => fn WdfSpinLockAcquire(SpinLock: WDFSPINLOCK) -> ();
            317 => fn WdfSpinLockRelease(SpinLock: WDFSPINLOCK) -> ();
            318 => fn WdfTimerCreate(Config: PWDF_TIMER_CONFIG, Attributes: PWDF_OBJECT_ATTRIBUTES, Timer: *mut WDFTIMER) -> NTSTATUS;
            319 => fn WdfTimerStart(Timer: WDFTIMER, DueTime: LONGLONG) -> BOOLEAN;
            320 => fn WdfTimerStop(Timer: WDFTIMER, Wait: BOOLEAN) -> BOOLEAN;
            321 => fn WdfTimerGetParentObject(Timer: WDFTIMER) -> WDFOBJECT;
            379 => fn WdfWorkItemCreate(Config: PWDF_WORKITEM_CONFIG, Attributes: PWDF_OBJECT_ATTRIBUTES, WorkItem: *mut WDFWORKITEM) -> NTSTATUS;
            380 => fn WdfWorkItemEnqueue(WorkItem: WDFWORKITEM) -> ();
            381 => fn WdfWorkItemGetParentObject(WorkItem: WDFWORKITEM) -> WDFOBJECT;
            382 => fn WdfWorkItemFlush(WorkItem: WDFWORKITEM) -> ();
            385 => fn WdfDmaEnablerWdmGetDmaAdapter(DmaEnabler: WDFDMAENABLER, DmaDirection: WDF_DMA_DIRECTION) -> PDMA_ADAPTER;
            389 => fn WdfInterruptSetExtendedPolicy(Interrupt: WDFINTERRUPT, PolicyAndGroup: PWDF_INTERRUPT_EXTENDED_POLICY) -> ();
            393 => fn WdfRequestMarkCancelableEx(Request: WDFREQUEST, EvtRequestCancel: PFN_WDF_REQUEST_CANCEL) -> NTSTATUS;
        }
    };
}

/// The members of `DMA_OPERATIONS` in order,
/// `Name: PTYPE = fn(Argument: Type, ...) -> Result, version;` where the version is the first
/// `DEVICE_DESCRIPTION.Version` whose table has the member (DMA-04).
#[macro_export]
macro_rules! dma_operations {
    ($expand:ident) => {
        $expand! {
            PutDmaAdapter: PPUT_DMA_ADAPTER = fn(DmaAdapter: PDMA_ADAPTER) -> (), 1;
            AllocateCommonBuffer: PALLOCATE_COMMON_BUFFER = fn(DmaAdapter: PDMA_ADAPTER, Length: ULONG, LogicalAddress: PPHYSICAL_ADDRESS, CacheEnabled: BOOLEAN) -> PVOID, 1;
            FreeCommonBuffer: PFREE_COMMON_BUFFER = fn(DmaAdapter: PDMA_ADAPTER, Length: ULONG, LogicalAddress: PHYSICAL_ADDRESS, VirtualAddress: PVOID, CacheEnabled: BOOLEAN) -> (), 1;
            AllocateAdapterChannel: PALLOCATE_ADAPTER_CHANNEL = fn(DmaAdapter: PDMA_ADAPTER, DeviceObject: PDEVICE_OBJECT, NumberOfMapRegisters: ULONG, ExecutionRoutine: PDRIVER_CONTROL, Context: PVOID) -> NTSTATUS, 1;
            FlushAdapterBuffers: PFLUSH_ADAPTER_BUFFERS = fn(DmaAdapter: PDMA_ADAPTER, Mdl: PMDL, MapRegisterBase: PVOID, CurrentVa: PVOID, Length: ULONG, WriteToDevice: BOOLEAN) -> BOOLEAN, 1;
            FreeAdapterChannel: PFREE_ADAPTER_CHANNEL = fn(DmaAdapter: PDMA_ADAPTER) -> (), 1;
            FreeMapRegisters: PFREE_MAP_REGISTERS = fn(DmaAdapter: PDMA_ADAPTER, MapRegisterBase: PVOID, NumberOfMapRegisters: ULONG) -> (), 1;
            MapTransfer: PMAP_TRANSFER = fn(DmaAdapter: PDMA_ADAPTER, Mdl: PMDL, MapRegisterBase: PVOID, CurrentVa: PVOID, Length: PULONG, WriteToDevice: BOOLEAN) -> PHYSICAL_ADDRESS, 1;
            GetDmaAlignment: PGET_DMA_ALIGNMENT = fn(DmaAdapter: PDMA_ADAPTER) -> ULONG, 1;
            ReadDmaCounter: PREAD_DMA_COUNTER = fn(DmaAdapter: PDMA_ADAPTER) -> ULONG, 1;
            GetScatterGatherList: PGET_SCATTER_GATHER_LIST = fn(DmaAdapter: PDMA_ADAPTER, DeviceObject: PDEVICE_OBJECT, Mdl: PMDL, CurrentVa: PVOID, Length: ULONG, ExecutionRoutine: PDRIVER_LIST_CONTROL, Context: PVOID, WriteToDevice: BOOLEAN) -> NTSTATUS, 1;
            PutScatterGatherList: PPUT_SCATTER_GATHER_LIST = fn(DmaAdapter: PDMA_ADAPTER, ScatterGather: PSCATTER_GATHER_LIST, WriteToDevice: BOOLEAN) -> (), 1;
            CalculateScatterGatherList: PCALCULATE_SCATTER_GATHER_LIST_SIZE = fn(DmaAdapter: PDMA_ADAPTER, Mdl: PMDL, CurrentVa: PVOID, Length: ULONG, ScatterGatherListSize: PULONG, pNumberOfMapRegisters: PULONG) -> NTSTATUS, 2;
            BuildScatterGatherList: PBUILD_SCATTER_GATHER_LIST = fn(DmaAdapter: PDMA_ADAPTER, DeviceObject: PDEVICE_OBJECT, Mdl: PMDL, CurrentVa: PVOID, Length: ULONG, ExecutionRoutine: PDRIVER_LIST_CONTROL, Context: PVOID, WriteToDevice: BOOLEAN, ScatterGatherBuffer: PVOID, ScatterGatherLength: ULONG) -> NTSTATUS, 2;
            BuildMdlFromScatterGatherList: PBUILD_MDL_FROM_SCATTER_GATHER_LIST = fn(DmaAdapter: PDMA_ADAPTER, ScatterGather: PSCATTER_GATHER_LIST, OriginalMdl: PMDL, TargetMdl: *mut PMDL) -> NTSTATUS, 2;
            GetDmaAdapterInfo: PGET_DMA_ADAPTER_INFO = fn(DmaAdapter: PDMA_ADAPTER, AdapterInfo: PDMA_ADAPTER_INFO) -> NTSTATUS, 3;
            GetDmaTransferInfo: PGET_DMA_TRANSFER_INFO = fn(DmaAdapter: PDMA_ADAPTER, Mdl: PMDL, Offset: ULONGLONG, Length: ULONG, WriteOnly: BOOLEAN, TransferInfo: PDMA_TRANSFER_INFO) -> NTSTATUS, 3;
            InitializeDmaTransferContext: PINITIALIZE_DMA_TRANSFER_CONTEXT = fn(DmaAdapter: PDMA_ADAPTER, DmaTransferContext: PVOID) -> NTSTATUS, 3;
            AllocateCommonBufferEx: PALLOCATE_COMMON_BUFFER_EX = fn(DmaAdapter: PDMA_ADAPTER, MaximumAddress: PPHYSICAL_ADDRESS, Length: ULONG, LogicalAddress: PPHYSICAL_ADDRESS, CacheEnabled: BOOLEAN, PreferredNode: NODE_REQUIREMENT) -> PVOID, 3;
            AllocateAdapterChannelEx: PALLOCATE_ADAPTER_CHANNEL_EX = fn(DmaAdapter: PDMA_ADAPTER, DeviceObject: PDEVICE_OBJECT, DmaTransferContext: PVOID, NumberOfMapRegisters: ULONG, Flags: ULONG, ExecutionRoutine: PDRIVER_CONTROL, ExecutionContext: PVOID, MapRegisterBase: *mut PVOID) -> NTSTATUS, 3;
            ConfigureAdapterChannel: PCONFIGURE_ADAPTER_CHANNEL = fn(DmaAdapter: PDMA_ADAPTER, FunctionNumber: ULONG, Context: PVOID) -> NTSTATUS, 3;
            CancelAdapterChannel: PCANCEL_ADAPTER_CHANNEL = fn(DmaAdapter: PDMA_ADAPTER, DeviceObject: PDEVICE_OBJECT, DmaTransferContext: PVOID) -> BOOLEAN, 3;
            MapTransferEx: PMAP_TRANSFER_EX = fn(DmaAdapter: PDMA_ADAPTER, Mdl: PMDL, MapRegisterBase: PVOID, Offset: ULONGLONG, DeviceOffset: ULONG, Length: PULONG, WriteToDevice: BOOLEAN, ScatterGatherBuffer: PSCATTER_GATHER_LIST, ScatterGatherBufferLength: ULONG, DmaCompletionRoutine: PDMA_COMPLETION_ROUTINE, CompletionContext: PVOID) -> NTSTATUS, 3;
            GetScatterGatherListEx: PGET_SCATTER_GATHER_LIST_EX = fn(DmaAdapter: PDMA_ADAPTER, DeviceObject: PDEVICE_OBJECT, DmaTransferContext: PVOID, Mdl: PMDL, Offset: ULONGLONG, Length: ULONG, Flags: ULONG, ExecutionRoutine: PDRIVER_LIST_CONTROL, Context: PVOID, WriteToDevice: BOOLEAN, DmaCompletionRoutine: PDMA_COMPLETION_ROUTINE, CompletionContext: PVOID, ScatterGatherList: *mut PSCATTER_GATHER_LIST) -> NTSTATUS, 3;
            BuildScatterGatherListEx: PBUILD_SCATTER_GATHER_LIST_EX = fn(DmaAdapter: PDMA_ADAPTER, DeviceObject: PDEVICE_OBJECT, DmaTransferContext: PVOID, Mdl: PMDL, Offset: ULONGLONG, Length: ULONG, Flags: ULONG, ExecutionRoutine: PDRIVER_LIST_CONTROL, Context: PVOID, WriteToDevice: BOOLEAN, ScatterGatherBuffer: PVOID, ScatterGatherLength: ULONG, DmaCompletionRoutine: PDMA_COMPLETION_ROUTINE, CompletionContext: PVOID, ScatterGatherList: PVOID) -> NTSTATUS, 3;
            FlushAdapterBuffersEx: PFLUSH_ADAPTER_BUFFERS_EX = fn(DmaAdapter: PDMA_ADAPTER, Mdl: PMDL, MapRegisterBase: PVOID, Offset: ULONGLONG, Length: ULONG, WriteToDevice: BOOLEAN) -> NTSTATUS, 3;
            FreeAdapterObject: PFREE_ADAPTER_OBJECT = fn(DmaAdapter: PDMA_ADAPTER, AllocationAction: IO_ALLOCATION_ACTION) -> (), 3;
            CancelMappedTransfer: PCANCEL_MAPPED_TRANSFER = fn(DmaAdapter: PDMA_ADAPTER, DmaTransferContext: PVOID) -> NTSTATUS, 3;
            AllocateDomainCommonBuffer: PALLOCATE_DOMAIN_COMMON_BUFFER = fn(DmaAdapter: PDMA_ADAPTER, DomainHandle: HANDLE, MaximumAddress: PPHYSICAL_ADDRESS, Length: ULONG, Flags: ULONG, CacheType: *mut MEMORY_CACHING_TYPE, PreferredNode: NODE_REQUIREMENT, LogicalAddress: PPHYSICAL_ADDRESS, VirtualAddress: *mut PVOID) -> NTSTATUS, 3;
            FlushDmaBuffer: PFLUSH_DMA_BUFFER = fn(DmaAdapter: PDMA_ADAPTER, Mdl: PMDL, ReadOperation: BOOLEAN) -> NTSTATUS, 3;
            JoinDmaDomain: PJOIN_DMA_DOMAIN = fn(DmaAdapter: PDMA_ADAPTER, DomainHandle: HANDLE) -> NTSTATUS, 3;
            LeaveDmaDomain: PLEAVE_DMA_DOMAIN = fn(DmaAdapter: PDMA_ADAPTER) -> NTSTATUS, 3;
            GetDmaDomain: PGET_DMA_DOMAIN = fn(DmaAdapter: PDMA_ADAPTER) -> HANDLE, 3;
            AllocateCommonBufferWithBounds: PALLOCATE_COMMON_BUFFER_WITH_BOUNDS = fn(DmaAdapter: PDMA_ADAPTER, MinimumAddress: PPHYSICAL_ADDRESS, MaximumAddress: PPHYSICAL_ADDRESS, Length: ULONG, Flags: ULONG, CacheType: *mut MEMORY_CACHING_TYPE, PreferredNode: NODE_REQUIREMENT, LogicalAddress: PPHYSICAL_ADDRESS) -> PVOID, 3;
            AllocateCommonBufferVector: PALLOCATE_COMMON_BUFFER_VECTOR = fn(DmaAdapter: PDMA_ADAPTER, LowAddress: PHYSICAL_ADDRESS, HighAddress: PHYSICAL_ADDRESS, CacheType: MEMORY_CACHING_TYPE, IdealNode: ULONG, Flags: ULONG, NumberOfElements: ULONG, SizeOfElements: ULONGLONG, VectorOut: *mut PVOID) -> NTSTATUS, 3;
            GetCommonBufferFromVectorByIndex: PGET_COMMON_BUFFER_FROM_VECTOR_BY_INDEX = fn(DmaAdapter: PDMA_ADAPTER, Vector: PVOID, Index: ULONG, VirtualAddressOut: *mut PVOID, LogicalAddressOut: PPHYSICAL_ADDRESS) -> (), 3;
            FreeCommonBufferFromVector: PFREE_COMMON_BUFFER_FROM_VECTOR = fn(DmaAdapter: PDMA_ADAPTER, Vector: PVOID, Index: ULONG) -> (), 3;
            FreeCommonBufferVector: PFREE_COMMON_BUFFER_VECTOR = fn(DmaAdapter: PDMA_ADAPTER, Vector: PVOID) -> (), 3;
            CreateCommonBufferFromMdl: PCREATE_COMMON_BUFFER_FROM_MDL = fn(DmaAdapter: PDMA_ADAPTER, Mdl: PMDL, ExtendedConfigs: PVOID, ExtendedConfigsCount: ULONG, LogicalAddress: PPHYSICAL_ADDRESS) -> NTSTATUS, 3;
        }
    };
}

/// The routines of a driver that the kernel calls, `PTYPE = fn(Argument: Type, ...) -> Result;`.
#[macro_export]
macro_rules! callbacks {
    ($expand:ident) => {
        $expand! {
            DRIVER_CONTROL = fn(DeviceObject: *mut _DEVICE_OBJECT, Irp: *mut _IRP, MapRegisterBase: PVOID, Context: PVOID) -> IO_ALLOCATION_ACTION;
            DRIVER_LIST_CONTROL = fn(DeviceObject: *mut _DEVICE_OBJECT, Irp: *mut _IRP, ScatterGather: PSCATTER_GATHER_LIST, Context: PVOID) -> ();
            DMA_COMPLETION_ROUTINE = fn(DmaAdapter: PDMA_ADAPTER, DeviceObject: PDEVICE_OBJECT, CompletionContext: PVOID, Status: DMA_COMPLETION_STATUS) -> ();
            KDEFERRED_ROUTINE = fn(Dpc: *mut _KDPC, DeferredContext: PVOID, SystemArgument1: PVOID, SystemArgument2: PVOID) -> ();
            DRIVER_INITIALIZE = fn(DriverObject: PDRIVER_OBJECT, RegistryPath: PCUNICODE_STRING) -> NTSTATUS;
            DRIVER_ADD_DEVICE = fn(DriverObject: *mut _DRIVER_OBJECT, PhysicalDeviceObject: *mut _DEVICE_OBJECT) -> NTSTATUS;
            DRIVER_DISPATCH = fn(DeviceObject: *mut _DEVICE_OBJECT, Irp: *mut _IRP) -> NTSTATUS;
            DRIVER_CANCEL = fn(DeviceObject: *mut _DEVICE_OBJECT, Irp: *mut _IRP) -> ();
            DRIVER_STARTIO = fn(DeviceObject: *mut _DEVICE_OBJECT, Irp: *mut _IRP) -> ();
            IO_COMPLETION_ROUTINE = fn(DeviceObject: *mut _DEVICE_OBJECT, Irp: *mut _IRP, Context: PVOID) -> NTSTATUS;
            KSERVICE_ROUTINE = fn(Interrupt: *mut _KINTERRUPT, ServiceContext: PVOID) -> BOOLEAN;
            DRIVER_UNLOAD = fn(DriverObject: PDRIVER_OBJECT) -> ();
            ETWENABLECALLBACK = fn(SourceId: LPCGUID, ControlCode: ULONG, Level: UCHAR, MatchAnyKeyword: ULONGLONG, MatchAllKeyword: ULONGLONG, FilterData: PVOID, CallbackContext: PVOID) -> ();
            PFN_WDF_DRIVER_DEVICE_ADD = fn(Driver: WDFDRIVER, DeviceInit: PWDFDEVICE_INIT) -> NTSTATUS;
            PFN_WDF_DRIVER_UNLOAD = fn(Driver: WDFDRIVER) -> ();
            PFN_WDF_DEVICE_D0_ENTRY = fn(Device: WDFDEVICE, PreviousState: WDF_POWER_DEVICE_STATE) -> NTSTATUS;
            PFN_WDF_DEVICE_D0_ENTRY_POST_INTERRUPTS_ENABLED = fn(Device: WDFDEVICE, PreviousState: WDF_POWER_DEVICE_STATE) -> NTSTATUS;
            PFN_WDF_DEVICE_D0_EXIT = fn(Device: WDFDEVICE, TargetState: WDF_POWER_DEVICE_STATE) -> NTSTATUS;
            PFN_WDF_DEVICE_D0_EXIT_PRE_INTERRUPTS_DISABLED = fn(Device: WDFDEVICE, TargetState: WDF_POWER_DEVICE_STATE) -> NTSTATUS;
            PFN_WDF_DEVICE_PREPARE_HARDWARE = fn(Device: WDFDEVICE, ResourcesRaw: WDFCMRESLIST, ResourcesTranslated: WDFCMRESLIST) -> NTSTATUS;
            PFN_WDF_DEVICE_RELEASE_HARDWARE = fn(Device: WDFDEVICE, ResourcesTranslated: WDFCMRESLIST) -> NTSTATUS;
            PFN_WDF_DEVICE_SELF_MANAGED_IO_CLEANUP = fn(Device: WDFDEVICE) -> ();
            PFN_WDF_DEVICE_SELF_MANAGED_IO_FLUSH = fn(Device: WDFDEVICE) -> ();
            PFN_WDF_DEVICE_SELF_MANAGED_IO_INIT = fn(Device: WDFDEVICE) -> NTSTATUS;
            PFN_WDF_DEVICE_SELF_MANAGED_IO_SUSPEND = fn(Device: WDFDEVICE) -> NTSTATUS;
            PFN_WDF_DEVICE_SELF_MANAGED_IO_RESTART = fn(Device: WDFDEVICE) -> NTSTATUS;
            PFN_WDF_DEVICE_SURPRISE_REMOVAL = fn(Device: WDFDEVICE) -> ();
            PFN_WDF_DEVICE_QUERY_REMOVE = fn(Device: WDFDEVICE) -> NTSTATUS;
            PFN_WDF_DEVICE_QUERY_STOP = fn(Device: WDFDEVICE) -> NTSTATUS;
            PFN_WDF_INTERRUPT_ISR = fn(Interrupt: WDFINTERRUPT, MessageID: ULONG) -> BOOLEAN;
            PFN_WDF_INTERRUPT_DPC = fn(Interrupt: WDFINTERRUPT, AssociatedObject: WDFOBJECT) -> ();
            PFN_WDF_INTERRUPT_WORKITEM = fn(Interrupt: WDFINTERRUPT, AssociatedObject: WDFOBJECT) -> ();
            PFN_WDF_INTERRUPT_ENABLE = fn(Interrupt: WDFINTERRUPT, AssociatedDevice: WDFDEVICE) -> NTSTATUS;
            PFN_WDF_INTERRUPT_DISABLE = fn(Interrupt: WDFINTERRUPT, AssociatedDevice: WDFDEVICE) -> NTSTATUS;
            PFN_WDF_INTERRUPT_SYNCHRONIZE = fn(Interrupt: WDFINTERRUPT, Context: WDFCONTEXT) -> BOOLEAN;
            PFN_WDF_IO_QUEUE_IO_DEFAULT = fn(Queue: WDFQUEUE, Request: WDFREQUEST) -> ();
            PFN_WDF_IO_QUEUE_IO_READ = fn(Queue: WDFQUEUE, Request: WDFREQUEST, Length: usize) -> ();
            PFN_WDF_IO_QUEUE_IO_WRITE = fn(Queue: WDFQUEUE, Request: WDFREQUEST, Length: usize) -> ();
            PFN_WDF_IO_QUEUE_IO_DEVICE_CONTROL = fn(Queue: WDFQUEUE, Request: WDFREQUEST, OutputBufferLength: usize, InputBufferLength: usize, IoControlCode: ULONG) -> ();
            PFN_WDF_IO_QUEUE_IO_INTERNAL_DEVICE_CONTROL = fn(Queue: WDFQUEUE, Request: WDFREQUEST, OutputBufferLength: usize, InputBufferLength: usize, IoControlCode: ULONG) -> ();
            PFN_WDF_IO_QUEUE_IO_STOP = fn(Queue: WDFQUEUE, Request: WDFREQUEST, ActionFlags: ULONG) -> ();
            PFN_WDF_IO_QUEUE_IO_RESUME = fn(Queue: WDFQUEUE, Request: WDFREQUEST) -> ();
            PFN_WDF_IO_QUEUE_IO_CANCELED_ON_QUEUE = fn(Queue: WDFQUEUE, Request: WDFREQUEST) -> ();
            PFN_WDF_IO_QUEUE_STATE = fn(Queue: WDFQUEUE, Context: WDFCONTEXT) -> ();
            PFN_WDF_IO_IN_CALLER_CONTEXT = fn(Device: WDFDEVICE, Request: WDFREQUEST) -> ();
            PFN_WDF_REQUEST_CANCEL = fn(Request: WDFREQUEST) -> ();
            PFN_WDF_DEVICE_FILE_CREATE = fn(Device: WDFDEVICE, Request: WDFREQUEST, FileObject: WDFFILEOBJECT) -> ();
            PFN_WDF_FILE_CLOSE = fn(FileObject: WDFFILEOBJECT) -> ();
            PFN_WDF_FILE_CLEANUP = fn(FileObject: WDFFILEOBJECT) -> ();
            PFN_WDF_OBJECT_CONTEXT_CLEANUP = fn(Object: WDFOBJECT) -> ();
            PFN_WDF_OBJECT_CONTEXT_DESTROY = fn(Object: WDFOBJECT) -> ();
            PFN_WDF_TIMER = fn(Timer: WDFTIMER) -> ();
            PFN_WDF_DPC = fn(Dpc: WDFDPC) -> ();
            PFN_WDF_WORKITEM = fn(WorkItem: WDFWORKITEM) -> ();
            PFN_WDF_DEVICE_USAGE_NOTIFICATION = fn(Device: WDFDEVICE, NotificationType: i32, IsInNotificationPath: BOOLEAN) -> ();
            PFN_WDF_DEVICE_RELATIONS_QUERY = fn(Device: WDFDEVICE, RelationType: i32) -> ();
            PFN_WDF_DEVICE_USAGE_NOTIFICATION_EX = fn(Device: WDFDEVICE, NotificationType: i32, IsInNotificationPath: BOOLEAN) -> NTSTATUS;
            PFN_WDF_DMA_ENABLER_CALLBACK = fn(DmaEnabler: WDFDMAENABLER) -> NTSTATUS;
            PFN_GET_UNIQUE_CONTEXT_TYPE = fn() -> PCWDF_OBJECT_CONTEXT_TYPE_INFO;
        }
    };
}

/// The register accesses, inline functions on Windows, that a hosted build sends to the host's
/// bus: `fn NAME(Register: *mut Type, ...) -> Result;`.
#[macro_export]
macro_rules! register_accessors {
    ($expand:ident) => {
        $expand! {
            fn READ_REGISTER_UCHAR(Register: *mut UCHAR) -> UCHAR;
            fn READ_REGISTER_USHORT(Register: *mut USHORT) -> USHORT;
            fn READ_REGISTER_ULONG(Register: *mut ULONG) -> ULONG;
            fn READ_REGISTER_ULONG64(Register: *mut ULONG64) -> ULONG64;
            fn WRITE_REGISTER_UCHAR(Register: *mut UCHAR, Value: UCHAR) -> ();
            fn WRITE_REGISTER_USHORT(Register: *mut USHORT, Value: USHORT) -> ();
            fn WRITE_REGISTER_ULONG(Register: *mut ULONG, Value: ULONG) -> ();
            fn WRITE_REGISTER_ULONG64(Register: *mut ULONG64, Value: ULONG64) -> ();
        }
    };
}
