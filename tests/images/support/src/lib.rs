//! What the WDM headers have as macros and inline functions: IRPs, control codes, strings.
#![no_std]

use core::sync::atomic::{AtomicPtr, Ordering};

use wdk_lite::*;

/// A device control code (CTL_CODE) of type FILE_DEVICE_UNKNOWN that needs read and write access.
#[must_use]
pub const fn control_code(function: u32, method: u32) -> u32 {
    let access = FILE_READ_ACCESS | FILE_WRITE_ACCESS;
    FILE_DEVICE_UNKNOWN << 16 | access << 14 | function << 2 | method
}

/// A name in the kernel's strings, made when the driver is compiled.
#[derive(Debug)]
pub struct Name<const UNITS: usize>([u16; UNITS]);

impl<const UNITS: usize> Name<UNITS> {
    /// From plain ASCII of the same length.
    #[must_use]
    pub const fn new(text: &[u8; UNITS]) -> Self {
        let mut units = [0; UNITS];
        let mut at = 0;
        while at < UNITS {
            assert!(text[at].is_ascii(), "a name is plain ASCII");
            units[at] = text[at] as u16;
            at += 1;
        }
        Self(units)
    }

    /// As a counted string; nobody writes through its pointer.
    #[must_use]
    pub fn string(&'static self) -> UNICODE_STRING {
        // CAST: a short name.
        let length = (UNITS * size_of::<u16>()) as u16;
        UNICODE_STRING { Length: length, MaximumLength: length, Buffer: self.0.as_ptr().cast_mut() }
    }
}

/// IoGetCurrentIrpStackLocation.
///
/// # Safety
/// The caller's driver was called with this IRP and still has it.
#[must_use]
pub unsafe fn current(irp: PIRP) -> *mut IO_STACK_LOCATION {
    // SAFETY: a member of the IRP, which the caller has.
    unsafe { current_stack_location(irp).read() }
}

/// The parameters of a device control request.
///
/// # Safety
/// As [`current`]; the IRP is an IRP_MJ_DEVICE_CONTROL.
#[must_use]
pub unsafe fn control(irp: PIRP) -> _IO_STACK_LOCATION__bindgen_ty_1__bindgen_ty_17 {
    // SAFETY: the caller has the IRP.
    let stack = unsafe { current(irp) };
    // SAFETY: as above.
    let parameters = unsafe { (*stack).Parameters };
    // SAFETY: the parameters that belong to the major function.
    unsafe { parameters.DeviceIoControl }
}

/// The resources of IRP_MN_START_DEVICE.
///
/// # Safety
/// As [`current`]; the IRP is an IRP_MN_START_DEVICE.
#[must_use]
pub unsafe fn start(irp: PIRP) -> _IO_STACK_LOCATION__bindgen_ty_1__bindgen_ty_37 {
    // SAFETY: the caller has the IRP.
    let stack = unsafe { current(irp) };
    // SAFETY: as above.
    let parameters = unsafe { (*stack).Parameters };
    // SAFETY: the parameters that belong to the function.
    unsafe { parameters.StartDevice }
}

/// The status so far.
///
/// # Safety
/// As [`current`].
#[must_use]
pub unsafe fn status(irp: PIRP) -> NTSTATUS {
    // SAFETY: the caller has the IRP.
    let block = unsafe { (*irp).IoStatus };
    // SAFETY: a status, in every IRP that a driver gets.
    unsafe { block.__bindgen_anon_1.Status }
}

/// Sets the status, for the drivers below.
///
/// # Safety
/// As [`current`].
pub unsafe fn set_status(irp: PIRP, status: NTSTATUS) {
    let value = _IO_STATUS_BLOCK__bindgen_ty_1 { Status: status };
    // SAFETY: the caller has the IRP.
    unsafe { (*irp).IoStatus.__bindgen_anon_1 = value };
}

/// The system buffer.
///
/// # Safety
/// As [`current`]; the IRP has one.
#[must_use]
pub unsafe fn system_buffer(irp: PIRP) -> PVOID {
    // SAFETY: the caller has the IRP.
    let associated = unsafe { (*irp).AssociatedIrp };
    // SAFETY: an IRP with a system buffer uses this member.
    unsafe { associated.SystemBuffer }
}

