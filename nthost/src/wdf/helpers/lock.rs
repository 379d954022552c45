//! Locks as the framework uses them: spin locks at any level, and an object's callback lock.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};

use crate::RuleId;
use crate::machine::ddi::cannot_release;
use crate::machine::{DISPATCH, Kernel, context};
use crate::verifier::{Violation, broken};

/// A spin lock: held by a processor, at a raised level.
#[derive(Debug, Default)]
pub(crate) struct SpinLock {
    /// The holder's processor plus one; zero while free.
    owner: AtomicUsize,
    /// The level the holder came from.
    old: AtomicU8,
}

fn here() -> usize {
    context::with(|c| c.processor.get()) + 1
}

impl SpinLock {
    /// Whether the calling processor holds it.
    pub(crate) fn is_held(&self) -> bool {
        self.owner.load(Ordering::Acquire) == here()
    }

    /// Raises to `irql` and takes the lock. `what` names it in reports, `rule` is what a second
    /// acquisition by the holder, or one above `irql`, breaks.
    #[inline]
    pub(crate) fn acquire(
        &self,
        kernel: &Kernel,
        irql: u8,
        what: &str,
        rule: RuleId,
    ) -> Result<(), Violation> {
        let me = here();
        if self.owner.load(Ordering::Acquire) == me {
            let message = format!("the holder of {what} acquired it again; that never succeeds");
            return Err(broken(rule, message).code(0x10D, [2, 0, 0, 0]));
        }
        let now = kernel.irql();
        if now > irql {
            let message = format!("{what} belongs to IRQL {irql} and was acquired at IRQL {now}");
            return Err(broken(rule, message));
        }
        kernel.processor().set_irql(irql);
        if !kernel.spin(|| self.try_own(me)) {
            kernel.processor().set_irql(now);
            return Err(cannot_release(what));
        }
        self.old.store(now, Ordering::Relaxed);
        context::with(|c| c.locks.set(c.locks.get() + 1));
        Ok(())
    }

    fn try_own(&self, me: usize) -> bool {
        self.owner.compare_exchange(0, me, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Releases and goes back to the level before.
    #[inline]
    pub(crate) fn release(
        &self,
        kernel: &Kernel,
        what: &str,
        rule: RuleId,
    ) -> Result<(), Violation> {
        if !self.is_held() {
            let message = format!("{what} was released by somebody who does not hold it");
            return Err(broken(rule, message).code(0x10D, [0xB, 0, 0, 0]));
        }
        let old = self.old.load(Ordering::Relaxed);
        self.owner.store(0, Ordering::Release);
        context::with(|c| c.locks.set(c.locks.get().saturating_sub(1)));
        kernel.processor().set_irql(old);
        Ok(())
    }
}

/// The presentation lock of a device or queue: a spin lock, or for execution level Passive a
/// mutex.
#[derive(Debug, Default)]
pub(crate) struct CallbackLock {
    passive: AtomicBool,
    spin: SpinLock,
    /// The holding thread's number plus one.
    holder: AtomicUsize,
}

impl CallbackLock {
    /// Makes it a mutex or a spin lock; before its first use.
    pub(crate) fn set_passive(&self, passive: bool) {
        self.passive.store(passive, Ordering::Relaxed);
    }

    /// Whether it is a mutex.
    pub(crate) fn is_passive(&self) -> bool {
        self.passive.load(Ordering::Relaxed)
    }

    /// Whether the calling thread holds it, so that a callback under it has to be deferred.
    pub(crate) fn is_held(&self) -> bool {
        if self.is_passive() {
            self.holder.load(Ordering::Acquire) == thread()
        } else {
            self.spin.is_held()
        }
    }

    /// Takes it: spins at DISPATCH_LEVEL, or waits at PASSIVE_LEVEL.
    ///
    /// # Errors
    /// The calling thread holds it already, is above the lock's level, or nobody can release it.
    pub(crate) fn acquire(&self, kernel: &Kernel) -> Result<(), Violation> {
        if !self.is_passive() {
            return self.spin.acquire(kernel, DISPATCH, "a callback lock", RuleId::Sim08);
        }
        let me = thread();
        if self.holder.load(Ordering::Acquire) == me {
            let message = "a thread that holds a callback lock entered it again";
            return Err(broken(RuleId::Sim08, message).code(0x10D, [2, 0, 0, 0]));
        }
        if kernel.irql() > 0 {
            let message = "a passive-level callback lock was needed above PASSIVE_LEVEL";
            return Err(broken(RuleId::Kmdf20, message));
        }
        let take =
            || self.holder.compare_exchange(0, me, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        kernel.wait(None, take);
        if self.holder.load(Ordering::Acquire) == me {
            return Ok(());
        }
        Err(broken(RuleId::Sim09, "nobody can release the callback lock waited for"))
    }

    /// Gives it back.
    ///
    /// # Errors
    /// The calling thread does not hold it.
    pub(crate) fn release(&self, kernel: &Kernel) -> Result<(), Violation> {
        if !self.is_passive() {
            return self.spin.release(kernel, "a callback lock", RuleId::Sim08);
        }
        self.holder.store(0, Ordering::Release);
        kernel.poke();
        Ok(())
    }

    /// Runs a callback of the driver under the lock; stops the machine where that is impossible.
    pub(crate) fn with<R>(&self, kernel: &Kernel, body: impl FnOnce() -> R) -> R {
        if let Err(violation) = self.acquire(kernel) {
            kernel.stop(violation);
        }
        let result = body();
        if let Err(violation) = self.release(kernel) {
            kernel.stop(violation);
        }
        result
    }
}

fn thread() -> usize {
    context::with(|c| c.thread.get()) + 1
}
