//! Real devices: the driver of a running Windows.
//!
//! Requests are overlapped, so that Ctrl-C can cancel one that takes long, and so that its
//! NTSTATUS is known rather than the Win32 error made of it. A request returns only when the
//! kernel is done with its buffer, cancelled or not.

// UNSAFETY: finding devices, overlapped requests and their cancellation are calls into Windows
// that the standard library has no safe form of.

use std::cell::UnsafeCell;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::windows::fs::OpenOptionsExt;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr::null;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use dmaproof_protocol::{
    Direction, GUID_FIELDS, Ioctl, Path, QueryReply, QueryRequest, ResetRequest, Statistics,
    StatisticsRequest, TransferHeader, status,
};
use windows_sys::Win32::Devices::DeviceAndDriverInstallation::{
    CM_GET_DEVICE_INTERFACE_LIST_PRESENT, CM_Get_Device_Interface_List_SizeW,
    CM_Get_Device_Interface_ListW, CR_BUFFER_SMALL, CR_SUCCESS,
};
use windows_sys::Win32::Foundation::{ERROR_IO_PENDING, HANDLE, WAIT_OBJECT_0, WAIT_TIMEOUT};
use windows_sys::Win32::Storage::FileSystem::{FILE_FLAG_OVERLAPPED, ReadFile, WriteFile};
use windows_sys::Win32::System::IO::{
    CancelIoEx, DeviceIoControl, OVERLAPPED, OVERLAPPED_0, OVERLAPPED_0_0,
};
use windows_sys::Win32::System::Threading::{CreateEventW, WaitForSingleObject};
use windows_sys::core::{BOOL, GUID};
use zerocopy::{FromBytes, IntoBytes};

use super::{
    Body, Ended, Machine, NtStatus, Pending, Session, Target, TargetError, Transfer, win32,
};
use crate::guard::Arena;
use crate::interrupt;
use submitted::Submitted;

mod machine;
mod submitted;

/// How often a waiting request looks whether the user wants to end it, in milliseconds.
const POLL_MILLISECONDS: u32 = 50;
/// How long a cancelled request is waited for before the user is told why.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often the list of devices is asked for again when it grew meanwhile.
const ATTEMPTS: usize = 8;

/// The interface paths of the devices that run the driver.
///
/// # Errors
///
/// Why they cannot be found out, in words.
pub(super) fn devices() -> Result<Vec<String>, String> {
    let (data1, data2, data3, data4) = GUID_FIELDS;
    let class = GUID { data1, data2, data3, data4 };
    let flags = CM_GET_DEVICE_INTERFACE_LIST_PRESENT;
    let failed = |code: u32| {
        format!("the configuration manager could not list devices (CONFIGRET {code:#x})")
    };
    for _ in 0..ATTEMPTS {
        let mut length = 0;
        // SAFETY: both pointers are to locals that live through the call; no device ID is given.
        let code =
            unsafe { CM_Get_Device_Interface_List_SizeW(&raw mut length, &class, null(), flags) };
        if code != CR_SUCCESS {
            return Err(failed(code));
        }
        // One character is the end of an empty list.
        if length <= 1 {
            return Ok(Vec::new());
        }
        // CAST: 32 bits fit.
        let mut list = vec![0; length as usize];
        // SAFETY: as above; `list` has room for `length` characters.
        let code = unsafe {
            CM_Get_Device_Interface_ListW(&class, null(), list.as_mut_ptr(), length, flags)
        };
        match code {
            CR_SUCCESS => return Ok(win32::strings(&list)),
            // A device came in between.
            CR_BUFFER_SMALL => {}
            _ => return Err(failed(code)),
        }
    }
    Err(failed(CR_BUFFER_SMALL))
}

/// A real device by its interface path, not open yet.
#[derive(Clone, Debug)]
pub(super) struct WindowsTarget {
    path: String,
}

impl WindowsTarget {
    /// The device with this interface path.
    pub(super) const fn new(path: String) -> Self {
        Self { path }
    }

    fn start(&self) -> Result<OpenDevice, TargetError> {
        let mut device = OpenDevice::open(&self.path, interrupt::flag())?;
        win32::check_version(device.query())?;
        Ok(device)
    }
}

