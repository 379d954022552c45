//! The command line with the simulated machine: the app, the driver and the device together.

use std::fs;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn app(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dmaproof"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("the app starts")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs a command that must succeed, and returns what it printed.
fn good(arguments: &[&str]) -> String {
    let output = app(arguments);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {message}\n{}", text(&output));
    assert_eq!(message, "", "{arguments:?}");
    text(&output)
}

fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&good(arguments)).expect("one JSON object")
}

const MACHINES: [&str; 10] = [
    "x64",
    "x64-dmar",
    "x64,double-buffer=on",
    "x64,map-registers=1",
    "x64,map-registers=2,double-buffer=on",
    "x64,msi=off",
    "x64-dmar,map-registers=2,seed=9",
    "x64,scheduling=threads,processors=4",
    "arm64",
    "nt,map-registers=1,seed=3",
];

#[test]
fn all_data_is_intact_on_every_machine() {
    for machine in MACHINES {
        let machine = format!("{machine},device=edu");
        let report = json(&["test", "--json", "--sim", &machine]);
        assert_eq!(report["verdict"], "intact", "{machine}");
        assert_eq!(report["failed"], 0, "{machine}");
        assert_eq!(report["cases_done"], report["cases_planned"], "{machine}");
        assert_eq!(report["count_disagreements"], serde_json::json!([]), "{machine}");
        for row in report["ledger"].as_array().unwrap() {
            assert!(row["state"] != "not-run" && row["state"] != "failed", "{machine}: {row}");
        }
    }
}

/// A sample: the whole is `.ci/run`'s.
#[test]
fn the_exerciser_is_intact_on_every_machine() {
    for machine in MACHINES {
        let machine = format!("{machine},device=exerciser");
        let report = json(&["test", "--json", "--sim", &machine, "--cases", "0-30"]);
        assert_eq!(report["verdict"], "intact", "{machine}");
        assert_eq!(report["failed"], 0, "{machine}");
        assert_eq!(report["count_disagreements"], serde_json::json!([]), "{machine}");
    }
}

/// Whether a text names a place in the driver: a line, or a function in a build without debug
/// lines.
fn names_a_place(text: &str) -> bool {
    [".rs:", "wdk_dma::", "dmaproof_driver::"].iter().any(|part| text.contains(part))
}

/// What a run with a flush left out has to say: the classes of what the machine saw, and for each
/// failure the rule, the call and where it was broken.
fn without_flush(machine: &str, paths: &str) -> (Vec<String>, Vec<String>) {
    let arguments = ["test", "--json", "--sim", machine, "--paths", paths, "--stop-after", "40"];
    let output = app(&arguments);
    assert_eq!(output.status.code(), Some(1), "{machine}");
    let report: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!(report["verdict"], "corrupted", "{machine}");
    let failures = report["failures"].as_array().expect("a list").clone();
    let string = |failure: &Value, key: &str| failure[key].as_str().unwrap_or("").to_owned();
    // What changed beside the transfer on the device is another matter.
    let seen = failures.iter().filter(|f| f["breach"].is_string() && f["class"] != "overrun");
    let seen: Vec<&Value> = seen.collect();
    assert!(!seen.is_empty(), "{machine}: {failures:#?}");
    for failure in &seen {
        assert!(string(failure, "call").contains("lush"), "{failure:#?}");
        assert!(names_a_place(&string(failure, "breach")), "{failure:#?}");
    }
    // What was lost before this transfer began, in a common buffer, was seen in another one. Which
    // transfers that happens to depends on where the memory lies.
    let told = seen.iter().filter(|f| string(f, "text").contains("the machine saw"));
    let classes = told.map(|failure| string(failure, "class")).collect();
    (classes, seen.iter().map(|failure| string(failure, "rule")).collect())
}

