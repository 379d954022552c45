//! KUSER_SHARED_DATA, the page with times and versions that drivers read directly.

use crate::machine::Kernel;
use crate::verifier::Violation;

/// Where kernel-mode code finds it (ntddk.h, KI_USER_SHARED_DATA).
const BASE: u64 = 0xFFFF_F780_0000_0000;
const LENGTH: u64 = 0x1000;

/// Machine time that a look at the time takes, nanoseconds, so that a loop on it ends.
const READ_NS: u64 = 50;

/// The system time at which a machine starts: 2024-01-01, in 100 ns since 1601.
pub(super) const START: u64 = 133_485_408_000_000_000;

/// A clock tick, nanoseconds.
const TICK_NS: u64 = 15_625_000;

/// Milliseconds of a tick, times 2^24.
const TICK_MULTIPLIER: u64 = (TICK_NS << 24) / 1_000_000;

/// The offset of an address in the page.
pub(super) fn offset(address: u64) -> Option<u64> {
    address.checked_sub(BASE).filter(|&offset| offset < LENGTH)
}

/// Reads `size` bytes at `offset`.
pub(super) fn read(kernel: &Kernel, offset: u64, size: usize) -> Result<u64, Violation> {
    kernel.clock.pass(READ_NS);
    let now = kernel.clock.now();
    let (interrupt, system, ticks) = (now / 100, START + now / 100, now / TICK_NS);
    // CAST: the number of processors.
    let processors = kernel.processors.len() as u64;
    // ntddk.h, KUSER_SHARED_DATA. A KSYSTEM_TIME is the low half, then the high half twice.
    let fields = [
        (0x004, 4, TICK_MULTIPLIER),
        (0x008, 8, interrupt),
        (0x010, 4, interrupt >> 32),
        (0x014, 8, system),
        (0x01C, 4, system >> 32),
        (0x260, 4, 20_348),
        (0x264, 4, 3),
        (0x268, 1, 1),
        (0x26A, 2, 9),
        (0x26C, 4, 10),
        (0x270, 4, 0),
        (0x2D4, 1, 0),
        (0x300, 8, 1_000_000_000),
        (0x320, 8, ticks),
        (0x328, 4, ticks >> 32),
        (0x3B0, 8, 0),
        (0x3C0, 4, processors),
        (0x3C4, 1, 1),
    ];
    // CAST: widening.
    let length = size as u64;
    let field =
        fields.iter().find(|&&(at, field, _)| at <= offset && offset + length <= at + field);
    match field {
        Some(&(at, _, value)) => Ok(value >> ((offset - at) * 8)),
        None => Err(super::report::not_covered(format!(
            "the driver reads {size} bytes at offset {offset:#x} of KUSER_SHARED_DATA"
        ))),
    }
}
