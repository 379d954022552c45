//! Sections Q and R: buffers, objects and files.
//!
//! | not tested here | why |
//! |---|---|
//! | KMDF-37, KMDF-41 | decisions of the design, and plain loads |
//! | KMDF-40, beyond its first status | the declarations have no unsafe-buffer functions |

use std::ptr;

use dmaproof_tests::lab::ddk::attributes;
use dmaproof_tests::lab::{Lab, Script, complete};
use dmaproof_tests::{Bench, rule_tests, run};
use nthost::Access;
use testdev::edu;
use wdk_lite::*;

use crate::{FRAMEWORK, VERIFIER, idle};

rule_tests! {
    answer first_buffer_of_a_direct_request_is_a_copy {
        [Kmdf38],
        run(|lab, request| {
            let (status, _, length) = input(request, 8);
            lab.check(status == STATUS_SUCCESS && length == 8, "the input of a direct request");
            let (status, _, length) = output(request, 1);
            lab.check(status == STATUS_SUCCESS && length == 3000, "its output is the MDL's");
            STATUS_SUCCESS
        }),
    }
    answer buffered_requests_have_one_buffer {
        [Kmdf38],
        run(|lab, request| {
            let (_, first, _) = input(request, 8);
            let (_, second, _) = output(request, 1);
            lab.check(first == second, "one system buffer serves as input and output");
            STATUS_SUCCESS
        }).method(METHOD_BUFFERED),
    }
    answer too_short_buffers {
        [Kmdf39],
        run(|lab, request| {
            let (status, buffer, _) = input(request, 9);
            lab.check(status == STATUS_BUFFER_TOO_SMALL, "nine bytes of eight");
            lab.check(buffer.is_null(), "a failure gives no buffer");
            let (status, ..) = output(request, 3001);
            lab.check(status == STATUS_BUFFER_TOO_SMALL, "3001 bytes of 3000");
            STATUS_SUCCESS
        }),
    }
    answer no_buffer_at_all {
        [Kmdf39],
        run(|lab, request| {
            let mut mdl = ptr::null_mut();
            // SAFETY: LAB.
            let status = unsafe { wdf::WdfRequestRetrieveOutputWdmMdl(request, &raw mut mdl) };
            lab.check(status == STATUS_BUFFER_TOO_SMALL, "an MDL of nothing");
            let (status, ..) = output(request, 0);
            lab.check(status == STATUS_BUFFER_TOO_SMALL, "a buffer of nothing");
            STATUS_SUCCESS
        }).buffer(0, 0),
    }
    answer buffers_of_method_neither {
        [Kmdf40],
        run(idle).method(METHOD_NEITHER).scenario(|bench| {
            let status = bench.send(bench.routine()).map_err(|status| status.0);
            assert_eq!(status, Err(STATUS_INVALID_DEVICE_REQUEST), "its input is a user address");
        }),
    }
    breaks dereferenced_to_nothing {
        [Kmdf42], [(FRAMEWORK, 7)],
        broken: run(|lab, _| counted(lab, 0, 1)),
        clean: run(|lab, _| counted(lab, 1, 1)),
    }
    breaks reference_never_dropped {
        [Kmdf42], [],
        broken: run(|lab, _| counted(lab, 1, 0)),
        clean: run(|lab, _| counted(lab, 1, 1)),
    }
    breaks object_used_after_its_deletion {
        [Kmdf42, Sim11], [(FRAMEWORK, 5)],
        broken: run(|lab, _| {
            let object = object(lab);
            delete(object);
            reference(object);
            STATUS_SUCCESS
        }),
        clean: run(|lab, _| {
            let object = object(lab);
            reference(object);
            dereference(object);
            delete(object);
            STATUS_SUCCESS
        }),
    }
    breaks device_deleted {
        [Kmdf43], [],
        broken: run(|lab, _| { delete(lab.device.cast()); STATUS_SUCCESS }),
        clean: run(|lab, _| { delete(object(lab)); STATUS_SUCCESS }),
    }
    breaks interrupt_deleted {
        [Kmdf43], [],
        broken: run(|lab, _| { delete(lab.interrupt.get().cast()); STATUS_SUCCESS }),
        clean: run(idle),
    }
    breaks default_queue_deleted {
        [Kmdf43], [],
        broken: run(|lab, _| {
            // SAFETY: LAB.
            delete(unsafe { wdf::WdfDeviceGetDefaultQueue(lab.device) }.cast());
            STATUS_SUCCESS
        }),
        clean: run(idle),
    }
    breaks mdl_left_behind {
        [Kmdf44, Sim10], [],
        broken: run(|lab, _| mdl(lab, false)),
        clean: run(|lab, _| mdl(lab, true)),
    }
    breaks create_never_completed {
        [Kmdf45, Kmdf21, Sim04], [],
        broken: run(idle).script(creating(|_, _| ())),
        clean: run(idle).script(creating(|_, request| complete(request, STATUS_SUCCESS))),
    }
    answer failed_create_is_neither_cleaned_up_nor_closed {
        [Kmdf45],
        run(idle).scenario(open_in_vain).script(Script {
            create: Some(admit_one),
            cleanup: |lab| lab.scratch[1].set(lab.scratch[1].get() + 1),
            close: |lab| lab.scratch[2].set(lab.scratch[2].get() + 1),
            release: |lab| {
                lab.check(lab.scratch[1].get() == 1, "one cleanup for one successful create");
                lab.check(lab.scratch[2].get() == 1, "one close for one successful create");
                lab.put_adapter()
            },
            ..Script::correct()
        }),
    }
    breaks hardware_touched_in_close {
        [Kmdf46, Kmdf31], [],
        broken: run(idle).scenario(close_asleep).script(Script {
            close: |lab| { let _ = lab.read(edu::ID); },
            ..creating(|_, request| complete(request, STATUS_SUCCESS))
        }),
        clean: run(idle).scenario(close_asleep)
            .script(creating(|_, request| complete(request, STATUS_SUCCESS))),
    }
    breaks request_outlives_its_file {
        [Kmdf47, Kmdf21, Kmdf32, Sim04], [],
        broken: run(keep).scenario(close_with_request)
            .script(creating(|_, request| complete(request, STATUS_SUCCESS))),
        clean: run(keep).scenario(close_with_request).script(Script {
            cleanup: |lab| complete(lab.kept.replace(ptr::null_mut()), STATUS_CANCELLED),
            ..creating(|_, request| complete(request, STATUS_SUCCESS))
        }),
    }
    breaks pool_left_behind {
        [Sim10], [(VERIFIER, 0x62)],
        broken: run(|lab, _| { let _ = lab.pool(64); STATUS_SUCCESS }),
        clean: run(|lab, _| { lab.free(lab.pool(64)); STATUS_SUCCESS }),
    }
    breaks pool_freed_twice {
        [Sim11], [],
        broken: run(|lab, _| {
            let pool = lab.pool(64);
            lab.free(pool);
            lab.free(pool);
            STATUS_SUCCESS
        }),
        clean: run(|lab, _| { lab.free(lab.pool(64)); STATUS_SUCCESS }),
    }
}

