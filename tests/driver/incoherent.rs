//! The real driver on machines whose caches are not coherent: intact as it is; with a flush left
//! out, named by rule, and wrong in the data where the machine goes on.

use std::collections::BTreeSet;

use dmaproof_protocol::{Direction, Path};
use nthost::cache::Lost;
use nthost::{Machine, Profile, RuleId};
use testdev::model::edu::Edu;

use crate::common::{Bench, PATHS, bytes, open, shut_down, with_driver};

/// What runs with a call left out showed.
#[derive(Debug, Default)]
struct Seen {
    rules: BTreeSet<RuleId>,
    losses: BTreeSet<&'static str>,
    /// Transfers whose data was wrong.
    wrong: u32,
}

/// Moves data over `path` in `direction` on a machine that goes on, for a number of seeds. What
/// verifies the data is the device's own memory.
fn without(function: &'static str, profile: Profile, path: Path, direction: Direction) -> Seen {
    let mut seen = Seen::default();
    for seed in 1..=20 {
        let builder = Machine::builder(profile).seed(seed);
        let machine = builder.leave_out(function).go_on(true).build();
        let handle = machine.clone();
        let wrong = machine.run(move |m| {
            m.load("dmaproof", dmaproof_driver::driver_entry).expect("loads");
            let slot = m.plug(Box::new(Edu::default())).expect("starts");
            let bench = Bench { machine: m, slot, file: open(m).into() };
            [(0usize, 4032usize), (64, 1024), (128, 64)]
                .into_iter()
                .filter(|&(offset, length)| !moves(&bench, path, direction, offset, length))
                .count()
        });
        let wrong = wrong.unwrap_or_else(|stopped| panic!("seed {seed}: {stopped}"));
        shut_down(&handle).unwrap_or_else(|stopped| panic!("seed {seed}: {stopped}"));
        seen.wrong += u32::try_from(wrong).expect("three transfers");
        seen.rules.extend(handle.notes().iter().map(|note| note.rule));
        seen.losses.extend(handle.cache_losses().iter().map(|loss| loss.how.name()));
    }
    seen
}

/// Whether a transfer moved its data. The buffer has whole lines, so that all of it is mapped.
fn moves(
    bench: &Bench<'_>,
    path: Path,
    direction: Direction,
    offset: usize,
    length: usize,
) -> bool {
    let mut memory = nthost::Buffer::at_page_offset(length, 0);
    match direction {
        Direction::ToDevice => {
            memory.copy_from_slice(&bytes(length as u8, length));
            let sent = memory.to_vec();
            let moved = bench.transfer(path, direction, offset as u64, &mut memory);
            assert_eq!(moved, Ok(length));
            bench.device_memory()[offset..offset + length] == sent[..]
        }
        Direction::FromDevice => {
            let held = bytes(!(length as u8), length);
            // On a path that depends on no flush.
            let (by, to) = (Path::CommonBufferUncached, Direction::ToDevice);
            let prepared = bench.transfer(by, to, offset as u64, &mut held.clone());
            assert_eq!(prepared, Ok(length));
            assert!(bench.device_memory()[offset..offset + length] == held[..]);
            memory.fill(0x11);
            let moved = bench.transfer(path, direction, offset as u64, &mut memory);
            assert_eq!(moved, Ok(length));
            memory[..] == held[..]
        }
    }
}

#[test]
fn the_driver_is_intact_whatever_the_caches_do() {
    for profile in Profile::NOT_COHERENT {
        for seed in 1..=5 {
            with_driver(Machine::builder(profile).seed(seed), |bench| {
                for path in PATHS {
                    for (offset, length) in [(0, 1), (7, 100), (64, 64), (1, 4000), (100, 3000)] {
                        bench.round_trip(path, offset, length, seed_byte(offset, length));
                    }
                }
                assert_eq!(bench.machine.cache_losses(), []);
            });
        }
    }
}

fn seed_byte(offset: u64, length: usize) -> u8 {
    (offset as u8).wrapping_mul(3) ^ length as u8
}

#[test]
fn a_missing_keflushiobuffers_stops_the_machine_by_rule() {
    for (profile, path, rule) in [
        (Profile::Arm64, Path::Packet, RuleId::Dma85),
        (Profile::Arm64, Path::ScatterGather, RuleId::Dma85),
        (Profile::Nt, Path::Packet, RuleId::Dma85),
        (Profile::Nt, Path::ScatterGather, RuleId::Dma85),
        (Profile::Nt, Path::CommonBufferCached, RuleId::Dma90),
    ] {
        for direction in Direction::ALL {
            let machine = Machine::builder(profile).leave_out("KeFlushIoBuffers").build();
            let stopped = machine.run(move |m| {
                m.load("dmaproof", dmaproof_driver::driver_entry).expect("loads");
                let slot = m.plug(Box::new(Edu::default())).expect("starts");
                let bench = Bench { machine: m, slot, file: open(m).into() };
                let mut data = nthost::Buffer::at_page_offset(640, 0);
                data.fill(1);
                let _ = bench.transfer(path, *direction, 0, &mut data);
                m.shut_down();
            });
            let stopped = stopped.expect_err("the flush is missing");
            assert_eq!(stopped.report.rule, rule, "{profile:?} {path} {direction:?}: {stopped}");
        }
    }
}

