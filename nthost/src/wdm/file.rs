//! Files on named devices: what a program does with `CreateFile` and `DeviceIoControl`.

use std::cell::UnsafeCell;
use std::fmt;
use std::rc::Rc;

use wdk_lite::*;

use super::irp::PacketRef;
use super::{check, device};
use crate::io::{Access, Method, must};
use crate::machine::{Kernel, Machine, Wait};
use crate::verifier::broken;
use crate::{NtStatus, RuleId};

/// What nonpaged pool holds that nobody wrote (SEC-08).
const STALE: u8 = 0xCD;
/// The type in a FILE_OBJECT (wdm.h).
const IO_TYPE_FILE: i16 = 5;

/// An open file on a device of a WDM driver. Closed when dropped.
pub struct NamedFile {
    machine: Machine,
    device: usize,
    object: Rc<UnsafeCell<FILE_OBJECT>>,
    access: Access,
}

// SAFETY: the file object is the driver's to use; here only its address matters.
unsafe impl Send for NamedFile {}
// SAFETY: as above.
unsafe impl Sync for NamedFile {}

impl fmt::Debug for NamedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "file on the device at {:#x}", self.device)
    }
}

impl Machine {
    /// Opens a device of a WDM driver by its name or a symbolic link, for instance
    /// `\\.\Example`.
    ///
    /// # Errors
    /// STATUS_OBJECT_NAME_NOT_FOUND when nothing has this name, or what the driver's
    /// IRP_MJ_CREATE ends with.
    pub fn open_named(&self, path: &str, access: Access) -> Result<NamedFile, NtStatus> {
        let kernel = &*self.kernel;
        let device = kernel.wdm.names.lock().find(path);
        let Some(device) = device else { return Err(NtStatus(STATUS_OBJECT_NAME_NOT_FOUND)) };
        // SAFETY: a device that has a name is one of this machine.
        if unsafe { device::is_initializing(pointer(device)) } {
            return Err(NtStatus(STATUS_NO_SUCH_DEVICE));
        }
        // SAFETY: plain data and pointers; zero is a value of each.
        let mut object: FILE_OBJECT = unsafe { std::mem::zeroed() };
        object.Type = IO_TYPE_FILE;
        // CAST: 216.
        object.Size = size_of::<FILE_OBJECT>() as i16;
        object.DeviceObject = pointer(device);
        let object = Rc::new(UnsafeCell::new(object));
        let file = NamedFile { machine: self.clone(), device, object, access };
        match file.simple(IRP_MJ_CREATE) {
            Ok(()) => Ok(file),
            Err(status) => {
                // Not opened, so there is nothing to close.
                std::mem::forget(file);
                Err(status)
            }
        }
    }
}

fn pointer(device: usize) -> PDEVICE_OBJECT {
    std::ptr::with_exposed_provenance_mut(device)
}

/// A device control request that is under way, with its buffers.
#[derive(Debug)]
pub struct Control {
    machine: Machine,
    packet: PacketRef,
    method: Method,
    /// Of the driver, in words so that it is aligned as pool is.
    system: Vec<u64>,
    /// The requester's second buffer.
    output: Vec<u8>,
}

impl NamedFile {
    /// Sends a device control request and waits for its end; returns its Information.
    ///
    /// # Errors
    /// STATUS_ACCESS_DENIED when the handle lacks the access that the code demands, or the status
    /// the request was completed with, if that is not a success.
    pub fn device_io_control(
        &self,
        code: u32,
        input: &[u8],
        output: &mut [u8],
    ) -> Result<usize, NtStatus> {
        let (result, buffer) = self.begin(code, input, output.to_vec())?.wait();
        output.copy_from_slice(&buffer);
        result
    }

    /// Sends a device control request whose second buffer is `output`.
    ///
    /// # Errors
    /// STATUS_ACCESS_DENIED when the handle lacks the access that the code demands.
    pub fn begin(&self, code: u32, input: &[u8], output: Vec<u8>) -> Result<Control, NtStatus> {
        if !self.access.contains(Access::of_control_code(code)) {
            return Err(NtStatus(STATUS_ACCESS_DENIED));
        }
        let kernel = &*self.machine.kernel;
        let method = Method::of_control_code(code);
        let mut control = Control {
            machine: self.machine.clone(),
            packet: self.packet(IRP_MJ_DEVICE_CONTROL, |_, _| {}),
            method,
            system: system_buffer(method, input, output.len()),
            output,
        };
        let irp = control.packet.pointer();
        // SAFETY: not sent yet, so nobody else uses it.
        let irp = unsafe { &mut *irp };
        let first = control.packet.first();
        // SAFETY: as above.
        let stack = unsafe { &mut *first };
        stack.Parameters.DeviceIoControl = _IO_STACK_LOCATION__bindgen_ty_1__bindgen_ty_17 {
            // CAST: a program's buffers are below 4 GiB.
            OutputBufferLength: control.output.len() as u32,
            __bindgen_padding_0: [0; 4],
            InputBufferLength: input.len() as u32,
            __bindgen_padding_1: [0; 4],
            IoControlCode: code,
            // CAST: read only: nobody writes through the first buffer's address.
            Type3InputBuffer: match method {
                Method::Neither => input.as_ptr().cast_mut().cast(),
                _ => std::ptr::null_mut(),
            },
        };
        irp.UserBuffer = control.output.as_mut_ptr().cast();
        if !control.system.is_empty() {
            irp.AssociatedIrp.SystemBuffer = control.system.as_mut_ptr().cast();
        }
        let (buffer, length) = (control.output.as_mut_ptr(), control.output.len());
        self.send(kernel, control.packet, || {
            if method.is_direct() && length != 0 {
                // In kernel mode, in the requester's thread (DMA-104).
                let write = method == Method::OutDirect;
                let mdl = kernel.memory.lock_user_buffer(kernel, buffer, length, write);
                // SAFETY: not sent yet.
                unsafe { (*control.packet.pointer()).MdlAddress = mdl };
            }
        });
        Ok(control)
    }

