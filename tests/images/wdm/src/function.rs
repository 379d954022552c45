//! The function driver of an edu device: from AddDevice to REMOVE.

use core::ptr;

use image_support::{Name, call_with_completion, complete, current, pass_on};
use testdev::edu;
use wdk_lite::*;

use crate::transfer::{self, Engine};
use crate::{Kind, make_device, minor};

static NAME: Name<22> = Name::new(b"\\Device\\DmaproofWdmEdu");
static LINK: Name<26> = Name::new(b"\\DosDevices\\DmaproofWdmEdu");

/// The extension of an edu device.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Extension {
    kind: Kind,
    /// The device below.
    pub(crate) lower: PDEVICE_OBJECT,
    physical: PDEVICE_OBJECT,
    registers_length: u64,
    interrupt: PKINTERRUPT,
    pub(crate) engine: Engine,
}

/// The extension of an edu device.
///
/// # Safety
/// `device` is an edu device of this driver.
pub(crate) unsafe fn extension(device: PDEVICE_OBJECT) -> *mut Extension {
    // SAFETY: the caller's device.
    unsafe { (*device).DeviceExtension }.cast()
}

/// AddDevice. IRQL: PASSIVE_LEVEL.
pub(crate) unsafe extern "C" fn add_device(
    driver: PDRIVER_OBJECT,
    physical: PDEVICE_OBJECT,
) -> NTSTATUS {
    // SAFETY: the system's driver object, at PASSIVE_LEVEL.
    let made = unsafe { make_device(driver, size_of::<Extension>(), NAME.string(), LINK.string()) };
    let device = match made {
        Ok(device) => device,
        Err(status) => return status,
    };
    // SAFETY: the device just made, whose extension is zeroed.
    let this = unsafe { extension(device) };
    // SAFETY: both are devices; the new one is not in a stack yet.
    let lower = unsafe { ntddk::IoAttachDeviceToDeviceStack(device, physical) };
    if lower.is_null() {
        // SAFETY: made above.
        unsafe { delete(device) };
        return STATUS_NO_SUCH_DEVICE;
    }
    // SAFETY: as above.
    let extension = unsafe { &mut *this };
    (extension.kind, extension.lower, extension.physical) = (Kind::Function, lower, physical);
    extension.engine.init();
    // SAFETY: as above: now it may be opened.
    unsafe { (*device).Flags &= !DO_DEVICE_INITIALIZING };
    STATUS_SUCCESS
}

/// # Safety
/// A device of this driver that nobody uses and that is in no stack.
unsafe fn delete(device: PDEVICE_OBJECT) {
    let mut link = LINK.string();
    // SAFETY: a valid string, at PASSIVE_LEVEL. A link that is gone is no loss.
    let _status = unsafe { ntddk::IoDeleteSymbolicLink(&mut link) };
    // SAFETY: the caller's device.
    unsafe { ntddk::IoDeleteDevice(device) };
}

/// IRP_MJ_PNP.
pub(crate) unsafe extern "C" fn dispatch_pnp(device: PDEVICE_OBJECT, irp: PIRP) -> NTSTATUS {
    // SAFETY: plug and play sends its IRPs to edu devices only.
    let this = unsafe { extension(device) };
    // SAFETY: the device's extension.
    let lower = unsafe { (*this).lower };
    // SAFETY: the system's IRP.
    match unsafe { minor(irp) } {
        // SAFETY: the system's IRP for this device.
        IRP_MN_START_DEVICE => unsafe { start(this, irp) },
        IRP_MN_SURPRISE_REMOVAL => {
            // SAFETY: the device's extension.
            unsafe { (*this).engine.abandon() };
            // SAFETY: the system's IRP, which all drivers agree to.
            unsafe { succeed(lower, irp) }
        }
        IRP_MN_REMOVE_DEVICE => {
            // SAFETY: no IRP comes after this one.
            unsafe { stop(this) };
            // SAFETY: the system's IRP.
            let status = unsafe { succeed(lower, irp) };
            // SAFETY: the device below this one.
            unsafe { ntddk::IoDetachDevice(lower) };
            // SAFETY: out of the stack, and nobody uses it.
            unsafe { delete(device) };
            status
        }
        IRP_MN_QUERY_REMOVE_DEVICE | IRP_MN_CANCEL_REMOVE_DEVICE => {
            // SAFETY: the system's IRP.
            unsafe { succeed(lower, irp) }
        }
        // SAFETY: the system's IRP; what this driver does not know keeps its status.
        _ => unsafe { pass_on(lower, irp) },
    }
}

