//! `dmaproof test`

use std::fmt::Write as _;
use std::io::Write;

use dmaproof_protocol::Direction;

use super::files::{NewFile, end_with};
use crate::cli::TestArgs;
use crate::exit::{AppError, Exit};
use crate::report::{Report, Verdict, junit, page, write_head, write_human, write_json};
use crate::route::Route;
use crate::sweep::{self, Depth, Load, Outcome, Recorder, Selection, Settings};
use crate::target::{Body, Ended, Target, TargetError};
use crate::{interrupt, progress};

/// Runs the test on one target after the other; the exit status is intact if all of them are.
pub(super) fn run_each(
    arguments: &TestArgs,
    targets: &[Box<dyn Target>],
    out: &mut dyn Write,
) -> Result<Exit, AppError> {
    let targets: Vec<&dyn Target> = targets.iter().map(|target| &**target).collect();
    run_all(arguments, &targets, out)
}

/// Runs the test on one target.
#[cfg(test)]
pub(super) fn run(
    arguments: &TestArgs,
    target: &dyn Target,
    out: &mut dyn Write,
) -> Result<Exit, AppError> {
    run_all(arguments, &[target], out)
}

fn run_all(
    arguments: &TestArgs,
    targets: &[&dyn Target],
    out: &mut dyn Write,
) -> Result<Exit, AppError> {
    if arguments.html.is_some() && arguments.html == arguments.junit {
        let text = "--html and --junit name the same file; give each its own";
        return Err(TargetError::Usage(text.to_owned()).into());
    }
    let html = NewFile::for_report(arguments.html.as_ref())?;
    let junit = NewFile::for_report(arguments.junit.as_ref())?;
    let (mut end, mut reports) = (Exit::Intact, Vec::new());
    for (index, target) in targets.iter().enumerate() {
        if index != 0 && !arguments.json {
            writeln!(out)?;
        }
        let report = run_one(arguments, *target, out)?;
        let exit = Verdict::of(&report).exit();
        reports.push(report);
        if exit != Exit::Intact {
            end = exit;
        }
        if exit == Exit::Interrupted {
            break;
        }
    }
    let html = html.map_or(Ok(()), |file| file.finish_with(&page::page(&reports)));
    let junit = junit.map_or(Ok(()), |file| {
        let text = junit::text(&reports)
            .map_err(|error| AppError::Output(std::io::Error::other(error)))?;
        file.finish_with(&text)
    });
    end_with(end, html.and(junit))
}

fn run_one(
    arguments: &TestArgs,
    target: &dyn Target,
    out: &mut dyn Write,
) -> Result<Report, AppError> {
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
    Ok(report)
}

/// Runs the test; what it found, and how the target ended.
pub(super) fn collect(settings: Settings, target: &dyn Target) -> (Outcome, Ended) {
    let bar = settings.progress.clone();
    let recorder = Recorder::default();
    let body = |thread| -> Body {
        let (settings, inner) = (settings.clone(), recorder.clone());
        Box::new(move |session| match thread {
            0 => sweep::run(session, &settings, &inner),
            _ => sweep::accompany(session, &settings, &inner, thread),
        })
    };
    let ended = target.run_together((0..settings.load.threads).map(body).collect());
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
    let (mut violation, mut never_stopped) = (None, ended.never_stopped);
    match ended.result {
        Ok(()) => {}
        Err(TargetError::Stopped(broken)) => violation = Some(broken),
        Err(TargetError::NeverStopped(device)) => never_stopped.push(device),
        Err(error) => return Err(error.into()),
    }
    Ok(Report {
        tested: target.describe(),
        target_options: target.options(),
        plan_options: plan_options(arguments),
        seed: arguments.seed,
        depth,
        cases: arguments.cases.as_ref().map(|range| range.0.clone()),
        strict: arguments.strict,
        outcome,
        notes: ended.notes,
        provoked: ended.provoked,
        never_stopped,
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
        load: Load { threads: arguments.threads, depth: arguments.depth },
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
    if arguments.threads > 1 {
        let _ = write!(options, " --threads {}", arguments.threads);
    }
    if arguments.depth > 1 {
        let _ = write!(options, " --depth {}", arguments.depth);
    }
    if arguments.strict {
        options.push_str(" --strict");
    }
    options
}
