//! `dmaproof soak`

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use super::busy;
use super::files::NewFile;
use crate::cli::SoakArgs;
use crate::exit::{AppError, Exit};
use crate::soak::report::{self, Head, Verdict};
use crate::soak::{self, Meter, Reading, Settings};
use crate::target::{self, Simulation, Target, TargetError};
use crate::{interrupt, progress};

/// How often the line for people is drawn, and how soon Ctrl-C is noticed.
const TICK: Duration = Duration::from_millis(100);

/// A soak in which no transfer ends for so long hangs: no request takes nearly as long.
const STALLED_AFTER: Duration = Duration::from_secs(120);

/// How a round's target is found.
type Open<'a> = dyn Fn(u64) -> Result<Box<dyn Target>, TargetError> + Sync + 'a;

pub(super) fn run(arguments: &SoakArgs, out: &mut dyn Write) -> Result<Exit, AppError> {
    let open = |round: u64| {
        // Another seed in each round.
        let change = |simulation: Simulation| {
            let seed = simulation.seed.wrapping_add(round);
            busy::with_threads(Simulation { seed, ..simulation }, arguments.load.threads)
        };
        target::open_as(&arguments.target, &change)
    };
    run_on(arguments, &open, out)
}

/// The same on whatever `open` opens.
pub(super) fn run_on(
    arguments: &SoakArgs,
    open: &Open<'_>,
    out: &mut dyn Write,
) -> Result<Exit, AppError> {
    let settings = Settings {
        threads: arguments.load.threads,
        depth: arguments.load.depth,
        seed: arguments.seed,
        end: Instant::now() + arguments.duration,
        rounds: arguments.rounds.unwrap_or(u64::MAX),
        interrupted: interrupt::flag(),
    };
    let target = open(0)?;
    let head = Head {
        tested: target.describe(),
        target_options: target.options(),
        threads: settings.threads,
        depth: settings.depth,
        seed: settings.seed,
        resident_begin_bytes: soak::resident(),
    };
    let meter = Arc::new(Meter::new(settings.threads));
    let mut teller = Teller { arguments, head, out, unwritten: None };
    // Before anything runs: so that nobody soaks for hours for a file that cannot be written.
    teller.write_metrics(&meter.read())?;
    teller.begin()?;
    let run = || soak::run(&settings, &meter, open);
    let told = thread::scope(|scope| {
        let rounds = scope.spawn(run);
        let told = teller.accompany(&meter, || rounds.is_finished());
        if told.is_err() {
            // Nobody would see what comes of it.
            settings.interrupted.store(true, Ordering::Relaxed);
        }
        let ended = rounds.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        told.and(ended.map_err(AppError::from))
    });
    told?;
    teller.end(&meter.read())
}

/// Tells what happens while it does.
struct Teller<'a> {
    arguments: &'a SoakArgs,
    head: Head,
    out: &'a mut dyn Write,
    /// Why the metrics could not be written the last time.
    unwritten: Option<AppError>,
}

impl Teller<'_> {
    fn begin(&mut self) -> Result<(), AppError> {
        if !self.arguments.json {
            report::write_head(self.out, &self.head, self.arguments.duration)?;
        }
        Ok(())
    }

    /// Tells until it is over.
    fn accompany(&mut self, meter: &Meter, is_over: impl Fn() -> bool) -> Result<(), AppError> {
        let bar = progress::spinner();
        let mut next = self.arguments.interval;
        let (mut ended, mut since) = (0, Instant::now());
        while !is_over() {
            thread::sleep(TICK);
            let reading = meter.read();
            let now = reading.rounds + reading.tally.asked - reading.tally.open();
            if now != ended {
                (ended, since) = (now, Instant::now());
            } else if since.elapsed() >= STALLED_AFTER {
                bar.finish_and_clear();
                self.stalled(meter)?;
            }
            bar.set_message(report::sentence(&reading));
            bar.tick();
            if reading.elapsed >= next {
                next = reading.elapsed + self.arguments.interval;
                bar.suspend(|| self.interval(&reading))?;
            }
        }
        bar.finish_and_clear();
        Ok(())
    }

    /// Nothing ends any more, so that the threads cannot be waited for either.
    fn stalled(&mut self, meter: &Meter) -> Result<(), AppError> {
        let seed = self.head.seed.wrapping_add(meter.read().rounds);
        meter.stall(STALLED_AFTER, seed);
        let exit = self.end(&meter.read())?;
        self.out.flush()?;
        std::process::exit(i32::from(u8::from(exit)))
    }

    fn interval(&mut self, reading: &Reading) -> Result<(), AppError> {
        if self.arguments.json {
            report::write_json(self.out, &self.head, reading, None)?;
        } else {
            writeln!(self.out, "{}", report::sentence(reading))?;
            self.out.flush()?;
        }
        self.try_metrics(reading);
        Ok(())
    }

    /// A disk may be full for a while: that ends no soak, and is said at its end if it still is.
    fn try_metrics(&mut self, reading: &Reading) {
        self.unwritten = self.write_metrics(reading).err();
    }

    fn end(&mut self, reading: &Reading) -> Result<Exit, AppError> {
        let verdict = Verdict::of(reading, soak::resident(), interrupt::happened());
        self.try_metrics(reading);
        if self.arguments.json {
            report::write_json(self.out, &self.head, reading, Some(verdict))?;
        } else {
            report::write_summary(self.out, &self.head, reading, verdict)?;
        }
        self.out.flush()?;
        match self.unwritten.take() {
            Some(error) if verdict.exit() == Exit::Intact => Err(error),
            _ => Ok(verdict.exit()),
        }
    }

    fn write_metrics(&self, reading: &Reading) -> Result<(), AppError> {
        let Some(path) = &self.arguments.metrics else { return Ok(()) };
        let text =
            soak::metrics::text(reading).expect("the names are good, and each is there once");
        // Whoever reads it sees all of it, or what was there before.
        NewFile::begin(path, true, None)?.finish_with(&text)
    }
}
