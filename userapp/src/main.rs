//! The dmaproof console app.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    dmaproof::commands::main(std::env::args_os()).into()
}
