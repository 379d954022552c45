//! The dispatcher (KMDF.md 4.3, 4.6, 4.8).
//!
//! One loop looks at the queue's state, takes the most urgent event, delivers it without a lock
//! and looks again. A counter of threads in the loop keeps events that happen inside a callback
//! from calling the driver recursively: the thread that called it takes them when it returns.

use parking_lot::MutexGuard;
use wdk_lite::{STATUS_CANCELLED, STATUS_INVALID_DEVICE_REQUEST, STATUS_SUCCESS, WDFREQUEST};

use super::{Config, Handle, Notify, Queue, Scope, State, Token, request};
use crate::ddi::callback::{self, Routine};
use crate::io::Major;
use crate::io::body::Body;
use crate::machine::Kernel;
use crate::machine::clock::Deferred;
use crate::verifier::Violation;
use crate::wdf::request::{self as requests, Mark, Place, Stop};

/// When to try again where the presentation lock's holder waits on this thread, nanoseconds.
const LATER: u64 = 1_000_000;

/// How a request is presented.
#[derive(Clone, Copy, Debug)]
enum Handler {
    Read(usize),
    Write(usize),
    Control { output: usize, input: usize, code: u32 },
    Default,
}

/// The next thing a queue has to do.
#[derive(Clone, Copy, Debug)]
enum Action {
    /// EvtRequestCancel.
    Cancel(Handle, Routine),
    /// EvtIoCanceledOnQueue.
    CancelledOnQueue(Handle, Routine),
    /// A request ends without the driver.
    Complete(Handle, i32),
    /// WdfIoQueueStop's callback.
    Stopped(Notify),
    Present(Handle, Handler, Routine),
}

impl Queue {
    /// Something happened inside the queue: runs the dispatcher unless some thread is in it.
    #[inline]
    pub(in crate::wdf) fn run_internal(
        &self,
        kernel: &Kernel,
        handle: Handle,
    ) -> Result<(), Violation> {
        let state = self.lock();
        if state.dispatching == 0 { self.run_locked(kernel, handle, state) } else { Ok(()) }
    }

    /// A request arrived: runs the dispatcher.
    #[inline]
    pub(super) fn run(&self, kernel: &Kernel, handle: Handle) -> Result<(), Violation> {
        self.run_locked(kernel, handle, self.lock())
    }

    /// The driver's ownership of a request has ended.
    #[inline]
    pub(in crate::wdf) fn lose(
        &self,
        kernel: &Kernel,
        handle: Handle,
        token: Token,
        stop: Stop,
    ) -> Result<(), Violation> {
        let mut state = self.lock();
        state.leave_owned(stop, token);
        if state.dispatching == 0 { self.run_locked(kernel, handle, state) } else { Ok(()) }
    }

    pub(super) fn run_locked<'q>(
        &'q self,
        kernel: &Kernel,
        handle: Handle,
        mut state: MutexGuard<'q, State>,
    ) -> Result<(), Violation> {
        let config = state.config;
        if (config.passive && kernel.irql() > 0) || self.is_presenting_here(kernel, config.scope) {
            if state.dispatching == 0 && !state.deferred {
                state.deferred = true;
                drop(state);
                defer(kernel, handle, config.passive);
            }
            return Ok(());
        }
        state.dispatching += 1;
        while let Some(action) = next(kernel, &mut state) {
            drop(state);
            self.deliver(kernel, handle, config.scope, action)?;
            state = self.lock();
        }
        state.dispatching -= 1;
        let watched = state.power != super::Power::On || state.shut_down;
        drop(state);
        if watched {
            // The PnP manager waits until nobody dispatches.
            kernel.poke();
        }
        Ok(())
    }

    /// Delivers one event; no lock of the host is held.
    fn deliver(
        &self,
        kernel: &Kernel,
        queue: Handle,
        scope: Scope,
        action: Action,
    ) -> Result<(), Violation> {
        match action {
            Action::Complete(handle, status) => {
                return requests::complete_unowned(kernel, handle, status);
            }
            Action::Cancel(handle, routine) => self.present(kernel, scope, || {
                kernel.wdf.reference(handle);
                // SAFETY: the routine given to WdfRequestMarkCancelable(Ex) for this request
                // (EVT_WDF_REQUEST_CANCEL).
                unsafe { callback::PFN_WDF_REQUEST_CANCEL(kernel, routine, handle.raw()) };
                kernel.wdf.dereference(kernel, handle);
            }),
            Action::CancelledOnQueue(handle, routine) => self.present(kernel, scope, || {
                let (queue, handle) = (queue.raw(), handle.raw());
                // SAFETY: the queue's EvtIoCanceledOnQueue, with a request of it.
                unsafe {
                    callback::PFN_WDF_IO_QUEUE_IO_CANCELED_ON_QUEUE(kernel, routine, queue, handle);
                }
            }),
            Action::Stopped(notify) => {
                let (queue, context) = (queue.raw(), notify.context());
                // SAFETY: the routine and context given to WdfIoQueueStop. Not under the
                // presentation lock (KMDF.md 2.7).
                unsafe {
                    callback::PFN_WDF_IO_QUEUE_STATE(kernel, notify.routine, queue, context);
                }
            }
            Action::Present(handle, handler, routine) => {
                self.present(kernel, scope, || {
                    call(kernel, routine, queue, handle.raw(), handler);
                });
            }
        }
        Ok(())
    }
}

