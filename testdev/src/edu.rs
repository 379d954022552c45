//! Register map of QEMU's `edu` device.
//!
//! Facts come from QEMU's `docs/specs/edu.rst` and `hw/misc/edu.c`; those marked *measured* were
//! observed on QEMU 7.2.22. Offsets are bytes from the start of BAR 0.
//!
//! Registers below [`DMA_SOURCE`] take 4-byte accesses only; those from there on take 4 or 8 bytes.
//! An access of another size reads all ones and writes nothing. None of the offsets in between
//! (0x84, 0x8c, ...) is the upper half of a register.
//!
//! `edu` has no reset: registers and pending interrupt causes outlive a system reset (measured), so
//! a driver acknowledges every cause before it connects its interrupt. It has no abort either.

/// PCI vendor ID.
pub const VENDOR_ID: u16 = 0x1234;
/// PCI device ID.
pub const DEVICE_ID: u16 = 0x11e8;
/// PCI subsystem vendor ID that QEMU fills in.
pub const SUBSYSTEM_VENDOR_ID: u16 = 0x1af4;
/// PCI subsystem ID that QEMU fills in.
pub const SUBSYSTEM_ID: u16 = 0x1100;
/// PCI revision ID.
pub const REVISION: u8 = 0x10;
/// PCI class code: base class, subclass, programming interface, in 24 bits. No class covers it.
pub const CLASS_CODE: u32 = 0x00_ff_00;

/// The only BAR: 32-bit, non-prefetchable memory.
pub const BAR: u8 = 0;
/// Size of BAR 0 in bytes (1 MiB).
pub const BAR_SIZE: u64 = 0x10_0000;
/// MSI messages the device can send. It has no MSI-X.
pub const MSI_MESSAGES: u16 = 1;

/// Identification, 4 bytes, read-only. See [`is_edu`].
pub const ID: u64 = 0x00;
/// Liveness check, 4 bytes: reads back the complement of what was written. See [`liveness`].
pub const LIVENESS: u64 = 0x04;
/// Factorial, 4 bytes: a write starts the computation, unless one is going on. See [`factorial`].
pub const FACTORIAL: u64 = 0x08;
/// Status, 4 bytes: [`STATUS_COMPUTING`] and [`STATUS_FACTORIAL_IRQ`]; only the latter is writable.
pub const STATUS: u64 = 0x20;
/// Pending interrupt causes, 4 bytes, read-only. Reading acknowledges nothing.
pub const IRQ_STATUS: u64 = 0x24;
/// Write-only, 4 bytes: adds the bits to [`IRQ_STATUS`]; an interrupt follows if any bit is then
/// set there, even when the write added none.
pub const IRQ_RAISE: u64 = 0x60;
/// Write-only, 4 bytes: removes the bits from [`IRQ_STATUS`]. The INTx pin falls when none is left.
/// Needed with MSI as well.
pub const IRQ_ACK: u64 = 0x64;
/// Where a transfer reads, 4 or 8 bytes: a logical address, or one of the device buffer.
///
/// A 4-byte write to this or the next three registers clears bits 63:32 (measured), so an address
/// of more than 32 bits takes one 8-byte store. Writes are dropped while [`COMMAND_RUN`] is set.
pub const DMA_SOURCE: u64 = 0x80;
/// Where a transfer writes, 4 or 8 bytes.
pub const DMA_DESTINATION: u64 = 0x88;
/// Length of a transfer in bytes, 4 or 8 bytes wide.
pub const DMA_COUNT: u64 = 0x90;
/// Command, 4 or 8 bytes. See [`Command`]. A write without [`COMMAND_RUN`] is ignored.
pub const DMA_COMMAND: u64 = 0x98;

/// What [`ID`] reads on every QEMU so far.
pub const ID_VALUE: u32 = 0x0100_00ed;
/// The bits of [`ID`] that [`is_edu`] compares: all but the minor revision.
pub const ID_MASK: u32 = 0xff00_ffff;
/// [`STATUS`]: a factorial is being computed.
pub const STATUS_COMPUTING: u32 = 0x01;
/// [`STATUS`]: raise [`IRQ_FACTORIAL`] when the factorial is ready.
pub const STATUS_FACTORIAL_IRQ: u32 = 0x80;
/// [`IRQ_STATUS`]: a factorial is ready.
pub const IRQ_FACTORIAL: u32 = 0x001;
/// [`IRQ_STATUS`]: a transfer is over. It says nothing about success: `edu` reports no errors.
pub const IRQ_DMA: u32 = 0x100;
/// [`DMA_COMMAND`]: start; reads 1 until the transfer is over.
pub const COMMAND_RUN: u64 = 1 << 0;
/// [`DMA_COMMAND`]: 0 to-device, 1 from-device.
pub const COMMAND_FROM_DEVICE: u64 = 1 << 1;
/// [`DMA_COMMAND`]: raise [`IRQ_DMA`] when the transfer is over.
pub const COMMAND_IRQ: u64 = 1 << 2;

