//! The KMDF functions of drivers and devices.

// UNSAFETY: arguments are the driver's.
#![allow(non_snake_case, reason = "names are the WDK's")]

use std::sync::atomic::Ordering;

use wdk_lite::*;

use super::PnpCallbacks;
use super::init::{self, read_string};
use crate::ddi::callback::routine;
use crate::machine::Kernel;
use crate::verifier::Violation;
use crate::wdf::object::{AttributeRules, Attributes, ParentRule, null_parameter};

/// The device's WDM device object.
pub(crate) unsafe fn WdfDeviceWdmGetDeviceObject(
    kernel: &Kernel,
    Device: WDFDEVICE,
) -> Result<PDEVICE_OBJECT, Violation> {
    let (_, device) = kernel.wdf.get::<super::Device>(Device)?;
    Ok(crate::pnp::function_object(device.slot()))
}

/// The physical device object below the device.
pub(crate) unsafe fn WdfDeviceWdmGetPhysicalDevice(
    kernel: &Kernel,
    Device: WDFDEVICE,
) -> Result<PDEVICE_OBJECT, Violation> {
    let (_, device) = kernel.wdf.get::<super::Device>(Device)?;
    Ok(crate::pnp::physical_object(device.slot()))
}

/// The device's driver.
pub(crate) unsafe fn WdfDeviceGetDriver(
    kernel: &Kernel,
    Device: WDFDEVICE,
) -> Result<WDFDRIVER, Violation> {
    let (_, device) = kernel.wdf.get::<super::Device>(Device)?;
    Ok(device.driver.get().map_or(std::ptr::null_mut(), |driver| driver.raw()))
}

/// Sets the PnP and power callbacks; ignored with a wrong size.
pub(crate) unsafe fn WdfDeviceInitSetPnpPowerEventCallbacks(
    kernel: &Kernel,
    DeviceInit: PWDFDEVICE_INIT,
    PnpPowerEventCallbacks: PWDF_PNPPOWER_EVENT_CALLBACKS,
) -> Result<(), Violation> {
    if PnpPowerEventCallbacks.is_null() {
        return Err(null_parameter("PnpPowerEventCallbacks"));
    }
    // SAFETY: the driver's structure, not NULL.
    let callbacks = unsafe { PnpCallbacks::read(PnpPowerEventCallbacks) };
    kernel.wdf.with_init(DeviceInit, |init| {
        if let Some(callbacks) = callbacks {
            init.settings.callbacks = callbacks;
        }
    })
}

/// Sets how read and write buffers are passed.
pub(crate) unsafe fn WdfDeviceInitSetIoType(
    kernel: &Kernel,
    DeviceInit: PWDFDEVICE_INIT,
    IoType: WDF_DEVICE_IO_TYPE,
) -> Result<(), Violation> {
    let types = _WDF_DEVICE_IO_TYPE::WdfDeviceIoNeither..=_WDF_DEVICE_IO_TYPE::WdfDeviceIoDirect;
    kernel.wdf.with_init(DeviceInit, |init| {
        if types.contains(&IoType) {
            init.settings.read_write = IoType;
        }
    })
}

/// One open at a time.
pub(crate) unsafe fn WdfDeviceInitSetExclusive(
    kernel: &Kernel,
    DeviceInit: PWDFDEVICE_INIT,
    IsExclusive: BOOLEAN,
) -> Result<(), Violation> {
    kernel.wdf.with_init(DeviceInit, |init| init.settings.exclusive = IsExclusive != 0)
}

/// Sets the device type.
pub(crate) unsafe fn WdfDeviceInitSetDeviceType(
    kernel: &Kernel,
    DeviceInit: PWDFDEVICE_INIT,
    DeviceType: ULONG,
) -> Result<(), Violation> {
    kernel.wdf.with_init(DeviceInit, |init| init.settings.device_type = DeviceType)
}

/// Names the device; NULL clears the name.
pub(crate) unsafe fn WdfDeviceInitAssignName(
    kernel: &Kernel,
    DeviceInit: PWDFDEVICE_INIT,
    DeviceName: PCUNICODE_STRING,
) -> Result<NTSTATUS, Violation> {
    // SAFETY: the driver's string.
    let Ok(name) = (unsafe { optional_string(DeviceName) }) else {
        return Ok(STATUS_INVALID_PARAMETER);
    };
    kernel.wdf.with_init(DeviceInit, |init| init.settings.name = name)?;
    Ok(STATUS_SUCCESS)
}

