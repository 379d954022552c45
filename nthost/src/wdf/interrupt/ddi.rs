//! The KMDF functions of interrupts.

// UNSAFETY: arguments are the driver's.
#![allow(non_snake_case, reason = "names are the WDK's")]

use std::sync::atomic::Ordering;

use wdk_lite::*;

use crate::RuleId;
use crate::ddi::callback::{self, routine};
use crate::machine::Kernel;
use crate::verifier::{Violation, broken};
use crate::wdf::object::{Handle, null_parameter};

/// Makes an interrupt.
pub(crate) unsafe fn WdfInterruptCreate(
    kernel: &Kernel,
    Device: WDFDEVICE,
    Configuration: PWDF_INTERRUPT_CONFIG,
    Attributes: PWDF_OBJECT_ATTRIBUTES,
    Interrupt: *mut WDFINTERRUPT,
) -> Result<NTSTATUS, Violation> {
    if Interrupt.is_null() {
        return Err(null_parameter("WdfInterruptCreate's Interrupt"));
    }
    // SAFETY: the driver's arguments.
    match unsafe { super::create::create(kernel, Device, Configuration, Attributes) }? {
        Ok(handle) => {
            // SAFETY: the driver's out pointer, not NULL.
            unsafe { Interrupt.write(handle.raw()) };
            Ok(STATUS_SUCCESS)
        }
        Err(status) => Ok(status),
    }
}

/// Queues the interrupt's DPC; FALSE if it is queued already.
pub(crate) unsafe fn WdfInterruptQueueDpcForIsr(
    kernel: &Kernel,
    Interrupt: WDFINTERRUPT,
) -> Result<BOOLEAN, Violation> {
    let (handle, interrupt) = kernel.wdf.get::<super::Interrupt>(Interrupt)?;
    Ok(interrupt.queue_dpc(kernel, handle)?.into())
}

/// The interrupt, connected (KMDF-18).
fn connected<'k>(
    kernel: &'k Kernel,
    interrupt: WDFINTERRUPT,
    call: &str,
) -> Result<(Handle, &'k super::Interrupt), Violation> {
    let (handle, interrupt) = kernel.wdf.get::<super::Interrupt>(interrupt)?;
    if interrupt.is_connected() {
        return Ok((handle, interrupt));
    }
    let message = format!("{call} on an interrupt that is not connected");
    Err(broken(RuleId::Kmdf18, message).code(0x10D, [9, handle.bits(), 0, 0]))
}

/// Runs a routine under the interrupt lock; returns its answer.
pub(crate) unsafe fn WdfInterruptSynchronize(
    kernel: &Kernel,
    Interrupt: WDFINTERRUPT,
    Callback: PFN_WDF_INTERRUPT_SYNCHRONIZE,
    Context: WDFCONTEXT,
) -> Result<BOOLEAN, Violation> {
    let (handle, interrupt) = connected(kernel, Interrupt, "WdfInterruptSynchronize")?;
    let call = routine(Callback);
    if !call.is_some() {
        return Err(null_parameter("WdfInterruptSynchronize's Callback"));
    }
    interrupt.acquire(kernel)?;
    // SAFETY: the driver's routine with what it passed, under the lock.
    let answer =
        unsafe { callback::PFN_WDF_INTERRUPT_SYNCHRONIZE(kernel, call, handle.raw(), Context) };
    interrupt.release(kernel)?;
    Ok(answer)
}

/// Takes the interrupt lock: DIRQL afterwards.
pub(crate) unsafe fn WdfInterruptAcquireLock(
    kernel: &Kernel,
    Interrupt: WDFINTERRUPT,
) -> Result<(), Violation> {
    let (_, interrupt) = connected(kernel, Interrupt, "WdfInterruptAcquireLock")?;
    interrupt.acquire(kernel)
}

/// Releases the interrupt lock and restores the level.
pub(crate) unsafe fn WdfInterruptReleaseLock(
    kernel: &Kernel,
    Interrupt: WDFINTERRUPT,
) -> Result<(), Violation> {
    let (_, interrupt) = kernel.wdf.get::<super::Interrupt>(Interrupt)?;
    interrupt.release(kernel)
}

