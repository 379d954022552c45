//! How long a device that is gone has been read (SUR-02).

use std::sync::atomic::{AtomicU64, Ordering};

use crate::RuleId;
use crate::verifier::{Violation, broken};

/// Nobody has a reason to read a device that is gone for longer, nanoseconds.
const LIMIT: u64 = 10_000_000_000;

/// Reads further apart than this are not one poll, nanoseconds.
const PAUSE: u64 = 100_000_000;

/// No such moment.
const NEVER: u64 = u64::MAX;

/// Since when a function answers nothing but all ones. It was pulled out, or its model plays dead:
/// from outside only the unbroken row of reads without an answer tells that.
#[derive(Debug)]
pub(super) struct Silence {
    since: AtomicU64,
    last: AtomicU64,
}

impl Silence {
    pub(super) const fn new() -> Self {
        Self { since: AtomicU64::new(NEVER), last: AtomicU64::new(0) }
    }

    /// The function vanishes.
    pub(super) fn begin(&self, now: u64) {
        self.since.store(now, Ordering::Relaxed);
    }

    /// A register was read: is the driver still polling what has long been gone?
    ///
    /// # Errors
    /// SUR-02 if so.
    pub(super) fn check(&self, now: u64, answered: bool, present: bool) -> Result<(), Violation> {
        if present && answered {
            self.since.store(NEVER, Ordering::Relaxed);
            return Ok(());
        }
        let last = self.last.swap(now, Ordering::Relaxed);
        let since = self.since.load(Ordering::Relaxed);
        if since == NEVER || (present && now.saturating_sub(last) > PAUSE) {
            self.since.store(now, Ordering::Relaxed);
            return Ok(());
        }
        let elapsed = now.saturating_sub(since);
        if elapsed <= LIMIT {
            return Ok(());
        }
        let message = format!(
            "a device is still read that has answered nothing but all ones for {} ms: a poll \
             without a time-out",
            elapsed / 1_000_000
        );
        Err(broken(RuleId::Sur02, message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn an_answer_ends_the_silence() {
        let silence = Silence::new();

        for at in (0..30 * SECOND).step_by(50_000_000) {
            let answered = at % (9 * SECOND) == 0;

            assert!(silence.check(at, answered, true).is_ok());
        }
    }

    #[test]
    fn a_long_poll_without_an_answer_is_reported() {
        let silence = Silence::new();

        let found = (0..30 * SECOND)
            .step_by(50_000_000)
            .find_map(|at| silence.check(at, false, true).err().map(|e| (at, e.rule)));

        assert_eq!(found, Some((10 * SECOND + 50_000_000, RuleId::Sur02)));
    }

    #[test]
    fn a_read_now_and_then_is_no_poll_unless_the_device_was_pulled_out() {
        let silence = Silence::new();
        for at in (0..60 * SECOND).step_by(1_000_000_000) {
            assert!(silence.check(at, false, true).is_ok());
        }

        silence.begin(60 * SECOND);

        assert!(silence.check(70 * SECOND, false, false).is_ok());
        let late = silence.check(71 * SECOND, false, false).expect_err("eleven seconds");
        assert_eq!(late.rule, RuleId::Sur02);
    }
}
