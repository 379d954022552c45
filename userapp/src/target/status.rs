//! The status that a request ends with.

use std::fmt;

use dmaproof_protocol::{Refusal, status};

/// An NTSTATUS that is no success.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NtStatus(pub i32);

impl NtStatus {
    /// The name in the Windows headers, if the protocol knows the status.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        status::describe(self.0).map(|(name, _)| name)
    }

    /// Name and number, without advice.
    #[must_use]
    pub fn short(self) -> String {
        match self.name() {
            Some(name) => format!("{name} ({:#010X})", self.0),
            None => format!("{:#010X}", self.0),
        }
    }

    /// What it means and what to do next, if the protocol knows the status.
    #[must_use]
    pub fn advice(self) -> Option<&'static str> {
        status::describe(self.0).map(|(_, advice)| advice)
    }

    /// Whether it says that the device or the permission is missing, rather than that data is.
    #[must_use]
    pub const fn is_unavailable(self) -> bool {
        matches!(
            self.0,
            status::ACCESS_DENIED
                | status::DEVICE_REMOVED
                | status::DEVICE_NOT_READY
                | status::INVALID_DEVICE_STATE
                | status::REVISION_MISMATCH
        )
    }

    /// Whether it says that the device is gone, or on its way: that of the driver, or those of the
    /// I/O manager and the framework for requests that reach no driver any more
    /// (STATUS_DELETE_PENDING, STATUS_NO_SUCH_DEVICE).
    #[must_use]
    pub const fn is_gone(self) -> bool {
        const DELETE_PENDING: i32 = 0xC000_0056_u32.cast_signed();
        const NO_SUCH_DEVICE: i32 = 0xC000_000E_u32.cast_signed();
        matches!(
            self.0,
            status::DEVICE_REMOVED
                | status::DEVICE_NOT_READY
                | status::INVALID_DEVICE_STATE
                | DELETE_PENDING
                | NO_SUCH_DEVICE
        )
    }

    /// Whether it says that the request was cancelled.
    #[must_use]
    pub const fn is_cancelled(self) -> bool {
        self.0 == status::CANCELLED
    }
}

impl From<Refusal> for NtStatus {
    fn from(refusal: Refusal) -> Self {
        Self(refusal.status())
    }
}

impl fmt::Display for NtStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match status::describe(self.0) {
            Some((name, advice)) => write!(f, "{name} ({:#010X}). {advice}", self.0),
            None => write!(f, "status {:#010X}, which the driver is not known to use", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_status_has_a_name_and_advice() {
        let text = NtStatus(status::IO_TIMEOUT).to_string();
        assert!(text.starts_with("STATUS_IO_TIMEOUT (0xC00000B5). "), "{text}");
    }

    #[test]
    fn an_unknown_status_shows_its_number() {
        assert!(NtStatus(0x4000_0123).to_string().contains("0x40000123"));
    }
}
