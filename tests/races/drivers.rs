//! The lab driver's callbacks and routines with the races.

use dmaproof_tests::lab::{Lab, Script, complete, ddk, request_cancel};
use testdev::edu;
use wdk_lite::*;

/// The lab's scratch cells: the address of pool with an event and a spin lock, and flags of the
/// driver.
const EVENT: usize = 0;
const READY: usize = 1;
const CANCELLED: usize = 2;
const CAREFUL: usize = 3;

/// A driver with an event, whose cancel routine notes that it has run, and whose DPC completes
/// the request it keeps.
pub const SCRIPT: Script = Script {
    prepare: |lab| {
        lab.scratch[EVENT].set(lab.pool(64).expose_provenance() as u64);
        let kind = _EVENT_TYPE::NotificationEvent;
        // SAFETY: an event of this driver, in nonpaged pool.
        unsafe { ntddk::KeInitializeEvent(event(lab), kind, ddk::NO) };
        STATUS_SUCCESS
    },
    release: |lab| {
        lab.free(event(lab).cast());
        STATUS_SUCCESS
    },
    cancel: |lab, request| {
        let old = lock(lab);
        lab.scratch[CANCELLED].set(1);
        lab.kept.set(std::ptr::null_mut());
        unlock(lab, old);
        complete(request, STATUS_CANCELLED);
    },
    dpc: finish,
    ..Script::correct()
};

fn event(lab: &Lab) -> PRKEVENT {
    // CAST: an address of a 64-bit machine.
    std::ptr::with_exposed_provenance_mut(lab.scratch[EVENT].get() as usize)
}

/// Takes the driver's lock, which lies behind the event; returns the level before.
fn lock(lab: &Lab) -> KIRQL {
    // SAFETY: zeroed nonpaged pool of this driver is a free spin lock.
    unsafe { ntddk::KeAcquireSpinLockRaiseToDpc(event(lab).wrapping_add(1).cast()) }
}

fn unlock(lab: &Lab, old: KIRQL) {
    // SAFETY: taken by `lock`.
    unsafe { ntddk::KeReleaseSpinLock(event(lab).wrapping_add(1).cast(), old) };
}

/// Waits until [`wakes`] has run. Wrong: a wake-up between the look and KeClearEvent is lost.
pub fn loses_a_wake_up(lab: &Lab, _request: WDFREQUEST) -> NTSTATUS {
    if lab.scratch[READY].get() == 0 {
        // SAFETY: the event of this driver; a work item runs at PASSIVE_LEVEL.
        unsafe { ntddk::KeClearEvent(event(lab)) };
        let (reason, forever) = (_KWAIT_REASON::Executive, std::ptr::null_mut());
        let object = event(lab).cast();
        // SAFETY: as above.
        unsafe {
            ntddk::KeWaitForSingleObject(object, reason, ddk::KERNEL_MODE, ddk::NO, forever);
        }
    }
    STATUS_SUCCESS
}

/// Wakes whoever waits for this.
pub fn wakes(lab: &Lab, _request: WDFREQUEST) -> NTSTATUS {
    lab.scratch[READY].set(1);
    // SAFETY: the event of this driver.
    unsafe { ntddk::KeSetEvent(event(lab), 0, ddk::NO) };
    STATUS_SUCCESS
}

/// Keeps the request, cancelable, until the device's interrupt. Its DPC is wrong: it looks whether
/// the request was cancelled and then completes it whatever WdfRequestUnmarkCancelable says.
pub fn completes_twice(lab: &Lab, request: WDFREQUEST) -> NTSTATUS {
    keep(lab, request)
}

/// The same done right.
pub fn completes_once(lab: &Lab, request: WDFREQUEST) -> NTSTATUS {
    lab.scratch[CAREFUL].set(1);
    keep(lab, request)
}

fn keep(lab: &Lab, request: WDFREQUEST) -> NTSTATUS {
    lab.kept.set(request);
    // SAFETY: a request that the driver owns.
    let marked = unsafe { wdf::WdfRequestMarkCancelableEx(request, Some(request_cancel)) };
    if !NT_SUCCESS(marked) {
        return STATUS_CANCELLED;
    }
    lab.write(edu::IRQ_RAISE, 1);
    STATUS_PENDING
}

fn finish(lab: &Lab) {
    if lab.scratch[CAREFUL].get() != 0 {
        return finish_carefully(lab);
    }
    if lab.scratch[CANCELLED].get() == 0 {
        let request = lab.kept.get();
        // SAFETY: the request was marked; if it is gone already, that is the race.
        unsafe { wdf::WdfRequestUnmarkCancelable(request) };
        complete(request, STATUS_SUCCESS);
    }
}

fn finish_carefully(lab: &Lab) {
    let old = lock(lab);
    let request = lab.kept.get();
    // A cancel routine that has begun needs the lock before it completes the request.
    // SAFETY: the request is marked, and not complete while it is kept.
    let unmarked = !request.is_null()
        && unsafe { wdf::WdfRequestUnmarkCancelable(request) } != STATUS_CANCELLED;
    if unmarked {
        lab.kept.set(std::ptr::null_mut());
    }
    unlock(lab, old);
    if unmarked {
        complete(request, STATUS_SUCCESS);
    }
}