/// Passes an IRP on with the status that says "handled".
///
/// # Safety
/// The system's IRP; afterwards it is the lower driver's.
unsafe fn succeed(lower: PDEVICE_OBJECT, irp: PIRP) -> NTSTATUS {
    // SAFETY: the caller has the IRP.
    unsafe { (*irp).IoStatus.__bindgen_anon_1.Status = STATUS_SUCCESS };
    // SAFETY: as above.
    unsafe { pass_on(lower, irp) }
}

/// IRP_MN_START_DEVICE: first the bus, then this driver.
///
/// # Safety
/// The system's IRP for the device of this extension; PASSIVE_LEVEL.
unsafe fn start(this: *mut Extension, irp: PIRP) -> NTSTATUS {
    let mut event = KEVENT::default();
    // SAFETY: a variable of this routine, which waits until nobody uses it.
    unsafe {
        ntddk::KeInitializeEvent(&mut event, _EVENT_TYPE::NotificationEvent, FALSE as BOOLEAN);
    }
    // SAFETY: the device's extension.
    let lower = unsafe { (*this).lower };
    let context = (&raw mut event).cast();
    // SAFETY: the system's IRP; the routine gives it back to this one.
    let mut status = unsafe { call_with_completion(lower, irp, Some(signal), context) };
    if status == STATUS_PENDING {
        // SAFETY: the event of above, at PASSIVE_LEVEL.
        unsafe {
            ntddk::KeWaitForSingleObject(
                context,
                _KWAIT_REASON::Executive,
                _MODE::KernelMode as KPROCESSOR_MODE,
                FALSE as BOOLEAN,
                ptr::null_mut(),
            );
        }
        // SAFETY: the routine gave the IRP back; the status is one.
        status = unsafe { (*irp).IoStatus.__bindgen_anon_1.Status };
    }
    if NT_SUCCESS(status) {
        // SAFETY: the IRP's own location, with the parameters of START.
        let resources = unsafe { translated(irp) };
        // SAFETY: the bus has started the device.
        status = unsafe { prepare(this, resources) };
    }
    // SAFETY: given back by the completion routine.
    unsafe { complete(irp, status, 0) }
}

/// The completion routine of START.
unsafe extern "C" fn signal(_device: PDEVICE_OBJECT, _irp: PIRP, event: PVOID) -> NTSTATUS {
    // SAFETY: the event of `start`, which waits for it, or does not if the IRP did not pend.
    unsafe { ntddk::KeSetEvent(event.cast(), 0, FALSE as BOOLEAN) };
    STATUS_MORE_PROCESSING_REQUIRED
}

/// The descriptors of START, translated; none without a list.
///
/// # Safety
/// An IRP_MN_START_DEVICE that this driver has.
unsafe fn translated<'i>(irp: PIRP) -> &'i [CM_PARTIAL_RESOURCE_DESCRIPTOR] {
    // SAFETY: the caller has the IRP.
    let stack = unsafe { current(irp) };
    // SAFETY: the parameters of START.
    let list = unsafe { (*stack).Parameters.StartDevice.AllocatedResourcesTranslated };
    if list.is_null() {
        return &[];
    }
    // SAFETY: the system's list, which has one bus.
    let partial = unsafe { &raw const (*list).List[0].PartialResourceList };
    // SAFETY: as above; the list is aligned to 4.
    let count = unsafe { (&raw const (*partial).Count).read_unaligned() };
    // SAFETY: as above.
    let first = unsafe { &raw const (*partial).PartialDescriptors };
    // CAST: a few descriptors.
    // SAFETY: as many as the list says, which live as long as the IRP.
    unsafe { core::slice::from_raw_parts(first.cast(), count as usize) }
}

