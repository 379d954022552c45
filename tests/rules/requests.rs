//! Section O: ownership, completion and cancellation of requests.
//!
//! | not tested here | why |
//! |---|---|
//! | KMDF-25 | the declarations have no function that gives a request's WDFMEMORY |

use std::ptr;

use dmaproof_tests::lab::ddk::{at_level, queue_config};
use dmaproof_tests::lab::{Lab, Script, Transfer, complete, request_cancel};
use dmaproof_tests::{Bench, rule_tests, run};
use wdk_lite::*;

use crate::{FRAMEWORK, idle};

rule_tests! {
    breaks completed_twice {
        [Kmdf21, Kmdf22, Sim11], [],
        broken: run(|_, request| { complete(request, STATUS_SUCCESS); STATUS_SUCCESS }),
        clean: run(|_, request| { complete(request, STATUS_SUCCESS); STATUS_PENDING }),
    }
    breaks completed_never {
        [Kmdf21, Sim04], [(0x9F, 3)],
        broken: run(|_, _| STATUS_PENDING),
        clean: run(idle),
    }
    breaks used_after_completion {
        [Kmdf22, Dma101, Kmdf39, Sim11], [(FRAMEWORK, 5)],
        broken: run(|lab, request| {
            complete(request, STATUS_SUCCESS);
            let _ = lab.code_of(request);
            STATUS_PENDING
        }),
        clean: run(|lab, request| {
            let _ = lab.code_of(request);
            complete(request, STATUS_SUCCESS);
            STATUS_PENDING
        }),
    }
    breaks completed_above_dispatch_level {
        [Kmdf23], [],
        broken: run(|_, request| {
            // SAFETY: LAB.
            unsafe { at_level(HIGH_LEVEL, || complete(request, STATUS_SUCCESS)) };
            STATUS_PENDING
        }),
        clean: run(|_, request| {
            // SAFETY: LAB.
            unsafe { at_level(DISPATCH_LEVEL, || complete(request, STATUS_SUCCESS)) };
            STATUS_PENDING
        }),
    }
    breaks completed_with_a_spin_lock_held {
        [Kmdf23], [],
        broken: run(|lab, request| under_lock(lab, request, true)),
        clean: run(|lab, request| under_lock(lab, request, false)),
    }
    breaks completed_as_pending {
        [Kmdf23], [],
        broken: run(|_, request| { complete(request, STATUS_PENDING); STATUS_PENDING }),
        clean: run(|_, request| { complete(request, STATUS_SUCCESS); STATUS_PENDING }),
    }
    answer framework_statuses_are_translated {
        [Kmdf23],
        run(idle).scenario(translated),
    }
    breaks information_beyond_the_buffer {
        [Kmdf24], [(FRAMEWORK, 6)],
        broken: run(|lab, _| { lab.information.set(3001); STATUS_SUCCESS })
            .method(METHOD_BUFFERED),
        clean: run(|lab, request| { fill(lab, request); STATUS_SUCCESS })
            .method(METHOD_BUFFERED),
    }
    breaks information_without_a_buffer {
        [Kmdf24], [],
        broken: run(|lab, _| { lab.information.set(1); STATUS_SUCCESS })
            .method(METHOD_BUFFERED).buffer(0, 0),
        clean: run(idle).method(METHOD_BUFFERED).buffer(0, 0),
    }
    breaks marked_cancelable_twice {
        [Kmdf26], [],
        broken: run(|_, request| { mark(request); mark(request); unmark(request) }),
        clean: run(|_, request| { mark(request); unmark(request) }),
    }
    breaks marked_without_owning_it {
        [Kmdf26, Kmdf22, Sim11], [],
        broken: run(|_, request| {
            complete(request, STATUS_SUCCESS);
            mark(request);
            STATUS_PENDING
        }),
        clean: run(|_, request| { mark(request); unmark(request) }),
    }
    answer mark_ex_of_a_cancelled_request {
        [Kmdf26],
        run(keep).scenario(cancel_then_mark),
    }
    breaks completed_while_cancelable {
        [Kmdf27], [],
        broken: run(|_, request| { mark(request); STATUS_SUCCESS }),
        clean: run(|_, request| { mark(request); unmark(request) }),
    }
    breaks completed_although_the_cancel_routine_does {
        [Kmdf27, Kmdf21, Kmdf22, Kmdf28, Sim11], [],
        broken: run(mark_and_keep).scenario(|bench| cancel_then(bench, |lab, _| {
            complete(lab.kept.get(), STATUS_SUCCESS);
            STATUS_SUCCESS
        })),
        clean: run(mark_and_keep).scenario(|bench| cancel_then(bench, |lab, _| {
            complete(lab.kept.get(), STATUS_CANCELLED);
            STATUS_SUCCESS
        })).script(Script { cancel: |_, _| (), ..Script::correct() }),
    }
    breaks handle_used_that_the_cancel_routine_completed {
        [Kmdf28, Kmdf21, Kmdf22, Kmdf27, Sim11], [],
        broken: run(mark_and_keep).scenario(|bench| cancel_then(bench, |lab, _| {
            unmark(lab.kept.get())
        })),
        clean: run(mark_and_keep).scenario(|bench| cancel_then(bench, |lab, _| {
            lab.check(lab.kept.get().is_null(), "the cancel routine cleared the pointer");
            STATUS_SUCCESS
        })).script(Script {
            cancel: |lab, request| {
                lab.kept.set(ptr::null_mut());
                complete(request, STATUS_CANCELLED);
            },
            ..Script::correct()
        }),
    }
    breaks cancelled_with_dma_in_flight {
        [Kmdf29, Dma44, Dma54, Dma76, Dma100, Sim12], [],
        broken: run(list_and_mark).script(cancelling(|lab, request| {
            complete(request, STATUS_CANCELLED);
            put_kept_list(lab);
        })).scenario(|bench| cancel_then(bench, idle)),
        clean: run(list_and_mark).script(cancelling(|lab, request| {
            put_kept_list(lab);
            complete(request, STATUS_CANCELLED);
        })).scenario(|bench| cancel_then(bench, idle)),
    }
    breaks cancelable_request_asked_whether_it_is_cancelled {
        [Kmdf30], [],
        broken: run(|_, request| {
            mark(request);
            // SAFETY: LAB.
            unsafe { wdf::WdfRequestIsCanceled(request) };
            unmark(request)
        }),
        clean: run(|_, request| {
            // SAFETY: LAB.
            unsafe { wdf::WdfRequestIsCanceled(request) };
            STATUS_SUCCESS
        }),
    }
    breaks cancelable_request_forwarded {
        [Kmdf30], [],
        broken: run(|lab, request| { mark(request); forward(lab, request) })
            .script(Script { added: second_queue, ..Script::correct() }),
        clean: run(forward)
            .script(Script { added: second_queue, ..Script::correct() }),
    }
}

