//! Device objects, names, stacks; buffers of requests.

use core::ptr;

use image_support::{Name, complete, control, system_buffer};
use wdk_dma::ddk;
use wdk_lite::*;

use crate::check::Checks;

/// Makes a device object.
///
/// # Safety
/// The system's driver object; PASSIVE_LEVEL.
pub(crate) unsafe fn make(
    driver: PDRIVER_OBJECT,
    extension: u32,
    name: Option<&mut UNICODE_STRING>,
) -> Result<PDEVICE_OBJECT, NTSTATUS> {
    let mut device = ptr::null_mut();
    let name = name.map_or(ptr::null_mut(), ptr::from_mut);
    // SAFETY: the caller's driver object; the variable outlives the call.
    let status = unsafe {
        ntddk::IoCreateDevice(
            driver,
            extension,
            name,
            FILE_DEVICE_UNKNOWN,
            FILE_DEVICE_SECURE_OPEN,
            FALSE as BOOLEAN,
            &mut device,
        )
    };
    if NT_SUCCESS(status) { Ok(device) } else { Err(status) }
}

/// Runs `body` on a device without a name.
fn with_device(
    checks: &mut Checks,
    driver: PDRIVER_OBJECT,
    body: impl FnOnce(&mut Checks, PDEVICE_OBJECT),
) {
    const EXTENSION: u32 = 40;
    // SAFETY: the system's driver object, at PASSIVE_LEVEL.
    let made = unsafe { make(driver, EXTENSION, None) };
    checks.holds(made.is_ok());
    let Ok(device) = made else { return };
    body(checks, device);
    // SAFETY: made above, and used by nobody.
    unsafe { ntddk::IoDeleteDevice(device) };
}

/// A new device: the first of its driver's list, being initialised, with one stack location and a
/// zeroed extension.
pub(crate) fn device(checks: &mut Checks, driver: PDRIVER_OBJECT) {
    // SAFETY: the system's driver object.
    let before = unsafe { (*driver).DeviceObject };
    with_device(checks, driver, |checks, device| {
        // SAFETY: the device that was just made.
        let made = unsafe { device.read() };
        checks.same(made.DriverObject.addr() as u64, driver.addr() as u64);
        // SAFETY: the system's driver object.
        let first = unsafe { (*driver).DeviceObject };
        checks.same(first.addr() as u64, device.addr() as u64);
        checks.same(made.NextDevice.addr() as u64, before.addr() as u64);
        checks.holds(made.Flags & DO_DEVICE_INITIALIZING != 0);
        // CAST: 1.
        checks.same(made.StackSize as u64, 1);
        checks.same(made.DeviceType.into(), FILE_DEVICE_UNKNOWN.into());
        checks.holds(!made.DeviceExtension.is_null());
        let extension: *const u8 = made.DeviceExtension.cast_const().cast();
        // SAFETY: the extension has this many bytes.
        let zeroed = (0..40).all(|at| unsafe { extension.wrapping_add(at).read() } == 0);
        checks.holds(zeroed);
    });
    // SAFETY: as above.
    let after = unsafe { (*driver).DeviceObject };
    checks.same(after.addr() as u64, before.addr() as u64);
}

static NAME: Name<31> = Name::new(b"\\Device\\DmaproofConformanceName");
static LINK: Name<35> = Name::new(b"\\DosDevices\\DmaproofConformanceName");

/// A name or a link that exists is not given again; one that does not cannot be deleted.
pub(crate) fn names(checks: &mut Checks, driver: PDRIVER_OBJECT) {
    let (mut name, mut link) = (NAME.string(), LINK.string());
    // SAFETY: the system's driver object, at PASSIVE_LEVEL.
    let made = unsafe { make(driver, 0, Some(&mut name)) };
    checks.holds(made.is_ok());
    let Ok(device) = made else { return };
    // SAFETY: as above.
    let again = unsafe { make(driver, 0, Some(&mut name)) };
    checks.status(again.err().unwrap_or(STATUS_SUCCESS), STATUS_OBJECT_NAME_COLLISION);
    if let Ok(second) = again {
        // SAFETY: made above.
        unsafe { ntddk::IoDeleteDevice(second) };
    }
    // SAFETY: valid strings, at PASSIVE_LEVEL.
    let mut link_once = || unsafe { ntddk::IoCreateSymbolicLink(&mut link, &mut name) };
    checks.status(link_once(), STATUS_SUCCESS);
    checks.status(link_once(), STATUS_OBJECT_NAME_COLLISION);
    // SAFETY: as above.
    let mut unlink = || unsafe { ntddk::IoDeleteSymbolicLink(&mut link) };
    checks.status(unlink(), STATUS_SUCCESS);
    checks.status(unlink(), STATUS_OBJECT_NAME_NOT_FOUND);
    // SAFETY: made above, and used by nobody.
    unsafe { ntddk::IoDeleteDevice(device) };
}

