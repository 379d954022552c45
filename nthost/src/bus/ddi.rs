//! The bus functions a driver calls.

// UNSAFETY: arguments are the driver's.
#![allow(non_snake_case, reason = "names are the WDK's")]

use wdk_lite::*;

use crate::RuleId;
use crate::machine::Kernel;
use crate::verifier::{Violation, broken};

/// Maps device registers (KMDF-04; wdm, MmMapIoSpaceEx). NULL if the range is no device's.
pub(crate) unsafe fn MmMapIoSpaceEx(
    kernel: &Kernel,
    PhysicalAddress: PHYSICAL_ADDRESS,
    NumberOfBytes: SIZE_T,
    Protect: ULONG,
) -> Result<PVOID, Violation> {
    // SAFETY: both views are integers.
    let physical = unsafe { PhysicalAddress.QuadPart } as u64;
    if NumberOfBytes == 0 {
        let message = "MmMapIoSpaceEx was asked for zero bytes".to_owned();
        return Err(broken(RuleId::Kmdf04, message).code(0xC4, [0x83, physical, 0, 0]));
    }
    if Protect & PAGE_NOCACHE == 0 {
        let message = format!("registers at {physical:#x} were mapped cached ({Protect:#x})");
        return Err(broken(RuleId::Kmdf04, message));
    }
    let address = kernel.map_registers(physical, NumberOfBytes).unwrap_or(0);
    // CAST: a 64-bit machine; nothing is ever behind this address.
    Ok(std::ptr::without_provenance_mut(address as usize))
}

/// Unmaps device registers (KMDF-04; wdm, MmUnmapIoSpace).
pub(crate) unsafe fn MmUnmapIoSpace(
    kernel: &Kernel,
    BaseAddress: PVOID,
    NumberOfBytes: SIZE_T,
) -> Result<(), Violation> {
    kernel.unmap_registers(BaseAddress as u64, NumberOfBytes)
}
