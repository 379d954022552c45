//! The processor control region (KPCR), which GS points to in kernel mode: the fields that headers
//! and compilers read directly.

use crate::machine::{Kernel, context};
use crate::verifier::Violation;

/// Address of the first processor's region; system half, so that nothing can lie there.
const BASE: u64 = 0xFFFF_D000_0000_0000;
/// Bytes from one processor's region to the next.
const STRIDE: u64 = 0x1_0000;
/// Bytes of a region.
const LENGTH: u64 = 0x1000;
/// Regions.
const PROCESSORS: u64 = 64;
/// Addresses of thread objects; nothing is behind them.
const THREADS: u64 = 0xFFFF_D100_0000_0000;

/// The offset of an address in a region.
pub(super) fn offset(address: u64) -> Option<u64> {
    let offset = address.checked_sub(BASE).filter(|&offset| offset < STRIDE * PROCESSORS)?;
    Some(offset % STRIDE).filter(|&offset| offset < LENGTH)
}

/// Reads `size` bytes at `offset` of the current processor's region.
pub(super) fn read(kernel: &Kernel, offset: u64, size: usize) -> Result<u64, Violation> {
    let (processor, thread) = context::with(|c| (c.processor.get(), c.thread.get()));
    // CAST: small numbers.
    let (processor, thread) = (processor as u64, thread as u64);
    let region = BASE + processor * STRIDE;
    // wdm.h: KPCR.Self, CurrentPrcb and Irql; KPRCB.MxCsr, LegacyNumber, CurrentThread, Number.
    let fields = [
        (0x18, 8, region),
        (0x20, 8, region + 0x180),
        (0x50, 1, u64::from(kernel.irql())),
        (0x180, 4, 0x1F80),
        (0x184, 1, processor),
        (0x188, 8, THREADS + thread * 0x1000),
        (0x1A4, 4, processor),
    ];
    let field = fields.iter().find(|&&(at, length, _)| {
        // CAST: widening.
        at <= offset && offset + size as u64 <= at + length
    });
    match field {
        Some(&(at, _, value)) => Ok(value >> ((offset - at) * 8)),
        None => Err(super::report::not_covered(format!(
            "the driver reads {size} bytes at offset {offset:#x} of the processor control region \
             (gs:[{offset:#x}])"
        ))),
    }
}