/// Takes the device into use.
///
/// # Safety
/// The device was started with these resources; PASSIVE_LEVEL.
unsafe fn prepare(this: *mut Extension, resources: &[CM_PARTIAL_RESOURCE_DESCRIPTOR]) -> NTSTATUS {
    let of = |kind: u32| resources.iter().find(|resource| u32::from(resource.Type) == kind);
    let (Some(memory), Some(interrupt)) = (of(CmResourceTypeMemory), of(CmResourceTypeInterrupt))
    else {
        return STATUS_DEVICE_CONFIGURATION_ERROR;
    };
    // SAFETY: the member that the type names.
    let window = unsafe { memory.u.Memory };
    if u64::from(window.Length) < edu::DMA_COMMAND + 8 {
        return STATUS_DEVICE_CONFIGURATION_ERROR;
    }
    // SAFETY: the caller's device.
    let extension = unsafe { &mut *this };
    let length = u64::from(window.Length);
    // SAFETY: the device's own registers.
    let base =
        unsafe { ntddk::MmMapIoSpaceEx(window.Start, length, PAGE_READWRITE | PAGE_NOCACHE) };
    if base.is_null() {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    extension.registers_length = length;
    extension.engine.set_registers(base.cast());
    if !edu::is_edu(extension.engine.read(edu::ID)) {
        return STATUS_NO_SUCH_DEVICE;
    }
    // SAFETY: the physical device object, at PASSIVE_LEVEL in START.
    if !unsafe { extension.engine.take_adapter(extension.physical) } {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    // SAFETY: the resources of this device.
    unsafe { connect(extension, interrupt) }
}

/// Connects the interrupt.
///
/// # Safety
/// The translated descriptor of this device's interrupt; PASSIVE_LEVEL.
unsafe fn connect(
    extension: &mut Extension,
    resource: &CM_PARTIAL_RESOURCE_DESCRIPTOR,
) -> NTSTATUS {
    let message = u32::from(resource.Flags) & CM_RESOURCE_INTERRUPT_MESSAGE != 0;
    let (level, vector, affinity) = if message {
        // SAFETY: the member that type and flags name, in a translated list.
        let given = unsafe { resource.u.MessageInterrupt.__bindgen_anon_1.Translated };
        (given.Level, given.Vector, given.Affinity)
    } else {
        // SAFETY: as above.
        let given = unsafe { resource.u.Interrupt };
        (given.Level, given.Vector, given.Affinity)
    };
    let shared = u32::from(resource.ShareDisposition) == CmResourceShareShared;
    // CAST: a level is below 16.
    let level = level as KIRQL;
    let full = IO_CONNECT_INTERRUPT_FULLY_SPECIFIED_PARAMETERS {
        PhysicalDeviceObject: extension.physical,
        InterruptObject: &raw mut extension.interrupt,
        ServiceRoutine: Some(transfer::service),
        ServiceContext: (&raw mut extension.engine).cast(),
        SpinLock: ptr::null_mut(),
        SynchronizeIrql: level,
        FloatingSave: FALSE as BOOLEAN,
        ShareVector: shared.into(),
        Vector: vector,
        Irql: level,
        InterruptMode: if message {
            _KINTERRUPT_MODE::Latched
        } else {
            _KINTERRUPT_MODE::LevelSensitive
        },
        ProcessorEnableMask: affinity,
        Group: 0,
    };
    let mut parameters = IO_CONNECT_INTERRUPT_PARAMETERS {
        Version: CONNECT_FULLY_SPECIFIED,
        __bindgen_anon_1: _IO_CONNECT_INTERRUPT_PARAMETERS__bindgen_ty_1 { FullySpecified: full },
    };
    // SAFETY: complete parameters, at PASSIVE_LEVEL; the engine outlives the connection.
    unsafe { ntddk::IoConnectInterruptEx(&mut parameters) }
}

/// Gives back what [`prepare`] took, after the last transfer.
///
/// # Safety
/// No IRP comes any more; PASSIVE_LEVEL.
unsafe fn stop(this: *mut Extension) {
    // SAFETY: PASSIVE_LEVEL; the DPC and a running transfer still use the engine.
    unsafe { (*this).engine.finish() };
    // SAFETY: the caller's device.
    let extension = unsafe { &mut *this };
    if !extension.interrupt.is_null() {
        let mut parameters = IO_DISCONNECT_INTERRUPT_PARAMETERS {
            Version: CONNECT_FULLY_SPECIFIED,
            ConnectionContext: _IO_DISCONNECT_INTERRUPT_PARAMETERS__bindgen_ty_1 {
                InterruptObject: extension.interrupt,
            },
        };
        // SAFETY: connected by `connect`.
        unsafe { ntddk::IoDisconnectInterruptEx(&mut parameters) };
        extension.interrupt = ptr::null_mut();
        // SAFETY: PASSIVE_LEVEL; a DPC of the last interrupt may still be queued.
        unsafe { ntddk::KeFlushQueuedDpcs() };
    }
    // SAFETY: nothing is mapped, and nothing uses it.
    unsafe { extension.engine.put_adapter() };
    let base = extension.engine.set_registers(ptr::null_mut());
    if !base.is_null() {
        // SAFETY: mapped by `prepare` with this length.
        unsafe { ntddk::MmUnmapIoSpace(base.cast(), extension.registers_length) };
    }
}
