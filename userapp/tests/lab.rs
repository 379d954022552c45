//! The lab: every row of the table comes out as the documents say, a wrong table is noticed, runs
//! repeat, and the picture needs nothing but itself.

use std::collections::BTreeSet;
use std::process::{Command, Output, Stdio};

use dmaproof::lab::picture::frames::{Content, Frame, Line, Words, frames};
use dmaproof::lab::picture::{can_draw, html, record};
use dmaproof::lab::report::write_human;
use dmaproof::lab::run::{SMALL, Settings};
use dmaproof::lab::table::{Cell, Expected, MachineKind, Seen, cells};
use dmaproof::lab::verdict::{Outcome, Verdict, judge, names};
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
fn the_command_that_a_row_prints_prints_the_same_row() {
    let mut differing = Vec::new();
    for cell in cells() {
        let first = judge(&cell, 1);
        let again = judge(&cell, first.seed);
        let told = |outcome: &Outcome| (outcome.seed, outcome.named.clone(), outcome.data());
        if told(&first) != told(&again) {
            differing.push(format!("{cell}: {:?}, then {:?}", told(&first), told(&again)));
        }
    }
    assert!(differing.is_empty(), "{} differ:\n{}", differing.len(), differing.join("\n"));
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
            let run = run::run(&cell, settings, &SMALL[..1]).expect("the machine is there");
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
    let outcome = judge(&cell, 1);
    let drawn = record(&outcome).expect("the machine is there");
    let frames = frames(&cell, &drawn.run);
    let page = html::page(&outcome, &drawn, &frames);
    (frames, page)
}

/// A fact in the head of a page.
fn fact<'p>(page: &'p str, name: &str) -> &'p str {
    let (_, rest) = page.split_once(&format!("<dt>{name}</dt><dd>")).expect(name);
    rest.split_once("</dd>").expect(name).0
}

#[test]
fn a_page_says_what_its_row_says_and_how_its_picture_differs() {
    let (mut rows, mut alike) = (0, 0);
    for cell in cells().filter(can_draw) {
        let outcome = judge(&cell, 1);
        let mut printed = Vec::new();
        write_human(&mut printed, std::slice::from_ref(&outcome), 1).expect("memory takes it");
        let printed = text(&printed);
        let drawn = record(&outcome).expect("the machine is there");
        let shown = frames(&cell, &drawn.run);
        let page = html::page(&outcome, &drawn, &shown);
        let said = |name| fact(&page, name);
        let row =
            format!("named {}; {}; {}", said("Rules named"), said("The data"), said("Judged by"));
        assert!(printed.contains(&row), "{cell}: {row}\n{printed}");
        assert!(said("Verdict").starts_with(cell.expected.name()), "{cell}: {}", said("Verdict"));
        assert!(page.contains(&format!("{} --html", outcome.replay())), "{cell}");
        let (_, about) = page.split_once("<p class=\"about\">").expect("a word on the picture");
        let about = about.split_once("</p>").expect("its end").0;
        let here = format!("Named in it: <b>{}</b>", names(drawn.run.named().into_iter()));
        assert!(about.contains(&here), "{cell}: {about}");
        assert!(about.contains(&format!("with seed {}:", drawn.seed)), "{cell}: {about}");
        let [elsewhere, own] = drawn.disagreement(&outcome);
        for (rules, words) in [(elsewhere, "Not in this run"), (own, "In this run only")] {
            assert_eq!(about.contains(words), !rules.is_empty(), "{cell}: {about}");
            for rule in rules {
                assert!(about.contains(rule.name()), "{cell}: {about}");
            }
        }
        let spoiled = shown.iter().filter(|frame| frame.spoiled).count();
        assert_eq!(spoiled, drawn.run.spoiled.len(), "{cell}: the mistake is shown");
        for report in drawn.run.reports().filter(|report| !report.harmless) {
            let title = format!("Rule {} is broken", report.rule);
            assert!(shown.iter().any(|frame| frame.title.starts_with(&title)), "{cell}: {title}");
        }
        if let Some((_, found)) = &outcome.data {
            let drawn = drawn.run.wrong().map(|(_, found)| found.class);
            assert_eq!(drawn, Some(found.class), "{cell}");
            assert!(shown.iter().any(|frame| frame.loss.is_some()), "{cell}");
        }
        assert!(!shown.is_empty(), "{cell}");
        rows += 1;
        alike += usize::from(drawn.run.named() == outcome.named);
    }
    assert!(rows > 300 && alike * 10 > rows * 8, "{alike} of {rows} name the same rules");
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
        let there = |line: &Line| match cell(name).direction {
            Direction::ToDevice => line.device,
            Direction::FromDevice => line.processor,
        };
        for line in &last.lines {
            assert!(there(line).iter().all(|word| *word == Content::New), "{name}: {line:?}");
        }
    }
}

