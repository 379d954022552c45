//! The threads and the straight scheduler: a thread that waits runs the machine.
//!
//! There is no idle thread: interrupts, DPCs and timers run nested on the thread that holds the
//! processor, at the boundaries of kernel-mode code. What is for a processor that nobody holds is
//! done by whoever comes by, in that one's place; so is what is for a processor of the same thread's
//! that acts for another one now. A thread that waits runs whatever can run until its condition
//! holds, and if nothing can run and every other thread waits too, it moves the clock to the next
//! timer. Under the straight scheduler that thread is the only one; else a work item that comes
//! while a thread waits in kernel mode has a thread of its own.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::clock::Deferred;
use super::context::{self, Entered};
use super::processor::Processor;
use super::{DISPATCH, Kernel, Scheduling, Wait};

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

    /// Moves with every change a waiting thread may want to see.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    pub(super) fn wake(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
        if self.blocked.load(Ordering::SeqCst) != 0 {
            let _guard = self.lock.lock();
            self.release();
        }
    }

    /// Lets the blocked threads go on. They run from now on, not from when the system gets round
    /// to them: until then another thread must not think that it is the last one. Under the lock.
    fn release(&self) {
        let blocked = self.blocked.swap(0, Ordering::SeqCst);
        self.running.fetch_add(blocked, Ordering::SeqCst);
        self.changed.notify_all();
    }
}

impl Kernel {
    /// Runs `body` in kernel mode: on a virtual processor, at PASSIVE_LEVEL.
    pub(super) fn enter_inline<R>(&self, body: impl FnOnce() -> R) -> R {
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
        let before = self.service_inline();
        let result = body();
        let after = self.service_inline();
        drop(entered);
        // SAFETY: acquired above; waiting gives a processor back and takes one anew through the
        // context, so this thread holds the one that the context names.
        unsafe { self.processors[context::with(|c| c.processor.get())].release() };
        (result, before || after)
    }

    /// Runs `body` as if another processor did it: a test's injected action.
    pub(super) fn inject_inline(&self, body: impl FnOnce()) {
        let here = context::with(|c| c.processor.get());
        let other = (0..self.processors.len()).find(|&p| {
            p != here && self.processors[p].irql() == 0 && self.processors[p].try_acquire()
        });
        let Some(other) = other else { return };
        let saved = context::save();
        self.act_for(other, || {
            body();
            self.service_inline();
        });
        // Waiting may have moved the body to another processor.
        let other = context::with(|c| c.processor.get());
        context::restore(saved);
        // SAFETY: acquired above by this thread, or by its last wait in place of that one.
        unsafe { self.processors[other].release() };
    }

    /// Runs `body` as another processor, which the calling thread holds besides its own.
    fn act_for<R>(&self, other: usize, body: impl FnOnce() -> R) -> R {
        let here = context::with(|c| c.processor.replace(other));
        let outer = context::with(|c| c.outer.get());
        context::with(|c| c.outer.set(outer & !bit(other) | bit(here)));
        let result = body();
        context::with(|c| c.outer.set(outer));
        result
    }

    /// Parks this thread for ever.
    pub(super) fn park_inline(&self) -> ! {
        self.idle.thread_leaves();
        self.wake_harness();
        loop {
            std::thread::park();
        }
    }

    pub(super) fn spin_inline(&self, condition: &dyn Fn() -> bool) -> bool {
        /// Iterations after which a spinning thread lets others run: other threads, and what may
        /// interrupt its processor, for which whoever holds the lock may wait.
        const SPINS: u32 = 64;
        if self.options.scheduling == Scheduling::Straight {
            return false;
        }
        let mut spins = 0u32;
        while !condition() {
            self.park_if_stopped();
            spins = spins.wrapping_add(1);
            if spins.is_multiple_of(SPINS) {
                self.service_inline();
                std::thread::yield_now();
            } else {
                std::hint::spin_loop();
            }
        }
        true
    }

    /// Takes a free processor, or waits for the preferred one, if no other comes free before it: one
    /// that an outer frame of a waiting thread holds may wait for this thread.
    fn acquire_processor(&self, preferred: usize) -> usize {
        const PATIENCE: Duration = Duration::from_millis(1);
        let preferred = preferred % self.processors.len();
        loop {
            if let Some(free) = self.try_processors(preferred) {
                return free;
            }
            if self.processors[preferred].acquire_within(PATIENCE) {
                return preferred;
            }
        }
    }

