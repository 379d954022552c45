//! Cancelling requests, in flight as well: the command is aborted, and its request ends once.

use std::sync::Arc;

use dmaproof_protocol::{Direction, Path, status};
use nthost::Machine;

use super::{PATHS, card, model, round_trip, slow, with_config};
use crate::common::{Bench, bytes, open, x64};

const LENGTH: usize = 9000;

fn crossings(path: Path, direction: Direction) -> u64 {
    with_config(x64(), slow(), move |bench| {
        let before = bench.machine.events();
        let mut data = bytes(1, LENGTH);
        bench.transfer(path, direction, 0, &mut data).expect("moves");
        bench.machine.events() - before
    })
}

#[test]
fn at_every_crossing_of_every_path() {
    for path in PATHS {
        for direction in Direction::ALL {
            let direction = *direction;
            let count = crossings(path, direction);
            let (mut completed, mut cancelled) = (0, 0);
            for after in (1..=count).step_by(2) {
                let status = with_config(x64(), slow(), move |bench| {
                    let at = bench.machine.events() + after;
                    let file = Arc::clone(&bench.file);
                    bench.machine.inject(at, move |_: &Machine| file.cancel_all());
                    let pending = bench.submit(path, direction, 0, bytes(2, LENGTH));
                    let (completion, _) = pending.wait();
                    // How many crossings there are depends on where the pages lie: a late one
                    // must not cancel this.
                    let (machine, slot) = (bench.machine, bench.slot);
                    let other = Bench { machine, slot, file: Arc::new(open(machine)) };
                    round_trip(&other, path, 100, 1234, 9);
                    completion.status.0
                });
                match status {
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
fn a_run_in_flight_is_aborted_and_others_are_not() {
    with_config(x64(), slow(), |bench| {
        let others: Vec<_> = (0..8u8)
            .map(|i| {
                let offset = (1 << 21) + u64::from(i) * 4096;
                bench.submit(Path::ScatterGather, Direction::ToDevice, offset, bytes(i, 4096))
            })
            .collect();
        let long = bench.submit(Path::ScatterGather, Direction::ToDevice, 0, bytes(7, 1 << 20));
        bench.machine.sleep(60_000);
        let before = bench.machine.now();

        long.cancel();

        assert_eq!(long.wait().0.status.0, status::CANCELLED);
        let waited = bench.machine.now() - before;
        assert!(waited < 100_000, "it took {waited} ns: the device was not stopped");
        for (i, pending) in others.into_iter().enumerate() {
            assert_eq!(pending.wait().0.status.0, 0);
            assert!(card(bench, (1 << 21) + i as u64 * 4096, 4096) == bytes(i as u8, 4096));
        }
        assert_eq!(bench.statistics().aborts, 1);
        assert_eq!(bench.statistics().resets, 0);
        let memory = card(bench, 0, 1 << 20);
        bench.machine.sleep(10_000_000);
        assert!(card(bench, 0, 1 << 20) == memory, "nothing moves after the abort");
    });
}

#[test]
fn all_of_thirty_two_can_be_cancelled() {
    for path in PATHS {
        with_config(x64(), slow(), move |bench| {
            let pending: Vec<_> = (0..32u8)
                .map(|i| {
                    bench.submit(path, Direction::FromDevice, u64::from(i) << 16, vec![0; 40_000])
                })
                .collect();
            bench.machine.sleep(30_000);

            bench.file.cancel_all();

            for pending in pending {
                let status = pending.wait().0.status.0;
                assert!(status == status::CANCELLED || status == 0, "{path}: {status:#x}");
            }
            round_trip(bench, path, 5, 5000, 1);
            assert_eq!(model(bench, |exerciser| exerciser.bus_errors()), 0);
        });
    }
}
