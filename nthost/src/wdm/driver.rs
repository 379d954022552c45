//! Driver objects of hosted drivers, and what every driver object refers to.

use std::cell::UnsafeCell;
use std::rc::Rc;

use wdk_lite::{DRIVER_EXTENSION, DRIVER_OBJECT, PDRIVER_DISPATCH, PDRIVER_OBJECT};

use super::Wdm;
use crate::ddi::callback::{Routine, routine};

/// The type in a DRIVER_OBJECT (wdm.h).
const IO_TYPE_DRIVER: i16 = 4;

/// A driver object, or only the extension of one that an image's machine made.
pub(super) struct Object {
    /// Drivers have the address, and a `Box` would be the only way to what it holds.
    object: Rc<UnsafeCell<DRIVER_OBJECT>>,
    extension: Rc<UnsafeCell<DRIVER_EXTENSION>>,
    /// The driver object that this belongs to.
    address: usize,
}

// SAFETY: written before the driver runs, and by the driver's own calls, one after the other.
unsafe impl Sync for Object {}
// SAFETY: as above.
unsafe impl Send for Object {}

impl std::fmt::Debug for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "driver object at {:#x}", self.address)
    }
}

impl Wdm {
    /// A driver object for a hosted driver.
    pub(crate) fn new_driver(&self) -> PDRIVER_OBJECT {
        self.equip(None)
    }

    /// Gives a driver object its extension.
    pub(crate) fn equip(&self, given: Option<PDRIVER_OBJECT>) -> PDRIVER_OBJECT {
        // SAFETY: plain data, pointers and optional functions; zero is a value of each.
        let mut object: DRIVER_OBJECT = unsafe { std::mem::zeroed() };
        object.Type = IO_TYPE_DRIVER;
        // CAST: 336.
        object.Size = size_of::<DRIVER_OBJECT>() as i16;
        // SAFETY: as above.
        let extension: DRIVER_EXTENSION = unsafe { std::mem::zeroed() };
        let mut own = Object {
            object: Rc::new(UnsafeCell::new(object)),
            extension: Rc::new(UnsafeCell::new(extension)),
            address: 0,
        };
        let object = given.unwrap_or(own.object.get());
        own.address = object.addr();
        let extension = own.extension.get();
        // SAFETY: made above, not shared yet.
        unsafe { (*extension).DriverObject = object };
        // SAFETY: a driver object that its driver has not seen yet.
        unsafe { (*object).DriverExtension = extension };
        self.drivers.lock().push(own);
        object
    }

    /// The driver object is no more.
    pub(crate) fn forget_driver(&self, object: usize) {
        self.drivers.lock().retain(|driver| driver.address != object);
    }
}

/// Whether a driver filled in its object as one that handles IRPs itself.
///
/// # Safety
/// `object` is a driver object of a machine whose driver is in no call.
pub(crate) unsafe fn is_wdm(object: PDRIVER_OBJECT) -> bool {
    // SAFETY: by the caller's promise.
    let dispatches = unsafe { (*object).MajorFunction };
    // SAFETY: as above.
    dispatches.iter().any(Option::is_some) || unsafe { add_device(object) }.is_some()
}

/// The driver's AddDevice.
///
/// # Safety
/// As [`is_wdm`].
pub(super) unsafe fn add_device(object: PDRIVER_OBJECT) -> Routine {
    // SAFETY: by the caller's promise.
    let extension = unsafe { (*object).DriverExtension };
    // SAFETY: made by `equip`, and lives as long as the driver object.
    routine(unsafe { (*extension).AddDevice })
}

/// The driver's DriverUnload.
///
/// # Safety
/// As [`is_wdm`].
pub(super) unsafe fn unload_routine(object: PDRIVER_OBJECT) -> Routine {
    // SAFETY: by the caller's promise.
    routine(unsafe { (*object).DriverUnload })
}

/// The driver's dispatch routine for a major function.
///
/// # Safety
/// As [`is_wdm`], but the driver may be in a call: it does not change its table after its entry.
pub(super) unsafe fn dispatch(object: PDRIVER_OBJECT, major: u8) -> Routine {
    // SAFETY: a place inside the object, by the caller's promise.
    let table = unsafe { &raw const (*object).MajorFunction };
    let table = table.cast::<PDRIVER_DISPATCH>();
    if usize::from(major) >= 28 {
        return Routine::default();
    }
    let entry = table.wrapping_add(usize::from(major));
    // SAFETY: one of the 28 entries, as just checked.
    routine(unsafe { entry.read() })
}
