//! How fast a device moves data, beside memcpy in the same run.
//!
//! Each cell of the plan, a path, a direction, a size and a depth, is measured on a target that is
//! started for it, so that none can disturb the next. The data is verified outside the timed part.

pub mod baseline;
mod measure;
pub mod page;
mod plan;
mod plot;
pub mod report;

use std::time::Duration;

use dmaproof_protocol::Direction;
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::exit::{AppError, Exit};
use crate::route::Route;
use crate::target::{TargetError, Violation};
pub use measure::{Flaw, Place, Sample, measure};
pub use plan::{Selection, cells};

/// What is measured together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// How transfers are asked for.
    pub route: Route,
    /// Where the data goes.
    pub direction: Direction,
    /// Bytes of each transfer.
    pub size: usize,
    /// Transfers under way on each handle.
    pub depth: usize,
}

/// What ended a bench before its plan was done.
#[derive(Clone, Debug)]
pub struct Trouble {
    /// In this cell; `None` before the first one.
    pub cell: Option<Cell>,
    /// What it means for the bench.
    pub verdict: Verdict,
    /// What happened, in a sentence with the next step.
    pub text: String,
    /// The rule that stopped the machine, if one did.
    pub violation: Option<Violation>,
    /// The command that measures the cell again.
    pub replay: String,
}

/// What a bench ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Everything was measured, and all data is intact.
    Intact,
    /// Data was wrong, or a transfer failed.
    Corrupted,
    /// A rule was broken.
    RuleBroken,
    /// The device never stopped.
    DeviceNeverStopped,
    /// The device or the permission is missing.
    Unavailable,
    /// The user ended it.
    Interrupted,
    /// A failure that was asked for never happened.
    NotProvoked,
}

impl Verdict {
    /// The verdict that an error is.
    #[must_use]
    pub const fn of(error: &AppError) -> Self {
        match error {
            AppError::Target(TargetError::Stopped(_)) | AppError::RuleBroken(_) => Self::RuleBroken,
            AppError::Target(TargetError::NeverStopped(_)) => Self::DeviceNeverStopped,
            AppError::Interrupted(_) => Self::Interrupted,
            other => match other.exit() {
                Exit::Failed => Self::Corrupted,
                _ => Self::Unavailable,
            },
        }
    }

    /// The exit status that goes with it.
    #[must_use]
    pub const fn exit(self) -> Exit {
        match self {
            Self::Intact => Exit::Intact,
            Self::Corrupted | Self::RuleBroken | Self::DeviceNeverStopped => Exit::Failed,
            Self::Unavailable => Exit::Unavailable,
            Self::Interrupted => Exit::Interrupted,
            Self::NotProvoked => Exit::Usage,
        }
    }

    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Intact => "INTACT",
            Self::Corrupted => "CORRUPTED",
            Self::RuleBroken => "RULE BROKEN",
            Self::DeviceNeverStopped => "NEVER STOPPED",
            Self::Unavailable => "UNAVAILABLE",
            Self::Interrupted => "INTERRUPTED",
            Self::NotProvoked => "NOT PROVOKED",
        }
    }
}

/// What came of a cell: all threads together.
#[derive(Clone, Debug)]
pub struct Measured {
    /// The cell.
    pub cell: Cell,
    /// Transfers that were timed.
    pub transfers: u64,
    /// Of the slowest thread.
    pub elapsed: Duration,
    /// Transfers a second.
    pub rate: f64,
    /// Nanoseconds from asking for a transfer to having its answer, in the order of asking.
    pub latency: Histogram<u64>,
    /// Bytes a second that memcpy moves in one thread over the same buffers.
    pub memcpy: f64,
}

/// The latencies that are shown, with their names in JSON.
pub const PERCENTILES: [(&str, f64); 4] =
    [("p50", 50.0), ("p99", 99.0), ("p99_9", 99.9), ("max", 100.0)];

impl Measured {
    /// Puts the threads' samples together. `None` without any.
    #[must_use]
    pub fn of(cell: Cell, samples: &[Sample], memcpy: f64) -> Option<Self> {
        let (first, others) = samples.split_first()?;
        let mut latency = first.latency.clone();
        for sample in others {
            // All histograms have the same bounds.
            let _ = latency.add(&sample.latency);
        }
        let elapsed = samples.iter().map(|sample| sample.elapsed).max()?;
        let transfers = samples.iter().map(|sample| sample.latency.len()).sum();
        // CAST: counts are far below 2^53.
        let rate = |sample: &Sample| sample.latency.len() as f64 / sample.elapsed.as_secs_f64();
        Some(Self {
            cell,
            transfers,
            elapsed,
            rate: samples.iter().map(rate).sum(),
            latency,
            memcpy,
        })
    }

    /// Bytes a second.
    #[must_use]
    pub fn throughput(&self) -> f64 {
        // CAST: as above.
        self.rate * self.cell.size as f64
    }

    /// The share of memcpy's speed.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        self.throughput() / self.memcpy
    }

    /// The latency that so many of a hundred transfers do not exceed, in nanoseconds.
    #[must_use]
    pub fn percentile(&self, percent: f64) -> u64 {
        self.latency.value_at_percentile(percent)
    }
}
