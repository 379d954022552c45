//! WDM types in wdk-sys's names and shapes (64-bit Windows).

use core::ffi::c_void;
use core::marker::PhantomData;

use crate::resources::*;
use crate::wdf_types::*;
use crate::wdm_types::*;

macro_rules! alias {
    ($($(#[$doc:meta])* $name:ident = $ty:ty;)*) => {
        $(#[doc = concat!("`", stringify!($name), "` of the WDK headers.")] $(#[$doc])*
          pub type $name = $ty;)*
    };
}
pub(crate) use alias;

alias! {
    UCHAR = u8; CHAR = i8; CCHAR = i8; BOOLEAN = u8; USHORT = u16; CSHORT = i16; WCHAR = u16;
    ULONG = u32; LONG = i32; ULONGLONG = u64; LONGLONG = i64; ULONG64 = u64;
    SIZE_T = u64; ULONG_PTR = u64; LONG_PTR = i64; KAFFINITY = u64; KSPIN_LOCK = u64;
    POOL_FLAGS = u64; ACCESS_MASK = u32; NODE_REQUIREMENT = u32;
    NTSTATUS = i32; KIRQL = u8; KPRIORITY = i32; KPROCESSOR_MODE = i8;
    PVOID = *mut c_void; HANDLE = *mut c_void;
    PULONG = *mut u32; PULONG64 = *mut u64; PLONGLONG = *mut i64; PCCH = *const i8; LPCSTR = *const i8;
    PWCH = *mut u16; PCWSTR = *const u16;
    PKSPIN_LOCK = *mut KSPIN_LOCK; PKIRQL = *mut KIRQL;
    GROUP_AFFINITY = _GROUP_AFFINITY; PGROUP_AFFINITY = *mut _GROUP_AFFINITY;
    PROCESSOR_NUMBER = _PROCESSOR_NUMBER; PPROCESSOR_NUMBER = *mut _PROCESSOR_NUMBER;
}

/// Declares opaque kernel objects of which only addresses are used.
macro_rules! opaque {
    ($($name:ident, $alias:ident, $pointer:ident, $size:literal, $align:literal;)*) => {
        $(#[doc = concat!("`", stringify!($alias), "`: ", $size, " bytes, contents private to the kernel.")]
          #[repr(C, align($align))]
          #[derive(Debug)]
          pub struct $name { _private: [u8; $size] }
          #[doc = concat!("See [`", stringify!($name), "`].")]
          pub type $alias = $name;
          #[doc = concat!("Pointer to [`", stringify!($name), "`].")]
          pub type $pointer = *mut $name;)*
    };
}

opaque! {
    _EPROCESS, EPROCESS, PEPROCESS, 16, 16;
}

/// Declares an enumeration the way bindgen does: a module of constants and an alias.
macro_rules! enumeration {
    ($($module:ident as $alias:ident { $($name:ident = $value:literal),* $(,)? })*) => {
        $(#[doc = concat!("Values of `", stringify!($alias), "`.")]
          pub mod $module {
              /// The C enumeration's type.
              pub type Type = i32;
              $(#[doc = concat!("`", stringify!($name), "`.")] pub const $name: Type = $value;)*
          }
          #[doc = concat!("See [`", stringify!($module), "`](mod@", stringify!($module), ").")]
          pub type $alias = $module::Type;)*
    };
}
pub(crate) use enumeration;

enumeration! {
    _INTERFACE_TYPE as INTERFACE_TYPE {
        InterfaceTypeUndefined = -1, Internal = 0, Isa = 1, Eisa = 2, PCIBus = 5, PNPBus = 15,
        ACPIBus = 17,
    }
    _MEMORY_CACHING_TYPE as MEMORY_CACHING_TYPE {
        MmNonCached = 0, MmCached = 1, MmWriteCombined = 2, MmHardwareCoherentCached = 3,
        MmNonCachedUnordered = 4, MmUSWCCached = 5, MmMaximumCacheType = 6, MmNotMapped = -1,
    }
    _IO_ALLOCATION_ACTION as IO_ALLOCATION_ACTION {
        KeepObject = 1, DeallocateObject = 2, DeallocateObjectKeepRegisters = 3,
    }
    _DMA_WIDTH as DMA_WIDTH {
        Width8Bits = 0, Width16Bits = 1, Width32Bits = 2, Width64Bits = 3, WidthNoWrap = 4,
        MaximumDmaWidth = 5,
    }
    _DMA_SPEED as DMA_SPEED {
        Compatible = 0, TypeA = 1, TypeB = 2, TypeC = 3, TypeF = 4, MaximumDmaSpeed = 5,
    }
    _MM_PAGE_PRIORITY as MM_PAGE_PRIORITY {
        LowPagePriority = 0, NormalPagePriority = 16, HighPagePriority = 32,
    }
    _MODE as MODE { KernelMode = 0, UserMode = 1, MaximumMode = 2 }
    _LOCK_OPERATION as LOCK_OPERATION { IoReadAccess = 0, IoWriteAccess = 1, IoModifyAccess = 2 }
    _EVENT_TYPE as EVENT_TYPE { NotificationEvent = 0, SynchronizationEvent = 1 }
    _KWAIT_REASON as KWAIT_REASON { Executive = 0, UserRequest = 6 }
    _KINTERRUPT_MODE as KINTERRUPT_MODE { LevelSensitive = 0, Latched = 1 }
    DMA_COMPLETION_STATUS_VALUES as DMA_COMPLETION_STATUS {
        DmaComplete = 0, DmaAborted = 1, DmaError = 2, DmaCancelled = 3,
    }
}

/// A 64-bit integer that C code also reads in halves; `PHYSICAL_ADDRESS` is this type.
#[repr(C)]
#[derive(Clone, Copy)]
pub union _LARGE_INTEGER {
    /// The halves.
    pub u: _LARGE_INTEGER__bindgen_ty_1,
    /// The whole.
    pub QuadPart: LONGLONG,
}

/// The halves of [`_LARGE_INTEGER`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct _LARGE_INTEGER__bindgen_ty_1 {
    /// Bits 31..0.
    pub LowPart: ULONG,
    /// Bits 63..32.
    pub HighPart: LONG,
}

impl Default for _LARGE_INTEGER {
    fn default() -> Self {
        Self { QuadPart: 0 }
    }
}

impl core::fmt::Debug for _LARGE_INTEGER {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        // SAFETY: both views are plain integers of 64 bits, so either may be read.
        write!(f, "{:#x}", unsafe { self.QuadPart })
    }
}

alias! {
    LARGE_INTEGER = _LARGE_INTEGER; PLARGE_INTEGER = *mut _LARGE_INTEGER;
    PHYSICAL_ADDRESS = LARGE_INTEGER; PPHYSICAL_ADDRESS = *mut LARGE_INTEGER;
    GUID = _GUID; LPCGUID = *const GUID;
    UNICODE_STRING = _UNICODE_STRING; PUNICODE_STRING = *mut _UNICODE_STRING;
    PCUNICODE_STRING = *const UNICODE_STRING;
    MDL = _MDL; PMDL = *mut _MDL; PFN_NUMBER = ULONG_PTR; PPFN_NUMBER = *mut PFN_NUMBER;
    KDPC = _KDPC; PKDPC = *mut _KDPC; PRKDPC = *mut _KDPC;
    KEVENT = _KEVENT; PKEVENT = *mut _KEVENT; PRKEVENT = *mut _KEVENT;
    DEVICE_DESCRIPTION = _DEVICE_DESCRIPTION; PDEVICE_DESCRIPTION = *mut _DEVICE_DESCRIPTION;
    DMA_ADAPTER = _DMA_ADAPTER; PDMA_ADAPTER = *mut _DMA_ADAPTER;
    DMA_OPERATIONS = _DMA_OPERATIONS; PDMA_OPERATIONS = *mut _DMA_OPERATIONS;
    SCATTER_GATHER_LIST = _SCATTER_GATHER_LIST; PSCATTER_GATHER_LIST = *mut _SCATTER_GATHER_LIST;
    SCATTER_GATHER_ELEMENT = _SCATTER_GATHER_ELEMENT;
    PSCATTER_GATHER_ELEMENT = *mut _SCATTER_GATHER_ELEMENT;
    DMA_ADAPTER_INFO = _DMA_ADAPTER_INFO; PDMA_ADAPTER_INFO = *mut _DMA_ADAPTER_INFO;
    DMA_ADAPTER_INFO_V1 = _DMA_ADAPTER_INFO_V1;
    DMA_TRANSFER_INFO = _DMA_TRANSFER_INFO; PDMA_TRANSFER_INFO = *mut _DMA_TRANSFER_INFO;
    DMA_TRANSFER_INFO_V1 = _DMA_TRANSFER_INFO_V1; DMA_TRANSFER_INFO_V2 = _DMA_TRANSFER_INFO_V2;
    CM_PARTIAL_RESOURCE_DESCRIPTOR = _CM_PARTIAL_RESOURCE_DESCRIPTOR;
    PCM_PARTIAL_RESOURCE_DESCRIPTOR = *mut _CM_PARTIAL_RESOURCE_DESCRIPTOR;
}

/// A globally unique identifier; 16 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct _GUID {
    /// First field of the text form.
    pub Data1: u32,
    /// Second field.
    pub Data2: u16,
    /// Third field.
    pub Data3: u16,
    /// The remaining eight bytes.
    pub Data4: [u8; 8],
}