#[test]
fn a_missing_keflushiobuffers_corrupts_data() {
    use Direction::{FromDevice, ToDevice};
    for (profile, path, direction, rule) in [
        (Profile::Arm64, Path::Packet, ToDevice, RuleId::Dma85),
        (Profile::Arm64, Path::Packet, FromDevice, RuleId::Dma85),
        (Profile::Arm64, Path::ScatterGather, ToDevice, RuleId::Dma85),
        (Profile::Arm64, Path::ScatterGather, FromDevice, RuleId::Dma85),
        (Profile::Nt, Path::Packet, ToDevice, RuleId::Dma85),
        (Profile::Nt, Path::Packet, FromDevice, RuleId::Dma85),
        (Profile::Nt, Path::ScatterGather, ToDevice, RuleId::Dma85),
        (Profile::Nt, Path::ScatterGather, FromDevice, RuleId::Dma85),
        (Profile::Nt, Path::CommonBufferCached, ToDevice, RuleId::Dma90),
        (Profile::Nt, Path::CommonBufferCached, FromDevice, RuleId::Dma90),
    ] {
        let seen = without("KeFlushIoBuffers", profile, path, direction);
        let what = format!("{profile:?} {path} {direction:?}: {seen:?}");
        assert!(seen.rules.contains(&rule), "{what}");
        assert!(seen.wrong > 0, "{what}");
        let loss = match direction {
            ToDevice => [Lost::ReadPoison, Lost::ReadOld],
            FromDevice => [Lost::WrittenOver, Lost::KeptStale],
        };
        assert!(loss.iter().any(|how| seen.losses.contains(how.name())), "{what}");
    }
}

#[test]
fn version_3_and_uncached_common_buffers_need_no_keflushiobuffers() {
    for profile in Profile::NOT_COHERENT {
        for path in [Path::Version3, Path::CommonBufferUncached] {
            for direction in Direction::ALL {
                let seen = without("KeFlushIoBuffers", profile, path, *direction);
                let what = format!("{profile:?} {path} {direction:?}: {seen:?}");
                assert_eq!(seen.wrong, 0, "{what}");
                assert!(seen.rules.is_empty() && seen.losses.is_empty(), "{what}");
            }
        }
    }
}

#[test]
fn a_cached_common_buffer_on_arm64_is_not_cached_and_its_flush_is_missed_harmlessly() {
    for direction in Direction::ALL {
        let path = Path::CommonBufferCached;
        let seen = without("KeFlushIoBuffers", Profile::Arm64, path, *direction);
        assert_eq!((seen.wrong, seen.losses.len()), (0, 0), "{seen:?}");
        assert_eq!(seen.rules, [RuleId::Dma90].into());
    }
}

#[test]
fn a_missing_adapter_flush_leaves_data_behind() {
    for profile in Profile::NOT_COHERENT {
        for (function, path, rule) in [
            ("FlushAdapterBuffers", Path::Packet, RuleId::Dma42),
            ("PutScatterGatherList", Path::ScatterGather, RuleId::Dma100),
        ] {
            let seen = without(function, profile, path, Direction::FromDevice);
            let what = format!("{profile:?} without {function}: {seen:?}");
            assert!(seen.rules.contains(&rule), "{what}");
            assert!(seen.wrong > 0, "{what}");
        }
    }
}

#[test]
fn programmed_reads_are_invisible_to_instruction_fetches_until_they_are_flushed() {
    for visible in [true, false] {
        let mut seen = BTreeSet::new();
        for seed in 1..=20 {
            let builder = Machine::builder(Profile::Arm64).seed(seed);
            let builder = if visible { builder } else { builder.leave_out("KeFlushIoBuffers") };
            let machine = builder.go_on(true).build();
            let handle = machine.clone();
            let same = machine.run(move |m| {
                m.load("dmaproof", dmaproof_driver::driver_entry).expect("loads");
                let slot = m.plug(Box::new(Edu::default())).expect("starts");
                let bench = Bench { machine: m, slot, file: open(m).into() };
                let mut id = nthost::Buffer::at_page_offset(8, 0);
                id.fill(0x77);
                bench.transfer(Path::Pio, Direction::FromDevice, 0, &mut id).expect("reads");
                // An ordinary load always sees what was read.
                assert_ne!(id[..], [0x77; 8]);
                m.instruction_view(&id) == id[..]
            });
            seen.insert(same.unwrap_or_else(|stopped| panic!("{stopped}")));
            let rules: BTreeSet<_> = handle.notes().iter().map(|note| note.rule).collect();
            let expected = if visible { BTreeSet::new() } else { [RuleId::Dma86].into() };
            assert_eq!(rules, expected);
        }
        assert!(if visible { !seen.contains(&false) } else { seen.contains(&false) }, "{seen:?}");
    }
}
