//! System DMA with the real driver: the slave device on machines with a DMA controller.

use dmaproof_protocol::{DeviceKind, Direction, Path, status};
use dmaproof_tests::ways::{self, Run};
use nthost::{Builder, Machine, Profile, RuleId, Scheduling, Stopped, SystemDma};
use proptest::prelude::*;
use testdev::model::slave::{Slave, SlaveConfig, SlaveFaults};
use wdk_lite::STATUS_CONFLICTING_ADDRESSES;

use crate::common::{Bench, bytes, interface, open, shut_down, with_device, x64};

const PATH: Path = Path::SystemDma;
/// Bytes of the device.
const MEMORY: usize = 16 << 10;

fn controller() -> Builder {
    x64().system_dma(Some(SystemDma::default()))
}

fn with_slave<T: Send + 'static>(
    builder: Builder,
    faults: SlaveFaults,
    body: impl Fn(&Bench) -> T + Send + Sync + 'static,
) -> T {
    let config = SlaveConfig { faults, ..SlaveConfig::default() };
    with_device(builder, move || Box::new(Slave::new(config)), body)
}

fn healthy<T: Send + 'static>(
    builder: Builder,
    body: impl Fn(&Bench) -> T + Send + Sync + 'static,
) -> T {
    with_slave(builder, SlaveFaults::default(), body)
}

fn memory(bench: &Bench) -> Vec<u8> {
    let look = |slave: &mut Slave| slave.memory().to_vec();
    bench.machine.device_model(bench.slot, look).expect("it is the slave device")
}

fn works(bench: &Bench) {
    bench.round_trip(PATH, 100, 1234, 0x77);
}

