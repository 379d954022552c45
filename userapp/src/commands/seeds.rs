//! `dmaproof test --seeds N`: many short runs, each with its own seed.

use std::cell::RefCell;
use std::io::{self, Write};
use std::num::NonZero;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, Once, PoisonError};
use std::thread;

use indicatif::ProgressBar;
use nthost::Faults;
use serde::Serialize;

use super::{busy, test};
use crate::cli::{CaseRange, TestArgs};
use crate::describe::count;
use crate::exit::{AppError, Exit};
use crate::report::{Report, Verdict, write_human};
use crate::target::{self, Choice, Simulation, Target, TargetError, TargetOptions};
use crate::{interrupt, progress};

/// Cases of each seed's plan, which is in an order of its own.
pub(super) const CASES: u64 = 48;

/// Times that a failing run is run again.
const AGAIN: usize = 2;

/// The version of the object's layout.
const SCHEMA_VERSION: u32 = 1;

/// What the sweep found, for programs.
#[derive(Serialize)]
struct Swept {
    schema: &'static str,
    schema_version: u32,
    app_version: &'static str,
    tested: String,
    first_seed: u64,
    seeds: u64,
    run: u64,
    transfers: u64,
    exit_status: Exit,
    failure: Option<Failure>,
}

/// The first seed that failed.
#[derive(Serialize)]
struct Failure {
    seed: u64,
    verdict: Verdict,
    /// Every run of it was the same, to the letter of its report.
    repeats: bool,
    replay: String,
    #[serde(skip)]
    exit: Exit,
    /// The report for people.
    report: String,
}

/// How a machine becomes a target.
type Open = dyn Fn(Simulation) -> Result<Box<dyn Target>, TargetError> + Sync;

/// The runs of one sweep.
struct Sweep<'a> {
    arguments: &'a TestArgs,
    open: &'a Open,
    simulation: Simulation,
    count: u64,
    /// The next seed's number, counted from 0.
    next: AtomicU64,
    run: AtomicU64,
    transfers: AtomicU64,
    /// The number of the first seed that has failed so far.
    failed: AtomicU64,
    found: Mutex<Option<Failure>>,
    error: Mutex<Option<AppError>>,
    progress: ProgressBar,
}

pub(super) fn run(arguments: &TestArgs, count: u64, out: &mut dyn Write) -> Result<Exit, AppError> {
    let open = |simulation| {
        target::open(&TargetOptions { sim: Some(simulation), ..TargetOptions::default() })
    };
    run_on(arguments, count, &open, out)
}

/// The same on whatever `open` opens.
pub(super) fn run_on(
    arguments: &TestArgs,
    count: u64,
    open: &Open,
    out: &mut dyn Write,
) -> Result<Exit, AppError> {
    let sweep = Sweep {
        arguments,
        open,
        simulation: simulation(arguments)?,
        count,
        next: AtomicU64::new(0),
        run: AtomicU64::new(0),
        transfers: AtomicU64::new(0),
        failed: AtomicU64::new(u64::MAX),
        found: Mutex::default(),
        error: Mutex::default(),
        progress: progress::seeds(count),
    };
    name_the_run_in_panics();
    if !arguments.json {
        writeln!(out, "{}", sweep.simulation)?;
        let last = arguments.seed.wrapping_add(count - 1);
        writeln!(out, "sweep of seeds {} to {last}", arguments.seed)?;
        out.flush()?;
    }
    let workers = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        (0..workers).for_each(|_| drop(scope.spawn(|| sweep.work())));
    });
    sweep.progress.finish_and_clear();
    sweep.conclude(out)
}

/// The machine to vary.
pub(super) fn simulation(arguments: &TestArgs) -> Result<Simulation, AppError> {
    let refused = |text: String| Err(AppError::Target(TargetError::Usage(text)));
    let simulation = match arguments.target.choice() {
        Choice::Default => Simulation::default(),
        Choice::Simulation(simulation) => simulation,
        Choice::Image(..) | Choice::Device(_) => {
            let option = if arguments.faults { "--faults" } else { "--seeds" };
            return refused(format!(
                "{option} needs a simulated machine with the driver that is built in; choose one \
                 with --sim, without --image or --device"
            ));
        }
    };
    if arguments.seeds.is_some() && matches!(&simulation.faults, Faults::At(_)) {
        return refused(format!(
            "fail={} names crossings of one run, and each seed makes another one; leave out \
             --seeds, or let calls fail at random with fail=random:N",
            simulation.faults
        ));
    }
    Ok(busy::repeatable(simulation, arguments.threads)?)
}

