//! The command line with a driver image: the binary, the machine and the device together. Needs an
//! image; says SKIPPED without one.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use dmaproof::target::Profile;
use dmaproof_tests::ways;
use serde_json::Value;

fn app(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dmaproof"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("the app starts")
}

/// The image; says why if there is none.
fn image() -> Option<PathBuf> {
    ways::image_path().map_err(ways::say_skipped).ok()
}

/// A changed copy of the image; its checksum is taken out, so that the change itself is found.
fn changed(change: impl FnOnce(&mut Vec<u8>)) -> Option<tempfile::TempPath> {
    let mut bytes = fs::read(image()?).expect("the image is readable");
    let headers = u32::from_le_bytes(bytes[0x3C..0x40].try_into().unwrap()) as usize;
    bytes[headers + 88..headers + 92].fill(0);
    change(&mut bytes);
    let mut file = tempfile::Builder::new().suffix(".sys").tempfile().unwrap();
    file.write_all(&bytes).unwrap();
    Some(file.into_temp_path())
}

/// Replaces every occurrence of a name by another of the same length.
fn rename(bytes: &mut [u8], from: &str, to: &str) {
    assert_eq!(from.len(), to.len());
    let places: Vec<usize> =
        (0..bytes.len()).filter(|&at| bytes[at..].starts_with(from.as_bytes())).collect();
    assert!(!places.is_empty(), "{from} is not in the image");
    for at in places {
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    }
}

/// Runs the suite on the image, which must come out intact; the reports.
fn intact(more: &[&str]) -> Option<Vec<Value>> {
    let image = image()?;
    let image = ["test", "--strict", "--json", "--image", image.to_str().unwrap()];
    let output = app(&[&image, more].concat());
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let stream = serde_json::Deserializer::from_slice(&output.stdout).into_iter::<Value>();
    let reports: Vec<Value> = stream.map(|report| report.expect("JSON")).collect();
    for report in &reports {
        assert_eq!(report["verdict"], "intact", "{}", report["tested"]);
        let tested = report["tested"].as_str().expect("a description");
        assert!(tested.ends_with("driver image dmaproof.sys"), "{tested}");
    }
    Some(reports)
}

#[test]
fn the_whole_suite_is_intact_on_every_profile() {
    for profile in Profile::ALL {
        let machine = format!("{},device=edu", profile.name());
        let Some(reports) = intact(&["--sim", &machine]) else { return };
        let [report] = &reports[..] else { panic!("{machine}: {} reports", reports.len()) };
        assert_eq!(report["cases_done"], report["cases_planned"], "{machine}");
    }
}

/// A sample of what the default device adds: the whole is `.ci/run`'s, optimised.
#[test]
fn without_a_machine_every_profile_is_tested_in_turn() {
    let Some(reports) = intact(&["--cases", "0-30"]) else { return };
    assert_eq!(reports.len(), Profile::ALL.len());
    for report in reports {
        assert_eq!(report["cases_done"], 31, "{}", report["tested"]);
    }
}

#[test]
fn a_machine_can_be_named() {
    let Some(image) = image() else { return };
    let image = image.to_str().unwrap();
    let machine = "x64,scheduling=threads,processors=2";
    let output = app(&["info", "--image", image, "--sim", machine]);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("scheduling=threads") && text.contains("exerciser 1234:da7a"), "{text}");
}

#[test]
fn a_function_that_nthost_lacks_is_named_before_and_when_it_is_called() {
    let file = changed(|bytes| rename(bytes, "KeFlushIoBuffers", "KeFlushIoBucket_"));
    let Some(file) = file else { return };
    let output = app(&["test", "--sim", "x64", "--image", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    let first = text.lines().next().unwrap();
    assert!(first.ends_with("without ntoskrnl.exe!KeFlushIoBucket_"), "{first}");
    assert!(text.contains("SIM-"), "{text}");
    assert!(text.contains("called ntoskrnl.exe!KeFlushIoBucket_, which nthost does not"), "{text}");
}

#[test]
fn a_damaged_image_is_refused_with_a_sentence() {
    let Some(image) = image() else { return };
    let mut bytes = fs::read(image).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let mut file = tempfile::Builder::new().suffix(".sys").tempfile().unwrap();
    file.write_all(&bytes).unwrap();

    let output = app(&["test", "--image", file.path().to_str().unwrap()]);

    assert_eq!(output.status.code(), Some(2));
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(message.contains("not a sound driver image: its checksum is"), "{message}");
}

#[test]
fn an_image_for_another_framework_does_not_load() {
    let name: Vec<u8> = "KmdfLibrary".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let file = changed(|bytes| {
        let at = bytes.windows(name.len()).position(|window| window == name).expect("it is there");
        bytes[at] = b'X';
    });
    let Some(file) = file else { return };
    let output = app(&["info", "--image", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(3));
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(message.contains("WdfVersionBind refused the driver"), "{message}");
}
