//! The machine's choices: whatever the documents leave open is drawn here, from the seed, and what
//! happens next is decided here, by the machine's policy.
//!
//! Two kinds. A *draw* ([`Choices::below`]) is data: an address, a piece's length. Draws come from
//! the seed in the order in which they are asked for. A *decision* ([`Choices::decide`]) is one of
//! several things that may happen next; the deterministic scheduler asks for it at every
//! scheduling point, the policy answers, and the answer is recorded. Seed and decisions together
//! repeat a run exactly.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::policy::{Point, Strategy};
use super::recording::ChoiceList;
use crate::memory::pages::mix;

/// The choices of one machine.
#[derive(Debug)]
pub(crate) struct Choices {
    seed: u64,
    /// The policy wants to know of every move.
    watched: bool,
    draws: AtomicU64,
    decisions: Mutex<Decisions>,
}

#[derive(Debug)]
struct Decisions {
    strategy: Box<dyn Strategy>,
    made: Vec<u32>,
}

/// Room for the decisions of a short run.
const DECISIONS: usize = 64;

impl Choices {
    pub(crate) fn new(seed: u64, strategy: Box<dyn Strategy>) -> Self {
        let watched = strategy.watches();
        let made = Vec::with_capacity(DECISIONS);
        let decisions = Mutex::new(Decisions { strategy, made });
        Self { seed, watched, draws: AtomicU64::new(mix(seed)), decisions }
    }

    /// Draws a number below `bound`.
    pub(crate) fn below(&self, bound: u32) -> u32 {
        let drawn = mix(self.draws.fetch_add(0x9E37_79B9, Ordering::Relaxed));
        // CAST: below `bound`.
        (drawn % u64::from(bound.max(1))) as u32
    }

    /// Draws `true` once in `times`.
    pub(crate) fn coin(&self, times: u32) -> bool {
        self.below(times) == 0
    }

    /// Decides what happens next, as an index into the point's moves; `None` when the policy gives
    /// the run up because it has seen an equal one.
    pub(crate) fn decide(&self, point: &Point<'_>) -> Option<usize> {
        let last = point.moves.len() - 1;
        if last == 0 && !self.watched {
            return Some(0);
        }
        let mut decisions = self.decisions.lock();
        let picked = decisions.strategy.pick(point)?.min(last);
        if last > 0 {
            // CAST: a count of moves.
            decisions.made.push(picked as u32);
        }
        Some(picked)
    }

    /// Decides on a number below `bound`, which is one of several alike, such as the moves of the
    /// caches.
    pub(crate) fn number(&self, bound: u32) -> u32 {
        if bound <= 1 {
            return 0;
        }
        let mut decisions = self.decisions.lock();
        let picked = decisions.strategy.number(bound).min(bound - 1);
        decisions.made.push(picked);
        picked
    }

    /// Whether the policy wants to know what moves touch.
    pub(crate) fn watched(&self) -> bool {
        self.watched
    }

    /// Tells the policy what the last move touched.
    pub(crate) fn moved(&self, footprint: super::footprint::Footprint) {
        if self.watched {
            self.decisions.lock().strategy.moved(footprint);
        }
    }

    /// The decisions so far.
    pub(crate) fn list(&self) -> ChoiceList {
        ChoiceList::new(self.seed, &self.decisions.lock().made)
    }
}
