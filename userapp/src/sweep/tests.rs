//! The sweep against the device in memory: intact when it is, and each defect found and named.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use dmaproof_protocol::{Direction, Path, status};
use indicatif::ProgressBar;

use super::*;
use crate::explain::Class;
use crate::ledger::State;
use crate::route::Route;
use crate::target::memory::{DefectKind, MemoryTarget};
use crate::target::{TargetError, with_target};

const PACKET: Route = Route::Path(Path::Packet);

fn settings() -> Settings {
    Settings {
        selection: Selection::default(),
        depth: Depth::Quick,
        seed: 1,
        cases: 0..u64::MAX,
        failures_max: 1_000_000,
        load: Load::default(),
        interrupted: Arc::new(AtomicBool::new(false)),
        progress: ProgressBar::hidden(),
    }
}

fn sweep(target: &MemoryTarget, settings: Settings) -> (Outcome, Result<(), TargetError>) {
    let recorder = Recorder::default();
    let inner = recorder.clone();
    let result = with_target(target, move |session| run(session, &settings, &inner));
    (recorder.outcome(), result)
}

fn outcome(target: &MemoryTarget) -> Outcome {
    let (outcome, result) = sweep(target, settings());
    assert_eq!(result, Ok(()));
    outcome
}

/// All failures are of this class, and blamed on this row.
fn assert_all(outcome: &Outcome, route: Route, direction: Direction, classes: &[Class]) {
    assert!(outcome.failures_total > 0, "nothing failed");
    for failure in &outcome.failures {
        assert_eq!((failure.route, failure.direction), (route, direction), "{failure:?}");
        assert!(classes.contains(&failure.explanation.class), "{failure:#?}");
    }
    let ledger = outcome.ledger.as_ref().unwrap();
    for row in &ledger.rows {
        let blamed = (row.route, row.direction) == (route, direction);
        assert_eq!(row.state() == State::Failed, blamed, "{} {}", row.route, row.direction);
    }
}

fn defective(path: Path, direction: Direction, kind: DefectKind) -> Outcome {
    outcome(&MemoryTarget::new().with_defect(path, direction, kind))
}

#[test]
fn a_sound_device_is_intact_in_every_cell() {
    let outcome = outcome(&MemoryTarget::new());
    assert_eq!((outcome.end, outcome.failures_total), (End::Complete, 0));
    assert_eq!(outcome.done, outcome.planned);
    assert_eq!(outcome.accounts, []);
    let ledger = outcome.ledger.unwrap();
    assert_eq!(ledger.cells_in(State::NotRun), 0);
    assert_eq!(ledger.rows_in(State::Run), 12);
    assert_eq!(ledger.rows_in(State::NotAvailable), 4);
    assert_eq!(ledger.intact(), outcome.done);
}

#[test]
fn what_looks_like_edu_is_intact_with_its_registers() {
    let outcome = outcome(&MemoryTarget::edu());
    assert_eq!((outcome.end, outcome.failures_total), (End::Complete, 0));
    let ledger = outcome.ledger.unwrap();
    for direction in Direction::ALL {
        assert_eq!(ledger.row(Route::Path(Path::Pio), *direction).unwrap().state(), State::Run);
    }
    assert_eq!(ledger.cells_in(State::NotRun), 0);
}

#[test]
fn a_run_repeats_exactly() {
    let (one, two) = (MemoryTarget::new(), MemoryTarget::new());
    assert_eq!(outcome(&one).bytes, outcome(&two).bytes);
    assert_eq!(one.transfers(), two.transfers());
}

#[test]
fn lost_data_is_named_and_blamed_on_the_right_row() {
    for direction in [Direction::ToDevice, Direction::FromDevice] {
        let path = Path::ScatterGather;
        let outcome = defective(path, direction, DefectKind::Lost);
        assert_all(&outcome, Route::Path(path), direction, &[Class::NotCopied]);
    }
}

#[test]
fn a_missing_tail_is_named() {
    let outcome = defective(Path::Version3, Direction::FromDevice, DefectKind::TailMissing(3));
    // A tail of three bytes can be just the part of a line that the buffer ends with, or a page's.
    let classes = [Class::TailMissing, Class::TornEdge, Class::PieceNotCopied];
    assert_all(&outcome, Route::Path(Path::Version3), Direction::FromDevice, &classes);
    assert!(outcome.failures.iter().any(|failure| failure.explanation.class == Class::TailMissing));
}

#[test]
fn a_shift_is_named() {
    let path = Path::CommonBufferUncached;
    for direction in [Direction::ToDevice, Direction::FromDevice] {
        let outcome = defective(path, direction, DefectKind::Shifted(8));
        let classes = [Class::Shifted, Class::OldData, Class::Unknown];
        assert_all(&outcome, Route::Path(path), direction, &classes);
        let shifted = |failure: &&Failure| failure.explanation.class == Class::Shifted;
        assert!(outcome.failures.iter().filter(shifted).count() * 2 > outcome.failures.len());
    }
}

#[test]
fn a_stale_line_is_named() {
    for direction in [Direction::ToDevice, Direction::FromDevice] {
        let path = Path::CommonBufferCached;
        let outcome = defective(path, direction, DefectKind::StaleLine);
        // A line that is the whole buffer cannot be told from data that did not arrive.
        let classes = [Class::StaleLine, Class::NotCopied];
        assert_all(&outcome, Route::Path(path), direction, &classes);
        assert!(outcome.failures.iter().any(|failure| failure.explanation.rule == Some("DMA-90")));
    }
}

