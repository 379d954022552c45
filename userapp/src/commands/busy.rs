//! Targets for commands that keep several threads busy.

use crate::target::{self, Choice, Scheduling, Simulation, TargetOptions};

/// The most virtual processors that a machine gets unless the user names a number.
const PROCESSORS_MAX: usize = 4;

/// The same options, where a simulated machine has a scheduler with several threads: real ones
/// where caches are coherent, the deterministic one where they are not.
pub(super) fn with_threads(options: &TargetOptions, threads: usize) -> TargetOptions {
    let mut options = options.clone();
    let mut simulation = match options.choice() {
        Choice::Device(_) => return options,
        Choice::Default if !target::real_devices().unwrap_or_default().is_empty() => {
            return options;
        }
        Choice::Default | Choice::Image(_, None) => Simulation::default(),
        Choice::Simulation(simulation) | Choice::Image(_, Some(simulation)) => simulation,
    };
    if threads > 1 && simulation.scheduling == Scheduling::Straight {
        simulation.scheduling = if simulation.profile.is_coherent() {
            Scheduling::Threads { processors: threads.min(PROCESSORS_MAX) }
        } else {
            let policy = nthost::Policy::default();
            Scheduling::Deterministic { processors: 2, policy }
        };
    }
    options.sim = Some(simulation);
    options
}
