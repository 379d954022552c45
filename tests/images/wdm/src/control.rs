//! The control device.

use image_support::{Name, complete, control, mark_pending, set_cancel_routine, system_buffer};
use wdk_lite::*;

use crate::{IOCTL_NEXT, IOCTL_WAIT, Kind, make_device};

static NAME: Name<19> = Name::new(b"\\Device\\DmaproofWdm");
static LINK: Name<23> = Name::new(b"\\DosDevices\\DmaproofWdm");

/// Makes the device. IRQL: PASSIVE_LEVEL.
///
/// # Safety
/// Called in the driver's entry point with its driver object.
pub(crate) unsafe fn create(driver: PDRIVER_OBJECT) -> NTSTATUS {
    // SAFETY: the caller's driver object.
    let made = unsafe { make_device(driver, size_of::<Kind>(), NAME.string(), LINK.string()) };
    match made {
        Ok(device) => {
            // SAFETY: just made, with an extension for this.
            let extension: *mut Kind = unsafe { (*device).DeviceExtension }.cast();
            // SAFETY: as above.
            unsafe { extension.write(Kind::Control) };
            STATUS_SUCCESS
        }
        Err(status) => status,
    }
}

/// Deletes the device. IRQL: PASSIVE_LEVEL.
///
/// # Safety
/// Called in DriverUnload with the driver object, whose only device it is.
pub(crate) unsafe fn delete(driver: PDRIVER_OBJECT) {
    let mut link = LINK.string();
    // A link that is gone already is no loss.
    // SAFETY: a valid string, at PASSIVE_LEVEL.
    let _status = unsafe { ntddk::IoDeleteSymbolicLink(&mut link) };
    // SAFETY: the caller's driver object.
    let device = unsafe { (*driver).DeviceObject };
    if !device.is_null() {
        // SAFETY: this driver's device, which nobody uses any more.
        unsafe { ntddk::IoDeleteDevice(device) };
    }
}

/// A device control request.
///
/// # Safety
/// The system's IRP for the control device.
pub(crate) unsafe fn request(_device: PDEVICE_OBJECT, irp: PIRP) -> NTSTATUS {
    // SAFETY: an IRP_MJ_DEVICE_CONTROL for this driver.
    let parameters = unsafe { control(irp) };
    match parameters.IoControlCode {
        IOCTL_NEXT => {
            let size = size_of::<u64>() as u32;
            if parameters.InputBufferLength != size || parameters.OutputBufferLength != size {
                // SAFETY: the caller's IRP.
                return unsafe { complete(irp, STATUS_INVALID_BUFFER_SIZE, 0) };
            }
            // SAFETY: the caller's IRP; a buffered one with lengths has a system buffer.
            let buffer: *mut u64 = unsafe { system_buffer(irp) }.cast();
            // SAFETY: 8 bytes of the system buffer.
            let value = unsafe { buffer.read_unaligned() };
            // SAFETY: as above.
            unsafe { buffer.write_unaligned(value.wrapping_add(1)) };
            // SAFETY: the caller's IRP.
            unsafe { complete(irp, STATUS_SUCCESS, size.into()) }
        }
        // SAFETY: the caller's IRP.
        IOCTL_WAIT => unsafe { wait(irp) },
        // SAFETY: the caller's IRP.
        _ => unsafe { complete(irp, STATUS_INVALID_DEVICE_REQUEST, 0) },
    }
}

/// Keeps an IRP until it is cancelled.
///
/// # Safety
/// The system's IRP for the control device.
unsafe fn wait(irp: PIRP) -> NTSTATUS {
    let mut irql = 0;
    // SAFETY: a variable of this routine. Under the lock no cancel is under way.
    unsafe { ntddk::IoAcquireCancelSpinLock(&mut irql) };
    // SAFETY: the caller's IRP.
    let cancelled = unsafe { (*irp).Cancel } != 0;
    if !cancelled {
        // SAFETY: as above. Both before the lock is released: then the IRP may be gone.
        unsafe { mark_pending(irp) };
        // SAFETY: as above.
        unsafe { set_cancel_routine(irp, Some(cancel)) };
    }
    // SAFETY: the lock that was acquired above.
    unsafe { ntddk::IoReleaseCancelSpinLock(irql) };
    if cancelled {
        // SAFETY: no cancel routine was set, so the IRP is still this routine's.
        return unsafe { complete(irp, STATUS_CANCELLED, 0) };
    }
    STATUS_PENDING
}

/// The cancel routine. Entered at DISPATCH_LEVEL with the cancel spin lock.
unsafe extern "C" fn cancel(_device: PDEVICE_OBJECT, irp: PIRP) {
    // SAFETY: the system's IRP, which this routine now owns.
    let irql = unsafe { (*irp).CancelIrql };
    // SAFETY: the lock that this routine was entered with.
    unsafe { ntddk::IoReleaseCancelSpinLock(irql) };
    // SAFETY: owned, and its cancel routine is taken out.
    unsafe { complete(irp, STATUS_CANCELLED, 0) };
}
