//! What the driver and the verifier did between the steps of a run.

use nthost::verifier::Report;

use crate::lab::run::Run;
use crate::lab::table::Row;

/// What happens between the steps of caches, memory and device.
#[derive(Clone, Copy)]
pub(super) enum Mark<'r> {
    /// A call of the driver's was spoiled, at this event.
    Spoiled(u64),
    /// A rule was broken, and the machine went on; whether it was the first one.
    Broken(&'r Report, bool),
    /// A rule was broken, and the machine stopped.
    Stopped(&'r Report),
}

impl Mark<'_> {
    /// Title and explanation.
    pub(super) fn describe(&self, row: &Row) -> (String, String) {
        match self {
            Self::Spoiled(_) => (format!("The mistake: {}", row.sabotage), row.gist.to_owned()),
            Self::Broken(report, first) => (
                format!("Rule {} is broken", report.rule),
                capital(&report.message)
                    + if *first {
                        ". A machine that does not go on stops here: the runs of the row do."
                    } else {
                        ". A machine that does not go on has stopped before."
                    },
            ),
            Self::Stopped(report) => (
                format!("Rule {} is broken, and the machine stops", report.rule),
                format!(
                    "{}. More than data can be lost by it, so that no machine goes on.",
                    capital(&report.message)
                ),
            ),
        }
    }

    pub(super) const fn is_mistake(&self) -> bool {
        matches!(self, Self::Spoiled(_))
    }

    pub(super) const fn event(&self) -> u64 {
        match self {
            Self::Spoiled(event) => *event,
            Self::Broken(report, _) | Self::Stopped(report) => report.event,
        }
    }
}

/// All of them, in order.
pub(super) fn marks(run: &Run) -> Vec<Mark<'_>> {
    let mut marks: Vec<_> = run.spoiled.iter().copied().map(Mark::Spoiled).collect();
    let broken = || run.notes.iter().filter(|note| !note.harmless);
    let first = broken().map(|note| note.event).min();
    marks.extend(broken().map(|note| Mark::Broken(note, Some(note.event) == first)));
    // The sort is stable: what stopped the machine comes last.
    marks.extend(run.stopped.iter().map(Mark::Stopped));
    marks.sort_by_key(Mark::event);
    marks
}

/// A sentence's beginning.
fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
