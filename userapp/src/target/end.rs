//! How a target ends, and what was seen until then.

use super::NtStatus;
use crate::provoked::Provoked;

/// A rule that was not followed, on a machine where nothing can be lost by it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub struct Note {
    /// The rule, such as `DMA-85`.
    pub rule: String,
    /// What was seen.
    pub text: String,
    /// Where in the driver.
    pub call_site: String,
    /// How often.
    pub count: u64,
    /// Whether nothing can be lost by it on this machine.
    pub harmless: bool,
}

/// A rule that was broken, where the machine stopped as by a bug check; or a device that never
/// stopped, where it did not.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Violation {
    /// The rule, such as `DMA-54`.
    pub rule: String,
    /// What was seen.
    pub text: String,
    /// Where in the driver.
    pub call_site: String,
    /// The whole report, with call stacks; may be several lines or none.
    pub details: String,
}

/// Why a target cannot be used, or could not be used to the end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// The command line asks for something that does not exist, or not in this build.
    #[error("{0}")]
    Usage(String),
    /// No device, driver or permission.
    #[error("{0}")]
    Unavailable(String),
    /// A step of starting the target failed.
    #[error("{}", not_started(step, *status, reason.as_deref()))]
    Start {
        /// The step, as the beginning of a sentence.
        step: &'static str,
        /// Its status.
        status: NtStatus,
        /// Why, where the machine knows better than the status.
        reason: Option<String>,
    },
    /// The driver broke a rule and the machine stopped.
    #[error("rule {} was broken: {} (at {})", .0.rule, .0.text, .0.call_site)]
    Stopped(Violation),
    /// The device never stopped, so that the driver could give nothing back.
    #[error("the device never stopped: {} ({})", .0.text, .0.rule)]
    NeverStopped(Violation),
}

fn not_started(step: &str, status: NtStatus, reason: Option<&str>) -> String {
    match reason {
        None => format!("{step} failed with {status}"),
        Some(reason) => format!("{step} failed: {reason}; the driver said {}", status.short()),
    }
}

/// How a target ended, and what was seen until everything was taken down.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Whether the body ran to its end; if not, [`TargetError`].
    pub result: Result<(), TargetError>,
    /// Rules that were not followed where that can do no harm.
    pub notes: Vec<Note>,
    /// Devices that were still running at the end: no rule of the driver's was broken, but what
    /// the device does now nobody knows.
    pub never_stopped: Vec<Violation>,
    /// The driver's calls that could have been made to fail, on a machine with faults.
    pub fallible: Vec<nthost::FallibleCall>,
    /// The failures that were asked for.
    pub provoked: Vec<Provoked>,
}

impl From<Result<(), TargetError>> for Ended {
    fn from(result: Result<(), TargetError>) -> Self {
        Self {
            result,
            notes: Vec::new(),
            never_stopped: Vec::new(),
            fallible: Vec::new(),
            provoked: Vec::new(),
        }
    }
}
