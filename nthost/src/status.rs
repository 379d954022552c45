//! NTSTATUS as an error value.

use std::fmt;

use wdk_lite as k;

/// A status code that is not a success.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct NtStatus(pub i32);

impl NtStatus {
    /// `Ok` for success and informational codes, the code otherwise.
    ///
    /// # Errors
    /// The status itself when it is a warning or an error.
    pub fn check(status: k::NTSTATUS) -> Result<k::NTSTATUS, Self> {
        if k::NT_SUCCESS(status) { Ok(status) } else { Err(Self(status)) }
    }
}

macro_rules! names {
    ($($name:ident),* $(,)?) => {
        impl NtStatus {
            /// The code's name in the WDK headers, where this host knows it.
            #[must_use]
            pub fn name(self) -> Option<&'static str> {
                match self.0 { $(k::$name => Some(stringify!($name)),)* _ => None }
            }
        }
    };
}
names! {
    STATUS_SUCCESS, STATUS_TIMEOUT, STATUS_PENDING, STATUS_UNSUCCESSFUL, STATUS_NOT_IMPLEMENTED,
    STATUS_INFO_LENGTH_MISMATCH, STATUS_ACCESS_VIOLATION, STATUS_INVALID_HANDLE,
    STATUS_INVALID_PARAMETER, STATUS_NO_SUCH_DEVICE, STATUS_INVALID_DEVICE_REQUEST,
    STATUS_END_OF_FILE, STATUS_ACCESS_DENIED, STATUS_BUFFER_TOO_SMALL, STATUS_OBJECT_NAME_NOT_FOUND,
    STATUS_DELETE_PENDING, STATUS_REVISION_MISMATCH, STATUS_INSUFFICIENT_RESOURCES,
    STATUS_DEVICE_NOT_READY, STATUS_IO_TIMEOUT, STATUS_NOT_SUPPORTED, STATUS_INTERNAL_ERROR,
    STATUS_INVALID_USER_BUFFER, STATUS_CANCELLED, STATUS_INVALID_DEVICE_STATE,
    STATUS_IO_DEVICE_ERROR, STATUS_INVALID_BUFFER_SIZE, STATUS_DEVICE_DATA_ERROR,
    STATUS_DEVICE_BUSY, STATUS_DEVICE_POWER_FAILURE, STATUS_DEVICE_REMOVED,
    STATUS_DEVICE_HARDWARE_ERROR, STATUS_BUFFER_OVERFLOW,
}

impl fmt::Debug for NtStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{name} ({:#010X})", self.0),
            None => write!(f, "NTSTATUS {:#010X}", self.0),
        }
    }
}

impl fmt::Display for NtStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl std::error::Error for NtStatus {}
