//! Queues: presentation, power, forwarding.

// UNSAFETY: the tests are a driver.

use super::*;

fn hold(machine: &Machine, device: Handle, body: fn(&Kernel, Handle)) {
    let kernel = &*machine.kernel;
    kernel.kernel_mode(|| body(kernel, device));
}

#[test]
fn a_sequential_queue_presents_the_next_request_inside_the_completion() {
    with_file(SEQUENTIAL, Plan::Hold, |machine, _, file| {
        let (first, second) = (file.submit(read_request()), file.submit(read_request()));
        assert_eq!(logged(), ["read 100"]);
        complete_next(machine, STATUS_SUCCESS);
        assert!(first.is_done() && !second.is_done());
        assert_eq!(logged(), ["read 100"]);
        complete_next(machine, STATUS_DEVICE_BUSY);
        assert_eq!(first.wait().0.status, NtStatus(0));
        assert_eq!(second.wait().0.status, NtStatus(STATUS_DEVICE_BUSY));
    })
    .expect("no rule is broken");
}

#[test]
fn a_zero_length_read_is_not_presented() {
    with_file(SEQUENTIAL, Plan::Hold, |_, _, file| {
        assert_eq!(file.read_at(0, &mut []), Ok(0));
        assert_eq!(logged(), [""; 0]);
    })
    .expect("no rule is broken");
}

#[test]
fn a_requeued_request_is_presented_again_after_power_returns() {
    with_file(SEQUENTIAL, Plan::Acknowledge(1), |machine, device, file| {
        let (first, second) = (file.submit(read_request()), file.submit(read_request()));
        let _stale = held();
        hold(machine, device, |k, d| crate::wdf::queue::hold_all(k, d, false));
        assert_eq!(logged(), ["read 100", "stop 0x1"]);
        PLAN.set(Plan::Complete(0, 7));
        hold(machine, device, crate::wdf::queue::resume_all);
        assert_eq!(logged(), ["read 100", "read 100"]);
        assert_eq!(first.wait().0.information, 7);
        assert_eq!(second.wait().0.information, 7);
    })
    .expect("no rule is broken");
}

#[test]
fn a_kept_request_is_resumed() {
    with_file(SEQUENTIAL, Plan::Acknowledge(0), |machine, device, file| {
        let pending = file.submit(read_request());
        hold(machine, device, |k, d| crate::wdf::queue::hold_all(k, d, false));
        hold(machine, device, crate::wdf::queue::resume_all);
        assert_eq!(logged(), ["read 100", "stop 0x1", "resume"]);
        complete_next(machine, 0);
        assert_eq!(pending.wait().0.status, NtStatus(0));
    })
    .expect("no rule is broken");
}

#[test]
fn a_purged_queue_refuses_requests() {
    with_file(SEQUENTIAL, Plan::Hold, |machine, device, file| {
        let (first, second) = (file.submit(read_request()), file.submit(read_request()));
        hold(machine, device, |k, d| crate::wdf::queue::purge_all(k, d, true));
        assert_eq!(logged(), ["read 100", "stop 0x2"]);
        assert_eq!(first.wait().0.status, NtStatus(STATUS_DEVICE_NOT_READY));
        assert_eq!(second.wait().0.status, NtStatus(STATUS_CANCELLED));
        assert_eq!(file.read_at(0, &mut [0]), Err(NtStatus(STATUS_INVALID_DEVICE_STATE)));
    })
    .expect("no rule is broken");
}

#[test]
fn acknowledging_outside_stop_is_named() {
    let result = with_file(SEQUENTIAL, Plan::Hold, |machine, _, file| {
        let _pending = file.submit(read_request());
        // SAFETY: the mistake under test.
        machine.kernel.kernel_mode(|| unsafe { wdf::WdfRequestStopAcknowledge(held(), 1) });
    });
    assert_eq!(result.expect_err("not in EvtIoStop").rule, RuleId::Kmdf33);
}

