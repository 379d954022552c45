//! Cancellation at every step: at each crossing between driver and host, one run.

use dmaproof_protocol::{Direction, Path, status};

use crate::common::{PATHS, bytes, with_driver, x64};

/// Crossings from the start of a transfer to its end.
pub fn crossings(path: Path, direction: Direction) -> u64 {
    with_driver(x64(), move |bench| {
        let before = bench.machine.events();
        let mut data = bytes(1, 3000);
        bench.transfer(path, direction, 0, &mut data).expect("moves");
        bench.machine.events() - before
    })
}

/// Cancels a transfer `after` crossings; returns how it ended.
fn cancelled_after(path: Path, direction: Direction, after: u64) -> i32 {
    with_driver(x64(), move |bench| {
        let status = bench.cancelled_after(path, direction, bytes(2, 3000), after);
        bench.works();
        status
    })
}

#[test]
fn cancel_at_every_crossing_of_every_path() {
    for path in PATHS {
        for direction in Direction::ALL {
            let count = crossings(path, *direction);
            let (mut completed, mut cancelled) = (0, 0);
            for after in 1..=count {
                match cancelled_after(path, *direction, after) {
                    0 => completed += 1,
                    status::CANCELLED => cancelled += 1,
                    other => panic!("{path} {direction}: cancelled after {after}: {other:#x}"),
                }
            }
            assert!(cancelled > 0, "{path} {direction}: no cancel ever took effect");
            assert!(completed > 0, "{path} {direction}: cancel cannot win after the end");
        }
    }
}

#[test]
fn cancelling_waiting_requests_leaves_the_running_one_alone() {
    with_driver(x64(), |bench| {
        for path in PATHS {
            let first = bench.submit(path, Direction::ToDevice, 0, bytes(1, 1000));
            let others: Vec<_> = (0..20)
                .map(|i| bench.submit(path, Direction::ToDevice, 1000, bytes(i, 500)))
                .collect();
            for pending in &others {
                pending.cancel();
            }
            assert_eq!(first.wait().0.status.0, 0, "{path}: the running request completes");
            for pending in others {
                assert_eq!(pending.wait().0.status.0, status::CANCELLED, "{path}");
            }
            assert_eq!(bench.device_memory()[..1000], bytes(1, 1000));
        }
        bench.works();
    });
}

/// CancelAdapterChannel decides: while the first transfer has all registers, the second one's
/// allocation waits and is withdrawn, so that its request need not wait for it (DMA-68).
#[test]
fn a_version_3_allocation_that_waits_is_withdrawn_at_once() {
    for seed in 0..8 {
        with_driver(x64().map_registers(Some(1)).seed(seed), |bench| {
            let path = Path::Version3;
            let first = bench.submit(path, Direction::ToDevice, 0, bytes(1, 3000));
            bench.machine.sleep(1_000_000);
            let second = bench.submit(path, Direction::ToDevice, 3000, bytes(2, 900));
            bench.machine.sleep(1_000_000);
            assert!(!first.is_done() && !second.is_done(), "edu needs 100 ms");
            second.cancel();
            assert!(second.is_done(), "the first transfer still has the registers");
            assert_eq!(second.wait().0.status.0, status::CANCELLED);
            assert_eq!(first.wait().0.status.0, 0);
            assert_eq!(bench.device_memory()[..3000], bytes(1, 3000));
            bench.works();
        });
    }
}

#[test]
fn closing_the_handle_cancels_its_requests() {
    with_driver(x64(), |bench| {
        for path in PATHS {
            let file = crate::common::open(bench.machine);
            let header = dmaproof_protocol::TransferHeader::new(path, 0, 2000);
            let input = zerocopy::IntoBytes::as_bytes(&header).to_vec();
            let code = crate::common::code(Direction::FromDevice);
            let pending: Vec<_> = (0..5)
                .map(|_| file.submit(nthost::Request::ioctl(code, input.clone(), vec![0; 2000])))
                .collect();
            file.close();
            for pending in pending {
                let status = pending.wait().0.status.0;
                assert!(status == 0 || status == status::CANCELLED, "{path}: {status:#x}");
            }
        }
        bench.works();
    });
}