#[test]
fn what_a_missing_flush_did_is_explained_on_machines_that_go_on() {
    for (machine, paths, classes, rule) in [
        (
            "arm64,device=edu,leave-out=KeFlushIoBuffers",
            "packet",
            &["poison", "late-write-back"] as &[&str],
            "DMA-85",
        ),
        (
            "nt,device=edu,leave-out=KeFlushIoBuffers",
            "common-cached",
            &["late-write-back"],
            "DMA-90",
        ),
        ("nt,device=edu,leave-out=FlushAdapterBuffers", "packet", &["tail-missing"], "DMA-42"),
        (
            "arm64,device=edu,leave-out=FlushAdapterBuffers",
            "packet",
            &["piece-not-copied"],
            "DMA-42",
        ),
        ("arm64,device=edu,leave-out=PutScatterGatherList", "sg", &["piece-not-copied"], "DMA-100"),
    ] {
        let (seen, rules) = without_flush(&format!("{machine},go-on=on"), paths);
        for class in classes {
            assert!(seen.iter().any(|found| found == class), "{machine}: {class} in {seen:?}");
        }
        assert!(rules.iter().all(|found| found == rule), "{machine}: {rule} in {rules:?}");
    }
}

/// What a run with a call left out says of every failure and in its notes.
fn without(machine: &str, cases: &str, more: &[&str]) -> (Vec<Value>, Vec<Value>) {
    let machine = format!("{machine},go-on=on");
    let output = app(&[&["test", "--json", "--cases", cases, "--sim", &machine], more].concat());
    let report: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    let list = |key: &str| report[key].as_array().expect("a list").clone();
    (list("failures"), list("notes"))
}

#[test]
fn a_path_that_keeps_its_data_is_not_blamed_for_another_that_reads_it_wrong() {
    // Uncached common buffers need no KeFlushIoBuffers, nor does version 3, where lines that are
    // shared do not go through the cached one (nt); only packets are flushed by
    // FlushAdapterBuffers.
    let all = &["common-cached", "packet", "file", "sg", "v3"][..];
    for (machine, guilty) in [
        ("nt,device=edu,leave-out=KeFlushIoBuffers", all),
        ("arm64,device=edu,leave-out=KeFlushIoBuffers", &["packet", "file", "sg"]),
        ("nt,device=edu,leave-out=FlushAdapterBuffers", &["packet", "file"]),
        ("arm64,device=edu,leave-out=PutScatterGatherList", &["sg"]),
    ] {
        for seed in ["1", "2"] {
            let (failures, _) = without(machine, "0-150", &["--seed", seed]);
            assert!(!failures.is_empty(), "{machine}");
            for failure in &failures {
                let path = failure["path"].as_str().expect("a path");
                assert!(guilty.contains(&path), "{machine}: {failure:#}");
                // A device reads poison on the way there; a cache is written back on the way back.
                let other = match failure["direction"].as_str() {
                    Some("to-device") => "late-write-back",
                    _ => "poison",
                };
                assert_ne!(failure["class"], other, "{machine}: {failure:#}");
            }
        }
    }
}

#[test]
fn beside_other_transfers_no_rule_of_another_path_is_named() {
    let own: [(&str, &[&str]); 2] = [
        ("packet", &["DMA-42", "DMA-54", "DMA-56", "DMA-85", "DMA-88"]),
        ("file", &["DMA-42", "DMA-54", "DMA-56", "DMA-85", "DMA-88"]),
    ];
    let machine = "arm64,device=edu,leave-out=FlushAdapterBuffers";
    let (failures, _) = without(machine, "0-150", &["--depth", "4"]);
    assert!(!failures.is_empty());
    for failure in &failures {
        let path = failure["path"].as_str().expect("a path");
        let rules = own.iter().find(|(own, _)| *own == path).map(|(_, rules)| *rules);
        let named = failure["rule"].as_str();
        let fits = rules.is_some_and(|rules| named.is_none_or(|rule| rules.contains(&rule)));
        assert!(fits, "{failure:#}");
    }
}

