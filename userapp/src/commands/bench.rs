//! `dmaproof bench`

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use dmaproof_protocol::{Direction, Limits, QueryReply, status};

use super::busy;
use super::files::{NewFile, end_with};
use crate::bench::report::{Bench, write_end, write_head, write_json, write_row};
use crate::bench::{
    Cell, Flaw, Measured, Place, Sample, Selection, Trouble, Verdict, baseline, cells, measure,
    page,
};
use crate::cli::BenchArgs;
use crate::exit::{AppError, Exit, Fate};
use crate::route::Route;
use crate::target::{self, Body, NtStatus, Target, TargetError, with_target};
use crate::{describe, interrupt, notes, progress, provoked};

pub(super) fn run(arguments: &BenchArgs, out: &mut dyn Write) -> Result<Exit, AppError> {
    let change = |simulation| busy::with_threads(simulation, arguments.threads);
    run_on(arguments, &*target::open_as(&arguments.target, &change)?, out)
}

/// The same on a target.
pub(super) fn run_on(
    arguments: &BenchArgs,
    target: &dyn Target,
    out: &mut dyn Write,
) -> Result<Exit, AppError> {
    let html = NewFile::for_report(arguments.html.as_ref())?;
    let reply = match asked(target) {
        Err(error @ AppError::Target(TargetError::Stopped(_) | TargetError::NeverStopped(_))) => {
            let mut bench = begun(arguments, target);
            if !arguments.json {
                write_head(out, &bench)?;
            }
            bench.trouble = Some(trouble(arguments, target, None, error));
            return tell(arguments, &bench, html, out);
        }
        other => other?,
    };
    let mismatch = |_| asking(NtStatus(status::REVISION_MISMATCH));
    let limits = reply.limits().map_err(mismatch)?;
    let plan = cells(&limits, &selection(arguments));
    if plan.is_empty() {
        return Err(AppError::Usage(format!(
            "nothing of what was selected is available here; `dmaproof info {}` shows the paths",
            target.options()
        )));
    }
    let bench = measure_all(arguments, target, (reply, limits), &plan, out)?;
    tell(arguments, &bench, html, out)
}

/// Writes what a bench came to.
fn tell(
    arguments: &BenchArgs,
    bench: &Bench,
    html: Option<NewFile>,
    out: &mut dyn Write,
) -> Result<Exit, AppError> {
    if arguments.json {
        write_json(out, bench)?;
    } else {
        write_end(out, bench)?;
    }
    let written = html.map_or(Ok(()), |file| file.finish_with(&page::page(bench)));
    end_with(bench.verdict().exit(), written)
}

/// A bench of which nothing is known yet.
fn begun(arguments: &BenchArgs, target: &dyn Target) -> Bench {
    Bench {
        tested: target.describe(),
        device: None,
        threads: arguments.threads,
        seconds: arguments.time.as_secs_f64(),
        planned: 0,
        measured: Vec::new(),
        notes: Vec::new(),
        provoked: Vec::new(),
        trouble: None,
    }
}

/// What the driver says about itself and its device.
fn asked(target: &dyn Target) -> Result<QueryReply, AppError> {
    with_target(target, |session| session.query())?.map_err(asking)
}

fn asking(status: NtStatus) -> AppError {
    AppError::Request { what: "asking the driver", status }
}

fn selection(arguments: &BenchArgs) -> Selection {
    let mut selection = Selection {
        routes: Route::ALL.to_vec(),
        directions: Direction::ALL.to_vec(),
        sizes: arguments.sizes.clone(),
        depths: arguments.depths.clone(),
    };
    if !arguments.paths.is_empty() {
        selection.routes.retain(|route| arguments.paths.contains(route));
    }
    if !arguments.directions.is_empty() {
        selection.directions.retain(|direction| arguments.directions.contains(direction));
    }
    selection
}

