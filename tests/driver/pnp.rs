//! Removal, surprise removal, rebalance and power, idle and under load.

use dmaproof_protocol::{Direction, status};

use crate::common::{PATHS, bytes, interface, open, with_driver, x64};

#[test]
fn the_device_can_be_removed_and_plugged_in_again() {
    with_driver(x64(), |bench| {
        let slot = bench
            .machine
            .plug(Box::new(testdev::model::edu::Edu::default()))
            .expect("a second device starts");
        bench.machine.remove(slot).expect("nobody holds it open");
        bench.works();
    });
}

#[test]
fn removal_with_an_open_handle_is_vetoed() {
    with_driver(x64(), |bench| {
        assert!(bench.machine.query_remove(bench.slot).is_err(), "a handle is open");
        bench.machine.cancel_remove(bench.slot).expect("the removal was only asked for");
        bench.works();
    });
}

#[test]
fn surprise_removal_at_every_crossing() {
    for path in PATHS {
        for direction in Direction::ALL {
            let direction = *direction;
            let crossings = crate::cancel::crossings(path, direction);
            for after in (1..=crossings).step_by(3) {
                with_driver(x64(), move |bench| {
                    let slot = bench.slot;
                    let at = bench.machine.events() + after;
                    bench.machine.inject(at, move |m| m.unplug_later(slot));
                    let pending = bench.submit(path, direction, 0, bytes(3, 2500));
                    let (completion, _) = pending.wait();
                    let status = completion.status.0;
                    let known = [
                        0,
                        status::CANCELLED,
                        status::DEVICE_REMOVED,
                        status::INVALID_DEVICE_STATE,
                        status::IO_DEVICE_ERROR,
                    ];
                    assert!(known.contains(&status), "{path} {direction} {after}: {status:#x}");
                    bench.machine.sleep(1_000_000_000);
                    let mut data = [0; 16];
                    let late = bench.transfer(path, direction, 0, &mut data);
                    assert!(late.is_err(), "a removed device moves nothing");
                    assert_eq!(interface(bench.machine), None, "its interface is gone");
                });
            }
        }
    }
}

#[test]
fn requests_wait_while_the_device_sleeps() {
    with_driver(x64(), |bench| {
        bench.machine.set_power(bench.slot, true).expect("sleeps");
        let pending: Vec<_> = PATHS
            .iter()
            .map(|&path| bench.submit(path, Direction::ToDevice, 0, bytes(4, 100)))
            .collect();
        bench.machine.sleep(1_000_000_000);
        assert!(pending.iter().all(|p| !p.is_done()), "nothing moves in D3");
        bench.machine.set_power(bench.slot, false).expect("wakes");
        for pending in pending {
            assert_eq!(pending.wait().0.status.0, 0);
        }
        bench.works();
    });
}

#[test]
fn sleep_under_load_loses_nothing() {
    for path in PATHS {
        with_driver(x64(), move |bench| {
            let pending: Vec<_> = (0..12u8)
                .map(|i| bench.submit(path, Direction::ToDevice, u64::from(i) * 300, bytes(i, 300)))
                .collect();
            bench.machine.set_power(bench.slot, true).expect("sleeps");
            bench.machine.set_power(bench.slot, false).expect("wakes");
            for (i, pending) in pending.into_iter().enumerate() {
                assert_eq!(pending.wait().0.status.0, 0, "{path}: request {i}");
            }
            let memory = bench.device_memory();
            for i in 0..12usize {
                assert_eq!(memory[i * 300..][..300], bytes(i as u8, 300), "{path}: request {i}");
            }
        });
    }
}

#[test]
fn a_rebalance_keeps_the_handle_and_the_data_path() {
    with_driver(x64(), |bench| {
        bench.machine.stop_device(bench.slot).expect("stops");
        bench.machine.restart(bench.slot).expect("starts again");
        bench.works();
        let _second = open(bench.machine);
    });
}

#[test]
fn the_driver_works_without_version_3() {
    with_driver(x64().adapter_versions(2), |bench| {
        let reply = bench.query();
        assert_eq!(reply.adapter_v3.present, 0);
        assert!(!reply.paths.contains(dmaproof_protocol::Path::Version3));
        assert!(!reply.paths.contains(dmaproof_protocol::Path::CommonBufferUncached));
        bench.works();
    });
}