#[test]
fn a_note_names_a_place_also_when_the_driver_was_in_no_call() {
    for machine in ["nt,leave-out=KeFlushIoBuffers", "arm64,leave-out=KeFlushIoBuffers"] {
        let (_, notes) = without(machine, "0-20", &[]);
        let cached = notes.iter().find(|note| note["rule"] == "DMA-90").expect("the rings' rule");
        let site = cached["call_site"].as_str().expect("a place");
        assert!(site.contains("outside of the driver's calls") && names_a_place(site), "{site}");
        let mut places: Vec<_> = notes
            .iter()
            .map(|note| format!("{} {} {}", note["rule"], note["call_site"], note["harmless"]))
            .collect();
        assert!(!places.iter().any(|place| place.contains("unknown")), "{places:?}");
        places.sort_unstable();
        let count = places.len();
        places.dedup();
        assert_eq!(places.len(), count, "one line is one place: {places:#?}");
    }
}

#[test]
fn a_device_that_never_saw_its_command_is_told_from_one_that_failed() {
    // Without its flushes the ring's line stays in the processor's cache.
    let simulation = "nt,leave-out=KeFlushIoBuffers,go-on=on";
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("page.html");
    let page = page.to_str().unwrap();
    let output = app(&["test", "--sim", simulation, "--cases", "0-5", "--html", page, "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    let found = &report["preparation"];
    let said = found["text"].as_str().expect("a sentence");
    assert!(said.contains("the device never saw the command"), "{said}");
    assert_eq!((&found["rule"], &found["class"]), (&"DMA-90".into(), &"request-failed".into()));
    assert!(std::fs::read_to_string(page).unwrap().contains("never saw the command"));
    let people = text(&app(&["test", "--sim", simulation, "--cases", "0-5"]));
    assert!(people.contains("never saw the command"), "{people}");
}

#[test]
fn caches_that_are_not_coherent_need_the_straight_scheduler() {
    let output = app(&["test", "--sim", "arm64,scheduling=threads"]);
    assert_eq!(output.status.code(), Some(2));
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(message.contains("use scheduling=straight"), "{message}");
}

#[test]
fn the_slave_device_moves_data_by_system_dma() {
    for seed in ["1", "2"] {
        let machine = format!("x64,device=slave,system-dma=on,seed={seed}");
        let text = good(&["test", "--sim", &machine, "--strict"]);
        assert!(text.starts_with("simulated machine x64, device slave"), "{text}");
        assert!(text.contains("system DMA") && text.contains("INTACT"), "{text}");
    }
}

#[test]
fn without_version_3_its_rows_are_not_available_and_the_rest_is_intact() {
    let report = json(&["test", "--json", "--sim", "x64,versions=2,device=edu"]);
    for row in report["ledger"].as_array().unwrap() {
        if row["path"] == "v3" {
            assert_eq!(row["state"], "not-available");
        }
    }
}

#[test]
fn the_default_target_is_x64_with_the_exerciser_and_is_named_first() {
    let report = good(&["test", "--cases", "0-20"]);
    assert!(report.starts_with("simulated machine x64, device exerciser"), "{report}");
    assert!(report.lines().last().unwrap().starts_with("INTACT"), "{report}");
}

#[test]
fn the_same_seed_makes_the_same_report() {
    let arguments = ["test", "--json", "--seed", "5", "--cases", "0-50"];
    assert_eq!(json(&arguments), json(&arguments));
}

#[test]
fn info_shows_the_device() {
    let info = json(&["info", "--json", "--sim", "x64,device=edu"]);
    assert_eq!(info["device"]["kind"], "edu");
    assert_eq!(info["device"]["pci_vendor"], 0x1234);
    assert_eq!(info["device"]["memory_bytes"], 4095);
    let info = json(&["info", "--json"]);
    assert_eq!(info["device"]["kind"], "exerciser");
    assert_eq!(info["device"]["memory_bytes"], 16 << 20);
    assert!(good(&["info"]).contains("adapter V2"));
}

#[test]
fn a_file_copied_through_the_device_is_equal() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    let data: Vec<u8> =
        (0..100_003u32).map(|number| (number.wrapping_mul(40503) >> 7) as u8).collect();
    fs::write(&from, &data).unwrap();
    for path in ["packet", "sg", "v3", "common-cached", "common-uncached", "file"] {
        let (from, to) = (from.to_str().unwrap(), to.to_str().unwrap());
        let said = good(&["copy", from, to, "--path", path, "--force"]);
        assert!(said.contains("every byte is intact"), "{said}");
        assert_eq!(fs::read(to).unwrap(), data, "{path}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[test]
fn files_that_cannot_be_used_end_with_2() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, vec![7; 5000]).unwrap();
    let file = file.to_str().unwrap();
    for arguments in [
        &["write", file, "--sim", "x64,device=edu"][..],
        &["write", "no-such-file"],
        &["copy", file, file],
        &["copy", file, "no-such-folder/out"],
        &["read", file],
    ] {
        let output = app(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
    assert_eq!(fs::read(file).unwrap(), vec![7; 5000]);
}

#[test]
fn read_gives_as_many_bytes_as_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    good(&["read", out.to_str().unwrap(), "--offset", "100", "--length", "50"]);
    assert_eq!(fs::read(&out).unwrap().len(), 50);
}

#[test]
fn rules_can_be_listed_shown_and_parsed() {
    let rules: Value = json(&["rules", "--json"]);
    assert!(rules.as_array().unwrap().len() > 180);
    assert!(good(&["rules"]).contains("DMA-85"));
    assert!(good(&["rules", "dma-85"]).starts_with("DMA-85: "));
    assert_eq!(app(&["rules", "DMA-999"]).status.code(), Some(2));
}

#[test]
fn every_rule_that_an_explanation_names_is_in_the_catalogue() {
    let rules = json(&["rules", "--json"]);
    let known: Vec<&str> =
        rules.as_array().unwrap().iter().filter_map(|rule| rule["id"].as_str()).collect();
    for class in dmaproof::explain::Class::ALL {
        for route in dmaproof::route::Route::ALL {
            for direction in dmaproof_protocol::Direction::ALL {
                if let Some(rule) = dmaproof::explain::usual_rule(class, route, *direction) {
                    assert!(known.contains(&rule), "{rule}");
                }
            }
        }
    }
}

#[test]
fn a_reader_that_leaves_early_changes_nothing() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = Command::new(env!("CARGO_BIN_EXE_dmaproof"))
        .args(["test", "--cases", "0-20"])
        .stdout(writer)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn each_json_object_names_its_schema() {
    let run = ["test", "--sim", "x64,device=edu", "--cases", "0-1", "--json"];
    let one_fault = ["test", "--sim", "x64,device=edu,fail=12", "--cases", "0-1", "--json"];
    for (arguments, more, schema) in [
        (&run[..], &[][..], "dmaproof.test"),
        (&run, &["--seeds", "1"], "dmaproof.seeds"),
        (&one_fault, &["--faults"], "dmaproof.faults"),
        (&["list", "--json"], &[], "dmaproof.list"),
        (&["info", "--json"], &[], "dmaproof.info"),
        (
            &["lab", "--json"],
            &["--case", "x64/pio/to-device/KeFlushIoBuffers/left-out"],
            "dmaproof.lab",
        ),
    ] {
        let object = json(&[arguments, more].concat());
        assert_eq!((&object["schema"], &object["schema_version"]), (&schema.into(), &1.into()));
    }
}

#[test]
fn failing_calls_where_nothing_can_be_moved_are_no_success() {
    let arguments = ["test", "--faults", "--sim", "x64,device=edu", "--paths", "system"];
    let output = Command::new(env!("CARGO_BIN_EXE_dmaproof")).args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.lines().last().unwrap().starts_with("NOTHING RAN"), "{text}");
}
