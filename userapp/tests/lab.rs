//! The lab: every row of the table comes out as the documents say, a wrong table is noticed, runs
//! repeat, and the picture needs nothing but itself.

use std::collections::BTreeSet;
use std::process::{Command, Output, Stdio};

use dmaproof::lab::picture::frames::{Content, Frame, frames};
use dmaproof::lab::picture::{html, record};
use dmaproof::lab::run::{SMALL, Settings};
use dmaproof::lab::table::{Cell, Expected, MachineKind, Seen, cells};
use dmaproof::lab::verdict::{Verdict, judge, names};
use dmaproof::lab::{page, run};
use dmaproof_protocol::{Direction, Ioctl, Path, TransferHeader};
use nthost::{Access, Buffer, Machine, Profile, RuleId, Way};
use serde_json::Value;
use testdev::model::edu::Edu;
use testdev::model::slave::Slave;
use zerocopy::IntoBytes;

/// The cell of this name.
fn cell(name: &str) -> Cell {
    cells().find(|cell| cell.to_string() == name).expect("a cell of the table")
}

fn comes_out_as_expected(machine: MachineKind) {
    let mut differing = Vec::new();
    for cell in cells().filter(|cell| cell.machine == machine) {
        let outcome = judge(&cell, 1);
        if outcome.verdict != Verdict::AsExpected {
            let named = names(outcome.named.iter().copied());
            let (expected, how) = (cell.expected.name(), &outcome.verdict);
            differing.push(format!("{cell}: {expected} expected, {how:?}; named {named}"));
        }
    }
    assert!(differing.is_empty(), "{} rows differ:\n{}", differing.len(), differing.join("\n"));
}

#[test]
fn every_row_comes_out_on_x64() {
    comes_out_as_expected(MachineKind::X64);
}

#[test]
fn every_row_comes_out_on_x64_dmar() {
    comes_out_as_expected(MachineKind::X64Dmar);
}

#[test]
fn every_row_comes_out_on_arm64() {
    comes_out_as_expected(MachineKind::Arm64);
}

#[test]
fn every_row_comes_out_on_nt() {
    comes_out_as_expected(MachineKind::Nt);
}

/// Calls of the driver that the table does not spoil, and why.
const LEFT_ALONE: &[(&str, &str)] = &[
    ("IoGetDmaAdapter", "answers with an object; sweeps of faults have it fail"),
    ("ExAllocatePool2", "as above"),
    ("MmMapIoSpaceEx", "as above"),
    ("IoAllocateMdl", "as above"),
    ("CalculateScatterGatherList", "says how much; the calls that use it have rows"),
    ("ReadDmaCounter", "says how far it got; asks for nothing"),
    ("KeQueryInterruptTimePrecise", "tells the time"),
    ("KeGetCurrentProcessorNumberEx", "tells where it runs; any queue would do"),
    ("KeQueryActiveProcessorCountEx", "tells how many there are; a message may go anywhere"),
];

/// What the correct driver calls on a path, framework and registers left out.
fn calls_on(path: Path) -> BTreeSet<&'static str> {
    let machine = Machine::builder(Profile::Nt).log_crossings(true).build();
    let handle = machine.clone();
    let ended = machine.run(move |m| {
        m.load("dmaproof", dmaproof_driver::driver_entry).expect("loads");
        let device: Box<dyn testdev::bus::Device> = match path {
            Path::SystemDma => Box::new(Slave::default()),
            _ => Box::new(Edu::default()),
        };
        m.plug(device).expect("starts");
        let (data1, data2, data3, data4) = dmaproof_protocol::GUID_FIELDS;
        let class = wdk_lite::GUID { Data1: data1, Data2: data2, Data3: data3, Data4: data4 };
        let interface = m.interfaces(&class).pop().expect("an interface");
        let file = m.open(&interface, Access::READ_WRITE).expect("opens");
        for code in [Ioctl::ToDevice, Ioctl::FromDevice] {
            let (length, offset) = if path == Path::Pio { (4, 4) } else { (640, 0) };
            let mut buffer = Buffer::at_page_offset(length, 0xC0);
            let header = TransferHeader::new(path, offset, length as u64);
            file.device_io_control(code.code(), header.as_bytes(), &mut buffer).expect("moves");
        }
        drop(file);
        m.shut_down();
    });
    ended.unwrap_or_else(|stopped| panic!("{stopped}"));
    let calls = handle.crossings().into_iter().filter(|crossing| crossing.way == Way::Call);
    calls
        .map(|call| call.name)
        .filter(|name| !name.starts_with("Wdf") && !name.contains("_REGISTER_"))
        .collect()
}

#[test]
fn every_call_of_the_driver_has_a_row() {
    for &path in Path::ALL {
        for call in calls_on(path) {
            let spoiled = cells().any(|cell| cell.row.sabotage.function == call);
            let excused = LEFT_ALONE.iter().any(|(name, _)| *name == call);
            assert!(spoiled != excused, "{path}: {call}");
        }
    }
}

