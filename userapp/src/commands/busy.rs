//! Simulated machines for commands that keep several threads busy.

use crate::target::{Scheduling, Simulation, TargetError};

/// The most virtual processors that a machine gets unless the user names a number.
const PROCESSORS_MAX: usize = 4;

/// The machine with a scheduler for so many threads. Where none was named, it gets real threads if
/// caches are coherent, and the deterministic one if they are not.
pub(super) fn with_threads(
    mut simulation: Simulation,
    threads: usize,
) -> Result<Simulation, TargetError> {
    if threads > 1 && simulation.scheduling.is_none() {
        simulation.scheduling = Some(if simulation.profile.is_coherent() {
            Scheduling::Threads { processors: threads.min(PROCESSORS_MAX) }
        } else {
            deterministic()
        });
    }
    check(simulation, threads)
}

/// The machine with the deterministic scheduler, unless another was named.
pub(super) fn repeatable(
    mut simulation: Simulation,
    threads: usize,
) -> Result<Simulation, TargetError> {
    simulation.scheduling.get_or_insert_with(deterministic);
    check(simulation, threads)
}

fn deterministic() -> Scheduling {
    Scheduling::Deterministic { processors: 2, policy: nthost::Policy::default() }
}

/// What was named stays as it is, or cannot be used.
fn check(simulation: Simulation, threads: usize) -> Result<Simulation, TargetError> {
    match simulation.refusal(threads) {
        None => Ok(simulation),
        Some(refusal) => Err(TargetError::Usage(refusal.to_owned())),
    }
}
