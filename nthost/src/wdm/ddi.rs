//! The functions of the I/O manager that a WDM driver calls.

#![allow(non_snake_case, clippy::too_many_arguments, reason = "names and shapes are the WDK's")]

use std::sync::atomic::Ordering;

use wdk_lite::*;

use super::irp::PacketRef;
use super::{Wdm, device, foreign, interrupt};
use crate::RuleId;
use crate::ddi::callback::{self, routine};
use crate::machine::{DISPATCH, Kernel};
use crate::verifier::{Violation, broken};

/// The characters of a counted string; `None` for NULL or an empty one.
///
/// # Safety
/// `string` is NULL or the driver's valid string.
unsafe fn text(string: PUNICODE_STRING) -> Option<String> {
    if string.is_null() {
        return None;
    }
    // SAFETY: valid by the caller's promise.
    let string = unsafe { string.read() };
    if string.Buffer.is_null() || string.Length < 2 {
        return None;
    }
    // SAFETY: as above.
    let units =
        unsafe { std::slice::from_raw_parts(string.Buffer, usize::from(string.Length) / 2) };
    Some(String::from_utf16_lossy(units))
}

/// wdm, IoCreateDevice: the extension is zeroed; DO_DEVICE_INITIALIZING is set, and cleared by the
/// I/O manager for a device that the driver's entry point made.
pub(crate) unsafe fn IoCreateDevice(
    kernel: &Kernel,
    DriverObject: PDRIVER_OBJECT,
    DeviceExtensionSize: ULONG,
    DeviceName: PUNICODE_STRING,
    DeviceType: ULONG,
    DeviceCharacteristics: ULONG,
    Exclusive: BOOLEAN,
    DeviceObject: *mut PDEVICE_OBJECT,
) -> Result<NTSTATUS, Violation> {
    // SAFETY: the driver's string.
    let name = unsafe { text(DeviceName) };
    let wdm = &kernel.wdm;
    // CAST: the kernel's own limit is 64 KiB less the object.
    let device = wdm.new_device(DriverObject, DeviceExtensionSize as usize, None, |device| {
        device.DeviceType = DeviceType;
        device.Characteristics = DeviceCharacteristics;
        device.Flags = DO_DEVICE_INITIALIZING
            | if name.is_some() { DO_DEVICE_HAS_NAME } else { 0 }
            | if Exclusive != 0 { DO_EXCLUSIVE } else { 0 };
    });
    if let Some(name) = name
        && !wdm.names.lock().add_device(&name, device.expose_provenance())
    {
        wdm.drop_device(device);
        return Ok(STATUS_OBJECT_NAME_COLLISION);
    }
    // SAFETY: the driver's own object, which its calls change one after the other.
    let next = std::mem::replace(unsafe { &mut (*DriverObject).DeviceObject }, device);
    // SAFETY: just made.
    unsafe { (*device).NextDevice = next };
    // SAFETY: the driver's variable.
    unsafe { DeviceObject.write(device) };
    Ok(STATUS_SUCCESS)
}

/// wdm, IoDeleteDevice.
pub(crate) unsafe fn IoDeleteDevice(
    kernel: &Kernel,
    DeviceObject: PDEVICE_OBJECT,
) -> Result<(), Violation> {
    let device = kernel.wdm.known(DeviceObject)?;
    // SAFETY: a device object, as just checked.
    if !unsafe { (*device).AttachedDevice }.is_null() {
        let message = "IoDeleteDevice was called for a device that another one is attached to";
        return Err(broken(RuleId::Sim11, message));
    }
    // SAFETY: as above.
    let driver = unsafe { (*device).DriverObject };
    // SAFETY: as above.
    let next = unsafe { (*device).NextDevice };
    if driver.is_null() {
        return Err(foreign("device object of this driver"));
    }
    // SAFETY: the device's driver.
    let mut place = unsafe { &raw mut (*driver).DeviceObject };
    loop {
        // SAFETY: a link of the driver's list.
        let current = unsafe { place.read() };
        if current.is_null() {
            break;
        }
        if current == device {
            // SAFETY: as above.
            unsafe { place.write(next) };
            break;
        }
        // SAFETY: a device of the list.
        place = unsafe { &raw mut (*current).NextDevice };
    }
    kernel.wdm.drop_device(device);
    Ok(())
}

