//! The tasks of a machine: which of them wait, and which can run.

// UNSAFETY: conditions are kept as pointers into the stacks of suspended tasks.

use std::any::Any;
use std::cell::RefCell;

use super::World;
use super::moves::{Action, Moves};
use super::segment::Segment;
use crate::machine::Wait;
use crate::machine::context::Saved;
use crate::machine::policy::Actor;

/// What a task waits for.
#[derive(Clone, Copy)]
pub(super) struct Blocked {
    /// Points into a frame of the task, which is suspended there.
    pub condition: *const dyn Fn() -> bool,
    /// Nanoseconds of machine time; `u64::MAX` for none.
    pub deadline: u64,
    /// Looked at at every point: nobody says when a lock is free.
    pub spins: bool,
    /// Order of the waits.
    pub since: u64,
}

pub(super) enum State {
    Ready,
    Blocked(Blocked),
}

pub(super) struct Task {
    pub actor: Actor,
    /// The last one is where the task is.
    pub segments: Vec<Segment>,
    pub context: Saved,
    pub state: State,
    /// How the last wait ended.
    pub wait: Wait,
    /// The processor it runs on, or interrupted somebody on.
    pub processor: Option<usize>,
    /// It is a thread of its own: it gives its processor back when it waits.
    pub thread: bool,
    /// Nobody waits for it.
    pub detached: bool,
}

#[derive(Default)]
pub(super) struct Inner {
    pub tasks: Vec<Option<Task>>,
    /// The tasks on each processor, the topmost last.
    pub processors: Vec<Vec<usize>>,
    pub moves: Moves,
    /// The actors of `moves`, for the policy.
    pub actors: Vec<Actor>,
    /// The generation at which conditions were last looked at.
    pub seen: u64,
    pub waits: u64,
    /// Tasks nobody waits for, which are to end all the same.
    pub detached: usize,
    pub panicked: Option<Box<dyn Any + Send>>,
    /// Emptied vectors of segments, to be used again.
    pub spare: Vec<Vec<Segment>>,
}

thread_local! {
    /// What schedulers of this thread had, emptied: runs may be short, and there are many.
    static POOL: RefCell<Vec<Inner>> = const { RefCell::new(Vec::new()) };
}

/// Those kept.
const KEPT: usize = 8;

impl Inner {
    /// That of a machine without tasks, with the room that an earlier one had.
    pub(super) fn take(processors: usize) -> Self {
        let mut inner = POOL.with_borrow_mut(Vec::pop).unwrap_or_default();
        inner.processors.resize_with(processors, Vec::new);
        inner.seen = u64::MAX;
        inner
    }

    /// Drops what is left of its tasks and keeps the room.
    pub(super) fn give_back(self) {
        let Self { mut tasks, mut processors, mut moves, mut actors, spare, .. } = self;
        tasks.clear();
        processors.iter_mut().for_each(Vec::clear);
        moves.clear();
        actors.clear();
        let emptied = Self { tasks, processors, moves, actors, spare, ..Self::default() };
        // A scheduler may go with its thread, after the pool.
        let _ = POOL.try_with(|pool| {
            let mut pool = pool.borrow_mut();
            if pool.len() < KEPT {
                pool.push(emptied);
            }
        });
    }

    pub(super) fn task(&mut self, index: usize) -> &mut Task {
        self.tasks[index].as_mut().expect("the task is alive")
    }

    /// Makes the tasks ready whose waits have ended.
    pub(super) fn wake(&mut self, world: &dyn World) {
        let (generation, now) = (world.generation(), world.now());
        let changed = std::mem::replace(&mut self.seen, generation) != generation;
        for task in self.tasks.iter_mut().flatten() {
            let State::Blocked(blocked) = task.state else { continue };
            // SAFETY: the task is suspended in `block`, whose frame holds what the pointer names.
            let holds = (changed || blocked.spins) && unsafe { (*blocked.condition)() };
            task.wait = if holds {
                Wait::Satisfied
            } else if blocked.deadline <= now {
                Wait::TimedOut
            } else {
                continue;
            };
            task.state = State::Ready;
        }
    }

    /// Collects what can move now.
    pub(super) fn collect(&mut self, world: &dyn World, current: Option<usize>) {
        self.moves.clear();
        let runnable = |index: usize| {
            let task = self.tasks[index].as_ref()?;
            let ready = matches!(task.state, State::Ready);
            let on_top = |processor: usize| self.processors[processor].last() == Some(&index);
            (ready && task.processor.is_none_or(on_top)).then_some(task.actor)
        };
        if let Some((current, actor)) = current.and_then(|index| Some((index, runnable(index)?))) {
            self.moves.add(actor, Action::Resume(current));
        }
        for index in (0..self.tasks.len()).filter(|&index| Some(index) != current) {
            if let Some(actor) = runnable(index) {
                self.moves.add(actor, Action::Resume(index));
            }
        }
        world.moves(&self.processors, &mut self.moves);
    }

    pub(super) fn next_deadline(&self) -> u64 {
        let blocked = self.tasks.iter().flatten().filter_map(|task| match &task.state {
            State::Blocked(blocked) => Some(blocked.deadline),
            State::Ready => None,
        });
        blocked.min().unwrap_or(u64::MAX)
    }

    /// Nothing can move any more: ends one wait, which is told so. One that spins before one that
    /// waits, and the latest first.
    pub(super) fn wake_one_for_ever(&mut self) -> bool {
        let blocked = self.tasks.iter_mut().flatten().filter_map(|task| match task.state {
            State::Blocked(blocked) => Some(((blocked.spins, blocked.since), task)),
            State::Ready => None,
        });
        let Some((_, task)) = blocked.max_by_key(|(order, _)| *order) else { return false };
        task.wait = Wait::Never;
        task.state = State::Ready;
        true
    }
}