/// Assigns the device's security descriptor; NULL clears it.
pub(crate) unsafe fn WdfDeviceInitAssignSDDLString(
    kernel: &Kernel,
    DeviceInit: PWDFDEVICE_INIT,
    SDDLString: PCUNICODE_STRING,
) -> Result<NTSTATUS, Violation> {
    // SAFETY: the driver's string.
    let Ok(sddl) = (unsafe { optional_string(SDDLString) }) else {
        return Ok(STATUS_INVALID_PARAMETER);
    };
    kernel.wdf.with_init(DeviceInit, |init| init.settings.sddl = sddl)?;
    Ok(STATUS_SUCCESS)
}

/// Sets or adds device characteristics.
pub(crate) unsafe fn WdfDeviceInitSetCharacteristics(
    kernel: &Kernel,
    DeviceInit: PWDFDEVICE_INIT,
    DeviceCharacteristics: ULONG,
    OrInValues: BOOLEAN,
) -> Result<(), Violation> {
    kernel.wdf.with_init(DeviceInit, |init| {
        let before = if OrInValues != 0 { init.settings.characteristics } else { 0 };
        init.settings.characteristics = before | DeviceCharacteristics | FILE_DEVICE_SECURE_OPEN;
    })
}

/// Wants file objects; ignored where invalid.
pub(crate) unsafe fn WdfDeviceInitSetFileObjectConfig(
    kernel: &Kernel,
    DeviceInit: PWDFDEVICE_INIT,
    FileObjectConfig: PWDF_FILEOBJECT_CONFIG,
    FileObjectAttributes: PWDF_OBJECT_ATTRIBUTES,
) -> Result<(), Violation> {
    // SAFETY: the driver's structures.
    let file = unsafe { init::read_file_config(kernel, FileObjectConfig, FileObjectAttributes) }?;
    kernel.wdf.with_init(DeviceInit, |init| {
        if file.is_some() {
            init.settings.file = file;
        }
    })
}

/// Sets the attributes of every request; ignored where invalid.
pub(crate) unsafe fn WdfDeviceInitSetRequestAttributes(
    kernel: &Kernel,
    DeviceInit: PWDFDEVICE_INIT,
    RequestAttributes: PWDF_OBJECT_ATTRIBUTES,
) -> Result<(), Violation> {
    if RequestAttributes.is_null() {
        return Err(null_parameter("RequestAttributes"));
    }
    let rules = AttributeRules { parent: ParentRule::Forbidden, level: false, scope: false };
    // SAFETY: the driver's attributes.
    let attributes = unsafe { Attributes::read(kernel, RequestAttributes, rules) }?;
    kernel.wdf.with_init(DeviceInit, |init| {
        if let Ok(attributes) = attributes {
            init.settings.request = attributes;
        }
    })
}

/// Sets EvtIoInCallerContext.
pub(crate) unsafe fn WdfDeviceInitSetIoInCallerContextCallback(
    kernel: &Kernel,
    DeviceInit: PWDFDEVICE_INIT,
    EvtIoInCallerContext: PFN_WDF_IO_IN_CALLER_CONTEXT,
) -> Result<(), Violation> {
    let callback = routine(EvtIoInCallerContext);
    kernel.wdf.with_init(DeviceInit, |init| init.settings.in_caller_context = callback)
}

/// Makes the device; the init is used up on success only.
pub(crate) unsafe fn WdfDeviceCreate(
    kernel: &Kernel,
    DeviceInit: *mut PWDFDEVICE_INIT,
    DeviceAttributes: PWDF_OBJECT_ATTRIBUTES,
    Device: *mut WDFDEVICE,
) -> Result<NTSTATUS, Violation> {
    if DeviceInit.is_null() || Device.is_null() {
        return Err(null_parameter("WdfDeviceCreate's DeviceInit or Device"));
    }
    // SAFETY: the driver's variable, not NULL.
    let given = unsafe { DeviceInit.read() };
    // SAFETY: as above.
    unsafe { Device.write(std::ptr::null_mut()) };
    let (slot, driver, settings, made) = kernel.wdf.with_init(given, |init| {
        (init.slot, init.driver, init.settings.clone(), init.device.is_some())
    })?;
    let rules = AttributeRules { parent: ParentRule::Forbidden, level: true, scope: true };
    // SAFETY: the driver's attributes.
    let attributes = match unsafe { Attributes::read(kernel, DeviceAttributes, rules) }? {
        Ok(attributes) => attributes,
        Err(status) => return Ok(status),
    };
    if made {
        return Ok(STATUS_INVALID_DEVICE_STATE);
    }
    let device = match super::create::create(kernel, slot, driver, settings, &attributes) {
        Ok(device) => device,
        Err(status) => return Ok(status),
    };
    kernel.wdf.with_init(given, |init| init.device = Some(device))?;
    kernel.pnp.device_created(slot, device);
    // SAFETY: the driver's variables, not NULL.
    unsafe { DeviceInit.write(std::ptr::null_mut()) };
    // SAFETY: as above.
    unsafe { Device.write(device.raw()) };
    Ok(STATUS_SUCCESS)
}

