//! `dmaproof bench`

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use dmaproof_protocol::{Direction, Limits, QueryReply, status};

use super::busy;
use super::files::NewFile;
use crate::bench::report::{Bench, write_head, write_json, write_row};
use crate::bench::{
    Cell, Flaw, Measured, Place, Sample, Selection, baseline, cells, measure, page,
};
use crate::cli::BenchArgs;
use crate::exit::{AppError, Exit};
use crate::route::Route;
use crate::target::{self, Body, Note, NtStatus, Target, TargetError, with_target};
use crate::{interrupt, notes, progress};

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
    let reply = with_target(target, |session| session.query())?.map_err(asking)?;
    let mismatch = |_| asking(NtStatus(status::REVISION_MISMATCH));
    let limits = reply.limits().map_err(mismatch)?;
    let plan = cells(&limits, &selection(arguments));
    if plan.is_empty() {
        return Err(AppError::Usage(
            "nothing of what was selected is available here; `dmaproof info` shows the paths"
                .to_owned(),
        ));
    }
    let bench = measure_all(arguments, target, (reply, limits), &plan, out)?;
    if arguments.json {
        write_json(out, &bench)?;
    } else {
        notes::write(out, &bench.notes)?;
        if let Some(sentence) = bench.interruption() {
            writeln!(out, "{sentence}")?;
        }
    }
    if let Some(file) = html {
        file.finish_with(&page::page(&bench))?;
    }
    Ok(bench.exit())
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
    let mut bench = Bench {
        tested: target.describe(),
        device: Some(reply),
        threads: arguments.threads,
        seconds: arguments.time.as_secs_f64(),
        planned: plan.len(),
        measured: Vec::new(),
        notes: Vec::new(),
    };
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
        let (samples, notes) = sample(arguments, target, &limits, *cell)?;
        notes::add(&mut bench.notes, notes);
        let Some(samples) = samples else { break };
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

/// Measures a cell in each thread; no samples if the user ended it. What was noted meanwhile.
fn sample(
    arguments: &BenchArgs,
    target: &dyn Target,
    limits: &Limits,
    cell: Cell,
) -> Result<(Option<Vec<Sample>>, Vec<Note>), AppError> {
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
    ended.result?;
    if let Some(device) = ended.never_stopped.into_iter().next() {
        return Err(TargetError::NeverStopped(device).into());
    }
    let results = std::mem::take(&mut *results.lock().unwrap_or_else(PoisonError::into_inner));
    let samples: Result<Vec<Sample>, Flaw> = results.into_iter().collect();
    match samples {
        Ok(samples) => Ok((Some(samples), ended.notes)),
        Err(Flaw::Interrupted) => Ok((None, ended.notes)),
        Err(Flaw::Status(status)) => Err(AppError::Request { what: "a transfer", status }),
        Err(flaw) => Err(AppError::Corrupted(corrupted(&cell, flaw))),
    }
}

fn corrupted(cell: &Cell, flaw: Flaw) -> String {
    let what = match flaw {
        Flaw::Wrong(at) => format!("byte {at} of a transfer is wrong"),
        _ => "the driver moved fewer bytes than it was asked for".to_owned(),
    };
    format!(
        "{what}: {}, {}, {} bytes, {} under way; `dmaproof test --depth {}` finds out more",
        cell.route, cell.direction, cell.size, cell.depth, cell.depth
    )
}
