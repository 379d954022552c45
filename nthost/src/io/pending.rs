//! Asynchronous requests.

use std::fmt;
use std::sync::Arc;

use super::access::Access;
use super::body::{Body, Completion, Major, Method, User};
use super::buffer::{Operation, Request};
use super::file::FileState;
use super::irp::IrpRef;
use super::{File, lock_buffer, must, never_completes, prepare_system_buffer};
use crate::machine::Machine;

/// An asynchronous request under way.
///
/// Dropped without waiting, the request goes on by itself and its buffers live until its end.
pub struct Pending {
    machine: Machine,
    irp: Option<IrpRef>,
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").field("done", &self.is_done()).finish_non_exhaustive()
    }
}

impl File {
    /// Sends a request without waiting for it.
    ///
    /// A handle that lacks the access the request needs completes it with STATUS_ACCESS_DENIED.
    #[must_use]
    pub fn submit(&self, request: Request) -> Pending {
        let kernel = &*self.machine.kernel;
        let needed = match &request.operation {
            Operation::Read { .. } => Access::READ,
            Operation::Write { .. } => Access::WRITE,
            Operation::Ioctl { code, .. } => Access::of_control_code(*code),
        };
        let mut major = Major::Read;
        let irp = kernel.io.irps.get(|body| {
            describe(&self.state, body, request);
            major = body.major;
        });
        let denied = self.check(needed).err();
        self.machine.send(&self.state, irp, || match denied {
            Some(status) => irp.complete(kernel, status.0),
            None => {
                lock_buffer(kernel, irp);
                kernel.wdf.deliver(kernel, &self.state, irp, major)
            }
        });
        Pending { machine: self.machine.clone(), irp: Some(irp) }
    }
}

/// Puts the request into the IRP, which keeps its buffers.
fn describe(file: &Arc<FileState>, body: &mut Body, request: Request) {
    body.file = Some(Arc::clone(file));
    body.kernel_mode = request.kernel_mode;
    let request = body.own(request);
    let user = User(request.segments.first_mut().map_or(std::ptr::null_mut(), |b| b.address()));
    let length = request.segments.iter().map(|segment| segment.len()).sum();
    let (major, offset, code, type3, input_length) = match &mut request.operation {
        Operation::Read { offset } => (Major::Read, *offset, 0, User::default(), 0),
        Operation::Write { offset } => (Major::Write, *offset, 0, User::default(), 0),
        Operation::Ioctl { code, input } => {
            (Major::DeviceControl, 0, *code, User(input.as_mut_ptr()), input.len())
        }
    };
    body.method = match major {
        Major::DeviceControl => Method::of_control_code(code),
        _ => file.settings.transfer_method(major),
    };
    (body.major, body.offset, body.code, body.user) = (major, offset, code, user);
    (body.type3, body.input_length, body.length) = (type3, input_length, length);
    prepare_owned(body);
}

/// Fills the system buffer from the buffers the IRP keeps.
fn prepare_owned(body: &mut Body) {
    let Some(request) = body.take_owned() else { return };
    let input: &[u8] = match &request.operation {
        Operation::Read { .. } => &[],
        Operation::Write { .. } => request.buffer(),
        Operation::Ioctl { input, .. } => input,
    };
    prepare_system_buffer(body, input);
    body.own(request);
}

impl Pending {
    /// Whether the request is complete.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.irp.as_ref().is_none_or(|irp| irp.is_done())
    }

    /// Asks for the request's cancellation, as CancelIoEx does; it may be complete already.
    pub fn cancel(&self) {
        let Some(irp) = &self.irp else { return };
        let kernel = &*self.machine.kernel;
        kernel.kernel_mode(|| must(kernel, irp.cancel(kernel)));
    }

    /// Waits until the request is complete; returns its result and its buffers.
    ///
    /// A request that can never complete stops the machine (SIM-04, or SIM-05 if its device never stopped).
    #[must_use]
    pub fn wait(mut self) -> (Completion, Request) {
        match self.irp.take() {
            Some(irp) => {
                super::wait_for(&self.machine.kernel, irp);
                self.end(irp)
            }
            None => unreachable!("only waiting takes the IRP, and it takes the request with it"),
        }
    }

    /// Waits at most `nanoseconds` of machine time.
    ///
    /// # Errors
    /// The request itself when it is not complete by then.
    pub fn wait_at_most(mut self, nanoseconds: u64) -> Result<(Completion, Request), Self> {
        let kernel = &*self.machine.kernel;
        let due = kernel.clock.now().saturating_add(nanoseconds);
        if let Some(irp) = &self.irp {
            kernel.wait(Some(due), || irp.is_done());
        }
        match self.irp.take_if(|irp| irp.is_done()) {
            Some(irp) => Ok(self.end(irp)),
            None => Err(self),
        }
    }

    fn end(&self, irp: IrpRef) -> (Completion, Request) {
        let completion = irp.finish();
        let owned = irp.body().take_owned();
        match owned {
            Some(request) => {
                self.machine.kernel.io.irps.put(irp);
                (completion, request)
            }
            None => never_completes(&self.machine.kernel, irp),
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(irp) = self.irp.take()
            && irp.abandon()
        {
            self.machine.kernel.io.irps.put(irp);
        }
    }
}
