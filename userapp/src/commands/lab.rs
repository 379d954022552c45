//! `dmaproof lab`

use std::io::Write;

use super::files::NewFile;
use crate::cli::LabArgs;
use crate::exit::{AppError, Exit, Fate};
use crate::lab::page;
use crate::lab::picture::frames::frames;
use crate::lab::picture::{self, can_draw, html};
use crate::lab::report::{Total, write_human, write_json};
use crate::lab::select::Selection;
use crate::lab::table::Cell;
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
        return Err(AppError::Usage(
            "no row of the table fits all of these options; `dmaproof lab --page` shows the rows"
                .to_owned(),
        ));
    }
    if arguments.html.is_some() && !cells.iter().any(can_draw) {
        return Err(AppError::Usage(
            "no row here can be drawn: --html needs one on arm64 or nt, by DMA".to_owned(),
        ));
    }
    let picture = NewFile::for_report(arguments.html.as_ref())?;
    let outcomes = judge_all(&cells, arguments.seed)?;
    let exit = if Total::of(&outcomes).differing == 0 { Exit::Intact } else { Exit::Failed };
    if arguments.json {
        write_json(out, &outcomes, arguments.seed, exit)?;
    } else {
        write_human(out, &outcomes)?;
    }
    if let (Some(file), Some(path)) = (picture, &arguments.html) {
        let (page, shown) = draw(&outcomes);
        file.finish_with(&page)?;
        if !arguments.json {
            writeln!(out, "{} shows {shown}", path.display())?;
        }
    }
    Ok(exit)
}

/// Draws the outcome that is worth it most; the page, and what it shows.
fn draw(outcomes: &[Outcome]) -> (String, String) {
    let outcome = picture::choose(outcomes).expect("one can be drawn");
    let drawn = picture::record(outcome).expect("its machine is there");
    let frames = frames(&outcome.cell, &drawn.run);
    let (cell, steps) = (outcome.cell, frames.len());
    let shown = format!("{cell}, in a run of its own with seed {}, in {steps} steps", drawn.seed);
    (html::page(outcome, &drawn, &frames), shown)
}

fn judge_all(cells: &[Cell], seed: u64) -> Result<Vec<Outcome>, AppError> {
    let stop = interrupt::flag();
    let bar = progress::cases();
    // CAST: a count of rows.
    bar.set_length(cells.len() as u64);
    let mut outcomes = Vec::with_capacity(cells.len());
    for cell in cells {
        if stop.load(std::sync::atomic::Ordering::Relaxed) {
            bar.finish_and_clear();
            return Err(AppError::Interrupted(Fate::Dropped));
        }
        outcomes.push(judge(cell, seed));
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(outcomes)
}