/// wdm, IoCreateSymbolicLink.
pub(crate) unsafe fn IoCreateSymbolicLink(
    kernel: &Kernel,
    SymbolicLinkName: PUNICODE_STRING,
    DeviceName: PUNICODE_STRING,
) -> Result<NTSTATUS, Violation> {
    // SAFETY: the driver's string.
    let link = unsafe { text(SymbolicLinkName) };
    // SAFETY: as above.
    let device = unsafe { text(DeviceName) };
    let (Some(link), Some(device)) = (link, device) else { return Ok(STATUS_INVALID_PARAMETER) };
    let made = kernel.wdm.names.lock().add_link(&link, &device);
    Ok(if made { STATUS_SUCCESS } else { STATUS_OBJECT_NAME_COLLISION })
}

/// wdm, IoDeleteSymbolicLink.
pub(crate) unsafe fn IoDeleteSymbolicLink(
    kernel: &Kernel,
    SymbolicLinkName: PUNICODE_STRING,
) -> Result<NTSTATUS, Violation> {
    // SAFETY: the driver's string.
    let Some(link) = (unsafe { text(SymbolicLinkName) }) else {
        return Ok(STATUS_INVALID_PARAMETER);
    };
    let removed = kernel.wdm.names.lock().remove_link(&link);
    Ok(if removed { STATUS_SUCCESS } else { STATUS_OBJECT_NAME_NOT_FOUND })
}

/// wdm, IoAttachDeviceToDeviceStack: on top of the stack that the target is in; the device that
/// was there before, or NULL if that is still being initialised (DO_DEVICE_INITIALIZING is looked
/// at whenever a driver attaches; ifs, clearing-the-do-device-initializing-flag).
pub(crate) unsafe fn IoAttachDeviceToDeviceStack(
    kernel: &Kernel,
    SourceDevice: PDEVICE_OBJECT,
    TargetDevice: PDEVICE_OBJECT,
) -> Result<PDEVICE_OBJECT, Violation> {
    let (source, target) = (kernel.wdm.known(SourceDevice)?, kernel.wdm.known(TargetDevice)?);
    // SAFETY: device objects, as just checked.
    let top = unsafe { device::top_of(target) };
    // SAFETY: as above.
    if unsafe { device::is_initializing(top) } {
        return Ok(std::ptr::null_mut());
    }
    // SAFETY: as above.
    unsafe { (*top).AttachedDevice = source };
    // SAFETY: as above.
    let depth = unsafe { (*top).StackSize };
    // SAFETY: as above.
    let alignment = unsafe { (*top).AlignmentRequirement };
    // SAFETY: as above.
    unsafe { (*source).StackSize = depth + 1 };
    // SAFETY: as above.
    unsafe { (*source).AlignmentRequirement = alignment };
    Ok(top)
}

/// wdm, IoDetachDevice: the target is the lower device.
pub(crate) unsafe fn IoDetachDevice(
    kernel: &Kernel,
    TargetDevice: PDEVICE_OBJECT,
) -> Result<(), Violation> {
    let target = kernel.wdm.known(TargetDevice)?;
    // SAFETY: a device object, as just checked.
    let attached =
        std::mem::replace(unsafe { &mut (*target).AttachedDevice }, std::ptr::null_mut());
    if attached.is_null() {
        let message = "IoDetachDevice was given a device that nothing is attached to";
        return Err(broken(RuleId::Sim11, message));
    }
    Ok(())
}

/// wdm, IoConnectInterruptEx.
pub(crate) unsafe fn IoConnectInterruptEx(
    kernel: &Kernel,
    Parameters: PIO_CONNECT_INTERRUPT_PARAMETERS,
) -> Result<NTSTATUS, Violation> {
    // SAFETY: the driver's parameters, passed on.
    unsafe { interrupt::connect(kernel, Parameters) }
}

