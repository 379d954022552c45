//! The machine as its user holds it: application threads, and how a run ends.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;

use super::deterministic::segment::is_abandonment;
use super::faults::FallibleCall;
use super::profile::{Builder, Profile, Scheduling};
use super::recording::ChoiceList;
use super::{Kernel, context};
use crate::cache::{Loss, Step};
use crate::ddi::Saboteur;
use crate::ddi::log::Crossing;
use crate::trace_event::TraceEvent;
use crate::verifier::Report;

/// A simulated NT machine.
///
/// A handle: clones name the same machine. Requests are made on the machine's application
/// threads, see [`Machine::run`].
#[derive(Clone, Debug)]
pub struct Machine {
    pub(crate) kernel: Arc<Kernel>,
}

/// The machine stopped because a rule was broken.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{report}")]
pub struct Stopped {
    /// What was broken, and where.
    pub report: Box<Report>,
}

type Outcome<T> = Result<T, Box<dyn Any + Send>>;

/// An application thread that is running.
#[derive(Debug)]
pub struct Running<T> {
    kernel: Arc<Kernel>,
    outcome: Arc<Mutex<Option<Outcome<T>>>>,
    joined: bool,
}

impl Machine {
    /// A machine of this kind, to be configured.
    #[must_use]
    pub fn builder(profile: Profile) -> Builder {
        Builder::new(profile)
    }

    /// Runs `body` as an application thread of the machine.
    ///
    /// # Errors
    /// [`Stopped`] when a rule was broken: the machine stopped, and `body` will never return.
    ///
    /// # Panics
    /// When `body` panics.
    pub fn run<T: Send + 'static>(
        &self,
        body: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        self.spawn(body).join()
    }

    /// Starts `body` as an application thread of the machine.
    ///
    /// # Panics
    /// When the system has no thread to give.
    pub fn spawn<T: Send + 'static>(
        &self,
        body: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Running<T> {
        let outcome = Arc::new(Mutex::new(None));
        let (machine, result) = (self.clone(), Arc::clone(&outcome));
        let number = self.kernel.thread_joins();
        let thread = move || {
            let ended = catch_unwind(AssertUnwindSafe(|| body(&machine)));
            if let Err(payload) = &ended
                && is_abandonment(payload.as_ref())
            {
                return;
            }
            *result.lock() = Some(ended);
            machine.kernel.thread_leaves();
            machine.kernel.wake_harness();
        };
        match &self.kernel.scheduler {
            None => {
                std::thread::Builder::new()
                    .name(format!("application {number}"))
                    .stack_size(4 << 20)
                    .spawn(move || {
                        context::with(|c| c.thread.set(number));
                        thread();
                    })
                    .expect("the system has no thread to give");
            }
            Some(scheduler) => self.kernel.spawn_application(scheduler, number, thread),
        }
        Running { kernel: Arc::clone(&self.kernel), outcome, joined: false }
    }

    /// The power fails: nothing of the machine runs any more, and handles to it do nothing. Not
    /// from inside of its threads.
    pub fn power_off(&self) {
        let kernel = &*self.kernel;
        kernel.stopped.store(true, Ordering::Release);
        match &kernel.scheduler {
            None => kernel.poke(),
            Some(scheduler) => scheduler.abandon(kernel),
        }
    }

    /// The choices so far: with them a deterministic machine does the same again.
    #[must_use]
    pub fn choices(&self) -> ChoiceList {
        self.kernel.choices.list()
    }

    /// The rules that were not followed where that is harmless on this machine.
    #[must_use]
    pub fn notes(&self) -> Vec<Report> {
        self.kernel.verifier.notes()
    }

    /// The calls of the driver's that were spoiled, see [`Builder::sabotage`]: for each the number
    /// of crossings before it.
    #[must_use]
    pub fn spoiled_calls(&self) -> Vec<u64> {
        self.kernel.saboteur.as_ref().map_or_else(Vec::new, Saboteur::spoiled)
    }

    /// Machine time, nanoseconds.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.kernel.clock.now()
    }

    /// Crossings between driver and host so far; the unit of [`Machine::inject`].
    #[must_use]
    pub fn events(&self) -> u64 {
        self.kernel.events.load(Ordering::Relaxed)
    }

    /// The most kernel stack that one call into the driver has used so far, bytes: from the call
    /// to the deepest of its calls into the host. Zero where frames cannot be followed.
    #[must_use]
    pub fn deepest_stack(&self) -> u64 {
        self.kernel.deepest.load(Ordering::Relaxed)
    }

    /// The calls so far that their pages let fail: the first from each call stack, and those that
    /// did. Written down if the machine was built with faults ([`Builder::faults`]).
    #[must_use]
    pub fn fallible_calls(&self) -> Vec<FallibleCall> {
        self.kernel.faults.calls()
    }

    /// The log of crossings; empty unless [`Builder::log_crossings`] was asked for.
    #[must_use]
    pub fn crossings(&self) -> Vec<Crossing> {
        self.kernel.log.crossings()
    }

    /// What a driver image wrote to event traces; empty unless [`Builder::record_trace`] was asked
    /// for.
    #[must_use]
    pub fn trace_events(&self) -> Vec<TraceEvent> {
        self.kernel.image.trace_events()
    }

    /// Who decides what runs next.
    #[must_use]
    pub fn scheduling(&self) -> &Scheduling {
        &self.kernel.options.scheduling
    }

    /// Lets `nanoseconds` of machine time pass, running what is due.
    pub fn sleep(&self, nanoseconds: u64) {
        let due = self.kernel.clock.now().saturating_add(nanoseconds);
        self.kernel.wait(Some(due), || false);
    }

    /// The steps of the cache model so far, if [`Builder::record_caches`] asked for them.
    #[must_use]
    pub fn cache_steps(&self) -> Vec<Step> {
        self.kernel.caches().map_or_else(Vec::new, |cache| cache.steps().to_vec())
    }

    /// The losses of data that the cache model saw so far: none with a correct driver.
    #[must_use]
    pub fn cache_losses(&self) -> Vec<Loss> {
        self.kernel.caches().map_or_else(Vec::new, |cache| cache.losses().to_vec())
    }

    /// Takes the losses that the cache model saw so far.
    #[must_use]
    pub fn take_cache_losses(&self) -> Vec<Loss> {
        self.kernel.caches().map_or_else(Vec::new, |mut cache| cache.take_losses())
    }

    /// What an instruction fetch sees of this memory, now if it is locked, or else as it was when
    /// it was unlocked last: on a machine that is not coherent, RAM. Data that was read from
    /// registers and not flushed (DMA-86) is not there.
    #[must_use]
    pub fn instruction_view(&self, memory: &[u8]) -> Vec<u8> {
        let start = memory.as_ptr().addr();
        let seen = self.kernel.caches().and_then(|cache| cache.fetch(start, memory.len()));
        seen.unwrap_or_else(|| memory.to_vec())
    }

    /// Runs `action` at the first crossing not before number `event` at which the driver holds no
    /// lock, as if another processor did it: a cancel, a removal, a power change. Several may be
    /// injected; two at the same crossing run in the order of these calls.
    pub fn inject(&self, event: u64, action: impl FnOnce(&Self) + Send + 'static) {
        self.kernel.injections.add(event.max(1), Box::new(action));
    }
}

