//! Power, removal and rebalance under load.

use dmaproof_protocol::{Direction, Path, status};
use testdev::exerciser::FaultKind;
use testdev::model::exerciser::{Exerciser, ExerciserConfig, Fault};

use super::{PATHS, card, round_trip, slow, with_config, with_exerciser};
use crate::common::{Bench, bytes, interface, x64};

const COUNT: u8 = 24;
const LENGTH: usize = 20_000;

fn load(bench: &Bench, path: Path) -> Vec<nthost::Pending> {
    (0..COUNT)
        .map(|i| bench.submit(path, Direction::ToDevice, u64::from(i) << 16, bytes(i, LENGTH)))
        .collect()
}

fn all_arrive(bench: &Bench, path: Path, pending: Vec<nthost::Pending>) {
    for (i, pending) in pending.into_iter().enumerate() {
        assert_eq!(pending.wait().0.status.0, 0, "{path}: request {i}");
        assert!(card(bench, (i as u64) << 16, LENGTH) == bytes(i as u8, LENGTH), "{path}: {i}");
    }
}

#[test]
fn sleep_under_load_loses_nothing() {
    for path in PATHS {
        for wait in [0, 10_000, 40_000, 100_000] {
            with_config(x64(), slow(), move |bench| {
                let pending = load(bench, path);
                bench.machine.sleep(wait);
                bench.machine.set_power(bench.slot, true).expect("sleeps");
                bench.machine.sleep(1_000_000);
                bench.machine.set_power(bench.slot, false).expect("wakes");
                all_arrive(bench, path, pending);
            });
        }
    }
}

#[test]
fn requests_wait_while_the_device_sleeps() {
    with_exerciser(x64(), |bench| {
        bench.machine.set_power(bench.slot, true).expect("sleeps");
        let pending = load(bench, Path::ScatterGather);
        bench.machine.sleep(1_000_000_000);
        assert!(pending.iter().all(|p| !p.is_done()), "nothing moves in D3");
        bench.machine.set_power(bench.slot, false).expect("wakes");
        all_arrive(bench, Path::ScatterGather, pending);
    });
}

#[test]
fn a_device_that_hangs_is_reset_on_the_way_to_sleep_and_its_work_begun_again() {
    let fault = Fault::new(FaultKind::Stall, 0);
    with_config(x64(), ExerciserConfig::with(fault), |bench| {
        let pending = load(bench, Path::Packet);
        bench.machine.sleep(10_000);
        bench.machine.set_power(bench.slot, true).expect("sleeps");
        bench.machine.set_power(bench.slot, false).expect("wakes");
        all_arrive(bench, Path::Packet, pending);
        assert_eq!(bench.statistics().resets, 1);
    });
}

#[test]
fn a_rebalance_under_load_loses_nothing() {
    for path in PATHS {
        with_config(x64(), slow(), move |bench| {
            let pending = load(bench, path);
            bench.machine.sleep(30_000);
            bench.machine.stop_device(bench.slot).expect("stops");
            bench.machine.restart(bench.slot).expect("starts again");
            all_arrive(bench, path, pending);
        });
    }
}

#[test]
fn surprise_removal_under_load_ends_every_request() {
    for path in PATHS {
        for wait in [0, 5_000, 25_000, 60_000] {
            with_config(x64(), slow(), move |bench| {
                let pending = load(bench, path);
                bench.machine.sleep(wait);
                let slot = bench.slot;
                bench.machine.unplug_later(slot);
                for pending in pending {
                    let status = pending.wait().0.status.0;
                    let known = [
                        0,
                        status::CANCELLED,
                        status::DEVICE_REMOVED,
                        status::INVALID_DEVICE_STATE,
                        status::IO_DEVICE_ERROR,
                    ];
                    assert!(known.contains(&status), "{path} after {wait}: {status:#x}");
                }
                bench.machine.sleep(1_000_000_000);
                assert_eq!(interface(bench.machine), None, "its interface is gone");
            });
        }
    }
}

#[test]
fn two_devices_do_not_disturb_each_other() {
    with_exerciser(x64(), |bench| {
        let other = bench.machine.plug(Box::new(Exerciser::default())).expect("starts");
        round_trip(bench, Path::ScatterGather, 0, 100_000, 1);
        bench.machine.remove(other).expect("nobody holds it open");
        round_trip(bench, Path::Packet, 0, 100_000, 2);
    });
}
