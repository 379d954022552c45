//! Files: opening, synchronous requests, closing.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;
use wdk_lite as k;

use super::access::{self, Access, Caller};
use super::body::{Body, Major, Method};
use super::irp::IrpRef;
use crate::machine::clock::Deferred;
use crate::machine::{Kernel, Machine};
use crate::verifier::Violation;
use crate::wdf::device::Settings;
use crate::wdf::object::Handle;
use crate::{NtStatus, io};

/// A file object of the I/O manager.
#[derive(Debug)]
pub(crate) struct FileState {
    pub device: Handle,
    /// The device's slot.
    pub slot: Option<usize>,
    /// What the device was created with.
    pub settings: Arc<Settings>,
    access: Access,
    /// The framework's file object, if the driver has asked for them.
    object: Mutex<Option<Handle>>,
    requests: Mutex<Outstanding>,
}

#[derive(Debug, Default)]
struct Outstanding {
    irps: Vec<IrpRef>,
    /// The handle is closed: the last request's end sends CLOSE.
    closing: bool,
}

impl FileState {
    /// The framework's file object.
    pub(crate) fn object(&self) -> Option<Handle> {
        *self.object.lock()
    }

    /// Names the framework's file object.
    pub(crate) fn set_object(&self, object: Option<Handle>) {
        *self.object.lock() = object;
    }

    pub(super) fn add(&self, irp: IrpRef) {
        let mut requests = self.requests.lock();
        irp.slot.store(requests.irps.len(), Ordering::Relaxed);
        requests.irps.push(irp);
    }

    pub(super) fn remove(self: &Arc<Self>, kernel: &Kernel, irp: IrpRef) {
        let last = {
            let mut requests = self.requests.lock();
            let slot = irp.slot.load(Ordering::Relaxed);
            requests.irps.swap_remove(slot);
            if let Some(moved) = requests.irps.get(slot) {
                moved.slot.store(slot, Ordering::Relaxed);
            }
            requests.irps.is_empty() && requests.closing
        };
        if last {
            // Later and at PASSIVE_LEVEL: completions run at up to DISPATCH_LEVEL.
            let argument = Arc::into_raw(Arc::clone(self)).expose_provenance();
            kernel.queue_work(Deferred { run: close_later, argument });
        }
    }

    fn cancel_all(&self, kernel: &Kernel) -> Result<(), Violation> {
        // Backwards: one that goes leaves its place to the last one, which has had its turn.
        let count = self.requests.lock().irps.len();
        for index in (0..count).rev() {
            let won = {
                let requests = self.requests.lock();
                // On the list, so not complete and not in use for another request.
                requests.irps.get(index).copied().filter(|irp| irp.cancel.cancel())
            };
            if let Some(irp) = won {
                irp.step("cancelled");
                irp.cancelled(kernel)?;
            }
        }
        Ok(())
    }

    /// CLEANUP, and CLOSE if no request is under way.
    fn close(self: &Arc<Self>, kernel: &Kernel) -> Result<(), Violation> {
        kernel.wdf.cleanup_file(kernel, self)?;
        let idle = {
            let mut requests = self.requests.lock();
            requests.closing = true;
            requests.irps.is_empty()
        };
        if idle { self.close_now(kernel) } else { Ok(()) }
    }

    fn close_now(self: &Arc<Self>, kernel: &Kernel) -> Result<(), Violation> {
        kernel.wdf.close_file(kernel, self)?;
        kernel.pnp.last_handle_closed(kernel, self.device);
        Ok(())
    }
}

fn close_later(kernel: &Kernel, argument: usize) {
    let raw = std::ptr::with_exposed_provenance(argument);
    // SAFETY: the reference that `remove` gave to this work item.
    let file: Arc<FileState> = unsafe { Arc::from_raw(raw) };
    io::must(kernel, file.close_now(kernel));
}

/// An open file on a device. Closed when dropped.
pub struct File {
    pub(super) machine: Machine,
    pub(super) state: Arc<FileState>,
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File").field("state", &self.state).finish_non_exhaustive()
    }
}

impl Machine {
    /// Opens a device by the path of its interface, as an administrator.
    ///
    /// # Errors
    /// As [`Machine::open_as`].
    pub fn open(&self, path: &str, access: Access) -> Result<File, NtStatus> {
        self.open_as(path, access, Caller::Administrator)
    }

    /// Opens a device by the path of its interface.
    ///
    /// # Errors
    /// STATUS_OBJECT_NAME_NOT_FOUND when no device has this path, STATUS_ACCESS_DENIED when the
    /// device's security descriptor does not grant the access to the caller (SEC-04), or what
    /// the driver's EvtDeviceFileCreate says.
    pub fn open_as(&self, path: &str, access: Access, caller: Caller) -> Result<File, NtStatus> {
        let kernel = &*self.kernel;
        let Some(device) = kernel.pnp.device_at(path) else {
            return Err(NtStatus(k::STATUS_OBJECT_NAME_NOT_FOUND));
        };
        let granted = access::granted(kernel.wdf.settings(device).sddl.as_deref(), caller);
        if granted == Access::NONE || !granted.contains(access) {
            return Err(NtStatus(k::STATUS_ACCESS_DENIED));
        }
        if !kernel.pnp.handle_opened(kernel, device) {
            return Err(NtStatus(k::STATUS_OBJECT_NAME_NOT_FOUND));
        }
        self.open_device(device, access).inspect_err(|_| {
            kernel.kernel_mode(|| kernel.pnp.last_handle_closed(kernel, device));
        })
    }

