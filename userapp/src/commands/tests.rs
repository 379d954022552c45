//! The commands against the device in memory.

use std::fs;

use clap::Parser;
use dmaproof_protocol::{Direction, Path, status};
use serde_json::Value;

use super::*;
use crate::target::memory::{DefectKind, MemoryTarget};
use crate::target::{Body, Ended, Machine, Note, Target};

/// Runs a command line on a target, and returns exit status and output.
fn app(target: &dyn Target, arguments: &[&str]) -> (Result<Exit, AppError>, String) {
    let cli = Cli::try_parse_from([&["dmaproof"], arguments].concat()).unwrap();
    let mut out = Vec::new();
    let result = match cli.command {
        Command::Info(arguments) => info::run(&arguments, target, &mut out),
        Command::Test(arguments) => test::run(&arguments, target, &mut out),
        Command::Write(arguments) => write::run(&arguments, target, &mut out),
        Command::Read(arguments) => read::run(&arguments, target, &mut out),
        Command::Copy(arguments) => copy::run(&arguments, target, &mut out),
        Command::List(arguments) => list::run(&arguments, &Ok(Vec::new()), &mut out),
        Command::Bench(arguments) => bench::run_on(&arguments, target, &mut out),
        Command::Soak(_) => unreachable!("its target is opened for each round"),
        Command::Lab(arguments) => lab::run(&arguments, &mut out),
        Command::Rules(arguments) => rules::run(&arguments, &catalogue(), &mut out),
    };
    (result, String::from_utf8(out).unwrap())
}

fn catalogue() -> Vec<crate::catalogue::Rule> {
    vec![crate::catalogue::Rule {
        id: "DMA-54".to_owned(),
        title: "Flush timing".to_owned(),
        text: "Flush before anybody looks.".to_owned(),
        verifier: String::new(),
        homes: vec!["check".to_owned()],
        enforced: "check".to_owned(),
        dma_debug: vec!["9: a message".to_owned()],
        sources: vec!["DDI/a.md".to_owned(), "DDI/b.md".to_owned()],
    }]
}

fn exit(result: Result<Exit, AppError>) -> Exit {
    result.unwrap_or_else(|error| error.exit())
}

#[test]
fn test_says_first_what_it_tests_and_last_that_it_is_intact() {
    let (result, text) = app(&MemoryTarget::new(), &["test"]);
    assert_eq!(result.unwrap(), Exit::Intact);
    assert!(text.starts_with("memory\nplan quick, seed 1 (the default)\n"), "{text}");
    assert!(text.lines().last().unwrap().starts_with("INTACT"), "{text}");
    assert!(text.contains("ReadFile/WriteFile (packet)"), "{text}");
}

#[test]
fn test_fails_with_rule_diff_and_replay() {
    let target = MemoryTarget::new().with_defect(
        Path::ScatterGather,
        Direction::FromDevice,
        DefectKind::Lost,
    );
    let (result, text) = app(&target, &["test", "--paths", "sg", "--stop-after", "2"]);
    assert_eq!(result.unwrap(), Exit::Failed);
    assert!(text.contains("not-copied in scatter/gather, from-device"), "{text}");
    assert!(text.contains("usual cause: DMA-76"), "{text}");
    assert!(text.contains("again: dmaproof test --sim memory --quick --seed 1 --paths sg"));
    assert!(text.contains("gave up after 2 failures"), "{text}");
    assert!(text.lines().last().unwrap().starts_with("CORRUPTED"), "{text}");
}

#[test]
fn test_in_json_is_one_object_that_agrees_with_the_exit_status() {
    let target = MemoryTarget::new().with_defect(
        Path::Version3,
        Direction::ToDevice,
        DefectKind::Shifted(8),
    );
    let (result, text) = app(&target, &["test", "--json", "--paths", "v3", "--seed", "7"]);
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["exit_status"], u8::from(result.unwrap()));
    assert_eq!(value["verdict"], "corrupted");
    assert_eq!(value["seed"], 7);
    let failure = &value["failures"][0];
    assert_eq!((failure["path"].as_str(), failure["class"].as_str().is_some()), (Some("v3"), true));
    assert!(failure["diff"].as_array().is_some_and(|lines| !lines.is_empty()));
}

