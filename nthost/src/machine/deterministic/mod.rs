//! The deterministic scheduler: every order of events is a decision of the machine's policy.
//!
//! *Tasks* are application threads, worker threads, and, on each processor, interrupts, DPCs and
//! expired timers. They run one at a time on one thread of the system, each on stacks of its own
//! (see [`segment`]). Every crossing between driver and host is a *scheduling point*: there the
//! policy picks the next *move*, which is to let one of the tasks go on, or to begin something
//! (see [`moves`]).
//!
//! A processor is a stack of tasks: the thread that holds it, and above it what interrupted it,
//! each at a higher level. Only the topmost may run. A task that waits, or spins for a lock, names
//! a condition; the scheduler evaluates it at scheduling points, and a condition that takes what
//! it waits for (a synchronisation event) takes it there and then, as the dispatcher of NT does
//! when an object is signalled.
//!
//! Time moves as under the other schedulers: it jumps when nothing else can move.

// UNSAFETY: conditions are kept as pointers into the stacks of suspended tasks, and the scheduler
// moves coroutines between the places that a single thread uses.

pub(super) mod coroutine;
mod drive;
pub(crate) mod kernel;
pub(crate) mod moves;
pub(crate) mod segment;
mod tasks;
#[cfg(test)]
mod tests;
mod world;

use std::cell::{Cell, RefCell};
use std::thread::ThreadId;

use super::Wait;
use super::choices::Choices;
use super::context::{self, Saved};
use super::footprint::Footprint;
use super::policy::{Actor, Point};
pub(crate) use drive::Drive;
use moves::{Action, Moves};
use segment::{Call, Command, Segment, Size, Suspended, Suspender};
use tasks::{Blocked, Inner, State, Task};

/// What the scheduler schedules besides its tasks, and what it needs to know of it.
pub(crate) trait World {
    /// The decisions.
    fn choices(&self) -> &Choices;
    /// Whether the machine has stopped.
    fn is_stopped(&self) -> bool;
    /// Moves with every change that a waiting task may want to see.
    fn generation(&self) -> u64;
    /// Machine time, nanoseconds.
    fn now(&self) -> u64;
    /// Adds what can begin now, given the tasks on each processor.
    fn moves(&self, processors: &[Vec<usize>], moves: &mut Moves);
    /// Begins a move: runs it, or returns the task that does.
    fn begin(&self, action: Action) -> Option<usize>;
    /// Nothing can move: jumps to the next moment at which something can, not beyond `deadline`;
    /// `false` if there is none.
    fn advance(&self, deadline: u64) -> bool;
    /// A task that ran on this processor has ended, and nothing is under it.
    fn left(&self, processor: usize);
    /// Stops the machine: nothing of it may run any more.
    fn halt(&self);
}

/// The scheduler of one machine.
pub(crate) struct Scheduler {
    inner: RefCell<Inner>,
    /// The task that runs.
    current: Cell<usize>,
    suspender: Cell<*const Suspender>,
    /// Decided already.
    next: Cell<Option<Action>>,
    given_up: Cell<bool>,
    /// What the present move has touched so far.
    footprint: Cell<Footprint>,
    home: Cell<Option<ThreadId>>,
}

impl std::fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scheduler").field("current", &self.current).finish_non_exhaustive()
    }
}

// SAFETY: all methods but `belongs_here` are called only by the thread that drives the machine:
// `drive` checks that it is always the same one, and tasks run on it.
unsafe impl Send for Scheduler {}
// SAFETY: as above.
unsafe impl Sync for Scheduler {}

impl Drop for Scheduler {
    fn drop(&mut self) {
        self.inner.take().give_back();
    }
}

impl Scheduler {
    pub(crate) fn new(processors: usize) -> Self {
        Self {
            inner: RefCell::new(Inner::take(processors)),
            current: Cell::new(usize::MAX),
            suspender: Cell::new(std::ptr::null()),
            next: Cell::new(None),
            given_up: Cell::new(false),
            footprint: Cell::new(Footprint::default()),
            home: Cell::new(None),
        }
    }