/// Address of the device buffer, as the DMA registers name it. Not reachable through BAR 0, where
/// the same offset reads all ones (measured).
pub const BUFFER_ADDRESS: u64 = 0x4_0000;
/// Length of the device buffer in bytes.
pub const BUFFER_LENGTH: u64 = 4096;
/// Bytes of the device buffer that every QEMU lets a transfer touch.
///
/// Older versions compare the end of the range with the wrong operator and abort the virtual
/// machine when a transfer reaches the last byte, or when it has no length at all (measured).
pub const SAFE_LENGTH: u64 = 4095;
/// Default of the device's `dma_mask` property: host addresses are silently ANDed with it.
pub const DEFAULT_DMA_MASK: u64 = 0x0fff_ffff;
/// Time from command to completion in nanoseconds of machine time, whatever the length.
pub const DMA_DELAY_NS: u64 = 100_000_000;

/// Which way a transfer moves data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Host memory to device buffer.
    ToDevice,
    /// Device buffer to host memory.
    FromDevice,
}

/// A value of [`DMA_COMMAND`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Command(u64);

impl Command {
    /// The command that starts a transfer, without an interrupt at its end.
    pub const fn start(direction: Direction) -> Self {
        match direction {
            Direction::ToDevice => Self(COMMAND_RUN),
            Direction::FromDevice => Self(COMMAND_RUN | COMMAND_FROM_DEVICE),
        }
    }

    /// The same command, with an interrupt at the end of the transfer.
    pub const fn with_interrupt(self) -> Self {
        Self(self.0 | COMMAND_IRQ)
    }

    /// Takes what a read of the register gave.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// What to write to the register.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Whether the transfer has not finished.
    pub const fn is_running(self) -> bool {
        self.0 & COMMAND_RUN != 0
    }

    /// Whether the end of the transfer raises an interrupt.
    pub const fn has_interrupt(self) -> bool {
        self.0 & COMMAND_IRQ != 0
    }

    /// Which way the transfer goes. The bit stays readable after the transfer.
    pub const fn direction(self) -> Direction {
        if self.0 & COMMAND_FROM_DEVICE == 0 { Direction::ToDevice } else { Direction::FromDevice }
    }
}

/// Whether a value of [`ID`] belongs to an `edu` device of the major revision described here.
/// All ones, which an absent device gives, does not.
pub const fn is_edu(id: u32) -> bool {
    id & ID_MASK == ID_VALUE & ID_MASK
}

/// What [`LIVENESS`] reads after `written` was written to it.
pub const fn liveness(written: u32) -> u32 {
    !written
}

/// What [`FACTORIAL`] reads once the device has worked on `n`: n! modulo 2^32.
pub const fn factorial(n: u32) -> u32 {
    // 34! already holds the factor 2^32.
    if n >= 34 {
        return 0;
    }
    let mut product: u32 = 1;
    let mut factor = n;
    while factor > 1 {
        product = product.wrapping_mul(factor);
        factor -= 1;
    }
    product
}

/// The address to program for `length` bytes at `offset` of the device buffer; `None` unless the
/// range is safe on every QEMU: not empty, and inside the first [`SAFE_LENGTH`] bytes.
pub const fn device_address(offset: u64, length: u64) -> Option<u64> {
    match offset.checked_add(length) {
        Some(end) if length > 0 && end <= SAFE_LENGTH => Some(BUFFER_ADDRESS + offset),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_check_ignores_the_minor_revision_only() {
        assert!(is_edu(ID_VALUE));
        assert!(is_edu(0x0142_00ed));
        assert!(!is_edu(0x0200_00ed));
        assert!(!is_edu(u32::MAX));
        assert!(!is_edu(0));
    }

    #[test]
    fn commands_have_the_documented_bits() {
        let command = Command::start(Direction::FromDevice).with_interrupt();

        assert_eq!(command.bits(), 0b111);
        assert_eq!(Command::start(Direction::ToDevice).bits(), 0b001);
        assert!(command.is_running() && command.has_interrupt());
        assert_eq!(command.direction(), Direction::FromDevice);
        assert_eq!(Command::from_bits(0b100).direction(), Direction::ToDevice);
    }

    #[test]
    fn factorial_wraps_at_32_bits() {
        assert_eq!(factorial(0), 1);
        assert_eq!(factorial(5), 120);
        assert_eq!(factorial(12), 479_001_600);
        assert_eq!(factorial(13), 1_932_053_504);
        assert_eq!(factorial(33), 0x8000_0000);
        assert_eq!(factorial(34), 0);
        assert_eq!(factorial(u32::MAX), 0);
    }

    #[test]
    fn device_address_accepts_what_every_qemu_accepts() {
        assert_eq!(device_address(0, 4095), Some(0x40000));
        assert_eq!(device_address(1, 4094), Some(0x40001));
        assert_eq!(device_address(0xffe, 1), Some(0x40ffe));
        assert_eq!(device_address(0, 1), Some(0x40000));
    }

    #[test]
    fn device_address_refuses_what_kills_an_old_qemu() {
        assert_eq!(device_address(0, 4096), None);
        assert_eq!(device_address(1, 4095), None);
        assert_eq!(device_address(0xfff, 1), None);
        assert_eq!(device_address(0, 0), None);
        assert_eq!(device_address(u64::MAX, 2), None);
    }
}