#[test]
fn test_keeps_the_ledger_when_the_machine_stops() {
    let target = MemoryTarget::new().with_defect(
        Path::ScatterGather,
        Direction::ToDevice,
        DefectKind::Stops,
    );
    let (result, text) = app(&target, &["test"]);
    assert_eq!(result.unwrap(), Exit::Failed);
    assert!(text.contains("rule DMA-54 was broken at packet.rs:1"), "{text}");
    assert!(text.contains("coverage by length"), "{text}");
    assert!(text.lines().last().unwrap().starts_with("RULE BROKEN: DMA-54"), "{text}");
}

#[test]
fn test_of_what_the_device_does_not_offer_is_no_pass() {
    let (result, text) = app(&MemoryTarget::new(), &["test", "--paths", "system"]);
    assert_eq!(result.unwrap(), Exit::Usage);
    assert!(text.contains("NOTHING RAN"), "{text}");
}

/// A rule that was not followed.
fn note(harmless: bool) -> Note {
    Note {
        rule: "DMA-85".to_owned(),
        text: "missing".to_owned(),
        call_site: "packet.rs:9".to_owned(),
        count: 1,
        harmless,
    }
}

#[test]
fn commands_list_the_notes_and_fail_if_data_can_be_lost_by_one() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    fs::write(&from, [7; 5000]).unwrap();
    let (from, to) = (from.to_str().unwrap(), to.to_str().unwrap());
    let commands = [
        &["copy", from, to, "--force"][..],
        &["write", from],
        &["read", to, "--force"],
        &["bench", "--paths", "packet", "--sizes", "512", "--depths", "1", "--time", "1ms"],
    ];
    for arguments in commands {
        for (harmless, expected) in [(true, Exit::Intact), (false, Exit::Failed)] {
            let target = MemoryTarget::new().with_note(note(harmless));
            let (result, text) = app(&target, arguments);
            assert_eq!(exit(result), expected, "{arguments:?}: {text}");
            assert!(text.contains("DMA-85 not followed at packet.rs:9"), "{arguments:?}: {text}");
        }
    }
    // Both directions of the bench have it.
    let json = [commands[3], &["--json"]].concat();
    let (_, text) = app(&MemoryTarget::new().with_note(note(true)), &json);
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["notes"][0]["count"], 2);
}

#[test]
fn test_takes_notes_seriously_only_when_strict() {
    let target = MemoryTarget::new().with_note(note(true));
    let (result, text) = app(&target, &["test", "--cases", "0-20"]);
    assert_eq!(result.unwrap(), Exit::Intact);
    assert!(text.contains("DMA-85 not followed at packet.rs:9"), "{text}");
    let (result, _) = app(&target, &["test", "--cases", "0-20", "--strict"]);
    assert_eq!(result.unwrap(), Exit::Failed);
}

#[test]
fn a_device_that_denies_access_is_unavailable() {
    let target = MemoryTarget::new().with_defect(
        Path::CommonBufferCached,
        Direction::ToDevice,
        DefectKind::Fails(status::ACCESS_DENIED),
    );
    let (result, text) = app(&target, &["test"]);
    assert_eq!(result.unwrap(), Exit::Unavailable);
    assert!(text.contains("Run as administrator"), "{text}");
}

#[test]
fn info_shows_device_paths_and_counters() {
    let (result, text) = app(&MemoryTarget::edu(), &["info"]);
    assert_eq!(result.unwrap(), Exit::Intact);
    assert!(text.contains("edu") && text.contains("4095 bytes of memory"), "{text}");
    assert!(text.contains("registers, 8 bytes"), "{text}");
    let (_, text) = app(&MemoryTarget::edu(), &["info", "--json"]);
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["device"]["memory_bytes"], 4095);
    assert_eq!(value["statistics"]["interrupts"], 0);
}

/// A memory target on a machine that Windows says something about.
struct RealTarget(MemoryTarget);

impl Target for RealTarget {
    fn describe(&self) -> String {
        self.0.describe()
    }

    fn options(&self) -> String {
        self.0.options()
    }

