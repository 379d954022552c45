//! What the WDK headers define as macros and inline functions, which no binding generator sees:
//! register access, the MDL macros, the KMDF structures' initial values and context types.

mod context;
mod mdl;
mod registers;
mod wdf;

pub use context::ContextType;
pub use mdl::{
    MmGetMdlByteCount, MmGetMdlByteOffset, MmGetMdlPfnArray, MmGetMdlVirtualAddress,
    MmGetSystemAddressForMdlSafe, page_offset, span_pages,
};
pub use registers::{
    READ_REGISTER_UCHAR, READ_REGISTER_ULONG, READ_REGISTER_ULONG64, WRITE_REGISTER_UCHAR,
    WRITE_REGISTER_ULONG, WRITE_REGISTER_ULONG64,
};
pub use wdf::{
    WDF_DPC_CONFIG_INIT, WDF_DRIVER_CONFIG_INIT, WDF_FILEOBJECT_CONFIG_INIT,
    WDF_INTERRUPT_CONFIG_INIT, WDF_INTERRUPT_EXTENDED_POLICY_INIT, WDF_INTERRUPT_INFO_INIT,
    WDF_IO_QUEUE_CONFIG_INIT_DEFAULT_QUEUE, WDF_OBJECT_ATTRIBUTES_INIT,
    WDF_OBJECT_ATTRIBUTES_INIT_CONTEXT_TYPE, WDF_PNPPOWER_EVENT_CALLBACKS_INIT,
    WDF_REQUEST_PARAMETERS_INIT, WDF_TIMER_CONFIG_INIT,
};

use crate::sys::{KIRQL, ntddk};

/// Lowers the level; x64 and ARM64 export it under different names.
///
/// # Safety
/// `previous` is what the matching raise returned.
pub(crate) unsafe fn lower_irql(previous: KIRQL) {
    #[cfg(not(all(feature = "wdk", target_arch = "aarch64")))]
    // SAFETY: the caller pairs it with a raise.
    unsafe {
        ntddk::KeLowerIrql(previous);
    }
    #[cfg(all(feature = "wdk", target_arch = "aarch64"))]
    // SAFETY: the caller pairs it with a raise.
    unsafe {
        ntddk::KfLowerIrql(previous);
    }
}
