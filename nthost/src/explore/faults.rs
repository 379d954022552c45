//! Every fallible call fails once from each of its call stacks.

use std::collections::{HashSet, VecDeque};

use crate::machine::{FallibleCall, Faults};
use crate::verifier::CallStack;

/// One run of the sweep.
#[derive(Clone, Debug)]
pub struct Failed<O> {
    /// The faults of the run: the last one is the one under test, those before it lead there.
    pub faults: Vec<u64>,
    /// The function that failed last; empty for the run without faults.
    pub call: &'static str,
    /// Where the driver called it.
    pub stack: CallStack,
    /// What came out.
    pub outcome: O,
}

/// Runs once without faults, and then once for every call stack from which a fallible function was
/// called, letting that call fail; the error paths on the way may call from stacks that are new,
/// until none is. `run` builds a machine with the faults, runs it, and returns what came out and
/// the machine's fallible calls; it has to do the same whenever the faults are the same, so the
/// machine is a straight or a deterministic one.
pub fn fail_each_call<O>(mut run: impl FnMut(Faults) -> (O, Vec<FallibleCall>)) -> Vec<Failed<O>> {
    let mut seen: HashSet<(&'static str, CallStack)> = HashSet::new();
    let mut waiting = VecDeque::from([(Vec::new(), "", CallStack::default())]);
    let mut runs = Vec::new();
    while let Some((faults, call, stack)) = waiting.pop_front() {
        let (outcome, calls) = run(Faults::At(faults.clone()));
        let last = faults.last().copied().unwrap_or(0);
        for found in calls {
            // Before the last fault the run is one that has been made.
            if found.event > last && seen.insert((found.call, found.stack)) {
                let mut faults = faults.clone();
                faults.push(found.event);
                waiting.push_back((faults, found.call, found.stack));
            }
        }
        runs.push(Failed { faults, call, stack, outcome });
    }
    runs
}