    /// Makes a task; it runs when the policy says so.
    pub(crate) fn spawn(
        &self,
        actor: Actor,
        size: Size,
        context: Saved,
        body: impl FnOnce() + 'static,
    ) -> usize {
        let segment = Segment::new(size, self.starter(), body);
        let inner = &mut *self.inner.borrow_mut();
        let mut segments = inner.spare.pop().unwrap_or_default();
        segments.push(segment);
        let task = Task {
            actor,
            segments,
            context,
            state: State::Ready,
            wait: Wait::Satisfied,
            processor: None,
            thread: true,
            detached: false,
        };
        match inner.tasks.iter().position(Option::is_none) {
            Some(free) => {
                inner.tasks[free] = Some(task);
                free
            }
            None => {
                inner.tasks.push(Some(task));
                inner.tasks.len() - 1
            }
        }
    }

    /// Nobody waits for this task; a drive does not end before it.
    pub(super) fn detach(&self, task: usize) {
        let inner = &mut *self.inner.borrow_mut();
        if let Some(Some(task)) = inner.tasks.get_mut(task) {
            task.detached = true;
            inner.detached += 1;
        }
    }

    /// Makes the task the next one to run, whatever the policy would say, and lets it.
    pub(super) fn run_next(&self, task: usize) {
        self.next.set(Some(Action::Resume(task)));
        self.suspend(Suspended::Point);
    }

