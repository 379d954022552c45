//! WDFTIMER.

use parking_lot::Mutex;

use super::dpc::{Once, deferred, object, wait_until};
use super::serial::Serialised;
use crate::ddi::callback::{self, Routine};
use crate::machine::Kernel;
use crate::machine::clock::TimerToken;
use crate::verifier::Violation;
use crate::wdf::object::{Handle, Kind, Payload};

/// What a timer was created with.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Config {
    pub routine: Routine,
    pub serialised: Serialised,
    /// Nanoseconds; zero for a timer that expires once.
    pub period: u64,
    /// The callback runs at PASSIVE_LEVEL.
    pub passive: bool,
}

/// A WDFTIMER.
#[derive(Debug, Default)]
pub(crate) struct Timer {
    pub config: Mutex<Config>,
    state: Mutex<State>,
    once: Once,
}

#[derive(Debug, Default)]
struct State {
    token: Option<TimerToken>,
    due: u64,
    /// Expirations under way that a start or stop came too late for.
    late: u32,
    /// How many are in WdfTimerStop and wait.
    stopping: u32,
}

impl Payload for Timer {
    const KIND: Kind = Kind::Timer;

    fn reset(&self) {
        *self.state.lock() = State::default();
    }

    fn dispose(&self, kernel: &Kernel, _handle: Handle) {
        self.cancel(kernel);
        if self.once.is_inside() {
            return;
        }
        if let Err(violation) = self.quiesce(kernel, "the deletion of a WDFTIMER") {
            kernel.stop(violation);
        }
    }
}

impl Timer {
    /// Starts or restarts it at `due` nanoseconds of machine time; whether it was in the queue.
    pub(crate) fn start(&self, kernel: &Kernel, handle: Handle, due: u64) -> bool {
        let mut state = self.state.lock();
        if state.stopping != 0 {
            return false;
        }
        let queued = Self::cancel_locked(&mut state, kernel);
        state.due = due;
        state.token = Some(kernel.clock.start(due, deferred(handle, expire)));
        drop(state);
        kernel.poke();
        queued
    }

    fn cancel_locked(state: &mut State, kernel: &Kernel) -> bool {
        let Some(token) = state.token.take() else { return false };
        let queued = kernel.clock.cancel(token);
        state.late += u32::from(!queued);
        queued
    }

    /// Takes it out of the queue; whether it was there.
    pub(crate) fn cancel(&self, kernel: &Kernel) -> bool {
        Self::cancel_locked(&mut self.state.lock(), kernel)
    }

    /// Whether the calling thread is in its callback.
    pub(crate) fn is_inside(&self) -> bool {
        self.once.is_inside()
    }

    /// Stops it and waits for its callback.
    pub(crate) fn stop_and_wait(&self, kernel: &Kernel) -> Result<bool, Violation> {
        self.state.lock().stopping += 1;
        let queued = self.cancel(kernel);
        let waited = self.quiesce(kernel, "WdfTimerStop");
        // A periodic timer may have armed itself once more meanwhile.
        self.cancel(kernel);
        self.state.lock().stopping -= 1;
        waited.map(|()| queued)
    }

    fn quiesce(&self, kernel: &Kernel, what: &str) -> Result<(), Violation> {
        let quiet = || self.state.lock().late == 0 && self.once.is_quiet();
        if quiet() { Ok(()) } else { wait_until(kernel, what, quiet) }
    }
}

/// The timer expires, at DISPATCH_LEVEL.
fn expire(kernel: &Kernel, argument: usize) {
    let Some((handle, timer)) = object::<Timer>(kernel, argument) else { return };
    let config = *timer.config.lock();
    let first = timer.once.enqueue();
    let mut state = timer.state.lock();
    if state.late > 0 {
        state.late -= 1;
    } else {
        state.token = None;
        if config.period != 0 && state.stopping == 0 {
            state.due += config.period;
            state.token = Some(kernel.clock.start(state.due, deferred(handle, expire)));
        }
    }
    drop(state);
    if config.passive {
        if first {
            kernel.queue_work(deferred(handle, run));
        }
    } else {
        run(kernel, argument);
    }
}

fn run(kernel: &Kernel, argument: usize) {
    let Some((handle, timer)) = object::<Timer>(kernel, argument) else { return };
    let config = *timer.config.lock();
    timer.once.run(kernel, || {
        if !config.routine.is_some() {
            return;
        }
        config.serialised.run(kernel, || {
            // SAFETY: the driver's EvtTimerFunc with its timer, at the level it asked for.
            unsafe { callback::PFN_WDF_TIMER(kernel, config.routine, handle.raw()) }
        });
    });
}
