//! The verifier: rules, reports, and what happens when one is broken.
//!
//! A *violation* stops the machine like a bug check: the first report is kept, every thread of
//! the machine parks at its next crossing, and the harness gets the report as a value. A *note*
//! names a rule that was not followed where that is harmless on this machine; it stops nothing.

mod alias;
pub mod catalogue;
mod report;
pub(crate) mod stack;

pub use catalogue::RuleId;
pub use report::{BugCheck, Report};
pub use stack::CallStack;

use parking_lot::Mutex;

/// A broken rule on its way to the machine's stop, see [`Report`].
pub(crate) type Violation = Box<Broken>;

/// What a check found; the stop adds where and when.
#[derive(Debug)]
pub(crate) struct Broken {
    pub rule: RuleId,
    pub bug_check: Option<BugCheck>,
    pub message: String,
    /// Where the other half of the mistake is, if it was recorded (who mapped, who allocated).
    pub origin: Option<CallStack>,
    /// The callback concerned, if the driver has returned from it already.
    pub callback: Option<&'static str>,
}

/// A violation of `rule`.
#[cold]
pub(crate) fn broken(rule: RuleId, message: impl Into<String>) -> Violation {
    Box::new(Broken {
        rule,
        bug_check: None,
        message: message.into(),
        origin: None,
        callback: None,
    })
}

impl Broken {
    /// Adds the bug check Driver Verifier raises for it, with its parameters.
    pub(crate) fn code(mut self: Box<Self>, code: u32, parameters: [u64; 4]) -> Violation {
        self.bug_check = Some(BugCheck { code, parameters });
        self
    }

    /// Adds the place that made the object concerned.
    pub(crate) fn from(mut self: Box<Self>, origin: CallStack) -> Violation {
        self.origin = Some(origin);
        self
    }

    /// Names the callback that has just returned with the mistake.
    pub(crate) fn returned_from(mut self: Box<Self>, callback: &'static str) -> Violation {
        self.callback = Some(callback);
        self
    }
}

/// Reports of one machine.
#[derive(Debug, Default)]
pub(crate) struct Verifier {
    violation: Mutex<Option<Report>>,
    notes: Mutex<Vec<Report>>,
    aliases: alias::Aliases,
}

impl Verifier {
    /// Takes the addresses of this process out of what a check found, so that two equal runs
    /// report the same.
    pub(crate) fn normalise(&self, mut broken: Broken) -> Broken {
        broken.message = self.aliases.within(broken.message);
        if let Some(bug_check) = &mut broken.bug_check {
            bug_check.parameters = bug_check.parameters.map(|number| self.aliases.of(number));
        }
        broken
    }

    /// Keeps the first violation.
    pub(crate) fn record(&self, report: Report) {
        self.violation.lock().get_or_insert(report);
    }

    /// The violation that stopped the machine.
    pub(crate) fn violation(&self) -> Option<Report> {
        self.violation.lock().clone()
    }

    /// Records a note once per rule and call site; returns whether it is new.
    pub(crate) fn note(&self, report: Report) -> bool {
        let mut notes = self.notes.lock();
        if let Some(known) = notes.iter_mut().find(|known| report.repeats(known)) {
            known.count += 1;
            return false;
        }
        notes.push(report);
        true
    }

    /// All notes so far.
    pub(crate) fn notes(&self) -> Vec<Report> {
        self.notes.lock().clone()
    }
}
