//! Addresses that stand for functions this host does not have.
//!
//! They lie in the system half of the address space, where no user-mode process can have code: a
//! call faults, and the address tells what was called. So an image with imports that nthost lacks
//! loads and runs, until it calls one.

use super::Instance;

/// The first imports' address, the KMDF functions', and that of functions which need to see all of
/// their caller's registers.
const IMPORTS: u64 = 0xFFFF_C000_0000_0000;
const FRAMEWORK: u64 = 0xFFFF_C100_0000_0000;
const RAISING: u64 = 0xFFFF_C200_0000_0000;
/// Bytes between two of them; a read of an imported variable touches more than one.
const STRIDE: u64 = 0x1000;
/// Addresses of each kind.
const LENGTH: u64 = 1 << 40;

/// Stands for the import of this index.
pub(super) const fn import(index: usize) -> usize {
    // CAST: a 64-bit machine.
    (IMPORTS + index as u64 * STRIDE) as usize
}

/// Stands for the entry of this index in the KMDF function table.
pub(crate) const fn framework(index: usize) -> usize {
    // CAST: a 64-bit machine.
    (FRAMEWORK + index as u64 * STRIDE) as usize
}

/// Stands for a function that may raise an exception.
pub(super) const fn raising(index: usize) -> usize {
    // CAST: a 64-bit machine.
    (RAISING + index as u64 * STRIDE) as usize
}

/// The index of such a function.
pub(super) const fn raises(address: u64) -> Option<u64> {
    match address.wrapping_sub(RAISING) {
        offset if offset < LENGTH => Some(offset / STRIDE),
        _ => None,
    }
}

/// Whether an address stands for something. Callable in a signal handler.
pub(super) const fn contains(address: u64) -> bool {
    address.wrapping_sub(IMPORTS) < 3 * LENGTH
}

/// What an address stands for.
pub(super) fn name(instance: &Instance, address: u64) -> Option<String> {
    let index = |base: u64| {
        let offset = address.checked_sub(base).filter(|&offset| offset < LENGTH)?;
        usize::try_from(offset / STRIDE).ok()
    };
    if let Some(index) = index(IMPORTS) {
        let import = instance.parsed().imports.get(index)?;
        return Some(format!("{}!{}", import.module, import.name));
    }
    let index = index(FRAMEWORK)?;
    Some(match super::framework_names::NAMES.get(index) {
        Some(name) => format!("{name} (entry {index} of the KMDF function table)"),
        None => format!("entry {index} of the KMDF function table"),
    })
}
