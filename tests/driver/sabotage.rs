//! The real driver with one call left out: every rule of the seed documents on these paths is
//! named, as a violation where a coherent machine can show it, as a note where it cannot lose
//! data there.

use dmaproof_protocol::{Direction, Path};
use dmaproof_tests::ways::{self, Run};
use nthost::{Machine, Profile, RuleId, Stopped};
use testdev::model::edu::Edu;

use crate::common::{Bench, PATHS, bytes, open, shut_down};

/// Runs transfers over `paths` with `function` left out.
fn without(
    run: &Run,
    function: &'static str,
    paths: &'static [Path],
) -> (Machine, Result<(), Stopped>) {
    let machine = run.machine(Machine::builder(Profile::X64).leave_out(function));
    let (handle, run) = (machine.clone(), run.clone());
    let result = machine.run(move |m| {
        run.load(m);
        let slot = m.plug(Box::new(Edu::default())).expect("starts");
        let bench = Bench { machine: m, slot, file: open(m).into() };
        for &path in paths {
            for direction in Direction::ALL {
                let mut data = bytes(1, 600);
                let _ = bench.transfer(path, *direction, 0, &mut data);
            }
        }
    });
    let result = result.and_then(|()| shut_down(&handle));
    (handle, result)
}

/// The machine stopped, and named one of `rules`.
fn stops_with(function: &'static str, paths: &'static [Path], rules: &[RuleId]) {
    ways::each(crate::WAYS, |run| {
        let (_, result) = without(run, function, paths);
        let stopped = result.expect_err(function);
        assert!(rules.contains(&stopped.report.rule), "without {function}: {stopped}");
    });
}

/// The machine went on, and noted exactly `rules` (in any order).
fn notes(function: &'static str, paths: &'static [Path], rules: &[RuleId]) {
    ways::each(crate::WAYS, |run| {
        let (machine, result) = without(run, function, paths);
        result.unwrap_or_else(|stopped| panic!("without {function}: {stopped}"));
        let noted: std::collections::BTreeSet<_> = machine.notes().iter().map(|n| n.rule).collect();
        assert_eq!(
            noted,
            rules.iter().copied().collect(),
            "without {function}: {:#?}",
            machine.notes()
        );
    });
}

#[test]
fn a_missing_keflushiobuffers_is_noted_on_packet_and_scatter_gather() {
    notes("KeFlushIoBuffers", &[Path::Packet], &[RuleId::Dma85]);
    notes("KeFlushIoBuffers", &[Path::ScatterGather], &[RuleId::Dma85]);
}

#[test]
fn a_missing_keflushiobuffers_is_noted_on_a_cached_common_buffer() {
    notes("KeFlushIoBuffers", &[Path::CommonBufferCached], &[RuleId::Dma90]);
}

#[test]
fn a_missing_keflushiobuffers_is_noted_after_a_programmed_read() {
    ways::each(crate::WAYS, |run| {
        let machine = run.machine(Machine::builder(Profile::X64).leave_out("KeFlushIoBuffers"));
        let (handle, run) = (machine.clone(), run.clone());
        let result = machine.run(move |m| {
            run.load(m);
            let slot = m.plug(Box::new(Edu::default())).expect("starts");
            let bench = Bench { machine: m, slot, file: open(m).into() };
            let mut id = [0; 8];
            bench.transfer(Path::Pio, Direction::FromDevice, 0, &mut id).expect("reads");
        });
        result.unwrap_or_else(|stopped| panic!("{stopped}"));
        let rules: Vec<_> = handle.notes().iter().map(|note| note.rule).collect();
        assert_eq!(rules, [RuleId::Dma86]);
    });
}

#[test]
fn version_3_and_uncached_common_buffers_need_no_keflushiobuffers() {
    notes("KeFlushIoBuffers", &[Path::Version3], &[]);
    notes("KeFlushIoBuffers", &[Path::CommonBufferUncached], &[]);
}

/// Neither is the call needed nor made: on a strict machine it would be a violation to make it
/// (DMA-88), and this one leaves it out in any case.
#[test]
fn version_3_moves_everything_on_a_strict_machine_without_keflushiobuffers() {
    for profile in Profile::ALL {
        for left_out in [None, Some("KeFlushIoBuffers")] {
            let builder = Machine::builder(profile).strict(true).double_buffer(true);
            let builder = match left_out {
                Some(function) => builder.leave_out(function),
                None => builder,
            };
            crate::common::with_driver(builder, |bench| {
                for length in [1, 63, 64, 65, 4000, 4095] {
                    bench.round_trip(Path::Version3, 0, length, 0x21);
                }
                let parts = vec![bytes(1, 100), bytes(2, 1), bytes(3, 900)];
                let sent = bench.submit_chain(Path::Version3, Direction::ToDevice, 0, parts);
                assert_eq!(sent.wait().0.status.0, 0);
            });
        }
    }
}

#[test]
fn a_missing_flushadapterbuffers_stops_the_machine() {
    let rules = [RuleId::Dma42, RuleId::Dma53, RuleId::Dma54, RuleId::Dma100];
    stops_with("FlushAdapterBuffers", &[Path::Packet], &rules);
}

#[test]
fn a_missing_putscattergatherlist_stops_the_machine() {
    let rules =
        [RuleId::Dma75, RuleId::Dma76, RuleId::Dma100, RuleId::Sim12, RuleId::Dma80, RuleId::Dma18];
    stops_with("PutScatterGatherList", &[Path::ScatterGather], &rules);
}

#[test]
fn missing_releases_are_named_at_the_latest_when_the_device_goes() {
    let leak = [RuleId::Dma18, RuleId::Dma20, RuleId::Dma44, RuleId::Dma35, RuleId::Dma42];
    stops_with("FreeMapRegisters", &[Path::Packet], &leak);
    let leak = [RuleId::Dma18, RuleId::Dma30, RuleId::Dma20, RuleId::Kmdf02];
    stops_with("FreeCommonBuffer", &PATHS, &leak);
    let leak = [RuleId::Dma18, RuleId::Dma19, RuleId::Dma20];
    stops_with("PutDmaAdapter", &[Path::Packet], &leak);
    stops_with("MmUnmapIoSpace", &[Path::Packet], &[RuleId::Kmdf04]);
    stops_with("ExFreePoolWithTag", &[Path::Packet], &[RuleId::Sim10]);
}