    fn varies(&self) -> Option<&'static str> {
        Some("the device permits")
    }

    fn machine(&self) -> Option<Machine> {
        Some(Machine {
            dma_remapping_policy: Ok(Some(2)),
            verifier: Err("no verifier.exe".to_owned()),
            verifier_after_restart: Ok(false),
        })
    }

    fn run_together(&self, bodies: Vec<Body>) -> Ended {
        self.0.run_together(bodies)
    }
}

#[test]
fn info_shows_what_the_system_says_about_a_real_device() {
    let (result, text) = app(&RealTarget(MemoryTarget::edu()), &["info"]);
    assert_eq!(result.unwrap(), Exit::Intact);
    assert!(text.contains("remapping:   policy 2"), "{text}");
    assert!(text.contains("verifier:    not available: no verifier.exe"), "{text}");
    let (_, text) = app(&RealTarget(MemoryTarget::edu()), &["info", "--json"]);
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["machine"]["dma_remapping_policy"], 2);
    assert_eq!(value["machine"]["driver_verifier_watches"], Value::Null);
    let (_, text) = app(&MemoryTarget::edu(), &["info", "--json"]);
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["machine"], Value::Null, "a simulated machine");
}

#[test]
fn list_names_what_there_is() {
    let (result, text) = app(&MemoryTarget::new(), &["list"]);
    assert_eq!(result.unwrap(), Exit::Intact);
    assert!(text.contains("x64-dmar") && text.contains("edu"));
    assert!(text.contains("none: no started device"), "{text}");
    let (_, text) = app(&MemoryTarget::new(), &["list", "--json"]);
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["simulated_machines"][0]["profile"], "x64");
}

#[test]
fn list_shows_real_devices_or_why_there_are_none() {
    let listed = |json: bool, found: &Result<Vec<String>, String>| {
        let mut out = Vec::new();
        list::run(&crate::cli::ListArgs { json }, found, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    let two = Ok(vec![r"\\?\pci#a".to_owned(), r"\\?\pci#b".to_owned()]);
    let text = listed(false, &two);
    // In quotes, because shells make something else of the & in such paths.
    assert!(text.contains("  \"\\\\?\\pci#b\"\n") && !text.contains("none"), "{text}");
    let value: Value = serde_json::from_str(&listed(true, &two)).unwrap();
    assert_eq!(value["real_devices"][0]["path"], r"\\?\pci#a");
    assert_eq!(value["real_devices_note"], Value::Null);
    let text = listed(false, &Err("nobody knows".to_owned()));
    assert!(text.contains("none: nobody knows"), "{text}");
}

#[test]
fn test_reports_a_device_that_never_stops() {
    let target = MemoryTarget::new().that_never_stops();
    let (result, text) = app(&target, &["test", "--cases", "0-20"]);
    assert_eq!(result.unwrap(), Exit::Failed);
    assert!(text.contains("the device never stopped"), "{text}");
    let (_, text) = app(&target, &["test", "--cases", "0-20", "--json"]);
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["verdict"], "device-never-stopped");
    assert_eq!(value["never_stopped"][0]["rule"], "SIM-05");
    assert_eq!(exit(app(&target, &["info"]).0), Exit::Failed);
}

#[test]
fn test_keeps_the_notes_when_the_machine_stops() {
    let target = MemoryTarget::new().with_note(note(true)).with_defect(
        Path::ScatterGather,
        Direction::ToDevice,
        DefectKind::Stops,
    );
    let (_, text) = app(&target, &["test"]);
    assert!(text.contains("DMA-85 not followed at packet.rs:9"), "{text}");
}

#[test]
fn rules_lists_shows_one_and_refuses_unknown_ones() {
    let target = MemoryTarget::new();
    assert!(app(&target, &["rules"]).1.contains("DMA-54    Flush timing"));
    assert!(app(&target, &["rules", "dma-54"]).1.contains("Flush before anybody looks."));
    assert!(app(&target, &["rules", "dma-54"]).1.contains("Linux dma-debug: 9: a message"));
    assert_eq!(exit(app(&target, &["rules", "DMA-999"]).0), Exit::Usage);
    let value: Value = serde_json::from_str(&app(&target, &["rules", "--json"]).1).unwrap();
    assert_eq!(value[0]["id"], "DMA-54");
}

#[test]
fn a_file_goes_to_the_device_and_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    let data: Vec<u8> = (0..10_000u32).map(|number| (number * 7 % 251) as u8).collect();
    fs::write(&from, &data).unwrap();
    let target = MemoryTarget::new();
    let (from, to) = (from.to_str().unwrap(), to.to_str().unwrap());
    let (result, text) = app(&target, &["write", from, "--offset", "100", "--path", "v3"]);
    assert_eq!(result.unwrap(), Exit::Intact, "{text}");
    let arguments = ["read", to, "--offset", "100", "--length", "10000", "--path", "file"];
    assert_eq!(app(&target, &arguments).0.unwrap(), Exit::Intact);
    assert_eq!(fs::read(to).unwrap(), data);
    // Once more: the file exists.
    assert_eq!(exit(app(&target, &arguments).0), Exit::Usage);
    let forced = [&arguments[..], &["--force"]].concat();
    assert_eq!(app(&target, &forced).0.unwrap(), Exit::Intact);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[test]
fn what_does_not_fit_is_refused_before_anything_moves() {
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("from");
    fs::write(&from, vec![1; 16_385]).unwrap();
    let target = MemoryTarget::new();
    let (result, _) = app(&target, &["write", from.to_str().unwrap()]);
    let message = result.unwrap_err().to_string();
    assert!(message.contains("16385 bytes at offset 0 do not fit"), "{message}");
    assert_eq!(target.transfers(), 0);
}

#[test]
fn registers_are_written_in_their_width_only() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let out = out.to_str().unwrap();
    let target = MemoryTarget::edu();
    let (result, _) = app(&target, &["read", out, "--path", "pio", "--length", "3"]);
    assert_eq!(exit(result), Exit::Usage);
    let (result, _) = app(&target, &["read", out, "--path", "pio"]);
    assert_eq!(result.unwrap(), Exit::Intact);
    assert_eq!(fs::read(out).unwrap()[..4], [0xED, 0, 0, 1]);
}

