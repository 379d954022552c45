//! Device objects and stacks of them.

use std::cell::UnsafeCell;
use std::rc::Rc;

use wdk_lite::*;

use super::{Wdm, foreign};
use crate::verifier::Violation;

/// The type in a DEVICE_OBJECT (wdm.h).
const IO_TYPE_DEVICE: i16 = 3;

/// A device object with the driver's extension behind it.
pub(super) struct Object {
    device: Rc<UnsafeCell<DEVICE_OBJECT>>,
    /// Kept for the driver, which has its address; in units that align it as pool is.
    _extension: Rc<[UnsafeCell<u128>]>,
    /// The slot of the bus whose physical device object this is.
    pub(super) slot: Option<usize>,
}

// SAFETY: the driver's calls and this machine's, which are ordered by the I/O manager's rules.
unsafe impl Sync for Object {}
// SAFETY: as above.
unsafe impl Send for Object {}

impl std::fmt::Debug for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "device object at {:p}", self.pointer())
    }
}

impl Object {
    pub(super) fn pointer(&self) -> PDEVICE_OBJECT {
        self.device.get()
    }
}

impl Wdm {
    /// A device object of `driver` with a zeroed extension of `extension` bytes.
    pub(super) fn new_device(
        &self,
        driver: PDRIVER_OBJECT,
        extension: usize,
        slot: Option<usize>,
        prepare: impl FnOnce(&mut DEVICE_OBJECT),
    ) -> PDEVICE_OBJECT {
        let words = extension.div_ceil(size_of::<u128>());
        let extension: Rc<[UnsafeCell<u128>]> = (0..words).map(|_| UnsafeCell::new(0)).collect();
        // SAFETY: plain data, pointers and optional functions; zero is a value of each.
        let mut device: DEVICE_OBJECT = unsafe { std::mem::zeroed() };
        device.Type = IO_TYPE_DEVICE;
        // CAST: an extension of at most 64 KiB, as the kernel's own field allows.
        device.Size = (size_of::<DEVICE_OBJECT>() + words * size_of::<u128>()) as u16;
        device.DriverObject = driver;
        device.StackSize = 1;
        if let Some(first) = extension.first() {
            device.DeviceExtension = first.get().cast();
        }
        prepare(&mut device);
        let object =
            Object { device: Rc::new(UnsafeCell::new(device)), _extension: extension, slot };
        let pointer = object.pointer();
        self.devices.lock().push(object);
        pointer
    }

    /// Whether this is a device object.
    pub(super) fn known(&self, device: PDEVICE_OBJECT) -> Result<PDEVICE_OBJECT, Violation> {
        let known = self.devices.lock().iter().any(|object| object.pointer() == device);
        if known { Ok(device) } else { Err(foreign("device object")) }
    }

    /// The slot whose physical device object this is.
    pub(crate) fn physical_slot(&self, device: PDEVICE_OBJECT) -> Option<usize> {
        let devices = self.devices.lock();
        devices.iter().find(|object| object.pointer() == device)?.slot
    }

    /// A device object is no more.
    pub(super) fn drop_device(&self, device: PDEVICE_OBJECT) {
        self.names.lock().remove_device(device.addr());
        self.devices.lock().retain(|object| object.pointer() != device);
    }

    /// A driver's entry point has returned: its devices are open for business.
    pub(crate) fn entered(&self, driver: Option<usize>) {
        let Some(driver) = driver else { return };
        for device in self.devices_of(std::ptr::with_exposed_provenance_mut(driver)) {
            // SAFETY: an object of the list; its driver is in no call.
            unsafe { (*device).Flags &= !DO_DEVICE_INITIALIZING };
        }
    }

    /// The devices that a driver has not deleted.
    pub(super) fn devices_of(&self, driver: PDRIVER_OBJECT) -> Vec<PDEVICE_OBJECT> {
        let devices = self.devices.lock();
        let pointers = devices.iter().map(|object| object.pointer());
        // SAFETY: an object of the list, which nobody deletes meanwhile.
        pointers.filter(|&device| unsafe { (*device).DriverObject } == driver).collect()
    }
}

/// Whether the driver has not said yet that a device can be used: nobody opens it by its name or
/// attaches to it.
///
/// # Safety
/// A device object of this machine.
pub(super) unsafe fn is_initializing(device: PDEVICE_OBJECT) -> bool {
    // SAFETY: a device object, by the caller's promise.
    unsafe { (*device).Flags & DO_DEVICE_INITIALIZING != 0 }
}

/// The top of the stack that a device is in.
///
/// # Safety
/// A device object of this machine; no device is attached or deleted meanwhile.
pub(super) unsafe fn top_of(device: PDEVICE_OBJECT) -> PDEVICE_OBJECT {
    let mut top = device;
    loop {
        // SAFETY: this machine's device objects, by the caller's promise.
        let next = unsafe { (*top).AttachedDevice };
        if next.is_null() {
            return top;
        }
        top = next;
    }
}
