//! The manual's table "What must happen", a test for each row.

use dmaproof_protocol::{Direction, Path, Statistics, status};
use nthost::{Machine, Profile, RuleId};
use testdev::exerciser::FaultKind;
use testdev::model::exerciser::{Exerciser, ExerciserConfig, Fault};

use super::{PATHS, card, model, round_trip, with_config};
use crate::common::{Bench, bytes, open, shut_down, x64};

const LENGTH: usize = 9000;

/// What became of one transfer from the device with a fault: its status, whether the data are
/// those of the card, and the driver's counts.
struct Outcome {
    status: i32,
    right: bool,
    statistics: Statistics,
}

/// Runs one transfer from the device with these faults, then a round trip without.
fn with_faults(path: Path, faults: &[Fault], messages: bool) -> Outcome {
    let faults = faults.to_vec();
    let machine = x64().message_interrupts(messages);
    with_config(machine, ExerciserConfig::default(), move |bench| {
        let source = bytes(3, LENGTH);
        bench.transfer(path, Direction::ToDevice, 0, &mut source.clone()).expect("moves");
        inject(bench, &faults);
        let mut data = vec![0x99; LENGTH];
        let done = bench.transfer(path, Direction::FromDevice, 0, &mut data);
        let status = done.map_or_else(|error| error.0, |_| 0);
        let fired = model(bench, |exerciser| exerciser.fired(0));
        assert_ne!(fired, 0, "{path}: {faults:?} never came to it");
        round_trip(bench, path, 100, 1234, 9);
        Outcome { status, right: data == source, statistics: bench.statistics() }
    })
}

fn inject(bench: &Bench, faults: &[Fault]) {
    for (slot, fault) in faults.iter().enumerate() {
        model(bench, |exerciser| exerciser.inject(slot, Some(*fault)));
    }
}

/// Every path, with messages and with a line.
fn everywhere(faults: &[Fault], check: impl Fn(&Outcome, &str)) {
    for path in PATHS {
        for messages in [true, false] {
            let outcome = with_faults(path, faults, messages);
            check(&outcome, &format!("{path}, messages {messages}, {faults:?}"));
        }
    }
}

/// It succeeds, and the data are right.
fn harmless(outcome: &Outcome, what: &str) {
    assert_eq!(outcome.status, 0, "{what}");
    assert!(outcome.right, "{what}: data differ");
    assert_eq!(outcome.statistics.errors + outcome.statistics.timed_out, 0, "{what}");
}

#[test]
fn short_transfer_fails() {
    everywhere(&[Fault::new(FaultKind::ShortTransfer, 1)], |outcome, what| {
        assert_eq!(outcome.status, status::DEVICE_DATA_ERROR, "{what}");
        assert_eq!(outcome.statistics.errors, 1, "{what}");
    });
}

#[test]
fn corrupt_byte_and_wrong_offset_show_in_the_data() {
    for kind in [FaultKind::CorruptByte, FaultKind::WrongOffset] {
        everywhere(&[Fault::new(kind, 17)], |outcome, what| {
            assert_eq!(outcome.status, 0, "{what}: the driver cannot know");
            assert!(!outcome.right, "{what}: the data look right");
        });
    }
}

#[test]
fn lost_interrupt_is_found_by_the_watchdog() {
    everywhere(&[Fault::new(FaultKind::LostInterrupt, 0)], |outcome, what| {
        harmless(outcome, what);
        assert_eq!(outcome.statistics.interrupts_lost, 1, "{what}");
    });
}

#[test]
fn early_interrupt_counts_as_spurious_and_lost() {
    everywhere(&[Fault::new(FaultKind::EarlyInterrupt, 10_000)], |outcome, what| {
        harmless(outcome, what);
        assert_eq!(outcome.statistics.interrupts_lost, 1, "{what}");
        assert!(outcome.statistics.interrupts_spurious >= 1, "{what}");
    });
}

#[test]
fn duplicate_and_spurious_interrupts_are_counted() {
    for kind in [FaultKind::DuplicateInterrupt, FaultKind::SpuriousInterrupt] {
        everywhere(&[Fault::new(kind, 3_000)], |outcome, what| {
            harmless(outcome, what);
            assert!(outcome.statistics.interrupts_spurious >= 1, "{what}");
        });
    }
}

#[test]
fn late_interrupt_and_wrong_vector_change_nothing() {
    everywhere(&[Fault::new(FaultKind::LateInterrupt, 3_000)], harmless);
    for vector in 0..5 {
        everywhere(&[Fault::new(FaultKind::WrongVector, vector)], |outcome, what| {
            harmless(outcome, what);
            assert_eq!(outcome.statistics.interrupts_lost, 0, "{what}");
        });
    }
}

#[test]
fn duplicate_completion_completes_once() {
    everywhere(&[Fault::new(FaultKind::DuplicateCompletion, 0)], |outcome, what| {
        harmless(outcome, what);
        assert_eq!(outcome.statistics.completions_unknown, 1, "{what}");
    });
}

