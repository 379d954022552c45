//! What came of the cells, for people and for programs.

use std::io::{self, Write};

use serde::Serialize;

use super::table::Expected;
use super::verdict::{Outcome, Verdict, names};
use crate::describe::count;
use crate::explain::Explanation;

/// The version of the object's layout.
pub const SCHEMA_VERSION: u32 = 1;

impl Outcome {
    /// The command that makes the run of this outcome again.
    #[must_use]
    pub fn replay(&self) -> String {
        format!("dmaproof lab --case {} --seed {}", self.cell, self.seed)
    }

    /// Whether a rule or the data showed the mistake.
    #[must_use]
    pub fn is_caught(&self) -> bool {
        !self.named.is_empty() || self.data.is_some()
    }

    /// What happened to the data, in a few words.
    #[must_use]
    pub fn data(&self) -> String {
        match (&self.data, self.cell.expected) {
            (Some((by, found)), _) => {
                let bytes = count(found.wrong_bytes, "byte");
                format!("{} saw {} in {bytes}", by.name(), found.class)
            }
            (None, Expected::Harmful(..)) => {
                "the machine stopped before the data was used".to_owned()
            }
            (None, Expected::Refused) => "no data moved".to_owned(),
            (None, _) => "all data intact".to_owned(),
        }
    }
}

/// Writes the cells, by row, and what differs; `planned` cells were to be judged.
///
/// # Errors
///
/// Those of the output.
pub fn write_human(out: &mut dyn Write, outcomes: &[Outcome], planned: usize) -> io::Result<()> {
    for group in outcomes.chunk_by(|a, b| std::ptr::eq(a.cell.row, b.cell.row)) {
        let row = group[0].cell.row;
        writeln!(out, "{}", row.sabotage)?;
        writeln!(out, "  {}", row.gist)?;
        writeln!(out, "  {}", row.page.address())?;
        for outcome in group {
            write_outcome(out, outcome)?;
        }
        writeln!(out)?;
    }
    let total = Total::of(outcomes, planned);
    for outcome in outcomes {
        if let Verdict::Differs(how) = &outcome.verdict {
            writeln!(out, "differs: {}\n  {how}\n  again: {}", outcome.cell, outcome.replay())?;
        }
    }
    writeln!(out, "{}", total.sentence())
}

fn write_outcome(out: &mut dyn Write, outcome: &Outcome) -> io::Result<()> {
    let cell = &outcome.cell;
    let state = match outcome.verdict {
        Verdict::AsExpected => "ok",
        Verdict::Differs(_) => "DIFFERS",
        Verdict::NotRun => "not run",
    };
    write!(
        out,
        "  {state:<7} {:<8} {:<15} {:<11} {:<8} ",
        cell.machine,
        cell.path.option(),
        cell.direction,
        cell.expected.name()
    )?;
    if outcome.verdict == Verdict::NotRun {
        return writeln!(out, "there is no such machine or device here");
    }
    let named = names(outcome.named.iter().copied());
    writeln!(out, "named {named}; {}; {}", outcome.data(), count(outcome.runs, "run"))?;
    if outcome.is_caught() {
        writeln!(out, "          {}", outcome.replay())?;
    }
    Ok(())
}

/// The sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Total {
    /// Cells that were to be judged.
    pub planned: usize,
    /// Cells that were: fewer if the user ended it.
    pub rows: usize,
    /// Those that came out as expected.
    pub as_expected: usize,
    /// Those that did not.
    pub differing: usize,
    /// Those that could not be run.
    pub not_run: usize,
    /// Runs of the driver.
    pub runs: u64,
}

impl Total {
    /// Adds up, of so many cells that were to be judged.
    #[must_use]
    pub fn of(outcomes: &[Outcome], planned: usize) -> Self {
        let mut total = Self { planned, rows: outcomes.len(), ..Self::default() };
        for outcome in outcomes {
            total.runs += outcome.runs;
            match outcome.verdict {
                Verdict::AsExpected => total.as_expected += 1,
                Verdict::Differs(_) => total.differing += 1,
                Verdict::NotRun => total.not_run += 1,
            }
        }
        total
    }

