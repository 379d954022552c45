//! Section P: queues and power.
//!
//! | not tested here | why |
//! |---|---|
//! | KMDF-33, EvtIoResume | that a driver which keeps a request has one is a rule about its source |

use std::ptr;

use dmaproof_tests::lab::ddk::{self, KERNEL_MODE, NO, at_level, queue_config};
use dmaproof_tests::lab::{Lab, Script, Transfer, complete, request_cancel};
use dmaproof_tests::{Bench, rule_tests, run};
use testdev::edu;
use wdk_lite::_WDF_IO_QUEUE_DISPATCH_TYPE::{
    WdfIoQueueDispatchManual, WdfIoQueueDispatchParallel, WdfIoQueueDispatchSequential,
};
use wdk_lite::*;

use crate::idle;

rule_tests! {
    breaks registers_touched_while_asleep {
        [Kmdf31], [],
        broken: run(read_register).inline().script(unmanaged()).scenario(asleep),
        clean: run(idle).inline().script(unmanaged()).scenario(asleep),
    }
    answer a_power_managed_queue_waits_for_d0 {
        [Kmdf31],
        run(read_register).inline().scenario(|bench| {
            bench.set_power(true);
            let pending = bench.submit(bench.routine());
            bench.machine.sleep(1_000_000);
            assert!(!pending.is_done(), "a request was presented to a device that sleeps");
            bench.set_power(false);
            let (completion, _) = pending.wait();
            assert_eq!(completion.status.0, STATUS_SUCCESS);
        }),
    }
    breaks request_held_over_a_power_down {
        [Kmdf32, Kmdf21, Sim04, Sim09], [],
        broken: run(keep).scenario(|bench| {
            let _pending = bench.submit(bench.routine());
            bench.machine.sleep(1_000_000);
            bench.set_power(true);
        }),
        clean: run(keep).script(stopping(complete_kept)).scenario(|bench| {
            let pending = bench.submit(bench.routine());
            bench.machine.sleep(1_000_000);
            bench.set_power(true);
            let (completion, _) = pending.wait();
            assert_eq!(completion.status.0, STATUS_DEVICE_NOT_READY);
            bench.set_power(false);
        }),
    }
    breaks acknowledged_outside_io_stop {
        [Kmdf33], [],
        broken: run(|_, request| { acknowledge(request, NO); STATUS_SUCCESS }),
        clean: run(keep).script(resuming(|lab, request, _| {
            lab.kept.set(request);
            acknowledge(request, NO);
        })).scenario(sleep_and_complete),
    }
    breaks requeued_while_cancelable {
        [Kmdf33], [],
        broken: run(mark_and_keep).script(stopping(|_, request, _| acknowledge(request, 1)))
            .scenario(sleep_with_request),
        clean: run(mark_and_keep_once).script(stopping(|_, request, _| {
            // SAFETY: LAB.
            let status = unsafe { wdf::WdfRequestUnmarkCancelable(request) };
            if status != STATUS_CANCELLED {
                acknowledge(request, 1);
            }
        })).scenario(sleep_with_request),
    }
    breaks requeued_with_a_list_attached {
        [Kmdf34, Dma100, Sim12], [],
        broken: run(list_once).script(with_lists(|_, request, _| acknowledge(request, 1)))
            .scenario(sleep_with_request),
        clean: run(list_once).script(with_lists(|lab, request, _| {
            put_kept_list(lab);
            acknowledge(request, 1);
        })).scenario(sleep_with_request),
    }
    breaks wait_in_the_handler {
        [Kmdf35], [],
        broken: run(wait_for_nothing).inline(),
        clean: run(wait_for_nothing),
    }
    answer impossible_queue_configurations {
        [Kmdf36],
        run(configure_queues),
    }
}

/// A default queue that is not power-managed.
const fn unmanaged() -> Script {
    Script { queue: |config| config.PowerManaged = _WDF_TRI_STATE::WdfFalse, ..Script::correct() }
}

/// A correct script but for EvtIoStop.
const fn stopping(io_stop: fn(&Lab, WDFREQUEST, u32)) -> Script {
    Script { io_stop: Some(io_stop), ..Script::correct() }
}

/// The same with EvtIoResume.
const fn resuming(io_stop: fn(&Lab, WDFREQUEST, u32)) -> Script {
    Script { io_resume: Some(|_, _| ()), ..stopping(io_stop) }
}

/// The same with an adapter that takes lists.
const fn with_lists(io_stop: fn(&Lab, WDFREQUEST, u32)) -> Script {
    Script { io_stop: Some(io_stop), ..Script::lists() }
}

fn read_register(lab: &Lab, _request: WDFREQUEST) -> NTSTATUS {
    let _ = lab.read(edu::ID);
    STATUS_SUCCESS
}

/// Sends the request while the device sleeps.
fn asleep(bench: &mut Bench) {
    bench.set_power(true);
    bench.run();
    bench.set_power(false);
}

fn keep(lab: &Lab, request: WDFREQUEST) -> NTSTATUS {
    lab.kept.set(request);
    STATUS_PENDING
}

fn mark_and_keep(lab: &Lab, request: WDFREQUEST) -> NTSTATUS {
    // SAFETY: LAB.
    unsafe { wdf::WdfRequestMarkCancelable(request, Some(request_cancel)) };
    keep(lab, request)
}