/// Processors of a group.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct _GROUP_AFFINITY {
    /// A bit for each processor of the group.
    pub Mask: KAFFINITY,
    /// The group.
    pub Group: USHORT,
    /// Zero.
    pub Reserved: [USHORT; 3],
}

/// A processor, by its group.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct _PROCESSOR_NUMBER {
    /// The group.
    pub Group: USHORT,
    /// The number in the group.
    pub Number: UCHAR,
    /// Zero.
    pub Reserved: UCHAR,
}

/// A counted UTF-16 string; lengths in bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct _UNICODE_STRING {
    /// Used length, bytes.
    pub Length: USHORT,
    /// Allocated length, bytes.
    pub MaximumLength: USHORT,
    /// The characters; not necessarily terminated.
    pub Buffer: PWCH,
}

impl Default for _UNICODE_STRING {
    fn default() -> Self {
        Self { Length: 0, MaximumLength: 0, Buffer: core::ptr::null_mut() }
    }
}

/// A memory descriptor list: the header; the page frame numbers follow it.
///
/// Drivers read `Next` and `MdlFlags` only and use macros for the rest (DMA-102).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct _MDL {
    /// The next MDL of the chain.
    pub Next: *mut _MDL,
    /// Size of the MDL with its array, bytes.
    pub Size: CSHORT,
    /// `MDL_*` flags.
    pub MdlFlags: CSHORT,
    /// Process whose pages are locked.
    pub Process: *mut _EPROCESS,
    /// System address, valid as the flags say.
    pub MappedSystemVa: PVOID,
    /// Virtual address of the first page.
    pub StartVa: PVOID,
    /// Length of the buffer, bytes.
    pub ByteCount: ULONG,
    /// Offset of the buffer in the first page, bytes.
    pub ByteOffset: ULONG,
}

