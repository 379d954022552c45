//! The two rings of a queue, and how far the driver has come in them.

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering, fence};

use testdev::exerciser::command::{COMMAND_LENGTH, COMPLETION_LENGTH};
use wdk_dma::SharedBuffer;

use super::Ended;

/// Entries of each ring: more than there are slots, so that neither is ever full, whichever ring their
/// requests are in.
pub(super) const RING_ENTRIES: u32 = 64;
const _: () = assert!(super::SLOTS < RING_ENTRIES as usize);

/// Bytes of a submission ring.
pub(super) const SUBMISSIONS_LENGTH: u32 = RING_ENTRIES * COMMAND_LENGTH as u32;
/// Bytes of a completion ring.
pub(super) const COMPLETIONS_LENGTH: u32 = RING_ENTRIES * COMPLETION_LENGTH as u32;

/// How far the driver has come. The pump's alone; atomic only because it is shared.
#[derive(Debug)]
pub(super) struct Indices {
    tail: AtomicU32,
    head: AtomicU32,
    /// Phase bit of the lap that is being read.
    phase: AtomicU32,
    /// Commands were written that the device was not told of.
    unrung: AtomicBool,
}

/// The index behind this one.
const fn after(index: u32) -> u32 {
    index.wrapping_add(1) & (RING_ENTRIES - 1)
}

impl Indices {
    pub(super) const fn new() -> Self {
        Self {
            tail: AtomicU32::new(0),
            head: AtomicU32::new(0),
            phase: AtomicU32::new(1),
            unrung: AtomicBool::new(false),
        }
    }

    /// Both rings are empty, and the first lap begins.
    pub(super) fn start(&self) {
        self.tail.store(0, Ordering::Relaxed);
        self.head.store(0, Ordering::Relaxed);
        self.phase.store(1, Ordering::Relaxed);
        self.unrung.store(false, Ordering::Relaxed);
    }

    /// Takes the next submission entry.
    pub(super) fn next_submission(&self) -> u32 {
        let index = self.tail.load(Ordering::Relaxed);
        self.tail.store(after(index), Ordering::Relaxed);
        self.unrung.store(true, Ordering::Relaxed);
        index
    }

    /// Whether the device does not know the tail.
    pub(super) fn is_unrung(&self) -> bool {
        self.unrung.load(Ordering::Relaxed)
    }

    /// The tail, if the device does not know it.
    pub(super) fn take_unrung(&self) -> Option<u32> {
        let unrung = self.is_unrung();
        if unrung {
            self.unrung.store(false, Ordering::Relaxed);
        }
        unrung.then(|| self.tail.load(Ordering::Relaxed))
    }

    /// The completion entry that is read next.
    pub(super) fn completion_head(&self) -> u32 {
        self.head.load(Ordering::Relaxed)
    }
}

/// The rings of a queue, each a common buffer with an MDL of its own.
#[derive(Debug)]
pub(super) struct Ring {
    pub(super) submissions: SharedBuffer,
    pub(super) completions: SharedBuffer,
}

impl Ring {
    /// Empties both rings. The device does not use them.
    pub(super) fn clear(&self) {
        self.submissions.clear();
        self.completions.clear();
    }

    /// Writes a submission entry.
    pub(super) fn write_command(&self, index: u32, words: &[u64; 8]) {
        let start = index.saturating_mul(COMMAND_LENGTH as u32);
        let places = (start..).step_by(size_of::<u64>());
        for (place, word) in places.zip(words) {
            self.submissions.store(place, *word);
        }
    }

    /// Takes the next completion entry, if there is one.
    pub(super) fn read_completion(&self, indices: &Indices) -> Option<Ended> {
        let head = indices.completion_head();
        let phase = indices.phase.load(Ordering::Relaxed);
        let start = head.saturating_mul(COMPLETION_LENGTH as u32);
        // Tag, status and phase are written last and at once.
        let last = self.completions.load(start.saturating_add(24));
        // CAST: the bits that are meant.
        if (last >> 48) as u32 & 1 != phase {
            return None;
        }
        fence(Ordering::Acquire);
        let bytes = self.completions.load(start);
        indices.head.store(after(head), Ordering::Relaxed);
        if after(head) == 0 {
            indices.phase.store(phase ^ 1, Ordering::Relaxed);
        }
        // CAST: the bits that are meant.
        Some(Ended { tag: last as u32, status: (last >> 32) as u16, bytes })
    }
}
