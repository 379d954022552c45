//! The report as a page.

use maud::{Markup, html};

use super::{Report, Verdict};
use crate::exit::Exit;
use crate::html::{Page, facts, scroll};
use crate::ledger::{Alignment, Cell, Ledger, Row, Size, State};
use crate::notes;
use crate::provoked;
use crate::sweep::Failure;
use crate::target::Violation;

const STYLE: &str = include_str!("style.css");

/// The page of these reports.
#[must_use]
pub fn page(reports: &[Report]) -> String {
    let heading = match reports {
        [report] => report.tested.clone(),
        _ => format!("{} machines", reports.len()),
    };
    let body = html! { main { @for report in reports { (one(report, reports.len() > 1)) } } };
    let kicker = "dmaproof test: transfers, each byte verified";
    Page { kicker, heading: &heading, style: STYLE, script: None }.render(&html! {}, &body)
}

fn one(report: &Report, named: bool) -> Markup {
    let verdict = Verdict::of(report);
    let outcome = &report.outcome;
    let device = outcome.query.as_ref().map(crate::describe::summary).unwrap_or_default();
    html! {
        @if named { h2 { (report.tested) } }
        p class=(verdict_class(verdict.exit())) { (verdict.sentence(report)) }
        (facts(&[
            ("Driver and device", device),
            ("Plan", format!("{}, seed {}", report.depth.name(), report.seed)),
            ("Cases", format!("{} of {}", outcome.done, outcome.planned)),
            ("Transfers", outcome.transfers.to_string()),
            ("Bytes", outcome.bytes.to_string()),
            ("App", env!("CARGO_PKG_VERSION").to_owned()),
        ]))
        (broken(report))
        @if let Some(found) = &outcome.preparation {
            section.panel {
                h2 { "The device could not be given a known content" }
                p.alarm { (found.text) }
                @if let (Some(rule), Some(breach)) = (found.rule, &found.breach) {
                    p { "Broken rule: " code { "dmaproof rules " (rule) } ". " (breach) }
                }
            }
        }
        (failures(report))
        @if let Some(ledger) = &outcome.ledger { (coverage(ledger)) }
        (notes::panel(&report.notes))
        (provoked::panel(&report.provoked))
        (incidents(report))
        (accounts(report))
        footer { p { "The same run again: " code { (report.replay(None)) } } }
    }
}

fn broken(report: &Report) -> Markup {
    html! {
        @if let Some(found) = &report.violation {
            (violation(found, &report.replay(Some(report.outcome.done))))
        }
        @for device in &report.never_stopped {
            section.panel { h2 { "The device never stopped" } p.alarm { (device.text) } }
        }
    }
}

/// A panel of the rule that stopped a machine, with the command that breaks it again.
#[must_use]
pub fn violation(violation: &Violation, again: &str) -> Markup {
    html! {
        section.panel {
            h2 { "Rule " (violation.rule) " was broken" }
            p.alarm { (violation.text) }
            p { "At " code { (violation.call_site) } ". "
                code { "dmaproof rules " (violation.rule) } " shows the rule." }
            pre.wrap { (violation.details) }
            p { "Again: " code { (again) } }
        }
    }
}

/// How a verdict with this exit status looks.
#[must_use]
pub const fn verdict_class(exit: Exit) -> &'static str {
    match exit {
        Exit::Intact => "verdict",
        Exit::Failed => "verdict bad",
        _ => "verdict other",
    }
}

fn failures(report: &Report) -> Markup {
    let outcome = &report.outcome;
    // CAST: a handful.
    let more = outcome.failures_total.saturating_sub(outcome.failures.len() as u64);
    html! {
        @if !outcome.failures.is_empty() {
            section.panel {
                h2 { "Failures" }
                @for failure in &outcome.failures { (failure_of(report, failure)) }
                @if more > 0 { p.soft { "And " (more) " more." } }
            }
        }
    }
}

fn failure_of(report: &Report, failure: &Failure) -> Markup {
    let (case, explanation) = (&failure.case, &failure.explanation);
    html! {
        article {
            h3 { "Case " (failure.number) ": " (explanation.class) " in " (failure.route) ", "
                (failure.direction) }
            p.alarm { (explanation.text) }
            p { (case.length) " bytes at device offset " (format!("{:#x}", case.device_offset))
                ", buffer at " (format!("{:#x}", case.page_offset)) " of its page. Blamed on it \
                 because: " (failure.blame) "." }
            @if let Some(rule) = explanation.rule {
                p { @if explanation.breach.is_some() { "Broken rule: " } @else { "Usual cause: " }
                    (rule) @if let Some(call) = explanation.call { "; look for " code { (call) } } }
            }
            @if let Some(breach) = &explanation.breach { p { code { (breach) } } }
            @if !explanation.diff.is_empty() {
                pre tabindex="0" { @for line in &explanation.diff { (line) "\n" } }
            }
            p { "Again: " code { (report.replay(Some(failure.number))) } }
        }
    }
}

fn coverage(ledger: &Ledger) -> Markup {
    let table = html! {
        table.stack {
            thead { tr {
                th.text scope="col" { "path" }
                th.text scope="col" { "direction" }
                @for size in Size::ALL { th.text scope="col" { (size.name()) } }
                th scope="col" { "intact" }
                th scope="col" { "failed" }
            } }
            tbody { @for row in &ledger.rows { (row_of(row)) } }
        }
    };
    html! {
        section.panel {
            h2 { "Coverage" }
            p.soft { "By length; in each cell the buffer at a page, a line, 8 bytes, odd: + run, \
                      ✗ failed, – not run, / not available." }
            (scroll("Coverage", &table))
        }
    }
}

fn row_of(row: &Row) -> Markup {
    html! {
        tr {
            th scope="row" { (row.route) }
            td.text { (row.direction) }
            @if let Some(reason) = row.unavailable {
                // CAST: a count of classes.
                td.text colspan=(Size::ALL.len() + 2) { span.soft { "not available: " (reason) } }
            } @else {
                @for size in Size::ALL {
                    td.text.cells data-label=(size.name()) { @for alignment in Alignment::ALL {
                        (cell_of(row.cell(size, alignment), alignment))
                    } }
                }
                td data-label="intact" { (row.intact()) }
                td data-label="failed" { (row.failed()) }
            }
        }
    }
}

fn cell_of(cell: &Cell, alignment: Alignment) -> Markup {
    let (class, symbol, word) = match cell.state() {
        State::Run => ("run", "+", "run"),
        State::Failed => ("failed", "✗", "failed"),
        State::NotRun => ("not-run", "–", "not run"),
        State::NotAvailable => ("not-available", "/", "not available"),
    };
    html! {
        span class=(class) title={ (alignment.name()) ": " (word) ", " (cell.intact) " intact, "
            (cell.failed) " failed" } { (symbol) }
    }
}

/// What the driver counted that is not usual.
fn incidents(report: &Report) -> Markup {
    html! {
        @if !report.outcome.incidents.is_empty() {
            section.panel {
                h2 { "The driver counted" }
                ul { @for incident in &report.outcome.incidents { li { (incident) } } }
            }
        }
    }
}

/// Where the driver's counters disagree with what was asked for.
fn accounts(report: &Report) -> Markup {
    html! {
        @if !report.outcome.accounts.is_empty() {
            section.panel {
                h2 { "The driver's counters disagree with what was asked for" }
                ul { @for account in &report.outcome.accounts {
                    li { (account.path) ", " (account.direction) ": asked for " (account.asked)
                        ", counted " (account.counted) }
                } }
            }
        }
    }
}
