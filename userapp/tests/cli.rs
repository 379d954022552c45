//! The command line where no machine is started: usage errors, help, closed pipes.

use std::process::{Command, Output, Stdio};

fn app(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dmaproof"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("the app starts")
}

/// Runs the app, which must end with this status, print nothing and say this on standard error.
fn refused(arguments: &[&str], status: i32, words: &[&str]) {
    let output = app(arguments);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(status), "{arguments:?}: {message}");
    assert!(output.stdout.is_empty(), "{arguments:?}");
    for word in words {
        assert!(message.contains(word), "{arguments:?}: {message}");
    }
    assert!(!message.contains("panicked"), "{message}");
}

#[test]
fn help_goes_to_standard_output_and_names_every_command() {
    let output = app(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    let commands =
        ["list", "info", "test", "bench", "soak", "write", "read", "copy", "lab", "rules"];
    for command in commands {
        assert!(text.contains(&format!("\n  {command} ")), "{command}: {text}");
        assert_eq!(app(&[command, "--help"]).status.code(), Some(0));
    }
    assert!(text.contains("Exit status"), "{text}");
}

#[test]
fn there_is_no_colour() {
    for arguments in [&["--help"][..], &["test", "--help"], &["list"]] {
        assert!(!app(arguments).stdout.contains(&0x1B));
    }
    assert!(!app(&["test", "--nonsense"]).stderr.contains(&0x1B));
}

#[test]
fn wrong_usage_ends_with_2_and_says_what_is_right() {
    refused(&[], 2, &["Usage"]);
    refused(&["dance"], 2, &["dance"]);
    refused(&["test", "--nonsense"], 2, &["--nonsense"]);
    refused(&["test", "--paths", "teleport"], 2, &["teleport", "packet", "sg"]);
    refused(&["test", "--directions", "up"], 2, &["to-device", "from-device"]);
    refused(&["test", "--cases", "9-3"], 2, &["range"]);
    refused(&["test", "--quick", "--full"], 2, &["--full"]);
    refused(&["test", "--stop-after", "0"], 2, &["--stop-after"]);
    refused(&["test", "--sim", "x64", "--device", "a"], 2, &["--device"]);
    refused(&["test", "--device", "a", "--image", "a.sys"], 2, &["--image"]);
}

#[test]
fn loads_that_make_no_sense_end_with_2_and_say_what_is_right() {
    refused(&["soak", "--duration", "soon"], 2, &["--duration", "90m"]);
    refused(&["soak", "--duration", "0s"], 2, &["10s or 90m"]);
    refused(&["soak", "--interval", "often"], 2, &["--interval"]);
    refused(&["soak", "--rounds", "0"], 2, &["--rounds", "at least 1"]);
    refused(&["soak", "--threads", "0"], 2, &["--threads", "from 1 to 64"]);
    refused(&["test", "--depth", "5000"], 2, &["--depth", "from 1 to 1024"]);
    refused(&["test", "--html", "a.html", "--seeds", "2"], 2, &["--html", "--seeds"]);
    refused(&["test", "--junit", "a.xml", "--faults"], 2, &["--junit", "--faults"]);
    refused(&["test", "--junit", "a.xml", "--html", "a.xml"], 2, &["same file"]);
    refused(&["bench", "--sizes", "4K,0"], 2, &["--sizes", "64K or 1M"]);
    refused(&["bench", "--sizes", "9G"], 2, &["--sizes", "128M"]);
    refused(&["bench", "--depths", "0"], 2, &["--depths", "from 1 to 1024"]);
    refused(&["bench", "--time", "0s"], 2, &["--time"]);
    refused(&["bench", "--paths", "pio", "--sim", "x64,device=edu"], 2, &["info"]);
}

#[test]
fn a_scheduler_that_was_named_is_used_or_refused() {
    for machine in ["x64,scheduling=straight", "nt,scheduling=straight"] {
        for command in [
            &["soak"][..],
            &["bench", "--threads", "2"],
            &["test", "--threads", "2"],
            &["test", "--threads", "2", "--seeds", "2"],
            &["test", "--threads", "2", "--faults"],
        ] {
            refused(&[command, &["--sim", machine]].concat(), 2, &["one thread", "leave it out"]);
        }
    }
}

#[test]
fn a_file_that_cannot_be_written_is_found_before_anything_runs() {
    let nowhere = "no/such/folder/file";
    for command in [
        &["test", "--html", nowhere][..],
        &["test", "--junit", nowhere],
        &["bench", "--html", nowhere],
        &["soak", "--metrics", nowhere],
        &["lab", "--html", nowhere],
    ] {
        refused(command, 2, &["cannot write", "folder"]);
    }
}

#[test]
fn profiles_that_are_not_there_are_answered_with_those_that_are() {
    for profile in ["mips", "x86"] {
        refused(&["test", "--sim", profile], 2, &[profile, "x64, x64-dmar"]);
    }
    refused(&["info", "--sim", "x64,device=toaster"], 2, &["toaster", "exerciser", "edu"]);
}

#[test]
#[cfg(not(windows))]
fn a_real_device_needs_windows() {
    refused(&["info", "--device", r"\\.\dmaproof0"], 3, &["Windows", "--sim"]);
}

#[test]
#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
fn driver_images_need_linux() {
    refused(&["test", "--image", "dmaproof.sys"], 2, &["64-bit x86 Linux only"]);
}

#[test]
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn what_is_no_driver_image_is_refused_by_name() {
    refused(&["test", "--image", "no/such/dmaproof.sys"], 2, &["dmaproof.sys", "No such file"]);
    // The app itself is an executable of another system.
    let itself = env!("CARGO_BIN_EXE_dmaproof");
    for command in ["test", "info"] {
        refused(&[command, "--image", itself], 2, &["dmaproof is not a sound driver image"]);
    }
}

#[test]
fn list_works_without_any_device() {
    let output = app(&["list"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8(output.stdout).unwrap().contains("x64-dmar"));
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    // The pipe has no reader from the start.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = Command::new(env!("CARGO_BIN_EXE_dmaproof"))
        .args(["list", "--json"])
        .stdout(writer)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_an_error_with_a_sentence() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_dmaproof"))
        .arg("list")
        .stdout(full)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(message.contains("cannot write the report"), "{message}");
}

#[test]
fn what_the_lab_does_not_know_is_answered_with_what_it_does() {
    let list = "`dmaproof lab --list`";
    refused(&["lab", "--skip", "KeFlushIoBuffer"], 2, &["is KeFlushIoBuffers", "--case", list]);
    refused(&["lab", "--skip", "DMA-58"], 2, &["is DMA-85", list]);
    let name = "x64/pio/to-device/KeFlushIoBuffers/left-out";
    refused(&["lab", "--case", &name[1..]], 2, &[name, list]);
    let output = app(&["lab", "--list", "--path", "pio", "--profile", "x64"]);
    assert_eq!(output.status.code(), Some(0));
    let rows = String::from_utf8(output.stdout).unwrap();
    assert!(rows.lines().any(|row| row == name) && !rows.contains("x64/packet"), "{rows}");
}

#[test]
fn a_machine_that_contradicts_itself_is_refused() {
    for (machine, words) in [
        ("x64,seed=1,seed=2", "seed is given twice"),
        ("nt,device=slave,system-dma=off", "system-dma=off"),
        ("x64,processors=2,scheduling=straight", "processors means nothing"),
        ("x64,device=edu,inject=stall", "device=exerciser"),
        ("x64,inject=gremlin", "short-transfer, corrupt-byte, wrong-offset"),
    ] {
        refused(&["info", "--sim", machine], 2, &[words]);
    }
}