#[test]
fn one_flipped_bit_is_found_in_every_transfer() {
    let target = MemoryTarget::new();
    let sound = outcome(&target).ledger.unwrap();
    let path = Path::ScatterGather;
    let outcome = defective(path, Direction::FromDevice, DefectKind::BitFlip);
    let row = outcome.ledger.as_ref().unwrap().row(Route::Path(path), Direction::FromDevice);
    let before = sound.row(Route::Path(path), Direction::FromDevice).unwrap().intact();
    assert!(row.unwrap().failed() >= before);
    assert_eq!(row.unwrap().intact(), 0);
}

#[test]
fn a_neighbour_on_the_device_that_changed_is_found() {
    let path = Path::ScatterGather;
    let outcome = defective(path, Direction::ToDevice, DefectKind::DeviceNeighbour);
    assert_all(&outcome, Route::Path(path), Direction::ToDevice, &[Class::Overrun]);
}

#[test]
fn a_changed_source_is_found() {
    let path = Path::ScatterGather;
    let outcome = defective(path, Direction::ToDevice, DefectKind::SourceChanged);
    assert_all(&outcome, Route::Path(path), Direction::ToDevice, &[Class::SourceChanged]);
}

#[test]
fn a_short_completion_and_a_failing_request_are_failures() {
    let path = Path::Version3;
    let outcome = defective(path, Direction::FromDevice, DefectKind::Short);
    let route = Route::Path(path);
    assert_all(&outcome, route, Direction::FromDevice, &[Class::ShortCompletion]);
    let kind = DefectKind::Fails(status::IO_TIMEOUT);
    let outcome = defective(path, Direction::ToDevice, kind);
    assert_all(&outcome, route, Direction::ToDevice, &[Class::RequestFailed]);
    assert!(outcome.failures[0].explanation.text.contains("STATUS_IO_TIMEOUT"));
}

#[test]
fn a_device_that_is_gone_ends_the_run() {
    let kind = DefectKind::Fails(status::DEVICE_REMOVED);
    let outcome = defective(Path::ScatterGather, Direction::ToDevice, kind);
    assert!(matches!(outcome.end, End::Unavailable(_)));
    assert!(outcome.done < outcome.planned);
}

#[test]
fn a_machine_that_stops_leaves_what_was_found_out() {
    let target = MemoryTarget::new().with_defect(
        Path::ScatterGather,
        Direction::FromDevice,
        DefectKind::Stops,
    );
    let (outcome, result) = sweep(&target, settings());
    assert!(matches!(result, Err(TargetError::Stopped(violation)) if violation.rule == "DMA-54"));
    assert_eq!(outcome.end, End::Stopped);
    assert!(outcome.done > 0 && outcome.done < outcome.planned);
    assert!(outcome.ledger.unwrap().intact() > 0);
}

#[test]
fn a_driver_that_takes_another_path_is_found_by_its_counters() {
    let outcome = outcome(&MemoryTarget::new().with_wrong_path());
    assert_eq!(outcome.failures_total, 0);
    assert!(outcome.accounts.iter().any(|account| account.path == "sg" && account.counted == 0));
    assert!(outcome.accounts.iter().any(|account| account.path == "packet"));
}

#[test]
fn an_interrupt_ends_the_run_and_nothing_more_counts() {
    let settings = settings();
    settings.interrupted.store(true, std::sync::atomic::Ordering::Relaxed);
    let (outcome, _) = sweep(&MemoryTarget::new(), settings);
    assert_eq!((outcome.end, outcome.done), (End::Interrupted, 0));
    assert_eq!(outcome.ledger.unwrap().rows_in(State::NotRun), 12);
}

#[test]
fn a_range_of_cases_runs_just_these() {
    let (outcome, _) = sweep(&MemoryTarget::new(), Settings { cases: 10..15, ..settings() });
    assert_eq!((outcome.done, outcome.end), (5, End::Complete));
    assert_eq!(outcome.ledger.unwrap().intact(), 5);
}

#[test]
fn the_number_of_failures_is_bounded() {
    let target =
        MemoryTarget::new().with_defect(Path::Packet, Direction::ToDevice, DefectKind::Lost);
    let (outcome, _) = sweep(&target, Settings { failures_max: 3, ..settings() });
    assert_eq!((outcome.failures_total, outcome.end), (3, End::TooManyFailures));
}

#[test]
fn the_file_route_shares_the_packet_path_and_is_counted_on_its_own() {
    let selection = Selection { routes: vec![Route::File], directions: Direction::ALL.to_vec() };
    let (outcome, _) = sweep(&MemoryTarget::new(), Settings { selection, ..settings() });
    let ledger = outcome.ledger.unwrap();
    assert_eq!(ledger.row(Route::File, Direction::ToDevice).unwrap().state(), State::Run);
    assert_eq!(ledger.row(PACKET, Direction::ToDevice).unwrap().state(), State::NotRun);
}

#[test]
fn a_transfer_that_the_user_cancels_is_no_failure() {
    for transfer in [1, 2, 40, 41, 42, 43, 44, 45] {
        let settings = settings();
        let target = MemoryTarget::new().interrupted_at(transfer, &settings.interrupted);
        let (outcome, _) = sweep(&target, settings);
        assert_eq!((outcome.end, outcome.failures_total), (End::Interrupted, 0), "{transfer}");
        assert_eq!(outcome.ledger.unwrap().intact(), outcome.done, "{transfer}");
    }
}

#[test]
fn registers_that_the_user_cancels_are_no_failure() {
    let all = sweep(&MemoryTarget::edu(), settings()).0;
    let settings = settings();
    let target = MemoryTarget::edu().interrupted_at(all.transfers - 1, &settings.interrupted);
    let (outcome, _) = sweep(&target, settings);
    assert_eq!((outcome.end, outcome.failures_total), (End::Interrupted, 0));
    assert_eq!(outcome.ledger.unwrap().intact(), outcome.done);
}
