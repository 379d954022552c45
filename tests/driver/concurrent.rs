//! A second request at every step of the first one: at each crossing between driver and host, one
//! run.

use std::sync::{Arc, Mutex};

use dmaproof_protocol::{Direction, Path, TransferHeader};
use nthost::{Machine, Pending, Request};
use zerocopy::IntoBytes;

use crate::cancel::crossings;
use crate::common::{Bench, bytes, code, open, with_driver, x64};

/// Bytes of each request; they do not overlap.
const LENGTH: usize = 1500;

/// Paths of the first and the second request.
const PAIRS: [(Path, Path); 4] = [
    (Path::Packet, Path::Packet),
    (Path::Packet, Path::ScatterGather),
    (Path::Version3, Path::Packet),
    (Path::Version3, Path::Version3),
];

/// Submits the second request `after` crossings; returns whether that was during the first one.
fn second_after(
    bench: &Bench,
    first: Path,
    second: Path,
    direction: Direction,
    after: u64,
) -> bool {
    let file = Arc::new(open(bench.machine));
    let slot = Arc::new(Mutex::new(None::<Pending>));
    // The test keeps the file open: closing it cancels its requests.
    let (submitter, shared) = (Arc::clone(&file), Arc::clone(&slot));
    let offset = LENGTH as u64;
    bench.machine.inject(bench.machine.events() + after, move |_: &Machine| {
        let header = TransferHeader::new(second, offset, offset).as_bytes().to_vec();
        let request = Request::ioctl(code(direction), header, bytes(2, LENGTH));
        *shared.lock().expect("nobody panicked") = Some(submitter.submit(request));
    });
    let name = format!("{second} after {after} crossings of {first} {direction}");
    let (completion, _) = bench.submit(first, direction, 0, bytes(1, LENGTH)).wait();
    assert_eq!(completion.status.0, 0, "{name}: the first request");
    let pending = slot.lock().expect("nobody panicked").take();
    let Some(pending) = pending else { return false };
    let (completion, _) = pending.wait();
    assert_eq!(completion.status.0, 0, "{name}: the second request");
    if direction == Direction::ToDevice {
        let memory = bench.device_memory();
        assert!(memory[..LENGTH] == bytes(1, LENGTH), "{name}: the first one's data differ");
        let other = &memory[LENGTH..2 * LENGTH];
        assert!(other == bytes(2, LENGTH), "{name}: the second one's data differ");
    }
    true
}

#[test]
fn a_second_request_at_every_crossing() {
    for (first, second) in PAIRS {
        for direction in Direction::ALL {
            let direction = *direction;
            let count = crossings(first, direction);
            let mut injected = 0;
            for after in 1..=count {
                let ran = with_driver(x64(), move |bench| {
                    second_after(bench, first, second, direction, after)
                });
                injected += u64::from(ran);
            }
            assert!(injected * 2 > count, "{second} in {first}: {injected} of {count} were tried");
        }
    }
}

#[test]
fn a_wait_elsewhere_at_every_crossing_ends() {
    // The first request's DPCs wait on a processor that the waiting one cannot have.
    for path in [Path::Packet, Path::ScatterGather, Path::Version3] {
        let direction = Direction::FromDevice;
        for after in 1..=crossings(path, direction) {
            with_driver(x64(), move |bench| {
                let at = bench.machine.events() + after;
                bench.machine.inject(at, |machine: &Machine| machine.sleep(1_000));
                let (completion, _) = bench.submit(path, direction, 0, bytes(3, LENGTH)).wait();
                assert_eq!(completion.status.0, 0, "{path}: waited after {after} crossings");
            });
        }
    }
}
