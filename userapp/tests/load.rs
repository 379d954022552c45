//! `bench`, `soak`, and `test` under load: what they write, and how they end.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dmaproof"));
    command.args(arguments).stdin(Stdio::null());
    command
}

fn app(arguments: &[&str]) -> Output {
    command(arguments).output().expect("the app starts")
}

/// Runs a command that must end like this, and returns what it printed.
fn ends(arguments: &[&str], status: i32) -> String {
    let output = app(arguments);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(status), "{arguments:?}: {message}\n{text}");
    assert_eq!(message, "", "{arguments:?}");
    text
}

/// A page that needs nothing but itself.
fn assert_self_contained(page: &str) {
    assert!(page.starts_with("<!DOCTYPE html>"), "{}", &page[..40.min(page.len())]);
    for outside in ["http:", "https:", " src=", "<link", "@import", "url("] {
        assert!(!page.contains(outside), "{outside}");
    }
    for part in ["prefers-color-scheme: dark", "width=device-width", "lang=\"en\""] {
        assert!(page.contains(part), "{part}");
    }
}

const BENCH: [&str; 9] =
    ["bench", "--paths", "packet,sg", "--sizes", "512,4K", "--depths", "1,4", "--time", "5ms"];

#[test]
fn a_bench_is_one_object_whose_figures_fit_together() {
    for more in [&[][..], &["--threads", "2"], &["--sim", "nt,device=edu"]] {
        let bench: Value =
            serde_json::from_str(&ends(&[&BENCH[..], &["--json"], more].concat(), 0)).unwrap();
        assert_eq!(
            (&bench["schema"], &bench["schema_version"]),
            (&"dmaproof.bench".into(), &1.into())
        );
        let cells = bench["cells"].as_array().unwrap();
        // Two paths, directions, sizes (on edu the longer one is cut) and depths.
        assert_eq!(cells.len(), 16, "{more:?}");
        assert_eq!(bench["cells_planned"], 16);
        for cell in cells {
            let number = |name: &str| cell[name].as_f64().unwrap();
            let latency = |name: &str| cell["latency_nanoseconds"][name].as_u64().unwrap();
            let order = ["p50", "p99", "p99_9", "max"].map(latency);
            assert!(order.is_sorted() && order[0] > 0, "{cell}");
            assert!(number("transfers") >= number("depth"), "{cell}");
            let moved = number("transfers_per_second") * number("size_bytes");
            assert!((moved / number("bytes_per_second") - 1.0).abs() < 1e-6, "{cell}");
            let ratio = number("bytes_per_second") / number("memcpy_bytes_per_second");
            assert!((ratio / number("ratio") - 1.0).abs() < 1e-6, "{cell}");
        }
    }
}

#[test]
fn a_bench_fits_a_terminal_without_colour() {
    let text = ends(&BENCH, 0);
    assert!(text.starts_with("simulated machine x64"), "{text}");
    assert!(!text.contains('\u{1B}'));
    assert!(text.contains("p99.9") && text.contains("memcpy"), "{text}");
    for line in text.lines().filter(|line| line.contains("µs") || line.contains("depth")) {
        assert!(line.chars().count() <= 100, "{line}");
    }
}

#[test]
fn the_page_of_a_bench_is_self_contained_and_has_every_value() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bench.html");
    ends(&[&BENCH[..], &["--html", file.to_str().unwrap()]].concat(), 0);
    let page = fs::read_to_string(&file).unwrap();
    assert_self_contained(&page);
    // Two directions at two depths, and at two sizes.
    assert_eq!(page.matches("<figure").count(), 4 + 4);
    let body = page.split("<tbody>").nth(1).unwrap();
    assert_eq!(body.matches("<tr").count(), 16);
    // Where the page is narrow, each value stands beside the name of its column.
    assert!(page.contains("table.stack") && page.contains("@media (max-width"));
    for column in ["size", "ratio", "p99.9", "transfers"] {
        assert_eq!(page.matches(&format!("data-label=\"{column}\"")).count(), 16, "{column}");
    }
    // The table can be moved by keyboard.
    assert!(page.contains("tabindex=\"0\""));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

/// The lines of a soak.
fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("one object in each line")).collect()
}

#[test]
fn a_soak_accounts_for_every_transfer() {
    for (machine, rounds) in
        [("x64", "3"), ("x64-dmar,map-registers=2", "2"), ("nt,device=edu", "1")]
    {
        let arguments = ["soak", "--json", "--interval", "50ms", "--threads", "2", "--depth", "4"];
        let text = ends(&[&arguments[..], &["--sim", machine, "--rounds", rounds]].concat(), 0);
        let lines = lines(&text);
        let (last, before) = lines.split_last().unwrap();
        assert!(before.iter().all(|line| line["event"] == "interval"), "{machine}");
        let asked = |line: &Value| line["transfers"].as_u64().unwrap();
        assert!(lines.is_sorted_by_key(asked), "{machine}");
        let count = |name: &str| last[name].as_u64().unwrap();
        assert_eq!((&last["event"], &last["end"]["verdict"]), (&"end".into(), &"intact".into()));
        assert_eq!(last["rounds"].to_string(), rounds, "{machine}");
        assert_eq!((count("under_way"), count("failed"), count("failures")), (0, 0, 0), "{last}");
        let ended = count("verified") + count("cancelled") + count("removed");
        assert_eq!(count("transfers"), ended, "{machine}");
        assert!(count("cancelled") > 0, "{machine}: nothing was cancelled");
        let moved = |path: &Value| path["to_device"].as_u64().unwrap() > 0;
        let paths = last["paths"].as_array().unwrap();
        for path in ["common-cached", "common-uncached", "packet", "sg", "file"] {
            assert!(paths.iter().any(|p| p["path"] == path && moved(p)), "{machine}: {path}");
        }
    }
}

