//! The one answer that a test ends with.

use serde::Serialize;

use super::Report;
use crate::describe::count;
use crate::exit::Exit;
use crate::ledger::State;
use crate::notes;
use crate::provoked;
use crate::sweep::{Account, End};

/// What a test ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// All data that was verified is intact, and everything that was asked for ran.
    Intact,
    /// The driver broke a rule and the machine stopped.
    RuleBroken,
    /// Data was corrupted, or a transfer failed.
    Corrupted,
    /// The device never stopped, so that the driver could give nothing back.
    DeviceNeverStopped,
    /// The driver counted fewer transfers on a path than it was asked for.
    WrongPath,
    /// A note or an odd count, and they were asked to count.
    NotFollowed,
    /// All is well, but a failure that was asked for never happened.
    NotProvoked,
    /// The device or the permission is missing.
    Unavailable,
    /// The user ended the run.
    Interrupted,
    /// Nothing of what was asked for can run here.
    NothingRan,
}

impl Verdict {
    /// The verdict of a run.
    #[must_use]
    pub fn of(report: &Report) -> Self {
        let outcome = &report.outcome;
        let intact = outcome.ledger.as_ref().map_or(0, |ledger| ledger.intact());
        let stopped = outcome.end == End::Stopped && report.never_stopped.is_empty();
        if report.violation.is_some() || stopped {
            Self::RuleBroken
        } else if outcome.failures_total > 0 || outcome.end == End::NotPrepared {
            Self::Corrupted
        } else if broken(report).is_some() {
            Self::RuleBroken
        } else if !report.never_stopped.is_empty() {
            Self::DeviceNeverStopped
        } else if outcome.accounts.iter().any(Account::is_short) {
            Self::WrongPath
        } else if let End::Unavailable(_) = outcome.end {
            Self::Unavailable
        } else if outcome.end == End::Interrupted {
            Self::Interrupted
        } else if outcome.preparation_counts {
            Self::Corrupted
        } else if intact == 0 {
            Self::NothingRan
        } else if report.strict && !(report.notes.is_empty() && outcome.accounts.is_empty()) {
            Self::NotFollowed
        } else if provoked::missed(&report.provoked).is_some() {
            Self::NotProvoked
        } else {
            Self::Intact
        }
    }

    /// The exit status.
    #[must_use]
    pub const fn exit(self) -> Exit {
        match self {
            Self::Intact => Exit::Intact,
            Self::RuleBroken
            | Self::Corrupted
            | Self::DeviceNeverStopped
            | Self::WrongPath
            | Self::NotFollowed => Exit::Failed,
            Self::NothingRan | Self::NotProvoked => Exit::Usage,
            Self::Unavailable => Exit::Unavailable,
            Self::Interrupted => Exit::Interrupted,
        }
    }

    /// The verdict in a sentence.
    #[must_use]
    pub fn sentence(self, report: &Report) -> String {
        let outcome = &report.outcome;
        let intact = outcome.ledger.as_ref().map_or(0, |ledger| ledger.intact());
        match self {
            Self::Intact => all_intact(report, intact),
            Self::RuleBroken => rule_broken(report),
            Self::Corrupted if outcome.end == End::NotPrepared => {
                "FAILED: the device's memory could not be filled by any path".to_owned()
            }
            Self::Corrupted if outcome.failures_total == 0 => format!(
                "FAILED: a transfer failed that was to fill the device's memory; {} after it",
                data_intact(intact)
            ),
            Self::Corrupted => format!(
                "CORRUPTED: {} failed, {intact} {} intact",
                count(outcome.failures_total, "transfer"),
                if intact == 1 { "is" } else { "are" }
            ),
            Self::DeviceNeverStopped => "NEVER STOPPED: the device was still running at the end, \
                                         and the driver could not give back what it uses"
                .to_owned(),
            Self::WrongPath => "FAILED: the data is intact, but the driver did not take the paths \
                                that it was asked for"
                .to_owned(),
            Self::NotProvoked => format!(
                "NOT PROVOKED: {}; {}",
                provoked::missed(&report.provoked).unwrap_or_default(),
                data_intact(intact)
            ),
            Self::NotFollowed => format!(
                "{}: {}, with {} (--strict)",
                if report.notes.is_empty() { "COUNTERS DISAGREE" } else { "NOT FOLLOWED" },
                data_intact(intact),
                reservations(report).unwrap_or_default()
            ),
            Self::Unavailable => match outcome.end {
                End::Unavailable(status) => format!(
                    "UNAVAILABLE: after {} of {} cases a request ended with {status}",
                    outcome.done, outcome.planned
                ),
                _ => "UNAVAILABLE".to_owned(),
            },
            Self::Interrupted => format!(
                "INTERRUPTED after {} of {} cases; what did not run is not passed",
                outcome.done, outcome.planned
            ),
            Self::NothingRan if outcome.planned > 0 && outcome.done == 0 => format!(
                "NOTHING RAN: the plan has cases 0 to {}; choose --cases among them",
                outcome.planned - 1
            ),
            Self::NothingRan => format!(
                "NOTHING RAN: nothing of what was selected is available here; `dmaproof info {}` \
                 shows the paths",
                report.target_options
            ),
        }
    }
}

fn all_intact(report: &Report, intact: u64) -> String {
    let ledger = report.outcome.ledger.as_ref();
    let rest = match ledger.map_or(0, |ledger| ledger.cells_in(State::NotRun)) {
        0 => String::new(),
        1 => "; 1 cell of the ledger did not run".to_owned(),
        missing => format!("; {missing} cells of the ledger did not run"),
    };
    let data = data_intact(intact);
    match reservations(report) {
        Some(text) => format!("INTACT, with {text} (--strict makes them fail); {data}{rest}"),
        None => format!("INTACT: {data}{rest}"),
    }
}

fn rule_broken(report: &Report) -> String {
    match (&report.violation, broken(report)) {
        (Some(violation), _) => format!(
            "RULE BROKEN: {}; the machine stopped after {} of {} cases",
            violation.rule, report.outcome.done, report.outcome.planned
        ),
        (None, Some(rule)) => {
            let (done, planned) = (report.outcome.done, report.outcome.planned);
            let ended = match report.outcome.end {
                End::Unavailable(status) => format!(", until a request ended with {status}"),
                _ => String::new(),
            };
            format!(
                "RULE BROKEN: {rule}; the machine went on, {done} of {planned} cases ran{ended}"
            )
        }
        (None, None) => "RULE BROKEN: the machine stopped".to_owned(),
    }
}

/// The first rule that was broken on a machine that went on.
fn broken(report: &Report) -> Option<&str> {
    notes::broken(&report.notes).map(|note| note.rule.as_str())
}

fn data_intact(intact: u64) -> String {
    format!("all data of {} is intact", count(intact, "verified transfer"))
}

/// What intact data does not say: notes and odd counts.
fn reservations(report: &Report) -> Option<String> {
    let notes = report.notes.len() as u64;
    let notes = (notes > 0)
        .then(|| format!("{}: rules not followed, harmless on this machine", count(notes, "note")));
    let counters = (!report.outcome.accounts.is_empty())
        .then(|| "counters of the driver that disagree with what was asked for".to_owned());
    let texts: Vec<_> = notes.into_iter().chain(counters).collect();
    (!texts.is_empty()).then(|| texts.join("; and with "))
}
