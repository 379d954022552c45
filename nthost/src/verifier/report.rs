//! Reports as values.

use std::fmt;

use super::catalogue::{RuleId, rule};
use super::stack::CallStack;
use crate::machine::ChoiceList;

/// A bug check code with its four parameters, as Driver Verifier or KMDF would raise it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BugCheck {
    /// The code, for example 0xE6 (DRIVER_VERIFIER_DMA_VIOLATION).
    pub code: u32,
    /// The parameters; the first one selects the meaning. Addresses of the host process are
    /// replaced by numbers from 0xFFFF8000_00000000 on, the same in every run.
    pub parameters: [u64; 4],
}

impl fmt::Display for BugCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p1, p2, p3, p4] = self.parameters;
        write!(f, "bug check {:#X} ({p1:#x}, {p2:#x}, {p3:#x}, {p4:#x})", self.code)
    }
}

/// What the verifier has to say about one broken rule.
#[derive(Clone, Debug)]
pub struct Report {
    /// The rule.
    pub rule: RuleId,
    /// What happened, in one sentence.
    pub message: String,
    /// The bug check a real system would raise, where one is documented.
    pub bug_check: Option<BugCheck>,
    /// The function the driver was calling, or the callback it was in.
    pub call: &'static str,
    /// The driver's call stack.
    pub stack: CallStack,
    /// Where the object concerned was made, where that is known.
    pub origin: Option<CallStack>,
    /// Number of the crossing at which it happened, counted from the machine's start.
    pub event: u64,
    /// The machine's seed.
    pub seed: u64,
    /// The choices up to then, under the deterministic scheduler: they repeat the run.
    pub choices: Option<ChoiceList>,
    /// How often it happened at this call site (notes only).
    pub count: u64,
    /// Whether nothing can be lost by it on this machine: a note, and not a breach on a machine
    /// that goes on.
    pub harmless: bool,
}

impl Report {
    /// The driver's source line that made the call, or its address where no symbols exist. What a
    /// device does while the driver is in no call has none: then that of the object concerned.
    #[must_use]
    pub fn call_site(&self) -> String {
        if !self.call.is_empty() && !self.stack.is_empty() {
            return self.stack.call_site();
        }
        match self.origin.filter(|origin| !origin.is_empty()) {
            Some(origin) => format!(
                "a moment outside of the driver's calls (what it concerns was made at {})",
                origin.call_site()
            ),
            None if self.stack.is_empty() => "a moment outside of the driver's calls".to_owned(),
            None => self.stack.call_site(),
        }
    }

    /// Whether another report is the same again: of this rule, in the same place, as harmful.
    pub(crate) fn repeats(&self, other: &Self) -> bool {
        let place = self.stack == other.stack;
        let object = !self.stack.is_empty() || self.origin == other.origin;
        self.rule == other.rule && self.harmless == other.harmless && place && object
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.rule, self.message)?;
        writeln!(f, "  rule: {}", rule(self.rule).text)?;
        if let Some(bug_check) = &self.bug_check {
            writeln!(f, "  Windows: {bug_check}")?;
        }
        let call = if self.call.is_empty() { "no call of the driver" } else { self.call };
        writeln!(f, "  in {call} at event {} (seed {})", self.event, self.seed)?;
        if let Some(choices) = &self.choices {
            /// Decisions that make a line one can paste.
            const MANY: usize = 4000;
            match choices.decisions().len() {
                0..MANY => writeln!(f, "  choices: {choices}")?,
                many => writeln!(f, "  choices: {many}; the seed repeats them")?,
            }
        }
        write!(f, "{}", self.stack)?;
        if let Some(origin) = &self.origin {
            write!(f, "  made at:\n{origin}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RuleId;

    fn report(harmless: bool, frame: usize, origin: Option<usize>) -> Report {
        let stack = |first| {
            let mut frames = [0; CallStack::DEPTH];
            frames[0] = first;
            CallStack::of(frames)
        };
        Report {
            rule: RuleId::Dma90,
            message: String::new(),
            bug_check: None,
            call: if frame == 0 { "" } else { "KeFlushIoBuffers" },
            stack: stack(frame),
            origin: origin.map(stack),
            event: 0,
            seed: 0,
            choices: None,
            count: 1,
            harmless,
        }
    }

    #[test]
    fn what_no_call_of_the_driver_did_is_told_apart_by_its_object_and_its_harm() {
        let first = report(true, 0, Some(0x10));
        assert!(first.repeats(&report(true, 0, Some(0x10))));
        assert!(!first.repeats(&report(false, 0, Some(0x10))));
        assert!(!first.repeats(&report(true, 0, Some(0x20))));
        // A call is one place, whatever it is about.
        assert!(report(true, 1, Some(0x10)).repeats(&report(true, 1, Some(0x20))));
    }

    #[test]
    fn a_place_is_named_as_far_as_there_is_one() {
        let nowhere = report(true, 0, None).call_site();
        assert_eq!(nowhere, "a moment outside of the driver's calls");
        let site = report(true, 0, Some(0x10)).call_site();
        assert!(site.starts_with(&nowhere) && site.contains("was made at 0x10"), "{site}");
        assert!(!report(true, 0x10, None).call_site().contains("moment"));
    }
}
