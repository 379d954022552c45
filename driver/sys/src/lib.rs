//! `dmaproof.sys`: the driver library's entry point under the name that the framework's stub calls.
//!
//! The behaviour is the library's, the same that runs in the simulated machine. This crate adds
//! what only a kernel-mode binary has: the exported entry, a panic handler (`wdk-panic`: a panic
//! becomes a bug check with file, line and column), and the connection of the trace provider to ETW
//! (by the features of `tracelogging` that its manifest turns on).
//!
//! There is no global allocator. The driver and everything it depends on use `core` only, so a heap
//! allocation is an error of the build instead of one at run time. `wdk-alloc` would also ignore an
//! alignment above 16 bytes (docs/why.md).
#![no_std]

extern crate wdk_panic;

use wdk_sys::{NTSTATUS, PCUNICODE_STRING, PDRIVER_OBJECT};

/// What the framework's stub calls when the driver is loaded. IRQL: PASSIVE_LEVEL.
///
/// # Errors
/// Those of the library's entry point; the driver is not loaded then.
///
/// # Safety
/// Called once, by the framework's stub, with the system's driver object and registry path.
// SAFETY: the one symbol of this name in the image; the stub (WdfDriverEntry.lib) looks for it.
#[unsafe(export_name = "DriverEntry")]
pub unsafe extern "system" fn driver_entry(
    driver: PDRIVER_OBJECT,
    registry_path: PCUNICODE_STRING,
) -> NTSTATUS {
    wdk::println!("dmaproof {}: loading", env!("CARGO_PKG_VERSION"));
    // SAFETY: the system's own arguments, by the caller's promise.
    let status = unsafe { dmaproof_driver::driver_entry(driver, registry_path) };
    if !wdk_sys::NT_SUCCESS(status) {
        wdk::println!("dmaproof: not loaded, status {status:#010x}");
    }
    status
}
