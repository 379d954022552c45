//! `dmaproof lab`

use std::io::Write;

use super::files::{NewFile, end_with};
use crate::cli::{LabArgs, nearest};
use crate::exit::{AppError, Exit};
use crate::lab::page;
use crate::lab::picture::frames::frames;
use crate::lab::picture::{self, can_draw, html};
use crate::lab::report::{Total, write_human, write_json};
use crate::lab::select::Selection;
use crate::lab::table::{self, Cell};
use crate::lab::verdict::{Outcome, judge};
use crate::{interrupt, progress};

pub(super) fn run(arguments: &LabArgs, out: &mut dyn Write) -> Result<Exit, AppError> {
    if arguments.page {
        page::write(out)?;
        return Ok(Exit::Intact);
    }
    let selection = Selection {
        skipped: arguments.skip.clone(),
        paths: arguments.path.clone(),
        directions: arguments.direction.clone(),
        machines: arguments.profile.clone(),
        case: arguments.case.clone(),
    };
    let cells: Vec<Cell> = selection.cells().collect();
    if cells.is_empty() {
        return Err(AppError::Usage(no_row(arguments)));
    }
    if arguments.list {
        for cell in &cells {
            writeln!(out, "{cell}")?;
        }
        return Ok(Exit::Intact);
    }
    if arguments.html.is_some() && !cells.iter().any(can_draw) {
        return Err(AppError::Usage(
            "no row here can be drawn: --html needs one on arm64 or nt, by DMA".to_owned(),
        ));
    }
    let picture = NewFile::for_report(arguments.html.as_ref())?;
    let outcomes = judge_all(&cells, arguments.seed);
    let total = Total::of(&outcomes, cells.len());
    let exit = match total.differing {
        0 if total.rows < total.planned => Exit::Interrupted,
        0 => Exit::Intact,
        _ => Exit::Failed,
    };
    if arguments.json {
        write_json(out, &outcomes, cells.len(), arguments.seed, exit)?;
    } else {
        write_human(out, &outcomes, cells.len())?;
    }
    if let (Some(file), Some(path)) = (picture, &arguments.html) {
        let path = path.display();
        let (said, written) = match draw(&outcomes) {
            Some((page, shown)) => (format!("{path} shows {shown}"), file.finish_with(&page)),
            None => {
                (format!("{path} was not written: no row that can be drawn was judged"), Ok(()))
            }
        };
        if !arguments.json && written.is_ok() {
            writeln!(out, "{said}")?;
        }
        return end_with(exit, written);
    }
    Ok(exit)
}

/// Why no row fits, with the name that was perhaps meant.
fn no_row(arguments: &LabArgs) -> String {
    let names: Vec<String> = table::cells().map(|cell| cell.to_string()).collect();
    let (case, names) = (arguments.case.as_deref(), names.iter().map(String::as_str));
    match case.filter(|case| names.clone().all(|name| name != *case)) {
        None => {
            "no row of the table fits all of these options; `dmaproof lab --list` lists the rows"
                .to_owned()
        }
        Some(case) => {
            let near = nearest(case, names);
            let near = near.map_or(String::new(), |name| format!("; the most similar is {name}"));
            format!("no row is called {case}{near}; `dmaproof lab --list` lists them all")
        }
    }
}

/// Draws the outcome that is worth it most, if one can be drawn; the page, and what it shows.
fn draw(outcomes: &[Outcome]) -> Option<(String, String)> {
    let outcome = picture::choose(outcomes)?;
    let drawn = picture::record(outcome)?;
    let frames = frames(&outcome.cell, &drawn.run);
    let (cell, steps) = (outcome.cell, frames.len());
    let shown = format!("{cell}, in a run of its own with seed {}, in {steps} steps", drawn.seed);
    Some((html::page(outcome, &drawn, &frames), shown))
}

/// Judges one cell after the other, until the user ends it.
fn judge_all(cells: &[Cell], seed: u64) -> Vec<Outcome> {
    let _ = interrupt::flag();
    let bar = progress::cases();
    // CAST: a count of rows.
    bar.set_length(cells.len() as u64);
    let mut outcomes = Vec::with_capacity(cells.len());
    for cell in cells.iter().take_while(|_| !interrupt::happened()) {
        outcomes.push(judge(cell, seed));
        bar.inc(1);
    }
    bar.finish_and_clear();
    outcomes
}
