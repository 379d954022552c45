//! The dmaproof driver: a KMDF function driver that moves data by DMA on PCI test devices.
//!
//! Requests arrive in [`mod@queue`], which checks them against the contract of `dmaproof-protocol`
//! and puts them into a slot. From there on one routine, [`transfer::pump`], takes every step of
//! every transfer: callbacks of the system (an interrupt's DPC, AdapterControl, a cancellation, a
//! timer) record under the device's lock what happened and let it run. It runs on one processor at
//! a time, at DISPATCH_LEVEL, and holds no lock while it calls the system. So no step races with
//! another, and each request is completed by exactly one party.
//!
//! The crate has no build script and links anywhere. `driver_entry` is its only entry point.
#![no_std]

#[cfg(all(feature = "wdk", feature = "image"))]
compile_error!("`wdk` takes the genuine bindings, `image` stands in for them: choose one");

#[cfg(not(feature = "wdk"))]
pub(crate) use wdk_lite as sys;
#[cfg(feature = "wdk")]
pub(crate) use wdk_sys as sys;

pub mod device;
pub mod engine;
pub mod interrupt;
pub mod queue;
mod request;
pub mod statistics;
mod sync;
pub mod trace;
pub mod transfer;

use sys::{
    NT_SUCCESS, NTSTATUS, PCUNICODE_STRING, PDRIVER_OBJECT, WDF_NO_HANDLE,
    WDF_NO_OBJECT_ATTRIBUTES, WDFDRIVER, call_unsafe_wdf_function_binding,
};
use wdk_dma::ddk;

/// Tag of the driver's pool allocations: "DmPf" in a debugger.
pub(crate) const POOL_TAG: u32 = u32::from_le_bytes(*b"DmPf");

/// The driver's entry point: registers it with the framework. IRQL: PASSIVE_LEVEL.
///
/// # Errors
/// Those of `WdfDriverCreate`.
///
/// # Safety
/// Called once by the system, or by a host that stands in for it, with its driver object and
/// registry path.
pub unsafe extern "C" fn driver_entry(
    driver: PDRIVER_OBJECT,
    registry_path: PCUNICODE_STRING,
) -> NTSTATUS {
    // SAFETY: stopped below if the driver is not loaded, else when it is unloaded.
    unsafe { trace::start() };
    let mut config = ddk::WDF_DRIVER_CONFIG_INIT(Some(device::evt_driver_device_add));
    config.EvtDriverUnload = Some(evt_driver_unload);
    config.DriverPoolTag = POOL_TAG;
    // SAFETY: the system's own arguments, by the caller's promise; the configuration is complete.
    let status = unsafe {
        call_unsafe_wdf_function_binding!(
            WdfDriverCreate,
            driver,
            registry_path,
            WDF_NO_OBJECT_ATTRIBUTES,
            &mut config,
            WDF_NO_HANDLE.cast()
        )
    };
    if !NT_SUCCESS(status) {
        trace::stop();
    }
    status
}

/// EvtDriverUnload: the last call into the driver. PASSIVE_LEVEL.
unsafe extern "C" fn evt_driver_unload(_driver: WDFDRIVER) {
    trace::stop();
}