/// The second time, when the request was requeued, it is completed.
fn mark_and_keep_once(lab: &Lab, request: WDFREQUEST) -> NTSTATUS {
    if lab.scratch[3].replace(1) != 0 {
        return STATUS_SUCCESS;
    }
    mark_and_keep(lab, request)
}

/// Keeps the request with a list attached, whose address is in the scratch words; completes it
/// when it comes again.
fn list_once(lab: &Lab, request: WDFREQUEST) -> NTSTATUS {
    if lab.scratch[3].replace(1) != 0 {
        return STATUS_SUCCESS;
    }
    let transfer = Transfer::new(lab, request);
    transfer.flush_caches();
    transfer.get_list();
    // CAST: an address.
    lab.scratch[0].set(transfer.list.get().expose_provenance() as u64);
    keep(lab, request)
}

fn put_kept_list(lab: &Lab) {
    // CAST: an address.
    let list = ptr::with_exposed_provenance_mut(lab.scratch[0].get() as usize);
    // SAFETY: LAB.
    unsafe {
        at_level(DISPATCH_LEVEL, || lab.adapter.get().PutScatterGatherList(list, 1));
    }
}

fn complete_kept(lab: &Lab, request: WDFREQUEST, _flags: u32) {
    lab.kept.set(ptr::null_mut());
    complete(request, STATUS_DEVICE_NOT_READY);
}

fn acknowledge(request: WDFREQUEST, requeue: BOOLEAN) {
    // SAFETY: LAB.
    unsafe { wdf::WdfRequestStopAcknowledge(request, requeue) }
}

/// The device sleeps and wakes while the driver has the request; it is completed after that.
fn sleep_with_request(bench: &mut Bench) {
    let pending = bench.submit(bench.routine());
    bench.machine.sleep(1_000_000);
    bench.set_power(true);
    bench.set_power(false);
    let (completion, _) = pending.wait();
    assert_eq!(completion.status.0, STATUS_SUCCESS, "{}", completion.status);
}

/// The same, with a second request that completes the first.
fn sleep_and_complete(bench: &mut Bench) {
    let pending = bench.submit(bench.routine());
    bench.machine.sleep(1_000_000);
    bench.set_power(true);
    bench.set_power(false);
    let result = bench.send(|lab, _| {
        complete(lab.kept.replace(ptr::null_mut()), STATUS_SUCCESS);
        STATUS_SUCCESS
    });
    assert!(result.is_ok(), "the second request: {result:?}");
    let (completion, _) = pending.wait();
    assert_eq!(completion.status.0, STATUS_SUCCESS, "{}", completion.status);
}

/// Waits some time for an event that nobody sets.
fn wait_for_nothing(_lab: &Lab, _request: WDFREQUEST) -> NTSTATUS {
    let mut event = KEVENT::default();
    let mut interval = LARGE_INTEGER { QuadPart: -100 };
    // SAFETY: LAB.
    unsafe {
        ntddk::KeInitializeEvent(&raw mut event, _EVENT_TYPE::NotificationEvent, NO);
        ntddk::KeWaitForSingleObject(
            (&raw mut event).cast(),
            _KWAIT_REASON::Executive,
            KERNEL_MODE,
            NO,
            &raw mut interval,
        );
    }
    STATUS_SUCCESS
}

unsafe extern "C" fn no_request(_queue: WDFQUEUE, _request: WDFREQUEST) {}

/// Statuses of WdfIoQueueCreate, as the framework's source gives them.
fn configure_queues(lab: &Lab, _request: WDFREQUEST) -> NTSTATUS {
    let handler: PFN_WDF_IO_QUEUE_IO_DEFAULT = Some(no_request);
    let create = |config: &mut WDF_IO_QUEUE_CONFIG| {
        let mut queue = ptr::null_mut();
        // SAFETY: LAB.
        unsafe {
            wdf::WdfIoQueueCreate(lab.device, config, WDF_NO_OBJECT_ATTRIBUTES, &raw mut queue)
        }
    };
    let status = create(&mut queue_config(WdfIoQueueDispatchParallel));
    lab.check(status == STATUS_WDF_NO_CALLBACK, "a parallel queue without a handler");
    let mut manual = queue_config(WdfIoQueueDispatchManual);
    lab.check(create(&mut manual) == STATUS_SUCCESS, "a manual queue has no handler");
    manual.EvtIoDefault = handler;
    let status = create(&mut manual);
    lab.check(status == STATUS_INVALID_PARAMETER, "a manual queue with a handler");
    let mut sequential = queue_config(WdfIoQueueDispatchSequential);
    sequential.EvtIoDefault = handler;
    sequential.Settings.Parallel.NumberOfPresentedRequests = 2;
    let status = create(&mut sequential);
    lab.check(status == STATUS_INVALID_PARAMETER, "a sequential queue with two requests");
    let mut wrong = queue_config(WdfIoQueueDispatchParallel);
    wrong.EvtIoDefault = handler;
    wrong.Size = ddk::size::<u8>();
    let status = create(&mut wrong);
    lab.check(status == STATUS_INFO_LENGTH_MISMATCH, "a configuration of the wrong size");
    wrong.Size = ddk::size::<WDF_IO_QUEUE_CONFIG>();
    wrong.DefaultQueue = 1;
    let status = create(&mut wrong);
    lab.check(status == STATUS_INVALID_DEVICE_STATE, "a default queue after the start");
    STATUS_SUCCESS
}
