//! Tasks without a machine.

// UNSAFETY: the tasks' bodies borrow what outlives the run.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;

use super::{Exhaustive, Explored};
use crate::machine::Wait;
use crate::machine::choices::Choices;
use crate::machine::context::Saved;
use crate::machine::deterministic::kernel::Pruned;
use crate::machine::deterministic::moves::{Action, Moves};
use crate::machine::deterministic::segment::Size;
use crate::machine::deterministic::{Drive, Scheduler, World};
use crate::machine::footprint::{Footprint, Thing};
use crate::machine::policy::{Actor, Kind, Strategy};
use crate::machine::{ChoiceList, Policy};

/// A few tasks that share something, run by the deterministic scheduler: for finding out what an
/// algorithm does in all orders of its steps, before it is a driver, and for measuring the
/// scheduler.
///
/// ```
/// use std::cell::Cell;
/// use nthost::explore::{Exhaustive, Model};
///
/// // Two increments that are not atomic.
/// let explored = Model::new().explore(Exhaustive::default(), |model| {
///     let count = Cell::new(0);
///     let add = |tasks: &nthost::explore::Tasks<'_>| {
///         tasks.step(1);
///         let seen = count.get();
///         tasks.step(1);
///         count.set(seen + 1);
///     };
///     model(&[&add, &add]);
///     count.get()
/// });
/// assert!(explored.complete);
/// assert_eq!(explored.outcomes.into_keys().collect::<Vec<_>>(), [1, 2]);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Model {
    policy: Policy,
    seed: u64,
}

/// What a task does.
pub type Body<'b> = dyn Fn(&Tasks<'_>) + 'b;

/// A task's way to the scheduler.
pub struct Tasks<'m> {
    scheduler: &'m Scheduler,
    world: &'m Plain,
}

impl fmt::Debug for Tasks<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tasks").finish_non_exhaustive()
    }
}

impl Tasks<'_> {
    /// A scheduling point before a step that touches one object, named by a number.
    pub fn step(&self, object: u64) {
        self.scheduler.point(self.world);
        self.scheduler.touch(Footprint::of(Thing::Object(object)));
    }

    /// Waits until the condition, which is about this object, holds; `false` if it never will.
    pub fn wait(&self, object: u64, condition: impl Fn() -> bool) -> bool {
        let held =
            condition() || self.scheduler.block(&condition, u64::MAX, true) == Wait::Satisfied;
        self.scheduler.touch(Footprint::of(Thing::Object(object)));
        held
    }
}

impl Model {
    /// A model whose tasks take their steps in random order.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Who decides.
    #[must_use]
    pub fn policy(mut self, policy: Policy, seed: u64) -> Self {
        (self.policy, self.seed) = (policy, seed);
        self
    }

    /// Runs the tasks to their end once; returns the choices.
    pub fn run(&self, tasks: &[&Body<'_>]) -> ChoiceList {
        run(self.seed, self.policy.strategy(self.seed), tasks)
    }

    /// Explores: calls `body` for each run, which hands the tasks to the function it is given and
    /// returns what came out.
    pub fn explore<O: Ord>(
        &self,
        how: Exhaustive,
        mut body: impl FnMut(&mut dyn FnMut(&[&Body<'_>])) -> O,
    ) -> Explored<O> {
        how.explore(self.seed, |strategy| {
            let mut strategy = Some(strategy);
            body(&mut |tasks| {
                if let Some(strategy) = strategy.take() {
                    run(self.seed, strategy, tasks);
                }
            })
        })
    }
}

/// A world with nothing in it but tasks.
struct Plain {
    choices: Choices,
    stopped: Cell<bool>,
}

impl World for Plain {
    fn choices(&self) -> &Choices {
        &self.choices
    }

    fn is_stopped(&self) -> bool {
        self.stopped.get()
    }

    fn generation(&self) -> u64 {
        0
    }

    fn now(&self) -> u64 {
        0
    }

    fn moves(&self, _processors: &[Vec<usize>], _moves: &mut Moves) {}

    fn begin(&self, _action: Action) -> Option<usize> {
        None
    }

    fn advance(&self, _deadline: u64) -> bool {
        false
    }

    fn left(&self, _processor: usize) {}

    fn halt(&self) {
        self.stopped.set(true);
    }
}

fn run(seed: u64, strategy: Box<dyn Strategy>, tasks: &[&Body<'_>]) -> ChoiceList {
    let world = Plain { choices: Choices::new(seed, strategy), stopped: Cell::new(false) };
    let scheduler = Scheduler::new(0);
    let left = Rc::new(Cell::new(tasks.len()));
    let handle = Tasks { scheduler: &scheduler, world: &world };
    for (number, &body) in tasks.iter().enumerate() {
        // SAFETY: only the lifetimes change; the tasks run or are unwound before this function
        // returns, as `drive` does one or the other.
        let body: &'static Body<'static> = unsafe { std::mem::transmute(body) };
        // SAFETY: as above.
        let handle: &'static Tasks<'static> = unsafe { std::mem::transmute(&handle) };
        let left = Rc::clone(&left);
        let actor = Actor::new(Kind::Application, number);
        let mut context = Saved::new(number, std::ptr::null());
        context.about = Footprint::default();
        scheduler.spawn(actor, Size::Kernel, context, move || {
            body(handle);
            left.set(left.get() - 1);
        });
    }
    match scheduler.drive(&world, &|| left.get() == 0) {
        Drive::Done => world.choices.list(),
        Drive::Stopped | Drive::GivenUp => std::panic::resume_unwind(Box::new(Pruned)),
        Drive::Panicked(payload) => std::panic::resume_unwind(payload),
    }
}