#[test]
fn a_wrong_verdict_in_the_table_is_noticed() {
    let flush = "x64/packet/from-device/FlushAdapterBuffers/left-out";
    let twice = "nt/packet/to-device/KeFlushIoBuffers/twice";
    let noted = "x64/packet/to-device/KeFlushIoBuffers/left-out";
    let refused = "x64/sg/to-device/BuildScatterGatherList/ScatterGatherLength=8";
    let wrong = [
        (flush, Expected::Harmless),
        (flush, Expected::Noted(&[RuleId::Dma54])),
        (flush, Expected::Refused),
        (flush, Expected::Harmful(&[RuleId::Dma90], Seen::App)),
        (twice, Expected::Harmful(&[RuleId::Dma85], Seen::Nobody)),
        (twice, Expected::Noted(&[RuleId::Dma85])),
        (twice, Expected::Refused),
        (noted, Expected::Harmless),
        (noted, Expected::Noted(&[RuleId::Dma84])),
        (refused, Expected::Harmless),
        ("nt/common-cached/from-device/FreeCommonBuffer/twice", Expected::Harmless),
        // Caught by rule, and then looked for in the data in vain.
        (
            "x64/packet/from-device/FlushAdapterBuffers/twice",
            Expected::Harmful(&[RuleId::Dma53], Seen::App),
        ),
    ];
    for (name, expected) in wrong {
        let outcome = judge(&Cell { expected, ..cell(name) }, 1);
        assert!(matches!(outcome.verdict, Verdict::Differs(_)), "{name}: {expected:?}");
    }
}

#[test]
fn a_row_whose_call_the_driver_does_not_make_proves_nothing() {
    let idle = cell("x64/v3/to-device/KeFlushIoBuffers/left-out");
    let row = dmaproof::lab::table::Row { made: true, ..*idle.row };
    let outcome = judge(&Cell { row: Box::leak(Box::new(row)), ..idle }, 1);
    assert!(matches!(outcome.verdict, Verdict::Differs(_)), "{:?}", outcome.verdict);
}

#[test]
fn the_run_that_an_outcome_names_is_the_same_again() {
    for name in [
        "nt/packet/from-device/KeFlushIoBuffers/left-out",
        "arm64/sg/from-device/KeFlushIoBuffers/left-out",
        "nt/system/from-device/FlushAdapterBuffers/left-out",
        "x64/packet/to-device/MapTransfer/answer+32768",
    ] {
        let cell = cell(name);
        let first = judge(&cell, 1);
        let again = judge(&cell, first.seed);
        assert_eq!((&again.named, &again.data), (&first.named, &first.data), "{name}");
        let settings = Settings { seed: first.seed, go_on: true, record: true };
        let told = || {
            let run = run::run(&cell, settings, &SMALL).expect("the machine is there");
            let frames = frames(&cell, &run);
            frames.into_iter().map(|frame| (frame.title, frame.event, frame.lines)).collect()
        };
        let (one, other): (Vec<_>, Vec<_>) = (told(), told());
        assert_eq!(one, other, "{name}");
    }
}

#[test]
fn the_page_in_the_documentation_is_up_to_date() {
    let mut page = Vec::new();
    page::write(&mut page).expect("memory takes everything");
    let kept = include_str!("../../docs/sabotage.md");
    let fresh = String::from_utf8(page).expect("text");
    assert!(kept == fresh, "run `cargo run -- lab --page > docs/sabotage.md`");
}

#[test]
fn what_the_requirements_say_is_left_out_is_in_the_table() {
    let rows: Vec<String> =
        cells().map(|cell| cell.to_string().splitn(4, '/').nth(3).unwrap().to_owned()).collect();
    let mut named = 0;
    let column = |line: &'static str| line.split(" | ").nth(5).filter(|_| line.starts_with("| "));
    for cell in include_str!("../../docs/requirements.md").lines().filter_map(column) {
        for name in cell.split('`').skip(1).step_by(2) {
            assert!(rows.iter().any(|row| row == name), "no row is called {name}");
            named += 1;
        }
    }
    assert!(named > 20, "{named} rows are named");
}

/// The frames of a cell's picture, and the picture.
fn picture(name: &str) -> (Vec<Frame>, String) {
    let cell = cell(name);
    let (run, seed) = record(&cell, 1).expect("the machine is there");
    let frames = frames(&cell, &run);
    let page = html::page(&cell, &run, seed, &frames);
    (frames, page)
}

