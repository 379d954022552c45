//! What all schedulers have in common: how code enters kernel mode, waits, spins and is
//! interrupted, and the steps that run a machine: an interrupt, a DPC, a timer.
//!
//! Two answer to it. [`super::inline`] is the *threads* and the *straight* scheduler, where a
//! waiting thread runs the machine itself; [`super::deterministic`] runs one task at a time and
//! asks the machine's policy for the next one.

use std::sync::atomic::Ordering;

use super::footprint::Footprint;
use super::interrupts::Taken;
use super::processor::Processor;
use super::{DISPATCH, Kernel, context};
use crate::RuleId;
use crate::machine::clock::Deferred;
use crate::verifier::broken;

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// The condition holds.
    Satisfied,
    /// The deadline passed first.
    TimedOut,
    /// Nothing can ever make it hold: no thread runs and no timer is set.
    Never,
}

impl Kernel {
    /// Tells waiting threads that something changed.
    #[inline]
    pub(crate) fn poke(&self) {
        self.idle.wake();
    }

    pub(super) fn thread_joins(&self) -> usize {
        self.idle.thread_joins()
    }

    pub(super) fn thread_leaves(&self) {
        self.idle.thread_leaves();
    }

    /// Runs `body` in kernel mode: on a virtual processor, at PASSIVE_LEVEL.
    pub(crate) fn kernel_mode<R>(&self, body: impl FnOnce() -> R) -> R {
        self.kernel_mode_about(Footprint::ALL, body)
    }

    /// The same for code that touches no more than this.
    pub(crate) fn kernel_mode_about<R>(&self, about: Footprint, body: impl FnOnce() -> R) -> R {
        if context::current().is_some() {
            return body();
        }
        match &self.scheduler {
            None => self.enter_inline(body),
            Some(scheduler) => self.enter_as_task(scheduler, about, body),
        }
    }

    /// Whether the deterministic scheduler runs this machine.
    #[inline]
    pub(crate) fn is_deterministic(&self) -> bool {
        self.scheduler.is_some()
    }

    /// Runs a call of the driver into the host: others may come before it, and after it.
    #[inline(always)]
    pub(crate) fn crossing<R>(&self, call: impl FnOnce() -> R) -> R {
        match &self.scheduler {
            None => {
                let result = call();
                self.service_inline();
                result
            }
            Some(scheduler) => self.cross_as_task(scheduler, call),
        }
    }

    /// Runs a call into the driver.
    #[inline(always)]
    pub(crate) fn driver_mode<R>(&self, call: impl FnOnce() -> R) -> R {
        match &self.scheduler {
            None => call(),
            Some(scheduler) => scheduler.call(call),
        }
    }

    /// Waits until `condition` holds or `deadline` (nanoseconds of machine time) passes; the
    /// machine runs meanwhile. In kernel mode at PASSIVE_LEVEL, or in user mode. No lock of the
    /// host is held.
    pub(crate) fn wait(&self, deadline: Option<u64>, condition: impl Fn() -> bool) -> Wait {
        match &self.scheduler {
            None => self.wait_inline(deadline, &condition),
            Some(scheduler) => self.wait_as_task(scheduler, deadline, &condition),
        }
    }

    /// Spins at a raised level until `condition` holds; `false` if nothing can make it hold any
    /// more. No lock of the host is held.
    #[inline]
    pub(crate) fn spin(&self, condition: impl Fn() -> bool) -> bool {
        condition() || self.spin_slow(&condition)
    }

    #[cold]
    fn spin_slow(&self, condition: &dyn Fn() -> bool) -> bool {
        match &self.scheduler {
            None => self.spin_inline(condition),
            Some(scheduler) => scheduler.block(condition, u64::MAX, true) == Wait::Satisfied,
        }
    }

    /// The end of a stretch of kernel-mode code: runs whatever may interrupt the calling thread at
    /// its level, or lets the policy decide. Returns whether anything ran.
    #[inline]
    pub(crate) fn service(&self) -> bool {
        match &self.scheduler {
            None => self.service_inline(),
            Some(scheduler) => {
                scheduler.point(self);
                false
            }
        }
    }

    #[inline]
    pub(crate) fn park_if_stopped(&self) {
        if self.is_stopped() {
            self.park();
        }
    }

