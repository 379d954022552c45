//! The objects of WDM drivers in wdk-sys's names and shapes (64-bit Windows): driver, device, IRP,
//! stack location, file, interrupt. A KMDF driver passes most of them on only.

use core::ffi::c_void;

use crate::types::*;

macro_rules! plain {
    ($($(#[$meta:meta])* $kind:ident $name:ident as $alias:ident, $pointer:ident {
        $($field:ident: $ty:ty,)*
    })*) => {
        $($(#[$meta])*
          #[repr(C)]
          #[derive(Clone, Copy)]
          pub $kind $name {
              $(#[doc = concat!("`", stringify!($field), "`.")] pub $field: $ty,)*
          }
          #[doc = concat!("See [`", stringify!($name), "`].")]
          pub type $alias = $name;
          #[doc = concat!("Pointer to [`", stringify!($name), "`].")]
          pub type $pointer = *mut $name;
          impl core::fmt::Debug for $name {
              fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                  write!(f, concat!(stringify!($name), " at {:p}"), self)
              }
          })*
    };
}

plain! {
    /// A doubly linked list's node.
    struct _LIST_ENTRY as LIST_ENTRY, PLIST_ENTRY {
        Flink: *mut _LIST_ENTRY,
        Blink: *mut _LIST_ENTRY,
    }
    /// How a request ended.
    struct _IO_STATUS_BLOCK as IO_STATUS_BLOCK, PIO_STATUS_BLOCK {
        __bindgen_anon_1: _IO_STATUS_BLOCK__bindgen_ty_1,
        Information: ULONG_PTR,
    }
    /// The status of [`_IO_STATUS_BLOCK`].
    union _IO_STATUS_BLOCK__bindgen_ty_1 as IO_STATUS_BLOCK_STATUS, PIO_STATUS_BLOCK_STATUS {
        Status: NTSTATUS,
        Pointer: PVOID,
    }
    /// A loaded driver, as its entry point gets it.
    struct _DRIVER_OBJECT as DRIVER_OBJECT, PDRIVER_OBJECT {
        Type: CSHORT,
        Size: CSHORT,
        DeviceObject: PDEVICE_OBJECT,
        Flags: ULONG,
        DriverStart: PVOID,
        DriverSize: ULONG,
        DriverSection: PVOID,
        DriverExtension: PDRIVER_EXTENSION,
        DriverName: UNICODE_STRING,
        HardwareDatabase: PUNICODE_STRING,
        FastIoDispatch: PVOID,
        DriverInit: PDRIVER_INITIALIZE,
        DriverStartIo: PDRIVER_STARTIO,
        DriverUnload: PDRIVER_UNLOAD,
        MajorFunction: [PDRIVER_DISPATCH; 28],
    }
    /// What belongs to a driver object; private members follow.
    struct _DRIVER_EXTENSION as DRIVER_EXTENSION, PDRIVER_EXTENSION {
        DriverObject: *mut _DRIVER_OBJECT,
        AddDevice: PDRIVER_ADD_DEVICE,
        Count: ULONG,
        ServiceKeyName: UNICODE_STRING,
    }
    /// A queue of IRPs, private to the kernel.
    struct _KDEVICE_QUEUE as KDEVICE_QUEUE, PKDEVICE_QUEUE {
        Private: [u64; 5],
    }
    /// A place in a device queue.
    struct _KDEVICE_QUEUE_ENTRY as KDEVICE_QUEUE_ENTRY, PKDEVICE_QUEUE_ENTRY {
        DeviceListEntry: LIST_ENTRY,
        SortKey: ULONG,
        Inserted: BOOLEAN,
    }
    /// The first member of the IRP's [`_IRP__bindgen_ty_4`]; a wait context of the HAL, or a link.
    struct _DEVICE_OBJECT__bindgen_ty_1 as DEVICE_OBJECT_QUEUE, PDEVICE_OBJECT_QUEUE {
        Wcb: [u64; 9],
    }
    /// The buffer of buffered I/O, or what belongs to an IRP that another one is part of.
    union _IRP__bindgen_ty_1 as IRP_ASSOCIATED, PIRP_ASSOCIATED {
        MasterIrp: *mut _IRP,
        IrpCount: LONG,
        SystemBuffer: PVOID,
    }
    /// Where the requester's result goes, private to the I/O manager.
    union _IRP__bindgen_ty_2 as IRP_USER_IOSB, PIRP_USER_IOSB {
        UserIosb: PIO_STATUS_BLOCK,
        IoRingContext: PVOID,
    }
    /// The requester's routine, private to the I/O manager.
    struct _IRP__bindgen_ty_3 as IRP_OVERLAY, PIRP_OVERLAY {
        UserApcRoutine: PVOID,
        UserApcContext: PVOID,
    }
    /// The driver's own use of an IRP that it owns.
    union _IRP__bindgen_ty_4 as IRP_TAIL, PIRP_TAIL {
        Overlay: _IRP__bindgen_ty_4__bindgen_ty_1,
        CompletionKey: PVOID,
    }
    /// The usual one of [`_IRP__bindgen_ty_4`].
    struct _IRP__bindgen_ty_4__bindgen_ty_1 as IRP_TAIL_OVERLAY, PIRP_TAIL_OVERLAY {
        __bindgen_anon_1: _IRP__bindgen_ty_4__bindgen_ty_1__bindgen_ty_1,
        Thread: PVOID,
        AuxiliaryBuffer: *mut CHAR,
        __bindgen_anon_2: _IRP__bindgen_ty_4__bindgen_ty_1__bindgen_ty_2,
        OriginalFileObject: PFILE_OBJECT,
        IrpExtension: PVOID,
    }
    /// A place in a device queue, or four words for the driver that owns the IRP.
    union _IRP__bindgen_ty_4__bindgen_ty_1__bindgen_ty_1 as IRP_TAIL_DRIVER, PIRP_TAIL_DRIVER {
        DeviceQueueEntry: KDEVICE_QUEUE_ENTRY,
        __bindgen_anon_1: _IRP__bindgen_ty_4__bindgen_ty_1__bindgen_ty_1__bindgen_ty_1,
    }
    /// Four words for the driver that owns the IRP.
    struct _IRP__bindgen_ty_4__bindgen_ty_1__bindgen_ty_1__bindgen_ty_1
        as IRP_DRIVER_CONTEXT, PIRP_DRIVER_CONTEXT {
        DriverContext: [PVOID; 4],
    }
    /// A link for the driver that owns the IRP, and the stack location.
    struct _IRP__bindgen_ty_4__bindgen_ty_1__bindgen_ty_2 as IRP_TAIL_STACK, PIRP_TAIL_STACK {
        ListEntry: LIST_ENTRY,
        __bindgen_anon_1: _IRP__bindgen_ty_4__bindgen_ty_1__bindgen_ty_2__bindgen_ty_1,
    }
    /// The stack location of the driver that is called.
    union _IRP__bindgen_ty_4__bindgen_ty_1__bindgen_ty_2__bindgen_ty_1
        as IRP_CURRENT_STACK, PIRP_CURRENT_STACK {
        CurrentStackLocation: *mut _IO_STACK_LOCATION,
        PacketType: ULONG,
    }
    /// A driver's part of an IRP: what it is asked for.
    struct _IO_STACK_LOCATION as IO_STACK_LOCATION, PIO_STACK_LOCATION {
        MajorFunction: UCHAR,
        MinorFunction: UCHAR,
        Flags: UCHAR,
        Control: UCHAR,
        Parameters: _IO_STACK_LOCATION__bindgen_ty_1,
        DeviceObject: PDEVICE_OBJECT,
        FileObject: PFILE_OBJECT,
        CompletionRoutine: PIO_COMPLETION_ROUTINE,
        Context: PVOID,
    }
    /// Parameters by major function; members of up to 4 bytes are 8 apart.
    union _IO_STACK_LOCATION__bindgen_ty_1 as IO_PARAMETERS, PIO_PARAMETERS {
        Read: _IO_STACK_LOCATION__bindgen_ty_1__bindgen_ty_4,
        Write: _IO_STACK_LOCATION__bindgen_ty_1__bindgen_ty_5,
        DeviceIoControl: _IO_STACK_LOCATION__bindgen_ty_1__bindgen_ty_17,
        StartDevice: _IO_STACK_LOCATION__bindgen_ty_1__bindgen_ty_37,
        Others: _IO_STACK_LOCATION__bindgen_ty_1__bindgen_ty_39,
    }
    /// Of a read.
    struct _IO_STACK_LOCATION__bindgen_ty_1__bindgen_ty_4
        as IO_PARAMETERS_TRANSFER, PIO_PARAMETERS_TRANSFER {
        Length: ULONG,
        __bindgen_padding_0: [u8; 4],
        Key: ULONG,
        Flags: ULONG,
        ByteOffset: LARGE_INTEGER,
    }
    /// The same, of a write.
    struct _IO_STACK_LOCATION__bindgen_ty_1__bindgen_ty_5
        as IO_PARAMETERS_WRITE, PIO_PARAMETERS_WRITE {
        Length: ULONG,
        __bindgen_padding_0: [u8; 4],
        Key: ULONG,
        Flags: ULONG,
        ByteOffset: LARGE_INTEGER,
    }
    /// Of a device control request.
    struct _IO_STACK_LOCATION__bindgen_ty_1__bindgen_ty_17
        as IO_PARAMETERS_CONTROL, PIO_PARAMETERS_CONTROL {
        OutputBufferLength: ULONG,
        __bindgen_padding_0: [u8; 4],
        InputBufferLength: ULONG,
        __bindgen_padding_1: [u8; 4],
        IoControlCode: ULONG,
        Type3InputBuffer: PVOID,
    }
    /// Of IRP_MN_START_DEVICE.
    struct _IO_STACK_LOCATION__bindgen_ty_1__bindgen_ty_37
        as IO_PARAMETERS_START, PIO_PARAMETERS_START {
        AllocatedResources: PCM_RESOURCE_LIST,
        AllocatedResourcesTranslated: PCM_RESOURCE_LIST,
    }
    /// The raw words.
    struct _IO_STACK_LOCATION__bindgen_ty_1__bindgen_ty_39
        as IO_PARAMETERS_OTHERS, PIO_PARAMETERS_OTHERS {
        Argument1: PVOID,
        Argument2: PVOID,
        Argument3: PVOID,
        Argument4: PVOID,
    }
    /// An open file.
    struct _FILE_OBJECT as FILE_OBJECT, PFILE_OBJECT {
        Type: CSHORT,
        Size: CSHORT,
        DeviceObject: PDEVICE_OBJECT,
        Vpb: PVOID,
        FsContext: PVOID,
        FsContext2: PVOID,
        Private: [u64; 22],
    }
    /// A device's interrupt for [`ntddk::IoConnectInterruptEx`](crate::ntddk::IoConnectInterruptEx).
    struct _IO_CONNECT_INTERRUPT_PARAMETERS
        as IO_CONNECT_INTERRUPT_PARAMETERS, PIO_CONNECT_INTERRUPT_PARAMETERS {
        Version: ULONG,
        __bindgen_anon_1: _IO_CONNECT_INTERRUPT_PARAMETERS__bindgen_ty_1,
    }
    /// By version.
    union _IO_CONNECT_INTERRUPT_PARAMETERS__bindgen_ty_1
        as IO_CONNECT_INTERRUPT_BY_VERSION, PIO_CONNECT_INTERRUPT_BY_VERSION {
        FullySpecified: IO_CONNECT_INTERRUPT_FULLY_SPECIFIED_PARAMETERS,
        LineBased: IO_CONNECT_INTERRUPT_LINE_BASED_PARAMETERS,
    }
    /// The interrupt is the one that the resource list describes.
    struct _IO_CONNECT_INTERRUPT_FULLY_SPECIFIED_PARAMETERS
        as IO_CONNECT_INTERRUPT_FULLY_SPECIFIED_PARAMETERS,
        PIO_CONNECT_INTERRUPT_FULLY_SPECIFIED_PARAMETERS {
        PhysicalDeviceObject: PDEVICE_OBJECT,
        InterruptObject: *mut PKINTERRUPT,
        ServiceRoutine: PKSERVICE_ROUTINE,
        ServiceContext: PVOID,
        SpinLock: PKSPIN_LOCK,
        SynchronizeIrql: KIRQL,
        FloatingSave: BOOLEAN,
        ShareVector: BOOLEAN,
        Vector: ULONG,
        Irql: KIRQL,
        InterruptMode: KINTERRUPT_MODE,
        ProcessorEnableMask: KAFFINITY,
        Group: USHORT,
    }
    /// The device's line, whichever it is.
    struct _IO_CONNECT_INTERRUPT_LINE_BASED_PARAMETERS
        as IO_CONNECT_INTERRUPT_LINE_BASED_PARAMETERS,
        PIO_CONNECT_INTERRUPT_LINE_BASED_PARAMETERS {
        PhysicalDeviceObject: PDEVICE_OBJECT,
        InterruptObject: *mut PKINTERRUPT,
        ServiceRoutine: PKSERVICE_ROUTINE,
        ServiceContext: PVOID,
        SpinLock: PKSPIN_LOCK,
        SynchronizeIrql: KIRQL,
        FloatingSave: BOOLEAN,
    }
    /// What [`ntddk::IoDisconnectInterruptEx`](crate::ntddk::IoDisconnectInterruptEx) undoes.
    struct _IO_DISCONNECT_INTERRUPT_PARAMETERS
        as IO_DISCONNECT_INTERRUPT_PARAMETERS, PIO_DISCONNECT_INTERRUPT_PARAMETERS {
        Version: ULONG,
        ConnectionContext: _IO_DISCONNECT_INTERRUPT_PARAMETERS__bindgen_ty_1,
    }
    /// By version.
    union _IO_DISCONNECT_INTERRUPT_PARAMETERS__bindgen_ty_1
        as IO_DISCONNECT_INTERRUPT_CONTEXT, PIO_DISCONNECT_INTERRUPT_CONTEXT {
        Generic: PVOID,
        InterruptObject: PKINTERRUPT,
    }
}

/// A device object. A driver uses `NextDevice`, `Flags`, `DeviceExtension`, `StackSize` and
/// `AlignmentRequirement`; the rest is the kernel's.
#[repr(C, align(16))]
#[derive(Clone, Copy, Debug)]
pub struct _DEVICE_OBJECT {
    /// `IO_TYPE_DEVICE`.
    pub Type: CSHORT,
    /// Bytes of the object with its extension.
    pub Size: USHORT,
    /// Private.
    pub ReferenceCount: LONG,
    /// The driver that made it.
    pub DriverObject: *mut _DRIVER_OBJECT,
    /// The next device of the same driver.
    pub NextDevice: *mut _DEVICE_OBJECT,
    /// The device that is attached on top of it.
    pub AttachedDevice: *mut _DEVICE_OBJECT,
    /// With a StartIo routine: the IRP it works on.
    pub CurrentIrp: *mut _IRP,
    /// Private.
    pub Timer: PVOID,
    /// `DO_*`.
    pub Flags: ULONG,
    /// `FILE_*` characteristics.
    pub Characteristics: ULONG,
    /// File systems only.
    pub Vpb: PVOID,
    /// The driver's own memory.
    pub DeviceExtension: PVOID,
    /// `FILE_DEVICE_*`.
    pub DeviceType: ULONG,
    /// Stack locations an IRP needs that is sent here.
    pub StackSize: CCHAR,
    /// Private.
    pub Queue: _DEVICE_OBJECT__bindgen_ty_1,
    /// Alignment of buffers, minus 1.
    pub AlignmentRequirement: ULONG,
    /// Private.
    pub DeviceQueue: KDEVICE_QUEUE,
    /// Private.
    pub Dpc: KDPC,
    /// Private.
    pub ActiveThreadCount: ULONG,
    /// Private.
    pub SecurityDescriptor: PVOID,
    /// Private.
    pub DeviceLock: KEVENT,
    /// File systems only.
    pub SectorSize: USHORT,
    /// Unused.
    pub Spare1: USHORT,
    /// Private.
    pub DeviceObjectExtension: PVOID,
    /// Unused.
    pub Reserved: PVOID,
}
/// See [`_DEVICE_OBJECT`].
pub type DEVICE_OBJECT = _DEVICE_OBJECT;
/// Pointer to [`_DEVICE_OBJECT`].
pub type PDEVICE_OBJECT = *mut _DEVICE_OBJECT;

/// An I/O request packet; its stack locations follow.
#[repr(C, align(16))]
#[derive(Clone, Copy)]
pub struct _IRP {
    /// `IO_TYPE_IRP`.
    pub Type: CSHORT,
    /// Bytes of the packet with its stack locations.
    pub Size: USHORT,
    /// Private.
    pub AllocationProcessorNumber: USHORT,
    /// Unused.
    pub Reserved: USHORT,
    /// The buffer of direct I/O.
    pub MdlAddress: PMDL,
    /// Private.
    pub Flags: ULONG,
    /// The buffer of buffered I/O.
    pub AssociatedIrp: _IRP__bindgen_ty_1,
    /// Private.
    pub ThreadListEntry: LIST_ENTRY,
    /// The result, by whoever completes it.
    pub IoStatus: IO_STATUS_BLOCK,
    /// `KernelMode` or `UserMode`.
    pub RequestorMode: KPROCESSOR_MODE,
    /// A lower driver marked it pending.
    pub PendingReturned: BOOLEAN,
    /// Number of stack locations.
    pub StackCount: CHAR,
    /// The current one, from 1; one more than there are before the first driver is called.
    pub CurrentLocation: CHAR,
    /// It was cancelled, or is about to be.
    pub Cancel: BOOLEAN,
    /// The level that the cancel routine returns to.
    pub CancelIrql: KIRQL,
    /// Private.
    pub ApcEnvironment: CCHAR,
    /// Private.
    pub AllocationFlags: UCHAR,
    /// Private.
    pub __bindgen_anon_1: _IRP__bindgen_ty_2,
    /// Private.
    pub UserEvent: PKEVENT,
    /// Private.
    pub Overlay: _IRP__bindgen_ty_3,
    /// The routine that a cancel calls.
    pub CancelRoutine: PDRIVER_CANCEL,
    /// The requester's (second) buffer.
    pub UserBuffer: PVOID,
    /// For the driver that owns the IRP.
    pub Tail: _IRP__bindgen_ty_4,
}
/// See [`_IRP`].
pub type IRP = _IRP;
/// Pointer to [`_IRP`].
pub type PIRP = *mut _IRP;

impl core::fmt::Debug for _IRP {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "_IRP at {self:p}")
    }
}