impl Target for WindowsTarget {
    fn describe(&self) -> String {
        format!("device {}", self.path)
    }

    fn options(&self) -> String {
        format!("--device \"{}\"", self.path)
    }

    fn varies(&self) -> Option<&'static str> {
        Some("the device and the system permit")
    }

    fn machine(&self) -> Option<Machine> {
        Some(machine::ask(&self.path))
    }

    fn run_together(&self, bodies: Vec<Body>) -> Ended {
        let start = |body: Body| {
            let mut device = self.start()?;
            Ok(move || body(&mut device))
        };
        let threads: Result<Vec<_>, TargetError> = bodies.into_iter().map(start).collect();
        threads.map(in_threads).into()
    }
}

/// Runs each in a thread of its own, until all have ended.
fn in_threads(bodies: Vec<impl FnOnce() + Send + 'static>) {
    let threads: Vec<_> = bodies.into_iter().map(std::thread::spawn).collect();
    let ends: Vec<_> = threads.into_iter().map(std::thread::JoinHandle::join).collect();
    for panicked in ends.into_iter().filter_map(Result::err) {
        std::panic::resume_unwind(panicked);
    }
}

/// An open handle of a device.
#[derive(Debug)]
struct OpenDevice {
    path: String,
    device: Arc<OwnedHandle>,
    interrupted: Arc<AtomicBool>,
    /// Events of requests that are over, each signalled when its request was complete; the next
    /// one resets it when it starts.
    events: Vec<OwnedHandle>,
}

impl OpenDevice {
    /// Opens the device for overlapped requests, which are cancelled when the flag is set.
    fn open(path: &str, interrupted: Arc<AtomicBool>) -> Result<Self, TargetError> {
        let refused = |error: io::Error| {
            // CAST: Win32 errors are unsigned.
            let code = error.raw_os_error().map(|code| code as u32);
            win32::cannot_open(path, code, &error.to_string())
        };
        let device = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(FILE_FLAG_OVERLAPPED)
            .open(path)
            .map_err(refused)?;
        let events = vec![event().map_err(refused)?];
        let device = Arc::new(device.into());
        Ok(Self { path: path.to_owned(), device, interrupted, events })
    }

    /// Carries out one request to its end, and returns how many bytes it returned.
    ///
    /// # Safety
    ///
    /// As [`Running::start`], until this function returns or unwinds.
    unsafe fn request(
        &mut self,
        offset: u64,
        start: impl FnOnce(HANDLE, *mut OVERLAPPED) -> BOOL,
    ) -> Result<usize, NtStatus> {
        // SAFETY: the caller's promise; what was started is waited for here.
        let mut running = unsafe { Running::start(self, offset, start)? };
        let result = running.end();
        self.events.extend(running.event.take());
        result
    }

    /// An event for the next request.
    fn event(&mut self) -> Result<OwnedHandle, NtStatus> {
        let spare = self.events.pop().map_or_else(event, Ok);
        spare.map_err(|_| NtStatus(status::INSUFFICIENT_RESOURCES))
    }

    /// Sends a request with a control code.
    fn control(&mut self, code: Ioctl, input: &[u8], output: &mut [u8]) -> Result<usize, NtStatus> {
        let (input_length, output_length) = (length(input)?, length(output)?);
        let start = |device: HANDLE, overlapped: *mut OVERLAPPED| {
            // SAFETY: the device is open; `request` keeps `overlapped` and this function both
            // buffers until the request is complete. Without a pointer to the length returned it
            // is in `overlapped` alone, as is right for overlapped operations.
            unsafe {
                DeviceIoControl(
                    device,
                    code.code(),
                    input.as_ptr().cast(),
                    input_length,
                    output.as_mut_ptr().cast(),
                    output_length,
                    std::ptr::null_mut(),
                    overlapped,
                )
            }
        };
        // SAFETY: `start` does what is asked of it, and the buffers are borrowed until the return.
        unsafe { self.request(0, start) }
    }

