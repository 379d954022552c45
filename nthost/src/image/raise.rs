//! The kernel's functions that raise exceptions. Each is an address that faults, so that all of the
//! caller's registers are at hand: the exception is dispatched from where it was called.

use super::exception::Record;
use super::fault::Frame;
use super::report::fault;
use super::trap;
use crate::machine::Kernel;
use crate::verifier::Violation;

const ACCESS_VIOLATION: u32 = 0xC000_0005;
const DATATYPE_MISALIGNMENT: u32 = 0x8000_0002;

/// Where user-mode addresses end (MmUserProbeAddress).
const USER_PROBE_ADDRESS: u64 = 0x7FFF_FFFF_0000;

const NAMES: [&str; 5] = [
    "ExRaiseStatus",
    "ExRaiseAccessViolation",
    "ExRaiseDatatypeMisalignment",
    "ProbeForRead",
    "ProbeForWrite",
];

/// The address of a function.
pub(super) fn find(name: &str) -> Option<usize> {
    NAMES.iter().position(|known| *known == name).map(trap::raising)
}

/// What the call of such a function raises; `Ok(None)` lets the caller go on.
pub(super) fn call(
    kernel: &Kernel,
    index: u64,
    frame: &Frame,
) -> Result<Option<Record>, Violation> {
    // RCX, RDX and R8. CAST: a status has 32 bits.
    let [first, length, alignment] = [1, 2, 8].map(|register| frame.registers[register]);
    let code = match index {
        0 => Some(first as u32),
        1 => Some(ACCESS_VIOLATION),
        2 => Some(DATATYPE_MISALIGNMENT),
        // CAST: ULONG.
        _ => {
            at_apc_level(kernel, index)?;
            probe(first, length, u64::from(alignment as u32))
        }
    };
    Ok(code.map(|code| Record::raised(code, frame.rip)))
}

/// wdm, ProbeForRead and ProbeForWrite: IRQL <= APC_LEVEL.
fn at_apc_level(kernel: &Kernel, index: u64) -> Result<(), Violation> {
    const APC: u8 = 1;
    let level = kernel.irql();
    if level <= APC {
        return Ok(());
    }
    let name = NAMES.get(index as usize).copied().unwrap_or_default();
    Err(fault(format!("{name} was called at IRQL {level}; it needs APC_LEVEL or below"))
        .code(0xA, [0, level.into(), 0, 0]))
}

/// What is wrong with a range of user-mode addresses. Whether pages are there shows when they are
/// used: nothing here unmaps them meanwhile.
fn probe(address: u64, length: u64, alignment: u64) -> Option<u32> {
    if length == 0 {
        return None;
    }
    if alignment.is_power_of_two() && !address.is_multiple_of(alignment) {
        return Some(DATATYPE_MISALIGNMENT);
    }
    let end = address.checked_add(length);
    let user = end.is_some_and(|end| end <= USER_PROBE_ADDRESS);
    (!user).then_some(ACCESS_VIOLATION)
}