#[test]
fn copy_makes_an_equal_file_by_every_path() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    let data: Vec<u8> = (0..50_001u32).map(|number| (number * 31 % 257) as u8).collect();
    fs::write(&from, &data).unwrap();
    for path in ["packet", "sg", "v3", "common-cached", "common-uncached", "file"] {
        let (from, to) = (from.to_str().unwrap(), to.to_str().unwrap());
        let (result, _) = app(&MemoryTarget::edu(), &["copy", from, to, "--path", path, "--force"]);
        assert_eq!(result.unwrap(), Exit::Intact);
        assert_eq!(fs::read(to).unwrap(), data, "{path}");
    }
}

#[test]
fn copy_of_an_empty_file_is_an_empty_file() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    fs::write(&from, "").unwrap();
    let (result, _) =
        app(&MemoryTarget::new(), &["copy", from.to_str().unwrap(), to.to_str().unwrap()]);
    assert_eq!(result.unwrap(), Exit::Intact);
    assert_eq!(fs::read(to).unwrap(), b"");
}

#[test]
fn copy_that_goes_wrong_leaves_nothing_behind_and_says_what_happened() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    let mut random = crate::random::Random::new(2);
    let data: Vec<u8> = (0..9000).map(|_| random.next_u64() as u8).collect();
    fs::write(&from, &data).unwrap();
    let arguments = ["copy", from.to_str().unwrap(), to.to_str().unwrap()];
    for (kind, word) in [
        (DefectKind::TailMissing(5), "tail-missing"),
        (DefectKind::Shifted(16), "shifted"),
        (DefectKind::Lost, "not-copied"),
        (DefectKind::StaleLine, "stale-line"),
        (DefectKind::Fails(status::IO_TIMEOUT), "STATUS_IO_TIMEOUT"),
        (DefectKind::Short, "moved 8999 of 9000 bytes"),
        (DefectKind::Stops, "DMA-54"),
    ] {
        let target = MemoryTarget::new().with_defect(Path::Packet, Direction::FromDevice, kind);
        let error = app(&target, &arguments).0.unwrap_err();
        assert_eq!(error.exit(), Exit::Failed);
        assert!(error.to_string().contains(word), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "{kind:?}");
    }
}

