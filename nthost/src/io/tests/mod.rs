//! The I/O manager and the framework's queues, with a driver of a few callbacks.

// UNSAFETY: the tests are a driver.
#![allow(non_snake_case, reason = "names are the WDK's")]

mod files;
mod queues;
mod race;
mod requests;

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use wdk_lite::*;

use super::{Access, Buffer, File, Operation, Request};
use crate::ddi::callback::routine;
use crate::machine::Kernel;
use crate::verifier::{Report, RuleId};
use crate::wdf::device::{Device, FileConfig, Settings};
use crate::wdf::object::{Attributes, Handle};
use crate::{Machine, NtStatus, Profile};

/// FILE_ANY_ACCESS, METHOD_BUFFERED.
const ECHO: u32 = 0x8000_2000;
/// FILE_WRITE_ACCESS, METHOD_BUFFERED.
const GUARDED: u32 = 0x8000_A004;
/// METHOD_OUT_DIRECT.
const FILL: u32 = 0x8000_2002;

thread_local! {
    /// What the driver was told, in order.
    static LOG: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    /// Requests the driver has.
    static HELD: RefCell<Vec<WDFREQUEST>> = const { RefCell::new(Vec::new()) };
    /// What EvtIoRead and EvtIoStop do.
    static PLAN: Cell<Plan> = const { Cell::new(Plan::Hold) };
    static QUEUE: Cell<WDFQUEUE> = const { Cell::new(std::ptr::null_mut()) };
}

#[derive(Clone, Copy, PartialEq)]
enum Plan {
    Hold,
    Mark,
    Complete(NTSTATUS, u64),
    CompleteTwice,
    CompleteLocked,
    Forward,
    /// EvtIoStop acknowledges so.
    Acknowledge(BOOLEAN),
}

fn log(what: impl Into<String>) {
    LOG.with(|log| log.borrow_mut().push(what.into()));
}

fn logged() -> Vec<String> {
    LOG.with(|log| std::mem::take(&mut *log.borrow_mut()))
}

fn held() -> WDFREQUEST {
    HELD.with(|held| held.borrow_mut().remove(0))
}

unsafe extern "C" fn read(_queue: WDFQUEUE, request: WDFREQUEST, length: usize) {
    log(format!("read {length}"));
    match PLAN.get() {
        Plan::Complete(status, information) => {
            // SAFETY: the request is the driver's.
            unsafe { wdf::WdfRequestCompleteWithInformation(request, status, information) };
        }
        Plan::CompleteTwice => {
            // SAFETY: as above.
            unsafe { wdf::WdfRequestComplete(request, 0) };
            // SAFETY: the mistake under test.
            unsafe { wdf::WdfRequestComplete(request, 0) };
        }
        Plan::CompleteLocked => {
            let mut lock = 0;
            // SAFETY: a lock of this frame.
            unsafe { ntddk::KeAcquireSpinLockRaiseToDpc(&raw mut lock) };
            // SAFETY: the mistake under test.
            unsafe { wdf::WdfRequestComplete(request, 0) };
        }
        Plan::Mark => {
            // SAFETY: the request is the driver's.
            unsafe { wdf::WdfRequestMarkCancelable(request, Some(cancel)) };
            HELD.with(|held| held.borrow_mut().push(request));
        }
        Plan::Forward => {
            // SAFETY: the request is the driver's, the queue of the same device.
            let status = unsafe { wdf::WdfRequestForwardToIoQueue(request, QUEUE.get()) };
            log(format!("forwarded {status:#x}"));
        }
        Plan::Hold | Plan::Acknowledge(_) => HELD.with(|held| held.borrow_mut().push(request)),
    }
}

unsafe extern "C" fn cancel(request: WDFREQUEST) {
    log("cancel");
    HELD.with(|held| held.borrow_mut().retain(|&other| other != request));
    // SAFETY: the cancel won, so the request is this routine's.
    unsafe { wdf::WdfRequestComplete(request, STATUS_CANCELLED) };
}

unsafe extern "C" fn stop(_queue: WDFQUEUE, request: WDFREQUEST, flags: ULONG) {
    log(format!("stop {flags:#x}"));
    match PLAN.get() {
        // SAFETY: inside EvtIoStop.
        Plan::Acknowledge(requeue) => unsafe { wdf::WdfRequestStopAcknowledge(request, requeue) },
        // SAFETY: the request is the driver's.
        _ => unsafe { wdf::WdfRequestComplete(request, STATUS_DEVICE_NOT_READY) },
    }
}

unsafe extern "C" fn resume(_queue: WDFQUEUE, _request: WDFREQUEST) {
    log("resume");
}

unsafe extern "C" fn cancelled_on_queue(_queue: WDFQUEUE, request: WDFREQUEST) {
    log("cancelled on queue");
    // SAFETY: the request is the driver's again.
    unsafe { wdf::WdfRequestComplete(request, STATUS_CANCELLED) };
}

