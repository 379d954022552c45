//! The report for people.

use std::io::{self, Write};

use super::{Report, Verdict};
use crate::describe::{Incident, count};
use crate::ledger::{Alignment, Cell, Ledger, Row, Size, State};
use crate::notes;
use crate::provoked;
use crate::sweep::{End, Failure};
use crate::target::Violation;

/// Writes what is known before the run.
///
/// # Errors
///
/// Those of the output.
pub fn write_head(out: &mut dyn Write, tested: &str, plan: &str, seed: u64) -> io::Result<()> {
    writeln!(out, "{tested}")?;
    let default = if seed == 1 { " (the default)" } else { "" };
    writeln!(out, "plan {plan}, seed {seed}{default}")?;
    out.flush()
}

/// Writes everything after the head.
///
/// # Errors
///
/// Those of the output.
pub fn write(out: &mut dyn Write, report: &Report) -> io::Result<()> {
    let outcome = &report.outcome;
    if let Some(query) = &outcome.query {
        writeln!(out, "{}", crate::describe::summary(query))?;
    }
    writeln!(
        out,
        "{} of {}, {}, {}",
        outcome.done,
        count(outcome.planned, "case"),
        count(outcome.transfers, "transfer"),
        count(outcome.bytes, "byte")
    )?;
    if let Some(found) = &outcome.preparation {
        writeln!(out, "\nthe device could not be given a known content: {}", found.text)?;
        if let (Some(rule), Some(breach)) = (found.rule, &found.breach) {
            writeln!(out, "  broken rule: {rule} (`dmaproof rules {rule}`)\n    {breach}")?;
        }
        writeln!(out, "  again: {}", report.replay(None))?;
    }
    write_failures(out, report)?;
    if let Some(violation) = &report.violation {
        write_violation(out, violation)?;
        writeln!(out, "  again: {}", report.replay(Some(outcome.done)))?;
    }
    if let Some(ledger) = &outcome.ledger {
        write_ledger(out, ledger)?;
    }
    notes::write(out, &report.notes)?;
    provoked::write(out, &report.provoked)?;
    write_incidents(out, report)?;
    write_never_stopped(out, report)?;
    write_accounts(out, report)?;
    if outcome.end == End::TooManyFailures {
        writeln!(
            out,
            "\ngave up after {} (--stop-after)",
            count(outcome.failures_total, "failure")
        )?;
    }
    writeln!(out, "\n{}", Verdict::of(report).sentence(report))
}

/// Writes the rule that stopped a machine.
///
/// # Errors
///
/// Those of the output.
pub fn write_violation(out: &mut dyn Write, violation: &Violation) -> io::Result<()> {
    writeln!(out, "\nrule {} was broken at {}", violation.rule, violation.call_site)?;
    writeln!(out, "  {}", violation.text)?;
    for line in violation.details.lines() {
        writeln!(out, "    {line}")?;
    }
    writeln!(out, "  `dmaproof rules {}` shows the rule", violation.rule)
}

fn write_failures(out: &mut dyn Write, report: &Report) -> io::Result<()> {
    for failure in &report.outcome.failures {
        write_failure(out, report, failure)?;
    }
    // CAST: a handful.
    let shown = report.outcome.failures.len() as u64;
    let more = report.outcome.failures_total - shown;
    if more > 0 {
        writeln!(out, "\nand {}", count(more, "more failure"))?;
    }
    Ok(())
}

