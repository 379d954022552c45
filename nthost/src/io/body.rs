//! What is in an IRP: parameters, buffers, history, result.

// UNSAFETY: an IRP carries addresses of the requester's buffers and of its MDLs; buffered output
// is copied to the requester's buffer.

use std::fmt;
use std::ptr;
use std::sync::Arc;

use wdk_lite as k;

use super::buffer::Request;
use super::file::FileState;
use crate::NtStatus;

/// What the tail of a system buffer holds that the requester did not write: nonpaged pool is not
/// cleared for it, so these bytes are another one's secrets on a real system (SEC-08).
const STALE: u8 = 0xCD;

/// The major function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Major {
    /// IRP_MJ_CREATE.
    #[default]
    Create,
    /// IRP_MJ_READ.
    Read,
    /// IRP_MJ_WRITE.
    Write,
    /// IRP_MJ_DEVICE_CONTROL.
    DeviceControl,
}

impl Major {
    /// The request type KMDF gives it.
    pub(crate) const fn request_type(self) -> k::WDF_REQUEST_TYPE {
        match self {
            Self::Create => k::_WDF_REQUEST_TYPE::WdfRequestTypeCreate,
            Self::Read => k::_WDF_REQUEST_TYPE::WdfRequestTypeRead,
            Self::Write => k::_WDF_REQUEST_TYPE::WdfRequestTypeWrite,
            Self::DeviceControl => k::_WDF_REQUEST_TYPE::WdfRequestTypeDeviceControl,
        }
    }
}

/// How the requester's buffers reach the driver (KMDF-37, KMDF-38).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Method {
    /// Through a system buffer.
    #[default]
    Buffered,
    /// The second buffer through an MDL, to be read only.
    InDirect,
    /// The second buffer through an MDL, to be written.
    OutDirect,
    /// As raw addresses.
    Neither,
}

impl Method {
    /// The method in a device control code.
    pub(crate) const fn of_control_code(code: u32) -> Self {
        match code & 3 {
            k::METHOD_BUFFERED => Self::Buffered,
            k::METHOD_IN_DIRECT => Self::InDirect,
            k::METHOD_OUT_DIRECT => Self::OutDirect,
            _ => Self::Neither,
        }
    }

    /// Whether the (second) buffer comes as an MDL.
    pub(crate) const fn is_direct(self) -> bool {
        matches!(self, Self::InDirect | Self::OutDirect)
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion {
    /// The status it was completed with.
    pub status: NtStatus,
    /// Usually the number of bytes transferred.
    pub information: usize,
}

impl Default for Completion {
    fn default() -> Self {
        Self { status: NtStatus(k::STATUS_PENDING), information: 0 }
    }
}

/// An address in the requester's memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct User(pub *mut u8);

// SAFETY: an address; who uses it vouches for the memory.
unsafe impl Send for User {}

impl Default for User {
    fn default() -> Self {
        Self(ptr::null_mut())
    }
}

/// An MDL of the request; null without one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Described(pub k::PMDL);

// SAFETY: an address; the memory manager owns the MDL.
unsafe impl Send for Described {}

impl Default for Described {
    fn default() -> Self {
        Self(ptr::null_mut())
    }
}

/// What happened to a request, for the report about one that never ends.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Trace {
    steps: [&'static str; 8],
    count: usize,
}

impl Trace {
    #[inline]
    pub(crate) fn step(&mut self, what: &'static str) {
        self.steps[self.count % 8] = what;
        self.count += 1;
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.count == 0 {
            return f.write_str("it was never delivered to the driver");
        }
        if self.count > 8 {
            f.write_str("...; ")?;
        }
        for index in self.count.saturating_sub(8)..self.count {
            let separator = if index + 1 == self.count { "" } else { "; " };
            write!(f, "{}{separator}", self.steps[index % 8])?;
        }
        Ok(())
    }
}

/// The contents of an IRP. Parameters do not change while the request is under way.
#[derive(Debug, Default)]
pub(crate) struct Body {
    pub major: Major,
    pub method: Method,
    /// From a kernel-mode requester.
    pub kernel_mode: bool,
    /// Control code.
    pub code: u32,
    /// Byte offset of a read or write.
    pub offset: u64,
    /// Length of the input buffer of a control request.
    pub input_length: usize,
    /// Length of a read, a write, or of the output buffer of a control request.
    pub length: usize,
    /// The (second) buffer of the requester.
    pub user: User,
    /// The first buffer of a METHOD_NEITHER control request.
    pub type3: User,
    /// The MDL chain of direct I/O.
    pub mdl: Described,
    /// An MDL made over the system buffer on the driver's demand (KMDF.md 5.4).
    pub system_mdl: Described,
    /// Information so far.
    pub information: u64,
    pub trace: Trace,
    pub file: Option<Arc<FileState>>,
    pub(super) result: Completion,
    system: Vec<u8>,
    system_length: usize,
    owned: Option<Request>,
    pub(super) abandoned: bool,
}

impl Body {
    /// The system buffer of buffered I/O.
    pub(crate) fn system_buffer(&mut self) -> *mut u8 {
        self.system.as_mut_ptr()
    }

    /// Makes a system buffer of `length` bytes: `input`, then stale bytes.
    pub(super) fn fill_system_buffer(&mut self, input: &[u8], length: usize) {
        let length = length.max(input.len());
        if self.system.len() < length {
            self.system.resize(length, STALE);
        }
        self.system_length = length;
        self.system[..input.len()].copy_from_slice(input);
        self.system[input.len()..length].fill(STALE);
    }

    /// Keeps the requester's own request and its buffers; returns the request in its place.
    pub(super) fn own(&mut self, request: Request) -> &mut Request {
        self.owned.insert(request)
    }

    pub(super) fn take_owned(&mut self) -> Option<Request> {
        self.owned.take()
    }

    /// The requester's end: copies buffered output back and returns the result.
    pub(super) fn finish(&self) -> Completion {
        // CAST: the code's bits.
        let is_error = self.result.status.0 as u32 >> 30 == 3;
        let returns_data = match self.major {
            Major::Read | Major::DeviceControl => self.method == Method::Buffered,
            Major::Create | Major::Write => false,
        };
        let count = self.result.information.min(self.length).min(self.system_length);
        if !is_error && returns_data && count != 0 {
            // SAFETY: the requester's buffer of `length` bytes, which it lent until now; the
            // system buffer is another allocation with at least `system_length` bytes.
            unsafe { ptr::copy_nonoverlapping(self.system.as_ptr(), self.user.0, count) };
        }
        self.result
    }

    /// Takes the MDLs out.
    pub(crate) fn take_mdls(&mut self) -> [k::PMDL; 2] {
        [std::mem::take(&mut self.system_mdl).0, std::mem::take(&mut self.mdl).0]
    }

    pub(super) fn reset(&mut self) {
        let system = std::mem::take(&mut self.system);
        *self = Self { system, ..Self::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stale_bytes_follow_the_input() {
        let mut body = Body::default();
        body.fill_system_buffer(&[1, 2], 5);
        assert_eq!(body.system[..5], [1, 2, STALE, STALE, STALE]);
        body.fill_system_buffer(&[], 3);
        assert_eq!((body.system_length, &body.system[..3]), (3, &[STALE; 3][..]));
    }

    #[test]
    fn a_history_keeps_its_last_steps() {
        let mut trace = Trace::default();
        trace.step("queued");
        trace.step("delivered to EvtIoRead");
        assert_eq!(trace.to_string(), "queued; delivered to EvtIoRead");
    }
}
