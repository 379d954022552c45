//! A run as a picture: processor, cache lines, RAM, adapter FIFO and device, step by step, like the
//! figure "Read and Write Operations Using DMA" of the documents.
//!
//! [`frames`] turns what the cache model recorded into frames, with what `marks` finds between the
//! steps and `deeds` says of them; [`html`] draws them into one file that needs nothing else.

mod deeds;
pub mod frames;
pub mod html;
mod marks;

use dmaproof_protocol::Path;
use nthost::{Calls, RuleId};

use super::run::{Run, SMALL, Settings, Shape, profile, run};
use super::table::{Cell, Seen};
use super::verdict::Outcome;
use crate::explain::Explanation;

/// Seeds tried for a run in which data is lost, if it was lost in one that the row was judged by.
const SEEDS: u64 = 64;
/// Seeds tried for one that shows more than the first that will do.
const MORE: u64 = 8;

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

/// A run that is drawn for an outcome. It is none of those that the outcome was judged by: it moves
/// one small transfer, and goes on after the broken rule.
#[derive(Debug)]
pub struct Drawn {
    /// The run.
    pub run: Run,
    /// Its seed.
    pub seed: u64,
}

impl Drawn {
    /// Rules that only the outcome's runs named, and rules that only this one did.
    #[must_use]
    pub fn disagreement(&self, outcome: &Outcome) -> [Vec<RuleId>; 2] {
        let here = self.run.named();
        let without = |rules: &[RuleId], others: &[RuleId]| {
            rules.iter().copied().filter(|rule| !others.contains(rule)).collect()
        };
        [without(&outcome.named, &here), without(&here, &outcome.named)]
    }

    /// How much of what the outcome says it shows: that data is lost, in the same way, and the rule
    /// that was named first.
    fn shows(&self, outcome: &Outcome) -> u32 {
        let class =
            |wrong: &Option<(Seen, Explanation)>| wrong.as_ref().map(|(_, found)| found.class);
        let wrong = self.run.wrong().cloned();
        let loses = wrong.is_some();
        let alike = outcome.data.is_none() || class(&wrong) == class(&outcome.data);
        let here = self.run.named();
        let named = outcome.named.first().is_none_or(|rule| here.contains(rule));
        4 * u32::from(loses) + 2 * u32::from(alike) + u32::from(named)
    }
}

/// Everything that a run to draw can show.
const ALL: u32 = 7;
/// The least that a run shows in which data is lost.
const LOSS: u32 = 4;

/// A run to draw: small, recorded, and of the seeds from the outcome's on the first that shows most
/// of what the outcome says.
#[must_use]
pub fn record(outcome: &Outcome) -> Option<Drawn> {
    let mut best: Option<(u32, Drawn)> = None;
    let mut end = if outcome.data.is_some() { SEEDS } else { MORE };
    let mut number = 0;
    while number < end {
        let seed = outcome.seed.wrapping_add(number);
        let settings = Settings { seed, go_on: true, record: true };
        let drawn = Drawn { run: run(&outcome.cell, settings, shapes(&outcome.cell))?, seed };
        let shows = drawn.shows(outcome);
        if shows == ALL {
            return Some(drawn);
        }
        number += 1;
        if shows >= LOSS {
            end = end.min(number + MORE);
        }
        if best.as_ref().is_none_or(|(most, _)| shows > *most) {
            best = Some((shows, drawn));
        }
    }
    best.map(|(_, drawn)| drawn)
}

/// The transfers of the run that is drawn, of which the last one is seen. A mistake in the second
/// call needs a second one, in which a page less is missed.
#[must_use]
pub fn shapes(cell: &Cell) -> &'static [Shape] {
    match cell.row.sabotage.calls {
        Calls::Every => &SMALL[..1],
        Calls::Nth(_) => &SMALL,
    }
}