#[test]
fn a_forwarded_request_waits_in_a_manual_queue() {
    with_file(SEQUENTIAL, Plan::Forward, |machine, device, file| {
        let manual =
            machine.kernel.kernel_mode(|| queue(device, MANUAL, false, &none_attributes()));
        QUEUE.set(manual);
        let (first, second) = (file.submit(read_request()), file.submit(read_request()));
        let expected = ["read 100", "forwarded 0x0", "read 100", "forwarded 0x0"];
        assert_eq!(logged(), expected);
        second.cancel();
        assert_eq!(logged(), ["cancelled on queue"]);
        machine.kernel.kernel_mode(|| {
            let mut request = std::ptr::null_mut();
            // SAFETY: an out parameter of this frame.
            let status = unsafe { wdf::WdfIoQueueRetrieveNextRequest(manual, &raw mut request) };
            assert_eq!(status, 0);
            // SAFETY: the request is the driver's.
            assert_eq!(unsafe { wdf::WdfRequestGetIoQueue(request) }, manual);
            // SAFETY: as above.
            unsafe { wdf::WdfRequestComplete(request, STATUS_WDF_BUSY) };
            // SAFETY: an out parameter of this frame.
            let status = unsafe { wdf::WdfIoQueueRetrieveNextRequest(manual, &raw mut request) };
            assert_eq!(status, STATUS_NO_MORE_ENTRIES);
        });
        assert_eq!(first.wait().0.status, NtStatus(STATUS_DEVICE_BUSY));
    })
    .expect("no rule is broken");
}

#[test]
fn a_queue_lock_is_no_lock_of_the_drivers() {
    with_file(MANUAL, Plan::Complete(0, 0), |machine, device, file| {
        let mut attributes = none_attributes();
        attributes.SynchronizationScope = _WDF_SYNCHRONIZATION_SCOPE::WdfSynchronizationScopeQueue;
        machine.kernel.kernel_mode(|| {
            let own = queue(device, SEQUENTIAL, false, &attributes);
            let read = _WDF_REQUEST_TYPE::WdfRequestTypeRead;
            // SAFETY: live handles.
            let status =
                unsafe { wdf::WdfDeviceConfigureRequestDispatching(device.raw(), own, read) };
            assert_eq!(status, 0);
        });
        let mut buffer = [0; 16];
        assert_eq!(file.read_at(0, &mut buffer), Ok(0));
        assert_eq!(logged(), ["read 16"]);
    })
    .expect("no rule is broken");
}

#[test]
fn a_stopped_queue_tells_when_the_driver_has_nothing() {
    unsafe extern "C" fn stopped(_queue: WDFQUEUE, context: WDFCONTEXT) {
        log(format!("stopped {}", context.addr()));
    }
    with_file(SEQUENTIAL, Plan::Hold, |machine, device, file| {
        let device: WDFDEVICE = device.raw();
        let (first, second) = (file.submit(read_request()), file.submit(read_request()));
        machine.kernel.kernel_mode(|| {
            let context = std::ptr::without_provenance_mut(7);
            // SAFETY: a live handle.
            let queue = unsafe { wdf::WdfDeviceGetDefaultQueue(device) };
            // SAFETY: a live handle and a routine of this type.
            unsafe { wdf::WdfIoQueueStop(queue, Some(stopped), context) };
            log("stopping");
            // SAFETY: the request is the driver's.
            unsafe { wdf::WdfRequestComplete(held(), 0) };
            log("starting");
            PLAN.set(Plan::Complete(0, 1));
            // SAFETY: a live handle.
            unsafe { wdf::WdfIoQueueStart(queue) };
        });
        let expected = ["read 100", "stopping", "stopped 7", "starting", "read 100"];
        assert_eq!(logged(), expected);
        assert_eq!((first.wait().0.information, second.wait().0.information), (0, 1));
    })
    .expect("no rule is broken");
}

#[test]
fn a_chain_reaches_the_driver_as_chained_mdls() {
    with_file(SEQUENTIAL, Plan::Hold, |machine, _, file| {
        let segments = vec![vec![1; 10], vec![], vec![2; 20]];
        let request = Request::chain(Operation::Read { offset: 3 }, segments);
        let pending = file.submit(request);
        assert_eq!(logged(), ["read 30"]);
        machine.kernel.kernel_mode(|| {
            let request = held();
            let mut mdl = std::ptr::null_mut();
            // SAFETY: an out parameter of this frame.
            unsafe { wdf::WdfRequestRetrieveOutputWdmMdl(request, &raw mut mdl) };
            // SAFETY: a live MDL.
            let first = unsafe { mdl.read() };
            // SAFETY: the next one of the chain.
            let second = unsafe { first.Next.read() };
            assert_eq!((first.ByteCount, second.ByteCount), (10, 20));
            assert!(second.Next.is_null());
            // SAFETY: the request is the driver's.
            unsafe { wdf::WdfRequestComplete(request, 0) };
        });
        let (_, request) = pending.wait();
        assert_eq!(request.segments().len(), 3);
    })
    .expect("no rule is broken");
}