/// Calls the handler of a request.
fn call(kernel: &Kernel, routine: Routine, queue: Handle, request: WDFREQUEST, handler: Handler) {
    let queue = queue.raw();
    match handler {
        // SAFETY: the queue's EvtIoRead, with a read of this length.
        Handler::Read(length) => unsafe {
            callback::PFN_WDF_IO_QUEUE_IO_READ(kernel, routine, queue, request, length);
        },
        // SAFETY: the queue's EvtIoWrite, with a write of this length.
        Handler::Write(length) => unsafe {
            callback::PFN_WDF_IO_QUEUE_IO_WRITE(kernel, routine, queue, request, length);
        },
        // SAFETY: the queue's EvtIoDeviceControl, with a control request of these parameters.
        Handler::Control { output, input, code } => unsafe {
            callback::PFN_WDF_IO_QUEUE_IO_DEVICE_CONTROL(
                kernel, routine, queue, request, output, input, code,
            );
        },
        // SAFETY: the queue's EvtIoDefault.
        Handler::Default => unsafe {
            callback::PFN_WDF_IO_QUEUE_IO_DEFAULT(kernel, routine, queue, request);
        },
    }
}

/// Runs the dispatcher later: a DPC, or a work item for a queue with execution level Passive.
fn defer(kernel: &Kernel, queue: Handle, passive: bool) {
    // CAST: a 64-bit machine.
    let argument = queue.bits() as usize;
    let work = Deferred { run: run_later, argument };
    if passive { kernel.queue_work(work) } else { kernel.queue_dpc(work) }
}

fn run_later(kernel: &Kernel, argument: usize) {
    // CAST: a 64-bit machine.
    let Some(handle) = Handle::from_bits(argument as u64) else { return };
    let Some(queue) = kernel.wdf.payload::<Queue>(handle) else { return };
    let mut state = queue.lock();
    let config = state.config;
    if queue.is_presenting_here(kernel, config.scope) {
        // This thread waits inside a callback under the lock: the callback has to return first.
        drop(state);
        let again = Deferred { run: expired, argument };
        kernel.clock.start(kernel.clock.now() + LATER, again);
        return;
    }
    state.deferred = false;
    crate::io::must(kernel, queue.run_locked(kernel, handle, state));
}

fn expired(kernel: &Kernel, argument: usize) {
    kernel.queue_work(Deferred { run: run_later, argument });
}

/// The most urgent event, taken out of the state.
#[inline]
fn next(kernel: &Kernel, state: &mut State) -> Option<Action> {
    if state.delivers_cancels() {
        if let Some(handle) = state.cancelled_owned.pop_front() {
            return cancel_owned(kernel, state, handle).or_else(|| next(kernel, state));
        }
        if let Some(handle) = state.cancelled.pop_front() {
            return cancel_queued(kernel, state, handle).or_else(|| next(kernel, state));
        }
    }
    if state.stop_complete.is_some() && state.owned.is_empty() && state.dispatching == 1 {
        return state.stop_complete.take().map(Action::Stopped);
    }
    if state.may_present() { present_next(kernel, state) } else { None }
}

/// EvtRequestCancel for a request whose cancel won.
fn cancel_owned(kernel: &Kernel, state: &mut State, handle: Handle) -> Option<Action> {
    let _ = state;
    let mut own = request(kernel, handle)?.lock();
    own.mark = Mark::Called;
    let routine = std::mem::take(&mut own.cancel);
    own.irp.as_ref()?.step("delivered to EvtRequestCancel");
    Some(Action::Cancel(handle, routine))
}