/// Where an IRP keeps the address of its current stack location: a member of a union inside
/// structures inside a union, of which this is the one that is always in use. Only an address is
/// computed.
#[must_use]
pub fn current_stack_location(irp: PIRP) -> *mut *mut IO_STACK_LOCATION {
    const OFFSET: usize = core::mem::offset_of!(_IRP, Tail)
        + core::mem::offset_of!(IRP_TAIL_OVERLAY, __bindgen_anon_2)
        + core::mem::offset_of!(IRP_TAIL_STACK, __bindgen_anon_1);
    irp.wrapping_byte_add(OFFSET).cast()
}

/// The resources of one bus; packed to 4.
#[repr(C, packed(4))]
#[derive(Clone, Copy)]
pub struct _CM_FULL_RESOURCE_DESCRIPTOR {
    /// The bus.
    pub InterfaceType: INTERFACE_TYPE,
    /// Its number.
    pub BusNumber: ULONG,
    /// The resources.
    pub PartialResourceList: CM_PARTIAL_RESOURCE_LIST,
}
/// See [`_CM_FULL_RESOURCE_DESCRIPTOR`].
pub type CM_FULL_RESOURCE_DESCRIPTOR = _CM_FULL_RESOURCE_DESCRIPTOR;

/// A list of descriptors, of which the first is declared.
#[repr(C, packed(4))]
#[derive(Clone, Copy)]
pub struct _CM_PARTIAL_RESOURCE_LIST {
    /// 1.
    pub Version: USHORT,
    /// 1.
    pub Revision: USHORT,
    /// Number of descriptors.
    pub Count: ULONG,
    /// The descriptors.
    pub PartialDescriptors: [CM_PARTIAL_RESOURCE_DESCRIPTOR; 1],
}
/// See [`_CM_PARTIAL_RESOURCE_LIST`].
pub type CM_PARTIAL_RESOURCE_LIST = _CM_PARTIAL_RESOURCE_LIST;

/// What IRP_MN_START_DEVICE brings.
#[repr(C, packed(4))]
#[derive(Clone, Copy)]
pub struct _CM_RESOURCE_LIST {
    /// Number of buses: 1.
    pub Count: ULONG,
    /// The first bus.
    pub List: [CM_FULL_RESOURCE_DESCRIPTOR; 1],
}
/// See [`_CM_RESOURCE_LIST`].
pub type CM_RESOURCE_LIST = _CM_RESOURCE_LIST;
/// Pointer to [`_CM_RESOURCE_LIST`].
pub type PCM_RESOURCE_LIST = *mut _CM_RESOURCE_LIST;

/// An interrupt object, private to the kernel.
#[repr(C)]
#[derive(Debug)]
pub struct _KINTERRUPT {
    _private: [u8; 0],
    _pinned: *mut c_void,
}
/// Pointer to [`_KINTERRUPT`].
pub type PKINTERRUPT = *mut _KINTERRUPT;
