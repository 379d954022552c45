//! `wdm.sys`: IRPs, cancellation, plug and play, an interrupt with its DPC, and a DMA transfer.

use nthost::{Access, Machine, NtStatus, RuleId};
use testdev::model::edu::Edu;
use wdk_lite::{
    STATUS_CANCELLED, STATUS_INVALID_BUFFER_SIZE, STATUS_INVALID_DEVICE_REQUEST,
    STATUS_INVALID_PARAMETER, STATUS_OBJECT_NAME_NOT_FOUND,
};
use wdm::{IOCTL_FROM_DEVICE, IOCTL_NEXT, IOCTL_TO_DEVICE, IOCTL_WAIT};

use crate::common::Small;

const DRIVER: Small = Small { name: "wdm", entry: wdm::driver_entry };
const CONTROL: &str = r"\\.\DmaproofWdm";
const EDU: &str = r"\\.\DmaproofWdmEdu";

fn open(machine: &Machine, path: &str) -> nthost::NamedFile {
    machine.open_named(path, Access::READ_WRITE).expect("the device is there")
}

#[test]
fn a_buffered_request_is_answered() {
    DRIVER.run(|machine, _| {
        let file = open(machine, CONTROL);
        let mut answer = [0; 8];
        let count = file.device_io_control(IOCTL_NEXT, &41u64.to_le_bytes(), &mut answer);
        assert_eq!((count, u64::from_le_bytes(answer)), (Ok(8), 42));
    });
}

#[test]
fn a_bad_request_is_refused_and_changes_nothing() {
    DRIVER.run(|machine, _| {
        let file = open(machine, CONTROL);
        let mut answer = [7; 4];
        let short = file.device_io_control(IOCTL_NEXT, &[1, 2, 3, 4], &mut answer);
        assert_eq!((short, answer), (Err(NtStatus(STATUS_INVALID_BUFFER_SIZE)), [7; 4]));
        let foreign = file.device_io_control(IOCTL_TO_DEVICE, &[0; 4], &mut answer);
        assert_eq!(foreign, Err(NtStatus(STATUS_INVALID_DEVICE_REQUEST)));
    });
}

#[test]
fn a_request_waits_until_it_is_cancelled() {
    DRIVER.run(|machine, _| {
        let file = open(machine, CONTROL);
        let waiting = file.begin(IOCTL_WAIT, &[], Vec::new()).expect("sent");
        assert!(!waiting.is_done());
        waiting.cancel();
        waiting.cancel();
        assert_eq!(waiting.wait().0, Err(NtStatus(STATUS_CANCELLED)));
    });
}

#[test]
fn a_request_that_is_never_cancelled_is_reported() {
    let report = DRIVER.breaks(|machine, _| {
        let file = open(machine, CONTROL);
        let (result, _) = file.begin(IOCTL_WAIT, &[], Vec::new()).expect("sent").wait();
        panic!("nobody cancelled it: {result:?}");
    });
    assert_eq!(report.rule, RuleId::Sim04);
}

#[test]
fn the_names_go_with_the_driver() {
    DRIVER.run(|machine, driver| {
        drop(open(machine, CONTROL));
        machine.unload(driver);
        let gone = machine.open_named(CONTROL, Access::READ_WRITE);
        assert_eq!(gone.err(), Some(NtStatus(STATUS_OBJECT_NAME_NOT_FOUND)));
    });
}

#[test]
fn data_goes_to_the_device_and_comes_back() {
    DRIVER.run(|machine, _| {
        machine.plug(Box::new(Edu::default())).expect("starts");
        let file = open(machine, EDU);
        for (offset, length) in [(0u32, 4095), (5, 1), (64, 2000), (4094, 1)] {
            let mut out: Vec<u8> = (0..length).map(|i| (i * 7 + 3) as u8).collect();
            let sent = file.device_io_control(IOCTL_TO_DEVICE, &offset.to_le_bytes(), &mut out);
            assert_eq!(sent, Ok(length));
            let mut back = vec![0; length];
            let got = file.device_io_control(IOCTL_FROM_DEVICE, &offset.to_le_bytes(), &mut back);
            assert_eq!((got, &back), (Ok(length), &out), "at {offset}");
        }
    });
}

#[test]
fn a_transfer_outside_the_device_is_refused() {
    DRIVER.run(|machine, _| {
        machine.plug(Box::new(Edu::default())).expect("starts");
        let file = open(machine, EDU);
        for (offset, length) in [(4095u32, 1), (1, 4095), (u32::MAX, 1)] {
            let mut data = vec![0; length];
            let sent = file.device_io_control(IOCTL_TO_DEVICE, &offset.to_le_bytes(), &mut data);
            assert_eq!(sent, Err(NtStatus(STATUS_INVALID_PARAMETER)), "at {offset}");
        }
    });
}

#[test]
fn a_device_can_be_removed_and_another_comes() {
    DRIVER.run(|machine, _| {
        let first = machine.plug(Box::new(Edu::default())).expect("starts");
        machine.remove(first).expect("goes");
        machine.plug(Box::new(Edu::default())).expect("starts");
        let mut data = [1, 2, 3];
        let file = open(machine, EDU);
        assert_eq!(file.device_io_control(IOCTL_TO_DEVICE, &[0; 4], &mut data), Ok(3));
    });
}

#[test]
fn a_device_that_vanishes_ends_its_transfer() {
    DRIVER.run(|machine, _| {
        let slot = machine.plug(Box::new(Edu::default())).expect("starts");
        let file = open(machine, EDU);
        let under_way = file.begin(IOCTL_TO_DEVICE, &[0; 4], vec![1; 100]).expect("sent");
        machine.surprise_remove(slot);
        let (result, _) = under_way.wait();
        assert!(result.is_err(), "the device was gone before it was done: {result:?}");
        std::mem::forget(file);
    });
}