#[test]
fn a_missing_flush_ends_a_soak_with_its_rule_and_the_line_that_repeats_it() {
    let machine = "arm64,device=edu,leave-out=KeFlushIoBuffers";
    let text = ends(&["soak", "--rounds", "9", "--sim", machine], 1);
    assert!(text.contains("RULE BROKEN: DMA-") || text.contains("FAILED"), "{text}");
    let again = text.lines().find(|line| line.contains("dmaproof soak")).expect("a line to paste");
    let replay: Vec<&str> = again.split("dmaproof ").nth(1).unwrap().split(' ').collect();
    let repeated = ends(&replay, 1);
    let verdict = |text: &str| text.lines().last().unwrap().to_owned();
    assert_eq!(verdict(&repeated), verdict(&text));
}

#[test]
fn rules_that_are_not_followed_are_notes_of_a_soak() {
    let machine = "x64,device=edu,leave-out=KeFlushIoBuffers";
    let arguments = ["soak", "--rounds", "2", "--threads", "1", "--sim", machine];
    let text = ends(&arguments, 0);
    assert!(text.contains("not followed at") && text.contains("harmless on this"), "{text}");
    assert!(text.lines().last().unwrap().starts_with("INTACT"), "{text}");
    let lines = lines(&ends(&[&arguments[..], &["--json"]].concat(), 0));
    let notes = lines.last().unwrap()["end"]["notes"].as_array().unwrap();
    assert!(notes.iter().any(|note| note["rule"] == "DMA-85"), "{notes:?}");
    let places = notes.iter().map(|note| [&note["rule"], &note["call_site"]].map(Value::to_string));
    assert_eq!(places.collect::<BTreeSet<_>>().len(), notes.len(), "both rounds are one");
}

