//! Which cells of the table to run.

use dmaproof_protocol::{Direction, Path};
use nthost::{Deed, RuleId};

use super::table::{Cell, MachineKind, Row, cells, rows};

/// The word for every flush.
pub const FLUSH: &str = "FLUSH";

/// A choice of cells: those that fit everything that is set.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Only where this is left out.
    pub skipped: Option<Skipped>,
    /// Only these paths, if any.
    pub paths: Vec<Path>,
    /// Only these directions, if any.
    pub directions: Vec<Direction>,
    /// Only these machines, if any.
    pub machines: Vec<MachineKind>,
    /// Only the cell of this name.
    pub case: Option<String>,
}

/// What the driver is to do without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Skipped {
    /// Every flush of caches and adapters.
    Flush,
    /// Calls of this function.
    Call(&'static str),
    /// Calls without which this rule is not followed.
    Rule(RuleId),
}

impl Skipped {
    /// What a name on the command line stands for.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        if name.eq_ignore_ascii_case(FLUSH) {
            return Some(Self::Flush);
        }
        let call = calls().find(|call| call.eq_ignore_ascii_case(name));
        call.map(Self::Call).or_else(|| name.parse().ok().map(Self::Rule))
    }

    fn fits(&self, row: &Row) -> bool {
        if row.sabotage.deed != Deed::LeaveOut {
            return false;
        }
        let function = row.sabotage.function;
        match self {
            // A list is flushed by being put.
            Self::Flush => function.contains("Flush") || function == "PutScatterGatherList",
            Self::Call(call) => function == *call,
            Self::Rule(rule) => row.expected.iter().any(|(_, e)| e.rules().contains(rule)),
        }
    }
}

/// The functions that the table leaves out, once each.
pub fn calls() -> impl Iterator<Item = &'static str> {
    left_out()
        .map(|row| row.sabotage.function)
        .scan(Vec::new(), |known, call| {
            let new = !known.contains(&call);
            known.push(call);
            Some(new.then_some(call))
        })
        .flatten()
}

/// The rules that name what the table leaves out, in order.
#[must_use]
pub fn rules() -> Vec<RuleId> {
    let expected = left_out().flat_map(|row| row.expected);
    let mut rules: Vec<RuleId> = expected.flat_map(|(_, e)| e.rules()).copied().collect();
    rules.sort();
    rules.dedup();
    rules
}

fn left_out() -> impl Iterator<Item = &'static Row> {
    rows().filter(|row| row.sabotage.deed == Deed::LeaveOut)
}

impl Selection {
    /// The cells, in the order of the table.
    pub fn cells(&self) -> impl Iterator<Item = Cell> {
        cells().filter(|cell| self.fits(cell))
    }

    fn fits(&self, cell: &Cell) -> bool {
        self.skipped.as_ref().is_none_or(|skipped| skipped.fits(cell.row))
            && is_wanted(&self.paths, cell.path)
            && is_wanted(&self.directions, cell.direction)
            && is_wanted(&self.machines, cell.machine)
            && self.case.as_ref().is_none_or(|name| *name == cell.to_string())
    }
}

/// Whether `one` was asked for; all are if none was.
fn is_wanted<T: PartialEq>(wanted: &[T], one: T) -> bool {
    wanted.is_empty() || wanted.contains(&one)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn functions(name: &str) -> Vec<&'static str> {
        let skipped = Some(Skipped::named(name).expect("a name"));
        let selection = Selection { skipped, ..Selection::default() };
        let mut found: Vec<_> = selection.cells().map(|cell| cell.row.sabotage.function).collect();
        found.dedup();
        found.sort_unstable();
        found.dedup();
        found
    }

    #[test]
    fn a_call_a_rule_or_every_flush_can_be_skipped() {
        assert_eq!(functions("keflushiobuffers"), ["KeFlushIoBuffers"]);
        assert_eq!(functions("DMA-85"), ["KeFlushIoBuffers"]);
        assert_eq!(
            functions("flush"),
            [
                "FlushAdapterBuffers",
                "FlushAdapterBuffersEx",
                "KeFlushIoBuffers",
                "PutScatterGatherList"
            ]
        );
        assert_eq!(Skipped::named("teleport"), None);
    }

    #[test]
    fn every_rule_and_call_that_is_offered_selects_something() {
        for call in calls() {
            assert!(!functions(call).is_empty(), "{call}");
        }
        for rule in rules() {
            assert!(!functions(rule.name()).is_empty(), "{rule}");
        }
    }

    #[test]
    fn a_cell_is_found_by_its_name() {
        for cell in cells() {
            let selection = Selection { case: Some(cell.to_string()), ..Selection::default() };
            assert_eq!(selection.cells().count(), 1, "{cell}");
        }
    }
}
