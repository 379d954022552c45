//! What can happen next.

use crate::machine::interrupts::LineId;
use crate::machine::policy::Actor;

/// What the scheduler does for a move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// A task goes on.
    Resume(usize),
    /// An interrupt is taken on a processor.
    Interrupt(usize, LineId),
    /// A processor's next DPC begins.
    Dpc(usize),
    /// The next timer expires, on a processor.
    Timer(usize),
    /// A worker thread takes the next work item.
    Work,
    /// A device's engine does what is due.
    Device(usize),
    /// The caches do something by themselves.
    Adversary,
}

/// The moves of one scheduling point.
#[derive(Debug, Default)]
pub(crate) struct Moves(Vec<(Actor, Action)>);

impl Moves {
    /// Adds one.
    #[inline]
    pub(crate) fn add(&mut self, actor: Actor, action: Action) {
        self.0.push((actor, action));
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Whether nothing but the caches moves: they always can, and time has to pass all the same.
    pub(super) fn are_idle(&self) -> bool {
        self.0.iter().all(|(_, action)| *action == Action::Adversary)
    }

    pub(super) fn first(&self) -> Option<Action> {
        self.0.first().map(|(_, action)| *action)
    }

    pub(super) fn actors(&self) -> impl Iterator<Item = Actor> + '_ {
        self.0.iter().map(|(actor, _)| *actor)
    }

    pub(super) fn action(&self, index: usize) -> Action {
        self.0[index].1
    }
}
