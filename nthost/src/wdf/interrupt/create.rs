//! WdfInterruptCreate.

// UNSAFETY: reads the driver's structures.

use std::sync::atomic::Ordering;

use wdk_lite::*;

use super::{Config, Interrupt};
use crate::RuleId;
use crate::ddi::callback::routine;
use crate::machine::Kernel;
use crate::verifier::{Violation, broken};
use crate::wdf::device::{Device, PnpState};
use crate::wdf::helpers::SpinLockObject;
use crate::wdf::helpers::resources::ResourceList;
use crate::wdf::helpers::serial::Serialised;
use crate::wdf::object::{AttributeRules, Attributes, Handle, Kind, ParentRule, null_parameter};

/// Size of the KMDF 1.9 configuration: without work item and descriptors.
const SIZE_1_9: usize = std::mem::offset_of!(WDF_INTERRUPT_CONFIG, EvtInterruptWorkItem);

/// Reads the configuration; the inner result is the status for one of another size.
unsafe fn read(
    config: PWDF_INTERRUPT_CONFIG,
) -> Result<Result<WDF_INTERRUPT_CONFIG, NTSTATUS>, Violation> {
    if config.is_null() {
        return Err(null_parameter("WdfInterruptCreate's Configuration"));
    }
    // SAFETY: not NULL, so valid for reading.
    let size = unsafe { (*config).Size } as usize;
    if size != size_of::<WDF_INTERRUPT_CONFIG>() && size != SIZE_1_9 {
        return Ok(Err(STATUS_INFO_LENGTH_MISMATCH));
    }
    let mut given = WDF_INTERRUPT_CONFIG {
        ReportInactiveOnPowerDown: _WDF_TRI_STATE::WdfUseDefault,
        ..WDF_INTERRUPT_CONFIG::default()
    };
    // SAFETY: `size` bytes are valid for reading, and fit; both are plain data.
    unsafe { std::ptr::copy_nonoverlapping(config.cast::<u8>(), (&raw mut given).cast(), size) };
    Ok(Ok(given))
}

/// WdfInterruptCreate.
///
/// # Safety
/// The arguments are the driver's, each NULL or valid.
pub(super) unsafe fn create(
    kernel: &Kernel,
    device: WDFDEVICE,
    config: PWDF_INTERRUPT_CONFIG,
    attributes: PWDF_OBJECT_ATTRIBUTES,
) -> Result<Result<Handle, NTSTATUS>, Violation> {
    let (of, device) = kernel.wdf.get::<Device>(device)?;
    // SAFETY: the driver's configuration.
    let given = match unsafe { read(config) }? {
        Ok(given) => given,
        Err(status) => return Ok(Err(status)),
    };
    if given.EvtInterruptIsr.is_none() {
        return Ok(Err(STATUS_INVALID_PARAMETER));
    }
    let rules = AttributeRules { parent: ParentRule::Allowed, level: false, scope: false };
    // SAFETY: the driver's attributes.
    let attributes = match unsafe { Attributes::read(kernel, attributes, rules) }? {
        Ok(attributes) => attributes,
        Err(status) => return Ok(Err(status)),
    };
    let automatic = given.AutomaticSerialization != 0;
    if let Err(status) = check_parent(kernel, of, &attributes, automatic) {
        return Ok(Err(status));
    }
    let resource = match check_state(kernel, device, &given)? {
        Ok(resource) => resource,
        Err(status) => return Ok(Err(status)),
    };
    if let Err(status) = check_callbacks(&given) {
        return Ok(Err(status));
    }
    let work = given.EvtInterruptWorkItem.is_some();
    let parent = attributes.parent.unwrap_or(of);
    let serialised = match Serialised::resolve(kernel, parent, automatic, work) {
        Ok(serialised) => serialised,
        Err(status) => return Ok(Err(status)),
    };
    let shared = match given.SpinLock.is_null() {
        true => None,
        false => {
            let (lock, object) = kernel.wdf.get::<SpinLockObject>(given.SpinLock)?;
            object.set_interrupts();
            Some(lock)
        }
    };
    let config = Config {
        isr: routine(given.EvtInterruptIsr),
        dpc: routine(given.EvtInterruptDpc),
        enable: routine(given.EvtInterruptEnable),
        disable: routine(given.EvtInterruptDisable),
        work: routine(given.EvtInterruptWorkItem),
        serialised,
        shared,
        from_prepare: resource.is_some(),
    };
    Ok(make(kernel, of, device, &attributes, config, resource))
}