/// A correct script for an adapter with lists, but for its cancel routine.
const fn cancelling(cancel: fn(&Lab, WDFREQUEST)) -> Script {
    Script { cancel, ..Script::lists() }
}

fn mark(request: WDFREQUEST) {
    // SAFETY: LAB.
    unsafe { wdf::WdfRequestMarkCancelable(request, Some(request_cancel)) }
}

fn unmark(request: WDFREQUEST) -> NTSTATUS {
    // SAFETY: LAB.
    unsafe { wdf::WdfRequestUnmarkCancelable(request) }
}

fn keep(lab: &Lab, request: WDFREQUEST) -> NTSTATUS {
    lab.kept.set(request);
    STATUS_PENDING
}

fn mark_and_keep(lab: &Lab, request: WDFREQUEST) -> NTSTATUS {
    lab.kept.set(request);
    mark(request);
    STATUS_PENDING
}

/// Sends the case's request, lets it be marked, cancels it, and sends another one.
fn cancel_then(bench: &mut Bench, then: dmaproof_tests::lab::Routine) {
    let pending = bench.submit(bench.routine());
    bench.machine.sleep(1_000_000);
    pending.cancel();
    bench.machine.sleep(1_000_000);
    let result = bench.send(then);
    assert!(result.is_ok(), "the second request: {result:?}");
    let (completion, _) = pending.wait();
    assert_eq!(completion.status.0, STATUS_CANCELLED, "{}", completion.status);
}

/// The request is cancelled while the driver owns it without being cancelable.
fn cancel_then_mark(bench: &mut Bench) {
    cancel_then(bench, |lab, _| {
        // SAFETY: LAB.
        let status =
            unsafe { wdf::WdfRequestMarkCancelableEx(lab.kept.get(), Some(request_cancel)) };
        lab.check(status == STATUS_CANCELLED, "the request is cancelled already");
        complete(lab.kept.get(), STATUS_CANCELLED);
        STATUS_SUCCESS
    });
}