pub(super) fn write_failure(
    out: &mut dyn Write,
    report: &Report,
    failure: &Failure,
) -> io::Result<()> {
    let (case, explanation) = (&failure.case, &failure.explanation);
    writeln!(
        out,
        "\ncase {}: {} in {}, {}",
        failure.number, explanation.class, failure.route, failure.direction
    )?;
    writeln!(
        out,
        "  {} at device offset {:#x}, buffer at {:#x} of its page, pattern {}",
        // CAST: a length of memory fits in 64 bits.
        count(case.length as u64, "byte"),
        case.device_offset,
        case.page_offset,
        case.family.name()
    )?;
    let tested = (case.route, case.direction) == (failure.route, failure.direction);
    if !tested {
        writeln!(out, "  found while testing {}, {}", case.route, case.direction)?;
    }
    writeln!(out, "  {}", explanation.text)?;
    writeln!(out, "  blamed on it because: {}", failure.blame)?;
    if let Some(rule) = explanation.rule {
        let cause = if explanation.breach.is_some() { "broken rule" } else { "usual cause" };
        writeln!(out, "  {cause}: {rule} (`dmaproof rules {rule}`)")?;
        if let Some(breach) = &explanation.breach {
            writeln!(out, "    {breach}")?;
        }
        if let Some(call) = explanation.call {
            writeln!(out, "  look for: {call}")?;
        }
    }
    for segment in explanation.segments.iter().skip(1) {
        writeln!(out, "  also {segment}")?;
    }
    for line in &explanation.diff {
        writeln!(out, "    {line}")?;
    }
    writeln!(out, "  again: {}", report.replay(Some(failure.number)))
}

const fn symbol(cell: &Cell) -> char {
    match cell.state() {
        State::NotAvailable => '/',
        State::NotRun => '-',
        State::Run => '+',
        State::Failed => 'X',
    }
}

fn write_ledger(out: &mut dyn Write, ledger: &Ledger) -> io::Result<()> {
    writeln!(
        out,
        "\ncoverage by length; in each cell the buffer at a page, a line, 8 bytes, odd:"
    )?;
    writeln!(out, "+ run, X failed, - not run, / not available")?;
    write!(out, "{:<28}{:<13}", "", "")?;
    for size in Size::ALL {
        write!(out, "{:<10}", size.name())?;
    }
    writeln!(out, "{:>7}{:>7}", "intact", "failed")?;
    for row in &ledger.rows {
        write_row(out, row)?;
    }
    Ok(())
}

fn write_row(out: &mut dyn Write, row: &Row) -> io::Result<()> {
    write!(out, "{:<28}{:<13}", row.route, row.direction)?;
    if let Some(reason) = row.unavailable {
        return writeln!(out, "not available: {reason}");
    }
    for size in Size::ALL {
        let cells: String =
            Alignment::ALL.into_iter().map(|alignment| symbol(row.cell(size, alignment))).collect();
        write!(out, "{cells:<10}")?;
    }
    writeln!(out, "{:>7}{:>7}", row.intact(), row.failed())
}

fn write_incidents(out: &mut dyn Write, report: &Report) -> io::Result<()> {
    let incidents = &report.outcome.incidents;
    if !incidents.is_empty() {
        let counts = incidents.iter().map(Incident::to_string).collect::<Vec<_>>();
        writeln!(out, "\nthe driver counted: {}", counts.join(", "))?;
    }
    Ok(())
}

fn write_never_stopped(out: &mut dyn Write, report: &Report) -> io::Result<()> {
    for device in &report.never_stopped {
        let rule = &device.rule;
        writeln!(out, "\nthe device never stopped (`dmaproof rules {rule}`)")?;
        writeln!(out, "  {}", device.text)?;
        writeln!(out, "  again: {}", report.replay(Some(report.outcome.done)))?;
    }
    Ok(())
}

fn write_accounts(out: &mut dyn Write, report: &Report) -> io::Result<()> {
    if !report.outcome.accounts.is_empty() {
        writeln!(out, "\nthe driver's counters disagree with what was asked for")?;
    }
    for account in &report.outcome.accounts {
        writeln!(
            out,
            "  {}, {}: asked for {} ({}), counted {} ({})",
            account.path,
            account.direction,
            count(account.asked, "transfer"),
            count(account.asked_bytes, "byte"),
            account.counted,
            count(account.counted_bytes, "byte")
        )?;
    }
    Ok(())
}
