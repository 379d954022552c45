//! Loads the drivers of this workspace and sends them requests, on Windows and under Wine:
//!
//! ```text
//! client load NAME C:\path\NAME.sys    registers the driver as a service and starts it
//! client unload NAME                   stops it and removes the service
//! client next COUNT                    wdm.sys: COUNT requests, each answer checked; the rate
//! client cancel                        wdm.sys: a request that waits until it is cancelled
//! client conformance                   conformance.sys: every test, with its page
//! ```
//!
//! Commands are chained with `then`: Wine unloads drivers as soon as no program runs. It needs an
//! administrator, and on Windows a machine in test-signing mode.

#[cfg(windows)]
mod device;
#[cfg(windows)]
mod service;
#[cfg(windows)]
mod tests;

use std::process::ExitCode;

#[cfg(windows)]
fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    for command in arguments.split(|word| word == "then") {
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        if let Err(error) = run(&words) {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

#[cfg(windows)]
fn run(words: &[&str]) -> Result<(), Failure> {
    match words {
        ["load", name, file] => service::load(name, file),
        ["unload", name] => service::unload(name),
        ["next", count] => tests::next(count.parse()?),
        ["cancel"] => tests::cancel(),
        ["conformance"] => tests::conformance(),
        _ => Err("usage: client COMMAND [then COMMAND]...; the commands are load NAME FILE, \
                  unload NAME, next COUNT, cancel, conformance"
            .into()),
    }
}

/// What went wrong, for a person.
#[cfg(windows)]
type Failure = Box<dyn std::error::Error>;

#[cfg(not(windows))]
fn main() -> ExitCode {
    eprintln!("error: this program runs on Windows, or under Wine");
    ExitCode::FAILURE
}
