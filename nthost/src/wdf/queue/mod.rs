//! KMDF: I/O queues (KMDF.md 4).
//!
//! A queue's state is under one lock, which is never held over a call into the driver; a
//! request's own state is under another, taken after the queue's. Requests are on one of the
//! queue's lists: waiting, owned by the driver, or cancelled and about to be told so.

// UNSAFETY: calls the driver's callbacks.

mod cancel;
mod create;
pub(crate) mod ddi;
mod dispatch;
mod list;
mod power;
mod route;
mod state;

pub(crate) use cancel::cancel_file;
pub(crate) use list::Token;
pub(crate) use power::{hold_all, purge_all, resume_all};
pub(super) use route::forward;
pub(crate) use state::Notify;

use parking_lot::{Mutex, MutexGuard};

use self::list::List;
use super::Handle;
use super::device::{Device, HandleCell};
use super::helpers::lock::CallbackLock;
use super::object::{Kind, Payload};
use super::request::Request;
use crate::ddi::callback::Routine;
use crate::machine::Kernel;

/// How a queue hands out its requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Type {
    #[default]
    Sequential,
    Parallel,
    Manual,
}

/// Which lock the queue's callbacks run under.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Scope {
    #[default]
    None,
    Device,
    Queue,
}

/// What the queue was created with.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Config {
    pub kind: Type,
    pub power_managed: bool,
    pub zero_length: bool,
    /// Most requests presented at a time.
    pub limit: u32,
    /// Execution level Passive.
    pub passive: bool,
    pub scope: Scope,
    pub default: Routine,
    pub read: Routine,
    pub write: Routine,
    pub control: Routine,
    pub internal: Routine,
    pub stop: Routine,
    pub resume: Routine,
    pub cancelled: Routine,
}

/// A power-managed queue's place between D0 and Dx (KMDF.md 4.7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Power {
    /// Requests are presented. Always, for a queue that is not power-managed.
    #[default]
    On,
    /// No new request is presented; callbacks under way return.
    Stopping,
    /// EvtIoStop or EvtIoResume is being called: cancel callbacks are held back.
    Notifying,
    /// Off.
    Off,
}

/// A queue's changing state.
#[derive(Debug, Default)]
pub(super) struct State {
    pub config: Config,
    pub accept: bool,
    pub dispatch: bool,
    /// A purge is under way: what becomes cancelable, or comes back, is cancelled.
    pub cancels_dispatched: bool,
    /// Refuses requests until the device starts again.
    pub shut_down: bool,
    pub power: Power,
    /// Waiting to be presented.
    pub queued: List,
    /// Owned by the driver, in order of presentation.
    pub owned: List,
    /// Taken from `queued` by a cancel.
    pub cancelled: List,
    /// Owned by the driver; its EvtRequestCancel is to be called.
    pub cancelled_owned: List,
    /// Threads in the dispatcher.
    pub dispatching: u32,
    /// A DPC or work item will run the dispatcher.
    pub deferred: bool,
    /// Owned requests that EvtIoStop was called for and that are not answered.
    pub notified: u32,
    pub stop_complete: Option<Notify>,
}

/// A WDFQUEUE.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    pub(super) device: HandleCell,
    pub(super) lock: CallbackLock,
    state: Mutex<State>,
}

impl Payload for Queue {
    const KIND: Kind = Kind::Queue;

    fn reset(&self) {
        self.device.set(None);
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let (waiting, cancelled) = (&mut state.queued, &mut state.cancelled);
        for list in [waiting, cancelled, &mut state.owned, &mut state.cancelled_owned] {
            list.clear();
        }
        state.config = Config::default();
        (state.accept, state.dispatch) = (false, false);
        (state.cancels_dispatched, state.shut_down, state.deferred) = (false, false, false);
        (state.dispatching, state.notified) = (0, 0);
        state.power = Power::On;
        state.stop_complete = None;
    }

    /// KMDF.md 4.9: a queue that goes purges its requests and waits for the driver's.
    fn dispose(&self, kernel: &Kernel, handle: Handle) {
        power::purge_for_good(kernel, handle, self);
        if let Some(device) = self.device(kernel) {
            device.queues.lock().retain(|&queue| queue != handle);
        }
    }
}

impl Queue {
    #[inline]
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// The device the queue belongs to.
    pub(super) fn device<'k>(&self, kernel: &'k Kernel) -> Option<&'k Device> {
        kernel.wdf.payload(self.device.get()?)
    }

    /// Whether the calling thread holds the queue's presentation lock.
    fn is_presenting_here(&self, kernel: &Kernel, scope: Scope) -> bool {
        match scope {
            Scope::None => false,
            Scope::Queue => self.lock.is_held(),
            Scope::Device => self.device(kernel).is_some_and(|device| device.lock.is_held()),
        }
    }

    /// Runs a callback under the queue's presentation lock, if its scope has one.
    #[inline]
    fn present<R>(&self, kernel: &Kernel, scope: Scope, body: impl FnOnce() -> R) -> R {
        match scope {
            Scope::None => body(),
            Scope::Queue => self.lock.with(kernel, body),
            Scope::Device => match self.device(kernel) {
                Some(device) => device.lock.with(kernel, body),
                None => body(),
            },
        }
    }

    /// Spin locks the framework itself holds around a callback on this thread.
    pub(super) fn framework_locks(&self, kernel: &Kernel) -> u32 {
        let device = self.device(kernel).map(|device| &device.lock);
        let locks = [Some(&self.lock), device].into_iter().flatten();
        let held = locks.filter(|lock| !lock.is_passive() && lock.is_held()).count();
        // CAST: at most two.
        held as u32
    }
}

/// A request of a queue's list.
fn request(kernel: &Kernel, handle: Handle) -> Option<&Request> {
    kernel.wdf.payload(handle)
}

/// The queues of a device in order of creation.
fn queues(kernel: &Kernel, device: Handle) -> Vec<Handle> {
    let device: Option<&Device> = kernel.wdf.payload(device);
    device.map(|device| device.queues.lock().clone()).unwrap_or_default()
}
