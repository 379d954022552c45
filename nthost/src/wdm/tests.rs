//! Rules that a WDM driver can break, each broken once. Drivers that keep them are in
//! `tests/images`.

use std::ptr;

use wdk_lite::*;

use crate::verifier::Report;
use crate::{Access, DriverEntry, Machine, NtStatus, Profile, RuleId};

const NAME: &str = r"\Device\Test";

/// A counted string over units that the caller keeps.
fn string(units: &mut [u16]) -> UNICODE_STRING {
    // CAST: short names.
    let length = (units.len() * 2) as u16;
    UNICODE_STRING { Length: length, MaximumLength: length, Buffer: units.as_mut_ptr() }
}

/// Makes the device `NAME`, with these routines in the driver object.
fn create(driver: PDRIVER_OBJECT, control: DRIVER_DISPATCH, unload: PDRIVER_UNLOAD) -> NTSTATUS {
    // SAFETY: the machine's driver object, in the driver's entry point.
    let object = unsafe { &mut *driver };
    for major in [IRP_MJ_CREATE, IRP_MJ_CLOSE, IRP_MJ_CLEANUP] {
        object.MajorFunction[major as usize] = Some(succeed);
    }
    object.MajorFunction[IRP_MJ_DEVICE_CONTROL as usize] = control;
    object.DriverUnload = unload;
    let mut units: Vec<u16> = NAME.encode_utf16().collect();
    let (mut name, mut device) = (string(&mut units), ptr::null_mut());
    // SAFETY: as above; name and variable outlive the call.
    unsafe { ntddk::IoCreateDevice(driver, 0, &mut name, 0x22, 0, 0, &mut device) }
}

fn complete(irp: PIRP, status: NTSTATUS) -> NTSTATUS {
    let value = _IO_STATUS_BLOCK__bindgen_ty_1 { Status: status };
    // SAFETY: the driver has the IRP.
    unsafe { (*irp).IoStatus.__bindgen_anon_1 = value };
    // SAFETY: as above.
    unsafe { ntddk::IofCompleteRequest(irp, 0) };
    status
}

unsafe extern "C" fn succeed(_device: PDEVICE_OBJECT, irp: PIRP) -> NTSTATUS {
    complete(irp, STATUS_SUCCESS)
}

unsafe extern "C" fn twice(_device: PDEVICE_OBJECT, irp: PIRP) -> NTSTATUS {
    complete(irp, STATUS_SUCCESS);
    complete(irp, STATUS_SUCCESS)
}

unsafe extern "C" fn pending(_device: PDEVICE_OBJECT, irp: PIRP) -> NTSTATUS {
    complete(irp, STATUS_PENDING)
}

unsafe extern "C" fn cancelable(_device: PDEVICE_OBJECT, irp: PIRP) -> NTSTATUS {
    // SAFETY: the driver has the IRP.
    unsafe { (*irp).CancelRoutine = Some(cancel) };
    complete(irp, STATUS_SUCCESS)
}

unsafe extern "C" fn cancel(_device: PDEVICE_OBJECT, _irp: PIRP) {}

unsafe extern "C" fn too_deep(device: PDEVICE_OBJECT, irp: PIRP) -> NTSTATUS {
    // SAFETY: the driver has the IRP; there is no location left below this one.
    unsafe { ntddk::IofCallDriver(device, irp) }
}

unsafe extern "C" fn foreign(device: PDEVICE_OBJECT, irp: PIRP) -> NTSTATUS {
    // SAFETY: not an IRP, which is the mistake.
    unsafe { ntddk::IofCompleteRequest(device.cast(), 0) };
    complete(irp, STATUS_SUCCESS)
}

/// DriverUnload that deletes the device.
unsafe extern "C" fn unload(driver: PDRIVER_OBJECT) {
    // SAFETY: the machine's driver object, with the one device.
    let device = unsafe { (*driver).DeviceObject };
    // SAFETY: as above.
    unsafe { ntddk::IoDeleteDevice(device) };
}

/// DriverUnload that forgets its device.
unsafe extern "C" fn forget(_driver: PDRIVER_OBJECT) {}

macro_rules! entries {
    ($($name:ident: $control:expr, $unload:expr;)*) => {
        $(unsafe extern "C" fn $name(driver: PDRIVER_OBJECT, _path: PCUNICODE_STRING) -> NTSTATUS {
            create(driver, $control, $unload)
        })*
    };
}
entries! {
    clean: Some(succeed), Some(unload);
    without_control: None, Some(unload);
    completes_twice: Some(twice), Some(unload);
    completes_pending: Some(pending), Some(unload);
    completes_cancelable: Some(cancelable), Some(unload);
    calls_too_deep: Some(too_deep), Some(unload);
    completes_foreign: Some(foreign), Some(unload);
    forgets_its_device: Some(succeed), Some(forget);
}

/// Loads a driver, sends it one control request, and shuts down: what the request ended with, or
/// the rule that was broken.
fn run(entry: DriverEntry) -> Result<Result<usize, NtStatus>, Box<Report>> {
    let machine = Machine::builder(Profile::X64).build();
    let handle = machine.clone();
    let result = machine.run(move |machine| {
        machine.load("test", entry).expect("the driver loads");
        let file = machine.open_named(NAME, Access::READ_WRITE).expect("opens");
        file.device_io_control(0x22_0000, &[], &mut [])
    });
    let result = result.and_then(|answer| handle.run(Machine::shut_down).map(|()| answer));
    result.map_err(|stopped| stopped.report)
}

fn broken(entry: DriverEntry) -> (RuleId, u32) {
    let report = run(entry).expect_err("a rule is broken");
    (report.rule, report.bug_check.as_ref().map_or(0, |check| check.code))
}

#[test]
fn a_driver_that_keeps_the_rules_is_clean() {
    assert_eq!(run(clean).expect("no rule is broken"), Ok(0));
}

#[test]
fn a_function_that_a_driver_does_not_have_is_an_invalid_request() {
    let answer = run(without_control).expect("no rule is broken");
    assert_eq!(answer, Err(NtStatus(STATUS_INVALID_DEVICE_REQUEST)));
}

#[test]
fn an_irp_is_completed_once() {
    assert_eq!(broken(completes_twice), (RuleId::Kmdf21, 0x44));
}

#[test]
fn pending_is_no_end() {
    assert_eq!(broken(completes_pending).0, RuleId::Kmdf23);
}

#[test]
fn a_cancel_routine_is_taken_out_first() {
    assert_eq!(broken(completes_cancelable), (RuleId::Kmdf27, 0x48));
}

#[test]
fn an_irp_has_a_location_for_each_driver() {
    assert_eq!(broken(calls_too_deep), (RuleId::Sim11, 0x35));
}

#[test]
fn only_irps_are_completed() {
    assert_eq!(broken(completes_foreign).0, RuleId::Sim11);
}

#[test]
fn a_driver_leaves_no_device_behind() {
    assert_eq!(broken(forgets_its_device).0, RuleId::Sim10);
}

#[test]
fn a_driver_that_does_nothing_is_none() {
    unsafe extern "C" fn nothing(_driver: PDRIVER_OBJECT, _path: PCUNICODE_STRING) -> NTSTATUS {
        STATUS_SUCCESS
    }
    let machine = Machine::builder(Profile::X64).build();
    let loaded = machine.run(|machine| machine.load("test", nothing).err());
    assert_eq!(loaded.expect("no rule is broken"), Some(NtStatus(STATUS_UNSUCCESSFUL)));
}
