//! Kinds of addresses, as types that do not convert into each other.

use core::fmt;
use core::ptr::NonNull;

use crate::sys::PHYSICAL_ADDRESS;

/// An address as the device uses it: what MapTransfer, a scatter/gather list or a common buffer
/// gave, and the only kind that may be programmed into a device (DMA-24, DMA-95).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogicalAddress(u64);

impl LogicalAddress {
    pub(crate) fn from_raw(address: PHYSICAL_ADDRESS) -> Self {
        // SAFETY: every bit pattern is a value of both views of the union.
        let quad = unsafe { address.QuadPart };
        // CAST: the same 64 bits; the C type is signed.
        Self(quad as u64)
    }

    pub(crate) fn to_raw(self) -> PHYSICAL_ADDRESS {
        // CAST: the same 64 bits.
        PHYSICAL_ADDRESS { QuadPart: self.0 as i64 }
    }

    /// All 64 bits, to be written to the device whole.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The address `bytes` further on, or `None` beyond the end of the address space.
    #[must_use]
    pub const fn checked_add(self, bytes: u64) -> Option<Self> {
        match self.0.checked_add(bytes) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// Whether `length` bytes from here can be named with the bits of `mask` (DMA-05).
    #[must_use]
    pub const fn is_within(self, length: u64, mask: u64) -> bool {
        match self.0.checked_add(length) {
            Some(end) => length > 0 && end - 1 <= mask,
            None => false,
        }
    }
}

impl fmt::Debug for LogicalAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LogicalAddress({:#x})", self.0)
    }
}

/// A virtual address in system space, which the processor may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SystemVa(NonNull<u8>);

impl SystemVa {
    pub(crate) const fn new(address: NonNull<u8>) -> Self {
        Self(address)
    }

    /// The address as a pointer.
    #[must_use]
    pub const fn as_ptr(self) -> *mut u8 {
        self.0.as_ptr()
    }
}
