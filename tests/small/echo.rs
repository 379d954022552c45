//! `echo.sys`: a manual queue, a timer, and the race between an end and a cancel.

use echo::{CAPACITY, INTERFACE, IOCTL_HOLD, IOCTL_RELEASE};
use nthost::{Access, File, Machine, NtStatus, Operation, Request};
use testdev::model::edu::Edu;
use wdk_lite::{STATUS_CANCELLED, STATUS_INVALID_BUFFER_SIZE, STATUS_NO_MORE_ENTRIES};

use crate::common::Small;

const DRIVER: Small = Small { name: "echo", entry: echo::driver_entry };

/// Runs `body` with the device open. It needs no hardware, but a device must be there.
fn opened(body: impl Fn(&Machine, &File) + Send + Sync + 'static) {
    DRIVER.run(move |machine, _| {
        machine.plug(Box::new(Edu::default())).expect("starts");
        let path = machine.interfaces(&INTERFACE).remove(0);
        let file = machine.open(&path, Access::READ_WRITE).expect("opens");
        body(machine, &file);
    });
}

#[test]
fn what_is_written_is_read() {
    opened(|_, file| {
        for length in [1, 100, CAPACITY] {
            let data: Vec<u8> = (0..length).map(|i| (i + length) as u8).collect();
            assert_eq!(file.write_at(0, &data), Ok(length));
            let mut back = vec![0; length + 1];
            assert_eq!(file.read_at(0, &mut back), Ok(length));
            assert_eq!(back[..length], data);
        }
    });
}

#[test]
fn more_than_the_device_keeps_is_refused() {
    opened(|_, file| {
        let result = file.write_at(0, &[0; CAPACITY + 1]);
        assert_eq!(result, Err(NtStatus(STATUS_INVALID_BUFFER_SIZE)));
    });
}

#[test]
fn a_waiting_read_can_be_cancelled() {
    opened(|_, file| {
        let waiting = file.submit(Request::read(0, vec![0; 8]));
        waiting.cancel();
        assert_eq!(waiting.wait().0.status, NtStatus(STATUS_CANCELLED));
    });
}

fn hold(file: &File) -> nthost::Pending {
    let operation = Operation::Ioctl { code: IOCTL_HOLD, input: Vec::new() };
    file.submit(Request::new(operation, Vec::new()))
}

#[test]
fn a_held_request_is_released_or_cancelled() {
    opened(|_, file| {
        let first = hold(file);
        assert_eq!(file.device_io_control(IOCTL_RELEASE, &[], &mut []), Ok(0));
        assert_eq!(first.wait().0.status, NtStatus(0));
        let second = hold(file);
        second.cancel();
        assert_eq!(second.wait().0.status, NtStatus(STATUS_CANCELLED));
        let none = file.device_io_control(IOCTL_RELEASE, &[], &mut []);
        assert_eq!(none, Err(NtStatus(STATUS_NO_MORE_ENTRIES)));
    });
}
