//! `cargo xtask`: developer chores that are not tests.

mod image;
mod package;

use std::process::ExitCode;

use clap::Parser;

/// Developer chores that are not tests.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Chore {
    /// Build driver images without the Windows Driver Kit, into target/image/.
    Image(image::Options),
    /// Build the package for a Windows test machine, into target/package/.
    Package,
}

fn main() -> ExitCode {
    let result: Result<(), Box<dyn std::error::Error>> = match Chore::parse() {
        Chore::Image(options) => image::run(&options).map_err(Into::into),
        Chore::Package => package::run().map_err(Into::into),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                eprintln!("  because {error}");
                cause = error.source();
            }
            ExitCode::FAILURE
        }
    }
}