/// The resource the interrupt has got.
pub(crate) unsafe fn WdfInterruptGetInfo(
    kernel: &Kernel,
    Interrupt: WDFINTERRUPT,
    Info: PWDF_INTERRUPT_INFO,
) -> Result<(), Violation> {
    /// Size of the KMDF 1.7 structure: without the group.
    const SIZE_1_7: usize = std::mem::offset_of!(WDF_INTERRUPT_INFO, Group);
    let (_, interrupt) = kernel.wdf.get::<super::Interrupt>(Interrupt)?;
    if Info.is_null() {
        return Err(null_parameter("WdfInterruptGetInfo's Info"));
    }
    // SAFETY: the driver's structure, not NULL.
    let size = unsafe { (*Info).Size };
    let bytes = size as usize;
    if bytes != size_of::<WDF_INTERRUPT_INFO>() && bytes != SIZE_1_7 {
        return Ok(());
    }
    let mut info = WDF_INTERRUPT_INFO {
        Size: size,
        MessageNumber: interrupt.number.load(Ordering::Relaxed),
        ..WDF_INTERRUPT_INFO::default()
    };
    if let Some(resource) = *interrupt.resource.lock() {
        info.TargetProcessorSet = resource.affinity;
        info.Vector = resource.vector;
        info.Irql = resource.irql;
        info.MessageSignaled = resource.message.into();
        let (latched, level) = (_KINTERRUPT_MODE::Latched, _KINTERRUPT_MODE::LevelSensitive);
        info.Mode = if resource.message { latched } else { level };
        // CAST: 1 or 3.
        info.ShareDisposition = if resource.shared {
            CmResourceShareShared as UCHAR
        } else {
            CmResourceShareDeviceExclusive as UCHAR
        };
    }
    // SAFETY: `bytes` bytes of the driver's structure; both are plain data.
    unsafe { std::ptr::copy_nonoverlapping((&raw const info).cast::<u8>(), Info.cast(), bytes) };
    Ok(())
}

/// Where an interrupt is to be taken, from the next time its device gets resources on
/// (KMDF-12).
pub(crate) unsafe fn WdfInterruptSetExtendedPolicy(
    kernel: &Kernel,
    Interrupt: WDFINTERRUPT,
    PolicyAndGroup: PWDF_INTERRUPT_EXTENDED_POLICY,
) -> Result<(), Violation> {
    let (_, interrupt) = kernel.wdf.get::<super::Interrupt>(Interrupt)?;
    if PolicyAndGroup.is_null() {
        return Err(null_parameter("WdfInterruptSetExtendedPolicy's PolicyAndGroup"));
    }
    // SAFETY: the driver's structure, not NULL.
    let size = unsafe { (*PolicyAndGroup).Size };
    if size as usize != size_of::<WDF_INTERRUPT_EXTENDED_POLICY>() {
        return Err(wrong_policy(format!("a WDF_INTERRUPT_EXTENDED_POLICY of size {size}")));
    }
    // SAFETY: of this size, as it says.
    let policy = unsafe { PolicyAndGroup.read() };
    let mask = super::policy::named(kernel, &policy).map_err(wrong_policy)?;
    if interrupt.config.lock().from_prepare {
        return Err(wrong_policy(
            "an interrupt made in EvtDevicePrepareHardware, whose resource is given already",
        ));
    }
    interrupt.policy.store(mask, Ordering::Relaxed);
    Ok(())
}

fn wrong_policy(what: impl std::fmt::Display) -> Violation {
    broken(RuleId::Kmdf12, format!("WdfInterruptSetExtendedPolicy was called with {what}"))
}

/// The interrupt's device.
pub(crate) unsafe fn WdfInterruptGetDevice(
    kernel: &Kernel,
    Interrupt: WDFINTERRUPT,
) -> Result<WDFDEVICE, Violation> {
    let (_, interrupt) = kernel.wdf.get::<super::Interrupt>(Interrupt)?;
    Ok(interrupt.device.get().map_or(std::ptr::null_mut(), Handle::raw))
}