impl Sweep<'_> {
    /// Runs seeds until there is none, one before them has failed, or the user ends it.
    fn work(&self) {
        while !interrupt::happened() {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.count || number > self.failed.load(Ordering::Acquire) {
                return;
            }
            if let Err(error) = self.try_seed(number) {
                *self.error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                self.failed.store(0, Ordering::Release);
                return;
            }
            self.progress.inc(1);
        }
    }

    fn try_seed(&self, number: u64) -> Result<(), AppError> {
        let seed = self.arguments.seed.wrapping_add(number);
        let report = self.one(seed)?;
        self.run.fetch_add(1, Ordering::Relaxed);
        self.transfers.fetch_add(report.outcome.transfers, Ordering::Relaxed);
        let verdict = Verdict::of(&report);
        if matches!(verdict, Verdict::Intact | Verdict::Interrupted) {
            return Ok(());
        }
        let text = human(&report)?;
        let mut repeats = true;
        for _ in 0..AGAIN {
            repeats &= human(&self.one(seed)?)? == text;
        }
        let replay = replay(&report);
        let failure =
            Failure { seed, verdict, repeats, replay, exit: verdict.exit(), report: text };
        // The first one counts, whichever worker is faster.
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if self.failed.fetch_min(number, Ordering::AcqRel) > number {
            *found = Some(failure);
        }
        Ok(())
    }

    /// One short run.
    fn one(&self, seed: u64) -> Result<Report, AppError> {
        let mut arguments = self.arguments.clone();
        arguments.seed = seed;
        arguments.cases.get_or_insert(CaseRange(0..CASES));
        let simulation = Simulation { seed, ..self.simulation.clone() };
        let target = (self.open)(simulation)?;
        let mut settings = test::settings(&arguments);
        settings.progress = ProgressBar::hidden();
        let (options, plan) = (target.options(), test::plan_options(&arguments));
        let last = settings.cases.end.saturating_sub(1);
        RUNNING
            .set(format!("dmaproof test {options} {plan} --cases {}-{last}", settings.cases.start));
        test::report(&arguments, settings, &*target)
    }

    fn conclude(self, out: &mut dyn Write) -> Result<Exit, AppError> {
        if let Some(error) = self.error.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        let failure = self.found.into_inner().unwrap_or_else(PoisonError::into_inner);
        let exit = match &failure {
            Some(failure) => failure.exit,
            None if interrupt::happened() => Exit::Interrupted,
            None => Exit::Intact,
        };
        let (run, transfers) = (self.run.into_inner(), self.transfers.into_inner());
        if self.arguments.json {
            let swept = Swept {
                schema: "dmaproof.seeds",
                schema_version: SCHEMA_VERSION,
                app_version: env!("CARGO_PKG_VERSION"),
                tested: self.simulation.to_string(),
                first_seed: self.arguments.seed,
                seeds: self.count,
                run,
                transfers,
                exit_status: exit,
                failure,
            };
            serde_json::to_writer_pretty(&mut *out, &swept).map_err(io::Error::from)?;
            writeln!(out)?;
            return Ok(exit);
        }
        let Some(failure) = failure else {
            let done = if exit == Exit::Interrupted { "INTERRUPTED after" } else { "INTACT:" };
            writeln!(out, "{done} {}, {}", count(run, "seed"), count(transfers, "transfer"))?;
            return Ok(exit);
        };
        write!(out, "\nseed {} failed\n{}", failure.seed, failure.report)?;
        if failure.repeats {
            writeln!(out, "\nrun {AGAIN} more times: the same, to the letter of the report")?;
        } else {
            writeln!(out, "\nrun {AGAIN} more times: NOT the same; the run does not repeat")?;
        }
        writeln!(out, "again: {}", failure.replay)?;
        Ok(exit)
    }
}

/// The command that makes the failing run again.
fn replay(report: &Report) -> String {
    let failed = report.outcome.failures.first().map(|failure| failure.number);
    let last = report.violation.as_ref().map(|_| report.outcome.done);
    report.replay(failed.or(last))
}

fn human(report: &Report) -> Result<String, AppError> {
    let mut text = Vec::new();
    write_human(&mut text, report)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

thread_local! {
    /// The command that makes this worker's present run again.
    static RUNNING: RefCell<String> = const { RefCell::new(String::new()) };
}

/// A panic in a driver ends the process; it says which run it was.
fn name_the_run_in_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            before(panic);
            RUNNING.with_borrow(|command| {
                if !command.is_empty() {
                    eprintln!("again: {command}");
                }
            });
        }));
    });
}
