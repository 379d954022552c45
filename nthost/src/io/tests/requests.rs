//! Requests: buffers, completion, cancellation.

// UNSAFETY: the tests are a driver.

use super::*;

fn rule_of_read(plan: Plan) -> RuleId {
    let result = with_file(SEQUENTIAL, plan, |_, _, file| {
        let _ = file.submit(read_request()).wait();
    });
    result.expect_err("a rule is broken").rule
}

#[test]
fn buffered_output_comes_back_with_stale_bytes_where_nobody_wrote() {
    with_file(PARALLEL, Plan::Hold, |_, _, file| {
        let mut output = [0; 6];
        assert_eq!(file.device_io_control(ECHO, &[1, 2, 3], &mut output), Ok(6));
        assert_eq!(output, [1, 2, 3, 0xCD, 0xCD, 0xCD]);
        assert_eq!(file.device_io_control(ECHO, &[], &mut []), Ok(0));
        let mut direct = [0; 4];
        assert_eq!(file.device_io_control(FILL, &[], &mut direct), Ok(4));
        assert_eq!(direct, [0x5A; 4]);
    })
    .expect("no rule is broken");
}

#[test]
fn a_handle_without_the_codes_access_is_refused_by_the_io_manager() {
    with_file(PARALLEL, Plan::Hold, |_, _, file| {
        let denied = Err(NtStatus(STATUS_ACCESS_DENIED));
        assert_eq!(file.device_io_control(GUARDED, &[], &mut []), denied);
        assert_eq!(file.write_at(0, &[1]), denied);
        let (completion, _) = file.submit(Request::write(0, vec![1])).wait();
        assert_eq!(completion.status, NtStatus(STATUS_ACCESS_DENIED));
        assert_eq!(logged(), [""; 0]);
    })
    .expect("no rule is broken");
}

#[test]
fn a_waiting_request_is_cancelled_without_the_driver() {
    with_file(SEQUENTIAL, Plan::Hold, |machine, _, file| {
        let (first, second) = (file.submit(read_request()), file.submit(read_request()));
        second.cancel();
        first.cancel();
        assert!(second.is_done() && !first.is_done());
        complete_next(machine, STATUS_SUCCESS);
        assert_eq!(second.wait().0.status, NtStatus(STATUS_CANCELLED));
        assert_eq!(logged(), ["read 100"]);
    })
    .expect("no rule is broken");
}

#[test]
fn a_cancelable_request_gets_its_cancel_callback() {
    with_file(SEQUENTIAL, Plan::Mark, |_, _, file| {
        let pending = file.submit(read_request());
        file.cancel_all();
        assert_eq!(pending.wait().0.status, NtStatus(STATUS_CANCELLED));
        assert_eq!(logged(), ["read 100", "cancel"]);
    })
    .expect("no rule is broken");
}

#[test]
fn marking_a_cancelled_request_calls_back_or_says_so() {
    with_file(SEQUENTIAL, Plan::Hold, |machine, _, file| {
        let pending = file.submit(read_request());
        pending.cancel();
        let request = held();
        machine.kernel.kernel_mode(|| {
            // SAFETY: the request is the driver's.
            let status = unsafe { wdf::WdfRequestMarkCancelableEx(request, Some(cancel)) };
            assert_eq!(status, STATUS_CANCELLED);
            // SAFETY: as above.
            assert_eq!(unsafe { wdf::WdfRequestIsCanceled(request) }, 1);
            // SAFETY: as above.
            unsafe { wdf::WdfRequestMarkCancelable(request, Some(cancel)) };
        });
        assert_eq!(logged(), ["read 100", "cancel"]);
        assert_eq!(pending.wait().0.status, NtStatus(STATUS_CANCELLED));
    })
    .expect("no rule is broken");
}

#[test]
fn unmarking_wins_against_a_later_cancel() {
    with_file(SEQUENTIAL, Plan::Mark, |machine, _, file| {
        let pending = file.submit(read_request());
        let request = held();
        machine.kernel.kernel_mode(|| {
            // SAFETY: the request is the driver's.
            assert_eq!(unsafe { wdf::WdfRequestUnmarkCancelable(request) }, STATUS_SUCCESS);
        });
        pending.cancel();
        assert!(!pending.is_done());
        // SAFETY: the request is the driver's.
        machine.kernel.kernel_mode(|| unsafe { wdf::WdfRequestComplete(request, 0) });
        assert_eq!(pending.wait().0.status, NtStatus(0));
        assert_eq!(logged(), ["read 100"]);
    })
    .expect("no rule is broken");
}

#[test]
fn wrong_completions_are_named() {
    assert_eq!(rule_of_read(Plan::CompleteTwice), RuleId::Kmdf21);
    assert_eq!(rule_of_read(Plan::Complete(STATUS_PENDING, 0)), RuleId::Kmdf23);
    assert_eq!(rule_of_read(Plan::Complete(0, 101)), RuleId::Kmdf24);
    assert_eq!(rule_of_read(Plan::CompleteLocked), RuleId::Kmdf23);
}

#[test]
fn a_request_nobody_completes_is_reported_with_its_history() {
    let result = with_file(SEQUENTIAL, Plan::Mark, |_, _, file| {
        let _ = file.submit(read_request()).wait();
    });
    let report = result.expect_err("it can never complete");
    assert_eq!(report.rule, RuleId::Sim04);
    assert!(report.message.contains("delivered to EvtIoRead; marked cancelable"));
}

#[test]
fn completing_a_cancelable_request_is_named() {
    let result = with_file(SEQUENTIAL, Plan::Mark, |machine, _, file| {
        let _pending = file.submit(read_request());
        complete_next(machine, STATUS_SUCCESS);
    });
    assert_eq!(result.expect_err("it is cancelable").rule, RuleId::Kmdf27);
}

#[test]
fn the_handle_is_dead_after_completion() {
    let result = with_file(SEQUENTIAL, Plan::Hold, |machine, _, file| {
        let _pending = file.submit(read_request());
        let request = held();
        machine.kernel.kernel_mode(|| {
            // SAFETY: the request is the driver's.
            unsafe { wdf::WdfRequestComplete(request, 0) };
            // SAFETY: the mistake under test.
            unsafe { wdf::WdfRequestSetInformation(request, 1) };
        });
    });
    let report = result.expect_err("it is complete");
    assert_eq!(report.rule, RuleId::Kmdf22);
    assert_eq!(report.bug_check.expect("it has a code").parameters[0], 5);
}

#[test]
fn an_abandoned_request_goes_on_by_itself() {
    with_file(SEQUENTIAL, Plan::Hold, |machine, _, file| {
        drop(file.submit(read_request()));
        complete_next(machine, 0);
        PLAN.set(Plan::Complete(0, 4));
        assert_eq!(file.read_at(0, &mut [0; 4]), Ok(4));
    })
    .expect("no rule is broken");
}
