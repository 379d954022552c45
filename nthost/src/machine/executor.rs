//! Running the machine: interrupts, DPCs, timers and work items at the boundaries of kernel-mode
//! code, and what a waiting thread does.
//!
//! There is no idle thread: a thread that waits runs whatever can run until its condition holds,
//! and if nothing can run and every other thread waits too, it moves the clock to the next timer.
//! Under the straight scheduler that thread is the only one.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::{Condvar, Mutex};

use super::clock::Deferred;
use super::context::{self, Entered};
use super::processor::Processor;
use super::{DISPATCH, Kernel};
use crate::RuleId;
use crate::verifier::broken;

/// Who waits.
#[derive(Debug, Default)]
pub(super) struct Idle {
    /// Application threads ever started.
    started: AtomicUsize,
    /// Application threads that do not wait.
    running: AtomicUsize,
    /// Threads blocked on `changed`.
    blocked: AtomicUsize,
    /// Moves with every change a waiting thread may want to see.
    generation: AtomicU64,
    lock: Mutex<()>,
    changed: Condvar,
}

impl Idle {
    /// Counts a new thread; returns its number.
    pub(super) fn thread_joins(&self) -> usize {
        self.running.fetch_add(1, Ordering::SeqCst);
        self.started.fetch_add(1, Ordering::SeqCst)
    }

    pub(super) fn thread_leaves(&self) {
        self.running.fetch_sub(1, Ordering::SeqCst);
        self.wake();
    }

