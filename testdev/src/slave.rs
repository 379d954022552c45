//! Register map of the slave device: a device without bus mastering, for system DMA.
//!
//! It is no PCI function: firmware enumerates it with [`ACPI_ID`], an interrupt, a page of
//! registers and a channel of the system's DMA controller. It moves no data by itself. While a
//! command runs it raises DMA requests, and each acknowledgement of the controller takes bytes out
//! of its data port, [`DATA`], or puts bytes in. **Experimental**: nobody builds it.
//!
//! Registers take 4-byte accesses at multiples of 4; [`DATA`] takes single bytes. Anything else
//! reads all ones and writes nothing.

/// Its ACPI hardware ID. The prefix is registered to nobody: for tests only.
pub const ACPI_ID: &str = "DMPF0001";

/// The window of its registers.
pub const BAR: u8 = 0;
/// Length of the window in bytes.
pub const WINDOW: u64 = 0x1000;

/// Identification, read-only: [`ID_VALUE`].
pub const ID: u64 = 0x00;
/// [`STATUS_BUSY`] and [`STATUS_REFUSED`], read-only.
pub const STATUS: u64 = 0x04;
/// Pending interrupt causes, read-only: [`IRQ_DONE`].
pub const IRQ_STATUS: u64 = 0x08;
/// Write-only: removes the bits from [`IRQ_STATUS`]. The line falls when none is left.
pub const IRQ_ACK: u64 = 0x0C;
/// First byte of device memory of the next command. Writes are dropped while it is busy.
pub const OFFSET: u64 = 0x10;
/// Bytes of the next command. Writes are dropped while it is busy.
pub const COUNT: u64 = 0x14;
/// Write-only: [`COMMAND_START`] with its modifiers, or [`COMMAND_STOP`].
pub const COMMAND: u64 = 0x18;
/// Bytes that have passed the data port since the last start, read-only.
pub const PASSED: u64 = 0x1C;
/// The data port, one byte wide: the address the DMA controller is told. A read takes the next byte
/// of a command from the device, a write gives it the next byte of a command to the device, also
/// when the command is over but the byte is still owed.
pub const DATA: u64 = 0x20;

/// What [`ID`] reads.
pub const ID_VALUE: u32 = 0x534C_5601;

/// [`STATUS`]: a command runs and requests DMA.
pub const STATUS_BUSY: u32 = 1 << 0;
/// [`STATUS`]: the last command had no length or lay outside the device's memory.
pub const STATUS_REFUSED: u32 = 1 << 1;
/// [`IRQ_STATUS`]: a command is over.
pub const IRQ_DONE: u32 = 1 << 0;
/// [`COMMAND`]: start.
pub const COMMAND_START: u32 = 1 << 0;
/// [`COMMAND`]: from the device to memory; to the device without it.
pub const COMMAND_FROM_DEVICE: u32 = 1 << 1;
/// [`COMMAND`]: set [`IRQ_DONE`] when the command is over.
pub const COMMAND_IRQ: u32 = 1 << 2;
/// [`COMMAND`]: end the running command. It has stopped when the write has reached the device, and
/// no interrupt follows.
pub const COMMAND_STOP: u32 = 1 << 3;

/// Bytes of device memory.
pub const MEMORY_LENGTH: u64 = 16 << 10;

/// Whether a command may have this range.
#[must_use]
pub const fn is_inside(offset: u64, length: u64) -> bool {
    length != 0 && offset < MEMORY_LENGTH && length <= MEMORY_LENGTH - offset
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_end_with_the_memory() {
        assert!(is_inside(0, MEMORY_LENGTH));
        assert!(is_inside(MEMORY_LENGTH - 1, 1));
        assert!(!is_inside(0, 0));
        assert!(!is_inside(1, MEMORY_LENGTH));
        assert!(!is_inside(MEMORY_LENGTH, 1));
        assert!(!is_inside(u64::MAX, u64::MAX));
    }
}
