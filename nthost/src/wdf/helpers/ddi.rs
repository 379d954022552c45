//! The KMDF functions of DMA enablers, resource lists and locks; below it those of what runs
//! later.

// UNSAFETY: arguments are the driver's.
#![allow(non_snake_case, reason = "names are the WDK's")]

mod later;

use wdk_lite::*;

pub(crate) use later::*;

use super::SpinLockObject;
use super::enabler::{Callbacks, DmaEnabler};
use super::resources::ResourceList;
use crate::RuleId;
use crate::ddi::callback::routine;
use crate::machine::{DISPATCH, Kernel};
use crate::verifier::{Violation, broken};
use crate::wdf::object::{AttributeRules, Attributes, Handle, ParentRule, Payload, null_parameter};

/// Reads a configuration whose first member is its size; the inner result is the status for one
/// of another size.
///
/// # Safety
/// `config` is NULL or valid for reading.
unsafe fn read_config<T: Copy>(
    config: *mut T,
    what: &str,
) -> Result<Result<T, NTSTATUS>, Violation> {
    if config.is_null() {
        return Err(null_parameter(what));
    }
    // SAFETY: not NULL; every configuration starts with its size.
    let size = unsafe { config.cast::<ULONG>().read() };
    if size as usize != size_of::<T>() {
        return Ok(Err(STATUS_INFO_LENGTH_MISMATCH));
    }
    // SAFETY: valid for reading, and of this structure's size.
    Ok(Ok(unsafe { config.read() }))
}

/// Makes an object and gives its handle to the driver; `set_up` fills it in first.
fn make<T: Payload>(
    kernel: &Kernel,
    parent: Option<Handle>,
    attributes: &Attributes,
    out: *mut *mut impl Sized,
    set_up: impl FnOnce(Handle, &T),
) -> NTSTATUS {
    match kernel.wdf.create::<T>(kernel, parent, attributes) {
        Ok((handle, payload)) => {
            set_up(handle, payload);
            // SAFETY: the driver's out pointer; the callers checked that it is not NULL.
            unsafe { out.write(handle.raw()) };
            STATUS_SUCCESS
        }
        Err(status) => status,
    }
}

/// Makes a DMA enabler with the adapter of its profile.
pub(crate) unsafe fn WdfDmaEnablerCreate(
    kernel: &Kernel,
    Device: WDFDEVICE,
    Config: PWDF_DMA_ENABLER_CONFIG,
    Attributes: PWDF_OBJECT_ATTRIBUTES,
    DmaEnablerHandle: *mut WDFDMAENABLER,
) -> Result<NTSTATUS, Violation> {
    let (parent, device) = kernel.wdf.get::<crate::wdf::device::Device>(Device)?;
    if DmaEnablerHandle.is_null() {
        return Err(null_parameter("DmaEnablerHandle"));
    }
    // SAFETY: the driver's configuration.
    let config = match unsafe { read_config(Config, "WdfDmaEnablerCreate's Config") }? {
        Ok(config) => config,
        Err(status) => return Ok(status),
    };
    let rules = AttributeRules { parent: ParentRule::Allowed, level: false, scope: false };
    // SAFETY: the driver's attributes.
    let attributes = match unsafe { self::Attributes::read(kernel, Attributes, rules) }? {
        Ok(attributes) => attributes,
        Err(status) => return Ok(status),
    };
    let made = kernel.wdf.create::<DmaEnabler>(kernel, Some(parent), &attributes);
    let (handle, enabler) = match made {
        Ok(made) => made,
        Err(status) => return Ok(status),
    };
    if let Err(status) = enabler.set_up(kernel, device.slot(), &config)? {
        kernel.wdf.discard(kernel, handle);
        return Ok(status);
    }
    *enabler.callbacks.lock() = Callbacks {
        fill: routine(config.EvtDmaEnablerFill),
        enable: routine(config.EvtDmaEnablerEnable),
        start: routine(config.EvtDmaEnablerSelfManagedIoStart),
        stop: routine(config.EvtDmaEnablerSelfManagedIoStop),
        disable: routine(config.EvtDmaEnablerDisable),
        flush: routine(config.EvtDmaEnablerFlush),
    };
    device.enablers.lock().push(handle);
    // SAFETY: the driver's out pointer, not NULL.
    unsafe { DmaEnablerHandle.write(handle.raw()) };
    Ok(STATUS_SUCCESS)
}

