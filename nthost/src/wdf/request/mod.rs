//! KMDF: requests (KMDF.md 5).

// UNSAFETY: request memory is handed to the driver by address.

mod buffers;
mod cancelable;
mod complete;
pub(crate) mod ddi;

pub(crate) use complete::complete_unowned;

use parking_lot::{Mutex, MutexGuard};

use super::Handle;
use super::device::HandleCell;
use super::object::{Kind, Payload};
use super::queue::{Queue, Token};
use crate::RuleId;
use crate::ddi::callback::Routine;
use crate::io::{FileState, IrpRef, Major};
use crate::machine::Kernel;
use crate::verifier::{Violation, broken};

/// Who has a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Place {
    /// The framework, on no list: on its way from one place to the next.
    #[default]
    Moving,
    /// The driver, in EvtIoInCallerContext or EvtDeviceFileCreate: on no queue.
    Caller,
    /// A queue, waiting.
    Queued(Token),
    /// The driver, presented by its queue.
    Owned(Token),
    /// Its requester: complete.
    Done,
}

/// How far the cancelation of an owned request has come (KMDF.md 5.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mark {
    /// Not cancelable.
    #[default]
    None,
    /// Cancelable.
    Marked,
    /// A cancel won; EvtRequestCancel is about to be called.
    Claimed,
    /// EvtRequestCancel was called; whoever it hands the request to completes it.
    Called,
}

/// An owned request's part in leaving D0 (KMDF.md 4.7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stop {
    #[default]
    None,
    /// EvtIoStop is being called for it.
    Calling,
    /// It is being called, and the driver has acknowledged: it keeps the request.
    Keep,
    /// It is being called, and the driver has acknowledged: the request goes back to its queue.
    Return,
    /// EvtIoStop has returned without an answer.
    Awaited,
    /// EvtIoStop has returned; the driver keeps the request and has stopped work on it.
    Kept,
}

impl Stop {
    /// Whether the PnP manager waits for this request.
    pub(super) fn is_awaited(self) -> bool {
        matches!(self, Self::Calling | Self::Keep | Self::Return | Self::Awaited)
    }
}

/// A request's own state. Its lock is taken after that of its queue.
#[derive(Debug, Default)]
pub(super) struct State {
    /// The IRP; `None` once it is complete.
    pub irp: Option<IrpRef>,
    /// The queue it is on or was presented by.
    pub queue: Option<Handle>,
    pub place: Place,
    /// The driver has seen it.
    pub presented: bool,
    pub mark: Mark,
    pub cancel: Routine,
    pub stop: Stop,
}

/// A WDFREQUEST.
#[derive(Debug, Default)]
pub(crate) struct Request {
    pub(super) device: HandleCell,
    state: Mutex<State>,
}

impl Payload for Request {
    const KIND: Kind = Kind::Request;

    fn reset(&self) {
        self.device.set(None);
        *self.state.lock() = State::default();
    }
}

/// A live request that a driver's call names.
pub(super) struct Live<'k> {
    pub handle: Handle,
    pub request: &'k Request,
    pub irp: IrpRef,
    /// As they were at the beginning of the call.
    pub place: Place,
    pub queue: Option<Handle>,
}

impl Request {
    #[inline]
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Makes the framework's object for an IRP, with the device's request attributes. Whoever
    /// gets it next gives it the IRP.
    pub(super) fn create<'k>(
        kernel: &'k Kernel,
        file: &FileState,
        irp: IrpRef,
    ) -> Result<(Handle, &'k Self), wdk_lite::NTSTATUS> {
        let (handle, request) = kernel.wdf.create::<Self>(kernel, None, &file.settings.request)?;
        request.device.set(Some(file.device));
        irp.request.set(Some(handle));
        Ok((handle, request))
    }

    /// The driver gets the request outside any queue.
    pub(super) fn give_to_caller(&self, irp: IrpRef) {
        let mut own = self.lock();
        own.irp = Some(irp);
        (own.place, own.presented) = (Place::Caller, true);
    }

    /// The queue that has it or presented it.
    pub(super) fn queue<'k>(&self, kernel: &'k Kernel) -> Option<(Handle, &'k Queue)> {
        let queue = self.lock().queue?;
        Some((queue, kernel.wdf.payload(queue)?))
    }

    /// The request a driver's handle names, if it is not complete.
    ///
    /// # Errors
    /// Bug check 0x10D/5: KMDF-22 for a request that is complete, SIM-11 for anything else that
    /// is no request.
    pub(super) fn live(kernel: &Kernel, raw: wdk_lite::WDFREQUEST) -> Result<Live<'_>, Violation> {
        let (handle, request) = match kernel.wdf.get::<Self>(raw) {
            Ok(found) => found,
            Err(other) if was_object(kernel, raw) => return Err(completed(raw, other.rule)),
            Err(other) => return Err(other),
        };
        let (irp, place, queue) = {
            let own = request.lock();
            (own.irp, own.place, own.queue)
        };
        match irp {
            Some(irp) => Ok(Live { handle, request, irp, place, queue }),
            None => Err(completed(raw, RuleId::Kmdf22)),
        }
    }
}

/// Whether the handle was one that is gone: what a completed request's looks like.
fn was_object(kernel: &Kernel, raw: wdk_lite::WDFREQUEST) -> bool {
    // CAST: the handle's bits.
    let bits = raw.addr() as u64;
    // All handles have this mark, see `Handle`.
    bits >> 56 == 0xFD && Handle::from_bits(bits).is_some_and(|h| kernel.wdf.kind(h).is_none())
}

/// The driver used a request after its completion.
#[cold]
fn completed(raw: wdk_lite::WDFREQUEST, _found: RuleId) -> Violation {
    let call = crate::machine::context::with(|c| c.ddi.get().map_or("", |ddi| ddi.name));
    let (rule, what) = if call.starts_with("WdfRequestComplete") {
        (RuleId::Kmdf21, "was completed a second time")
    } else {
        (RuleId::Kmdf22, "was used after its completion")
    };
    // CAST: the handle's bits.
    let bits = raw.addr() as u64;
    let message = format!("request {bits:#x} {what}; its handle names nothing any more");
    broken(rule, message).code(0x10D, [5, bits, 0, 0])
}

impl Live<'_> {
    /// The driver must own the request for this call.
    pub(super) fn owned(&self, rule: RuleId) -> Result<(), Violation> {
        if matches!(self.place, Place::Owned(_) | Place::Caller) {
            return Ok(());
        }
        let call = crate::machine::context::with(|c| c.ddi.get().map_or("", |ddi| ddi.name));
        let message = format!(
            "{call} was called for a request that the driver does not own: it is back in its \
             queue (history: {})",
            self.irp.body().trace
        );
        // CAST: the handle's bits.
        Err(broken(rule, message).code(0x10D, [6, 5, self.handle.bits(), 0]))
    }

    /// What kind of request.
    pub(super) fn major(&self) -> Major {
        self.irp.body().major
    }
}
