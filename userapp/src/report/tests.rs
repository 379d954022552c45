//! Verdicts, and what the reports say about them.

use serde_json::Value;

use super::*;
use crate::exit::Exit;
use crate::ledger::Ledger;
use crate::sweep::{Account, End};
use crate::target::{Note, NtStatus};

fn report() -> Report {
    let limits = dmaproof_protocol::Limits {
        memory_length: 4095,
        transfer_length_max: 4095,
        paths: dmaproof_protocol::Paths::EMPTY.with(dmaproof_protocol::Path::Packet),
        ..dmaproof_protocol::Limits::default()
    };
    let mut ledger = Ledger::new(&limits);
    let route = crate::route::Route::File;
    ledger.count(route, dmaproof_protocol::Direction::ToDevice, 64, 0, true);
    Report {
        tested: "a machine".to_owned(),
        target_options: "--sim x64,device=edu".to_owned(),
        plan_options: "--quick --seed 1".to_owned(),
        seed: 1,
        depth: Depth::Quick,
        cases: None,
        strict: false,
        outcome: Outcome {
            ledger: Some(ledger),
            planned: 10,
            done: 10,
            end: End::Complete,
            ..Outcome::default()
        },
        provoked: Vec::new(),
        notes: Vec::new(),
        never_stopped: Vec::new(),
        violation: None,
    }
}

fn note() -> Note {
    Note {
        rule: "DMA-85".to_owned(),
        text: "no flush".to_owned(),
        call_site: "a.rs:1".to_owned(),
        count: 3,
        harmless: true,
    }
}

fn human(report: &Report) -> String {
    let mut out = Vec::new();
    write_human(&mut out, report).unwrap();
    String::from_utf8(out).unwrap()
}

fn verdict(change: impl FnOnce(&mut Report)) -> (Verdict, Exit) {
    let mut report = report();
    change(&mut report);
    let verdict = Verdict::of(&report);
    (verdict, verdict.exit())
}

#[test]
fn intact_says_what_did_not_run() {
    let report = report();
    assert_eq!(Verdict::of(&report), Verdict::Intact);
    let text = human(&report);
    assert!(text.contains("cells of the ledger did not run"), "{text}");
    assert!(text.contains("not available: this device"), "{text}");
}

#[test]
fn notes_change_the_verdict_only_when_strict() {
    assert_eq!(verdict(|report| report.notes = vec![note()]).1, Exit::Intact);
    let strict = verdict(|report| {
        report.notes = vec![note()];
        report.strict = true;
    });
    assert_eq!(strict, (Verdict::NotFollowed, Exit::Failed));
    let mut report = report();
    report.notes = vec![note()];
    let text = Verdict::of(&report).sentence(&report);
    let start = "INTACT, with 1 note: rules not followed, harmless on this machine (--strict makes";
    assert!(text.starts_with(start), "{text}");
}

#[test]
fn a_note_is_shown_with_its_number() {
    let mut report = report();
    report.notes = vec![note()];
    let text = human(&report);
    assert!(
        text.contains("DMA-85 not followed at a.rs:1; harmless on this machine (3 times)"),
        "{text}"
    );
}

#[test]
fn each_end_has_its_exit_status() {
    assert_eq!(verdict(|report| report.outcome.failures_total = 1).1, Exit::Failed);
    assert_eq!(verdict(|report| report.outcome.end = End::Stopped).1, Exit::Failed);
    assert_eq!(verdict(|report| report.outcome.end = End::Interrupted).1, Exit::Interrupted);
    let gone = End::Unavailable(NtStatus(dmaproof_protocol::status::DEVICE_REMOVED));
    assert_eq!(verdict(|report| report.outcome.end = gone).1, Exit::Unavailable);
    let nothing = verdict(|report| report.outcome.ledger = None);
    assert_eq!(nothing, (Verdict::NothingRan, Exit::Usage));
}

