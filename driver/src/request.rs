//! Requests that the driver owns.

use crate::sys::{NTSTATUS, PMDL, PVOID, ULONG_PTR, WDFREQUEST, call_unsafe_wdf_function_binding};
use crate::trace::{Event, trace};

/// A request that the driver owns and owes one completion (KMDF-21).
///
/// The value cannot be copied, and completing consumes it, so a request is completed at most once;
/// while DMA is possible it sits inside a mapping, so it is not completed too early (DMA-100).
#[derive(Debug)]
#[must_use]
pub struct Request(WDFREQUEST);

impl Request {
    /// # Safety
    /// The framework has just presented `handle` to the driver, and no other value was made of it.
    pub(crate) const unsafe fn new(handle: WDFREQUEST) -> Self {
        Self(handle)
    }

    /// The handle, to recognise the request by.
    pub(crate) const fn handle(&self) -> WDFREQUEST {
        self.0
    }

    /// Completes the request. No lock is held. IRQL: at most DISPATCH_LEVEL (KMDF-23).
    pub(crate) fn complete(self, status: NTSTATUS, information: usize) {
        trace(Event::RequestCompleted(status));
        // CAST: usize has 64 bits on the targets of this driver.
        let information = information as ULONG_PTR;
        // SAFETY: owned by the driver by the type's invariant, completed once (KMDF-21), not
        // cancelable any more where the pump completes it (KMDF-27).
        unsafe {
            call_unsafe_wdf_function_binding!(
                WdfRequestCompleteWithInformation,
                self.0,
                status,
                information
            );
        }
    }

    /// The MDL of a read request or of the second buffer of a direct control request (KMDF-38).
    pub(crate) fn output_mdl(&self) -> Result<PMDL, NTSTATUS> {
        let mut mdl: PMDL = core::ptr::null_mut();
        // SAFETY: a live request that the driver owns.
        let status = unsafe {
            call_unsafe_wdf_function_binding!(WdfRequestRetrieveOutputWdmMdl, self.0, &mut mdl)
        };
        if crate::sys::NT_SUCCESS(status) { Ok(mdl) } else { Err(status) }
    }

    /// The MDL of a write request.
    pub(crate) fn input_mdl(&self) -> Result<PMDL, NTSTATUS> {
        let mut mdl: PMDL = core::ptr::null_mut();
        // SAFETY: a live request that the driver owns.
        let status = unsafe {
            call_unsafe_wdf_function_binding!(WdfRequestRetrieveInputWdmMdl, self.0, &mut mdl)
        };
        if crate::sys::NT_SUCCESS(status) { Ok(mdl) } else { Err(status) }
    }

    /// The input buffer of a control request: the system's copy, which user mode cannot change.
    ///
    /// # Errors
    /// `STATUS_BUFFER_TOO_SMALL` if there is none (KMDF-39).
    pub(crate) fn input(&self) -> Result<&[u8], NTSTATUS> {
        let mut buffer: PVOID = core::ptr::null_mut();
        let mut length: usize = 0;
        // SAFETY: a live request that the driver owns.
        let status = unsafe {
            call_unsafe_wdf_function_binding!(
                WdfRequestRetrieveInputBuffer,
                self.0,
                0,
                &mut buffer,
                &mut length
            )
        };
        if !crate::sys::NT_SUCCESS(status) {
            return Err(status);
        }
        // SAFETY: `length` readable bytes of the system's buffer, valid until the request is
        // completed, which needs the value that is borrowed here (KMDF-38, KMDF-39).
        Ok(unsafe { core::slice::from_raw_parts(buffer.cast::<u8>(), length) })
    }

    /// Writes the answer of a buffered control request.
    ///
    /// # Errors
    /// `STATUS_BUFFER_TOO_SMALL` if the output buffer is shorter than the answer (SEC-06).
    pub(crate) fn write_output(&mut self, answer: &[u8]) -> Result<(), NTSTATUS> {
        let mut buffer: PVOID = core::ptr::null_mut();
        let mut length: usize = 0;
        // SAFETY: a live request that the driver owns.
        let status = unsafe {
            call_unsafe_wdf_function_binding!(
                WdfRequestRetrieveOutputBuffer,
                self.0,
                answer.len(),
                &mut buffer,
                &mut length
            )
        };
        if !crate::sys::NT_SUCCESS(status) {
            return Err(status);
        }
        // SAFETY: at least `answer.len()` writable bytes, as asked for; the slice is elsewhere.
        unsafe {
            core::ptr::copy_nonoverlapping(answer.as_ptr(), buffer.cast::<u8>(), answer.len());
        }
        Ok(())
    }
}
