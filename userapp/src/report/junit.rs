//! The report as JUnit XML, as Jenkins and Maven's Surefire read it: a suite for each path and
//! direction with a case for each cell of the ledger, and one for the machine.

use quick_junit::{NonSuccessKind, Report as Document, TestCase, TestCaseStatus, TestSuite};

use super::{Report, Verdict};
use crate::describe::count;
use crate::ledger::{Alignment, Row, Size, State};
use crate::sweep::Failure;

/// The XML of these reports.
///
/// # Errors
///
/// What the library says is wrong with the text.
pub fn text(reports: &[Report]) -> Result<String, quick_junit::SerializeError> {
    let mut document = Document::new("dmaproof test");
    for report in reports {
        if let Some(ledger) = &report.outcome.ledger {
            document.add_test_suites(ledger.rows.iter().map(|row| suite(report, row)));
        }
        document.add_test_suite(machine(report));
    }
    document.to_string()
}

fn suite(report: &Report, row: &Row) -> TestSuite {
    let name = format!("{}: {}, {}", report.tested, row.route.option(), row.direction.title());
    let mut suite = TestSuite::new(name);
    suite.add_property(("replay", report.replay(None).as_str()));
    for (size, alignment, cell) in row.cells() {
        let status = match cell.state() {
            State::Run => TestCaseStatus::success(),
            State::NotRun => skipped("not run"),
            State::NotAvailable => skipped(row.unavailable.unwrap_or("not available here")),
            State::Failed => failed(report, row, size, alignment, cell.failed),
        };
        let name = format!("{}, buffer at {}", size.name(), alignment.name());
        let mut case = TestCase::new(name, status);
        case.set_classname(format!("dmaproof.{}.{}", row.route.option(), row.direction.title()));
        if cell.state() == State::Run {
            case.set_system_out(format!("{} intact", count(cell.intact, "verified transfer")));
        }
        suite.add_test_case(case);
    }
    suite
}

fn skipped(why: &str) -> TestCaseStatus {
    let mut status = TestCaseStatus::skipped();
    status.set_message(why);
    status
}

fn failed(
    report: &Report,
    row: &Row,
    size: Size,
    alignment: Alignment,
    number: u64,
) -> TestCaseStatus {
    let here = |failure: &&Failure| {
        let case = &failure.case;
        let tested = (case.route, case.direction) == (failure.route, failure.direction);
        let offset = if tested { case.page_offset } else { 0 };
        (failure.route, failure.direction) == (row.route, row.direction)
            && (Size::of(case.length), Alignment::of(offset)) == (size, alignment)
    };
    let kept: Vec<&Failure> = report.outcome.failures.iter().filter(here).collect();
    let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
    let Some(first) = kept.first() else {
        status
            .set_message(format!("{}; the report keeps the first ones", count(number, "failure")));
        status.set_type("failure");
        return status;
    };
    status.set_type(first.explanation.class.name());
    status.set_message(first.explanation.text.clone());
    let texts: Vec<String> = kept.iter().map(|failure| describe(report, failure)).collect();
    status.set_description(texts.join("\n\n"));
    status
}

/// The failure as the report for people has it.
fn describe(report: &Report, failure: &Failure) -> String {
    let mut text = Vec::new();
    // Writing to a vector cannot fail.
    let _ = super::human::write_failure(&mut text, report, failure);
    String::from_utf8_lossy(&text).trim().to_owned()
}

/// What is about no single path.
fn machine(report: &Report) -> TestSuite {
    let mut suite = TestSuite::new(format!("{}: the machine", report.tested));
    let mut add = |name: &str, trouble: Option<String>| {
        let status = match trouble {
            None => TestCaseStatus::success(),
            Some(text) => {
                let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                status.set_type(name);
                status.set_message(text.lines().next().unwrap_or_default());
                status.set_description(format!("{text}\nagain: {}", report.replay(None)));
                status
            }
        };
        let mut case = TestCase::new(name, status);
        case.set_classname("dmaproof.machine");
        suite.add_test_case(case);
    };
    add("no rule was broken", broken(report));
    let stopped = report.never_stopped.first();
    add("the device stopped", stopped.map(|device| device.text.clone()));
    let verdict = Verdict::of(report);
    let passed = verdict.exit() == crate::exit::Exit::Intact;
    add("the verdict", (!passed).then(|| verdict.sentence(report)));
    suite
}

fn broken(report: &Report) -> Option<String> {
    if let Some(violation) = &report.violation {
        return Some(format!(
            "{} at {}: {}\n{}",
            violation.rule, violation.call_site, violation.text, violation.details
        ));
    }
    let counts = |note: &&crate::target::Note| report.strict || !note.harmless;
    let note = report.notes.iter().find(counts)?;
    Some(format!("{} at {}: {}", note.rule, note.call_site, note.text))
}
