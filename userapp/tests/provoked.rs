//! Failures that are asked for: calls that fail, and what the exerciser is told to do wrong.

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

/// Runs a command that must end like this, and returns what it printed, errors last.
fn ends(arguments: &[&str], status: i32) -> String {
    let output = app(arguments);
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text += &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{arguments:?}: {text}");
    text
}

fn json(arguments: &[&str], status: i32) -> Value {
    let output = app(arguments);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(status), "{arguments:?}: {text}");
    serde_json::from_str(&text).expect("one JSON object")
}

/// What a test by packets says with this fault in its cases.
fn with_fault(fault: &str, status: i32) -> Value {
    let machine = format!("x64,inject={fault}");
    let report = json(
        &["test", "--json", "--paths", "packet", "--cases", "0-20", "--sim", &machine],
        status,
    );
    assert_eq!(report["exit_status"], status);
    let provoked = report["provoked"].as_array().expect("a list");
    for (one, option) in provoked.iter().zip(fault.split('+')) {
        assert_eq!(one["option"], format!("inject={option}"));
        assert!(one["happened"].as_u64() > Some(0), "{fault}: {one}");
    }
    assert!(report["replay"].as_str().unwrap().contains(fault), "{fault}: {}", report["replay"]);
    report
}

fn counted(report: &Value, counter: &str) -> u64 {
    let incidents = report["incidents"].as_array().expect("a list");
    let found = incidents.iter().find(|incident| incident["counter"] == counter);
    found.map_or(0, |incident| incident["count"].as_u64().expect("a number"))
}

#[test]
fn harmless_faults_of_the_device_leave_all_data_intact_and_are_counted() {
    for (fault, counters) in [
        ("lost-interrupt", &[("interrupts_lost", 1)][..]),
        ("lost-interrupt:0:3:4", &[("interrupts_lost", 4)]),
        ("early-interrupt:10000", &[("interrupts_lost", 1), ("interrupts_spurious", 1)]),
        ("duplicate-interrupt:3000", &[("interrupts_spurious", 1)]),
        ("spurious-interrupt:3000", &[("interrupts_spurious", 1)]),
        ("duplicate-completion", &[("completions_unknown", 1)]),
        ("late-interrupt:3000", &[]),
        ("wrong-vector:3", &[]),
    ] {
        let report = with_fault(fault, 0);
        assert_eq!(
            (&report["verdict"], &report["failed"]),
            (&"intact".into(), &0.into()),
            "{fault}"
        );
        for (counter, count) in counters {
            assert_eq!(counted(&report, counter), *count, "{fault}: {}", report["incidents"]);
        }
        assert_eq!(counted(&report, "errors") + counted(&report, "timed_out"), 0, "{fault}");
    }
}

#[test]
fn harmful_faults_of_the_device_fail_requests_by_name() {
    for (fault, status, counter) in [
        ("short-transfer:1", "STATUS_DEVICE_DATA_ERROR", "errors"),
        ("failed-command", "STATUS_IO_DEVICE_ERROR", "errors"),
        ("stall", "STATUS_IO_TIMEOUT", "aborts"),
        ("stall+ignored-abort", "STATUS_IO_TIMEOUT", "resets"),
    ] {
        let report = with_fault(fault, 1);
        assert_eq!((&report["verdict"], &report["failed"]), (&"corrupted".into(), &1.into()));
        let failure = &report["failures"][0];
        assert_eq!(failure["class"], "request-failed", "{fault}");
        let text = failure["text"].as_str().unwrap();
        let told = "the device did what it was told to: inject=";
        assert!(text.contains(status) && text.contains(told), "{fault}: {text}");
        assert_eq!(counted(&report, counter), 1, "{fault}");
    }
}

#[test]
fn what_the_driver_cannot_know_is_seen_in_the_data_and_explained() {
    for (fault, class) in [("corrupt-byte", "bit-flips"), ("wrong-offset:4096:2", "")] {
        let report = with_fault(fault, 1);
        let failure = &report["failures"][0];
        if !class.is_empty() {
            assert_eq!(failure["class"], class, "{failure}");
        }
        let told = format!("the device did what it was told to: inject={fault}");
        assert!(failure["text"].as_str().unwrap().contains(&told), "{failure}");
        // It is no rule of the driver's.
        assert_eq!(failure["rule"], Value::Null, "{failure}");
    }
    let report = with_fault("bad-address:1073741824", 1);
    assert_eq!(
        (&report["verdict"], &report["violation"]["rule"]),
        (&"rule-broken".into(), &"SIM-02".into())
    );
}