fn make(
    kernel: &Kernel,
    of: Handle,
    device: &Device,
    attributes: &Attributes,
    config: Config,
    resource: Option<usize>,
) -> Result<Handle, NTSTATUS> {
    let (handle, interrupt) = kernel.wdf.create::<Interrupt>(kernel, Some(of), attributes)?;
    interrupt.device.set(Some(of));
    *interrupt.config.lock() = config;
    let mut interrupts = device.interrupts.lock();
    // CAST: a few interrupts.
    interrupt.number.store(interrupts.len() as u32, Ordering::Relaxed);
    if let Some(index) = resource {
        let earlier = interrupts.iter().filter_map(|&i| kernel.wdf.payload::<Interrupt>(i));
        let nth = earlier.filter(|i| i.config.lock().from_prepare).count();
        *interrupt.resource.lock() = crate::pnp::interrupt_resource(kernel, device, index, nth);
    }
    interrupts.push(handle);
    Ok(handle)
}

/// A parent is given with automatic serialisation only, and is the device or one of its queues.
fn check_parent(
    kernel: &Kernel,
    device: Handle,
    attributes: &Attributes,
    automatic: bool,
) -> Result<(), NTSTATUS> {
    let Some(parent) = attributes.parent else { return Ok(()) };
    if !automatic {
        return Err(STATUS_WDF_PARENT_ASSIGNMENT_NOT_ALLOWED);
    }
    let queue = kernel.wdf.kind(parent) == Some(Kind::Queue)
        && kernel.wdf.ancestor(parent, Kind::Device) == Some(device);
    if parent == device || queue { Ok(()) } else { Err(STATUS_INVALID_PARAMETER) }
}

/// Created in device add without descriptors, or in PrepareHardware with both; the index of the
/// descriptors then (KMDF-12).
fn check_state(
    kernel: &Kernel,
    device: &Device,
    given: &WDF_INTERRUPT_CONFIG,
) -> Result<Result<Option<usize>, NTSTATUS>, Violation> {
    let (raw, translated) = (given.InterruptRaw, given.InterruptTranslated);
    if device.preparing.load(Ordering::Acquire) {
        let shares = given.ShareVector != _WDF_TRI_STATE::WdfUseDefault;
        if raw.is_null() || translated.is_null() || shares {
            return Ok(Err(STATUS_INVALID_DEVICE_STATE));
        }
        let find = |list: &crate::wdf::device::HandleCell, descriptor| {
            let list = kernel.wdf.payload::<ResourceList>(list.get()?)?;
            list.index_of(descriptor)
        };
        let (raw, translated) = (find(&device.raw, raw), find(&device.translated, translated));
        return match (raw, translated) {
            (Some(raw), Some(translated)) if raw == translated => Ok(Ok(Some(raw))),
            _ => Err(broken(
                RuleId::Kmdf12,
                "the descriptors of an interrupt are not the two that \
                 WdfCmResourceListGetDescriptor gave for one index",
            )),
        };
    }
    if device.pnp() != PnpState::Init {
        return Ok(Err(STATUS_INVALID_DEVICE_STATE));
    }
    if !raw.is_null() || !translated.is_null() || given.CanWakeDevice != 0 {
        return Ok(Err(STATUS_INVALID_PARAMETER));
    }
    Ok(Ok(None))
}

fn check_callbacks(given: &WDF_INTERRUPT_CONFIG) -> Result<(), NTSTATUS> {
    if given.EvtInterruptDpc.is_some() && given.EvtInterruptWorkItem.is_some() {
        return Err(STATUS_INVALID_PARAMETER);
    }
    if given.PassiveHandling != 0 {
        let spin = !given.SpinLock.is_null();
        return Err(if spin { STATUS_INVALID_PARAMETER } else { STATUS_NOT_SUPPORTED });
    }
    if !given.WaitLock.is_null() || given.CanWakeDevice != 0 {
        return Err(STATUS_INVALID_PARAMETER);
    }
    Ok(())
}
