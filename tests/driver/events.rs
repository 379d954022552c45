//! Events at every scheduling point, in random orders: cancels, removals and power changes while a
//! transfer is under way on the deterministic scheduler. No rule may be broken, nothing may leak
//! or hang, and what is said to have been moved has been moved.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dmaproof_protocol::{Direction, Path, status};
use nthost::{Builder, Machine, Policy, Scheduling, Slot};

use crate::common::{Bench, PATHS, bytes, open, with_driver, x64};

/// What happens to the device or the request; the last argument is whether the transfer under test
/// is over, as a run may be shorter than the one that was counted.
type Happens = fn(&Machine, Slot, &nthost::File, bool);

/// Bytes of a transfer.
const LENGTH: usize = 1500;

fn machine(seed: u64) -> Builder {
    let policy = Policy::Random;
    x64().seed(seed).scheduling(Scheduling::Deterministic { processors: 2, policy })
}

/// Crossings of one transfer.
fn crossings(path: Path, direction: Direction) -> u64 {
    with_driver(machine(1), move |bench| {
        let before = bench.machine.events();
        let (completion, _) = bench.submit(path, direction, 0, bytes(1, LENGTH)).wait();
        assert_eq!(completion.status.0, 0);
        bench.machine.events() - before
    })
}

/// One transfer during which `first` happens after `after` crossings, and `second`, if there is
/// one, a few later; returns how the transfer ended.
fn during(
    (path, direction): (Path, Direction),
    after: u64,
    events: &'static [Happens],
    after_all: fn(&Bench),
) -> i32 {
    with_driver(machine(after), move |bench| {
        let over = Arc::new(AtomicBool::new(false));
        for (number, happens) in (0..).zip(events) {
            let (slot, file) = (bench.slot, Arc::downgrade(&bench.file));
            let at = bench.machine.events() + after + number * 7;
            let over = Arc::clone(&over);
            bench.machine.inject(at, move |m| {
                if let Some(file) = file.upgrade() {
                    happens(m, slot, &file, over.load(Ordering::Relaxed));
                }
            });
        }
        let sent = bytes(after as u8, LENGTH);
        let data = if direction == Direction::ToDevice { sent.clone() } else { vec![0; LENGTH] };
        let (completion, request) = bench.submit(path, direction, 0, data).wait();
        if completion.status.0 == 0 {
            assert_eq!(completion.information, LENGTH, "{path} {direction} after {after}");
            let moved = match direction {
                Direction::ToDevice => sent,
                Direction::FromDevice => request.buffer().to_vec(),
            };
            assert!(bench.device_memory()[..LENGTH] == moved, "{path} {direction} after {after}");
        }
        over.store(true, Ordering::Relaxed);
        // Whatever has not happened yet.
        bench.machine.sleep(2_000_000_000);
        after_all(bench);
        completion.status.0
    })
}

/// Lets the events happen after every crossing of every path, and checks the ends.
fn everywhere(step: usize, events: &'static [Happens], ends: &[i32], after_all: fn(&Bench)) {
    for path in PATHS {
        for &direction in Direction::ALL {
            let count = crossings(path, direction);
            let mut disturbed = 0;
            for after in (1..=count + 5).step_by(step) {
                let end = during((path, direction), after, events, after_all);
                assert!(ends.contains(&end), "{path} {direction} after {after}: {end:#x}");
                disturbed += u32::from(end != 0);
            }
            assert!(disturbed > 0 || ends == [0], "{path} {direction}: nothing took effect");
        }
    }
}

fn cancel(_: &Machine, _: Slot, file: &nthost::File, over: bool) {
    if !over {
        file.cancel_all();
    }
}

fn sleep(m: &Machine, slot: Slot, _: &nthost::File, _: bool) {
    m.set_power(slot, true).expect("the device sleeps");
}

fn wake(m: &Machine, slot: Slot, _: &nthost::File, _: bool) {
    m.set_power(slot, false).expect("the device wakes");
}

fn rebalance(m: &Machine, slot: Slot, _: &nthost::File, _: bool) {
    if m.stop_device(slot).is_ok() {
        m.restart(slot).expect("the device starts again");
    }
}

fn unplug(m: &Machine, slot: Slot, _: &nthost::File, _: bool) {
    m.unplug_later(slot);
}

const GONE: [i32; 5] = [
    0,
    status::CANCELLED,
    status::DEVICE_REMOVED,
    status::INVALID_DEVICE_STATE,
    status::IO_DEVICE_ERROR,
];

#[test]
fn a_cancel_at_every_point() {
    everywhere(1, &[cancel], &[0, status::CANCELLED], |bench| bench.works());
}

#[test]
fn a_sleep_and_a_waking_at_every_point() {
    everywhere(2, &[sleep, wake], &[0], |bench| bench.works());
}

#[test]
fn a_rebalance_at_every_point() {
    everywhere(3, &[rebalance], &[0], |bench| {
        bench.works();
        drop(open(bench.machine));
    });
}

#[test]
fn a_cancel_during_a_power_change_at_every_point() {
    everywhere(3, &[sleep, cancel, wake], &[0, status::CANCELLED], |bench| bench.works());
}

#[test]
fn the_device_vanishes_at_every_point() {
    everywhere(2, &[unplug], &GONE, |_| ());
}

#[test]
fn the_device_vanishes_while_a_cancel_is_under_way() {
    everywhere(3, &[cancel, unplug], &GONE, |_| ());
}