#[test]
fn each_fault_is_told_once() {
    let faults = "corrupt-byte:0:0:all+late-interrupt:1:0:all";
    let report = with_fault(faults, 1);
    for failure in report["failures"].as_array().unwrap() {
        let text = failure["text"].as_str().unwrap();
        for fault in faults.split('+') {
            assert_eq!(text.matches(fault).count(), 1, "{text}");
        }
    }
}

#[test]
fn a_device_that_is_told_never_to_stop_is_an_end_of_its_own() {
    let report = with_fault("stall:0:0:all+ignored-abort:0:0:all+ignored-reset:0:0:all", 1);
    assert_eq!(report["verdict"], "device-never-stopped");
    assert_eq!(report["never_stopped"][0]["rule"], "SIM-05");
    assert_eq!(report["violation"], Value::Null);
}

#[test]
fn every_command_does_what_the_device_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    fs::write(&from, [7; 5000]).unwrap();
    let (from, to) = (from.to_str().unwrap(), to.to_str().unwrap());
    let text = ends(&["copy", from, to, "--sim", "x64,inject=corrupt-byte:9"], 1);
    assert!(
        text.contains("bit-flips") && text.contains("told to: inject=corrupt-byte:9"),
        "{text}"
    );
    assert!(
        text.contains("`dmaproof test --sim x64,device=exerciser,inject=corrupt-byte:9 --paths")
    );
    let text = ends(&["write", from, "--sim", "x64-dmar,inject=failed-command"], 1);
    assert!(text.contains("STATUS_IO_DEVICE_ERROR"), "{text}");
    for (scheduling, again) in
        [("deterministic", "again: "), ("threads", "again, as far as real threads permit: ")]
    {
        let machine = format!("x64,scheduling={scheduling},inject=short-transfer:3:50");
        let text = ends(&["soak", "--rounds", "1", "--threads", "2", "--sim", &machine], 1);
        assert!(text.contains(&format!("\n{again}dmaproof soak --sim x64,")), "{text}");
    }
    // Removed devices count too.
    let machine = "x64,inject=spurious-interrupt:3000:0:3";
    let text = ends(&["soak", "--rounds", "1", "--threads", "2", "--sim", machine], 0);
    let times = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("inject=spurious-interrupt:3000:0:3: "));
    assert!(times.is_some_and(|times| times.ends_with("commands")), "{text}");
}

#[test]
fn a_failure_that_never_happened_is_said_and_is_no_success() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    fs::write(&from, [7; 5000]).unwrap();
    let (from, to) = (from.to_str().unwrap(), to.to_str().unwrap());
    for option in ["fail=99999999", "inject=stall:0:999999"] {
        let machine = format!("x64,{option}");
        let never = format!("{option} never happened: ");
        for command in [
            &["test", "--cases", "0-5"][..],
            &["bench", "--paths", "packet", "--sizes", "512", "--depths", "1", "--time", "1ms"],
            &["soak", "--rounds", "1", "--threads", "2"],
            &["copy", from, to, "--force"],
            &["write", from],
            &["read", to, "--force"],
        ] {
            let text = ends(&[command, &["--sim", &machine]].concat(), 2);
            assert!(text.contains(&never), "{command:?}: {text}");
        }
        assert_eq!(fs::read(to).unwrap().len(), 16 << 20, "what was read is kept");
    }
    let report = json(&["test", "--json", "--cases", "0-5", "--sim", "x64,fail=99999999"], 2);
    assert_eq!(report["verdict"], "not-provoked");
    assert_eq!(report["provoked"][0]["happened"], 0);
    assert!(report["summary"].as_str().unwrap().contains("--sim x64,device=exerciser --faults`"));
    // Chance owes nothing.
    let report =
        json(&["test", "--json", "--cases", "0-5", "--sim", "x64,fail=random:4000000000"], 0);
    assert_eq!(
        (&report["verdict"], &report["provoked"][0]["happened"]),
        (&"intact".into(), &0.into())
    );
}

#[test]
fn a_crossing_that_is_named_fails_in_one_run_that_is_judged_like_the_others() {
    let named = ["test", "--faults", "--cases", "0-5", "--sim", "x64,device=edu,fail=12"];
    let text = ends(&named, 0);
    assert!(text.contains("one run, with the failing calls that --sim names"), "{text}");
    assert!(
        text.contains("fail=12: 1 call: ") && text.contains("INTACT: the device did not start")
    );
    let object = json(&[&named[..], &["--json"]].concat(), 0);
    assert_eq!((&object["runs"], &object["provoked"][0]["happened"]), (&1.into(), &1.into()));
    let text =
        ends(&["test", "--faults", "--cases", "0-5", "--sim", "x64,device=edu,fail=9999999"], 2);
    assert!(text.contains("NOT PROVOKED: fail=9999999 never happened"), "{text}");
    for option in [&["--seeds", "3"][..], &["--seeds", "3", "--faults"]] {
        let text = ends(&[&["test", "--sim", "x64,fail=12"], option].concat(), 2);
        assert!(text.contains("each seed makes another one"), "{text}");
    }
    let random =
        ["test", "--faults", "--seeds", "2", "--sim", "x64,device=edu,fail=random:20", "--json"];
    assert_eq!(json(&random, 0)["runs"], 2);
    let both = ends(&["test", "--faults", "--sim", "x64,inject=stall"], 2);
    assert!(both.contains("leave one of them out"), "{both}");
    let text = ends(&["test", "--faults", "--image", "x.sys"], 2);
    assert!(text.contains("--faults needs a simulated machine"), "{text}");
}

