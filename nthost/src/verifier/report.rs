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
    /// The driver's source line that made the call, or its address where no symbols exist.
    #[must_use]
    pub fn call_site(&self) -> String {
        self.stack.call_site()
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