/// A deferred procedure call object; 64 bytes, private to the kernel.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default)]
pub struct _KDPC {
    /// Private.
    pub Private: [u64; 8],
}

/// An event object; 24 bytes, private to the kernel.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default)]
pub struct _KEVENT {
    /// Private.
    pub Private: [u64; 3],
}

/// What `IoGetDmaAdapter` is told about the device.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct _DEVICE_DESCRIPTION {
    /// Selects the operations table: 0 to 3 (DMA-04).
    pub Version: ULONG,
    /// TRUE for a bus master.
    pub Master: BOOLEAN,
    /// The device takes lists of fragments (DMA-07).
    pub ScatterGather: BOOLEAN,
    /// Slave only.
    pub DemandMode: BOOLEAN,
    /// Slave only.
    pub AutoInitialize: BOOLEAN,
    /// The device decodes 32 address bits (DMA-05).
    pub Dma32BitAddresses: BOOLEAN,
    /// Slave only.
    pub IgnoreCount: BOOLEAN,
    /// Must be FALSE.
    pub Reserved1: BOOLEAN,
    /// The device decodes 64 address bits.
    pub Dma64BitAddresses: BOOLEAN,
    /// Unused for a bus master.
    pub BusNumber: ULONG,
    /// Slave only.
    pub DmaChannel: ULONG,
    /// The bus, or `InterfaceTypeUndefined`.
    pub InterfaceType: INTERFACE_TYPE,
    /// Slave only.
    pub DmaWidth: DMA_WIDTH,
    /// Slave only.
    pub DmaSpeed: DMA_SPEED,
    /// Largest operation, bytes (DMA-09).
    pub MaximumLength: ULONG,
    /// Slave only.
    pub DmaPort: ULONG,
    /// Version 3: address bits the device decodes (DMA-06).
    pub DmaAddressWidth: ULONG,
    /// Version 3, slave only.
    pub DmaControllerInstance: ULONG,
    /// Version 3, slave only.
    pub DmaRequestLine: ULONG,
    /// Version 3, slave only.
    pub DeviceAddress: PHYSICAL_ADDRESS,
}

