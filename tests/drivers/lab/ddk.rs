//! What the WDK headers define as macros and inline functions, as far as the lab needs it.
//!
//! Written for the lab alone, from the pages of the macros: a mistake in the safe layer's own
//! versions must not hide here too.

#![allow(non_snake_case, reason = "the names are the WDK's")]

use std::ffi::CStr;
use std::ptr;

use wdk_lite::*;

/// Size of a structure, as the framework's structures carry it.
pub const fn size<T>() -> ULONG {
    // CAST: sizes of small structures.
    size_of::<T>() as ULONG
}

/// `TRUE` as the one-byte type.
pub const YES: BOOLEAN = 1;
/// `FALSE` as the one-byte type.
pub const NO: BOOLEAN = 0;

/// A context type; the framework knows it by the address of its static.
#[derive(Debug)]
pub struct ContextType(pub WDF_OBJECT_CONTEXT_TYPE_INFO);

// SAFETY: immutable, and the pointers in it name statics.
unsafe impl Sync for ContextType {}

impl ContextType {
    /// The type of contexts of `bytes` bytes; `this` is the static that is being defined.
    #[must_use]
    pub const fn new(name: &'static CStr, bytes: usize, this: *const Self) -> Self {
        Self(WDF_OBJECT_CONTEXT_TYPE_INFO {
            Size: size::<WDF_OBJECT_CONTEXT_TYPE_INFO>(),
            ContextName: name.as_ptr().cast(),
            ContextSize: bytes,
            UniqueType: this.cast(),
            EvtDriverGetUniqueContextType: None,
        })
    }
}

/// WDF_OBJECT_ATTRIBUTES_INIT.
#[must_use]
pub fn attributes() -> WDF_OBJECT_ATTRIBUTES {
    WDF_OBJECT_ATTRIBUTES {
        Size: size::<WDF_OBJECT_ATTRIBUTES>(),
        ExecutionLevel: _WDF_EXECUTION_LEVEL::WdfExecutionLevelInheritFromParent,
        SynchronizationScope: _WDF_SYNCHRONIZATION_SCOPE::WdfSynchronizationScopeInheritFromParent,
        ..WDF_OBJECT_ATTRIBUTES::default()
    }
}

/// WDF_IO_QUEUE_CONFIG_INIT for a queue that is not the default one.
#[must_use]
pub fn queue_config(dispatch: WDF_IO_QUEUE_DISPATCH_TYPE) -> WDF_IO_QUEUE_CONFIG {
    // SAFETY: integers, handles and optional functions only; zero is a value of each.
    let mut config: WDF_IO_QUEUE_CONFIG = unsafe { std::mem::zeroed() };
    config.Size = size::<WDF_IO_QUEUE_CONFIG>();
    config.DispatchType = dispatch;
    config.PowerManaged = _WDF_TRI_STATE::WdfUseDefault;
    if dispatch == _WDF_IO_QUEUE_DISPATCH_TYPE::WdfIoQueueDispatchParallel {
        config.Settings.Parallel.NumberOfPresentedRequests = ULONG::MAX;
    }
    config
}

/// WDF_INTERRUPT_CONFIG_INIT.
#[must_use]
pub fn interrupt_config(
    isr: PFN_WDF_INTERRUPT_ISR,
    dpc: PFN_WDF_INTERRUPT_DPC,
) -> WDF_INTERRUPT_CONFIG {
    WDF_INTERRUPT_CONFIG {
        Size: size::<WDF_INTERRUPT_CONFIG>(),
        ShareVector: _WDF_TRI_STATE::WdfUseDefault,
        EvtInterruptIsr: isr,
        EvtInterruptDpc: dpc,
        ReportInactiveOnPowerDown: _WDF_TRI_STATE::WdfUseDefault,
        ..WDF_INTERRUPT_CONFIG::default()
    }
}

/// The buffer's length, bytes.
///
/// # Safety
/// `mdl` is live.
pub unsafe fn MmGetMdlByteCount(mdl: PMDL) -> ULONG {
    // SAFETY: live by the caller's promise.
    unsafe { (*mdl).ByteCount }
}

/// The buffer's address: an index for MapTransfer.
///
/// # Safety
/// `mdl` is live.
pub unsafe fn MmGetMdlVirtualAddress(mdl: PMDL) -> PVOID {
    // SAFETY: live by the caller's promise.
    let header = unsafe { mdl.read() };
    // CAST: an offset in a page.
    header.StartVa.wrapping_byte_add(header.ByteOffset as usize)
}

/// The buffer's system address.
///
/// # Safety
/// `mdl` is live, its pages locked or nonpaged.
pub unsafe fn MmGetSystemAddressForMdlSafe(mdl: PMDL, priority: ULONG) -> PVOID {
    // SAFETY: live by the caller's promise.
    let header = unsafe { mdl.read() };
    // CAST: flags are 16 bits, signed in C.
    let flags = u32::from(header.MdlFlags as u16);
    if flags & (MDL_MAPPED_TO_SYSTEM_VA | MDL_SOURCE_IS_NONPAGED_POOL) != 0 {
        return header.MappedSystemVa;
    }
    // SAFETY: locked pages by the caller's promise.
    unsafe {
        ntddk::MmMapLockedPagesSpecifyCache(
            mdl,
            KERNEL_MODE,
            _MEMORY_CACHING_TYPE::MmCached,
            ptr::null_mut(),
            FALSE,
            priority,
        )
    }
}

/// `KernelMode` as the one-byte type.
// CAST: a small enumeration.
pub const KERNEL_MODE: KPROCESSOR_MODE = _MODE::KernelMode as KPROCESSOR_MODE;

/// Pages that `length` bytes at `address` touch (ADDRESS_AND_SIZE_TO_SPAN_PAGES).
#[must_use]
pub fn pages(address: PVOID, length: u32) -> u32 {
    // CAST: an offset in a page.
    let offset = (address.addr() % PAGE_SIZE as usize) as u32;
    (offset + length).div_ceil(PAGE_SIZE)
}

/// Raises to `level` around `body`.
///
/// # Safety
/// In kernel mode; `body` returns at `level`.
pub unsafe fn at_level<R>(level: u32, body: impl FnOnce() -> R) -> R {
    // SAFETY: raised and lowered in pairs.
    // CAST: a level is less than 16.
    let old = unsafe { ntddk::KfRaiseIrql(level as KIRQL) };
    let result = body();
    // SAFETY: the matching raise is above.
    unsafe { ntddk::KeLowerIrql(old) };
    result
}

/// Waits at PASSIVE_LEVEL until `condition` holds or `steps` periods of 10 microseconds passed.
///
/// # Safety
/// In kernel mode at PASSIVE_LEVEL.
pub unsafe fn wait(steps: u32, condition: impl Fn() -> bool) -> bool {
    for _ in 0..steps {
        if condition() {
            return true;
        }
        // Relative, in units of 100 ns.
        let mut interval = LARGE_INTEGER { QuadPart: -100 };
        // SAFETY: PASSIVE_LEVEL by the caller's promise; the interval lives on this stack.
        unsafe { ntddk::KeDelayExecutionThread(KERNEL_MODE, NO, &raw mut interval) };
    }
    condition()
}