/// The enabler's adapter; one serves both directions.
pub(crate) unsafe fn WdfDmaEnablerWdmGetDmaAdapter(
    kernel: &Kernel,
    DmaEnabler: WDFDMAENABLER,
    _DmaDirection: WDF_DMA_DIRECTION,
) -> Result<PDMA_ADAPTER, Violation> {
    let (_, enabler) = kernel.wdf.get::<super::enabler::DmaEnabler>(DmaEnabler)?;
    Ok(enabler.adapter())
}

/// How many descriptors a resource list has.
pub(crate) unsafe fn WdfCmResourceListGetCount(
    kernel: &Kernel,
    List: WDFCMRESLIST,
) -> Result<ULONG, Violation> {
    let (_, list) = kernel.wdf.get::<ResourceList>(List)?;
    // CAST: a few descriptors.
    Ok(list.count() as ULONG)
}

/// One descriptor of a resource list; NULL past the end.
pub(crate) unsafe fn WdfCmResourceListGetDescriptor(
    kernel: &Kernel,
    List: WDFCMRESLIST,
    Index: ULONG,
) -> Result<PCM_PARTIAL_RESOURCE_DESCRIPTOR, Violation> {
    let (_, list) = kernel.wdf.get::<ResourceList>(List)?;
    Ok(list.descriptor(Index as usize))
}

/// Makes a spin lock.
pub(crate) unsafe fn WdfSpinLockCreate(
    kernel: &Kernel,
    SpinLockAttributes: PWDF_OBJECT_ATTRIBUTES,
    SpinLock: *mut WDFSPINLOCK,
) -> Result<NTSTATUS, Violation> {
    if SpinLock.is_null() {
        return Err(null_parameter("SpinLock"));
    }
    let rules = AttributeRules { parent: ParentRule::Allowed, level: false, scope: false };
    // SAFETY: the driver's attributes.
    let attributes = match unsafe { Attributes::read(kernel, SpinLockAttributes, rules) }? {
        Ok(attributes) => attributes,
        Err(status) => return Ok(status),
    };
    let driver = kernel.wdf.driver();
    Ok(make(kernel, driver, &attributes, SpinLock, |_, _: &SpinLockObject| {}))
}

/// The lock of a WDFSPINLOCK that is no interrupt's.
#[inline]
fn plain_lock<'k>(
    kernel: &'k Kernel,
    lock: WDFSPINLOCK,
    call: &str,
) -> Result<&'k super::lock::SpinLock, Violation> {
    let (_, object) = kernel.wdf.get::<SpinLockObject>(lock)?;
    if object.is_interrupts() {
        let message = format!("{call} on a spin lock that is an interrupt's");
        return Err(broken(RuleId::Kmdf18, message).code(0x10D, [0xB, 0, 0, 0]));
    }
    Ok(&object.lock)
}

/// Raises to DISPATCH_LEVEL and takes the lock.
pub(crate) unsafe fn WdfSpinLockAcquire(
    kernel: &Kernel,
    SpinLock: WDFSPINLOCK,
) -> Result<(), Violation> {
    let lock = plain_lock(kernel, SpinLock, "WdfSpinLockAcquire")?;
    lock.acquire(kernel, DISPATCH, "a WDFSPINLOCK", RuleId::Sim08)
}

/// Releases the lock and restores the level.
pub(crate) unsafe fn WdfSpinLockRelease(
    kernel: &Kernel,
    SpinLock: WDFSPINLOCK,
) -> Result<(), Violation> {
    let lock = plain_lock(kernel, SpinLock, "WdfSpinLockRelease")?;
    lock.release(kernel, "a WDFSPINLOCK", RuleId::Sim08)
}