    fn wake(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
        if self.blocked.load(Ordering::SeqCst) != 0 {
            let _guard = self.lock.lock();
            self.changed.notify_all();
        }
    }
}

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
        if context::current().is_some() {
            return body();
        }
        let (result, _) = self.enter(body);
        // Others may have waited for the processor that was held.
        if self.has_work() {
            self.poke();
        }
        result
    }

    /// Enters kernel mode, runs `body` there and leaves it; also returns whether the boundaries
    /// ran something.
    fn enter<R>(&self, body: impl FnOnce() -> R) -> (R, bool) {
        self.park_if_stopped();
        let processor = self.acquire_processor(context::with(|c| c.thread.get()));
        let entered = Entered::new(self, processor);
        let before = self.service();
        let result = body();
        let after = self.service();
        drop(entered);
        // SAFETY: acquired above; waiting gives a processor back and takes one anew through the
        // context, so this thread holds the one that the context names.
        unsafe { self.processors[context::with(|c| c.processor.get())].release() };
        (result, before || after)
    }

    /// Runs `body` as if another processor did it: a test's injected action.
    pub(super) fn on_another_processor(&self, body: impl FnOnce()) {
        let here = context::with(|c| c.processor.get());
        let other = (0..self.processors.len()).find(|&p| {
            p != here && self.processors[p].irql() == 0 && self.processors[p].try_acquire()
        });
        let Some(other) = other else { return };
        let saved = context::with(|c| {
            c.processor.set(other);
            (c.driver_frame.get(), c.ddi_frame.get(), c.ddi.get(), c.callback.get())
        });
        body();
        self.service();
        // Waiting may have moved the body to another processor.
        let other = context::with(|c| c.processor.get());
        context::with(|c| {
            c.processor.set(here);
            c.driver_frame.set(saved.0);
            c.ddi_frame.set(saved.1);
            c.ddi.set(saved.2);
            c.callback.set(saved.3);
        });
        // SAFETY: acquired above by this thread, or by its last wait in place of that one.
        unsafe { self.processors[other].release() };
    }

    #[inline]
    pub(crate) fn park_if_stopped(&self) {
        if self.is_stopped() {
            self.park();
        }
    }

    /// Takes a free processor, or waits for the preferred one, which this thread must not hold.
    fn acquire_processor(&self, preferred: usize) -> usize {
        let count = self.processors.len();
        let preferred = preferred % count;
        for turn in 0..count {
            let index = (preferred + turn) % count;
            if self.processors[index].try_acquire() {
                return index;
            }
        }
        self.processors[preferred].acquire();
        preferred
    }

    /// Runs whatever may interrupt the calling thread at its level: interrupts above it, DPCs and
    /// expired timers below DISPATCH_LEVEL. Returns whether anything ran.
    #[inline]
    pub(crate) fn service(&self) -> bool {
        let wanted = self.interrupts.any_pending()
            || self.processor().has_dpc()
            || self.clock.is_due()
            || self.bus.is_due(self.clock.now());
        wanted && self.service_slow()
    }

    #[cold]
    fn service_slow(&self) -> bool {
        let mut any = false;
        loop {
            let irql = self.irql();
            let ran = self.run_devices()
                || self.run_interrupt(irql)
                || (irql < DISPATCH && (self.run_dpc() || self.run_timer()));
            if !ran {
                return any;
            }
            any = true;
            self.park_if_stopped();
        }
    }

    fn run_devices(&self) -> bool {
        let ran = self.bus.is_due(self.clock.now()) && self.bus.run_due(self);
        // A device has no stack to report from: what it did wrong stops the thread that ran it.
        if let Some(fault) = self.hal.take_fault() {
            self.stop(fault);
        }
        // On a machine that goes on the breach belongs to the transfer that showed it.
        if self.options.go_on
            && let Err(found) = self.hal.settle(self)
        {
            self.stop(found);
        }
        ran
    }

    fn run_interrupt(&self, irql: u8) -> bool {
        let Some((line, level, handler)) = self.interrupts.take_above(irql) else { return false };
        let claimed = self.at_irql(level, || (handler.run)(self, handler.argument));
        if !self.interrupts.serviced(line, claimed) {
            let message = "the interrupt handler claims the interrupt, but the line stays asserted";
            self.stop(broken(RuleId::Kmdf14, message));
        }
        true
    }

    fn run_dpc(&self) -> bool {
        let Some(dpc) = self.processor().take_dpc() else { return false };
        self.at_irql(DISPATCH, || (dpc.run)(self, dpc.argument));
        true
    }

    fn run_timer(&self) -> bool {
        let Some(work) = self.clock.take_due() else { return false };
        self.at_irql(DISPATCH, || (work.run)(self, work.argument));
        true
    }

    /// Whether a thread without its own work could run something.
    fn has_work(&self) -> bool {
        self.interrupts.any_pending()
            || self.clock.is_due()
            || self.bus.is_due(self.clock.now())
            || self.processors.iter().any(Processor::has_dpc)
            || !self.work.lock().is_empty()
    }

    /// Waits until `condition` holds or `deadline` (nanoseconds of machine time) passes, running
    /// the machine meanwhile. In kernel mode at PASSIVE_LEVEL, or in user mode.
    pub(crate) fn wait(&self, deadline: Option<u64>, condition: impl Fn() -> bool) -> Wait {
        let wake_up = deadline.map(|due| self.clock.start(due, NOTHING));
        let result = self.wait_inner(deadline, &condition);
        if let Some(token) = wake_up {
            self.clock.cancel(token);
        }
        result
    }

    fn wait_inner(&self, deadline: Option<u64>, condition: &dyn Fn() -> bool) -> Wait {
        loop {
            self.park_if_stopped();
            let seen = self.idle.generation.load(Ordering::SeqCst);
            if condition() {
                return Wait::Satisfied;
            }
            if deadline.is_some_and(|due| self.clock.now() >= due) {
                return Wait::TimedOut;
            }
            if self.run_something() {
                continue;
            }
            if !self.block(seen) {
                return Wait::Never;
            }
        }
    }

    /// Runs one batch of work on a free processor; `false` if there was none.
    fn run_something(&self) -> bool {
        if context::current().is_some() {
            return self.run_here();
        }
        if !self.has_work() {
            return false;
        }
        let (inside, outside) = self.enter(|| self.run_here());
        let ran = inside || outside;
        // Only then: a thread that could run nothing must not wake itself.
        if ran && self.has_work() {
            self.poke();
        }
        ran
    }

    /// Whether something ran. Work that waits on a processor somebody holds, an outer frame of
    /// this thread perhaps, is not for this thread to run.
    fn run_here(&self) -> bool {
        if self.irql() >= DISPATCH {
            return false;
        }
        let serviced = self.service();
        let stolen = self.steal_dpcs();
        let item = self.work.lock().pop_front();
        if let Some(item) = item {
            (item.run)(self, item.argument);
        }
        serviced || stolen || item.is_some()
    }

    /// Runs the DPCs of processors that nobody holds; returns whether anything ran.
    fn steal_dpcs(&self) -> bool {
        let mut any = false;
        let here = context::with(|c| c.processor.get());
        for (index, processor) in self.processors.iter().enumerate() {
            if index == here || !processor.has_dpc() || !processor.try_acquire() {
                continue;
            }
            context::with(|c| c.processor.set(index));
            any |= self.service();
            context::with(|c| c.processor.set(here));
            // SAFETY: acquired above by this thread.
            unsafe { processor.release() };
        }
        any
    }

    /// Blocks until something changed since `seen`, or moves the clock if nobody runs; `false`
    /// if there is no timer to move it to.
    fn block(&self, seen: u64) -> bool {
        let held = context::current().map(|_| context::with(|c| c.processor.get()));
        if let Some(processor) = held {
            // SAFETY: the calling thread is in kernel mode, so it holds this processor.
            unsafe { self.processors[processor].release() };
        }
        let alive = self.block_released(seen);
        if let Some(before) = held {
            // That one is not held by an outer frame of this thread.
            let processor = self.acquire_processor(before);
            context::with(|c| c.processor.set(processor));
        }
        alive
    }

    fn block_released(&self, seen: u64) -> bool {
        let idle = &self.idle;
        let mut guard = idle.lock.lock();
        if idle.generation.load(Ordering::SeqCst) != seen {
            return true;
        }
        let last = idle.running.fetch_sub(1, Ordering::SeqCst) <= 1;
        let alive = if last {
            let jumped = self.jump();
            if jumped {
                idle.generation.fetch_add(1, Ordering::SeqCst);
                idle.changed.notify_all();
            }
            jumped
        } else {
            idle.blocked.fetch_add(1, Ordering::SeqCst);
            idle.changed.wait(&mut guard);
            idle.blocked.fetch_sub(1, Ordering::SeqCst);
            true
        };
        idle.running.fetch_add(1, Ordering::SeqCst);
        alive
    }

    /// Moves the clock to the next timer of the machine or of a device.
    fn jump(&self) -> bool {
        let device = self.bus.next_deadline();
        if device == u64::MAX {
            return self.clock.jump();
        }
        let token = self.clock.start(device, NOTHING);
        let jumped = self.clock.jump();
        self.clock.cancel(token);
        jumped
    }
}

/// A timer whose only purpose is that the clock stops there.
const NOTHING: Deferred = Deferred { run: |_, _| {}, argument: 0 };
