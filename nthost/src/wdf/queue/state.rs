//! What a queue's state allows (KMDF.md 4.4).

use wdk_lite::{PVOID, WDFCONTEXT};

use super::{Power, State, Type};
use crate::ddi::callback::Routine;

/// A callback to be called once when a state is reached, with its context.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Notify {
    pub routine: Routine,
    context: PVOID,
}

// SAFETY: the context is the driver's; it is only handed back to its callback.
unsafe impl Send for Notify {}

impl Notify {
    pub(super) fn new(routine: Routine, context: WDFCONTEXT) -> Self {
        Self { routine, context }
    }

    pub(super) fn context(self) -> WDFCONTEXT {
        self.context
    }
}

impl State {
    /// Whether another request may be presented now.
    pub(super) fn may_present(&self) -> bool {
        // CAST: fewer requests than the object table has slots.
        let owned = self.owned.len() as u32;
        let room = match self.config.kind {
            Type::Sequential => owned == 0,
            Type::Parallel => owned < self.config.limit,
            Type::Manual => false,
        };
        room && self.dispatch && self.power == Power::On && !self.queued.is_empty()
    }

    /// Whether retrieval by the driver has to wait for a start or for D0.
    pub(super) fn is_paused(&self) -> bool {
        !self.dispatch || self.power == Power::Off
    }

    /// Whether cancelled requests may be told so now.
    pub(super) fn delivers_cancels(&self) -> bool {
        self.power != Power::Notifying
    }

    /// WdfIoQueueStart.
    pub(super) fn start(&mut self) {
        self.accept = !self.shut_down;
        self.dispatch = true;
        self.cancels_dispatched = false;
    }

    /// WdfIoQueueStop: requests are accepted, even if they were refused before.
    pub(super) fn stop(&mut self) {
        self.accept = !self.shut_down;
        self.dispatch = false;
    }

    /// The purge of a device that fails or goes.
    pub(super) fn shut_down(&mut self) {
        self.shut_down = true;
        self.accept = false;
        self.cancels_dispatched = true;
    }

    /// The device starts again.
    pub(super) fn restart(&mut self) {
        if self.shut_down {
            self.shut_down = false;
            self.start();
        }
    }

    /// What the driver owns is all gone: a purge ends.
    pub(super) fn owns_nothing(&self) -> bool {
        self.owned.is_empty() && self.cancelled.is_empty() && self.cancelled_owned.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wdf::object::Handle;

    fn state(kind: Type, limit: u32) -> State {
        let mut state = State::default();
        (state.config.kind, state.config.limit) = (kind, limit);
        state.start();
        state.queued.push_back(Handle::from_bits(1).expect("not zero"));
        state
    }

    #[test]
    fn a_sequential_queue_presents_one_request() {
        let mut state = state(Type::Sequential, 0);
        assert!(state.may_present());
        state.owned.push_back(Handle::from_bits(2).expect("not zero"));
        assert!(!state.may_present());
    }

    #[test]
    fn a_parallel_queue_presents_up_to_its_limit() {
        assert!(!state(Type::Parallel, 0).may_present());
        assert!(state(Type::Parallel, u32::MAX).may_present());
        assert!(!state(Type::Manual, 1).may_present());
    }

    #[test]
    fn a_stop_accepts_again_but_not_after_a_shut_down() {
        let mut state = state(Type::Sequential, 0);
        state.accept = false;
        state.stop();
        assert!(state.accept && !state.dispatch && state.is_paused());
        state.shut_down();
        state.start();
        assert!(!state.accept && state.dispatch && !state.cancels_dispatched);
        state.restart();
        assert!(state.accept);
    }
}