/// Echoes the input; says how long the output is.
unsafe extern "C" fn control(
    _queue: WDFQUEUE,
    request: WDFREQUEST,
    output: usize,
    input: usize,
    code: ULONG,
) {
    let (mut from, mut to) = (std::ptr::null_mut(), std::ptr::null_mut());
    let (mut from_length, mut to_length) = (0, 0);
    if code == FILL {
        // SAFETY: out parameters of this frame.
        let status = unsafe {
            wdf::WdfRequestRetrieveOutputBuffer(request, 1, &raw mut to, &raw mut to_length)
        };
        assert_eq!((status, to_length), (0, output));
        // SAFETY: the output buffer of this length.
        unsafe { to.cast::<u8>().write_bytes(0x5A, to_length) };
        // SAFETY: the request is the driver's.
        return unsafe { wdf::WdfRequestCompleteWithInformation(request, 0, to_length as u64) };
    }
    if input != 0 {
        // SAFETY: out parameters of this frame.
        let status = unsafe {
            wdf::WdfRequestRetrieveInputBuffer(request, 1, &raw mut from, &raw mut from_length)
        };
        assert_eq!((status, from_length), (0, input));
    }
    let mut mdl = std::ptr::null_mut();
    // SAFETY: an out parameter of this frame.
    let status = unsafe { wdf::WdfRequestRetrieveOutputWdmMdl(request, &raw mut mdl) };
    assert_eq!(status == 0, output != 0);
    // SAFETY: the request is the driver's.
    unsafe { wdf::WdfRequestCompleteWithInformation(request, 0, output as u64) };
}

/// A device in D0 without plug and play, and its default queue.
fn device(kernel: &Kernel, kind: i32, settings: Settings) -> Handle {
    kernel.kernel_mode(|| {
        let none = Attributes::default();
        let made = kernel.wdf.create::<Device>(kernel, None, &none);
        let (handle, device) = made.expect("an empty machine has room");
        device.level.store(_WDF_EXECUTION_LEVEL::WdfExecutionLevelDispatch, Ordering::Relaxed);
        let scope = _WDF_SYNCHRONIZATION_SCOPE::WdfSynchronizationScopeNone;
        device.scope.store(scope, Ordering::Relaxed);
        device.set_powered(true);
        *device.settings.write() = Arc::new(settings);
        queue(handle, kind, true, &none_attributes());
        handle
    })
}

fn none_attributes() -> WDF_OBJECT_ATTRIBUTES {
    WDF_OBJECT_ATTRIBUTES {
        Size: size_of::<WDF_OBJECT_ATTRIBUTES>() as ULONG,
        ExecutionLevel: _WDF_EXECUTION_LEVEL::WdfExecutionLevelInheritFromParent,
        SynchronizationScope: _WDF_SYNCHRONIZATION_SCOPE::WdfSynchronizationScopeInheritFromParent,
        ..WDF_OBJECT_ATTRIBUTES::default()
    }
}

fn queue(device: Handle, kind: i32, default: bool, attributes: &WDF_OBJECT_ATTRIBUTES) -> WDFQUEUE {
    let manual = kind == _WDF_IO_QUEUE_DISPATCH_TYPE::WdfIoQueueDispatchManual;
    let mut config = WDF_IO_QUEUE_CONFIG {
        Size: size_of::<WDF_IO_QUEUE_CONFIG>() as ULONG,
        DispatchType: kind,
        PowerManaged: _WDF_TRI_STATE::WdfUseDefault,
        DefaultQueue: default.into(),
        ..WDF_IO_QUEUE_CONFIG::default()
    };
    if !manual {
        config.EvtIoRead = Some(read);
        config.EvtIoDeviceControl = Some(control);
    }
    config.EvtIoStop = Some(stop);
    config.EvtIoResume = Some(resume);
    config.EvtIoCanceledOnQueue = Some(cancelled_on_queue);
    if kind == _WDF_IO_QUEUE_DISPATCH_TYPE::WdfIoQueueDispatchParallel {
        config.Settings.Parallel.NumberOfPresentedRequests = u32::MAX;
    }
    let mut queue = std::ptr::null_mut();
    let mut attributes = *attributes;
    // SAFETY: structures of this frame.
    let status = unsafe {
        wdf::WdfIoQueueCreate(device.raw(), &raw mut config, &raw mut attributes, &raw mut queue)
    };
    assert_eq!(status, 0);
    queue
}

const SEQUENTIAL: i32 = _WDF_IO_QUEUE_DISPATCH_TYPE::WdfIoQueueDispatchSequential;
const PARALLEL: i32 = _WDF_IO_QUEUE_DISPATCH_TYPE::WdfIoQueueDispatchParallel;
const MANUAL: i32 = _WDF_IO_QUEUE_DISPATCH_TYPE::WdfIoQueueDispatchManual;

/// Runs a test on an application thread with a file on such a device.
fn with_file<T: Send + 'static>(
    kind: i32,
    plan: Plan,
    body: impl FnOnce(&Machine, Handle, File) -> T + Send + 'static,
) -> Result<T, Box<Report>> {
    let machine = Machine::builder(Profile::X64).build();
    let result = machine.run(move |machine| {
        PLAN.set(plan);
        let direct = _WDF_DEVICE_IO_TYPE::WdfDeviceIoDirect;
        let settings = Settings { read_write: direct, ..Settings::default() };
        let device = device(&machine.kernel, kind, settings);
        let file = machine.open_device(device, Access::READ).expect("nobody refuses");
        body(machine, device, file)
    });
    result.map_err(|stopped| stopped.report)
}

fn complete_next(machine: &Machine, status: NTSTATUS) {
    // SAFETY: the request is the driver's.
    machine.kernel.kernel_mode(|| unsafe { wdf::WdfRequestComplete(held(), status) });
}

fn read_request() -> Request {
    Request::read(0, Buffer::at_page_offset(100, 8))
}
