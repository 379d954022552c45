//! The two rings of a queue: where they are and how far each side has come.

use crate::exerciser::command::{COMMAND_LENGTH, COMPLETION_LENGTH};
use crate::exerciser::{RING_ALIGNMENT, RING_MAX, RING_MIN};

/// Places and indices. Indices are below `size` once the queue is enabled.
#[derive(Clone, Copy, Default)]
pub(super) struct Rings {
    pub submission_base: u64,
    pub completion_base: u64,
    pub size: u32,
    /// Written by the host.
    pub submission_tail: u32,
    pub submission_head: u32,
    /// Written by the host.
    pub completion_head: u32,
    pub completion_tail: u32,
    /// Phase bit of the lap that is being written.
    pub phase: u16,
}

impl Rings {
    /// Whether these can be rings.
    pub(super) fn are_valid(&self) -> bool {
        let fits = |base: u64, entry: usize| {
            // CAST: a small constant.
            let length = u64::from(self.size) * entry as u64;
            base.is_multiple_of(RING_ALIGNMENT) && base.checked_add(length).is_some()
        };
        self.size.is_power_of_two()
            && (RING_MIN..=RING_MAX).contains(&self.size)
            && fits(self.submission_base, COMMAND_LENGTH)
            && fits(self.completion_base, COMPLETION_LENGTH)
    }

    /// Both rings are empty, and the first lap begins.
    pub(super) fn start(&mut self) {
        self.submission_tail = 0;
        self.submission_head = 0;
        self.completion_head = 0;
        self.completion_tail = 0;
        self.phase = 1;
    }

    fn distance(&self, from: u32, to: u32) -> u32 {
        to.wrapping_sub(from) & self.size.wrapping_sub(1)
    }

    /// Submission entries that were not fetched.
    pub(super) fn unfetched(&self) -> u32 {
        self.distance(self.submission_head, self.submission_tail)
    }

    /// Completion entries that the host has not read.
    pub(super) fn unread(&self) -> u32 {
        self.distance(self.completion_head, self.completion_tail)
    }

    /// Completion entries that can be written before the host reads any.
    pub(super) fn room(&self) -> u32 {
        self.size.saturating_sub(1).saturating_sub(self.unread())
    }

    /// The host has read up to `index`; `false` if there is nothing to be read there.
    pub(super) fn read_up_to(&mut self, index: u32) -> bool {
        let good = index < self.size && self.distance(self.completion_head, index) <= self.unread();
        if good {
            self.completion_head = index;
        }
        good
    }

    /// The next submission entries that lie in a row, at most `most`: address and number.
    pub(super) fn next_submissions(&self, most: u32) -> (u64, u32) {
        let row = self.size.saturating_sub(self.submission_head);
        let count = self.unfetched().min(row).min(most);
        // CAST: a small constant. INVARIANT: `are_valid` says that the sum fits.
        let address =
            self.submission_base + u64::from(self.submission_head) * COMMAND_LENGTH as u64;
        (address, count)
    }

    pub(super) fn fetched(&mut self, count: u32) {
        self.submission_head = self.submission_head.wrapping_add(count) & self.size.wrapping_sub(1);
    }

    /// Where the next completion entry goes, and how many lie in a row from there.
    pub(super) fn next_completion(&self) -> (u64, u32) {
        // CAST and INVARIANT: as for submissions.
        let offset = u64::from(self.completion_tail) * COMPLETION_LENGTH as u64;
        (self.completion_base + offset, self.size.saturating_sub(self.completion_tail))
    }

    /// `count` entries of the current row were written.
    pub(super) fn posted(&mut self, count: u32) {
        self.completion_tail = self.completion_tail.wrapping_add(count);
        if self.completion_tail >= self.size {
            self.completion_tail = 0;
            self.phase ^= 1;
        }
    }
}
