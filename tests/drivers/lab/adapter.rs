//! The adapter and its operations, each by the WDK's name.

#![allow(non_snake_case, reason = "the names are the WDK's")]
#![allow(missing_docs, clippy::missing_safety_doc, reason = "see `Adapter`")]
#![allow(clippy::too_many_arguments, reason = "the WDK's signatures")]

use std::ptr;

use wdk_lite::*;

use super::ddk::YES;

/// A DMA adapter.
///
/// Its methods are the members of `DMA_OPERATIONS`, called through the adapter's table.
///
/// # Safety
/// Each operation wants what its page says. The lab breaks that on purpose, one rule at a time,
/// and relies on the machine to notice before memory is touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Adapter(pub PDMA_ADAPTER);

impl Adapter {
    /// No adapter.
    pub const NONE: Self = Self(ptr::null_mut());

    /// Whether there is one.
    #[must_use]
    pub fn is_some(self) -> bool {
        !self.0.is_null()
    }

    /// IoGetDmaAdapter: the adapter and the number of its map registers.
    ///
    /// # Safety
    /// `pdo` is the physical device object, the level PASSIVE_LEVEL.
    #[must_use]
    pub unsafe fn get(pdo: PDEVICE_OBJECT, description: &DEVICE_DESCRIPTION) -> (Self, u32) {
        let mut description = *description;
        let mut registers = 0;
        // SAFETY: the structures live on this stack; the rest is the caller's promise.
        let adapter =
            unsafe { ntddk::IoGetDmaAdapter(pdo, &raw mut description, &raw mut registers) };
        (Self(adapter), registers)
    }
}

/// Largest operation of the lab's adapters, bytes.
pub const MAXIMUM_LENGTH: u32 = 0x1_0000;

/// What the lab says about `edu` in this version: a bus master without scatter/gather that
/// reaches 24 bits (v1, v2) or 28 (v3).
#[must_use]
pub fn description(version: u32) -> DEVICE_DESCRIPTION {
    DEVICE_DESCRIPTION {
        Version: version,
        Master: YES,
        InterfaceType: _INTERFACE_TYPE::PCIBus,
        MaximumLength: MAXIMUM_LENGTH,
        DmaAddressWidth: if version == DEVICE_DESCRIPTION_VERSION3 { 28 } else { 0 },
        ..DEVICE_DESCRIPTION::default()
    }
}

/// The same for a device that would take lists of fragments, within 32 bits.
#[must_use]
pub fn scatter_gather(version: u32) -> DEVICE_DESCRIPTION {
    DEVICE_DESCRIPTION { ScatterGather: YES, ..description(version) }
}

macro_rules! operations {
    ($($name:ident: $ty:ident = fn(DmaAdapter: PDMA_ADAPTER $(, $arg:ident: $argty:ty)*) -> $ret:ty,
       $version:literal;)*) => {
        impl Adapter {
            $(#[inline(always)]
            pub unsafe fn $name(self, $($arg: $argty),*) -> $ret {
                // SAFETY: see the type.
                let table = unsafe { (*self.0).DmaOperations };
                // SAFETY: as above.
                let operation = unsafe { (*table).$name };
                let operation = operation.expect("the table of this version has the operation");
                // SAFETY: as above.
                unsafe { operation(self.0, $($arg),*) }
            })*
        }
    };
}
dma_operations!(operations);