#[test]
fn a_device_that_does_not_start_says_what_it_lacked() {
    for command in [&["test"][..], &["info"], &["bench"]] {
        let text = ends(&[command, &["--sim", "x64,versions=1"]].concat(), 3);
        assert!(text.contains("versions=1 offers no DMA adapter of version 2"), "{text}");
        let text = ends(&[command, &["--sim", "x64,fail=12"]].concat(), 3);
        assert!(text.contains("fail=12 made a call fail (Wdf"), "{text}");
        assert!(!text.contains("fewer requests"), "{text}");
    }
}

#[test]
fn a_bench_that_ends_early_writes_what_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("page.html");
    let machine = "x64,device=edu,leave-out=FlushAdapterBuffers";
    let bench = [
        "bench",
        "--paths",
        "common-cached,packet",
        "--sizes",
        "512",
        "--depths",
        "1",
        "--time",
        "2ms",
        "--sim",
        machine,
    ];
    let object = json(&[&bench[..], &["--json", "--html", page.to_str().unwrap()]].concat(), 1);
    assert_eq!((&object["verdict"], &object["exit_status"]), (&"rule-broken".into(), &1.into()));
    assert_eq!(
        (object["cells"].as_array().unwrap().len(), &object["cells_planned"]),
        (2, &4.into())
    );
    let trouble = &object["trouble"];
    assert_eq!(
        (&trouble["path"], &trouble["violation"]["rule"]),
        (&"packet".into(), &"DMA-42".into())
    );
    let replay = trouble["replay"].as_str().unwrap();
    assert!(replay.contains(&format!("--sim {machine} --paths packet")), "{replay}");
    let page = fs::read_to_string(page).unwrap();
    assert!(page.contains("RULE BROKEN after 2 of 4 lines: DMA-42") && page.contains(replay));
    assert_eq!(page.split("<tbody>").nth(1).unwrap().matches("<tr").count(), 2);
    let text = ends(&bench, 1);
    assert!(text.contains("rule DMA-42 was broken at") && text.contains(replay), "{text}");
    assert!(text.lines().last().unwrap().starts_with("RULE BROKEN after 2 of 4"), "{text}");
}

/// Each hint can be pasted.
#[test]
fn what_is_to_be_run_next_runs_on_the_same_machine() {
    let info = "`dmaproof info --sim x64-dmar,device=edu`";
    let machine = "x64-dmar,device=edu";
    for command in [&["test", "--paths", "system"][..], &["bench", "--paths", "pio"]] {
        let text = ends(&[command, &["--sim", machine]].concat(), 2);
        assert!(text.contains(info), "{command:?}: {text}");
    }
    let text = ends(&["test", "--paths", "system", "--faults", "--sim", machine], 2);
    assert!(text.contains("`dmaproof info --sim x64-dmar,device=edu,scheduling="), "{text}");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, [1; 64]).unwrap();
    let (file, out) = (file.to_str().unwrap(), folder.path().join("out"));
    let out = out.to_str().unwrap();
    let text = ends(&["copy", file, out, "--path", "system", "--sim", machine], 2);
    assert!(text.contains(info), "{text}");
    let text = ends(&["read", out, "--path", "pio", "--length", "3", "--sim", machine], 2);
    assert!(text.contains(info), "{text}");
    let text = ends(&["write", file, "--sim", machine], 0);
    assert!(text.contains("`dmaproof copy FILE OUT --sim x64-dmar,device=edu`"), "{text}");
}

#[test]
fn a_file_is_copied_by_pio_where_that_reaches_memory() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    let data: Vec<u8> = (0..200_003u32).map(|number| (number * 7 % 251) as u8).collect();
    fs::write(&from, &data).unwrap();
    let (from, to) = (from.to_str().unwrap(), to.to_str().unwrap());
    ends(&["copy", from, to, "--path", "pio"], 0);
    assert!(fs::read(to).unwrap() == data);
    let text = ends(&["copy", from, to, "--force", "--path", "pio", "--sim", "x64,device=edu"], 2);
    assert!(text.contains("reaches only registers") && text.contains("packet, sg, v3"), "{text}");
}