    /// The verdict on the table.
    #[must_use]
    pub fn sentence(&self) -> String {
        let Self { planned, rows, as_expected, differing, not_run, runs } = *self;
        let verdict = match differing {
            0 if rows < planned => {
                // CAST: a count of rows.
                format!("INTERRUPTED after {rows} of {}", count(planned as u64, "row"))
            }
            0 => "AS EXPECTED".to_owned(),
            _ if rows < planned => format!("DIFFERENT, and interrupted after {rows} of {planned}"),
            _ => "DIFFERENT".to_owned(),
        };
        let mut sentence = format!(
            "{verdict}: {as_expected} of {} came out as the documents say, {differing} differ",
            // CAST: a count of rows.
            count(rows as u64, "row")
        );
        if not_run != 0 {
            sentence += &format!(", {not_run} were not run");
        }
        sentence + &format!("; {}", count(runs, "run"))
    }
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    schema_version: u32,
    app_version: &'static str,
    seed: u64,
    #[serde(flatten)]
    total: Total,
    exit_status: u8,
    table: Vec<RowDocument<'a>>,
}

#[derive(Serialize)]
struct RowDocument<'a> {
    case: String,
    what: String,
    machine: &'static str,
    path: &'static str,
    direction: &'static str,
    page: String,
    gist: &'static str,
    expected: &'static str,
    expected_rules: Vec<&'static str>,
    expected_observer: &'static str,
    outcome: &'static str,
    difference: Option<&'a str>,
    rules: Vec<&'static str>,
    report: Option<&'a str>,
    data: String,
    observer: Option<&'static str>,
    explanation: Option<&'a Explanation>,
    runs: u64,
    seed: u64,
    replay: String,
}

/// Writes one JSON object.
///
/// # Errors
///
/// Those of the output.
pub fn write_json(
    out: &mut dyn Write,
    outcomes: &[Outcome],
    planned: usize,
    seed: u64,
    exit: crate::exit::Exit,
) -> io::Result<()> {
    let document = Document {
        schema: "dmaproof.lab",
        schema_version: SCHEMA_VERSION,
        app_version: env!("CARGO_PKG_VERSION"),
        seed,
        total: Total::of(outcomes, planned),
        exit_status: exit.into(),
        table: outcomes.iter().map(row).collect(),
    };
    serde_json::to_writer_pretty(&mut *out, &document).map_err(io::Error::from)?;
    writeln!(out)
}

fn row(outcome: &Outcome) -> RowDocument<'_> {
    let cell = &outcome.cell;
    let (state, difference) = match &outcome.verdict {
        Verdict::AsExpected => ("as-expected", None),
        Verdict::Differs(how) => ("different", Some(how.as_str())),
        Verdict::NotRun => ("not-run", None),
    };
    RowDocument {
        case: cell.to_string(),
        what: cell.row.sabotage.to_string(),
        machine: cell.machine.name(),
        path: cell.path.option(),
        direction: cell.direction.title(),
        page: cell.row.page.address(),
        gist: cell.row.gist,
        expected: cell.expected.name(),
        expected_rules: cell.expected.rules().iter().map(|rule| rule.name()).collect(),
        expected_observer: cell.expected.seen().name(),
        outcome: state,
        difference,
        rules: outcome.named.iter().map(|rule| rule.name()).collect(),
        report: outcome.said.as_deref(),
        data: outcome.data(),
        observer: outcome.data.as_ref().map(|(by, _)| by.name()),
        explanation: outcome.data.as_ref().map(|(_, explanation)| explanation),
        runs: outcome.runs,
        seed: outcome.seed,
        replay: outcome.replay(),
    }
}
