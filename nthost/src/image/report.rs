//! Violations that only an image can commit.

use crate::RuleId;
use crate::verifier::{Violation, broken};

/// The driver uses something that this host does not have: no mistake of the driver's.
pub(super) fn not_covered(message: impl Into<String>) -> Violation {
    broken(RuleId::Sim14, message)
}

/// The driver's code cannot go on.
pub(super) fn fault(message: impl Into<String>) -> Violation {
    broken(RuleId::Sim15, message)
}
