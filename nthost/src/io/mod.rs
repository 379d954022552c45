//! The I/O manager: files, requests, buffers, cancellation.
//!
//! A request is an IRP ([`irp::Irp`]) from a pool. The driver's stack here is one KMDF device:
//! IRPs go to the framework ([`crate::wdf`]) and come back through `IrpRef::complete`, after which
//! the requester, in its own thread, copies buffered output back and sees the result.

// UNSAFETY: buffers of requesters are handled by address.

mod access;
pub(crate) mod body;
mod buffer;
mod cancel;
mod file;
pub(crate) mod irp;
mod pending;
#[cfg(test)]
mod tests;

pub use access::{Access, Caller};
pub use body::Completion;
pub(crate) use body::{Major, Method};
pub use buffer::{Buffer, Operation, Request};
pub(crate) use cancel::Cancelled;
pub use file::File;
pub(crate) use file::FileState;
pub(crate) use irp::IrpRef;
pub use pending::Pending;

use parking_lot::Mutex;

use crate::RuleId;
use crate::machine::Kernel;
use crate::machine::Wait;
use crate::verifier::{Violation, broken};
use crate::wdf::object::Handle;

/// The I/O manager's state in one machine.
#[derive(Debug)]
pub(crate) struct Io {
    irps: irp::Pool,
    /// The device of each open file.
    opened: Mutex<Vec<Handle>>,
}

impl Io {
    pub(crate) fn new() -> Self {
        Self { irps: irp::Pool::default(), opened: Mutex::default() }
    }

    /// A file is opened on a device; returns whether it is the only one.
    pub(crate) fn open(&self, device: Handle) -> bool {
        let mut opened = self.opened.lock();
        let first = !opened.contains(&device);
        opened.push(device);
        first
    }

    /// How many requests were sent so far.
    pub(crate) fn requests(&self) -> u64 {
        self.irps.sent()
    }

    /// The same, if all of them are complete.
    pub(crate) fn idle(&self) -> Option<u64> {
        self.irps.idle()
    }

    /// A file of a device is gone.
    pub(crate) fn forget(&self, device: Handle) {
        let mut opened = self.opened.lock();
        if let Some(at) = opened.iter().position(|&other| other == device) {
            opened.swap_remove(at);
        }
    }
}

/// The result, or the end of the machine.
#[inline]
pub(crate) fn must<T>(kernel: &Kernel, result: Result<T, Violation>) -> T {
    match result {
        Ok(value) => value,
        Err(violation) => kernel.stop(violation),
    }
}

/// Waits until the IRP is complete; one that can never be stops the machine (SIM-04, SIM-05).
fn wait_for(kernel: &Kernel, irp: IrpRef) {
    if irp.is_done() {
        return;
    }
    match kernel.wait(None, || irp.is_done()) {
        Wait::Satisfied => {}
        Wait::TimedOut | Wait::Never => never_completes(kernel, irp),
    }
}

/// Nothing left in the machine can complete this request: the device never stopped (SIM-05), or
/// the driver lost it (SIM-04).
#[cold]
fn never_completes(kernel: &Kernel, irp: IrpRef) -> ! {
    let device = irp.body().file.as_ref().map(|file| file.device);
    let mut message = {
        let body = irp.body();
        let what = match body.major {
            Major::Create => "create".to_owned(),
            Major::Read => format!("read of {} bytes at offset {}", body.length, body.offset),
            Major::Write => format!("write of {} bytes at offset {}", body.length, body.offset),
            Major::DeviceControl => format!("device control request {:#010X}", body.code),
        };
        format!("a {what} can never complete; its history: {}", body.trace)
    };
    // CAST: an address.
    let address = irp.pointer().addr() as u64;
    let mut rule = RuleId::Sim04;
    if let Some((slot, never_stopped)) = device.and_then(|d| kernel.pnp.slot_and_state(kernel, d)) {
        if never_stopped {
            rule = RuleId::Sim05;
            message += "; the device never stopped, and its driver rightly keeps the request";
        } else if let Some(waits) = kernel.hal.describe_waiting(slot) {
            message += &format!("; {waits}");
        }
    }
    kernel.stop(broken(rule, message).code(0x9F, [3, 0, 0, address]))
}

/// Makes the system buffer the request's method needs and copies `input` to it.
fn prepare_system_buffer(body: &mut body::Body, input: &[u8]) {
    let length = match (body.major, body.method) {
        (Major::DeviceControl, Method::Buffered) => body.length.max(input.len()),
        (Major::DeviceControl, Method::InDirect | Method::OutDirect) => input.len(),
        (Major::Read | Major::Write, Method::Buffered) => body.length,
        _ => return,
    };
    body.fill_system_buffer(input, length);
}

/// Locks the pages of a direct request's buffer: for writing if the device may write them
/// (DMA-104). In kernel mode, in the requester's thread.
fn lock_buffer(kernel: &Kernel, irp: IrpRef) {
    let mut body = irp.body();
    if !body.method.is_direct() || body.length == 0 {
        return;
    }
    let write = match body.major {
        Major::Read => true,
        Major::Write | Major::Create => false,
        Major::DeviceControl => body.method == Method::OutDirect,
    };
    let (user, length) = (body.user.0, body.length);
    let slot = body.file.as_ref().and_then(|file| file.slot);
    let owned = body.take_owned();
    let Some(mut request) = owned else {
        body.mdl.0 = kernel.memory.lock_request_buffer(kernel, (user, length), write, slot);
        return;
    };
    let mut last = std::ptr::null_mut();
    for segment in request.segments.iter_mut().filter(|segment| !segment.is_empty()) {
        let length = segment.len();
        let bytes = (segment.address(), length);
        let mdl = kernel.memory.lock_request_buffer(kernel, bytes, write, slot);
        if body.mdl.0.is_null() {
            body.mdl.0 = mdl;
        } else {
            kernel.memory.chain(last, mdl);
        }
        last = mdl;
    }
    body.own(request);
}
