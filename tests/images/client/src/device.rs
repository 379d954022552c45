//! An open device.

use std::io::Error;
use std::ptr;

use windows_sys::Win32::Foundation::{
    CloseHandle, ERROR_IO_PENDING, GENERIC_READ, GENERIC_WRITE, HANDLE, INVALID_HANDLE_VALUE,
};
use windows_sys::Win32::Storage::FileSystem::{
    CreateFileW, FILE_FLAG_OVERLAPPED, FILE_SHARE_READ, FILE_SHARE_WRITE, OPEN_EXISTING,
};
use windows_sys::Win32::System::IO::{
    CancelIoEx, DeviceIoControl, GetOverlappedResult, OVERLAPPED,
};
use windows_sys::Win32::System::Threading::CreateEventW;

use crate::Failure;
use crate::service::wide;

/// A device that was opened by its link. Requests are synchronous, unless it was opened for
/// overlapped ones.
pub struct Device(HANDLE);

impl Drop for Device {
    fn drop(&mut self) {
        // SAFETY: an open handle.
        unsafe { CloseHandle(self.0) };
    }
}

impl Device {
    /// Opens a device.
    pub fn open(path: &str, overlapped: bool) -> Result<Self, Failure> {
        let name = wide(path);
        let flags = if overlapped { FILE_FLAG_OVERLAPPED } else { 0 };
        // SAFETY: a terminated name; nothing optional.
        let handle = unsafe {
            CreateFileW(
                name.as_ptr(),
                GENERIC_READ | GENERIC_WRITE,
                FILE_SHARE_READ | FILE_SHARE_WRITE,
                ptr::null(),
                OPEN_EXISTING,
                flags,
                ptr::null_mut(),
            )
        };
        if handle == INVALID_HANDLE_VALUE {
            return Err(format!("{path}: {}", Error::last_os_error()).into());
        }
        Ok(Self(handle))
    }

    /// Sends a request and waits for it; how much came back, or the error's number.
    pub fn control(&self, code: u32, input: &[u8], output: &mut [u8]) -> Result<usize, i32> {
        let mut returned = 0;
        // CAST: small buffers.
        // SAFETY: an open handle and buffers of these lengths; the call is synchronous.
        let good = unsafe {
            DeviceIoControl(
                self.0,
                code,
                input.as_ptr().cast(),
                input.len() as u32,
                output.as_mut_ptr().cast(),
                output.len() as u32,
                &mut returned,
                ptr::null_mut(),
            )
        };
        if good == 0 {
            return Err(Error::last_os_error().raw_os_error().unwrap_or(0));
        }
        // CAST: widening.
        Ok(returned as usize)
    }

    /// Sends a request without buffers, cancels it, and waits for its end; the error's number.
    pub fn cancelled(&self, code: u32) -> Result<i32, Failure> {
        // SAFETY: no name, no security descriptor: a manual-reset event.
        let event = unsafe { CreateEventW(ptr::null(), 1, 0, ptr::null()) };
        let mut overlapped = OVERLAPPED { hEvent: event, ..OVERLAPPED::default() };
        // SAFETY: a handle for overlapped requests; the structure outlives the request, since this
        // routine waits for it.
        let done = unsafe {
            DeviceIoControl(
                self.0,
                code,
                ptr::null(),
                0,
                ptr::null_mut(),
                0,
                ptr::null_mut(),
                &mut overlapped,
            )
        };
        let error = Error::last_os_error().raw_os_error().unwrap_or(0);
        // CAST: a small number.
        if done != 0 || error != ERROR_IO_PENDING as i32 {
            return Err(format!("the request did not wait: {error}").into());
        }
        // SAFETY: the request of above.
        if unsafe { CancelIoEx(self.0, &overlapped) } == 0 {
            return Err(format!("it cannot be cancelled: {}", Error::last_os_error()).into());
        }
        let mut returned = 0;
        // SAFETY: as above; TRUE: waits.
        let good = unsafe { GetOverlappedResult(self.0, &overlapped, &mut returned, 1) };
        let error = Error::last_os_error().raw_os_error().unwrap_or(0);
        // SAFETY: made above, and the request is over.
        unsafe { CloseHandle(event) };
        Ok(if good == 0 { error } else { 0 })
    }
}
