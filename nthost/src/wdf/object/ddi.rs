//! The KMDF functions of any object.

// UNSAFETY: arguments are the driver's.
#![allow(non_snake_case, reason = "names are the WDK's")]

use wdk_lite::*;

use super::{AttributeRules, Attributes, Kind, ParentRule, Plain, null_parameter};
use crate::RuleId;
use crate::machine::Kernel;
use crate::verifier::{Violation, broken};
use crate::wdf::device::Device;

/// Finds a context by its type; NULL if the object has none of it.
pub(crate) unsafe fn WdfObjectGetTypedContextWorker(
    kernel: &Kernel,
    Handle: WDFOBJECT,
    TypeInfo: PCWDF_OBJECT_CONTEXT_TYPE_INFO,
) -> Result<PVOID, Violation> {
    let (handle, _) = kernel.wdf.any(Handle)?;
    // SAFETY: the driver's type info, static in its image.
    let context = unsafe { kernel.wdf.context_of(handle, TypeInfo) };
    Ok(context.map_or(std::ptr::null_mut(), <*mut u8>::cast))
}

/// Adds a context to an object.
pub(crate) unsafe fn WdfObjectAllocateContext(
    kernel: &Kernel,
    Handle: WDFOBJECT,
    ContextAttributes: PWDF_OBJECT_ATTRIBUTES,
    Context: *mut PVOID,
) -> Result<NTSTATUS, Violation> {
    let (handle, _) = kernel.wdf.any(Handle)?;
    if ContextAttributes.is_null() {
        return Err(null_parameter("WdfObjectAllocateContext's ContextAttributes"));
    }
    let rules = AttributeRules { parent: ParentRule::Forbidden, level: true, scope: true };
    // SAFETY: the driver's attributes.
    let attributes = match unsafe { Attributes::read(kernel, ContextAttributes, rules) }? {
        Ok(attributes) => attributes,
        Err(status) => return Ok(status),
    };
    let (context, existed) = match kernel.wdf.add_context(handle, &attributes) {
        Ok(added) => added,
        Err(status) => return Ok(status),
    };
    if !Context.is_null() {
        // SAFETY: the driver's out pointer.
        unsafe { Context.write(context.cast()) };
    }
    Ok(if existed { STATUS_OBJECT_NAME_EXISTS } else { STATUS_SUCCESS })
}

/// The object that a context belongs to.
pub(crate) unsafe fn WdfObjectContextGetObject(
    kernel: &Kernel,
    ContextPointer: PVOID,
) -> Result<WDFOBJECT, Violation> {
    let owner = kernel.wdf.owner_of_context(ContextPointer.addr());
    owner.map(super::Handle::raw).ok_or_else(|| {
        let message = format!("{ContextPointer:p} is no context of a live object");
        broken(RuleId::Sim11, message).code(0x10D, [5, ContextPointer.addr() as u64, 0, 0])
    })
}

/// Adds a reference.
pub(crate) unsafe fn WdfObjectReferenceActual(
    kernel: &Kernel,
    Handle: WDFOBJECT,
    _Tag: PVOID,
    _Line: LONG,
    _File: PCCH,
) -> Result<(), Violation> {
    let (handle, _) = kernel.wdf.any(Handle)?;
    kernel.wdf.reference(handle);
    Ok(())
}

/// Drops a reference.
pub(crate) unsafe fn WdfObjectDereferenceActual(
    kernel: &Kernel,
    Handle: WDFOBJECT,
    _Tag: PVOID,
    _Line: LONG,
    _File: PCCH,
) -> Result<(), Violation> {
    let (handle, _) = kernel.wdf.any(Handle)?;
    kernel.wdf.try_dereference(kernel, handle)
}

/// Makes an object that has contexts only; child of the driver unless told otherwise.
pub(crate) unsafe fn WdfObjectCreate(
    kernel: &Kernel,
    Attributes: PWDF_OBJECT_ATTRIBUTES,
    Object: *mut WDFOBJECT,
) -> Result<NTSTATUS, Violation> {
    if Object.is_null() {
        return Err(null_parameter("WdfObjectCreate's Object"));
    }
    let rules = AttributeRules { parent: ParentRule::Allowed, level: true, scope: false };
    // SAFETY: the driver's attributes.
    let attributes = match unsafe { self::Attributes::read(kernel, Attributes, rules) }? {
        Ok(attributes) => attributes,
        Err(status) => return Ok(status),
    };
    let driver = kernel.wdf.driver();
    match kernel.wdf.create::<Plain>(kernel, driver, &attributes) {
        Ok((handle, _)) => {
            // SAFETY: the driver's out pointer, not NULL.
            unsafe { Object.write(handle.raw()) };
            Ok(STATUS_SUCCESS)
        }
        Err(status) => Ok(status),
    }
}

/// Deletes an object that the driver may delete (KMDF-43).
pub(crate) unsafe fn WdfObjectDelete(kernel: &Kernel, Object: WDFOBJECT) -> Result<(), Violation> {
    let (handle, kind) = kernel.wdf.any(Object)?;
    let undeletable = match kind {
        Kind::Driver
        | Kind::Device
        | Kind::Interrupt
        | Kind::File
        | Kind::Request
        | Kind::ResourceList => true,
        Kind::Queue => is_pinned(kernel, handle),
        _ => false,
    };
    if undeletable {
        let message = format!("a {} was deleted that belongs to the framework", kind.name());
        return Err(broken(RuleId::Kmdf43, message));
    }
    let with_parent = kernel.wdf.parent(handle).is_some_and(|p| kernel.wdf.is_deleted(p));
    if kernel.wdf.is_deleted(handle) && !with_parent {
        let message = format!("a {} was deleted twice", kind.name());
        return Err(broken(RuleId::Kmdf42, message).code(0x10D, [7, handle.bits(), 0, 0]));
    }
    kernel.wdf.delete(kernel, handle);
    Ok(())
}

/// Whether a queue is its device's default queue, a dispatch target or an interrupt's parent.
fn is_pinned(kernel: &Kernel, queue: super::Handle) -> bool {
    let device = kernel.wdf.ancestor(queue, Kind::Device);
    let device = device.and_then(|device| kernel.wdf.payload::<Device>(device));
    device.is_some_and(|device| device.is_pinned(queue))
}
