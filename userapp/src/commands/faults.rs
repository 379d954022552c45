//! `dmaproof test --faults`: the driver's calls fail, and nothing but requests may fail with them.

use std::io::{self, Write};

use indicatif::ProgressBar;
use nthost::Faults;
use nthost::explore::fail_each_call;
use serde::Serialize;

use super::{seeds, test};
use crate::cli::{CaseRange, TestArgs};
use crate::describe::count;
use crate::exit::{AppError, Exit};
use crate::explain::Class;
use crate::interrupt;
use crate::provoked::{self, Provoked};
use crate::sweep::{End, Outcome};
use crate::target::{self, Ended, Simulation, TargetError, TargetOptions};

/// Among so many calls that may fail, one does where they do at random.
const ONE_IN: u32 = 30;

/// What all runs together came to.
#[derive(Default, Serialize)]
struct Tally {
    tested: String,
    /// The options that choose the machine again.
    #[serde(skip)]
    options: String,
    runs: u64,
    /// Runs in which the device did not start.
    not_started: u64,
    /// Runs in which a request failed, with its data accounted for.
    requests_failed: u64,
    /// Runs in which nothing was to be seen.
    unharmed: u64,
    transfers: u64,
    /// The failures that the user chose, if any: then there is one run.
    provoked: Option<Vec<Provoked>>,
    failure: Option<Failure>,
}

/// The version of the object's layout.
const SCHEMA_VERSION: u32 = 1;

/// The same for programs.
#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    schema_version: u32,
    app_version: &'static str,
    exit_status: Exit,
    #[serde(flatten)]
    tally: &'a Tally,
}

/// The first run in which more than a request failed.
#[derive(Serialize)]
struct Failure {
    what: String,
    replay: String,
}

/// What a run with faults came to.
enum Came {
    NotStarted,
    RequestsFailed,
    Unharmed,
    Wrong(String),
}

pub(super) fn run(arguments: &TestArgs, out: &mut dyn Write) -> Result<Exit, AppError> {
    let simulation = seeds::simulation(arguments)?;
    if !simulation.injection.is_none() {
        let text = "--faults lets the driver's calls fail, and inject= the device: of a request that \
                    fails nobody could say why; leave one of them out";
        return Err(TargetError::Usage(text.to_owned()).into());
    }
    let (tested, options) = (simulation.to_string(), format!("--sim {}", simulation.option()));
    let mut tally = Tally { tested, options, ..Tally::default() };
    if !arguments.json {
        writeln!(out, "{simulation}")?;
        out.flush()?;
    }
    match (&simulation.faults, arguments.seeds) {
        (Faults::Off, None) => each_call(arguments, &simulation, &mut tally),
        (Faults::Off, Some(count)) => {
            let faults = Faults::Random(ONE_IN);
            at_random(arguments, &Simulation { faults, ..simulation }, count, &mut tally);
        }
        (Faults::Random(_), Some(count)) => at_random(arguments, &simulation, count, &mut tally),
        // The user chose what fails: this run, judged as each of the others would be.
        (Faults::At(_) | Faults::Random(_), _) => {
            let ended = one(arguments, simulation, arguments.seed, &mut tally);
            tally.provoked = Some(ended.provoked);
        }
    }
    let missed = tally.provoked.as_deref().and_then(provoked::missed);
    let exit = match &tally.failure {
        Some(_) => Exit::Failed,
        None if interrupt::happened() => Exit::Interrupted,
        None if missed.is_some() => Exit::Usage,
        // A device that does not start then does what it should.
        None if tally.provoked.is_some() => Exit::Intact,
        // A run that moves nothing without a failing call moves nothing with one.
        None if tally.transfers == 0 => Exit::Usage,
        None => Exit::Intact,
    };
    if arguments.json {
        let document = Document {
            schema: "dmaproof.faults",
            schema_version: SCHEMA_VERSION,
            app_version: env!("CARGO_PKG_VERSION"),
            exit_status: exit,
            tally: &tally,
        };
        serde_json::to_writer_pretty(&mut *out, &document).map_err(io::Error::from)?;
        writeln!(out)?;
        return Ok(exit);
    }
    conclude(&tally, exit, out)?;
    Ok(exit)
}

/// A run for every call stack of a call that may fail.
fn each_call(arguments: &TestArgs, simulation: &Simulation, tally: &mut Tally) {
    fail_each_call(|faults| {
        if tally.failure.is_some() || interrupt::happened() {
            // Nothing new: the sweep ends with what it has.
            return ((), Vec::new());
        }
        let simulation = Simulation { faults, ..simulation.clone() };
        ((), one(arguments, simulation, arguments.seed, tally).fallible)
    });
}

