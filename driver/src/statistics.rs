//! The driver's counters.

use core::sync::atomic::{AtomicU64, Ordering};

use dmaproof_protocol::{Direction, Path, Statistics};

/// One counter.
#[derive(Debug)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    pub(crate) fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    pub(crate) fn increment(&self) {
        self.add(1);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn reset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// Successful transfers by one path in one direction.
#[derive(Debug)]
struct Moved {
    transfers: Counter,
    bytes: Counter,
}

impl Moved {
    const fn new() -> Self {
        Self { transfers: Counter::new(), bytes: Counter::new() }
    }
}

/// Paths, counted from 0 in the order of their numbers.
const PATHS: usize = Path::ALL.len();

/// Everything that [`Statistics`] shows. Any IRQL; the interrupt service routine counts too.
#[derive(Debug)]
pub(crate) struct Counters {
    to_device: [Moved; PATHS],
    from_device: [Moved; PATHS],
    pub(crate) errors: Counter,
    pub(crate) cancelled: Counter,
    pub(crate) timed_out: Counter,
    pub(crate) interrupts: Counter,
    pub(crate) interrupts_spurious: Counter,
    pub(crate) dpcs: Counter,
    pub(crate) pieces_mapped: Counter,
    pub(crate) pieces_flushed: Counter,
    pub(crate) flush_failures: Counter,
    pub(crate) refused: Counter,
    pub(crate) slots_abandoned: Counter,
    pub(crate) interrupts_lost: Counter,
    pub(crate) completions_unknown: Counter,
    pub(crate) aborts: Counter,
    pub(crate) resets: Counter,
}

impl Counters {
    pub(crate) const fn new() -> Self {
        Self {
            to_device: [const { Moved::new() }; PATHS],
            from_device: [const { Moved::new() }; PATHS],
            errors: Counter::new(),
            cancelled: Counter::new(),
            timed_out: Counter::new(),
            interrupts: Counter::new(),
            interrupts_spurious: Counter::new(),
            dpcs: Counter::new(),
            pieces_mapped: Counter::new(),
            pieces_flushed: Counter::new(),
            flush_failures: Counter::new(),
            refused: Counter::new(),
            slots_abandoned: Counter::new(),
            interrupts_lost: Counter::new(),
            completions_unknown: Counter::new(),
            aborts: Counter::new(),
            resets: Counter::new(),
        }
    }

    fn moved(&self, path: Path, direction: Direction) -> Option<&Moved> {
        let counts = match direction {
            Direction::ToDevice => &self.to_device,
            Direction::FromDevice => &self.from_device,
        };
        let index = Path::ALL.iter().position(|known| *known == path)?;
        counts.get(index)
    }

    /// Counts a transfer that succeeded.
    pub(crate) fn count_transfer(&self, path: Path, direction: Direction, bytes: u64) {
        if let Some(moved) = self.moved(path, direction) {
            moved.transfers.increment();
            moved.bytes.add(bytes);
        }
    }

    /// Starts again at 0, when the device starts.
    pub(crate) fn reset(&self) {
        for moved in self.to_device.iter().chain(&self.from_device) {
            moved.transfers.reset();
            moved.bytes.reset();
        }
        let singles = [
            &self.errors,
            &self.cancelled,
            &self.timed_out,
            &self.interrupts,
            &self.interrupts_spurious,
            &self.dpcs,
            &self.pieces_mapped,
            &self.pieces_flushed,
            &self.flush_failures,
            &self.refused,
            &self.slots_abandoned,
            &self.interrupts_lost,
            &self.completions_unknown,
            &self.aborts,
            &self.resets,
        ];
        singles.into_iter().for_each(Counter::reset);
    }

    /// The counters as the protocol shows them.
    pub(crate) fn snapshot(&self) -> Statistics {
        let mut shown = Statistics::new();
        for path in Path::ALL {
            for direction in Direction::ALL {
                if let Some(moved) = self.moved(*path, *direction) {
                    let count = shown.count_mut(*path, *direction);
                    count.transfers = moved.transfers.get();
                    count.bytes = moved.bytes.get();
                }
            }
        }
        shown.errors = self.errors.get();
        shown.cancelled = self.cancelled.get();
        shown.timed_out = self.timed_out.get();
        shown.interrupts = self.interrupts.get();
        shown.interrupts_spurious = self.interrupts_spurious.get();
        shown.dpcs = self.dpcs.get();
        shown.pieces_mapped = self.pieces_mapped.get();
        shown.pieces_flushed = self.pieces_flushed.get();
        shown.flush_failures = self.flush_failures.get();
        shown.refused = self.refused.get();
        shown.slots_abandoned = self.slots_abandoned.get();
        shown.interrupts_lost = self.interrupts_lost.get();
        shown.completions_unknown = self.completions_unknown.get();
        shown.aborts = self.aborts.get();
        shown.resets = self.resets.get();
        shown
    }
}
