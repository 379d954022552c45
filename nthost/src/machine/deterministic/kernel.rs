//! The machine under the deterministic scheduler: what can happen besides its threads, and how
//! kernel mode, waits and spins are done there.

// UNSAFETY: tasks of a machine hold its address, not a reference that would keep it alive.

use std::cell::Cell;

use super::segment::Size;
use super::{Drive, Scheduler};
use crate::machine::context::{self, Entered, Saved};
use crate::machine::footprint::{Footprint, Thing};
use crate::machine::policy::{Actor, Kind};
use crate::machine::{Kernel, Wait};
use crate::wdf::object::Handle;

/// Payload of the unwinding of a harness whose run was given up by the policy.
pub(crate) struct Pruned;

/// Thread numbers of whoever is not an application thread: workers, and the idle processors.
pub(super) const WORKERS: usize = 1 << 20;
pub(super) const IDLE: usize = 1 << 21;

impl Kernel {
    /// The running move touches this.
    #[inline]
    pub(crate) fn touch(&self, thing: Thing) {
        if let Some(scheduler) = &self.scheduler {
            scheduler.touch(Footprint::of(thing));
        }
    }

    /// What code that is about an object may touch: its device, and everything if that is not
    /// known.
    pub(crate) fn footprint_of(&self, argument: usize) -> Footprint {
        if self.scheduler.is_none() || !self.choices.watched() {
            return Footprint::ALL;
        }
        // CAST: a 64-bit machine.
        let handle = Handle::from_bits(argument as u64);
        let slot = handle.and_then(|handle| self.pnp.slot_of_object(self, handle));
        slot.map_or(Footprint::ALL, |slot| Footprint::of(Thing::Device(slot)))
    }

    /// What runs now is about this object and touches nothing else of other devices.
    pub(in crate::machine) fn about(&self, argument: usize) {
        if let Some(scheduler) = &self.scheduler {
            let footprint = self.footprint_of(argument);
            context::with(|c| c.about.set(footprint));
            scheduler.touch(footprint);
        }
    }

    pub(super) fn deterministic(&self) -> &Scheduler {
        self.scheduler.as_deref().expect("only the deterministic scheduler has tasks")
    }

    /// Takes a free processor, the preferred one if it is, or waits for one.
    fn claim_processor(&self, scheduler: &Scheduler, preferred: usize) -> usize {
        let mut claimed = self.try_processors(preferred);
        if claimed != Some(preferred % self.processors.len()) {
            // It matters who has the others.
            (0..self.processors.len()).for_each(|index| self.touch(Thing::Processor(index)));
        }
        if claimed.is_none() {
            let found = Cell::new(None);
            let wait = scheduler.block(
                &|| {
                    found.set(self.try_processors(preferred));
                    found.get().is_some()
                },
                u64::MAX,
                true,
            );
            debug_assert_eq!(wait, Wait::Satisfied, "whoever holds a processor goes on");
            claimed = found.get();
        }
        let processor = claimed.expect("a processor was found");
        self.touch(Thing::Processor(processor));
        scheduler.occupy(processor);
        context::with(|c| c.processor.set(processor));
        processor
    }

    fn give_processor_back(&self, scheduler: &Scheduler) {
        let processor = context::with(|c| c.processor.get());
        self.touch(Thing::Processor(processor));
        scheduler.vacate();
        // SAFETY: the calling task is in kernel mode on the processor that its context names.
        unsafe { self.processors[processor].release() };
    }

    /// Kernel mode of the running task; of a task made for it where none runs.
    #[cold]
    #[inline(never)]
    pub(in crate::machine) fn enter_as_task<R>(
        &self,
        scheduler: &Scheduler,
        about: Footprint,
        body: impl FnOnce() -> R,
    ) -> R {
        if !context::is_task_of(self) {
            return self.on_task(scheduler, || self.enter_as_task(scheduler, about, body));
        }
        self.park_if_stopped();
        let outside = context::with(|c| c.about.replace(about));
        scheduler.point(self);
        let processor = self.claim_processor(scheduler, context::with(|c| c.thread.get()));
        let entered = Entered::new(self, processor);
        let result = body();
        drop(entered);
        self.give_processor_back(scheduler);
        context::with(|c| c.about.set(outside));
        scheduler.touch(outside);
        result
    }