#[test]
fn a_picture_shows_the_mistake_before_the_loss() {
    for name in [
        "nt/packet/from-device/KeFlushIoBuffers/left-out",
        "nt/packet/to-device/KeFlushIoBuffers/left-out",
        "nt/packet/from-device/FlushAdapterBuffers/left-out",
        "nt/common-cached/from-device/KeFlushIoBuffers/left-out",
        "nt/system/from-device/FlushAdapterBuffers/left-out",
        "arm64/packet/from-device/KeFlushIoBuffers/left-out",
        "arm64/sg/to-device/KeFlushIoBuffers/left-out",
    ] {
        let (frames, _) = picture(name);
        let mistake = frames.iter().position(|frame| frame.spoiled).expect(name);
        let loss = frames.iter().position(|frame| frame.loss.is_some()).expect(name);
        assert!(mistake < loss, "{name}: {mistake} {loss}");
        assert!(frames.len() < 25, "{name}: {} frames", frames.len());
        let lost = frames[loss].lines.iter().any(|line| line.lost.contains(&true));
        assert!(lost, "{name}: nothing is marked");
    }
}

#[test]
fn a_correct_call_loses_nothing_in_its_picture() {
    for name in [
        "nt/packet/from-device/KeFlushIoBuffers/twice",
        "arm64/sg/to-device/KeFlushIoBuffers/twice",
    ] {
        let (frames, _) = picture(name);
        assert!(frames.iter().all(|frame| frame.loss.is_none()), "{name}");
        let last = frames.last().expect("frames");
        let there = |line: &dmaproof::lab::picture::frames::Line| match cell(name).direction {
            Direction::ToDevice => line.device,
            Direction::FromDevice => line.processor,
        };
        for line in &last.lines {
            assert!(there(line).iter().all(|word| *word == Content::New), "{name}: {line:?}");
        }
    }
}

#[test]
fn a_picture_needs_nothing_but_itself() {
    let (frames, page) = picture("nt/packet/from-device/KeFlushIoBuffers/left-out");
    for outside in ["src=", "<link", "@import", "url(", "fetch(", "XMLHttpRequest"] {
        assert!(!page.contains(outside), "{outside}");
    }
    // The only addresses are those of the documents, to be followed.
    let addresses = page.matches("http").count();
    assert_eq!(addresses, page.matches("href=\"https://learn.microsoft.com/").count());
    for needed in ["prefers-color-scheme: dark", "aria-live", "focus-visible", "max-width: 56rem"] {
        assert!(page.contains(needed), "{needed}");
    }
    assert_eq!(page.matches("<section id=\"step-").count(), frames.len());
    // Without a script every step is shown, and nothing that does nothing.
    assert!(page.contains("<nav class=\"toolbar\" aria-label=\"Steps\" hidden>"));
}

fn app(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dmaproof"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("the app starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_command_reports_and_draws() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("out.html");
    let file = file.to_str().unwrap();
    let output = app(&["lab", "--skip", "dma-85", "--profile", "nt,x64", "--html", file]);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}{}", text(&output.stderr));
    assert!(said.contains("AS EXPECTED") && said.contains("KeFlushIoBuffers left out"), "{said}");
    assert!(said.contains("dmaproof lab --case nt/packet/from-device/KeFlushIoBuffers"), "{said}");
    assert!(said.lines().last().unwrap().contains("nt/packet"), "{said}");
    assert!(std::fs::read_to_string(file).unwrap().starts_with("<!DOCTYPE html>"));
}

#[test]
fn the_command_answers_in_json() {
    let output = app(&["lab", "--skip", "FLUSH", "--path", "packet", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["differing"], 0);
    assert_eq!(report["exit_status"], 0);
    let table = report["table"].as_array().unwrap();
    assert_eq!(table.len(), 16);
    for row in table {
        assert_eq!(row["outcome"], "as-expected", "{row}");
        assert!(row["replay"].as_str().unwrap().starts_with("dmaproof lab --case "), "{row}");
        assert!(row["runs"].as_u64() > Some(0), "{row}");
    }
    let lost = |row: &&Value| row["machine"] == "nt" && row["observer"] == "app";
    assert!(table.iter().any(|row| lost(&row)), "{table:#?}");
}

#[test]
fn wrong_usage_says_what_is_right() {
    for (arguments, words) in [
        (&["lab", "--skip", "keflush"][..], &["KeFlushIoBuffers", "FLUSH"][..]),
        (&["lab", "--path", "teleport"], &["packet", "sg"]),
        (&["lab", "--profile", "vax"], &["arm64", "nt"]),
        (&["lab", "--case", "x64/none"], &["--page"]),
        (
            &["lab", "--skip", "FLUSH", "--path", "pio", "--direction", "to-device", "--html", "a"],
            &["nt"],
        ),
        (&["lab", "--profile", "x64", "--html", "a.html"], &["arm64 or nt"]),
        (&["lab", "--page", "--json"], &["--json"]),
    ] {
        let output = app(arguments);
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {message}");
        for word in words {
            assert!(message.contains(word), "{arguments:?}: {message}");
        }
    }
}
