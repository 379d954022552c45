//! What can happen on a machine besides its threads, and how it begins.

// UNSAFETY: tasks of a machine hold its address, not a reference that would keep it alive.

use std::sync::atomic::Ordering;

use super::World;
use super::kernel::{IDLE, WORKERS};
use super::moves::{Action, Moves};
use super::segment::Size;
use crate::machine::choices::Choices;
use crate::machine::context::{self, Saved};
use crate::machine::footprint::{Footprint, Thing};
use crate::machine::interrupts::LineId;
use crate::machine::policy::{Actor, Kind};
use crate::machine::{DISPATCH, Kernel};

impl World for Kernel {
    fn choices(&self) -> &Choices {
        &self.choices
    }

    fn is_stopped(&self) -> bool {
        Self::is_stopped(self)
    }

    fn generation(&self) -> u64 {
        self.idle.generation()
    }

    fn now(&self) -> u64 {
        self.clock.now()
    }

    fn moves(&self, processors: &[Vec<usize>], moves: &mut Moves) {
        let pending = self.interrupts.any_pending();
        let timer = self.clock.is_due();
        // The free processors so far.
        let mut idle = 0u64;
        for (index, tasks) in processors.iter().enumerate() {
            let processor = &self.processors[index];
            let free = tasks.is_empty();
            if free && processor.is_held() {
                // A thread is about to run on it.
                continue;
            }
            let irql = processor.irql();
            // One free processor is like another, but for interrupts that only one of them takes.
            let before = if free { idle } else { 0 };
            if free {
                // Only an interrupt for any processor reaches one beyond the mask.
                idle |= 1 << index.min(63);
            }
            if pending
                && let Some((line, level)) = self.interrupts.most_urgent(index, before)
                && level > irql
            {
                let actor = self.interrupt_actor(line, index);
                moves.add(actor, Action::Interrupt(index, line));
            }
            if irql < DISPATCH && processor.has_dpc() {
                moves.add(Actor::new(Kind::Dpc, index), Action::Dpc(index));
            }
            if irql < DISPATCH && timer && before == 0 {
                moves.add(Actor::new(Kind::Timer, index), Action::Timer(index));
            }
        }
        if self.work_waits() && self.processors.iter().any(|processor| !processor.is_held()) {
            moves.add(Actor::new(Kind::Worker, 0), Action::Work);
        }
        if self.bus.is_due(self.clock.now()) {
            self.bus.due(self.clock.now(), |slot| {
                moves.add(Actor::new(Kind::Device, slot), Action::Device(slot));
            });
        }
        if self.caches().is_some_and(|cache| cache.moves() > 0) {
            moves.add(Actor::new(Kind::Adversary, 0), Action::Adversary);
        }
    }

    fn begin(&self, action: Action) -> Option<usize> {
        match action {
            Action::Resume(task) => Some(task),
            Action::Interrupt(processor, line) => {
                self.touch(Thing::Line(line.number()));
                let actor = self.interrupt_actor(line, processor);
                Some(self.begin_on(processor, actor, move |kernel| {
                    if let Some(taken) = kernel.interrupts.take(line) {
                        kernel.handle_interrupt(&taken);
                    }
                }))
            }
            Action::Dpc(processor) => {
                let actor = Actor::new(Kind::Dpc, processor);
                Some(self.begin_on(processor, actor, |kernel| {
                    kernel.run_dpc();
                }))
            }
            Action::Timer(processor) => {
                self.touch(Thing::TIMERS);
                let actor = Actor::new(Kind::Timer, processor);
                Some(self.begin_on(processor, actor, |kernel| {
                    kernel.run_timer();
                }))
            }
            Action::Work => self.begin_work(),
            Action::Device(slot) => {
                self.touch(Thing::Device(slot));
                context::restore(Saved::new(IDLE, std::ptr::null()));
                self.bus.run_slot(self, slot);
                let settled = if self.options.go_on { self.hal.settle(self) } else { Ok(()) };
                if let Some(fault) = self.hal.take_fault().or(settled.err()) {
                    self.record(fault);
                }
                None
            }
            Action::Adversary => {
                self.touch(Thing::CACHES);
                self.make_adversary_move();
                None
            }
        }
    }

    fn advance(&self, deadline: u64) -> bool {
        // A device that put its timer off, or stopped it, has left an earlier time behind.
        self.bus.update_next();
        let next = self.clock.next().min(self.bus.next_deadline()).min(deadline);
        let ahead = next != u64::MAX && next > self.clock.now();
        if ahead {
            self.clock.jump_to(next);
        }
        ahead
    }

    fn left(&self, processor: usize) {
        // SAFETY: taken when the task that has left it began on it.
        unsafe { self.processors[processor].release() };
    }

    fn halt(&self) {
        self.stopped.store(true, Ordering::Release);
    }
}

impl Kernel {
    /// Makes one of the moves that the caches can make by themselves now.
    fn make_adversary_move(&self) {
        if let Some(mut cache) = self.caches() {
            let chosen = self.choices.number(cache.moves());
            cache.make_move(chosen);
        }
    }

    /// Who takes an interrupt on a processor.
    fn interrupt_actor(&self, line: LineId, processor: usize) -> Actor {
        Actor::new(Kind::Interrupt, line.number() * self.processors.len() + processor)
    }

    /// A task at a raised level on top of what is on the processor.
    fn begin_on(&self, processor: usize, actor: Actor, run: impl FnOnce(&Self) + 'static) -> usize {
        let scheduler = self.deterministic();
        let mut context = Saved::new(IDLE + processor, self);
        context.kernel = self;
        context.about = Footprint::default();
        context.processor = processor;
        match scheduler.thread_on(processor) {
            Some(thread) => context.thread = thread,
            None => assert!(self.processors[processor].try_acquire(), "nothing runs there"),
        }
        let this: *const Self = self;
        let task = scheduler.spawn(actor, Size::Kernel, context, move || {
            // SAFETY: a machine unwinds its tasks before it goes.
            run(unsafe { &*this });
        });
        scheduler.interrupt(task, processor);
        task
    }

    fn begin_work(&self) -> Option<usize> {
        self.touch(Thing::WORK_QUEUE);
        let item = self.next_work()?;
        let number = self.workers.fetch_add(1, Ordering::Relaxed) + 1;
        let mut context = Saved::new(WORKERS + number, self);
        context.about = Footprint::default();
        let this: *const Self = self;
        let actor = Actor::new(Kind::Worker, number);
        Some(self.deterministic().spawn(actor, Size::Kernel, context, move || {
            // SAFETY: as above.
            let kernel = unsafe { &*this };
            let about = kernel.footprint_of(item.argument);
            kernel.kernel_mode_about(about, || kernel.run_work(item));
        }))
    }
}