impl Kernel {
    /// Lets whoever acts at this crossing do so: the caches, a pending injection.
    #[inline]
    pub(crate) fn inject(&self, event: u64) {
        let at = self.injections.at.load(Ordering::Relaxed);
        if at != 0 && event >= at {
            self.inject_now(event);
        }
    }

    #[cold]
    fn inject_now(&self, event: u64) {
        if self.injections.always {
            self.adversary_step();
        }
        if context::with(|c| c.locks.get()) != 0 {
            return;
        }
        let Some(action) = self.injections.take(event) else { return };
        let Some(kernel) = self.this.upgrade() else { return };
        self.on_another_processor(Box::new(move || action(&Machine { kernel })));
    }
}

impl<T> Drop for Running<T> {
    fn drop(&mut self) {
        if let Some(scheduler) = &self.kernel.scheduler
            && !self.joined
        {
            self.kernel.forsake(scheduler, || self.outcome.lock().is_some());
        }
    }
}

impl<T> Running<T> {
    /// Waits until the thread ends.
    ///
    /// # Errors
    /// [`Stopped`] when a rule was broken meanwhile.
    ///
    /// # Panics
    /// When the thread's body panicked.
    pub fn join(mut self) -> Result<T, Stopped> {
        self.joined = true;
        if let Some(scheduler) = &self.kernel.scheduler {
            self.kernel.run_until(scheduler, || self.outcome.lock().is_some());
            return self.ended();
        }
        let mut guard = self.kernel.harness.0.lock();
        loop {
            if self.outcome.lock().is_some() || self.kernel.is_stopped() {
                drop(guard);
                return self.ended();
            }
            self.kernel.harness.1.wait(&mut guard);
        }
    }

    fn ended(&self) -> Result<T, Stopped> {
        if let Some(outcome) = self.outcome.lock().take() {
            return outcome.map_err(|panic| resume_unwind(panic));
        }
        match self.kernel.verifier.violation() {
            Some(report) => Err(Stopped { report: Box::new(report) }),
            None => panic!("the machine was abandoned"),
        }
    }
}
