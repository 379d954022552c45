//! The exerciser: the project's own PCI test device. **Experimental**: nobody has assigned its ID.
//!
//! `docs/exerciser.md` is its manual; this module is the manual in constants and layouts. A driver
//! needs nothing else. Everything is little-endian, as are the machines that Windows runs on.

pub mod command;
pub mod fault;
pub mod pattern;
pub mod registers;

pub use command::{Command, Completion, Element, Opcode, Status};
pub use fault::FaultKind;

/// PCI vendor ID: QEMU's unofficial one, as [`edu`](crate::edu) uses it.
pub const VENDOR_ID: u16 = 0x1234;
/// PCI device ID. Not assigned by anybody; no other device is known to use it.
pub const DEVICE_ID: u16 = 0xda7a;
/// PCI subsystem vendor ID.
pub const SUBSYSTEM_VENDOR_ID: u16 = VENDOR_ID;
/// PCI subsystem ID.
pub const SUBSYSTEM_ID: u16 = DEVICE_ID;
/// PCI revision ID.
pub const REVISION: u8 = 0x01;
/// PCI class code: base class, subclass, programming interface, in 24 bits. No class covers it.
pub const CLASS_CODE: u32 = 0x00_ff_00;

/// The BAR of the registers: 64-bit, non-prefetchable.
pub const BAR: u8 = 0;
/// Size of the registers' BAR in bytes.
pub const BAR_SIZE: u64 = 0x4000;
/// The BAR of the window to on-card memory: 64-bit, prefetchable.
pub const WINDOW_BAR: u8 = 2;
/// Size of the window in bytes.
pub const WINDOW_SIZE: u64 = 0x1_0000;
/// The BAR of the MSI-X table and its pending bits: 64-bit, non-prefetchable.
pub const MSIX_BAR: u8 = 4;
/// Size of that BAR in bytes. The table is at its start.
pub const MSIX_BAR_SIZE: u64 = 0x1000;
/// Offset of the pending bits in [`MSIX_BAR`].
pub const MSIX_PENDING: u64 = 0x800;
/// MSI-X messages: one for each queue and one for errors.
pub const MSIX_MESSAGES: u16 = 5;

/// Queues.
pub const QUEUES: usize = 4;
/// On-card memory in bytes.
pub const MEMORY_LENGTH: u64 = 16 << 20;
/// The longest list in elements.
pub const ELEMENTS_MAX: u16 = 256;
/// The shortest ring in entries; a ring with n entries holds n - 1 at a time.
pub const RING_MIN: u32 = 2;
/// The longest ring in entries.
pub const RING_MAX: u32 = 256;
/// What ring addresses are multiples of, bytes.
pub const RING_ALIGNMENT: u64 = 64;

/// Whether `length` bytes at `offset` of the on-card memory exist. No length is never in range.
pub const fn is_in_memory(offset: u64, length: u64) -> bool {
    match offset.checked_add(length) {
        Some(end) => length > 0 && end <= MEMORY_LENGTH,
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_ends_where_it_ends() {
        assert!(is_in_memory(0, MEMORY_LENGTH));
        assert!(is_in_memory(MEMORY_LENGTH - 1, 1));
        assert!(!is_in_memory(MEMORY_LENGTH, 1));
        assert!(!is_in_memory(MEMORY_LENGTH, 0));
        assert!(!is_in_memory(u64::MAX, 2));
    }
}