/// WdfRequestRetrieveInputBuffer: status, address, length.
fn input(request: WDFREQUEST, least: usize) -> (NTSTATUS, PVOID, usize) {
    let (mut buffer, mut length) = (ptr::null_mut(), 0);
    // SAFETY: LAB.
    let status = unsafe {
        wdf::WdfRequestRetrieveInputBuffer(request, least, &raw mut buffer, &raw mut length)
    };
    (status, buffer, length)
}

/// WdfRequestRetrieveOutputBuffer: status, address, length.
fn output(request: WDFREQUEST, least: usize) -> (NTSTATUS, PVOID, usize) {
    let (mut buffer, mut length) = (ptr::null_mut(), 0);
    // SAFETY: LAB.
    let status = unsafe {
        wdf::WdfRequestRetrieveOutputBuffer(request, least, &raw mut buffer, &raw mut length)
    };
    (status, buffer, length)
}

/// A plain object, child of the device.
fn object(lab: &Lab) -> WDFOBJECT {
    let mut attributes = attributes();
    attributes.ParentObject = lab.device.cast();
    let mut object = ptr::null_mut();
    // SAFETY: LAB.
    let status = unsafe { wdf::WdfObjectCreate(&raw mut attributes, &raw mut object) };
    lab.check(NT_SUCCESS(status), "WdfObjectCreate failed");
    object
}

fn reference(object: WDFOBJECT) {
    // SAFETY: LAB.
    unsafe { wdf::WdfObjectReferenceActual(object, ptr::null_mut(), 0, c"lab".as_ptr().cast()) }
}

fn dereference(object: WDFOBJECT) {
    // SAFETY: LAB.
    unsafe { wdf::WdfObjectDereferenceActual(object, ptr::null_mut(), 0, c"lab".as_ptr().cast()) }
}

fn delete(object: WDFOBJECT) {
    // SAFETY: LAB.
    unsafe { wdf::WdfObjectDelete(object) }
}

/// An object that is referenced and dereferenced so often.
fn counted(lab: &Lab, references: u32, dereferences: u32) -> NTSTATUS {
    let object = object(lab);
    for _ in 0..references {
        reference(object);
    }
    for _ in 0..dereferences {
        dereference(object);
    }
    STATUS_SUCCESS
}

fn mdl(lab: &Lab, free: bool) -> NTSTATUS {
    let pool = lab.pool(64);
    let mdl = lab.mdl_over(pool, 64);
    if free {
        // SAFETY: LAB.
        unsafe { ntddk::IoFreeMdl(mdl) };
    }
    lab.free(pool);
    STATUS_SUCCESS
}

/// A correct script with file objects.
const fn creating(create: fn(&Lab, WDFREQUEST)) -> Script {
    Script { create: Some(create), ..Script::correct() }
}

/// The first open succeeds, any other is denied.
fn admit_one(lab: &Lab, request: WDFREQUEST) {
    let status = if lab.scratch[0].replace(1) == 0 { STATUS_SUCCESS } else { STATUS_ACCESS_DENIED };
    complete(request, status);
}

fn open_in_vain(bench: &mut Bench) {
    let path = bench.machine.interfaces(&dmaproof_tests::lab::INTERFACE).remove(0);
    let status = bench.machine.open(&path, Access::READ_WRITE).map_err(|status| status.0);
    assert_eq!(status.err(), Some(STATUS_ACCESS_DENIED), "the driver admits one");
}

fn close_asleep(bench: &mut Bench) {
    bench.set_power(true);
    bench.close();
    bench.set_power(false);
}

fn keep(lab: &Lab, request: WDFREQUEST) -> NTSTATUS {
    lab.kept.set(request);
    STATUS_PENDING
}

fn close_with_request(bench: &mut Bench) {
    let pending = bench.submit(bench.routine());
    bench.machine.sleep(1_000_000);
    bench.close();
    let (completion, _) = pending.wait();
    assert_eq!(completion.status.0, STATUS_CANCELLED, "{}", completion.status);
}
