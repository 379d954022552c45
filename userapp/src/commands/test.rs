//! `dmaproof test`

use std::fmt::Write as _;
use std::io::Write;

use dmaproof_protocol::Direction;

use crate::cli::TestArgs;
use crate::exit::{AppError, Exit};
use crate::report::{Report, Verdict, write_head, write_human, write_json};
use crate::route::Route;
use crate::sweep::{self, Depth, Outcome, Recorder, Selection, Settings};
use crate::target::{Ended, Target, TargetError};
use crate::{interrupt, progress};

/// Runs the test on one target after the other; the exit status is intact if all of them are.
pub(super) fn run_each(
    arguments: &TestArgs,
    targets: &[Box<dyn Target>],
    out: &mut dyn Write,
) -> Result<Exit, AppError> {
    let mut end = Exit::Intact;
    for (index, target) in targets.iter().enumerate() {
        if index != 0 && !arguments.json {
            writeln!(out)?;
        }
        let exit = run(arguments, &**target, out)?;
        if exit != Exit::Intact {
            end = exit;
        }
        if exit == Exit::Interrupted {
            break;
        }
    }
    Ok(end)
}

/// Runs the test on one target.
pub(super) fn run(
    arguments: &TestArgs,
    target: &dyn Target,
    out: &mut dyn Write,
) -> Result<Exit, AppError> {
    let settings = settings(arguments);
    if !arguments.json {
        write_head(out, &target.describe(), settings.depth.name(), settings.seed)?;
    }
    let report = report(arguments, settings, target)?;
    if arguments.json {
        write_json(out, &report)?;
    } else {
        write_human(out, &report)?;
    }
    Ok(Verdict::of(&report).exit())
}

/// Runs the test; what it found, and how the target ended.
pub(super) fn collect(settings: Settings, target: &dyn Target) -> (Outcome, Ended) {
    let bar = settings.progress.clone();
    let recorder = Recorder::default();
    let inner = recorder.clone();
    let ended = target.run(Box::new(move |session| sweep::run(session, &settings, &inner)));
    bar.finish_and_clear();
    (recorder.outcome(), ended)
}

/// Runs the test and reports what it found.
pub(super) fn report(
    arguments: &TestArgs,
    settings: Settings,
    target: &dyn Target,
) -> Result<Report, AppError> {
    let depth = settings.depth;
    let (outcome, ended) = collect(settings, target);
    let violation = match ended.result {
        Ok(()) => None,
        Err(TargetError::Stopped(violation)) => Some(violation),
        Err(error) => return Err(error.into()),
    };
    Ok(Report {
        tested: target.describe(),
        target_options: target.options(),
        plan_options: plan_options(arguments),
        seed: arguments.seed,
        depth,
        strict: arguments.strict,
        outcome,
        notes: ended.notes,
        never_stopped: ended.never_stopped,
        violation,
    })
}

pub(super) fn settings(arguments: &TestArgs) -> Settings {
    let mut selection = Selection::default();
    if !arguments.paths.is_empty() {
        selection.routes.retain(|route| arguments.paths.contains(route));
    }
    if !arguments.directions.is_empty() {
        selection.directions.retain(|direction| arguments.directions.contains(direction));
    }
    Settings {
        selection,
        depth: if arguments.full { Depth::Full } else { Depth::Quick },
        seed: arguments.seed,
        cases: arguments.cases.as_ref().map_or(0..u64::MAX, |range| range.0.clone()),
        failures_max: arguments.stop_after,
        interrupted: interrupt::flag(),
        progress: progress::cases(),
    }
}

/// The options that make the same plan again.
pub(super) fn plan_options(arguments: &TestArgs) -> String {
    let depth = if arguments.full { "--full" } else { "--quick" };
    let mut options = format!("{depth} --seed {}", arguments.seed);
    // Writing to a string cannot fail.
    if !arguments.paths.is_empty() {
        let names: Vec<_> = arguments.paths.iter().copied().map(Route::option).collect();
        let _ = write!(options, " --paths {}", names.join(","));
    }
    if !arguments.directions.is_empty() {
        let names: Vec<_> = arguments.directions.iter().copied().map(Direction::title).collect();
        let _ = write!(options, " --directions {}", names.join(","));
    }
    options
}
