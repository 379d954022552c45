//! Calls that fail: every fallible function from every call stack of the driver, then at random;
//! no rule is broken, nothing leaks or hangs, and no byte is wrong.

use std::panic::{AssertUnwindSafe, catch_unwind};

use dmaproof_protocol::Direction;
use nthost::explore::{Failed, fail_each_call};
use nthost::{Access, Buffer, Builder, FallibleCall, Faults, Machine, Policy, Request, Scheduling};
use testdev::model::edu::{Edu, EduConfig};

use crate::common::{PATHS, bytes, code, interface, x64};

/// How far a run came.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Came {
    /// The driver did not load, or the device did not start.
    NotStarted,
    /// So many transfers succeeded, all with the right bytes, and so many failed.
    Moved(usize, usize),
    /// A rule was broken.
    Stopped(String),
}

fn transfer(
    file: &nthost::File,
    path: dmaproof_protocol::Path,
    to: Direction,
    data: &[u8],
) -> Option<Vec<u8>> {
    let header = dmaproof_protocol::TransferHeader::new(path, 5, data.len() as u64);
    let mut buffer = Buffer::at_page_offset(data.len(), 0x321);
    buffer.copy_from_slice(data);
    let input = zerocopy::IntoBytes::as_bytes(&header).to_vec();
    let (completion, request) = file.submit(Request::ioctl(code(to), input, buffer)).wait();
    if completion.status.0 < 0 {
        return None;
    }
    assert_eq!(completion.information, data.len(), "{path}: a success moves everything");
    Some(request.buffer().to_vec())
}

/// A start, a round trip on every path, a sleep, another round trip, and the end.
fn application(m: &Machine) -> Came {
    let started = m.load("dmaproof", dmaproof_driver::driver_entry).is_ok()
        && m.plug(Box::new(Edu::new(EduConfig::default()))).is_ok();
    let opened = interface(m).filter(|_| started).map(|path| m.open(&path, Access::READ_WRITE));
    let came = match opened {
        Some(Ok(file)) => {
            let (mut good, mut bad) = (0, 0);
            for (number, path) in PATHS.into_iter().chain(PATHS).enumerate() {
                let data = bytes(number as u8, 1500);
                let sent = transfer(&file, path, Direction::ToDevice, &data);
                let back = transfer(&file, path, Direction::FromDevice, &vec![0xEE; 1500]);
                if let (Some(_), Some(back)) = (&sent, &back) {
                    assert!(*back == data, "{path}: data differ");
                }
                let moved = usize::from(sent.is_some()) + usize::from(back.is_some());
                good += moved;
                bad += 2 - moved;
            }
            Came::Moved(good, bad)
        }
        _ => Came::NotStarted,
    };
    // What was left behind is a violation.
    m.shut_down();
    came
}

fn run(builder: Builder, faults: Faults) -> (Came, Vec<FallibleCall>) {
    let machine = builder.faults(faults).build();
    let came = match machine.run(application) {
        Ok(came) => came,
        Err(stopped) => Came::Stopped(stopped.to_string()),
    };
    (came, machine.fallible_calls())
}

fn deterministic(seed: u64) -> Builder {
    let policy = Policy::Random;
    x64().seed(seed).scheduling(Scheduling::Deterministic { processors: 2, policy })
}

fn judge(runs: &[Failed<Came>]) {
    for run in runs {
        if let Came::Stopped(report) = &run.outcome {
            panic!("{} failed at {}; {:?}:\n{report}", run.call, run.stack, run.faults);
        }
    }
}

#[test]
fn every_fallible_call_fails_once_from_each_call_stack() {
    // Without version 3 two of the paths are not available.
    for (builder, moved) in [(x64(), 20), (x64().adapter_versions(2), 12), (deterministic(3), 20)] {
        let runs = fail_each_call(|faults| run(builder.clone(), faults));

        assert!(runs.len() > 25, "{} runs", runs.len());
        judge(&runs);
        assert_eq!(runs[0].outcome, Came::Moved(moved, 20 - moved), "nothing fails by itself");
        let starts = runs.iter().filter(|run| run.outcome == Came::NotStarted).count();
        let fails =
            |run: &Failed<Came>| matches!(run.outcome, Came::Moved(good, _) if good < moved);
        assert!(starts > 5, "{starts} runs did not start");
        assert!(runs.iter().any(fails), "some transfers fail");
    }
}

#[test]
fn calls_fail_at_random() {
    let mut failed = 0;
    for seed in 0..150 {
        let (came, calls) = run(deterministic(seed), Faults::Random(12));
        if let Came::Stopped(report) = came {
            panic!("seed {seed}: {report}");
        }
        failed += calls.iter().filter(|call| call.failed).count();
    }
    assert!(failed > 150, "{failed} calls failed");
}

#[test]
fn a_fault_is_had_again_by_its_number() {
    let (_, calls) = run(x64(), Faults::At(Vec::new()));
    let last = calls.last().expect("there are fallible calls");

    let (_, again) = run(x64(), Faults::At(vec![last.event]));

    let failed: Vec<_> = again.iter().filter(|call| call.failed).collect();
    assert_eq!(failed.len(), 1);
    assert_eq!((failed[0].call, failed[0].event), (last.call, last.event));
    let caught = catch_unwind(AssertUnwindSafe(|| failed[0].stack.call_site()));
    assert!(caught.is_ok_and(|site| site.contains("driver/src") || site.contains("dma/src")));
}
