//! A run as a picture: processor, cache lines, RAM, adapter FIFO and device, step by step, like the
//! figure "Read and Write Operations Using DMA" of the documents.
//!
//! [`frames`] turns what the cache model recorded into frames; [`html`] draws them into one file
//! that needs nothing else.

pub mod frames;
pub mod html;

use dmaproof_protocol::Path;

use super::run::{Run, SMALL, Settings, profile, run};
use super::table::Cell;
use super::verdict::Outcome;

/// Seeds tried for a run in which data is lost.
const SEEDS: u64 = 64;

/// Whether a cell's machine records what a picture shows: caches that are not coherent, and a
/// device that reads and writes memory by itself.
#[must_use]
pub fn can_draw(cell: &Cell) -> bool {
    let recorded = profile(cell.machine).is_some_and(|profile| !profile.is_coherent());
    recorded && cell.path != Path::Pio
}

/// The outcome that is worth a picture most: one in which data was lost, if there is one.
#[must_use]
pub fn choose(outcomes: &[Outcome]) -> Option<&Outcome> {
    let drawable = || outcomes.iter().filter(|outcome| can_draw(&outcome.cell));
    drawable().find(|outcome| outcome.data.is_some()).or_else(|| drawable().next())
}

/// A run to draw: small, recorded, and one in which data is lost if any of the seeds from `seed` on
/// has one. Returns its seed too.
#[must_use]
pub fn record(cell: &Cell, seed: u64) -> Option<(Run, u64)> {
    let recorded = |seed| {
        let settings = Settings { seed, go_on: true, record: true };
        run(cell, settings, &SMALL).map(|run| (run, seed))
    };
    let seeds = || (0..SEEDS).map(|number| seed.wrapping_add(number));
    seeds().filter_map(recorded).find(|(run, _)| run.wrong().is_some()).or_else(|| recorded(seed))
}