/// wdm, IoDisconnectInterruptEx.
pub(crate) unsafe fn IoDisconnectInterruptEx(
    kernel: &Kernel,
    Parameters: PIO_DISCONNECT_INTERRUPT_PARAMETERS,
) -> Result<(), Violation> {
    // SAFETY: the driver's parameters.
    let given = unsafe { Parameters.read() };
    // SAFETY: all members are the same pointer.
    interrupt::disconnect(kernel, unsafe { given.ConnectionContext.InterruptObject })
}

/// wdm, IofCallDriver.
pub(crate) unsafe fn IofCallDriver(
    kernel: &Kernel,
    DeviceObject: PDEVICE_OBJECT,
    Irp: PIRP,
) -> Result<NTSTATUS, Violation> {
    let packet = kernel.wdm.packet_at(Irp)?;
    kernel.wdm.call(kernel, DeviceObject, packet)
}

/// wdm, IofCompleteRequest.
pub(crate) unsafe fn IofCompleteRequest(
    kernel: &Kernel,
    Irp: PIRP,
    _PriorityBoost: CCHAR,
) -> Result<(), Violation> {
    let packet = kernel.wdm.packet_at(Irp)?;
    kernel.wdm.complete(kernel, packet)
}

/// wdm, IoAcquireCancelSpinLock.
pub(crate) unsafe fn IoAcquireCancelSpinLock(
    kernel: &Kernel,
    Irql: PKIRQL,
) -> Result<(), Violation> {
    let old = kernel.wdm.lock_cancel(kernel)?;
    // SAFETY: the driver's variable.
    unsafe { Irql.write(old) };
    Ok(())
}

/// wdm, IoReleaseCancelSpinLock.
pub(crate) unsafe fn IoReleaseCancelSpinLock(
    kernel: &Kernel,
    Irql: KIRQL,
) -> Result<(), Violation> {
    kernel.wdm.unlock_cancel(kernel, Irql)
}

impl Wdm {
    /// Takes the cancel spin lock; the level to return to.
    fn lock_cancel(&self, kernel: &Kernel) -> Result<u8, Violation> {
        let old = kernel.processor().set_irql(DISPATCH);
        kernel.spin_acquire(&self.cancel)?;
        Ok(old)
    }

    fn unlock_cancel(&self, kernel: &Kernel, irql: u8) -> Result<(), Violation> {
        kernel.spin_release(&self.cancel)?;
        kernel.processor().set_irql(irql);
        Ok(())
    }

    /// The level at which a cancel routine ends, which releases the lock it was called with.
    pub(crate) fn cancel_irql(&self) -> u8 {
        self.cancel_irql.load(Ordering::Relaxed)
    }

    /// IoCancelIrp: the cancel routine is called with the cancel spin lock held, and releases it.
    pub(super) fn cancel(&self, kernel: &Kernel, packet: PacketRef) -> Result<(), Violation> {
        let irp = packet.pointer();
        let old = self.lock_cancel(kernel)?;
        if packet.is_done() {
            return self.unlock_cancel(kernel, old);
        }
        // SAFETY: under the cancel spin lock, and not complete.
        unsafe { (*irp).Cancel = 1 };
        // SAFETY: as above; drivers exchange this member, too.
        let place = unsafe { &raw mut (*irp).CancelRoutine };
        // SAFETY: a pointer in size, exchanged as IoSetCancelRoutine does.
        let exchanged = unsafe { std::sync::atomic::AtomicPtr::<()>::from_ptr(place.cast()) };
        let taken = exchanged.swap(std::ptr::null_mut(), Ordering::AcqRel);
        if taken.is_null() {
            return self.unlock_cancel(kernel, old);
        }
        // SAFETY: what the driver put there: a cancel routine.
        let taken = unsafe { std::mem::transmute::<*mut (), PDRIVER_CANCEL>(taken) };
        // SAFETY: as above.
        unsafe { (*irp).CancelIrql = old };
        self.cancel_irql.store(old, Ordering::Relaxed);
        // SAFETY: a member of the IRP: the location of the driver that set the routine.
        let stack = unsafe { current_stack_location(irp).read() };
        // SAFETY: as above.
        let device = unsafe { (*stack).DeviceObject };
        // SAFETY: the driver's cancel routine with its device and the IRP, under the lock.
        unsafe { callback::DRIVER_CANCEL(kernel, routine(taken), device, irp) };
        Ok(())
    }
}
