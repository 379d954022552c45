//! Every order of events, by running again and again.
//!
//! Depth first: each run repeats the decisions of the last one up to the last point that has
//! something left to try, and goes another way there. A *sleep set* holds the moves that were
//! tried at an earlier point already and that nothing since then depended on: taking one of them
//! now would only repeat a run with two independent moves exchanged, and a run in which all that
//! can move is asleep is given up.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::machine::deterministic::kernel::Pruned;
use crate::machine::footprint::Footprint;
use crate::machine::policy::{Actor, Point, Strategy};
use crate::machine::{Builder, ChoiceList};

/// How to explore everything.
#[derive(Clone, Copy, Debug)]
pub struct Exhaustive {
    /// Leave out runs that only exchange independent moves.
    pub sleep_sets: bool,
    /// At most so many times in a run does something else happen although what was running could
    /// go on. A bound makes the space small enough for real drivers, and most bugs need one or
    /// two. Sleep sets are not used then: what they leave out might be what the bound allows.
    pub preemptions: Option<u32>,
    /// Give up after so many runs.
    pub runs_max: u64,
}

impl Default for Exhaustive {
    fn default() -> Self {
        Self { sleep_sets: true, preemptions: None, runs_max: 1_000_000 }
    }
}

/// One outcome among those of all runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Runs that ended so.
    pub runs: u64,
    /// The choices of the first of them, and its number, counted from 1.
    pub first: (ChoiceList, u64),
}

/// What an exploration found.
#[derive(Clone, Debug)]
pub struct Explored<O> {
    /// Every outcome.
    pub outcomes: BTreeMap<O, Found>,
    /// Runs that came to their end.
    pub runs: u64,
    /// Runs given up because an equal one had been made.
    pub pruned: u64,
    /// Whether nothing is left to try.
    pub complete: bool,
}

impl Exhaustive {
    /// Explores what `run` does on the machine it builds, once in each call. The builder names the
    /// deterministic scheduler; its policy is not asked.
    pub fn machines<O: Ord>(
        &self,
        builder: &Builder,
        mut run: impl FnMut(Builder) -> O,
    ) -> Explored<O> {
        self.explore(builder.seed_of(), |strategy| run(builder.clone().decided_by(strategy)))
    }

    /// Explores whatever decides by the strategy it is given.
    pub(super) fn explore<O: Ord>(
        &self,
        seed: u64,
        mut run: impl FnMut(Box<dyn Strategy>) -> O,
    ) -> Explored<O> {
        let explorer = Arc::new(Mutex::new(Explorer::new(*self)));
        let mut explored =
            Explored { outcomes: BTreeMap::new(), runs: 0, pruned: 0, complete: false };
        while explored.runs + explored.pruned < self.runs_max {
            let strategy = Box::new(Exploring(Arc::clone(&explorer)));
            match catch_unwind(AssertUnwindSafe(|| run(strategy))) {
                Ok(outcome) => {
                    explored.runs += 1;
                    let number = explored.runs;
                    let first = || (explorer.lock().choices(seed), number);
                    let found = explored.outcomes.entry(outcome);
                    found.or_insert_with(|| Found { runs: 0, first: first() }).runs += 1;
                }
                Err(payload) if payload.is::<Pruned>() => explored.pruned += 1,
                Err(payload) => resume_unwind(payload),
            }
            if !explorer.lock().next_run() {
                explored.complete = true;
                break;
            }
        }
        explored
    }
}

/// A move that need not be taken: its actor, and what it touched when it was.
type Asleep = (Actor, Footprint);

/// A point of the present run.
#[derive(Debug, Default)]
struct Node {
    /// Who could move; nobody for a plain number.
    moves: Vec<Actor>,
    /// How many alternatives there are.
    count: usize,
    picked: usize,
    goes_on: bool,
    asleep: Vec<Asleep>,
    /// What was picked here in earlier runs.
    tried: Vec<Asleep>,
    footprint: Option<Footprint>,
    preemptions: u32,
}

