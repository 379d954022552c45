//! The DMA routines by the names they had in Windows NT, which drivers called directly. Today's
//! headers have macros of these names that call through the adapter's table; images of old drivers
//! import them.
//!
//! Our own driver uses none. A host exports them, each with the code of the operation that took its
//! place, and `docs/nt-names.md` has the table.

use crate::*;

/// The routines, `NtName => TodaysName: fn(Argument: Type, ...) -> Result, "module";` with the
/// module that exported them. An adapter object is what IoGetDmaAdapter returns.
#[macro_export]
macro_rules! legacy_exports {
    ($expand:ident) => {
        $expand! {
            HalAllocateCommonBuffer => AllocateCommonBuffer: fn(AdapterObject: PDMA_ADAPTER, Length: ULONG, LogicalAddress: PPHYSICAL_ADDRESS, CacheEnabled: BOOLEAN) -> PVOID, "hal.dll";
            HalFreeCommonBuffer => FreeCommonBuffer: fn(AdapterObject: PDMA_ADAPTER, Length: ULONG, LogicalAddress: PHYSICAL_ADDRESS, VirtualAddress: PVOID, CacheEnabled: BOOLEAN) -> (), "hal.dll";
            HalGetAdapter => IoGetDmaAdapter: fn(DeviceDescription: PDEVICE_DESCRIPTION, NumberOfMapRegisters: PULONG) -> PDMA_ADAPTER, "hal.dll";
            HalReadDmaCounter => ReadDmaCounter: fn(AdapterObject: PDMA_ADAPTER) -> ULONG, "hal.dll";
            IoAllocateAdapterChannel => AllocateAdapterChannel: fn(AdapterObject: PDMA_ADAPTER, DeviceObject: PDEVICE_OBJECT, NumberOfMapRegisters: ULONG, ExecutionRoutine: PDRIVER_CONTROL, Context: PVOID) -> NTSTATUS, "ntoskrnl.exe";
            IoFlushAdapterBuffers => FlushAdapterBuffers: fn(AdapterObject: PDMA_ADAPTER, Mdl: PMDL, MapRegisterBase: PVOID, CurrentVa: PVOID, Length: ULONG, WriteToDevice: BOOLEAN) -> BOOLEAN, "hal.dll";
            IoFreeAdapterChannel => FreeAdapterChannel: fn(AdapterObject: PDMA_ADAPTER) -> (), "hal.dll";
            IoFreeMapRegisters => FreeMapRegisters: fn(AdapterObject: PDMA_ADAPTER, MapRegisterBase: PVOID, NumberOfMapRegisters: ULONG) -> (), "hal.dll";
            IoMapTransfer => MapTransfer: fn(AdapterObject: PDMA_ADAPTER, Mdl: PMDL, MapRegisterBase: PVOID, CurrentVa: PVOID, Length: PULONG, WriteToDevice: BOOLEAN) -> PHYSICAL_ADDRESS, "hal.dll";
        }
    };
}

macro_rules! declare {
    ($($name:ident => $today:ident: fn($($arg:ident: $ty:ty),*) -> $ret:ty, $module:literal;)*) => {
        /// What a host exports by NT's names.
        #[derive(Debug)]
        pub struct LegacyExports {
            $(#[doc = concat!("The host's `", stringify!($name), "`.")]
              pub $name: unsafe extern "C" fn($($ty),*) -> $ret,)*
        }

        $(#[doc = concat!(
              "`", stringify!($name), "` of the installed host, today `", stringify!($today), "`."
          )]
          ///
          /// # Safety
          /// As the page of today's routine says; the host checks what can be checked.
          #[inline]
          pub unsafe extern "C" fn $name($($arg: $ty),*) -> $ret {
              let call = crate::host::host().legacy.$name;
              // SAFETY: the table is complete by construction; the caller vouches for the
              // arguments as it would towards the kernel.
              unsafe { call($($arg),*) }
          })*
    };
}
legacy_exports!(declare);