#[test]
fn every_size_and_end_of_the_device() {
    for profile in Profile::ALL {
        let builder = Machine::builder(profile).system_dma(Some(SystemDma::default()));
        healthy(builder, |bench| {
            let reply = bench.query();
            assert_eq!(reply.device_kind, DeviceKind::Slave.code());
            assert_eq!(reply.paths.iter().collect::<Vec<_>>(), [PATH]);
            assert_eq!((reply.pci_vendor, reply.pci_device), (0, 0));
            for length in [1, 15, 16, 17, 4095, 4096, 4097, 8191, 8192, 8193, MEMORY] {
                bench.round_trip(PATH, 0, length, 1);
                bench.round_trip(PATH, (MEMORY - length) as u64, length, 2);
            }
            let statistics = bench.statistics();
            assert_eq!(statistics.pieces_mapped, statistics.pieces_flushed);
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn data_survives_any_chunk_and_few_registers(
        chunk in 1usize..=64, registers in 1u32..5, seed in any::<u64>(),
        offset in 0u64..6000, length in 1usize..10_000,
    ) {
        let dma = SystemDma { chunk, interrupts: false };
        let builder = Machine::builder(Profile::X64).system_dma(Some(dma));
        healthy(builder.map_registers(Some(registers)).seed(seed), move |bench| {
            bench.round_trip(PATH, offset, length, seed as u8);
        });
    }
}

#[test]
fn mdl_chains_go_piece_by_piece() {
    healthy(controller(), |bench| {
        let parts = vec![bytes(1, 100), bytes(2, 1), bytes(3, 5000)];
        let all: Vec<u8> = parts.concat();
        let sent = bench.submit_chain(PATH, Direction::ToDevice, 50, parts).wait().0;
        assert_eq!((sent.status.0, sent.information), (0, all.len()));
        assert_eq!(memory(bench)[50..50 + all.len()], all[..]);
    });
}

#[test]
fn a_system_before_windows_8_describes_the_channel_in_the_older_way() {
    healthy(controller().adapter_versions(2), works);
}

#[test]
fn without_a_controller_the_device_does_not_start() {
    ways::each(crate::WAYS, |run| {
        let machine = run.machine(x64());
        let (handle, run) = (machine.clone(), run.clone());
        let result = machine.run(move |m| {
            run.load(m);
            let plugged = m.plug(Box::new(Slave::default()));
            assert_eq!(plugged.map_err(|error| error.0), Err(STATUS_CONFLICTING_ADDRESSES));
            assert_eq!(interface(m), None);
        });
        result.unwrap_or_else(|stopped| panic!("{stopped}"));
        shut_down(&handle).unwrap_or_else(|stopped| panic!("{stopped}"));
    });
}

#[test]
fn other_paths_are_refused() {
    healthy(controller(), |bench| {
        for &path in Path::ALL.iter().filter(|&&path| path != PATH) {
            let refused = bench.transfer(path, Direction::ToDevice, 0, &mut [0; 16]);
            let error = refused.expect_err("edu's paths are not the slave device's").0;
            assert_eq!(error, status::DEVICE_FEATURE_NOT_SUPPORTED, "{path}");
        }
        works(bench);
    });
}

#[test]
fn many_requests_take_turns() {
    for scheduling in [Scheduling::Straight, Scheduling::Threads { processors: 2 }] {
        healthy(controller().scheduling(scheduling), |bench| {
            let pending: Vec<_> = (0..20u8)
                .map(|i| bench.submit(PATH, Direction::ToDevice, u64::from(i) * 700, bytes(i, 700)))
                .collect();
            for pending in pending {
                assert_eq!(pending.wait().0.status.0, 0);
            }
            let memory = memory(bench);
            for i in 0..20 {
                assert_eq!(memory[i * 700..][..700], bytes(i as u8, 700));
            }
        });
    }
}

/// A request of 1000 bytes: for which part of the device, which way, when it is cancelled.
type Plan = (Direction, Option<u64>);

/// Sixteen requests at a time, cancelled and put to sleep at any moment: each ends once, and what
/// was not cancelled is whole.
fn storm(scheduling: Scheduling, seed: u64, plans: &[Plan], sleep: u64) {
    let plans = plans.to_vec();
    healthy(controller().scheduling(scheduling).seed(seed), move |bench| {
        let fill = bytes(9, MEMORY);
        let device = fill.clone();
        let set = move |slave: &mut Slave| slave.memory_mut().copy_from_slice(&device);
        bench.machine.device_model(bench.slot, set).expect("it is the slave device");
        let submit = |(number, &(direction, _)): (usize, &Plan)| {
            bench.submit(PATH, direction, number as u64 * 1000, bytes(number as u8, 1000))
        };
        let pending: Vec<_> = plans.iter().enumerate().map(submit).collect();
        for (pending, (_, cancel)) in pending.iter().zip(&plans) {
            if let Some(nanoseconds) = *cancel {
                bench.machine.sleep(nanoseconds);
                pending.cancel();
            }
        }
        bench.machine.sleep(sleep);
        bench.machine.set_power(bench.slot, true).expect("sleeps");
        bench.machine.set_power(bench.slot, false).expect("wakes");
        for (number, (pending, (direction, cancel))) in pending.into_iter().zip(&plans).enumerate()
        {
            let (completion, request) = pending.wait();
            let status = completion.status.0;
            assert!(status == 0 || status == status::CANCELLED && cancel.is_some(), "{status:#x}");
            let range = number * 1000..(number + 1) * 1000;
            match direction {
                _ if status != 0 => {}
                Direction::ToDevice => {
                    assert!(memory(bench)[range] == bytes(number as u8, 1000));
                }
                Direction::FromDevice => assert!(request.buffer()[..] == fill[range]),
            }
        }
        works(bench);
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_storm_of_requests_loses_nothing(
        threads in any::<bool>(),
        seed in any::<u64>(),
        plans in prop::collection::vec(
            (prop::sample::select(Direction::ALL), prop::option::of(0u64..20_000)), 1..16,
        ),
        sleep in 0u64..200_000,
    ) {
        let scheduling =
            if threads { Scheduling::Threads { processors: 3 } } else { Scheduling::Straight };
        storm(scheduling, seed, &plans, sleep);
    }
}

fn crossings(direction: Direction) -> u64 {
    healthy(controller(), move |bench| {
        let before = bench.machine.events();
        bench.transfer(PATH, direction, 0, &mut bytes(1, 9000)).expect("moves");
        bench.machine.events() - before
    })
}

#[test]
fn cancel_at_every_crossing() {
    for &direction in Direction::ALL {
        let (mut completed, mut cancelled) = (0, 0);
        for after in 1..=crossings(direction) {
            let status = healthy(controller(), move |bench| {
                let status = bench.cancelled_after(PATH, direction, bytes(2, 9000), after);
                works(bench);
                status
            });
            match status {
                0 => completed += 1,
                status::CANCELLED => cancelled += 1,
                other => panic!("{direction}: cancelled after {after}: {other:#x}"),
            }
        }
        assert!(cancelled > 0 && completed > 0, "{direction}: {cancelled} {completed}");
    }
}

#[test]
fn surprise_removal_at_every_crossing() {
    for &direction in Direction::ALL {
        for after in (1..=crossings(direction)).step_by(2) {
            healthy(controller(), move |bench| {
                let (slot, at) = (bench.slot, bench.machine.events() + after);
                bench.machine.inject(at, move |m| m.unplug_later(slot));
                let status = bench.submit(PATH, direction, 0, bytes(3, 9000)).wait().0.status.0;
                let known = [
                    0,
                    status::CANCELLED,
                    status::DEVICE_REMOVED,
                    status::INVALID_DEVICE_STATE,
                    status::IO_DEVICE_ERROR,
                ];
                assert!(known.contains(&status), "{direction} {after}: {status:#x}");
                bench.machine.sleep(1_000_000_000);
                let late = bench.transfer(PATH, direction, 0, &mut [0; 16]);
                assert!(late.is_err(), "a removed device moves nothing");
            });
        }
    }
}

#[test]
fn a_suspended_transfer_goes_on_where_it_stopped() {
    for &direction in Direction::ALL {
        // The device needs 141 microseconds; the sleep begins in the middle of it.
        for microseconds in (1..140).step_by(7) {
            healthy(controller(), move |bench| {
                let data = bytes(5, 9000);
                let fill = bytes(6, 9000);
                let device = fill.clone();
                let set =
                    move |slave: &mut Slave| slave.memory_mut()[..9000].copy_from_slice(&device);
                bench.machine.device_model(bench.slot, set).expect("it is the slave device");
                let pending = bench.submit(PATH, direction, 0, data.clone());
                bench.machine.sleep(microseconds * 1000);
                bench.machine.set_power(bench.slot, true).expect("sleeps");
                bench.machine.set_power(bench.slot, false).expect("wakes");
                let (completion, request) = pending.wait();
                assert_eq!(completion.status.0, 0, "{direction} {microseconds}");
                match direction {
                    Direction::ToDevice => assert!(memory(bench)[..9000] == data[..]),
                    Direction::FromDevice => assert!(request.buffer()[..] == fill[..]),
                }
            });
        }
    }
}

#[test]
fn a_rebalance_keeps_the_data_path() {
    healthy(controller(), |bench| {
        bench.machine.stop_device(bench.slot).expect("stops");
        bench.machine.restart(bench.slot).expect("starts again");
        works(bench);
        let _second = open(bench.machine);
    });
}

#[test]
fn a_device_that_hangs_is_stopped_and_works_again() {
    let faults = SlaveFaults { hang_at: Some(1), ..SlaveFaults::default() };
    with_slave(controller(), faults, |bench| {
        let done = bench.transfer(PATH, Direction::FromDevice, 0, &mut bytes(1, 500));
        assert_eq!(done.map_err(|error| error.0), Err(status::IO_TIMEOUT));
        works(bench);
        assert_eq!(bench.statistics().timed_out, 1);
    });
}

#[test]
fn a_lost_interrupt_is_found_by_the_watchdog() {
    let faults = SlaveFaults { lost_interrupt_at: Some(1), ..SlaveFaults::default() };
    with_slave(controller(), faults, |bench| {
        let done = bench.transfer(PATH, Direction::ToDevice, 0, &mut bytes(1, 500));
        assert_eq!(done, Ok(500));
        works(bench);
    });
}

#[test]
fn a_short_transfer_fails_the_request() {
    for &direction in Direction::ALL {
        for short in [0, 1, 15, 16, 499] {
            let faults = SlaveFaults { short_at: Some((1, short)), ..SlaveFaults::default() };
            with_slave(controller(), faults, move |bench| {
                let done = bench.transfer(PATH, direction, 0, &mut bytes(1, 500));
                assert_eq!(done.map_err(|error| error.0), Err(status::IO_DEVICE_ERROR), "{short}");
                works(bench);
            });
        }
    }
}

#[test]
fn a_flush_that_fails_fails_the_request() {
    for &direction in Direction::ALL {
        healthy(controller().fail_flush(1), move |bench| {
            let done = bench.transfer(PATH, direction, 0, &mut bytes(1, 500));
            assert_eq!(done.map_err(|error| error.0), Err(status::DEVICE_DATA_ERROR));
            works(bench);
            assert_eq!(bench.statistics().flush_failures, 1);
        });
    }
}

/// Runs transfers with `function` left out.
fn without(run: &Run, function: &'static str) -> (Machine, Result<(), Stopped>) {
    let machine = run.machine(controller().leave_out(function));
    let (handle, run) = (machine.clone(), run.clone());
    let result = machine.run(move |m| {
        run.load(m);
        let slot = m.plug(Box::new(Slave::default())).expect("starts");
        let bench = Bench { machine: m, slot, file: open(m).into() };
        for direction in Direction::ALL {
            let _ = bench.transfer(PATH, *direction, 0, &mut bytes(1, 600));
        }
    });
    let result = result.and_then(|()| shut_down(&handle));
    (handle, result)
}

#[test]
fn each_call_that_is_left_out_is_named() {
    ways::each(crate::WAYS, |run| {
        let expected: [(&str, &[RuleId]); 3] = [
            ("FlushAdapterBuffers", &[RuleId::Dma43, RuleId::Dma54, RuleId::Dma107]),
            ("FreeAdapterChannel", &[RuleId::Dma18, RuleId::Dma17, RuleId::Dma44]),
            ("PutDmaAdapter", &[RuleId::Dma18, RuleId::Dma20]),
        ];
        for (function, rules) in expected {
            let stopped = without(run, function).1.expect_err(function);
            assert!(rules.contains(&stopped.report.rule), "without {function}: {stopped}");
        }
        let (machine, result) = without(run, "KeFlushIoBuffers");
        result.unwrap_or_else(|stopped| panic!("{stopped}"));
        let noted: Vec<_> = machine.notes().iter().map(|note| note.rule).collect();
        assert!(!noted.is_empty() && noted.iter().all(|&rule| rule == RuleId::Dma85), "{noted:?}");
    });
}

/// As the documents say of a slave: without the flush the bytes that fill no chunk do not arrive.
#[test]
fn without_the_flush_the_end_of_a_transfer_is_lost() {
    let machine =
        Machine::builder(Profile::Nt).go_on(true).leave_out("FlushAdapterBuffers").build();
    let handle = machine.clone();
    let result = machine.run(|m| {
        m.load("dmaproof", dmaproof_driver::driver_entry).expect("loads");
        let slot = m.plug(Box::new(Slave::default())).expect("starts");
        let bench = Bench { machine: m, slot, file: open(m).into() };
        let mut data = bytes(1, 600);
        // The device says how many bytes it got, so this does not go unnoticed.
        bench.transfer(PATH, Direction::ToDevice, 0, &mut data).expect_err("bytes are missing");
        let device = memory(&bench);
        let mut back = bytes(2, 600);
        bench.transfer(PATH, Direction::FromDevice, 0, &mut back).expect("it says so");
        (data, device, back)
    });
    let (data, device, back) = result.unwrap_or_else(|stopped| panic!("{stopped}"));
    // 37 chunks of 16 bytes, and 8 bytes.
    assert!(device[..592] == data[..592] && device[592..600] == [0; 8]);
    // Lines that are not the caller's alone are bounced: they are lost as well.
    assert!(back[64..512] == device[64..512] && back[592..] == bytes(2, 600)[592..]);
    let named = handle.notes().iter().any(|note| note.rule == RuleId::Dma43);
    assert!(named, "{:?}", handle.notes());
}
