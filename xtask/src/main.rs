//! `cargo xtask`: developer chores that are not tests.

mod image;

use std::process::ExitCode;

use clap::Parser;

/// Developer chores that are not tests.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Chore {
    /// Build driver images without the Windows Driver Kit, into target/image/.
    Image(image::Options),
}

fn main() -> ExitCode {
    let result = match Chore::parse() {
        Chore::Image(options) => image::run(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            let mut cause = std::error::Error::source(&error);
            while let Some(error) = cause {
                eprintln!("  because {error}");
                cause = error.source();
            }
            ExitCode::FAILURE
        }
    }
}
