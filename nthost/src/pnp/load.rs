//! Loading and unloading drivers.

// UNSAFETY: calls the driver's entry point and unload routine.

use wdk_lite::{
    NT_SUCCESS, NTSTATUS, PCUNICODE_STRING, PDRIVER_OBJECT, STATUS_NOT_SUPPORTED,
    STATUS_UNSUCCESSFUL, UNICODE_STRING,
};

use super::Pnp;
use crate::ddi::callback::{self, Routine, routine};
use crate::image::Image;
use crate::image_error::LoadError;
use crate::machine::Kernel;
use crate::status::NtStatus;
use crate::wdf::device;
use crate::wdf::object::Handle;

/// A loaded driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Driver(usize);

/// A hosted driver's entry point.
pub type DriverEntry = unsafe extern "C" fn(PDRIVER_OBJECT, PCUNICODE_STRING) -> wdk_lite::NTSTATUS;

/// What the PnP manager keeps of a driver.
#[derive(Debug)]
pub(super) struct Loaded {
    object: usize,
    /// Inside DriverEntry.
    loading: bool,
    pub framework: Option<Handle>,
    /// It made no WDFDRIVER and handles IRPs itself.
    wdm: bool,
}

impl Pnp {
    /// Whether this driver object's DriverEntry is running and has made no WDFDRIVER yet.
    pub(crate) fn is_loading(&self, object: PDRIVER_OBJECT) -> bool {
        let drivers = self.drivers.lock();
        let driver = drivers.iter().find(|driver| driver.object == object.addr());
        driver.is_some_and(|driver| driver.loading && driver.framework.is_none())
    }

    /// WdfDriverCreate made this driver's WDFDRIVER.
    pub(crate) fn driver_created(
        &self,
        kernel: &Kernel,
        object: PDRIVER_OBJECT,
        framework: Handle,
    ) {
        kernel.image.driver_created(framework);
        let mut drivers = self.drivers.lock();
        let driver = drivers.iter_mut().find(|driver| driver.object == object.addr());
        if let Some(driver) = driver {
            driver.framework = Some(framework);
        }
    }

    /// The WDFDRIVER of the driver loaded last.
    pub(super) fn newest(&self) -> Option<Handle> {
        self.drivers.lock().iter().rev().find_map(|driver| driver.framework)
    }

    /// The driver object of the driver loaded last, if that handles IRPs itself.
    pub(super) fn newest_wdm(&self) -> Option<PDRIVER_OBJECT> {
        let drivers = self.drivers.lock();
        let newest = drivers.last().filter(|driver| driver.wdm)?;
        Some(std::ptr::with_exposed_provenance_mut(newest.object))
    }

    pub(super) fn framework_of(&self, driver: Driver) -> Option<Handle> {
        let drivers = self.drivers.lock();
        drivers.iter().find(|loaded| loaded.object == driver.0)?.framework
    }

    pub(super) fn loaded(&self) -> Vec<Driver> {
        self.drivers.lock().iter().map(|driver| Driver(driver.object)).collect()
    }
}

/// Loads a hosted driver: calls its entry point at PASSIVE_LEVEL. STATUS_NOT_SUPPORTED on a machine
/// that runs an image.
pub(super) fn load(kernel: &Kernel, name: &str, entry: DriverEntry) -> Result<Driver, NtStatus> {
    if kernel.image.instance().is_some() {
        return Err(NtStatus(STATUS_NOT_SUPPORTED));
    }
    let object = kernel.wdm.new_driver();
    start(kernel, name, routine(Some(entry)), object)
        .map_err(|status| NtStatus(if NT_SUCCESS(status) { STATUS_UNSUCCESSFUL } else { status }))
}

/// Loads a driver image: maps it and calls its entry point at PASSIVE_LEVEL.
pub(super) fn load_image(kernel: &Kernel, name: &str, image: &Image) -> Result<Driver, LoadError> {
    if !kernel.pnp.loaded().is_empty() {
        return Err(LoadError::Occupied);
    }
    let loaded = kernel.image.load(image).map_err(LoadError::Memory)?;
    kernel.becomes_special();
    kernel.wdm.equip(Some(loaded.object()));
    let status = match start(kernel, name, loaded.entry(), loaded.object()) {
        Ok(driver) => {
            loaded.discard().map_err(LoadError::Memory)?;
            return Ok(driver);
        }
        Err(status) => status,
    };
    let refusal = loaded.refusal();
    kernel.image.clear();
    Err(match refusal {
        Some(reason) => LoadError::Bind(reason),
        None if NT_SUCCESS(status) => LoadError::NoFramework,
        None => LoadError::Entry(NtStatus(status)),
    })
}

