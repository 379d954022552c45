//! Devices that hang, lie, vanish or stray.

use dmaproof_protocol::{Direction, Path, status};
use dmaproof_tests::ways;
use nthost::{Machine, Profile, RuleId};
use testdev::model::edu::{Edu, EduFaults};

use crate::common::{Bench, PATHS, bytes, faulty, open, shut_down, with_edu, x64};

#[test]
fn a_lost_interrupt_is_recovered_or_times_out() {
    for path in PATHS {
        let faults = EduFaults { lost_interrupt_at: Some(1), ..EduFaults::default() };
        with_edu(x64(), faulty(faults), move |bench| {
            let mut data = bytes(1, 500);
            let done = bench.transfer(path, Direction::ToDevice, 0, &mut data);
            assert!(done == Ok(500) || done.map_err(|s| s.0) == Err(status::IO_TIMEOUT), "{path}");
            bench.works();
        });
    }
}

#[test]
fn spurious_interrupts_change_nothing() {
    for messages in [true, false] {
        let faults = EduFaults { spurious_interrupts: true, ..EduFaults::default() };
        with_edu(x64().message_interrupts(messages), faulty(faults), |bench| {
            for path in PATHS {
                bench.round_trip(path, 0, 1000, 3);
            }
        });
    }
}

#[test]
fn a_device_that_is_late_fails_the_request_but_not_the_driver() {
    for path in PATHS {
        let faults = EduFaults {
            hang_at: Some(1),
            hang_duration_ns: Some(600_000_000),
            ..EduFaults::default()
        };
        with_edu(x64(), faulty(faults), move |bench| {
            let mut data = bytes(1, 500);
            let done = bench.transfer(path, Direction::FromDevice, 0, &mut data);
            assert_eq!(done.map_err(|s| s.0), Err(status::IO_TIMEOUT), "{path}");
            bench.works();
            assert_eq!(bench.statistics().timed_out, 1);
        });
    }
}

#[test]
fn registers_of_all_ones_mean_the_device_is_gone() {
    for path in PATHS {
        for at in [20, 25, 30, 40] {
            let faults = EduFaults { all_ones_at: Some(at), ..EduFaults::default() };
            with_edu(x64(), faulty(faults), move |bench| {
                for _ in 0..6 {
                    let mut data = bytes(1, 500);
                    match bench.transfer(path, Direction::ToDevice, 0, &mut data) {
                        Ok(500) => {}
                        Ok(other) => panic!("{other} bytes"),
                        Err(error) => assert!(
                            [
                                status::IO_TIMEOUT,
                                status::IO_DEVICE_ERROR,
                                status::DEVICE_REMOVED,
                                status::INVALID_DEVICE_STATE
                            ]
                            .contains(&error.0),
                            "{path} at {at}: {error}"
                        ),
                    }
                }
            });
        }
    }
}

#[test]
fn garbage_registers_never_break_a_rule() {
    ways::each(crate::WAYS, |run| {
        for seed in 0..20 {
            for at in [5, 15, 22, 30] {
                let faults =
                    EduFaults { garbage_at: Some(at), garbage_seed: seed, ..EduFaults::default() };
                let machine = run.machine(x64().seed(seed));
                let run = run.clone();
                let result = machine.run(move |m| {
                    run.load(m);
                    let Ok(slot) = m.plug(Box::new(Edu::new(faulty(faults)))) else { return };
                    let bench = Bench { machine: m, slot, file: open(m).into() };
                    for path in PATHS {
                        let pending = bench.submit(path, Direction::FromDevice, 0, vec![0; 400]);
                        let _ = pending.wait_at_most(5_000_000_000);
                    }
                });
                assert!(result.is_ok(), "seed {seed} at {at}: {}", result.unwrap_err());
            }
        }
    });
}

/// DESIGN: "device never stopped" is an end of its own: request, mapping, map registers, adapter
/// and common buffers are abandoned, never completed, freed or put.
#[test]
fn a_device_that_never_stops_is_an_outcome_of_its_own() {
    ways::each(crate::WAYS, |run| {
        for path in PATHS {
            let machine = run.machine(x64());
            let faults = EduFaults { hang_at: Some(1), ..EduFaults::default() };
            let (handle, run) = (machine.clone(), run.clone());
            let result = machine.run(move |m| {
                run.load(m);
                let slot = m.plug(Box::new(Edu::new(faulty(faults)))).expect("starts");
                let bench = Bench { machine: m, slot, file: open(m).into() };
                let pending = bench.submit(path, Direction::FromDevice, 0, vec![0; 400]);
                let Err(pending) = pending.wait_at_most(10_000_000_000) else {
                    panic!("{path}: a request was completed while the device may still write");
                };
                assert!(!pending.is_done());
            });
            assert!(result.is_ok(), "{path}: {}", result.unwrap_err());
            let end = shut_down(&handle);
            assert!(end.is_ok(), "{path}: {}", end.unwrap_err());
            let outcomes = handle.outcomes();
            assert!(outcomes.iter().any(|o| o.rule == RuleId::Sim05), "{path}: {outcomes:#?}");
        }
    });
}

#[test]
fn a_stray_access_is_reported_as_what_it_is() {
    ways::each(crate::WAYS, |run| {
        for (profile, address) in [
            (Profile::X64Dmar, 0x00F0_0000u64),
            (Profile::X64Dmar, 0x1_2345_0000),
            (Profile::X64, 0x1_0000_0000_u64 + 0x5000),
        ] {
            let machine = run.machine(Machine::builder(profile));
            let faults = EduFaults { stray_write: Some((1, address)), ..EduFaults::default() };
            let run = run.clone();
            let stopped = machine
                .run(move |m| {
                    run.load(m);
                    let slot = m.plug(Box::new(Edu::new(faulty(faults)))).expect("starts");
                    let bench = Bench { machine: m, slot, file: open(m).into() };
                    let mut data = bytes(1, 100);
                    let _ = bench.transfer(Path::Packet, Direction::ToDevice, 0, &mut data);
                    m.sleep(1_000_000_000);
                })
                .expect_err("the stray write is noticed");
            let rule = stopped.report.rule;
            let expected = [RuleId::Sim01, RuleId::Sim02, RuleId::Dma114, RuleId::Dma24];
            assert!(expected.contains(&rule), "{profile:?} {address:#x}: {stopped}");
        }
    });
}

#[test]
fn a_device_that_writes_after_it_said_done_is_caught() {
    ways::each(crate::WAYS, |run| {
        for profile in Profile::ALL {
            let machine = run.machine(Machine::builder(profile));
            let faults = EduFaults {
                late_write_at: Some(1),
                late_write_ns: Some(50_000_000),
                ..EduFaults::default()
            };
            let run = run.clone();
            let stopped = machine
                .run(move |m| {
                    run.load(m);
                    let slot = m.plug(Box::new(Edu::new(faulty(faults)))).expect("starts");
                    let bench = Bench { machine: m, slot, file: open(m).into() };
                    // Whole lines, so that the first command is a mapped piece everywhere.
                    let mut data = nthost::Buffer::at_page_offset(128, 0);
                    let _ = bench.transfer(Path::Packet, Direction::FromDevice, 0, &mut data);
                    m.sleep(1_000_000_000);
                })
                .expect_err("the late write is noticed");
            assert!(stopped.report.to_string().contains("DMA-"), "{stopped}");
        }
    });
}