#[test]
fn outputs_that_cannot_be_are_refused_and_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("from");
    fs::write(&from, "data").unwrap();
    let target = MemoryTarget::new();
    let from = from.to_str().unwrap();
    let somewhere = folder.path().join("no-such-folder/out");
    for out in [folder.path().to_str().unwrap(), somewhere.to_str().unwrap()] {
        let error = app(&target, &["copy", from, out, "--force"]).0.unwrap_err();
        assert_eq!(error.exit(), Exit::Usage, "{error}");
    }
    let error = app(&target, &["copy", "no-such-file", "out"]).0.unwrap_err();
    assert_eq!(error.exit(), Exit::Usage);
    let error = app(&target, &["copy", folder.path().to_str().unwrap(), "out"]).0.unwrap_err();
    assert!(error.to_string().contains("not a regular file"), "{error}");
}

#[test]
#[cfg(unix)]
fn copies_get_the_mode_of_the_source_or_of_what_they_replace() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    fs::write(&from, "data").unwrap();
    // Modes that no usual mask changes.
    fs::set_permissions(&from, fs::Permissions::from_mode(0o500)).unwrap();
    let arguments = ["copy", from.to_str().unwrap(), to.to_str().unwrap(), "--force"];
    assert_eq!(app(&MemoryTarget::new(), &arguments).0.unwrap(), Exit::Intact);
    assert_eq!(mode(&to), 0o500);
    fs::set_permissions(&to, fs::Permissions::from_mode(0o666)).unwrap();
    assert_eq!(app(&MemoryTarget::new(), &arguments).0.unwrap(), Exit::Intact);
    assert_eq!(mode(&to), 0o666);
}

#[test]
#[cfg(target_os = "linux")]
fn a_file_with_more_than_its_length_says_is_not_cut_short() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("to");
    let source = "/proc/self/status";
    for arguments in [&["copy", source, to.to_str().unwrap()][..], &["write", source]] {
        let error = app(&MemoryTarget::new(), arguments).0.unwrap_err();
        assert!(error.to_string().contains("the file changed while it was copied"), "{error}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn write_says_what_reached_the_device_and_how_long_it_stays() {
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("from");
    fs::write(&from, "d").unwrap();
    let arguments = ["write", from.to_str().unwrap()];
    let (_, text) = app(&MemoryTarget::new(), &arguments);
    assert!(text.contains("wrote 1 byte at") && text.contains("ends with this command"), "{text}");
    let target =
        MemoryTarget::new().with_defect(Path::Packet, Direction::ToDevice, DefectKind::Short);
    let message = app(&target, &arguments).0.unwrap_err().to_string();
    assert!(!message.contains("nothing was kept") && message.contains("no complete"), "{message}");
}

#[test]
fn cases_beyond_the_plan_are_answered_with_those_in_it() {
    let (result, text) = app(&MemoryTarget::new(), &["test", "--cases", "0xFFFFFFF"]);
    assert_eq!(result.unwrap(), Exit::Usage);
    assert!(text.contains("the plan has cases 0 to "), "{text}");
}

fn sweep(arguments: &[&str], target: fn(u64) -> MemoryTarget) -> (Exit, String) {
    let cli = Cli::try_parse_from([&["dmaproof", "test"], arguments].concat()).unwrap();
    let Command::Test(arguments) = cli.command else { unreachable!("the line above says test") };
    let mut out = Vec::new();
    let open = move |simulation: target::Simulation| {
        let opened: Box<dyn target::Target> = Box::new(target(simulation.seed));
        Ok(opened)
    };
    let result = seeds::run_on(&arguments, arguments.seeds.unwrap(), &open, &mut out);
    (exit(result), String::from_utf8(out).unwrap())
}

#[test]
fn a_sweep_says_how_many_seeds_were_intact() {
    let (exit, text) = sweep(&["--seeds", "12", "--seed", "5"], |_| MemoryTarget::new());
    assert_eq!(exit, Exit::Intact);
    assert!(text.contains("scheduling=deterministic") && text.contains("seeds 5 to 16"), "{text}");
    assert!(text.lines().last().unwrap().starts_with("INTACT: 12 seeds, "), "{text}");
}

#[test]
fn a_sweep_keeps_the_scheduler_that_was_named() {
    for scheduling in ["scheduling=straight", "scheduling=threads"] {
        let machine = format!("x64,{scheduling}");
        let (exit, text) = sweep(&["--seeds", "2", "--sim", &machine], |_| MemoryTarget::new());
        assert_eq!(exit, Exit::Intact);
        assert!(text.contains(scheduling) && !text.contains("deterministic"), "{text}");
    }
}

#[test]
fn a_sweep_repeats_its_first_failure_and_prints_one_line_for_it() {
    let target = |seed| match seed {
        9.. => {
            let (path, direction) = (Path::ScatterGather, Direction::FromDevice);
            MemoryTarget::new().with_defect(path, direction, DefectKind::Lost)
        }
        _ => MemoryTarget::new(),
    };
    let (exit, text) = sweep(&["--seeds", "40"], target);
    assert_eq!(exit, Exit::Failed);
    assert!(text.contains("\nseed 9 failed\n") && text.contains("CORRUPTED"), "{text}");
    assert!(text.contains("run 2 more times: the same"), "{text}");
    let last = text.lines().last().unwrap();
    assert!(last.starts_with("again: dmaproof test ") && last.contains("--seed 9 --cases 0-"));

    let (_, json) = sweep(&["--seeds", "40", "--json"], target);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["failure"]["seed"], &json["failure"]["repeats"]), (&9.into(), &true.into()));
    assert_eq!((&json["schema"], &json["schema_version"]), (&"dmaproof.seeds".into(), &1.into()));
    assert_eq!(json["exit_status"], 1);
}

