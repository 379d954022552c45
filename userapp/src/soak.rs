//! Hours of traffic: many threads, cancels, resets, sleeps and removals, and every byte verified.
//!
//! A soak is a row of rounds. Each round starts the target anew, with a seed of its own, runs the
//! same number of steps in each thread, verifies what the device holds at the end, compares the
//! driver's counters with what was asked for, and takes everything down, where a simulated machine
//! looks for leaks. So whatever happens, the seed of its round makes that round again.

mod meter;
pub mod metrics;
pub mod report;
mod round;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use crate::target::{Target, TargetError};
pub use meter::{Meter, Reading, Replay, Trouble, resident};
pub use round::{Crew, work};

/// Steps of each thread in a round.
pub const STEPS: u64 = 1000;

/// How to soak.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Threads, each with a handle of its own.
    pub threads: usize,
    /// Transfers under way on each handle.
    pub depth: usize,
    /// The seed of the first round; the others have the next ones.
    pub seed: u64,
    /// When no round begins any more, and the last one ends early.
    pub end: Instant,
    /// The most rounds.
    pub rounds: u64,
    /// Set from outside to end early.
    pub interrupted: Arc<AtomicBool>,
}

/// Runs rounds until it is time to end, or something is wrong.
///
/// # Errors
///
/// Why there is no target.
pub fn run(
    settings: &Settings,
    meter: &Arc<Meter>,
    open: &(dyn Fn(u64) -> Result<Box<dyn Target>, TargetError> + Sync),
) -> Result<(), TargetError> {
    for number in 0..settings.rounds {
        let target = open(number)?;
        let crew = Arc::new(Crew::new(settings, Arc::clone(meter), number));
        if number > 0 && crew.is_over() {
            break;
        }
        let bodies = (0..settings.threads)
            .map(|thread| {
                let crew = Arc::clone(&crew);
                let body: crate::target::Body =
                    Box::new(move |session| work(session, &crew, thread));
                body
            })
            .collect();
        let (seed, depth) = (settings.seed.wrapping_add(number), settings.depth);
        let (options, threads) = (target.options(), settings.threads);
        let command = format!(
            "dmaproof soak {options} --threads {threads} --depth {depth} --seed {seed} --rounds 1"
        );
        meter.begin_round(Replay { command, varies: target.varies() });
        meter.end_round(target.run_together(bodies))?;
        if meter.has_failed() {
            break;
        }
    }
    Ok(())
}

/// A length of time for people, such as `1h 2m 3s`: whole seconds.
#[must_use]
pub fn whole_seconds(time: Duration) -> String {
    humantime::format_duration(Duration::from_secs(time.as_secs())).to_string()
}
