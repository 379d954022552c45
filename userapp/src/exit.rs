//! How the app ends.

use std::fmt;
use std::io;
use std::process::ExitCode;

use crate::describe::count;
use crate::target::{NtStatus, TargetError};

/// The exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(into = "u8")]
pub enum Exit {
    /// What was asked for was done; all data that was verified is intact.
    Intact = 0,
    /// Data was corrupted, or a rule was broken.
    Failed = 1,
    /// The command line is wrong, a file cannot be used, nothing of what was asked for is available,
    /// or a failure that was asked for never happened.
    Usage = 2,
    /// No device, driver or permission, or the device does not start.
    Unavailable = 3,
    /// Interrupted by the user.
    Interrupted = 130,
}

impl From<Exit> for u8 {
    fn from(exit: Exit) -> Self {
        // CAST: every status fits in 8 bits.
        exit as Self
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(u8::from(exit))
    }
}

/// What became of the data of a command that ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The output was thrown away.
    Dropped,
    /// At least this many bytes reached the device.
    Reached(u64),
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dropped => f.write_str("nothing was kept"),
            Self::Reached(0) => f.write_str("no complete piece reached the device's memory"),
            Self::Reached(bytes) => {
                write!(f, "{} had reached the device's memory", count(*bytes, "byte"))
            }
        }
    }
}

/// Why a command could not do its job. Each message is a sentence with the next step.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// Wrong usage, or a file that cannot be used.
    #[error("{0}")]
    Usage(String),
    /// The target.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// A request.
    #[error("{what} ended with {status}")]
    Request {
        /// Which request.
        what: &'static str,
        /// Its status.
        status: NtStatus,
    },
    /// Data went wrong outside of a test.
    #[error("{0}")]
    Corrupted(String),
    /// The driver broke a rule, and the machine went on: the data was intact nevertheless.
    #[error("rule {0} was broken, by which data can be lost; `dmaproof rules {0}` shows the rule")]
    RuleBroken(String),
    /// A failure that was asked for never happened: what is intact says nothing about it.
    #[error("{0}")]
    NotProvoked(String),
    /// The user ended the command.
    #[error("interrupted; {0}")]
    Interrupted(Fate),
    /// The report could not be written.
    #[error("cannot write the report: {0}; free some space or choose another place for it")]
    Output(#[from] io::Error),
}

impl AppError {
    /// The exit status that goes with it.
    #[must_use]
    pub const fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) | Self::Output(_) | Self::NotProvoked(_) => Exit::Usage,
            Self::Target(error) => match error {
                TargetError::Usage(_) => Exit::Usage,
                TargetError::Unavailable(_) | TargetError::Start { .. } => Exit::Unavailable,
                TargetError::Stopped(_) | TargetError::NeverStopped(_) => Exit::Failed,
            },
            Self::Request { status, .. } => {
                if status.is_unavailable() {
                    Exit::Unavailable
                } else {
                    Exit::Failed
                }
            }
            Self::Corrupted(_) | Self::RuleBroken(_) => Exit::Failed,
            Self::Interrupted(_) => Exit::Interrupted,
        }
    }
}
