//! Machine time and timers.
//!
//! Time is virtual: it moves by a little with each register access and stall, and jumps to the
//! next timer when nothing can run and every application thread waits.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::Kernel;

/// Work to be done later: a function and its argument. No allocation, no borrow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deferred {
    pub run: fn(&Kernel, usize),
    pub argument: usize,
}

/// Names a started timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimerToken(u64);

#[derive(Debug)]
struct Entry {
    due: u64,
    sequence: u64,
    work: Deferred,
}

/// The machine's clock.
#[derive(Debug)]
pub(crate) struct Clock {
    now: AtomicU64,
    next: AtomicU64,
    sequence: AtomicU64,
    /// Sorted, the earliest last.
    entries: Mutex<Vec<Entry>>,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self {
            now: AtomicU64::new(0),
            next: AtomicU64::new(u64::MAX),
            sequence: AtomicU64::new(0),
            entries: Mutex::new(Vec::with_capacity(64)),
        }
    }

    /// Nanoseconds since the machine started.
    #[inline]
    pub(crate) fn now(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }

    /// Lets `nanoseconds` pass.
    #[inline]
    pub(crate) fn pass(&self, nanoseconds: u64) {
        self.now.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// When the earliest timer expires; `u64::MAX` if there is none.
    #[inline]
    pub(super) fn next(&self) -> u64 {
        self.next.load(Ordering::Acquire)
    }

    /// Jumps ahead.
    pub(super) fn jump_to(&self, moment: u64) {
        self.now.fetch_max(moment, Ordering::Relaxed);
    }

    /// Jumps to the earliest timer; `false` if there is none.
    pub(crate) fn jump(&self) -> bool {
        let next = self.next();
        if next == u64::MAX {
            return false;
        }
        self.jump_to(next);
        true
    }

    /// Whether some timer is due.
    #[inline]
    pub(crate) fn is_due(&self) -> bool {
        self.next.load(Ordering::Acquire) <= self.now()
    }

    /// Starts a timer: `work` runs at DISPATCH_LEVEL at or after `due` nanoseconds.
    pub(crate) fn start(&self, due: u64, work: Deferred) -> TimerToken {
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed);
        let mut entries = self.entries.lock();
        let at = entries.partition_point(|e| (e.due, e.sequence) > (due, sequence));
        entries.insert(at, Entry { due, sequence, work });
        self.update_next(&entries);
        TimerToken(sequence)
    }

    /// Stops a timer; `false` if it has already expired.
    pub(crate) fn cancel(&self, token: TimerToken) -> bool {
        let mut entries = self.entries.lock();
        let Some(at) = entries.iter().position(|e| e.sequence == token.0) else {
            return false;
        };
        entries.remove(at);
        self.update_next(&entries);
        true
    }

    /// Takes the earliest timer that is due.
    pub(crate) fn take_due(&self) -> Option<Deferred> {
        if !self.is_due() {
            return None;
        }
        let mut entries = self.entries.lock();
        if entries.last()?.due > self.now() {
            return None;
        }
        let entry = entries.pop()?;
        self.update_next(&entries);
        Some(entry.work)
    }

    fn update_next(&self, entries: &[Entry]) {
        let next = entries.last().map_or(u64::MAX, |e| e.due);
        self.next.store(next, Ordering::Release);
    }
}