/// Completes an IRP and returns its status. IRQL: at most DISPATCH_LEVEL.
///
/// # Safety
/// The caller has the IRP, without a cancel routine; afterwards it is gone.
pub unsafe fn complete(irp: PIRP, status: NTSTATUS, information: u64) -> NTSTATUS {
    let block = IO_STATUS_BLOCK {
        __bindgen_anon_1: _IO_STATUS_BLOCK__bindgen_ty_1 { Status: status },
        Information: information,
    };
    // SAFETY: the caller has the IRP.
    unsafe { (*irp).IoStatus = block };
    // SAFETY: as above. CAST: 0.
    unsafe { ntddk::IofCompleteRequest(irp, IO_NO_INCREMENT as CCHAR) };
    status
}

/// IoMarkIrpPending: the dispatch routine returns STATUS_PENDING.
///
/// # Safety
/// As [`current`].
pub unsafe fn mark_pending(irp: PIRP) {
    // SAFETY: the caller has the IRP.
    let stack = unsafe { current(irp) };
    // SAFETY: as above. CAST: 1.
    unsafe { (*stack).Control |= SL_PENDING_RETURNED as u8 };
}

/// IoSetCancelRoutine: the routine that was set before.
///
/// # Safety
/// `irp` is valid and not complete.
pub unsafe fn set_cancel_routine(irp: PIRP, routine: PDRIVER_CANCEL) -> PDRIVER_CANCEL {
    // SAFETY: a member of the IRP.
    let place = unsafe { &raw mut (*irp).CancelRoutine };
    // SAFETY: an optional function has the size of a pointer.
    let new = unsafe { core::mem::transmute::<PDRIVER_CANCEL, *mut ()>(routine) };
    // SAFETY: a pointer in size and alignment, exchanged by everybody in this way.
    let shared = unsafe { AtomicPtr::from_ptr(place.cast()) };
    let old = shared.swap(new, Ordering::AcqRel);
    // SAFETY: what this function, or the I/O manager, put there.
    unsafe { core::mem::transmute::<*mut (), PDRIVER_CANCEL>(old) }
}

/// IoSkipCurrentIrpStackLocation and IoCallDriver: the lower driver takes over.
///
/// # Safety
/// As [`current`]; afterwards the IRP is the lower driver's.
pub unsafe fn pass_on(lower: PDEVICE_OBJECT, irp: PIRP) -> NTSTATUS {
    // SAFETY: the caller has the IRP.
    let location = unsafe { current(irp) }.wrapping_add(1);
    // SAFETY: as above: the location is used again.
    unsafe { (*irp).CurrentLocation += 1 };
    // SAFETY: as above.
    unsafe { current_stack_location(irp).write(location) };
    // SAFETY: the device below the caller's own.
    unsafe { ntddk::IofCallDriver(lower, irp) }
}

/// IoCopyCurrentIrpStackLocationToNext, IoSetCompletionRoutine and IoCallDriver.
///
/// # Safety
/// As [`current`]; `routine` decides what becomes of the IRP.
pub unsafe fn call_with_completion(
    lower: PDEVICE_OBJECT,
    irp: PIRP,
    routine: PIO_COMPLETION_ROUTINE,
    context: PVOID,
) -> NTSTATUS {
    // SAFETY: the caller has the IRP.
    let own = unsafe { current(irp) };
    let next = own.wrapping_sub(1);
    // SAFETY: the IRP has a location for each device of the stack.
    let mut copy = unsafe { own.read() };
    // CAST: bits of a byte.
    copy.Control = (SL_INVOKE_ON_SUCCESS | SL_INVOKE_ON_ERROR | SL_INVOKE_ON_CANCEL) as u8;
    copy.CompletionRoutine = routine;
    copy.Context = context;
    // SAFETY: as above.
    unsafe { next.write(copy) };
    // SAFETY: the device below the caller's own.
    unsafe { ntddk::IofCallDriver(lower, irp) }
}
