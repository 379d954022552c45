//! The failures that the command line asks for, and how often they happened on a machine.

use std::sync::{Mutex, PoisonError};

use nthost::{FallibleCall, Faults, Machine, Slot};
use testdev::exerciser::registers::FAULTS;
use testdev::model::exerciser::Exerciser;

use crate::provoked::Provoked;
use crate::target::Simulation;

/// How many crossings are named where one was asked for at which nothing can fail.
const NEAREST: usize = 3;

/// How often each fault slot hit, also those of devices that were unplugged.
#[derive(Debug, Default)]
pub(super) struct Hits(Mutex<Counted>);

#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    past: [u64; FAULTS],
    now: [u64; FAULTS],
}

impl Hits {
    fn update(&self, change: impl FnOnce(&mut Counted)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Reads the slots of the device that is there, if it still is.
    pub(super) fn look(&self, machine: &Machine, slot: Slot) {
        let fired = |device: &mut Exerciser| std::array::from_fn(|at| device.fired(at).into());
        if let Some(now) = machine.device_model(slot, fired) {
            self.update(|counted| counted.now = now);
        }
    }

    /// The device is gone, and the next one begins anew.
    pub(super) fn keep(&self) {
        self.update(|counted| {
            for (past, now) in counted.past.iter_mut().zip(&mut counted.now) {
                *past += std::mem::take(now);
            }
        });
    }

    /// All hits, by slot.
    pub(super) fn counts(&self) -> Vec<u64> {
        let counted = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counted.past.iter().zip(&counted.now).map(|(past, now)| past + now).collect()
    }
}

/// What became of the failures that were asked for.
pub(super) fn all(simulation: &Simulation, machine: &Machine, hits: &Hits) -> Vec<Provoked> {
    let injected = simulation.injection.options().zip(hits.counts());
    let injected = injected.map(|(option, happened)| Provoked {
        option,
        what: "command",
        happened,
        places: Vec::new(),
        by_chance: false,
        hint: "no command, or no reset, came that it could hit; move more, or lower its SKIP"
            .to_owned(),
    });
    calls(simulation, &machine.fallible_calls()).into_iter().chain(injected).collect()
}

fn calls(simulation: &Simulation, made: &[FallibleCall]) -> Vec<Provoked> {
    let provoked = |option: String, by_chance, of: &dyn Fn(&&FallibleCall) -> bool, hint| {
        let failed: Vec<_> = made.iter().filter(|call| call.failed).filter(of).collect();
        let mut places: Vec<String> = failed
            .iter()
            .map(|call| {
                format!("{} at {}, crossing {}", call.call, call.stack.call_site(), call.event)
            })
            .collect();
        places.truncate(8);
        // CAST: a count of calls.
        let happened = failed.len() as u64;
        Provoked { option, what: "call", happened, places, by_chance, hint }
    };
    match &simulation.faults {
        Faults::Off => Vec::new(),
        Faults::Random(one_in) => {
            let option = format!("fail=random:{one_in}");
            let hint = "chance let every call succeed; another seed, or a smaller number".into();
            vec![provoked(option, true, &|_| true, hint)]
        }
        Faults::At(events) => {
            let one = |event: &u64| {
                let hint = hint(simulation, *event, made);
                provoked(format!("fail={event}"), false, &|call| call.event == *event, hint)
            };
            events.iter().map(one).collect()
        }
    }
}

/// Which crossings there are, where one was asked for that is none.
fn hint(simulation: &Simulation, event: u64, made: &[FallibleCall]) -> String {
    let mut crossings: Vec<u64> = made.iter().map(|call| call.event).collect();
    crossings.sort_by_key(|known| known.abs_diff(event));
    crossings.truncate(NEAREST);
    if crossings.is_empty() {
        return "the driver made no call that can fail for lack of resources".to_owned();
    }
    crossings.sort_unstable();
    let crossings: Vec<_> = crossings.iter().map(u64::to_string).collect();
    format!(
        "the driver made no call there that can fail for lack of resources; it made some at \
         crossings such as {}, and `dmaproof test --sim {} --faults` tries each",
        crossings.join(", "),
        Simulation { faults: Faults::Off, ..simulation.clone() }.option()
    )
}

/// Why the driver or its device did not start, if the machine was asked for it.
pub(super) fn reason(simulation: &Simulation, provoked: &[Provoked]) -> Option<String> {
    if let Some(failed) = provoked.iter().find(|one| one.what == "call" && one.happened > 0) {
        return Some(format!("{} made a call fail ({})", failed.option, failed.places.join("; ")));
    }
    (simulation.adapter_versions < 2).then(|| {
        format!(
            "versions={} offers no DMA adapter of version 2, which the driver needs; use \
             versions=2, or leave it out",
            simulation.adapter_versions
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hits_of_devices_that_are_gone_still_count() {
        let hits = Hits::default();
        hits.update(|counted| counted.now = [2, 0, 0, 0]);
        hits.keep();
        hits.update(|counted| counted.now = [1, 5, 0, 0]);
        assert_eq!(hits.counts(), [3, 5, 0, 0]);
    }
}
