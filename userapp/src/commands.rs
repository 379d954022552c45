//! One module for each command.

use std::ffi::OsString;
use std::io::{self, Write};

use clap::Parser;
use clap::error::ErrorKind;

use crate::cli::{Cli, Command};
use crate::exit::{AppError, Exit, Fate};
use crate::output::Output;
use crate::{interrupt, target};

mod bench;
mod busy;
mod copy;
mod faults;
mod files;
mod info;
mod lab;
mod list;
mod read;
mod rules;
mod seeds;
mod soak;
mod test;
#[cfg(test)]
mod tests;
mod write;

/// Runs the app with these arguments, and says how it ended.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> Exit {
    let mut out = Output::new(io::stdout());
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            let text = error.render().to_string();
            return match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                    finish(write!(out, "{text}").map(|()| Exit::Intact).map_err(AppError::from))
                }
                _ => {
                    // If nobody can read standard error, the exit status has to do.
                    let _ = write!(io::stderr(), "{text}");
                    Exit::Usage
                }
            };
        }
    };
    let result = run(cli.command, &mut out).map_err(|error| match error {
        // The user asked for it.
        AppError::Request { status, .. } if status.is_cancelled() && interrupt::happened() => {
            AppError::Interrupted(Fate::Dropped)
        }
        error => error,
    });
    let flushed = out.flush();
    finish(result.and_then(|exit| flushed.map(|()| exit).map_err(AppError::from)))
}

fn finish(result: Result<Exit, AppError>) -> Exit {
    result.unwrap_or_else(|error| {
        // As above.
        let _ = writeln!(io::stderr(), "dmaproof: {error}");
        error.exit()
    })
}

fn run(command: Command, out: &mut dyn Write) -> Result<Exit, AppError> {
    match command {
        Command::List(arguments) => list::run(&arguments, &target::real_devices(), out),
        Command::Lab(arguments) => lab::run(&arguments, out),
        Command::Rules(arguments) => rules::run(&arguments, &target::rules(), out),
        Command::Info(arguments) => info::run(&arguments, &*target::open(&arguments.target)?, out),
        Command::Test(arguments) => match arguments.seeds {
            _ if arguments.faults => faults::run(&arguments, out),
            Some(count) => seeds::run(&arguments, count, out),
            None => {
                let change = |simulation| busy::with_threads(simulation, arguments.threads);
                test::run_each(&arguments, &target::open_all(&arguments.target, &change)?, out)
            }
        },
        Command::Bench(arguments) => bench::run(&arguments, out),
        Command::Soak(arguments) => soak::run(&arguments, out),
        Command::Write(arguments) => {
            write::run(&arguments, &*target::open(&arguments.target)?, out)
        }
        Command::Read(arguments) => read::run(&arguments, &*target::open(&arguments.target)?, out),
        Command::Copy(arguments) => copy::run(&arguments, &*target::open(&arguments.target)?, out),
    }
}
