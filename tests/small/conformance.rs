//! `conformance.sys` on the simulated kernel: what the pages say must hold there too.

use std::sync::{Arc, Mutex};

use conformance::{IOCTL_DIRECT, IOCTL_RUN, Report, TEXT};
use nthost::{Access, Machine, NtStatus, Profile};
use wdk_lite::STATUS_NO_MORE_ENTRIES;

use crate::common::Small;

const DRIVER: Small = Small { name: "conformance", entry: conformance::driver_entry };
const PATH: &str = r"\\.\DmaproofConformance";

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn text(bytes: &[u8]) -> String {
    let bytes = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
    String::from_utf8(bytes.to_vec()).expect("names are plain")
}

/// The tests that fail on a machine.
fn failures(machine: Machine) -> Vec<String> {
    let failed = Arc::new(Mutex::new(Vec::new()));
    let list = Arc::clone(&failed);
    let result = machine.run(move |machine| {
        machine.load("conformance", conformance::driver_entry).expect("the driver loads");
        let file = machine.open_named(PATH, Access::READ_WRITE).expect("opens");
        let mut report = [0; size_of::<Report>()];
        for number in 0u32.. {
            if file.device_io_control(IOCTL_RUN, &number.to_le_bytes(), &mut report).is_err() {
                break;
            }
            if word(&report, 4) != 0 {
                let at = std::mem::offset_of!(Report, name);
                list.lock().unwrap().push(text(&report[at..at + TEXT]));
            }
        }
    });
    result.unwrap_or_else(|stopped| panic!("{stopped}"));
    std::mem::take(&mut failed.lock().unwrap())
}

#[test]
fn a_kernel_that_does_not_do_its_work_is_noticed() {
    let cases = [
        ("KeClearEvent", "a notification event stays"),
        ("KeDelayExecutionThread", "a delay lasts its time"),
        ("KeInsertQueueDpc", "a DPC is queued once"),
    ];
    for (function, test) in cases {
        let machine = Machine::builder(Profile::X64).leave_out(function).build();
        assert_eq!(failures(machine), [test], "{function}");
    }
}

#[test]
fn every_test_holds_on_the_simulated_kernel() {
    DRIVER.run(|machine, _| {
        let file = machine.open_named(PATH, Access::READ_WRITE).expect("opens");
        let mut seen = Vec::new();
        for number in 0u32.. {
            let mut report = [0; size_of::<Report>()];
            match file.device_io_control(IOCTL_RUN, &number.to_le_bytes(), &mut report) {
                Err(NtStatus(STATUS_NO_MORE_ENTRIES)) => break,
                result => assert_eq!(result, Ok(report.len())),
            }
            let at = std::mem::offset_of!(Report, name);
            let name = text(&report[at..at + TEXT]);
            let (failed, checks) = (word(&report, 4), word(&report, 8));
            let at = std::mem::offset_of!(Report, found);
            let (found, expected) = (word(&report, at), word(&report, at + 8));
            assert_eq!(failed, 0, "{name}: check {failed}: {found:#x}, expected {expected:#x}");
            assert_ne!(checks, 0, "{name} checked nothing");
            seen.push(name);
        }
        let all: Vec<_> = conformance::tests().map(|(name, _)| name.to_owned()).collect();
        assert_eq!(seen, all);
    });
}

#[test]
fn every_test_names_a_page_of_the_documentation() {
    for (name, page) in conformance::tests() {
        assert!(page.contains("/nf-"), "{name}: {page}");
        assert!(name.len() < TEXT && page.len() < TEXT, "{name} is cut off");
    }
}

#[test]
fn a_direct_request_reaches_both_buffers() {
    DRIVER.run(|machine, _| {
        let file = machine.open_named(PATH, Access::READ_WRITE).expect("opens");
        let mut output = [0; 9];
        assert_eq!(file.device_io_control(IOCTL_DIRECT, b"12345", &mut output), Ok(5));
        assert_eq!(&output, b"12345\0\0\0\0");
    });
}
