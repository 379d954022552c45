//! The cancel race of one request: a flag, and at most one winner.
//!
//! As IoCancelIrp and IoSetCancelRoutine decide it: whoever takes the cancel routine away wins.
//! Here flag and routine are bits of one word, so that a request that was cancelled before it is
//! armed is never armed at all.

use std::sync::atomic::{AtomicU8, Ordering};

/// IoCancelIrp was called.
const REQUESTED: u8 = 1;
/// A cancel routine is set: the next cancel wins.
const ARMED: u8 = 2;
/// A cancel took the routine: the canceller owns the request.
const CLAIMED: u8 = 4;

/// A cancel was asked for before the request was armed, or won the race against disarming.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cancelled;

/// The state of one request.
#[derive(Debug, Default)]
pub(crate) struct CancelState(AtomicU8);

impl CancelState {
    /// The request is used again.
    pub(crate) fn reset(&self) {
        self.0.store(0, Ordering::Release);
    }

    /// Whether a cancel was asked for: the IRP's Cancel flag.
    #[inline]
    pub(crate) fn is_requested(&self) -> bool {
        self.0.load(Ordering::Acquire) & REQUESTED != 0
    }

    /// Whether a cancel has taken the request.
    #[inline]
    pub(crate) fn is_claimed(&self) -> bool {
        self.0.load(Ordering::Acquire) & CLAIMED != 0
    }

    /// Asks for a cancel; `true` if the caller won and has to run the cancel routine.
    #[must_use]
    pub(crate) fn cancel(&self) -> bool {
        self.update(|bits| {
            let won = bits & ARMED != 0;
            let bits = (bits & !ARMED) | REQUESTED;
            (if won { bits | CLAIMED } else { bits }, won)
        })
    }

    /// Takes the request for a cancel that nobody asked the I/O manager for (a purged queue);
    /// `true` if the caller won.
    #[must_use]
    pub(crate) fn claim(&self) -> bool {
        self.update(|bits| {
            let won = bits & ARMED != 0;
            (if won { (bits & !ARMED) | CLAIMED } else { bits }, won)
        })
    }

    /// Makes the request cancelable.
    ///
    /// # Errors
    /// [`Cancelled`] when a cancel was asked for already; the request is not armed.
    #[inline]
    pub(crate) fn arm(&self) -> Result<(), Cancelled> {
        self.update(|bits| {
            if bits & REQUESTED == 0 { (bits | ARMED, Ok(())) } else { (bits, Err(Cancelled)) }
        })
    }

    /// Makes the request not cancelable.
    ///
    /// # Errors
    /// [`Cancelled`] when it was not armed (any more): a cancel won.
    #[inline]
    pub(crate) fn disarm(&self) -> Result<(), Cancelled> {
        self.update(|bits| {
            if bits & ARMED == 0 { (bits, Err(Cancelled)) } else { (bits & !ARMED, Ok(())) }
        })
    }

    /// The cancel routine is done with the request and hands it to a new owner, who is asked
    /// for the cancel again if it arms.
    pub(crate) fn release_claim(&self) {
        self.0.fetch_and(!CLAIMED, Ordering::AcqRel);
    }

    #[inline]
    fn update<R>(&self, step: impl Fn(u8) -> (u8, R)) -> R {
        let mut bits = self.0.load(Ordering::Acquire);
        loop {
            let (next, result) = step(bits);
            match self.0.compare_exchange_weak(bits, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return result,
                Err(current) => bits = current,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cancel_of_an_armed_request_wins_once() {
        let state = CancelState::default();
        assert_eq!(state.arm(), Ok(()));
        assert!(state.cancel());
        assert!(!state.cancel());
        assert_eq!(state.disarm(), Err(Cancelled));
        assert!(state.is_claimed() && state.is_requested());
    }

    #[test]
    fn a_disarmed_request_is_only_flagged() {
        let state = CancelState::default();
        assert_eq!(state.arm(), Ok(()));
        assert_eq!(state.disarm(), Ok(()));
        assert!(!state.cancel());
        assert!(state.is_requested() && !state.is_claimed());
    }

    #[test]
    fn a_cancelled_request_cannot_be_armed() {
        let state = CancelState::default();
        assert!(!state.cancel());
        assert_eq!(state.arm(), Err(Cancelled));
        assert_eq!(state.disarm(), Err(Cancelled));
        assert!(!state.is_claimed());
    }

    #[test]
    fn a_purge_claims_without_the_flag() {
        let state = CancelState::default();
        assert!(!state.claim());
        assert_eq!(state.arm(), Ok(()));
        assert!(state.claim());
        assert!(state.is_claimed() && !state.is_requested());
        state.release_claim();
        assert!(!state.is_claimed());
    }

    #[test]
    fn exactly_one_of_many_threads_wins() {
        let rounds = if cfg!(miri) { 5 } else { 500 };
        for _ in 0..rounds {
            let state = CancelState::default();
            state.arm().expect("not cancelled");
            let winners: usize = std::thread::scope(|scope| {
                let cancels: Vec<_> = (0..2).map(|_| scope.spawn(|| state.cancel())).collect();
                let unmark = scope.spawn(|| state.disarm().is_ok());
                cancels
                    .into_iter()
                    .chain([unmark])
                    .map(|t| t.join())
                    .fold(0, |sum, won| sum + usize::from(won.expect("no panic")))
            });
            assert_eq!(winners, 1);
        }
    }
}