fn measure_all(
    arguments: &BenchArgs,
    target: &dyn Target,
    (reply, limits): (QueryReply, Limits),
    plan: &[Cell],
    out: &mut dyn Write,
) -> Result<Bench, AppError> {
    let begun = begun(arguments, target);
    let mut bench = Bench { device: Some(reply), planned: plan.len(), ..begun };
    if !arguments.json {
        write_head(out, &bench)?;
    }
    let bar = progress::cases();
    // CAST: a count of cells.
    bar.set_length(plan.len() as u64);
    let mut copied: Option<((usize, usize), f64)> = None;
    for cell in plan {
        if interrupt::happened() {
            break;
        }
        let shape = (cell.size, cell.depth);
        let memcpy = match copied {
            Some((same, rate)) if same == shape => rate,
            _ => baseline::memcpy(cell.size, cell.depth),
        };
        copied = Some((shape, memcpy));
        let samples = match sample(arguments, target, &limits, *cell, &mut bench) {
            Ok(samples) => samples,
            Err(AppError::Interrupted(_)) => break,
            Err(error) => {
                bench.trouble = Some(trouble(arguments, target, Some(*cell), error));
                break;
            }
        };
        let Some(measured) = Measured::of(*cell, &samples, memcpy) else { break };
        if !arguments.json {
            bar.suspend(|| write_row(out, bench.measured.last(), &measured))?;
        }
        bench.measured.push(measured);
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(bench)
}

/// Measures a cell in each thread; what was seen meanwhile goes to the bench.
fn sample(
    arguments: &BenchArgs,
    target: &dyn Target,
    limits: &Limits,
    cell: Cell,
    bench: &mut Bench,
) -> Result<Vec<Sample>, AppError> {
    let results = Arc::new(Mutex::new(Vec::new()));
    let (limits, time, threads) = (*limits, arguments.time, arguments.threads);
    let interrupted = interrupt::flag();
    let body = |thread| -> Body {
        let (results, interrupted) = (Arc::clone(&results), Arc::clone(&interrupted));
        Box::new(move |session| {
            let place = Place { thread, threads };
            let result = measure(session, &cell, &limits, place, time, &interrupted);
            results.lock().unwrap_or_else(PoisonError::into_inner).push(result);
        })
    };
    let ended = target.run_together((0..threads).map(body).collect());
    notes::add(&mut bench.notes, ended.notes);
    provoked::add(&mut bench.provoked, ended.provoked);
    ended.result?;
    if let Some(device) = ended.never_stopped.into_iter().next() {
        return Err(TargetError::NeverStopped(device).into());
    }
    let results = std::mem::take(&mut *results.lock().unwrap_or_else(PoisonError::into_inner));
    let samples: Result<Vec<Sample>, Flaw> = results.into_iter().collect();
    samples.map_err(|flaw| {
        let what = match flaw {
            Flaw::Interrupted => return AppError::Interrupted(Fate::Dropped),
            Flaw::Status(status) if status.is_cancelled() && interrupt::happened() => {
                return AppError::Interrupted(Fate::Dropped);
            }
            Flaw::Status(status) => return AppError::Request { what: "a transfer", status },
            Flaw::Wrong(at) => format!("byte {at} of a transfer is wrong"),
            _ => "the driver moved fewer bytes than it was asked for".to_owned(),
        };
        let (options, threads) = (target.options(), arguments.threads);
        let Cell { route, direction, size, depth } = cell;
        AppError::Corrupted(format!(
            "{what}: {route}, {direction}, {size} bytes, {depth} under way; `dmaproof test {options} \
             --paths {} --threads {threads} --depth {depth}` finds out more",
            route.option()
        ))
    })
}

/// What ended the bench in this cell, or before the first one, and how to come there again.
fn trouble(
    arguments: &BenchArgs,
    target: &dyn Target,
    cell: Option<Cell>,
    error: AppError,
) -> Trouble {
    let chosen = cell.map_or(String::new(), |Cell { route, direction, size, depth }| {
        let (route, direction) = (route.option(), direction.title());
        format!(" --paths {route} --directions {direction} --sizes {size} --depths {depth}")
    });
    let replay = format!(
        "dmaproof bench {}{chosen} --threads {} --time {}",
        target.options(),
        arguments.threads,
        describe::quoted(&humantime::format_duration(arguments.time).to_string())
    );
    let (verdict, text) = (Verdict::of(&error), error.to_string());
    let violation = match error {
        AppError::Target(TargetError::Stopped(violation)) => Some(violation),
        _ => None,
    };
    Trouble { cell, verdict, text, violation, replay }
}