/// Calls a driver's entry point with its object. An error is what it returned: a success if it made
/// no WDFDRIVER.
fn start(
    kernel: &Kernel,
    name: &str,
    entry: Routine,
    object: PDRIVER_OBJECT,
) -> Result<Driver, NTSTATUS> {
    let path = format!(r"\Registry\Machine\System\CurrentControlSet\Services\{name}");
    let mut units: Vec<u16> = path.encode_utf16().collect();
    // CAST: a short path.
    let length = (units.len() * 2) as u16;
    let path = UNICODE_STRING { Length: length, MaximumLength: length, Buffer: units.as_mut_ptr() };
    let loaded = Loaded { object: object.addr(), loading: true, framework: None, wdm: false };
    kernel.pnp.drivers.lock().push(loaded);
    // SAFETY: the driver's entry point with its object and a string that lives over the call.
    let status = unsafe { callback::DRIVER_INITIALIZE(kernel, entry, object, &raw const path) };
    // SAFETY: the driver's object, after its entry point has returned.
    let wdm = unsafe { crate::wdm::is_wdm(object) };
    let object = object.expose_provenance();
    let mut drivers = kernel.pnp.drivers.lock();
    let index = drivers.iter().position(|driver| driver.object == object);
    let framework = index.and_then(|index| {
        drivers[index].loading = false;
        drivers[index].framework
    });
    let wdm = wdm && framework.is_none();
    if NT_SUCCESS(status) && (framework.is_some() || wdm) {
        if let Some(index) = index {
            drivers[index].wdm = wdm;
        }
        drop(drivers);
        kernel.wdm.entered(wdm.then_some(object));
        return Ok(Driver(object));
    }
    if let Some(index) = index {
        drivers.remove(index);
    }
    drop(drivers);
    kernel.wdm.forget_driver(object);
    if let Some(framework) = framework {
        // The framework undoes a driver whose DriverEntry failed, without EvtDriverUnload.
        kernel.wdf.delete(kernel, framework);
        kernel.wdf.forget_driver(kernel.pnp.newest());
    }
    Err(status)
}

/// Unloads a driver without devices: EvtDriverUnload, then its WDFDRIVER goes with all that is
/// left below.
pub(super) fn unload(kernel: &Kernel, driver: Driver) {
    let (framework, wdm) = {
        let mut drivers = kernel.pnp.drivers.lock();
        let index = drivers.iter().position(|loaded| loaded.object == driver.0);
        let loaded = index.map(|index| drivers.remove(index));
        loaded.map_or((None, false), |loaded| (loaded.framework, loaded.wdm))
    };
    if wdm {
        let object = std::ptr::with_exposed_provenance_mut(driver.0);
        crate::io::must(kernel, kernel.wdm.unload(kernel, object));
    }
    let Some(framework) = framework else {
        kernel.wdm.forget_driver(driver.0);
        kernel.image.clear();
        return;
    };
    // An image's framework is called by way of the driver object and the driver's own stub.
    match kernel.image.instance() {
        Some(image) if image.unload_routine().is_some() => {
            // SAFETY: the unload routine in the driver object, with that object.
            unsafe { callback::DRIVER_UNLOAD(kernel, image.unload_routine(), image.object()) }
        }
        _ => unload_framework(kernel, framework),
    }
    kernel.wait(None, || kernel.wdf.deferred_disposals() == 0);
    kernel.wdf.forget_driver(kernel.pnp.newest());
    kernel.wdm.forget_driver(driver.0);
    kernel.image.clear();
}

/// What the framework does when a driver is unloaded.
pub(crate) fn unload_framework(kernel: &Kernel, framework: Handle) {
    if let Some(payload) = kernel.wdf.payload::<device::Driver>(framework) {
        let unload = payload.routines().unload;
        if unload.is_some() {
            // SAFETY: the driver's EvtDriverUnload with its driver.
            unsafe { callback::PFN_WDF_DRIVER_UNLOAD(kernel, unload, framework.raw()) }
        }
    }
    kernel.wdf.delete(kernel, framework);
}