/// Raises or lowers the count that makes query-stop and query-remove fail.
pub(crate) unsafe fn WdfDeviceSetStaticStopRemove(
    kernel: &Kernel,
    Device: WDFDEVICE,
    Stoppable: BOOLEAN,
) -> Result<(), Violation> {
    let (_, device) = kernel.wdf.get::<super::Device>(Device)?;
    device.vetoes.fetch_add(if Stoppable == 0 { 1 } else { -1 }, Ordering::AcqRel);
    Ok(())
}

/// Registers a device interface.
pub(crate) unsafe fn WdfDeviceCreateDeviceInterface(
    kernel: &Kernel,
    Device: WDFDEVICE,
    InterfaceClassGUID: *const GUID,
    ReferenceString: PCUNICODE_STRING,
) -> Result<NTSTATUS, Violation> {
    let (handle, device) = kernel.wdf.get::<super::Device>(Device)?;
    if InterfaceClassGUID.is_null() {
        return Err(null_parameter("InterfaceClassGUID"));
    }
    // SAFETY: the driver's string.
    let Ok(reference) = (unsafe { optional_string(ReferenceString) }) else {
        return Ok(STATUS_INVALID_PARAMETER);
    };
    // SAFETY: the driver's GUID, not NULL.
    let class = unsafe { InterfaceClassGUID.read() };
    kernel.pnp.register_interface((handle, device.slot()), class, reference);
    Ok(STATUS_SUCCESS)
}

/// Enables or disables an interface at once; silently nothing if there is no such interface.
pub(crate) unsafe fn WdfDeviceSetDeviceInterfaceState(
    kernel: &Kernel,
    Device: WDFDEVICE,
    InterfaceClassGUID: *const GUID,
    ReferenceString: PCUNICODE_STRING,
    IsInterfaceEnabled: BOOLEAN,
) -> Result<(), Violation> {
    let (handle, _) = kernel.wdf.get::<super::Device>(Device)?;
    if InterfaceClassGUID.is_null() {
        return Err(null_parameter("InterfaceClassGUID"));
    }
    // SAFETY: the driver's string.
    let Ok(reference) = (unsafe { optional_string(ReferenceString) }) else { return Ok(()) };
    // SAFETY: the driver's GUID, not NULL.
    let class = unsafe { InterfaceClassGUID.read() };
    let enabled = IsInterfaceEnabled != 0;
    kernel.pnp.set_interface(handle, &class, reference.as_deref(), enabled);
    Ok(())
}

/// The driver gives up on its device: PnP removes it, or tries it again.
pub(crate) unsafe fn WdfDeviceSetFailed(
    kernel: &Kernel,
    Device: WDFDEVICE,
    FailedAction: WDF_DEVICE_FAILED_ACTION,
) -> Result<(), Violation> {
    let (handle, _) = kernel.wdf.get::<super::Device>(Device)?;
    match FailedAction {
        _WDF_DEVICE_FAILED_ACTION::WdfDeviceFailedAttemptRestart => {
            crate::pnp::fail_device(kernel, handle, true);
        }
        _WDF_DEVICE_FAILED_ACTION::WdfDeviceFailedNoRestart => {
            crate::pnp::fail_device(kernel, handle, false);
        }
        _ => {}
    }
    Ok(())
}

/// Makes the WDFDRIVER.
pub(crate) unsafe fn WdfDriverCreate(
    kernel: &Kernel,
    DriverObject: PDRIVER_OBJECT,
    RegistryPath: PCUNICODE_STRING,
    DriverAttributes: PWDF_OBJECT_ATTRIBUTES,
    DriverConfig: PWDF_DRIVER_CONFIG,
    Driver: *mut WDFDRIVER,
) -> Result<NTSTATUS, Violation> {
    // SAFETY: the driver's arguments.
    let made = unsafe {
        super::driver::create(
            kernel,
            DriverObject,
            RegistryPath,
            DriverAttributes,
            DriverConfig,
            Driver,
        )
    }?;
    match made {
        Ok(handle) => {
            if !Driver.is_null() {
                // SAFETY: the driver's out pointer.
                unsafe { Driver.write(handle.raw()) };
            }
            Ok(STATUS_SUCCESS)
        }
        Err(status) => Ok(status),
    }
}

/// The text of an optional string: `None` for NULL, `Err` if malformed.
///
/// # Safety
/// `string` is NULL or valid for reading with its buffer.
unsafe fn optional_string(string: PCUNICODE_STRING) -> Result<Option<String>, ()> {
    if string.is_null() {
        return Ok(None);
    }
    // SAFETY: not NULL; the caller vouches for it.
    unsafe { read_string(string) }.map(Some).ok_or(())
}