    /// Sends a buffered request, and returns its output.
    fn ask<Request: IntoBytes + zerocopy::Immutable, Reply: FromBytes + IntoBytes>(
        &mut self,
        code: Ioctl,
        request: &Request,
    ) -> Result<Reply, NtStatus> {
        let mut reply = Reply::new_zeroed();
        let returned = self.control(code, request.as_bytes(), reply.as_mut_bytes())?;
        if returned == size_of::<Reply>() {
            Ok(reply)
        } else {
            Err(NtStatus(status::REVISION_MISMATCH))
        }
    }
}

/// A length as Windows takes it.
fn length(buffer: &[u8]) -> Result<u32, NtStatus> {
    u32::try_from(buffer.len()).map_err(|_| NtStatus(status::INVALID_BUFFER_SIZE))
}

/// A new event that stays signalled until a request resets it.
fn event() -> io::Result<OwnedHandle> {
    let (manual_reset, signalled) = (1, 0);
    // SAFETY: no security descriptor and no name are given.
    let event = unsafe { CreateEventW(null(), manual_reset, signalled, null()) };
    if event.is_null() {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the handle is new, valid, and nobody else's.
    Ok(unsafe { OwnedHandle::from_raw_handle(event) })
}

/// A request that was started.
///
/// # Invariants
///
/// Until `done` the kernel may write to `overlapped` and to the request's buffers; dropping this
/// waits for it.
struct Running {
    device: Arc<OwnedHandle>,
    /// Taken when the request is over.
    event: Option<OwnedHandle>,
    /// On the heap, where it stays when this moves; the kernel writes to it meanwhile.
    overlapped: Box<UnsafeCell<OVERLAPPED>>,
    interrupted: Arc<AtomicBool>,
    done: bool,
}

impl Running {
    /// Starts a request.
    ///
    /// # Safety
    ///
    /// `start` starts one overlapped operation on the handle that it gets, with the `OVERLAPPED`
    /// that it gets, and returns what that call returned. The operation's buffers are valid, and
    /// nobody else uses them, until what this returns is dropped.
    unsafe fn start(
        device: &mut OpenDevice,
        offset: u64,
        start: impl FnOnce(HANDLE, *mut OVERLAPPED) -> BOOL,
    ) -> Result<Self, NtStatus> {
        let event = device.event()?;
        // CAST: the two halves of the offset.
        let place = OVERLAPPED_0_0 { Offset: offset as u32, OffsetHigh: (offset >> 32) as u32 };
        let overlapped = Box::new(UnsafeCell::new(OVERLAPPED {
            Anonymous: OVERLAPPED_0 { Anonymous: place },
            hEvent: event.as_raw_handle(),
            ..OVERLAPPED::default()
        }));
        let started = start(device.device.as_raw_handle(), overlapped.get());
        // Nothing may come in between: the error is the thread's last one.
        let error = io::Error::last_os_error().raw_os_error().unwrap_or_default() as u32;
        let mut running = Self {
            device: Arc::clone(&device.device),
            event: Some(event),
            overlapped,
            interrupted: Arc::clone(&device.interrupted),
            done: false,
        };
        if started == 0 && error != ERROR_IO_PENDING {
            // Nothing is under way.
            running.done = true;
            device.events.extend(running.event.take());
            return Err(win32::refusal(running.result().0, error));
        }
        Ok(running)
    }

    /// Waits for the end; how many bytes the request returned.
    fn end(&mut self) -> Result<usize, NtStatus> {
        self.wait();
        let (internal, length) = self.result();
        win32::completion(internal).map(|()| length)
    }

    /// Waits until the kernel is done, and asks it to hurry when the user wants to end.
    fn wait(&mut self) {
        let mut cancelled = None;
        let mut told = false;
        while !self.completes_within(POLL_MILLISECONDS) {
            match cancelled {
                None if self.interrupted.load(Ordering::Relaxed) => {
                    self.cancel();
                    cancelled = Some(Instant::now());
                }
                Some(since) if !told && Instant::elapsed(&since) > PATIENCE => {
                    told = true;
                    // If nobody can read it, nobody is kept waiting by it either.
                    let _ = writeln!(
                        io::stderr(),
                        "dmaproof: waiting for the device to stop: until then the buffer belongs \
                         to it; Ctrl-C again ends the app, and Windows waits instead"
                    );
                }
                _ => {}
            }
        }
    }

    /// Whether the request is complete, now or within so many milliseconds.
    fn completes_within(&mut self, milliseconds: u32) -> bool {
        let Some(event) = &self.event else { return self.done };
        // SAFETY: the event is this request's own, and open.
        match unsafe { WaitForSingleObject(event.as_raw_handle(), milliseconds) } {
            // INVARIANT: the kernel signals the event after its last access.
            WAIT_OBJECT_0 => self.done = true,
            WAIT_TIMEOUT => {}
            // It cannot be known any more when the kernel is done, so that nothing may go on.
            _ => std::process::abort(),
        }
        self.done
    }

    /// Asks the driver to end the request early. It still has to be waited for.
    fn cancel(&self) {
        let device = self.device.as_raw_handle();
        // SAFETY: the device is open, and `overlapped` is that of a request on it.
        let found = unsafe { CancelIoEx(device, self.overlapped.get()) };
        // If it was not found it is complete, or about to be.
        let _ = found;
    }

    /// The `Internal` and `InternalHigh` fields: status, and number of bytes.
    fn result(&self) -> (usize, usize) {
        debug_assert!(self.done);
        // SAFETY: by the invariant the kernel does not write to it any more.
        let overlapped = unsafe { self.overlapped.get().read_volatile() };
        (overlapped.Internal, overlapped.InternalHigh)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.done {
            self.cancel();
            while !self.completes_within(u32::MAX) {}
        }
    }
}

impl Session for OpenDevice {
    fn query(&mut self) -> Result<QueryReply, NtStatus> {
        self.ask(Ioctl::Query, &QueryRequest::new())
    }

    fn transfer(
        &mut self,
        path: Path,
        direction: Direction,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<usize, NtStatus> {
        let code = match direction {
            Direction::ToDevice => Ioctl::ToDevice,
            Direction::FromDevice => Ioctl::FromDevice,
        };
        // CAST: the length of a buffer fits in 64 bits.
        let header = TransferHeader::new(path, offset, buffer.len() as u64);
        self.control(code, header.as_bytes(), buffer)
    }

    fn read_file(&mut self, offset: u64, buffer: &mut [u8]) -> Result<usize, NtStatus> {
        let length = length(buffer)?;
        let start = |device: HANDLE, overlapped: *mut OVERLAPPED| {
            // SAFETY: as in `control`.
            unsafe {
                ReadFile(device, buffer.as_mut_ptr(), length, std::ptr::null_mut(), overlapped)
            }
        };
        // SAFETY: `start` does what is asked of it, and the buffer is borrowed until the return.
        unsafe { self.request(offset, start) }
    }

    fn write_file(&mut self, offset: u64, buffer: &[u8]) -> Result<usize, NtStatus> {
        let length = length(buffer)?;
        let start = |device: HANDLE, overlapped: *mut OVERLAPPED| {
            // SAFETY: as in `control`; the kernel only reads the buffer.
            unsafe { WriteFile(device, buffer.as_ptr(), length, std::ptr::null_mut(), overlapped) }
        };
        // SAFETY: `start` does what is asked of it, and the buffer is borrowed until the return.
        unsafe { self.request(offset, start) }
    }

    fn statistics(&mut self) -> Result<Statistics, NtStatus> {
        self.ask(Ioctl::Statistics, &StatisticsRequest::new())
    }

    fn reset(&mut self) -> Result<(), NtStatus> {
        let request = ResetRequest::new();
        self.control(Ioctl::Reset, request.as_bytes(), &mut []).map(|_| ())
    }

    fn submit(&mut self, transfer: Transfer, arena: Arena) -> Box<dyn Pending> {
        Box::new(Submitted::start(self, transfer, arena))
    }

    fn pause(&mut self, time: Duration) {
        std::thread::sleep(time);
    }

    fn reopen(&mut self) -> Result<(), NtStatus> {
        let gone = |_| NtStatus(status::DEVICE_REMOVED);
        *self = Self::open(&self.path, Arc::clone(&self.interrupted)).map_err(gone)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