    /// Runs `body` as a task and drives the machine until it has ended: for a handle that is used
    /// outside of all threads of the machine, by its harness.
    fn on_task<R>(&self, scheduler: &Scheduler, body: impl FnOnce() -> R) -> R {
        let result = Cell::new(None);
        let mut body = Some(body);
        let mut run = || result.set(body.take().map(|body| body()));
        let run: &mut dyn FnMut() = &mut run;
        // SAFETY: only the lifetime changes; the machine is driven until the task has ended or is
        // unwound, so what it borrows outlives it.
        let run: &'static mut dyn FnMut() = unsafe { std::mem::transmute(run) };
        let number = self.thread_joins();
        let context = Saved::new(number, self);
        let actor = Actor::new(Kind::Application, number);
        scheduler.check_home();
        let ended = std::rc::Rc::new(Cell::new(false));
        let over = std::rc::Rc::clone(&ended);
        scheduler.spawn(actor, Size::Application, context, move || {
            run();
            over.set(true);
        });
        match scheduler.drive(self, &|| ended.get()) {
            Drive::Panicked(payload) => std::panic::resume_unwind(payload),
            Drive::Done | Drive::Stopped | Drive::GivenUp => {}
        }
        match (result.into_inner(), self.verifier.violation()) {
            (Some(result), _) => result,
            (None, Some(report)) => panic!("the machine stopped outside of its threads: {report}"),
            (None, None) => panic!("the machine has stopped and cannot be used any more"),
        }
    }

    /// Waits as a task.
    #[cold]
    pub(in crate::machine) fn wait_as_task(
        &self,
        scheduler: &Scheduler,
        deadline: Option<u64>,
        condition: &dyn Fn() -> bool,
    ) -> Wait {
        if !context::is_task_of(self) {
            return self.on_task(scheduler, || self.wait_as_task(scheduler, deadline, condition));
        }
        self.park_if_stopped();
        if condition() {
            return Wait::Satisfied;
        }
        let deadline = deadline.unwrap_or(u64::MAX);
        if self.clock.now() >= deadline {
            return Wait::TimedOut;
        }
        let gives_back = context::current().is_some() && scheduler.is_thread();
        if gives_back {
            self.give_processor_back(scheduler);
        }
        let wait = scheduler.block(condition, deadline, false);
        if gives_back {
            self.claim_processor(scheduler, context::with(|c| c.processor.get()));
        }
        wait
    }

    /// A call of the driver into the host: a scheduling point before it, so that others can be
    /// faster, and one after it if it let others go on.
    #[cold]
    #[inline(never)]
    pub(in crate::machine) fn cross_as_task<R>(
        &self,
        scheduler: &Scheduler,
        call: impl FnOnce() -> R,
    ) -> R {
        self.park_if_stopped();
        scheduler.point(self);
        let before = (self.irql(), self.idle.generation());
        let result = call();
        if self.irql() < before.0 || self.idle.generation() != before.1 {
            scheduler.point(self);
        }
        self.park_if_stopped();
        result
    }

    /// Runs what a driver called on a deterministic machine; does not return if the machine is
    /// abandoned meanwhile.
    pub(crate) fn guarded<R>(&self, body: impl FnOnce() -> R) -> R {
        self.deterministic().guarded(body)
    }

    /// Makes a task of an application thread.
    pub(in crate::machine) fn spawn_application(
        &self,
        scheduler: &Scheduler,
        number: usize,
        body: impl FnOnce() + 'static,
    ) {
        scheduler.check_home();
        let actor = Actor::new(Kind::Application, number);
        scheduler.spawn(actor, Size::Application, Saved::new(number, self), body);
    }

    /// Drives the machine until `done`, or until it has stopped; inside of one of its threads,
    /// waits for that.
    pub(in crate::machine) fn run_until(&self, scheduler: &Scheduler, done: impl Fn() -> bool) {
        if context::is_task_of(self) {
            self.wait_as_task(scheduler, None, &done);
            return;
        }
        if self.is_stopped() {
            return;
        }
        match scheduler.drive(self, &done) {
            Drive::Done | Drive::Stopped => {}
            Drive::GivenUp => std::panic::resume_unwind(Box::new(Pruned)),
            Drive::Panicked(payload) => std::panic::resume_unwind(payload),
        }
    }

    /// Nobody will ask for the end of a thread: it runs to its end now, unless its harness is
    /// panicking; then the machine is abandoned. Inside of a thread of the machine nothing is
    /// needed: it goes on with the others.
    pub(in crate::machine) fn forsake(&self, scheduler: &Scheduler, done: impl Fn() -> bool) {
        if context::is_task_of(self) || self.is_stopped() {
            return;
        }
        if std::thread::panicking() {
            scheduler.abandon(self);
        } else {
            self.run_until(scheduler, done);
        }
    }

    /// Runs an action of a test as a thread of its own, at once.
    pub(in crate::machine) fn inject_as_task(
        &self,
        scheduler: &Scheduler,
        action: Box<dyn FnOnce() + Send>,
    ) {
        let number = self.thread_joins();
        let actor = Actor::new(Kind::Application, number);
        let task = scheduler.spawn(actor, Size::Application, Saved::new(number, self), action);
        scheduler.detach(task);
        scheduler.run_next(task);
    }
}