/// Holds a spin lock while completing, or lets go of it before.
fn under_lock(lab: &Lab, request: WDFREQUEST, held: bool) -> NTSTATUS {
    let lock: PKSPIN_LOCK = lab.scratch[0].as_ptr();
    // SAFETY: LAB.
    unsafe {
        ntddk::KeInitializeSpinLock(lock);
        let old = ntddk::KeAcquireSpinLockRaiseToDpc(lock);
        if held {
            complete(request, STATUS_SUCCESS);
        }
        ntddk::KeReleaseSpinLock(lock, old);
    }
    if !held {
        complete(request, STATUS_SUCCESS);
    }
    STATUS_PENDING
}

/// What the requester sees of the framework's own statuses.
fn translated(bench: &mut Bench) {
    let cases: [(dmaproof_tests::lab::Routine, NTSTATUS); 5] = [
        (|_, _| STATUS_WDF_PAUSED, STATUS_DEVICE_BUSY),
        (|_, _| STATUS_WDF_BUSY, STATUS_DEVICE_BUSY),
        (|_, _| STATUS_WDF_TOO_FRAGMENTED, STATUS_INVALID_DEVICE_REQUEST),
        (|_, _| STATUS_WDF_TOO_MANY_TRANSFERS, STATUS_INVALID_DEVICE_REQUEST),
        (|_, _| STATUS_WDF_NOT_ENOUGH_MAP_REGISTERS, STATUS_INSUFFICIENT_RESOURCES),
    ];
    for (routine, expected) in cases {
        let status = bench.send(routine).map_err(|status| status.0);
        assert_eq!(status, Err(expected));
    }
}

/// Fills the whole output buffer and reports it.
fn fill(lab: &Lab, request: WDFREQUEST) {
    let (mut buffer, mut length) = (ptr::null_mut(), 0);
    // SAFETY: LAB.
    unsafe {
        let status =
            wdf::WdfRequestRetrieveOutputBuffer(request, 1, &raw mut buffer, &raw mut length);
        lab.check(NT_SUCCESS(status), "WdfRequestRetrieveOutputBuffer failed");
        ptr::write_bytes(buffer.cast::<u8>(), 0x33, length);
    }
    // CAST: a length.
    lab.information.set(length as u64);
}

/// Gets a list for the request and makes it cancelable; the list is in the scratch words.
fn list_and_mark(lab: &Lab, request: WDFREQUEST) -> NTSTATUS {
    let transfer = Transfer::new(lab, request);
    transfer.flush_caches();
    transfer.get_list();
    // CAST: an address.
    lab.scratch[0].set(transfer.list.get().expose_provenance() as u64);
    mark_and_keep(lab, request)
}

fn put_kept_list(lab: &Lab) {
    // CAST: an address.
    let list = ptr::with_exposed_provenance_mut(lab.scratch[0].get() as usize);
    // SAFETY: LAB.
    unsafe {
        at_level(DISPATCH_LEVEL, || lab.adapter.get().PutScatterGatherList(list, 1));
    }
}

unsafe extern "C" fn complete_forwarded(_queue: WDFQUEUE, request: WDFREQUEST) {
    complete(request, STATUS_SUCCESS);
}

/// A second queue, which completes what it gets; its handle is in the scratch words.
fn second_queue(lab: &Lab) -> NTSTATUS {
    let mut config = queue_config(_WDF_IO_QUEUE_DISPATCH_TYPE::WdfIoQueueDispatchParallel);
    config.EvtIoDefault = Some(complete_forwarded);
    let mut queue = ptr::null_mut();
    // SAFETY: LAB.
    let status = unsafe {
        wdf::WdfIoQueueCreate(lab.device, &raw mut config, WDF_NO_OBJECT_ATTRIBUTES, &raw mut queue)
    };
    // CAST: a handle.
    lab.scratch[0].set(queue.expose_provenance() as u64);
    status
}

fn forward(lab: &Lab, request: WDFREQUEST) -> NTSTATUS {
    // CAST: a handle.
    let queue = ptr::with_exposed_provenance_mut(lab.scratch[0].get() as usize);
    // SAFETY: LAB.
    let status = unsafe { wdf::WdfRequestForwardToIoQueue(request, queue) };
    if NT_SUCCESS(status) { STATUS_PENDING } else { status }
}