/// An adapter as the driver sees it; private members follow.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct _DMA_ADAPTER {
    /// Always 1; not the version of the table (DMA-04).
    pub Version: USHORT,
    /// Size of the public part, bytes.
    pub Size: USHORT,
    /// The operations.
    pub DmaOperations: PDMA_OPERATIONS,
}

/// A flexible array member; the elements follow the structure.
#[repr(C)]
#[derive(Debug, Default)]
pub struct __IncompleteArrayField<T>(PhantomData<T>, [T; 0]);

impl<T> __IncompleteArrayField<T> {
    /// Address of the first element.
    #[must_use]
    pub fn as_ptr(&self) -> *const T {
        core::ptr::from_ref(self).cast()
    }

    /// Address of the first element, for writing.
    #[must_use]
    pub fn as_mut_ptr(&mut self) -> *mut T {
        core::ptr::from_mut(self).cast()
    }

    /// The first `len` elements.
    ///
    /// # Safety
    /// At least `len` initialised elements follow the structure.
    #[must_use]
    pub unsafe fn as_slice(&self, len: usize) -> &[T] {
        // SAFETY: the caller vouches for `len` elements behind the structure.
        unsafe { core::slice::from_raw_parts(self.as_ptr(), len) }
    }
}

/// A scatter/gather list: header and elements (DMA-77).
#[repr(C)]
#[derive(Debug)]
pub struct _SCATTER_GATHER_LIST {
    /// Number of elements.
    pub NumberOfElements: ULONG,
    /// Private to the HAL.
    pub Reserved: ULONG_PTR,
    /// The elements.
    pub Elements: __IncompleteArrayField<SCATTER_GATHER_ELEMENT>,
}

/// One contiguous range of logical addresses.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct _SCATTER_GATHER_ELEMENT {
    /// Logical address of the first byte.
    pub Address: PHYSICAL_ADDRESS,
    /// Length, bytes.
    pub Length: ULONG,
    /// Private to the HAL.
    pub Reserved: ULONG_PTR,
}

/// Facts about an adapter, version 1 (DMA-16).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct _DMA_ADAPTER_INFO_V1 {
    /// Slave only.
    pub ReadDmaCounterAvailable: ULONG,
    /// Most elements of a list.
    pub ScatterGatherLimit: ULONG,
    /// Address bits.
    pub DmaAddressWidth: ULONG,
    /// Flags.
    pub Flags: ULONG,
    /// Element lengths are multiples of this, bytes.
    pub MinimumTransferUnit: ULONG,
}

/// `GetDmaAdapterInfo`'s in/out structure.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct _DMA_ADAPTER_INFO {
    /// `DMA_ADAPTER_INFO_VERSION1`, set by the caller.
    pub Version: ULONG,
    /// The facts.
    pub V1: DMA_ADAPTER_INFO_V1,
}

