//! A WDM driver, with nothing of the framework: a control device that any program can use, and a
//! function driver for QEMU's `edu` device.
//!
//! * [`control`]: `\\.\DmaproofWdm`, with a request that answers at once and one that waits until
//!   it is cancelled. It needs no hardware.
//! * [`function`]: AddDevice, START and REMOVE of an edu device, which is `\\.\DmaproofWdmEdu`.
//! * [`transfer`]: one transfer at a time, by AllocateAdapterChannel, MapTransfer,
//!   FlushAdapterBuffers and FreeMapRegisters, with an interrupt and its DPC.
#![no_std]

pub mod control;
pub mod function;
pub mod transfer;

use core::ptr;

use image_support::{complete, control_code, current, pass_on};
use wdk_lite::*;

/// Answers with its input, a 64-bit number, plus one.
pub const IOCTL_NEXT: u32 = control_code(0x800, METHOD_BUFFERED);
/// Waits until it is cancelled.
pub const IOCTL_WAIT: u32 = control_code(0x801, METHOD_BUFFERED);
/// Moves the second buffer to the device; the first is the device's offset, 32 bits.
pub const IOCTL_TO_DEVICE: u32 = control_code(0x802, METHOD_IN_DIRECT);
/// Moves from the device to the second buffer.
pub const IOCTL_FROM_DEVICE: u32 = control_code(0x803, METHOD_OUT_DIRECT);

/// What the extension of each device begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Kind {
    /// The control device.
    Control = 1,
    /// An edu device.
    Function,
}

/// The driver's entry point. IRQL: PASSIVE_LEVEL.
///
/// # Errors
/// Those of making the control device.
///
/// # Safety
/// Called once by the system, or by a host that stands in for it.
pub unsafe extern "C" fn driver_entry(
    driver: PDRIVER_OBJECT,
    _registry_path: PCUNICODE_STRING,
) -> NTSTATUS {
    // SAFETY: the system's driver object, in the driver's entry point.
    let object = unsafe { &mut *driver };
    let dispatch = &mut object.MajorFunction;
    for major in [IRP_MJ_CREATE, IRP_MJ_CLOSE, IRP_MJ_CLEANUP] {
        set(dispatch, major, dispatch_open);
    }
    set(dispatch, IRP_MJ_DEVICE_CONTROL, dispatch_control);
    set(dispatch, IRP_MJ_PNP, function::dispatch_pnp);
    set(dispatch, IRP_MJ_POWER, dispatch_power);
    object.DriverUnload = Some(unload);
    // SAFETY: the system's driver object has an extension.
    unsafe { (*object.DriverExtension).AddDevice = Some(function::add_device) };
    // SAFETY: as above; nothing exists yet.
    unsafe { control::create(driver) }
}

fn set(
    table: &mut [PDRIVER_DISPATCH; 28],
    major: u32,
    routine: unsafe extern "C" fn(PDEVICE_OBJECT, PIRP) -> NTSTATUS,
) {
    // CAST: a major function's number.
    if let Some(entry) = table.get_mut(major as usize) {
        *entry = Some(routine);
    }
}

/// DriverUnload: the edu devices are gone by then.
unsafe extern "C" fn unload(driver: PDRIVER_OBJECT) {
    // SAFETY: the system's driver object; the control device is the only one left.
    unsafe { control::delete(driver) };
}

/// The extension's kind.
///
/// # Safety
/// `device` is one of this driver's.
pub(crate) unsafe fn kind(device: PDEVICE_OBJECT) -> Kind {
    // SAFETY: this driver's device, whose extension begins with its kind.
    let extension = unsafe { (*device).DeviceExtension };
    // SAFETY: as above.
    unsafe { extension.cast::<Kind>().read() }
}

/// IRP_MJ_CREATE, IRP_MJ_CLOSE and IRP_MJ_CLEANUP.
unsafe extern "C" fn dispatch_open(_device: PDEVICE_OBJECT, irp: PIRP) -> NTSTATUS {
    // SAFETY: the system's IRP for this driver.
    unsafe { complete(irp, STATUS_SUCCESS, 0) }
}

/// IRP_MJ_DEVICE_CONTROL.
unsafe extern "C" fn dispatch_control(device: PDEVICE_OBJECT, irp: PIRP) -> NTSTATUS {
    // SAFETY: this driver's device.
    match unsafe { kind(device) } {
        // SAFETY: the system's IRP for this device.
        Kind::Control => unsafe { control::request(device, irp) },
        // SAFETY: the system's IRP for this device.
        Kind::Function => unsafe { transfer::request(device, irp) },
    }
}

/// IRP_MJ_POWER: the bus driver below knows better.
unsafe extern "C" fn dispatch_power(device: PDEVICE_OBJECT, irp: PIRP) -> NTSTATUS {
    // SAFETY: this driver's device.
    match unsafe { kind(device) } {
        Kind::Function => {
            // SAFETY: an edu device's extension.
            let lower = unsafe { (*function::extension(device)).lower };
            // SAFETY: the system's IRP for this device.
            unsafe { pass_on(lower, irp) }
        }
        // SAFETY: the system's IRP for this device.
        Kind::Control => unsafe { complete(irp, STATUS_INVALID_DEVICE_REQUEST, 0) },
    }
}

/// The minor function of an IRP.
///
/// # Safety
/// The system's IRP for this driver.
pub(crate) unsafe fn minor(irp: PIRP) -> u32 {
    // SAFETY: the caller has the IRP.
    let stack = unsafe { current(irp) };
    // SAFETY: as above.
    unsafe { (*stack).MinorFunction }.into()
}

/// Makes a device with a name and a link; null if that fails, with the status.
///
/// # Safety
/// `driver` is the system's driver object; PASSIVE_LEVEL.
pub(crate) unsafe fn make_device(
    driver: PDRIVER_OBJECT,
    extension: usize,
    mut name: UNICODE_STRING,
    mut link: UNICODE_STRING,
) -> Result<PDEVICE_OBJECT, NTSTATUS> {
    let mut device = ptr::null_mut();
    // SAFETY: the caller's driver object; the strings and the variable outlive the call.
    let status = unsafe {
        // CAST: a small extension; FALSE.
        ntddk::IoCreateDevice(
            driver,
            extension as u32,
            &mut name,
            FILE_DEVICE_UNKNOWN,
            FILE_DEVICE_SECURE_OPEN,
            FALSE as BOOLEAN,
            &mut device,
        )
    };
    if !NT_SUCCESS(status) {
        return Err(status);
    }
    // SAFETY: as above.
    let status = unsafe { ntddk::IoCreateSymbolicLink(&mut link, &mut name) };
    if !NT_SUCCESS(status) {
        // SAFETY: made above, and nobody knows it yet.
        unsafe { ntddk::IoDeleteDevice(device) };
        return Err(status);
    }
    Ok(device)
}
