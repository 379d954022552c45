//! Faults: calls that fail although nothing is wrong with them, as on a system short of resources.
//!
//! Only functions whose pages let them fail for lack of resources are made to (see
//! [`crate::ddi::Ddi`]): those that return NULL, and those that return
//! STATUS_INSUFFICIENT_RESOURCES. Such a call does nothing at all, so any failure of the driver to
//! go on from there is its own.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

use parking_lot::Mutex;

use super::{Kernel, context};
use crate::ddi::Ddi;
use crate::verifier::CallStack;

/// Which calls fail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Faults {
    /// None, and nothing is written down.
    #[default]
    Off,
    /// Those at these crossings; the calls that could fail are written down, see
    /// [`crate::Machine::fallible_calls`].
    At(Vec<u64>),
    /// One in so many, as the machine's seed draws.
    Random(u32),
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::At(events) if events.is_empty() => f.write_str("none"),
            Self::At(events) => {
                let events: Vec<_> = events.iter().map(u64::to_string).collect();
                f.write_str(&events.join("+"))
            }
            Self::Random(one_in) => write!(f, "random:{one_in}"),
        }
    }
}

/// The text names no faults.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` names no faults; there is off, none, N+N+... (crossings) and random:N (one in N)")]
pub struct NotFaults(String);

impl FromStr for Faults {
    type Err = NotFaults;

    fn from_str(text: &str) -> Result<Self, NotFaults> {
        let bad = || NotFaults(text.to_owned());
        match text.split_once(':') {
            Some(("random", rest)) => {
                let one_in = rest.parse().ok().filter(|&n| n > 0);
                Ok(Self::Random(one_in.ok_or_else(bad)?))
            }
            Some(_) => Err(bad()),
            None => match text {
                "off" => Ok(Self::Off),
                "none" => Ok(Self::At(Vec::new())),
                _ => {
                    let events = text.split('+').map(|event| event.parse().map_err(|_| bad()));
                    Ok(Self::At(events.collect::<Result<_, _>>()?))
                }
            },
        }
    }
}

/// A call that its page lets fail.
#[derive(Clone, Debug)]
pub struct FallibleCall {
    /// The number of its crossing.
    pub event: u64,
    /// The function.
    pub call: &'static str,
    /// The driver's call stack.
    pub stack: CallStack,
    /// Whether it was made to fail.
    pub failed: bool,
}

/// The faults of one machine.
#[derive(Debug)]
pub(super) struct Injector {
    faults: Faults,
    calls: Mutex<Calls>,
}

/// The first call from each stack, and all that failed.
#[derive(Debug, Default)]
struct Calls {
    list: Vec<FallibleCall>,
    seen: HashSet<(&'static str, CallStack)>,
}

impl Injector {
    pub(super) fn new(faults: Faults) -> Self {
        Self { faults, calls: Mutex::default() }
    }

    pub(super) fn calls(&self) -> Vec<FallibleCall> {
        self.calls.lock().list.clone()
    }
}

impl Kernel {
    /// Whether this call is to fail.
    #[inline]
    pub(crate) fn fails(&self, event: u64, ddi: &Ddi) -> bool {
        ddi.fallible && self.faults.faults != Faults::Off && self.fails_now(event, ddi)
    }

    #[cold]
    fn fails_now(&self, event: u64, ddi: &Ddi) -> bool {
        let failed = match &self.faults.faults {
            Faults::Off => false,
            Faults::At(events) => events.contains(&event),
            Faults::Random(one_in) => self.choices.coin(*one_in),
        };
        let stack = context::stack();
        let mut calls = self.faults.calls.lock();
        if calls.seen.insert((ddi.name, stack)) || failed {
            calls.list.push(FallibleCall { event, call: ddi.name, stack, failed });
        }
        failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_faults_is_read_back() {
        for text in ["off", "none", "12", "12+57", "random:200"] {
            let faults: Result<Faults, _> = text.parse();
            assert_eq!(faults.map(|faults| faults.to_string()), Ok(text.to_owned()));
        }
        for text in ["", "x", "1+", "random", "random:0", "random:x", "1:2"] {
            assert!(text.parse::<Faults>().is_err(), "{text}");
        }
    }
}
