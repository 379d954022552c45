//! A KMDF driver without hardware, in the manner of an echo: what is written can be read, each a
//! moment later.
//!
//! Reads and writes go from the default queue into a manual one, from which a timer takes them.
//! [`IOCTL_HOLD`] keeps its request, cancelable, until [`IOCTL_RELEASE`] or a cancel ends it.
#![no_std]

mod device;
mod requests;

use core::ptr;

use wdk_dma::ddk;
use wdk_lite::*;

/// Bytes that the device keeps.
pub const CAPACITY: usize = 256;
/// Keeps its request until [`IOCTL_RELEASE`] is sent or it is cancelled.
pub const IOCTL_HOLD: u32 = code(0x800);
/// Completes the request that [`IOCTL_HOLD`] keeps.
pub const IOCTL_RELEASE: u32 = code(0x801);
/// The device's interface class.
pub const INTERFACE: GUID = GUID {
    Data1: 0x6f1d_2c55,
    Data2: 0x9d5f,
    Data3: 0x4a39,
    Data4: [0x8f, 0x10, 0x7b, 0x67, 0x1e, 0x2c, 0x94, 0xd3],
};

/// A buffered device control code that needs read and write access.
const fn code(function: u32) -> u32 {
    let access = FILE_READ_ACCESS | FILE_WRITE_ACCESS;
    FILE_DEVICE_UNKNOWN << 16 | access << 14 | function << 2 | METHOD_BUFFERED
}

/// The driver's entry point. IRQL: PASSIVE_LEVEL.
///
/// # Errors
/// Those of `WdfDriverCreate`.
///
/// # Safety
/// Called once by the framework's stub, or by a host that stands in for it.
pub unsafe extern "C" fn driver_entry(
    driver: PDRIVER_OBJECT,
    registry_path: PCUNICODE_STRING,
) -> NTSTATUS {
    let mut config = ddk::WDF_DRIVER_CONFIG_INIT(Some(device::evt_device_add));
    // SAFETY: the system's own arguments; the configuration is complete.
    unsafe {
        call_unsafe_wdf_function_binding!(
            WdfDriverCreate,
            driver,
            registry_path,
            WDF_NO_OBJECT_ATTRIBUTES,
            &mut config,
            ptr::null_mut()
        )
    }
}