    /// Closes the file: CLEANUP, then CLOSE.
    pub fn close(self) {
        drop(self);
    }

    fn packet(
        &self,
        major: u32,
        prepare: impl FnOnce(&mut IRP, &mut IO_STACK_LOCATION),
    ) -> PacketRef {
        let top = self.top();
        // SAFETY: the top of the device's stack.
        let depth = unsafe { (*top).StackSize };
        self.machine.kernel.wdm.packet(depth, |irp, stack| {
            // CAST: below 28; 1.
            stack.MajorFunction = major as u8;
            stack.FileObject = self.object.get();
            irp.RequestorMode = _MODE::UserMode as i8;
            irp.Tail.Overlay.OriginalFileObject = self.object.get();
            prepare(irp, stack);
        })
    }

    fn top(&self) -> PDEVICE_OBJECT {
        // SAFETY: a device with an open handle is not deleted.
        unsafe { device::top_of(pointer(self.device)) }
    }

    fn send(&self, kernel: &Kernel, packet: PacketRef, prepare: impl FnOnce()) {
        kernel.kernel_mode(|| {
            prepare();
            must(kernel, kernel.wdm.call(kernel, self.top(), packet));
        });
    }

    /// A request without parameters.
    fn simple(&self, major: u32) -> Result<(), NtStatus> {
        let kernel = &*self.machine.kernel;
        let packet = self.packet(major, |_, _| {});
        self.send(kernel, packet, || {});
        wait(kernel, packet);
        let (status, _) = packet.result();
        kernel.wdm.give_back(packet);
        check(status)
    }
}

impl Drop for NamedFile {
    fn drop(&mut self) {
        if !self.machine.kernel.is_stopped() {
            for major in [IRP_MJ_CLEANUP, IRP_MJ_CLOSE] {
                // Their statuses say nothing to a program.
                let _ = self.simple(major);
            }
        }
    }
}

impl Control {
    /// Cancels the request, as CancelIoEx does.
    pub fn cancel(&self) {
        let kernel = &*self.machine.kernel;
        kernel.kernel_mode(|| must(kernel, kernel.wdm.cancel(kernel, self.packet)));
    }

    /// Whether it is complete.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.packet.is_done()
    }

    /// Waits for its end: the Information, or the status if that is not a success, and the second
    /// buffer.
    pub fn wait(mut self) -> (Result<usize, NtStatus>, Vec<u8>) {
        let kernel = &*self.machine.kernel;
        wait(kernel, self.packet);
        let (status, information) = self.packet.result();
        kernel.wdm.give_back(self.packet);
        // CAST: a byte count of this process's memory.
        let count = (information as usize).min(self.output.len()).min(self.system.len() * 8);
        // CAST: the code's bits.
        let is_error = status as u32 >> 30 == 3;
        if self.method == Method::Buffered && !is_error {
            let bytes = self.system.iter().flat_map(|word| word.to_le_bytes());
            self.output.iter_mut().zip(bytes).take(count).for_each(|(to, from)| *to = from);
        }
        // CAST: as above.
        (check(status).map(|()| information as usize), self.output)
    }
}

/// Waits until an IRP is complete; one that can never be stops the machine (SIM-04).
fn wait(kernel: &Kernel, packet: PacketRef) {
    if packet.is_done() {
        return;
    }
    match kernel.wait(None, || packet.is_done()) {
        Wait::Satisfied => {}
        Wait::TimedOut | Wait::Never => {
            let message = "an IRP that the driver keeps can never complete";
            // CAST: an address.
            let address = packet.pointer().addr() as u64;
            kernel.stop(broken(RuleId::Sim04, message).code(0x9F, [3, 0, 0, address]))
        }
    }
}

/// The system buffer of a request: its input, then what nobody wrote.
fn system_buffer(method: Method, input: &[u8], output: usize) -> Vec<u64> {
    let length = match method {
        Method::Buffered => input.len().max(output),
        Method::InDirect | Method::OutDirect => input.len(),
        Method::Neither => 0,
    };
    let mut bytes = vec![STALE; length.next_multiple_of(8)];
    bytes[..input.len().min(length)].copy_from_slice(&input[..input.len().min(length)]);
    bytes
        .chunks_exact(8)
        .map(|word| u64::from_le_bytes(word.try_into().unwrap_or_default()))
        .collect()
}