#[test]
fn failed_command_fails_the_request() {
    everywhere(&[Fault::new(FaultKind::FailedCommand, 0)], |outcome, what| {
        assert_eq!(outcome.status, status::IO_DEVICE_ERROR, "{what}");
    });
}

#[test]
fn stall_times_out_after_an_abort() {
    everywhere(&[Fault::new(FaultKind::Stall, 0)], |outcome, what| {
        assert_eq!(outcome.status, status::IO_TIMEOUT, "{what}");
        let Statistics { timed_out, aborts, resets, .. } = outcome.statistics;
        assert_eq!((timed_out, aborts, resets), (1, 1, 0), "{what}");
    });
}

#[test]
fn ignored_abort_times_out_after_a_reset() {
    let faults = [Fault::new(FaultKind::Stall, 0), Fault::new(FaultKind::IgnoredAbort, 0)];
    everywhere(&faults, |outcome, what| {
        assert_eq!(outcome.status, status::IO_TIMEOUT, "{what}");
        let Statistics { timed_out, resets, .. } = outcome.statistics;
        assert_eq!((timed_out, resets), (1, 1), "{what}");
    });
}

/// A reset loses nobody else's request, and nobody else's status.
#[test]
fn others_succeed_whatever_is_aborted_or_reset() {
    for faults in [
        vec![Fault::new(FaultKind::Stall, 0).after(5)],
        vec![
            Fault::new(FaultKind::Stall, 0).after(5),
            Fault::new(FaultKind::IgnoredAbort, 0).after(5),
        ],
    ] {
        for path in PATHS {
            let faults = faults.clone();
            with_config(x64(), ExerciserConfig::default(), move |bench| {
                inject(bench, &faults);
                let pending: Vec<_> = (0..24u8)
                    .map(|i| {
                        let offset = u64::from(i) << 16;
                        bench.submit(path, Direction::ToDevice, offset, bytes(i, LENGTH))
                    })
                    .collect();
                let mut late = 0;
                for (i, pending) in pending.into_iter().enumerate() {
                    match pending.wait().0.status.0 {
                        0 => {
                            let arrived = card(bench, (i as u64) << 16, LENGTH);
                            assert!(arrived == bytes(i as u8, LENGTH), "{path}: request {i}");
                        }
                        status::IO_TIMEOUT => late += 1,
                        other => panic!("{path}: request {i}: {other:#x}"),
                    }
                }
                // All are in one queue, and those behind it have only waited for it.
                assert_eq!(late, 1, "{path}");
                round_trip(bench, path, 1, 5000, 2);
            });
        }
    }
}

/// DESIGN: "device never stopped" is an end of its own.
#[test]
fn a_device_that_ignores_abort_and_reset_never_stopped() {
    for path in PATHS {
        let machine = x64().build();
        let handle = machine.clone();
        let result = machine.run(move |m| {
            m.load("dmaproof", dmaproof_driver::driver_entry).expect("loads");
            let slot = m.plug(Box::new(Exerciser::default())).expect("starts");
            let bench = Bench { machine: m, slot, file: open(m).into() };
            let kinds = [FaultKind::Stall, FaultKind::IgnoredAbort, FaultKind::IgnoredReset];
            let faults = kinds.map(|kind| Fault::new(kind, 0).times(u32::MAX));
            inject(&bench, &faults);
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
}

/// What the machine reports about a device that strays.
fn stray(profile: Profile, fault: Fault) -> RuleId {
    let machine = Machine::builder(profile).build();
    let stopped = machine
        .run(move |m| {
            m.load("dmaproof", dmaproof_driver::driver_entry).expect("loads");
            let slot = m.plug(Box::new(Exerciser::default())).expect("starts");
            let bench = Bench { machine: m, slot, file: open(m).into() };
            inject(&bench, &[fault]);
            let mut data = vec![0x99; 5000];
            let _ = bench.transfer(Path::Packet, Direction::FromDevice, 0, &mut data);
            m.sleep(1_000_000_000);
        })
        .expect_err("the stray access is noticed");
    stopped.report.rule
}

#[test]
fn bad_address_is_reported_where_it_strays() {
    for (profile, expected) in [(Profile::X64, RuleId::Sim02), (Profile::X64Dmar, RuleId::Dma114)] {
        for further in [0x4000_0000, 1 << 52] {
            let rule = stray(profile, Fault::new(FaultKind::BadAddress, further));
            assert_eq!(rule, expected, "{profile:?}, {further:#x} further");
        }
    }
}

#[test]
fn completion_before_data_hits_memory_that_is_no_longer_mapped() {
    for profile in [Profile::X64, Profile::X64Dmar] {
        let rule = stray(profile, Fault::new(FaultKind::CompletionBeforeData, 500_000));
        let known = [RuleId::Dma57, RuleId::Sim02, RuleId::Dma114];
        assert!(known.contains(&rule), "{profile:?}: {rule}");
    }
}