/// Attaching goes to the top of the stack, whatever device of it is named, unless that device is
/// still being initialised; each level needs a stack location more.
pub(crate) fn stack(checks: &mut Checks, driver: PDRIVER_OBJECT) {
    with_device(checks, driver, |checks, bottom| {
        with_device(checks, driver, |checks, middle| {
            with_device(checks, driver, |checks, top| {
                attach(checks, [bottom, middle, top]);
            });
        });
    });
}

fn attach(checks: &mut Checks, [bottom, middle, top]: [PDEVICE_OBJECT; 3]) {
    // SAFETY: devices that are in no stack.
    let below = unsafe { ntddk::IoAttachDeviceToDeviceStack(middle, bottom) };
    checks.holds(below.is_null());
    if !below.is_null() {
        // SAFETY: what it was attached to after all.
        unsafe { ntddk::IoDetachDevice(below) };
    }
    initialized(bottom);
    // SAFETY: as above.
    let below = unsafe { ntddk::IoAttachDeviceToDeviceStack(middle, bottom) };
    checks.same(below.addr() as u64, bottom.addr() as u64);
    if below.is_null() {
        return;
    }
    initialized(middle);
    attach_second(checks, [bottom, middle, top]);
    // SAFETY: `middle` is attached to it, and nothing to `middle` any more.
    unsafe { ntddk::IoDetachDevice(bottom) };
    // SAFETY: a device of this driver.
    checks.holds(unsafe { (*bottom).AttachedDevice }.is_null());
}

/// Attaches `top` to the stack of the others, looks at all three, and detaches it.
fn attach_second(checks: &mut Checks, [bottom, middle, top]: [PDEVICE_OBJECT; 3]) {
    // SAFETY: a device that is in no stack, and one that is.
    let below = unsafe { ntddk::IoAttachDeviceToDeviceStack(top, bottom) };
    // CAST: addresses, and small numbers.
    checks.same(below.addr() as u64, middle.addr() as u64);
    if below.is_null() {
        return;
    }
    for (device, depth) in [(bottom, 1), (middle, 2), (top, 3)] {
        // SAFETY: a device of this driver.
        checks.same(unsafe { (*device).StackSize } as u64, depth);
    }
    // SAFETY: as above.
    let attached = unsafe { (*bottom).AttachedDevice };
    checks.same(attached.addr() as u64, middle.addr() as u64);
    // SAFETY: what the last device was attached to.
    unsafe { ntddk::IoDetachDevice(below) };
}

/// A device may be opened, and attached to.
fn initialized(device: PDEVICE_OBJECT) {
    // SAFETY: a device of this driver that nobody else uses.
    unsafe { (*device).Flags &= !DO_DEVICE_INITIALIZING };
}

/// A request with a second buffer: copies the first, through the system buffer, into the second,
/// through its MDL, which must describe it.
///
/// # Safety
/// An IRP_MJ_DEVICE_CONTROL of METHOD_OUT_DIRECT that this driver has.
pub(crate) unsafe fn direct(irp: PIRP) -> NTSTATUS {
    // SAFETY: the caller's IRP.
    let parameters = unsafe { control(irp) };
    // SAFETY: as above.
    let mdl = unsafe { (*irp).MdlAddress };
    let length = parameters.InputBufferLength;
    if mdl.is_null() || length == 0 || length > parameters.OutputBufferLength {
        // SAFETY: as above.
        return unsafe { complete(irp, STATUS_INVALID_BUFFER_SIZE, 0) };
    }
    // SAFETY: the IRP's MDL.
    if unsafe { ddk::MmGetMdlByteCount(mdl) } != parameters.OutputBufferLength {
        // SAFETY: as above.
        return unsafe { complete(irp, STATUS_INTERNAL_ERROR, 0) };
    }
    // CAST: a priority.
    // SAFETY: the IRP's MDL, whose pages are locked.
    let place = unsafe {
        ddk::MmGetSystemAddressForMdlSafe(
            mdl,
            _MM_PAGE_PRIORITY::NormalPagePriority as u32 | MdlMappingNoExecute,
        )
    };
    if place.is_null() {
        // SAFETY: as above.
        return unsafe { complete(irp, STATUS_INSUFFICIENT_RESOURCES, 0) };
    }
    // SAFETY: the caller's IRP, with an input.
    let source = unsafe { system_buffer(irp) };
    // CAST: widening.
    // SAFETY: two buffers of at least this length, which do not overlap.
    unsafe {
        ptr::copy_nonoverlapping(source.cast::<u8>(), place.cast::<u8>(), length as usize);
    }
    // SAFETY: the caller's IRP.
    unsafe { complete(irp, STATUS_SUCCESS, length.into()) }
}