    /// Runs whatever may interrupt the calling thread at its level: interrupts above it, DPCs and
    /// expired timers below DISPATCH_LEVEL. Returns whether anything ran.
    #[inline]
    pub(super) fn service_inline(&self) -> bool {
        let wanted = self.interrupts.any_pending()
            || (self.irql() < DISPATCH && self.any_dpc())
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
                || (irql < DISPATCH && (self.run_dpc() || self.run_timer()))
                || self.stand_in(irql);
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

    /// Whether a thread without its own work could run something.
    fn has_work(&self) -> bool {
        self.interrupts.any_pending()
            || self.clock.is_due()
            || self.bus.is_due(self.clock.now())
            || self.any_dpc()
            || self.work_waits()
    }

    /// Whether a DPC waits on any processor.
    #[inline]
    fn any_dpc(&self) -> bool {
        self.processors.iter().any(Processor::has_dpc)
    }

    /// Waits, running the machine meanwhile.
    pub(super) fn wait_inline(&self, deadline: Option<u64>, condition: &dyn Fn() -> bool) -> Wait {
        let wake_up = deadline.map(|due| self.clock.start(due, NOTHING));
        let result = self.wait_inner(deadline, condition);
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
            return self.run_here(|item| self.hand_over(item));
        }
        if !self.has_work() {
            return false;
        }
        let (inside, outside) = self.enter(|| self.run_here(|item| self.run_work(item)));
        let ran = inside || outside;
        // Only then: a thread that could run nothing must not wake itself.
        if ran && self.has_work() {
            self.poke();
        }
        ran
    }

    /// Whether something ran, or `work` was given a work item. Work that waits on a processor
    /// somebody holds, an outer frame of this thread perhaps, is not for this thread to run.
    fn run_here(&self, work: impl FnOnce(Deferred)) -> bool {
        if self.irql() >= DISPATCH {
            return false;
        }
        let serviced = self.service_inline();
        let item = self.next_work();
        if let Some(item) = item {
            work(item);
        }
        serviced || item.is_some()
    }

    /// Has a worker thread run a work item, and what comes after it: the calling thread is in the
    /// middle of something, for whose end the item may wait. The straight scheduler has no other.
    fn hand_over(&self, item: Deferred) {
        let machine = self.this.upgrade();
        let threads = self.options.scheduling != Scheduling::Straight;
        let Some(machine) = machine.filter(|_| threads) else { return self.run_work(item) };
        let number = self.thread_joins();
        let worker = move || {
            context::with(|c| c.thread.set(number));
            let mut next = Some(item);
            while let Some(item) = next {
                machine.enter_inline(|| machine.run_work(item));
                next = machine.next_work();
            }
            machine.thread_leaves();
        };
        std::thread::Builder::new()
            .name(format!("worker {number}"))
            .stack_size(4 << 20)
            .spawn(worker)
            .expect("the system has no thread to give");
    }

    /// Takes one interrupt or DPC of a processor that nobody holds, or that is the calling thread's
    /// as well, as that processor; `false` if there is none. Only what could interrupt the calling
    /// thread as well, at its level `irql`: what it holds may be needed.
    fn stand_in(&self, irql: u8) -> bool {
        let (here, outer) = context::with(|c| (c.processor.get(), c.outer.get()));
        let pending = self.interrupts.any_pending();
        let wanted = |index: usize, irql: u8| {
            let urgent = || self.interrupts.most_urgent(index, 0);
            (pending && urgent().is_some_and(|(_, level)| level > irql))
                || (irql < DISPATCH && self.processors[index].has_dpc())
        };
        for (index, processor) in self.processors.iter().enumerate() {
            let own = outer & bit(index) != 0;
            let irql = if own { irql.max(processor.irql()) } else { irql };
            if index == here || !wanted(index, irql) || !(own || processor.try_acquire()) {
                continue;
            }
            let ran = self.act_for(index, || {
                let before = processor.set_irql(irql);
                let ran = self.run_interrupt(irql) || (irql < DISPATCH && self.run_dpc());
                processor.set_irql(before);
                ran
            });
            context::with(|c| c.processor.set(here));
            if !own {
                // SAFETY: acquired above by this thread.
                unsafe { processor.release() };
            }
            if ran {
                return true;
            }
        }
        false
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
        if idle.running.load(Ordering::SeqCst) <= 1 {
            let jumped = self.jump();
            if jumped {
                idle.generation.fetch_add(1, Ordering::SeqCst);
                idle.release();
            }
            return jumped;
        }
        idle.running.fetch_sub(1, Ordering::SeqCst);
        idle.blocked.fetch_add(1, Ordering::SeqCst);
        // Whoever moves the generation first looks for blocked threads then, under the lock.
        if idle.generation.load(Ordering::SeqCst) == seen {
            idle.changed.wait(&mut guard);
        } else {
            idle.release();
        }
        true
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

/// A processor in a set of them; none for one beyond the set.
fn bit(processor: usize) -> u64 {
    // CAST: a few.
    1u64.checked_shl(processor as u32).unwrap_or(0)
}

/// A timer whose only purpose is that the clock stops there.
const NOTHING: Deferred = Deferred { run: |_, _| {}, argument: 0 };