    /// Remembers how to suspend the segment that starts to run.
    fn starter(&self) -> impl Fn(&Suspender) + 'static {
        let this: *const Self = self;
        move |suspender| {
            // SAFETY: the scheduler drops or resets all segments before it goes itself.
            let this = unsafe { &*this };
            this.suspender.set(suspender);
        }
    }

    /// The present move touches this.
    #[inline]
    pub(crate) fn touch(&self, footprint: Footprint) {
        self.footprint.set(self.footprint.get().and(footprint));
    }

    /// A scheduling point of the running task.
    #[inline(never)]
    pub(crate) fn point(&self, world: &dyn World) {
        match self.decide(world, Some(self.current.get())) {
            Some(Action::Resume(task)) if task == self.current.get() => {
                self.touch(context::footprint());
            }
            next => {
                self.next.set(next);
                self.suspend(Suspended::Point);
            }
        }
    }

    /// Waits until the condition holds, or until the deadline; or for ever, if nothing can move
    /// any more.
    pub(crate) fn block(&self, condition: &dyn Fn() -> bool, deadline: u64, spins: bool) -> Wait {
        let current = self.current.get();
        {
            let inner = &mut *self.inner.borrow_mut();
            inner.waits += 1;
            let since = inner.waits;
            // SAFETY: only the lifetime changes; the pointer is not used after this call returns.
            let condition: *const (dyn Fn() -> bool + 'static) =
                unsafe { std::mem::transmute(std::ptr::from_ref(condition)) };
            let blocked = Blocked { condition, deadline, spins, since };
            inner.task(current).state = State::Blocked(blocked);
            // Something may have changed since the last look.
            inner.seen = u64::MAX;
        }
        self.suspend(Suspended::Point);
        self.inner.borrow_mut().task(current).wait
    }

    /// Runs a call of the driver on a stack of its own.
    // Out of the way of the other schedulers' path; so with the functions below.
    #[cold]
    #[inline(never)]
    pub(super) fn call<R>(&self, call: impl FnOnce() -> R) -> R {
        let (mut result, mut call) = (None, Some(call));
        let mut run = || {
            if let Some(call) = call.take() {
                result = Some(call());
            }
        };
        // SAFETY: this frame stays until the call has returned; if it never does, this segment is
        // unwound after that one is reset.
        self.suspend(Suspended::Call(unsafe { Call::new(&mut run) }));
        result.expect("the call has returned")
    }

    /// Runs what a driver called; does not return if the machine is abandoned meanwhile.
    #[inline]
    pub(super) fn guarded<R>(&self, body: impl FnOnce() -> R) -> R {
        match segment::guarded(body) {
            Ok(result) => result,
            Err(()) => {
                self.switch(Suspended::Unwound);
                unreachable!("a segment whose host frames are gone never goes on")
            }
        }
    }

    /// The machine has stopped: unwinds the running task.
    pub(super) fn abandon_task(&self) -> ! {
        if std::thread::panicking() {
            // A destructor on the way out: it cannot be unwound as well.
            self.switch(Suspended::Stuck);
        }
        segment::unwind()
    }

    /// The running task enters kernel mode on a processor, or interrupts what is there.
    pub(super) fn occupy(&self, processor: usize) {
        self.stack_on(self.current.get(), processor);
    }

    fn stack_on(&self, task: usize, processor: usize) {
        let inner = &mut *self.inner.borrow_mut();
        inner.processors[processor].push(task);
        inner.task(task).processor = Some(processor);
    }

    /// A task that begins on top of whatever is on the processor, for which nobody waits.
    pub(super) fn interrupt(&self, task: usize, processor: usize) {
        self.stack_on(task, processor);
        self.inner.borrow_mut().task(task).thread = false;
    }

    /// The running task leaves its processor.
    pub(super) fn vacate(&self) {
        let inner = &mut *self.inner.borrow_mut();
        if let Some(processor) = inner.task(self.current.get()).processor.take() {
            inner.processors[processor].pop();
        }
    }

    /// The topmost task's thread number on a processor, if any runs there.
    pub(super) fn thread_on(&self, processor: usize) -> Option<usize> {
        let inner = &mut *self.inner.borrow_mut();
        let top = *inner.processors[processor].last()?;
        Some(inner.task(top).context.thread)
    }

    /// Whether the running task is a thread of its own.
    pub(super) fn is_thread(&self) -> bool {
        self.inner.borrow_mut().task(self.current.get()).thread
    }

    /// Checks that the machine is used by the thread it belongs to.
    pub(super) fn check_home(&self) {
        let here = std::thread::current().id();
        let home = self.home.get().unwrap_or(here);
        assert!(home == here, "a deterministic machine belongs to the thread that first ran it");
        self.home.set(Some(here));
    }

    fn suspend(&self, why: Suspended) {
        if self.switch(why) == Command::Abandon {
            self.abandon_task();
        }
    }

    #[inline]
    fn switch(&self, why: Suspended) -> Command {
        // SAFETY: set when this segment was resumed; it lives as long as the segment runs.
        let suspender = unsafe { &*self.suspender.get() };
        suspender.suspend(why)
    }

    /// Decides on the next move; `None` if the machine stopped over it.
    fn decide(&self, world: &dyn World, current: Option<usize>) -> Option<Action> {
        world.choices().moved(self.footprint.take());
        loop {
            let inner = &mut *self.inner.borrow_mut();
            inner.wake(world);
            inner.collect(world, current);
            if inner.moves.are_idle() {
                let deadline = inner.next_deadline();
                if deadline > world.now() && world.advance(deadline) {
                    continue;
                }
                if inner.wake_one_for_ever() {
                    continue;
                }
                unreachable!("the machine is driven for a task that exists, and none does");
            }
            let goes_on = current.is_some_and(|c| inner.moves.first() == Some(Action::Resume(c)));
            inner.actors.clear();
            inner.actors.extend(inner.moves.actors());
            let point = Point { moves: &inner.actors, goes_on };
            let Some(picked) = world.choices().decide(&point) else {
                self.given_up.set(true);
                return None;
            };
            return Some(inner.moves.action(picked));
        }
    }
}
