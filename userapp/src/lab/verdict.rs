//! A cell over several seeds: does what the documents say come of it?

use std::collections::BTreeSet;

use nthost::RuleId;

use super::run::{Run, Settings, run, shapes};
use super::table::{Cell, Expected, Seen};
use crate::explain::Explanation;

/// Runs for a mistake that may do nothing: all of them have to go well.
const CALM: u64 = 6;
/// Runs for a mistake that has to be caught: at most as many.
const PATIENCE: u64 = 64;

/// What came of a cell.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The cell.
    pub cell: Cell,
    /// Whether that is what the documents say.
    pub verdict: Verdict,
    /// The rules that were named, first the one that stopped the machine.
    pub named: Vec<RuleId>,
    /// What the verifier said first.
    pub said: Option<String>,
    /// What was wrong with the data, and who saw it.
    pub data: Option<(Seen, Explanation)>,
    /// Runs made.
    pub runs: u64,
    /// The seed of the run that says most: the first in which data was lost, or a rule named.
    pub seed: u64,
}

/// Whether an outcome is the expected one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is.
    AsExpected,
    /// It is not, and how.
    Differs(String),
    /// This build has no such machine or device.
    NotRun,
}

/// What the runs of a cell showed so far.
struct Trial<'c> {
    cell: &'c Cell,
    first_seed: u64,
    outcome: Outcome,
}

/// Runs a cell with as many seeds from `seed` on as it needs.
#[must_use]
pub fn judge(cell: &Cell, seed: u64) -> Outcome {
    let outcome = Outcome {
        cell: *cell,
        verdict: Verdict::NotRun,
        named: Vec::new(),
        said: None,
        data: None,
        runs: 0,
        seed,
    };
    let mut trial = Trial { cell, first_seed: seed, outcome };
    trial.outcome.verdict = match cell.expected {
        Expected::Harmful(rules, seen) => trial.harmful(rules, seen),
        Expected::Noted(_) | Expected::Harmless | Expected::Refused => trial.calm(),
    };
    trial.outcome
}

impl Trial<'_> {
    fn run(&mut self, number: u64, go_on: bool) -> Option<Run> {
        let seed = self.first_seed.wrapping_add(number);
        let settings = Settings { seed, go_on, record: false };
        let run = run(self.cell, settings, shapes(self.cell))?;
        self.outcome.runs += 1;
        Some(run)
    }

    /// Keeps what a run says of the mistake.
    fn keep(&mut self, number: u64, run: &Run) {
        let outcome = &mut self.outcome;
        for report in run.reports() {
            if outcome.named.contains(&report.rule) {
                continue;
            }
            outcome.said.get_or_insert_with(|| report.message.clone());
            outcome.named.push(report.rule);
        }
        if let (Some(wrong), None) = (run.wrong(), &outcome.data) {
            outcome.data = Some(wrong.clone());
            outcome.seed = self.first_seed.wrapping_add(number);
        }
    }

    /// First the rule, then, on a machine that goes on, the data.
    fn harmful(&mut self, rules: &[RuleId], seen: Seen) -> Verdict {
        let mut caught = false;
        for number in 0..PATIENCE {
            let Some(run) = self.run(number, false) else { return Verdict::NotRun };
            self.keep(number, &run);
            let Some(report) = &run.stopped else { continue };
            if !rules.contains(&report.rule) {
                return differs(format!("{} stopped the machine: {}", report.rule, report.message));
            }
            self.outcome.seed = self.first_seed.wrapping_add(number);
            caught = true;
            break;
        }
        if !caught {
            return differs(format!("no rule stopped the machine in {PATIENCE} runs"));
        }
        if seen == Seen::Nobody {
            return Verdict::AsExpected;
        }
        for number in 0..PATIENCE {
            let Some(run) = self.run(number, true) else { return Verdict::NotRun };
            self.keep(number, &run);
            if run.transfers.iter().filter_map(|t| t.wrong.as_ref()).any(|(by, _)| *by == seen) {
                return Verdict::AsExpected;
            }
        }
        differs(format!("{} saw nothing in the data in {PATIENCE} runs", seen.name()))
    }

    fn calm(&mut self) -> Verdict {
        for number in 0..CALM {
            let Some(run) = self.run(number, false) else { return Verdict::NotRun };
            self.keep(number, &run);
            let fault = self.fault(&run);
            if let Some(fault) = fault {
                self.outcome.seed = self.first_seed.wrapping_add(number);
                return differs(fault);
            }
        }
        Verdict::AsExpected
    }

    /// What differs in a run of a mistake that loses no data.
    fn fault(&self, run: &Run) -> Option<String> {
        if let Some(report) = &run.stopped {
            return Some(format!("{} stopped the machine: {}", report.rule, report.message));
        }
        if run.spoiled.is_empty() == self.cell.row.made {
            return Some(format!("{} calls were spoilt", run.spoiled.len()));
        }
        let noted: BTreeSet<RuleId> = run.notes.iter().map(|note| note.rule).collect();
        let expected: BTreeSet<RuleId> = self.cell.expected.rules().iter().copied().collect();
        if noted != expected {
            return Some(format!("noted {}", names(noted.iter().copied())));
        }
        if let Some((by, wrong)) = run.wrong() {
            return Some(format!("{} saw {}: {}", by.name(), wrong.class, wrong.text));
        }
        if !run.losses.is_empty() {
            return Some(format!("{} losses in the caches", run.losses.len()));
        }
        let refused = run.transfers.iter().any(|done| done.result.is_err());
        let expected = self.cell.expected == Expected::Refused;
        (refused != expected).then(|| {
            let statuses: Vec<_> = run.transfers.iter().map(|done| done.result).collect();
            format!("the transfers ended with {statuses:?}")
        })
    }
}

fn differs(how: String) -> Verdict {
    Verdict::Differs(how)
}

/// Rules, or `nothing`.
pub fn names(rules: impl Iterator<Item = RuleId>) -> String {
    let names: Vec<&str> = rules.map(RuleId::name).collect();
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}