impl Node {
    /// The first alternative from `from` on that is worth a run.
    fn alternative(&self, from: usize, bound: Option<u32>) -> Option<usize> {
        let exhausted = self.goes_on && bound.is_some_and(|bound| self.preemptions >= bound);
        let asleep = |index: usize| {
            let actor = self.moves.get(index);
            actor.is_some_and(|actor| self.asleep.iter().any(|(other, _)| other == actor))
        };
        (from..self.count).find(|&index| !(asleep(index) || exhausted && index > 0))
    }
}

#[derive(Debug)]
struct Explorer {
    options: Exhaustive,
    path: Vec<Node>,
    /// The next point of the present run.
    depth: usize,
    /// Asleep at the next point, if that is a new one.
    asleep: Vec<Asleep>,
}

impl Explorer {
    fn new(options: Exhaustive) -> Self {
        Self { options, path: Vec::new(), depth: 0, asleep: Vec::new() }
    }

    fn uses_sleep(&self) -> bool {
        self.options.sleep_sets && self.options.preemptions.is_none()
    }

    fn arrive(&mut self, moves: &[Actor], count: usize, goes_on: bool) -> Option<usize> {
        if let Some(node) = self.path.get(self.depth) {
            assert!(node.moves == moves && node.count == count, "an equal run went another way");
            self.depth += 1;
            return Some(node.picked);
        }
        let before = self.path.last();
        let preempted = before.is_some_and(|node| node.goes_on && node.picked > 0);
        let preemptions = before.map_or(0, |node| node.preemptions) + u32::from(preempted);
        let asleep = std::mem::take(&mut self.asleep);
        let mut node =
            Node { moves: moves.to_vec(), count, goes_on, asleep, preemptions, ..Node::default() };
        node.picked = node.alternative(0, self.options.preemptions)?;
        let picked = node.picked;
        self.path.push(node);
        self.depth += 1;
        Some(picked)
    }

    fn moved(&mut self, footprint: Footprint) {
        let is_last = self.depth == self.path.len();
        let uses_sleep = self.uses_sleep();
        let Some(node) = self.path.last_mut().filter(|_| is_last) else { return };
        let footprint = node.footprint.map_or(footprint, |before| before.and(footprint));
        node.footprint = Some(footprint);
        if uses_sleep {
            let all = node.asleep.iter().chain(&node.tried);
            self.asleep =
                all.filter(|(_, touched)| !touched.depends_on(footprint)).copied().collect();
        }
    }

    /// Prepares the next run; `false` if there is none.
    fn next_run(&mut self) -> bool {
        self.depth = 0;
        self.asleep.clear();
        let (uses_sleep, bound) = (self.uses_sleep(), self.options.preemptions);
        while let Some(node) = self.path.last_mut() {
            if uses_sleep && let Some(&actor) = node.moves.get(node.picked) {
                // What the run's last move touched nobody has asked for.
                node.tried.push((actor, node.footprint.unwrap_or(Footprint::ALL)));
            }
            if let Some(next) = node.alternative(node.picked + 1, bound) {
                node.picked = next;
                node.footprint = None;
                return true;
            }
            self.path.pop();
        }
        false
    }

    fn choices(&self, seed: u64) -> ChoiceList {
        let chosen = self.path.iter().filter(|node| node.count > 1);
        // CAST: a count of moves.
        let made: Vec<u32> = chosen.map(|node| node.picked as u32).collect();
        ChoiceList::new(seed, &made)
    }
}

/// The strategy of one run.
#[derive(Debug)]
struct Exploring(Arc<Mutex<Explorer>>);

impl Strategy for Exploring {
    fn pick(&mut self, point: &Point<'_>) -> Option<usize> {
        self.0.lock().arrive(point.moves, point.moves.len(), point.goes_on)
    }

    fn number(&mut self, bound: u32) -> u32 {
        let picked = self.0.lock().arrive(&[], bound as usize, false);
        // CAST: below `bound`; nothing is asleep among numbers.
        picked.unwrap_or(0) as u32
    }

    fn watches(&self) -> bool {
        true
    }

    fn moved(&mut self, footprint: Footprint) {
        self.0.lock().moved(footprint);
    }
}