#[test]
fn a_device_that_never_stopped_is_a_verdict_of_its_own() {
    let mut report = report();
    report.never_stopped = vec![crate::target::Violation {
        rule: "SIM-05".to_owned(),
        text: "the device in slot 0 still runs".to_owned(),
        call_site: "a.rs:1".to_owned(),
        details: String::new(),
    }];
    assert_eq!(Verdict::of(&report), Verdict::DeviceNeverStopped);
    assert_eq!(Verdict::DeviceNeverStopped.exit(), Exit::Failed);
    let text = human(&report);
    assert!(text.contains("slot 0 still runs") && text.contains("SIM-05"), "{text}");
    assert!(text.lines().last().unwrap().starts_with("NEVER STOPPED"), "{text}");
    // Data that is wrong is worse.
    report.outcome.failures_total = 1;
    assert_eq!(Verdict::of(&report), Verdict::Corrupted);
}

#[test]
fn corruption_outweighs_what_came_after_it() {
    let (found, exit) = verdict(|report| {
        report.outcome.failures_total = 1;
        report.outcome.end = End::Interrupted;
    });
    assert_eq!((found, exit), (Verdict::Corrupted, Exit::Failed));
}

#[test]
fn fewer_counted_transfers_fail_and_more_only_when_strict() {
    let account = |counted| Account {
        path: "sg",
        direction: "to-device",
        asked: 5,
        counted,
        asked_bytes: 50,
        counted_bytes: counted * 10,
    };
    let fewer = verdict(|report| report.outcome.accounts = vec![account(4)]);
    assert_eq!(fewer, (Verdict::WrongPath, Exit::Failed));
    let more = verdict(|report| report.outcome.accounts = vec![account(6)]);
    assert_eq!(more.1, Exit::Intact);
    let mut report = report();
    report.outcome.accounts = vec![account(6)];
    let text = Verdict::of(&report).sentence(&report);
    assert!(text.starts_with("INTACT, with counters of the driver that disagree"), "{text}");
    report.strict = true;
    let text = Verdict::of(&report).sentence(&report);
    assert!(text.starts_with("COUNTERS DISAGREE") && !text.contains("note"), "{text}");
}

#[test]
fn the_object_for_programs_has_schema_verdict_and_ledger() {
    let mut out = Vec::new();
    write_json(&mut out, &report()).unwrap();
    let value: Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(value["schema"], "dmaproof.test");
    assert_eq!(value["schema_version"], 1);
    assert_eq!(value["verdict"], "intact");
    assert_eq!(value["exit_status"], 0);
    let again = "dmaproof test --sim x64,device=edu --quick --seed 1";
    assert_eq!(value["replay"], again);
    let some = Report { cases: Some(5..9), ..report() };
    assert_eq!(some.replay(None), format!("{again} --cases 5-8"));
    assert_eq!(some.replay(Some(6)), format!("{again} --cases 5-6"));
    assert_eq!(value["ledger"].as_array().unwrap().len(), 16);
    assert_eq!(value["ledger"][14]["path"], "file");
    assert_eq!(value["ledger"][14]["state"], "run");
    assert_eq!(value["ledger"][0]["state"], "not-available");
}

#[test]
fn a_tested_path_that_fails_while_the_memory_is_filled_is_no_success() {
    let failed = |counts, end| {
        verdict(|report| {
            report.outcome.preparation_counts = counts;
            report.outcome.end = end;
        })
    };
    assert_eq!(failed(true, End::Complete), (Verdict::Corrupted, Exit::Failed));
    assert_eq!(failed(false, End::Complete), (Verdict::Intact, Exit::Intact));
    assert_eq!(failed(true, End::Interrupted), (Verdict::Interrupted, Exit::Interrupted));
    let mut report = report();
    report.outcome.preparation_counts = true;
    assert!(human(&report).contains("FAILED: a transfer failed that was to fill the device's"));
}

#[test]
fn a_failure_that_never_happened_is_less_than_one_that_did() {
    let missed = |failures, strict| {
        verdict(|report| {
            report.provoked.push(Provoked {
                option: "fail=7".to_owned(),
                what: "call",
                happened: 0,
                places: Vec::new(),
                by_chance: false,
                hint: "try another".to_owned(),
            });
            report.outcome.failures_total = failures;
            report.strict = strict;
        })
    };
    assert_eq!(missed(0, false), (Verdict::NotProvoked, Exit::Usage));
    assert_eq!(missed(1, false), (Verdict::Corrupted, Exit::Failed));
    assert_eq!(missed(0, true), (Verdict::NotProvoked, Exit::Usage));
}
