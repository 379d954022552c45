//! Files: create, cleanup, close.

// UNSAFETY: the tests are a driver.

use super::*;

unsafe extern "C" fn create(_device: WDFDEVICE, request: WDFREQUEST, file: WDFFILEOBJECT) {
    log(if file.is_null() { "create without file" } else { "create" });
    let Plan::Complete(status, _) = PLAN.get() else { return };
    // SAFETY: the request is the driver's.
    unsafe { wdf::WdfRequestComplete(request, status) };
}

unsafe extern "C" fn cleanup(_file: WDFFILEOBJECT) {
    log("cleanup");
}

unsafe extern "C" fn close(_file: WDFFILEOBJECT) {
    log("close");
}

#[test]
fn close_comes_after_the_last_request_and_cleanup_before() {
    let machine = Machine::builder(Profile::X64).build();
    let result = machine.run(|machine| {
        PLAN.set(Plan::Complete(0, 0));
        let config = FileConfig {
            create: routine(Some(create as unsafe extern "C" fn(_, _, _))),
            close: routine(Some(close as unsafe extern "C" fn(_))),
            cleanup: routine(Some(cleanup as unsafe extern "C" fn(_))),
            class: _WDF_FILEOBJECT_CLASS::WdfFileObjectWdfCannotUseFsContexts,
            attributes: Attributes::default(),
            serialised: false,
        };
        let settings = Settings { file: Some(config), exclusive: true, ..Settings::default() };
        let device = device(&machine.kernel, SEQUENTIAL, settings);
        PLAN.set(Plan::Complete(STATUS_DEVICE_BUSY, 0));
        let failed = machine.open_device(device, Access::READ).map(drop);
        assert_eq!(failed, Err(NtStatus(STATUS_DEVICE_BUSY)));
        PLAN.set(Plan::Complete(0, 0));
        let file = machine.open_device(device, Access::READ).expect("the driver agrees");
        let second = machine.open_device(device, Access::READ).map(drop);
        assert_eq!(second, Err(NtStatus(STATUS_ACCESS_DENIED)));
        assert_eq!(logged(), ["create", "create"]);
        PLAN.set(Plan::Hold);
        let (owned, waiting) = (file.submit(read_request()), file.submit(read_request()));
        file.close();
        assert_eq!(logged(), ["read 100", "cleanup"]);
        assert_eq!(waiting.wait().0.status, NtStatus(STATUS_CANCELLED));
        complete_next(machine, 0);
        let _ = owned.wait();
        machine.sleep(1);
        assert_eq!(logged(), ["close"]);
    });
    result.expect("no rule is broken");
}