/// Runs with faults at random, one for each seed.
fn at_random(arguments: &TestArgs, simulation: &Simulation, count: u64, tally: &mut Tally) {
    for number in 0..count {
        if tally.failure.is_some() || interrupt::happened() {
            return;
        }
        let seed = arguments.seed.wrapping_add(number);
        let simulation = Simulation { seed, ..simulation.clone() };
        one(arguments, simulation, seed, tally);
    }
}

/// One run, judged.
fn one(arguments: &TestArgs, simulation: Simulation, seed: u64, tally: &mut Tally) -> Ended {
    let mut arguments = arguments.clone();
    arguments.seed = seed;
    arguments.cases.get_or_insert(CaseRange(0..seeds::CASES));
    arguments.stop_after = u64::MAX;
    let mut settings = test::settings(&arguments);
    settings.progress = ProgressBar::hidden();
    let cases = settings.cases.clone();
    let options = TargetOptions { sim: Some(simulation), ..TargetOptions::default() };
    let target = match target::open(&options) {
        Ok(target) => target,
        Err(error) => return Ended::from(Err(error)),
    };
    let (outcome, ended) = test::collect(settings, &*target);
    tally.runs += 1;
    tally.transfers += outcome.transfers;
    match judge(&outcome, &ended) {
        Came::NotStarted => tally.not_started += 1,
        Came::RequestsFailed => tally.requests_failed += 1,
        Came::Unharmed => tally.unharmed += 1,
        Came::Wrong(what) => {
            let (options, plan) = (target.options(), test::plan_options(&arguments));
            let (first, last) = (cases.start, cases.end.saturating_sub(1));
            let replay = format!("dmaproof test {options} {plan} --cases {first}-{last} --faults");
            tally.failure = Some(Failure { what, replay });
        }
    }
    ended
}

fn judge(outcome: &Outcome, ended: &Ended) -> Came {
    let failed = |what: &str, details: &str| Came::Wrong(format!("{what}\n{details}"));
    match &ended.result {
        Err(TargetError::Start { .. } | TargetError::Unavailable(_)) => return Came::NotStarted,
        Err(TargetError::Stopped(violation)) => {
            return failed(&format!("rule {} was broken", violation.rule), &violation.details);
        }
        Err(TargetError::NeverStopped(device)) => {
            return failed("the device never stopped", &device.text);
        }
        Err(error) => return failed("the machine could not be used", &error.to_string()),
        Ok(()) => {}
    }
    if let Some(device) = ended.never_stopped.first() {
        return failed("the device never stopped", &device.text);
    }
    let wrong =
        |failure: &&crate::sweep::Failure| failure.explanation.class != Class::RequestFailed;
    if let Some(failure) = outcome.failures.iter().find(wrong) {
        let what = format!("case {}: {}", failure.number, failure.explanation.class);
        return failed(&what, &failure.explanation.text);
    }
    if outcome.failures_total > 0 || outcome.end != End::Complete {
        Came::RequestsFailed
    } else {
        Came::Unharmed
    }
}

fn conclude(tally: &Tally, exit: Exit, out: &mut dyn Write) -> io::Result<()> {
    if let Some(failure) = &tally.failure {
        writeln!(out, "\n{}", failure.what)?;
        writeln!(out, "FAILED after {}", count(tally.runs, "run"))?;
        return writeln!(out, "again: {}", failure.replay);
    }
    if let Some(provoked) = &tally.provoked {
        return conclude_one(tally, provoked, out);
    }
    writeln!(
        out,
        "{} with a failing call each: in {} the device did not start, in {} requests failed, {} \
         went on as if nothing had happened",
        count(tally.runs, "run"),
        tally.not_started,
        tally.requests_failed,
        tally.unharmed
    )?;
    let verdict = match exit {
        Exit::Interrupted => "INTERRUPTED after",
        Exit::Usage => {
            return writeln!(
                out,
                "NOTHING RAN: no transfer was begun; choose paths that `dmaproof info {}` has, or \
                 more runs (--seeds)",
                tally.options
            );
        }
        _ => "INTACT:",
    };
    writeln!(out, "{verdict} {}; no rule broken, no leak", count(tally.transfers, "transfer"))
}

/// Concludes the run whose failures the user chose.
fn conclude_one(tally: &Tally, provoked: &[Provoked], out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "one run, with the failing calls that --sim names")?;
    provoked::write(out, provoked)?;
    let transfers = count(tally.transfers, "transfer");
    if let Some(missed) = provoked::missed(provoked) {
        return writeln!(out, "\nNOT PROVOKED: {missed}; {transfers}, no rule broken, no leak");
    }
    let came = match (tally.not_started, tally.requests_failed) {
        (1.., _) => "the device did not start",
        (_, 1..) => "requests failed",
        _ => "the driver went on as if nothing had happened",
    };
    let verdict = if interrupt::happened() { "INTERRUPTED:" } else { "INTACT:" };
    writeln!(out, "\n{verdict} {came}; {transfers}, no rule broken, no leak")
}