    /// The machine is abandoned: the calling thread never goes on.
    pub(crate) fn park(&self) -> ! {
        match &self.scheduler {
            None => self.park_inline(),
            Some(scheduler) => {
                assert!(context::is_task_of(self), "only a task is abandoned");
                scheduler.abandon_task()
            }
        }
    }

    /// Runs an action of a test as if another processor did it.
    pub(super) fn on_another_processor(&self, action: Box<dyn FnOnce() + Send>) {
        match &self.scheduler {
            None => self.inject_inline(action),
            Some(scheduler) => self.inject_as_task(scheduler, action),
        }
    }

    /// Takes a free processor, the preferred one if it is.
    pub(super) fn try_processors(&self, preferred: usize) -> Option<usize> {
        let count = self.processors.len();
        let mut turns = (0..count).map(|turn| (preferred + turn) % count);
        turns.find(|&index| self.processors[index].try_acquire())
    }

    /// Takes the most urgent interrupt above `irql` that the calling thread's processor may take, and
    /// calls its handler; `false` if there is none.
    pub(super) fn run_interrupt(&self, irql: u8) -> bool {
        let here = context::with(|c| c.processor.get());
        let taken = self.interrupts.take_above(irql, here);
        taken.inspect(|taken| self.handle_interrupt(taken)).is_some()
    }

    /// Calls the handler of an interrupt that the calling thread's processor has taken.
    pub(super) fn handle_interrupt(&self, taken: &Taken) {
        let Taken { line, irql, handler } = *taken;
        self.about(handler.argument);
        let claimed = self.at_irql(irql, || (handler.run)(self, handler.argument));
        if !self.interrupts.serviced(line, claimed) {
            let message = "the interrupt handler claims the interrupt, but the line stays asserted";
            self.stop(broken(RuleId::Kmdf14, message));
        }
    }

    /// Runs the next DPC of the calling thread's processor; `false` if there is none.
    pub(super) fn run_dpc(&self) -> bool {
        let processor = self.processor();
        let Some(dpc) = processor.take_dpc() else { return false };
        self.about(dpc.argument);
        self.at_irql(DISPATCH, || (dpc.run)(self, dpc.argument));
        self.dpc_ended(processor);
        true
    }

    /// Waits until every DPC that is queued now has run.
    pub(super) fn flush_dpcs(&self) {
        self.flushing.fetch_add(1, Ordering::SeqCst);
        for processor in &self.processors {
            self.wait(None, || processor.is_through_with_dpcs());
        }
        self.flushing.fetch_sub(1, Ordering::SeqCst);
    }

    fn dpc_ended(&self, processor: &Processor) {
        processor.set_in_dpc(false);
        self.tell_flushing();
    }

    fn tell_flushing(&self) {
        if self.flushing.load(Ordering::SeqCst) != 0 {
            self.poke();
        }
    }

    /// Lets the next timer expire, which is a DPC; `false` if none is due.
    pub(super) fn run_timer(&self) -> bool {
        if !self.clock.is_due() {
            return false;
        }
        let processor = self.processor();
        processor.set_in_dpc(true);
        let due = self.clock.take_due();
        if let Some(work) = due {
            self.about(work.argument);
            self.at_irql(DISPATCH, || (work.run)(self, work.argument));
        }
        self.dpc_ended(processor);
        due.is_some()
    }

    /// Takes the next work item; [`Kernel::run_work`] follows.
    pub(super) fn next_work(&self) -> Option<Deferred> {
        self.working.fetch_add(1, Ordering::SeqCst);
        let item = self.work.lock().pop_front();
        if item.is_none() {
            self.working.fetch_sub(1, Ordering::SeqCst);
        }
        item
    }

    /// Runs a work item that was taken.
    pub(super) fn run_work(&self, item: Deferred) {
        (item.run)(self, item.argument);
        self.working.fetch_sub(1, Ordering::SeqCst);
        self.tell_flushing();
    }

    /// Waits until no work item waits, and none is under way.
    pub(crate) fn finish_work(&self, deadline: Option<u64>) {
        self.flushing.fetch_add(1, Ordering::SeqCst);
        self.wait(deadline, || !self.work_waits() && self.working.load(Ordering::SeqCst) == 0);
        self.flushing.fetch_sub(1, Ordering::SeqCst);
    }

    /// Whether a work item waits.
    pub(super) fn work_waits(&self) -> bool {
        !self.work.lock().is_empty()
    }
}