    /// Sends CREATE for a file on a device that the caller may open.
    pub(super) fn open_device(&self, device: Handle, access: Access) -> Result<File, NtStatus> {
        let kernel = &*self.kernel;
        let state = Arc::new(FileState {
            device,
            slot: kernel.pnp.slot_of_object(kernel, device),
            settings: kernel.wdf.settings(device),
            access,
            object: Mutex::new(None),
            requests: Mutex::new(Outstanding::default()),
        });
        let irp = kernel.io.irps.get(|body| {
            body.major = Major::Create;
            body.file = Some(Arc::clone(&state));
        });
        self.call(&state, irp, || kernel.wdf.create_file(kernel, irp, &state));
        let status = NtStatus::check(irp.finish().status.0);
        kernel.io.irps.put(irp);
        status.map(|_| File { machine: self.clone(), state })
    }

    /// Sends an IRP of a file into the driver's stack.
    pub(super) fn send(
        &self,
        file: &FileState,
        irp: IrpRef,
        send: impl FnOnce() -> Result<(), Violation>,
    ) {
        file.add(irp);
        // CAST: a 64-bit machine.
        let about = self.kernel.footprint_of(file.device.bits() as usize);
        self.kernel.kernel_mode_about(about, || io::must(&self.kernel, send()));
    }

    /// Sends an IRP and waits until it is complete.
    fn call(&self, file: &FileState, irp: IrpRef, send: impl FnOnce() -> Result<(), Violation>) {
        self.send(file, irp, send);
        io::wait_for(&self.kernel, irp);
    }
}

impl File {
    /// Sends a device control request and waits for its end; returns its Information.
    ///
    /// # Errors
    /// STATUS_ACCESS_DENIED when the handle lacks the access that the code demands (SEC-01), or
    /// the status the request was completed with, if that is not a success.
    pub fn device_io_control(
        &self,
        code: u32,
        input: &[u8],
        output: &mut [u8],
    ) -> Result<usize, NtStatus> {
        self.check(Access::of_control_code(code))?;
        self.transfer(Major::DeviceControl, input, |body| {
            body.code = code;
            body.method = Method::of_control_code(code);
            // CAST: read only: nobody writes through the first buffer's address.
            body.type3.0 = input.as_ptr().cast_mut();
            (body.input_length, body.length) = (input.len(), output.len());
            body.user.0 = output.as_mut_ptr();
        })
    }

    /// Reads at `offset`; returns the Information, the bytes read.
    ///
    /// # Errors
    /// As [`File::device_io_control`].
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, NtStatus> {
        self.check(Access::READ)?;
        self.transfer(Major::Read, &[], |body| {
            self.packet(body, offset, buffer.as_mut_ptr(), buffer.len());
        })
    }

    /// Writes at `offset`; returns the Information, the bytes written.
    ///
    /// # Errors
    /// As [`File::device_io_control`].
    pub fn write_at(&self, offset: u64, buffer: &[u8]) -> Result<usize, NtStatus> {
        self.check(Access::WRITE)?;
        self.transfer(Major::Write, buffer, |body| {
            // CAST: locked for reading only (DMA-104).
            self.packet(body, offset, buffer.as_ptr().cast_mut(), buffer.len());
        })
    }

    /// Cancels all requests of this file, as CancelIo does.
    pub fn cancel_all(&self) {
        let kernel = &*self.machine.kernel;
        kernel.kernel_mode(|| io::must(kernel, self.state.cancel_all(kernel)));
    }

    /// Closes the file: CLEANUP now, CLOSE when no request of it is under way.
    pub fn close(self) {
        drop(self);
    }

    pub(super) fn check(&self, needed: Access) -> Result<(), NtStatus> {
        if self.state.access.contains(needed) {
            Ok(())
        } else {
            Err(NtStatus(k::STATUS_ACCESS_DENIED))
        }
    }

    fn packet(&self, body: &mut Body, offset: u64, buffer: *mut u8, length: usize) {
        (body.offset, body.length) = (offset, length);
        body.method = self.state.settings.transfer_method(body.major);
        body.user.0 = buffer;
    }

    /// Sends the request that `prepare` describes and waits for its end. `input` is what the
    /// driver is to read.
    fn transfer(
        &self,
        major: Major,
        input: &[u8],
        prepare: impl FnOnce(&mut Body),
    ) -> Result<usize, NtStatus> {
        let (machine, kernel) = (&self.machine, &*self.machine.kernel);
        let mut direct = false;
        let irp = kernel.io.irps.get(|body| {
            body.major = major;
            prepare(body);
            body.file = Some(Arc::clone(&self.state));
            io::prepare_system_buffer(body, input);
            direct = body.method.is_direct();
        });
        machine.call(&self.state, irp, || {
            if direct {
                io::lock_buffer(kernel, irp);
            }
            kernel.wdf.deliver(kernel, &self.state, irp, major)
        });
        let completion = irp.finish();
        kernel.io.irps.put(irp);
        NtStatus::check(completion.status.0).map(|_| completion.information)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let kernel = &*self.machine.kernel;
        if !kernel.is_stopped() {
            kernel.kernel_mode(|| io::must(kernel, self.state.close(kernel)));
        }
    }
}