/// A request that was cancelled while it waited: the driver is told if it has seen it before and
/// wants to know, otherwise the request just ends (KMDF.md 4.6).
fn cancel_queued(kernel: &Kernel, state: &mut State, handle: Handle) -> Option<Action> {
    let routine = state.config.cancelled;
    let mut own = request(kernel, handle)?.lock();
    if !own.presented || !routine.is_some() {
        return Some(Action::Complete(handle, STATUS_CANCELLED));
    }
    let irp = own.irp.as_ref()?;
    irp.cancel.release_claim();
    irp.step("delivered to EvtIoCanceledOnQueue");
    own.place = Place::Owned(state.owned.push_back(handle));
    Some(Action::CancelledOnQueue(handle, routine))
}

/// Presents the first waiting request that no cancel has taken.
fn present_next(kernel: &Kernel, state: &mut State) -> Option<Action> {
    let mut at = state.queued.first();
    while let Some(token) = at {
        at = state.queued.next(token);
        let handle = state.queued.at(token);
        let Some(found) = request(kernel, handle) else { continue };
        let mut own = found.lock();
        let Some(irp) = own.irp else { continue };
        if irp.cancel.disarm().is_err() {
            // A cancel has won; its thread takes the request out of the queue.
            continue;
        }
        state.queued.remove(token);
        own.place = Place::Moving;
        let mut body = irp.body();
        let (handler, routine, name) = match pick(&state.config, &body) {
            Ok(picked) => picked,
            Err(status) => return Some(Action::Complete(handle, status)),
        };
        body.trace.step(name);
        drop(body);
        own.place = Place::Owned(state.owned.push_back(handle));
        own.presented = true;
        return Some(Action::Present(handle, handler, routine));
    }
    None
}

/// The handler for a request; or the status it ends with unseen: zero-length transfers, and
/// types without a handler.
fn pick(config: &Config, body: &Body) -> Result<(Handler, Routine, &'static str), i32> {
    let (major, code, input, output) = (body.major, body.code, body.input_length, body.length);
    if matches!(major, Major::Read | Major::Write) && output == 0 && !config.zero_length {
        return Err(STATUS_SUCCESS);
    }
    let (handler, routine, name) = match major {
        Major::Read => (Handler::Read(output), config.read, "delivered to EvtIoRead"),
        Major::Write => (Handler::Write(output), config.write, "delivered to EvtIoWrite"),
        Major::DeviceControl => {
            let handler = Handler::Control { output, input, code };
            (handler, config.control, "delivered to EvtIoDeviceControl")
        }
        Major::Create => (Handler::Default, Routine::default(), ""),
    };
    if routine.is_some() {
        return Ok((handler, routine, name));
    }
    if config.default.is_some() {
        return Ok((Handler::Default, config.default, "delivered to EvtIoDefault"));
    }
    Err(STATUS_INVALID_DEVICE_REQUEST)
}

impl State {
    /// A request stops being the driver's.
    pub(super) fn leave_owned(&mut self, stop: Stop, token: Token) {
        self.owned.remove(token);
        if stop.is_awaited() {
            self.notified -= 1;
        }
    }

    /// Takes the next request for a driver that retrieves it itself: `Err` for a zero-length
    /// transfer that it does not want, which has to be completed with success.
    pub(super) fn retrieve(&mut self, kernel: &Kernel) -> Option<Result<Handle, Handle>> {
        let mut at = self.queued.first();
        while let Some(token) = at {
            at = self.queued.next(token);
            let handle = self.queued.at(token);
            let Some(found) = request(kernel, handle) else { continue };
            let mut own = found.lock();
            let Some(irp) = own.irp else { continue };
            if irp.cancel.disarm().is_err() {
                continue;
            }
            self.queued.remove(token);
            own.place = Place::Moving;
            let body = irp.body();
            let empty = matches!(body.major, Major::Read | Major::Write) && body.length == 0;
            drop(body);
            if empty && !self.config.zero_length {
                return Some(Err(handle));
            }
            own.place = Place::Owned(self.owned.push_back(handle));
            own.presented = true;
            irp.step("retrieved by the driver");
            return Some(Ok(handle));
        }
        None
    }
}