#[test]
fn a_sweep_needs_a_simulated_machine() {
    let (exit, _) = sweep(&["--seeds", "1", "--device", "x"], |_| MemoryTarget::new());
    assert_eq!(exit, Exit::Usage);
}

#[test]
fn a_bench_of_a_machine_that_stops_at_once_says_so_in_every_form() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("page.html");
    let target = MemoryTarget::new().that_never_stops();
    let arguments = ["bench", "--json", "--html", page.to_str().unwrap()];
    let (result, text) = app(&target, &arguments);
    assert_eq!(exit(result), Exit::Failed);
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&value["verdict"], &value["cells_planned"]),
        (&"device-never-stopped".into(), &0.into())
    );
    assert_eq!(value["trouble"]["path"], Value::Null);
    let page = fs::read_to_string(&page).unwrap();
    assert!(page.contains("NEVER STOPPED before the first line"), "{page}");
    let (_, text) = app(&target, &arguments[..1]);
    assert!(text.lines().last().unwrap().starts_with("NEVER STOPPED before"), "{text}");
}

#[test]
#[cfg(unix)]
fn a_page_that_cannot_be_written_at_the_end_hides_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("gone").join("page.html");
    // The folder vanishes while the test runs.
    struct Vanishing(MemoryTarget, std::path::PathBuf);
    impl Target for Vanishing {
        fn describe(&self) -> String {
            self.0.describe()
        }
        fn options(&self) -> String {
            self.0.options()
        }
        fn varies(&self) -> Option<&'static str> {
            None
        }
        fn run_together(&self, bodies: Vec<Body>) -> Ended {
            let _ = fs::remove_dir_all(&self.1);
            self.0.run_together(bodies)
        }
    }
    let bad = MemoryTarget::new().with_defect(Path::Packet, Direction::ToDevice, DefectKind::Lost);
    for (target, expected) in [(bad, Exit::Failed), (MemoryTarget::new(), Exit::Usage)] {
        fs::create_dir(page.parent().unwrap()).unwrap();
        let target = Vanishing(target, page.parent().unwrap().to_owned());
        let (result, _) = app(&target, &["test", "--html", page.to_str().unwrap()]);
        assert_eq!(exit(result), expected);
    }
}
