//! What a test found out, for people and for programs.

mod human;
mod json;
pub mod junit;
pub mod page;
#[cfg(test)]
mod tests;
mod verdict;

use std::ops::Range;

use crate::provoked::Provoked;
use crate::sweep::{Depth, Outcome};
use crate::target::{Note, Violation};
pub use verdict::Verdict;

pub use human::{write as write_human, write_head, write_violation};
pub use json::{SCHEMA_VERSION, write as write_json};

/// The result of a test.
#[derive(Clone, Debug)]
pub struct Report {
    /// What was tested; the first line.
    pub tested: String,
    /// The options that choose the same target again.
    pub target_options: String,
    /// The options that choose the same cases again.
    pub plan_options: String,
    /// The seed.
    pub seed: u64,
    /// How much was to be tried.
    pub depth: Depth,
    /// The cases that were asked for, if not all of the plan.
    pub cases: Option<Range<u64>>,
    /// Whether notes count as failures.
    pub strict: bool,
    /// What happened.
    pub outcome: Outcome,
    /// Rules that were not followed where it does no harm.
    pub notes: Vec<Note>,
    /// The failures that were asked for.
    pub provoked: Vec<Provoked>,
    /// Devices that were still running when everything was taken down.
    pub never_stopped: Vec<Violation>,
    /// The rule that was broken, if the machine stopped.
    pub violation: Option<Violation>,
}

impl Report {
    /// The command that makes the same run again, up to the case with this number.
    #[must_use]
    pub fn replay(&self, last: Option<u64>) -> String {
        let first = self.cases.as_ref().map_or(0, |cases| cases.start);
        let last = last.or_else(|| self.cases.as_ref().map(|cases| cases.end.saturating_sub(1)));
        let cases = last.map_or(String::new(), |last| format!(" --cases {first}-{last}"));
        format!("dmaproof test {} {}{cases}", self.target_options, self.plan_options)
    }
}
