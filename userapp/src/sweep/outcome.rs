//! What a run is told, and what it finds out.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex, PoisonError};

use dmaproof_protocol::{Direction, QueryReply, Statistics};
use indicatif::ProgressBar;

use super::accounts::Account;
use super::plan::{Case, Depth, Selection};
use crate::describe::Incident;
use crate::explain::Explanation;
use crate::ledger::Ledger;
use crate::route::Route;
use crate::target::NtStatus;

/// How many failures are kept in full.
const FAILURES_KEPT: usize = 16;

/// How to run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What to try.
    pub selection: Selection,
    /// How much of it.
    pub depth: Depth,
    /// The seed of plan and patterns.
    pub seed: u64,
    /// The numbers of the cases to run; the others count as not run.
    pub cases: Range<u64>,
    /// Give up after this many failures.
    pub failures_max: u64,
    /// What else keeps the device busy meanwhile.
    pub load: Load,
    /// Set from outside to end the run early.
    pub interrupted: Arc<AtomicBool>,
    /// Shows how far the run is.
    pub progress: ProgressBar,
}

/// How busy the device is during a run: with one thread and a depth of one, each transfer is alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Threads, each with a handle of its own; the first one runs the plan.
    pub threads: usize,
    /// Transfers under way on each handle.
    pub depth: usize,
}

impl Default for Load {
    fn default() -> Self {
        Self { threads: 1, depth: 1 }
    }
}

impl Load {
    /// Whether a tested transfer is alone.
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.threads <= 1 && self.depth <= 1
    }
}

/// How a run ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum End {
    /// It did not: the machine stopped under it.
    #[default]
    Stopped,
    /// Every case ran.
    Complete,
    /// The user ended it.
    Interrupted,
    /// There were too many failures.
    TooManyFailures,
    /// The device or the permission is gone.
    Unavailable(NtStatus),
    /// The device's memory could not be filled to begin with.
    NotPrepared,
}

/// One failed case.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The number of the case in the plan.
    pub number: u64,
    /// The case.
    pub case: Case,
    /// The route that is to blame: the case's own, or its partner.
    pub route: Route,
    /// The direction that is to blame.
    pub direction: Direction,
    /// How that was found out.
    pub blame: &'static str,
    /// What it looks like.
    pub explanation: Explanation,
}

/// Everything that a run found out so far.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// What the driver says about itself.
    pub query: Option<QueryReply>,
    /// What ran.
    pub ledger: Option<Ledger>,
    /// Cases planned.
    pub planned: u64,
    /// Cases run.
    pub done: u64,
    /// Transfers asked for.
    pub transfers: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// Transfers that other threads asked for, all of which are verified.
    pub beside: Statistics,
    /// The first failures.
    pub failures: Vec<Failure>,
    /// All failures.
    pub failures_total: u64,
    /// Where the driver's counters disagree.
    pub accounts: Vec<Account>,
    /// What the driver counted meanwhile that happens to no transfer where all is well.
    pub incidents: Vec<Incident>,
    /// Why the first transfer failed that was to give the device's memory a known content.
    pub preparation: Option<Explanation>,
    /// Whether that was by a path that is to be tested.
    pub preparation_counts: bool,
    /// How it ended.
    pub end: End,
}

impl Outcome {
    /// Counts a failure, and keeps it if it is one of the first.
    pub(super) fn keep(&mut self, failure: Failure) {
        self.failures_total += 1;
        if self.failures.len() < FAILURES_KEPT {
            self.failures.push(failure);
        }
    }
}

/// Where the threads of a run are.
#[derive(Debug, Default)]
pub(super) struct Crew {
    /// The counters were read: transfers count from now on.
    pub(super) begun: AtomicBool,
    /// The plan is done.
    pub(super) done: AtomicBool,
    /// Threads beside the first that have all their transfers back.
    pub(super) idle: AtomicUsize,
}

/// Keeps an outcome where it survives a machine that stops.
#[derive(Clone, Debug, Default)]
pub struct Recorder(Arc<Mutex<Outcome>>, pub(super) Arc<Crew>);

impl Recorder {
    /// What was found out so far.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes the outcome. Nothing that can stop may be called meanwhile.
    pub(super) fn update<R>(&self, change: impl FnOnce(&mut Outcome) -> R) -> R {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
