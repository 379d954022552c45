//! Cancellation of requests that a queue knows (KMDF.md 4.6, 5.2).

use std::sync::Arc;

use super::{Handle, Queue, State, queues, request};
use crate::io::FileState;
use crate::machine::Kernel;
use crate::verifier::Violation;
use crate::wdf::Wdf;
use crate::wdf::request::{Mark, Place, Request};

impl Wdf {
    /// A cancel has won the request (the I/O manager's call of its cancel routine): the queue is
    /// told, and delivers the cancellation when it may.
    pub(crate) fn cancel_request(&self, kernel: &Kernel, handle: Handle) -> Result<(), Violation> {
        let Some(request) = self.payload::<Request>(handle) else { return Ok(()) };
        let Some((of, queue)) = request.queue(kernel) else { return Ok(()) };
        queue.lock().take_cancelled(kernel, handle);
        queue.run_internal(kernel, of)
    }
}

impl State {
    /// Moves a request that a cancel has claimed to the list of its kind.
    fn take_cancelled(&mut self, kernel: &Kernel, handle: Handle) {
        let Some(found) = request(kernel, handle) else { return };
        let mut own = found.lock();
        match own.place {
            Place::Queued(token) => {
                self.queued.remove(token);
                own.place = Place::Moving;
                self.cancelled.push_back(handle);
            }
            Place::Owned(_) if own.mark == Mark::Marked => {
                own.mark = Mark::Claimed;
                self.cancelled_owned.push_back(handle);
            }
            _ => {}
        }
    }

    /// Claims the waiting requests that `which` names.
    pub(super) fn cancel_queued(&mut self, kernel: &Kernel, which: impl Fn(&Request) -> bool) {
        let mut at = self.queued.first();
        while let Some(token) = at {
            at = self.queued.next(token);
            let handle = self.queued.at(token);
            let Some(found) = request(kernel, handle) else { continue };
            if !which(found) {
                continue;
            }
            let claimed = found.lock().irp.as_ref().is_some_and(|irp| irp.cancel.claim());
            if claimed {
                self.take_cancelled(kernel, handle);
            }
        }
    }

    /// Claims the driver's requests that are cancelable.
    pub(super) fn cancel_owned(&mut self, kernel: &Kernel) {
        let mut at = self.owned.first();
        while let Some(token) = at {
            at = self.owned.next(token);
            let handle = self.owned.at(token);
            let Some(found) = request(kernel, handle) else { continue };
            let marked = {
                let own = found.lock();
                own.mark == Mark::Marked && own.irp.as_ref().is_some_and(|irp| irp.cancel.claim())
            };
            if marked {
                self.take_cancelled(kernel, handle);
            }
        }
    }
}

/// Cancels a file's waiting requests on every queue of the device (KMDF.md 8.4).
pub(crate) fn cancel_file(
    kernel: &Kernel,
    device: Handle,
    file: &Arc<FileState>,
) -> Result<(), Violation> {
    for handle in queues(kernel, device) {
        let Some(queue) = kernel.wdf.payload::<Queue>(handle) else { continue };
        let of_file = |request: &Request| {
            let irp = request.lock().irp;
            irp.is_some_and(|irp| irp.body().file.as_ref().is_some_and(|f| Arc::ptr_eq(f, file)))
        };
        queue.lock().cancel_queued(kernel, of_file);
        queue.run_internal(kernel, handle)?;
    }
    Ok(())
}
