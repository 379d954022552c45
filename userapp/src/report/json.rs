//! The report for programs: one object, whose fields README.md lists. Fields may be added; what is
//! there keeps its name and meaning as long as [`SCHEMA_VERSION`] stays the same.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::{Value, json};

use super::{Report, Verdict};
use crate::describe::Incident;
use crate::explain::Explanation;
use crate::ledger::{Ledger, Row, State};
use crate::provoked::Provoked;
use crate::sweep::{Account, Failure};
use crate::target::{Note, Violation};

/// The version of the object's layout.
pub const SCHEMA_VERSION: u32 = 1;

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    schema_version: u32,
    tested: &'a str,
    app_version: &'static str,
    seed: u64,
    plan: &'static str,
    replay: String,
    verdict: Verdict,
    exit_status: u8,
    summary: String,
    device: Option<Value>,
    cases_planned: u64,
    cases_done: u64,
    transfers: u64,
    bytes: u64,
    intact: u64,
    failed: u64,
    preparation: &'a Option<Explanation>,
    failures: Vec<FailureDocument<'a>>,
    violation: &'a Option<Violation>,
    never_stopped: &'a [Violation],
    ledger: Vec<RowDocument>,
    notes: &'a [Note],
    provoked: &'a [Provoked],
    incidents: &'a [Incident],
    count_disagreements: &'a [Account],
}

#[derive(Serialize)]
struct FailureDocument<'a> {
    case: u64,
    path: &'static str,
    direction: &'static str,
    tested_path: &'static str,
    tested_direction: &'static str,
    partner_path: &'static str,
    length: usize,
    page_offset: usize,
    device_offset: u64,
    pattern: &'static str,
    blame: &'static str,
    #[serde(flatten)]
    explanation: &'a Explanation,
    replay: String,
}

#[derive(Serialize)]
struct RowDocument {
    path: &'static str,
    direction: &'static str,
    state: State,
    reason: Option<&'static str>,
    intact: u64,
    failed: u64,
    cells: Vec<Value>,
}

/// Writes the object and a line end.
///
/// # Errors
///
/// Those of the output.
pub fn write(out: &mut dyn Write, report: &Report) -> io::Result<()> {
    let outcome = &report.outcome;
    let verdict = Verdict::of(report);
    let ledger = outcome.ledger.as_ref();
    let document = Document {
        schema: "dmaproof.test",
        schema_version: SCHEMA_VERSION,
        tested: &report.tested,
        app_version: env!("CARGO_PKG_VERSION"),
        seed: report.seed,
        plan: report.depth.name(),
        replay: report.replay(None),
        verdict,
        exit_status: verdict.exit().into(),
        summary: verdict.sentence(report),
        device: outcome.query.as_ref().map(crate::describe::to_json),
        cases_planned: outcome.planned,
        cases_done: outcome.done,
        transfers: outcome.transfers,
        bytes: outcome.bytes,
        intact: ledger.map_or(0, Ledger::intact),
        failed: outcome.failures_total,
        preparation: &outcome.preparation,
        failures: outcome.failures.iter().map(|failure| describe(report, failure)).collect(),
        violation: &report.violation,
        never_stopped: &report.never_stopped,
        ledger: ledger.map_or_else(Vec::new, |ledger| ledger.rows.iter().map(row).collect()),
        notes: &report.notes,
        provoked: &report.provoked,
        incidents: &outcome.incidents,
        count_disagreements: &outcome.accounts,
    };
    serde_json::to_writer_pretty(&mut *out, &document)?;
    writeln!(out)
}

fn describe<'a>(report: &Report, failure: &'a Failure) -> FailureDocument<'a> {
    let case = &failure.case;
    FailureDocument {
        case: failure.number,
        path: failure.route.option(),
        direction: failure.direction.title(),
        tested_path: case.route.option(),
        tested_direction: case.direction.title(),
        partner_path: case.partner.option(),
        length: case.length,
        page_offset: case.page_offset,
        device_offset: case.device_offset,
        pattern: case.family.name(),
        blame: failure.blame,
        explanation: &failure.explanation,
        replay: report.replay(Some(failure.number)),
    }
}

fn row(row: &Row) -> RowDocument {
    let cells = row
        .cells()
        .map(|(size, alignment, cell)| {
            json!({
                "size": size.name(),
                "alignment": alignment.name(),
                "state": cell.state(),
                "intact": cell.intact,
                "failed": cell.failed,
            })
        })
        .collect();
    RowDocument {
        path: row.route.option(),
        direction: row.direction.title(),
        state: row.state(),
        reason: row.unavailable,
        intact: row.intact(),
        failed: row.failed(),
        cells,
    }
}
