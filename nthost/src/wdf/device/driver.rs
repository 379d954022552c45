//! WDFDRIVER.

// UNSAFETY: reads the driver's structures.

use std::sync::atomic::{AtomicI32, Ordering};

use parking_lot::Mutex;
use wdk_lite::*;

use super::init::read_string;
use crate::ddi::callback::{Routine, routine};
use crate::machine::Kernel;
use crate::verifier::Violation;
use crate::wdf::helpers::lock::CallbackLock;
use crate::wdf::object::{
    AttributeRules, Attributes, Handle, Kind, ParentRule, Payload, null_parameter,
};

/// A WDFDRIVER.
#[derive(Debug, Default)]
pub(crate) struct Driver {
    level: AtomicI32,
    scope: AtomicI32,
    pub lock: CallbackLock,
    routines: Mutex<Routines>,
}

/// The driver's own callbacks.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Routines {
    pub device_add: Routine,
    pub unload: Routine,
}

impl Payload for Driver {
    const KIND: Kind = Kind::Driver;
}

impl Driver {
    /// Execution level and scope that devices inherit.
    pub(super) fn constraints(&self) -> (WDF_EXECUTION_LEVEL, WDF_SYNCHRONIZATION_SCOPE) {
        (self.level.load(Ordering::Relaxed), self.scope.load(Ordering::Relaxed))
    }

    /// Whether EvtDriverDeviceAdd runs under the driver's lock.
    pub(crate) fn is_serialised(&self) -> bool {
        use _WDF_SYNCHRONIZATION_SCOPE as Scope;

        let scope = self.constraints().1;
        [Scope::WdfSynchronizationScopeDevice, Scope::WdfSynchronizationScopeQueue].contains(&scope)
    }

    pub(crate) fn routines(&self) -> Routines {
        *self.routines.lock()
    }
}

/// WdfDriverCreate's flags: NonPnpDriver, NoDispatchOverride, Companion.
const NON_PNP: ULONG = 1;
const NO_DISPATCH_OVERRIDE: ULONG = 2;
const KNOWN_FLAGS: ULONG = 7;

/// Size of the KMDF 1.1 configuration: without the pool tag.
const SIZE_1_1: usize = std::mem::offset_of!(WDF_DRIVER_CONFIG, DriverPoolTag);

/// WdfDriverCreate.
///
/// # Safety
/// The arguments are the driver's, each NULL or valid.
pub(super) unsafe fn create(
    kernel: &Kernel,
    object: PDRIVER_OBJECT,
    registry_path: PCUNICODE_STRING,
    attributes: PWDF_OBJECT_ATTRIBUTES,
    config: PWDF_DRIVER_CONFIG,
    out: *mut WDFDRIVER,
) -> Result<Result<Handle, NTSTATUS>, Violation> {
    if object.is_null() || registry_path.is_null() || config.is_null() {
        return Err(null_parameter(
            "WdfDriverCreate's driver object, registry path or configuration",
        ));
    }
    // SAFETY: not NULL, so valid for reading.
    let size = unsafe { (*config).Size } as usize;
    if size != size_of::<WDF_DRIVER_CONFIG>() && size != SIZE_1_1 {
        return Ok(Err(STATUS_INFO_LENGTH_MISMATCH));
    }
    let mut given = WDF_DRIVER_CONFIG::default();
    // SAFETY: `size` bytes are valid for reading, and fit; both are plain data.
    unsafe { std::ptr::copy_nonoverlapping(config.cast::<u8>(), (&raw mut given).cast(), size) };
    if given.DriverInitFlags & !KNOWN_FLAGS != 0 {
        return Ok(Err(STATUS_INVALID_PARAMETER));
    }
    // SAFETY: not NULL; the driver's string.
    if unsafe { read_string(registry_path) }.is_none() {
        return Ok(Err(STATUS_INVALID_PARAMETER));
    }
    if !kernel.pnp.is_loading(object) {
        return Ok(Err(STATUS_DRIVER_INTERNAL_ERROR));
    }
    if !out.is_null() {
        // SAFETY: the driver's out pointer.
        unsafe { out.write(std::ptr::null_mut()) };
    }
    let flags = given.DriverInitFlags;
    let device_add = routine(given.EvtDriverDeviceAdd);
    if flags & NON_PNP != 0 && flags & NO_DISPATCH_OVERRIDE == 0 && device_add.is_some() {
        return Ok(Err(STATUS_INVALID_PARAMETER));
    }
    let rules = AttributeRules { parent: ParentRule::Forbidden, level: true, scope: true };
    // SAFETY: the driver's attributes.
    let attributes = match unsafe { Attributes::read(kernel, attributes, rules) }? {
        Ok(attributes) => attributes,
        Err(status) => return Ok(Err(status)),
    };
    let routines = Routines { device_add, unload: routine(given.EvtDriverUnload) };
    Ok(make(kernel, object, &attributes, routines))
}

fn make(
    kernel: &Kernel,
    object: PDRIVER_OBJECT,
    attributes: &Attributes,
    routines: Routines,
) -> Result<Handle, NTSTATUS> {
    let (handle, driver) = kernel.wdf.create::<Driver>(kernel, None, attributes)?;
    let base = (
        _WDF_EXECUTION_LEVEL::WdfExecutionLevelDispatch,
        _WDF_SYNCHRONIZATION_SCOPE::WdfSynchronizationScopeNone,
    );
    let (level, scope) = super::create::resolve(attributes, base);
    driver.level.store(level, Ordering::Relaxed);
    driver.scope.store(scope, Ordering::Relaxed);
    driver.lock.set_passive(true);
    *driver.routines.lock() = routines;
    kernel.pnp.driver_created(kernel, object, handle);
    kernel.wdf.driver.set(Some(handle));
    Ok(handle)
}