#[test]
fn a_picture_of_system_dma_shows_the_fifo_and_its_tail() {
    // Of 256 bytes in chunks of 24 the last 16 wait for a flush: two cells.
    let words = |line: &Line, place: fn(&Line) -> Words| {
        place(line).iter().filter(|word| **word == Content::New).count()
    };
    let all =
        |frame: &Frame, place| -> usize { frame.lines.iter().map(|line| words(line, place)).sum() };
    for direction in ["from-device", "to-device"] {
        let name = format!("nt/system/{direction}/FlushAdapterBuffers/left-out");
        let (frames, page) = picture(&name);
        assert!(page.contains("Controller FIFO"), "{name}");
        let (there, there_name): (fn(&Line) -> Words, _) = match direction {
            "to-device" => (|line| line.device, "device"),
            _ => (|line| line.ram, "ram"),
        };
        let fifo = |frame: &Frame| all(frame, |line| line.fifo);
        let chunk = frames.iter().position(|frame| fifo(frame) == 3).expect("a chunk in the FIFO");
        let passed = &frames[chunk + 1];
        assert_eq!((fifo(passed), all(passed, there)), (0, 3), "{name}: {}", passed.title);
        assert!(passed.moved.contains(&"fifo") && passed.moved.contains(&there_name), "{name}");
        let waiting = frames.iter().rfind(|frame| fifo(frame) > 0).expect("the tail");
        assert_eq!((fifo(waiting), all(waiting, there)), (2, 30), "{name}: {}", waiting.title);
        let loss = frames.iter().find(|frame| frame.loss.is_some()).expect("the loss");
        assert!(loss.loss.as_deref().is_some_and(|text| text.contains("16 bytes")), "{name}");
        assert_eq!((fifo(loss), all(loss, there)), (0, 30), "{name}: {}", loss.title);

        // With the flush everything arrives.
        let whole = format!("nt/system/{direction}/FlushAdapterBuffers/twice");
        let (frames, _) = picture(&whole);
        let flush = frames.iter().find(|frame| frame.title.ends_with("FlushAdapterBuffers"));
        let flush = flush.expect("the flush");
        assert_eq!((fifo(flush), all(flush, there)), (0, 32), "{whole}");
        assert!(flush.moved.contains(&"fifo"), "{whole}");
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
    assert_eq!(report["schema"], "dmaproof.lab");
    assert_eq!(report["differing"], 0);
    assert_eq!((&report["rows"], &report["planned"]), (&16.into(), &16.into()));
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

#[cfg(unix)]
#[test]
fn an_interrupted_lab_prints_the_rows_that_it_has() {
    let end = |arguments: &[&str], signal: &str| {
        let folder = tempfile::tempdir().unwrap();
        let entries = || std::fs::read_dir(folder.path()).unwrap().count();
        let mut command = Command::new(env!("CARGO_BIN_EXE_dmaproof"));
        command.args(["lab", "--html"]).arg(folder.path().join("page.html")).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("starts");
        // The page's file is begun before the first row.
        while entries() == 0 && child.try_wait().unwrap().is_none() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        let id = child.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
        let output = child.wait_with_output().expect("ends");
        let said = text(&output.stdout);
        assert_eq!(output.status.code(), Some(130), "{said}");
        // A page of what was judged, or none; nothing that is not finished.
        assert_eq!(entries(), usize::from(folder.path().join("page.html").exists()));
        said
    };
    let said = end(&[], "-INT");
    let last = said.lines().rfind(|line| !line.contains("page.html")).expect("a last line");
    let counts = last.strip_prefix("INTERRUPTED after ").expect(last);
    let (rows, rest) = counts.split_once(" of 844 rows: ").expect(last);
    let rows: usize = rows.parse().expect(last);
    assert!(rows < 844 && rest.contains("0 differ"), "{last}");
    assert_eq!(said.matches("\n  ok ").count(), rows, "{said}");
    let said = end(&["--json"], "-TERM");
    let report: Value = serde_json::from_str(&said).expect("one object");
    assert_eq!((&report["exit_status"], &report["planned"]), (&130.into(), &844.into()));
    let rows = report["table"].as_array().expect("rows").len();
    assert!(report["rows"] == rows && rows < 844, "{rows}");
}

#[test]
fn a_page_that_cannot_be_written_is_refused_before_anything_runs() {
    let output = app(&["lab", "--html", "no/such/folder/page.html"]);
    let message = text(&output.stderr);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{message}");
    assert!(message.contains("no/such/folder/page.html"), "{message}");
}

#[test]
fn wrong_usage_says_what_is_right() {
    for (arguments, words) in [
        (&["lab", "--skip", "keflush"][..], &["KeFlushIoBuffers", "FLUSH"][..]),
        (&["lab", "--path", "teleport"], &["packet", "sg"]),
        (&["lab", "--profile", "vax"], &["arm64", "nt"]),
        (&["lab", "--case", "x64/none"], &["no row is called x64/none", "--list"]),
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