/// What a transfer needs, version 1 (DMA-60).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct _DMA_TRANSFER_INFO_V1 {
    /// Map registers.
    pub MapRegisterCount: ULONG,
    /// Elements.
    pub ScatterGatherElementCount: ULONG,
    /// Bytes of the list with the HAL's private part.
    pub ScatterGatherListSize: ULONG,
}

/// What a transfer needs, version 2.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct _DMA_TRANSFER_INFO_V2 {
    /// Map registers.
    pub MapRegisterCount: ULONG,
    /// Elements.
    pub ScatterGatherElementCount: ULONG,
    /// Bytes of the list with the HAL's private part.
    pub ScatterGatherListSize: ULONG,
    /// Logical pages.
    pub LogicalPageCount: ULONG,
}

/// `GetDmaTransferInfo`'s in/out structure.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct _DMA_TRANSFER_INFO {
    /// `DMA_TRANSFER_INFO_VERSION1` or `2`, set by the caller.
    pub Version: ULONG,
    /// The answer.
    pub __bindgen_anon_1: _DMA_TRANSFER_INFO__bindgen_ty_1,
}

/// The versions of [`_DMA_TRANSFER_INFO`].
#[repr(C)]
#[derive(Clone, Copy)]
pub union _DMA_TRANSFER_INFO__bindgen_ty_1 {
    /// Version 1.
    pub V1: DMA_TRANSFER_INFO_V1,
    /// Version 2.
    pub V2: DMA_TRANSFER_INFO_V2,
}

impl Default for _DMA_TRANSFER_INFO {
    fn default() -> Self {
        Self {
            Version: 0,
            __bindgen_anon_1: _DMA_TRANSFER_INFO__bindgen_ty_1 { V2: Default::default() },
        }
    }
}

macro_rules! operations {
    ($($name:ident: $ty:ident = fn($($arg:ident: $argty:ty),*) -> $ret:ty, $version:literal;)*) => {
        $(#[doc = concat!("`", stringify!($name), "`; in tables of version ", $version, " and later.")]
          pub type $ty = Option<unsafe extern "C" fn($($arg: $argty),*) -> $ret>;)*

        /// The operations of an adapter (DMA-04); members beyond the table's version are absent.
        #[repr(C)]
        #[derive(Clone, Copy, Debug)]
        pub struct _DMA_OPERATIONS {
            /// Size of the table, bytes.
            pub Size: ULONG,
            $(#[doc = concat!("See [`", stringify!($ty), "`].")] pub $name: $ty,)*
        }
    };
}
crate::dma_operations!(operations);

macro_rules! callback_types {
    ($($name:ident = fn($($arg:ident: $ty:ty),*) -> $ret:ty;)*) => {
        $(#[doc = concat!("The routine type `", stringify!($name), "`.")]
          pub type $name = Option<unsafe extern "C" fn($($arg: $ty),*) -> $ret>;)*
    };
}
crate::callbacks!(callback_types);

alias! {
    PDRIVER_CONTROL = DRIVER_CONTROL; PDRIVER_LIST_CONTROL = DRIVER_LIST_CONTROL;
    PKDEFERRED_ROUTINE = KDEFERRED_ROUTINE; PDMA_COMPLETION_ROUTINE = DMA_COMPLETION_ROUTINE;
    PDRIVER_INITIALIZE = DRIVER_INITIALIZE; PDRIVER_UNLOAD = DRIVER_UNLOAD;
    PETWENABLECALLBACK = ETWENABLECALLBACK;
    PDRIVER_DISPATCH = DRIVER_DISPATCH; PDRIVER_ADD_DEVICE = DRIVER_ADD_DEVICE;
    PDRIVER_CANCEL = DRIVER_CANCEL; PDRIVER_STARTIO = DRIVER_STARTIO;
    PIO_COMPLETION_ROUTINE = IO_COMPLETION_ROUTINE; PKSERVICE_ROUTINE = KSERVICE_ROUTINE;
}
