//! Many threads.

// UNSAFETY: the tests are a driver.

use super::*;

/// Requests of the test below that wait for their end, marked cancelable.
static WAITING: parking_lot::Mutex<Vec<usize>> = parking_lot::Mutex::new(Vec::new());

unsafe extern "C" fn read_later(_queue: WDFQUEUE, request: WDFREQUEST, length: usize) {
    if length.is_multiple_of(3) {
        // SAFETY: the request is the driver's.
        return unsafe { wdf::WdfRequestCompleteWithInformation(request, 0, length as u64) };
    }
    // Under the lock that the cancel routine takes: it must find the request (KMDF-26).
    let mut waiting = WAITING.lock();
    // SAFETY: as above.
    let status = unsafe { wdf::WdfRequestMarkCancelableEx(request, Some(cancel_later)) };
    if status == STATUS_SUCCESS {
        waiting.push(request.addr());
    } else {
        drop(waiting);
        // SAFETY: cancelled already: it is still the driver's.
        unsafe { wdf::WdfRequestComplete(request, status) };
    }
}

unsafe extern "C" fn cancel_later(request: WDFREQUEST) {
    WAITING.lock().retain(|&other| other != request.addr());
    // SAFETY: the cancel won, so the request is this routine's.
    unsafe { wdf::WdfRequestComplete(request, STATUS_CANCELLED) };
}

/// Completes one waiting request, if its cancel has not won.
fn complete_one() {
    // Under the lock that the cancel routine takes before it completes (KMDF-28).
    let request = {
        let mut waiting = WAITING.lock();
        let Some(request) = waiting.pop() else { return };
        let request: WDFREQUEST = std::ptr::without_provenance_mut(request);
        // SAFETY: live: its cancel routine waits for the lock before it completes.
        let status = unsafe { wdf::WdfRequestUnmarkCancelable(request) };
        if status == STATUS_SUCCESS { Some(request) } else { None }
    };
    if let Some(request) = request {
        // SAFETY: unmarked, so the request is this thread's.
        unsafe { wdf::WdfRequestComplete(request, STATUS_SUCCESS) };
    }
}

#[test]
fn cancels_and_completions_race_on_many_threads() {
    let rounds: usize = if cfg!(miri) { 20 } else { 3000 };
    let processors = crate::Scheduling::Threads { processors: 3 };
    let machine = Machine::builder(Profile::X64).scheduling(processors).build();
    let direct = _WDF_DEVICE_IO_TYPE::WdfDeviceIoDirect;
    let settings = Settings { read_write: direct, ..Settings::default() };
    let device = device(&machine.kernel, MANUAL, settings);
    machine.kernel.kernel_mode(|| {
        let mut config = WDF_IO_QUEUE_CONFIG {
            Size: size_of::<WDF_IO_QUEUE_CONFIG>() as ULONG,
            DispatchType: PARALLEL,
            PowerManaged: _WDF_TRI_STATE::WdfUseDefault,
            EvtIoRead: Some(read_later),
            ..WDF_IO_QUEUE_CONFIG::default()
        };
        config.Settings.Parallel.NumberOfPresentedRequests = 5;
        let (mut queue, none) = (std::ptr::null_mut(), std::ptr::null_mut());
        // SAFETY: structures of this frame.
        let status =
            unsafe { wdf::WdfIoQueueCreate(device.raw(), &raw mut config, none, &raw mut queue) };
        assert_eq!(status, 0);
        let read = _WDF_REQUEST_TYPE::WdfRequestTypeRead;
        // SAFETY: live handles.
        let status =
            unsafe { wdf::WdfDeviceConfigureRequestDispatching(device.raw(), queue, read) };
        assert_eq!(status, 0);
    });
    let work = move |machine: &Machine| {
        let file = machine.open_device(device, Access::READ).expect("nobody refuses");
        for round in 0..rounds {
            let pending: Vec<_> = (1..=4)
                .map(|n| file.submit(Request::read(0, vec![0; 3 * round % 100 + n])))
                .collect();
            if round % 2 == 0 {
                machine.kernel.kernel_mode(complete_one);
                file.cancel_all();
            } else {
                pending[1].cancel();
            }
            for one in pending {
                while !one.is_done() {
                    machine.kernel.kernel_mode(complete_one);
                }
                let status = one.wait().0.status;
                assert!([0, STATUS_CANCELLED].contains(&status.0));
            }
        }
    };
    let threads: Vec<_> = (0..3).map(|_| machine.spawn(work)).collect();
    for thread in threads {
        thread.join().expect("no rule is broken");
    }
}