#[test]
fn metrics_are_whole_and_leave_nothing_else_behind() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("soak.prom");
    let arguments = ["soak", "--rounds", "1", "--metrics", file.to_str().unwrap()];
    ends(&arguments, 0);
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.ends_with('\n'), "{text}");
    let of = |name: &str| -> f64 {
        let line = text.lines().find(|line| line.starts_with(name)).expect(name);
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    assert!(of("dmaproof_soak_transfers_total{result=\"intact\"}") > 0.0);
    assert!(of("dmaproof_soak_failures_total") == 0.0);
    assert!(of("dmaproof_soak_rounds_total") == 1.0);
    // In this format the name of a sample is the one that its HELP and TYPE tell.
    let told = |kind: &str| -> BTreeSet<&str> {
        let names = text.lines().filter_map(|line| line.strip_prefix(kind));
        names.filter_map(|rest| rest.split(' ').next()).collect()
    };
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let named: BTreeSet<&str> = samples.filter_map(|line| line.split(['{', ' ']).next()).collect();
    assert_eq!((told("# HELP "), told("# TYPE ")), (named.clone(), named));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[cfg(unix)]
mod signals {
    use std::path::Path;
    use std::process::Child;
    use std::thread::sleep;
    use std::time::{Duration, Instant};

    use super::*;

    /// A soak for an hour that has written its metrics once.
    fn soak(metrics: &Path) -> Child {
        let arguments = ["soak", "--interval", "1h", "--metrics", metrics.to_str().unwrap()];
        let mut soak = command(&arguments);
        let child = soak.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let begin = Instant::now();
        while !metrics.exists() {
            assert!(begin.elapsed() < Duration::from_secs(60), "no metrics");
            sleep(Duration::from_millis(20));
        }
        // Now something is under way.
        sleep(Duration::from_millis(300));
        child
    }

    fn signal(child: &Child, name: &str) {
        let sent = Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    #[test]
    fn an_interrupted_soak_ends_with_its_summary() {
        let folder = tempfile::tempdir().unwrap();
        let child = soak(&folder.path().join("soak.prom"));
        signal(&child, "-INT");
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(130), "{text}");
        assert!(text.lines().last().unwrap().starts_with("INTERRUPTED"), "{text}");
        assert!(text.contains("memory of the process"), "{text}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn metrics_that_cannot_be_written_any_more_end_no_soak() {
        let folder = tempfile::tempdir().unwrap();
        let metrics = folder.path().join("soak.prom");
        let arguments = ["soak", "--duration", "1s", "--interval", "50ms", "--metrics"];
        let mut soak = command(&[&arguments[..], &[metrics.to_str().unwrap()]].concat());
        let child = soak.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let begin = Instant::now();
        while !metrics.exists() {
            assert!(begin.elapsed() < Duration::from_secs(60), "no metrics");
            sleep(Duration::from_millis(20));
        }
        folder.close().unwrap();
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.lines().last().unwrap().starts_with("INTACT"), "{text}");
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("soak.prom"));
    }

    #[test]
    fn an_interrupted_bench_says_how_far_it_came() {
        let child = command(&["bench", "--time", "1h"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        sleep(Duration::from_secs(2));
        signal(&child, "-INT");
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(130), "{text}");
        assert!(text.lines().last().unwrap().starts_with("INTERRUPTED after 0 of "), "{text}");
    }

    #[test]
    fn a_killed_soak_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let mut child = soak(&folder.path().join("soak.prom"));
        signal(&child, "-KILL");
        child.wait().unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    for arguments in [&BENCH[..], &["soak", "--rounds", "1", "--json", "--interval", "10ms"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = command(arguments).stdout(writer).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_ends_a_soak() {
    for more in [&[][..], &["--json", "--interval", "10ms"]] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let arguments = [&["soak", "--duration", "10m"][..], more].concat();
        let output = command(&arguments).stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(message.contains("cannot write the report"), "{message}");
    }
}

#[test]
fn data_is_intact_under_load_too() {
    for machine in ["x64", "x64,device=edu", "nt,device=edu"] {
        for load in [["--threads", "1", "--depth", "4"], ["--threads", "3", "--depth", "3"]] {
            let arguments = ["test", "--json", "--sim", machine, "--cases", "0-20"];
            let text = ends(&[&arguments[..], &load].concat(), 0);
            let report: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(report["verdict"], "intact", "{machine}: {report:#}");
            assert_eq!(report["count_disagreements"], serde_json::json!([]), "{machine}");
            // What ran beside the cases counts as transfers, and not as cases.
            let transfers = report["transfers"].as_u64().unwrap();
            assert!(transfers > 3 * 21, "{machine}: {transfers}");
            let replay = report["replay"].as_str().unwrap();
            assert!(replay.contains(&load[2..].join(" ")), "{replay}");
        }
    }
}

/// Runs a test that ends like this; its page and its JUnit XML.
fn files(arguments: &[&str], status: i32) -> (String, quick_junit::Report) {
    let folder = tempfile::tempdir().unwrap();
    let (page, xml) = (folder.path().join("test.html"), folder.path().join("test.xml"));
    let files = ["--html", page.to_str().unwrap(), "--junit", xml.to_str().unwrap()];
    ends(&[arguments, &files].concat(), status);
    let xml = fs::read(&xml).unwrap();
    let report = quick_junit::Report::deserialize(xml.as_slice()).expect("well-formed");
    (fs::read_to_string(&page).unwrap(), report)
}

#[test]
fn the_files_of_a_clean_test_have_no_failure() {
    let (page, junit) = files(&["test", "--cases", "0-200"], 0);
    assert_self_contained(&page);
    assert!(page.contains("INTACT") && page.contains("Coverage"));
    assert_eq!((junit.failures, junit.errors), (0, 0));
    // A suite for each row, and one for the machine; a case for each cell, and three.
    assert_eq!(junit.test_suites.len(), 16 + 1);
    assert_eq!(junit.tests, 16 * 28 + 3);
    let cases = junit.test_suites.iter().flat_map(|suite| &suite.test_cases);
    let skipped = |case: &&quick_junit::TestCase| {
        matches!(case.status, quick_junit::TestCaseStatus::Skipped { .. })
    };
    assert!(cases.filter(skipped).count() > 28, "system DMA is not available");
}

#[test]
fn the_files_of_a_failed_test_say_why_and_how_to_see_it_again() {
    for (machine, said) in [
        ("arm64,device=edu,leave-out=KeFlushIoBuffers,go-on=on", "the machine saw"),
        ("nt,device=edu,leave-out=FlushAdapterBuffers", "FlushAdapterBuffers"),
    ] {
        let (page, junit) = files(&["test", "--paths", "packet", "--sim", machine], 1);
        assert_self_contained(&page);
        assert!(page.contains(said) && page.contains("dmaproof test --sim"), "{machine}");
        assert!(junit.failures > 0, "{machine}");
        let cases = junit.test_suites.iter().flat_map(|suite| &suite.test_cases);
        let texts: Vec<String> = cases
            .filter_map(|case| match &case.status {
                quick_junit::TestCaseStatus::NonSuccess { description, .. } => {
                    Some(description.as_ref()?.to_string())
                }
                _ => None,
            })
            .collect();
        assert!(texts.iter().any(|text| text.contains(said)), "{machine}: {texts:#?}");
        assert!(texts.iter().any(|text| text.contains("again: dmaproof test")), "{machine}");
    }
}
