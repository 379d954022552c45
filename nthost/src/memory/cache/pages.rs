//! The pages whose lines are tracked: from the first lock, or the allocation of a common buffer,
//! to the last unlock.

use super::LINES;
use super::counts::Counts;
use super::lines::{Line, bytes_of, mask};
use super::log::{LINE, LineState, Place};
use crate::memory::pages::NumberMap;
use crate::memory::{PAGE, PAGE_SHIFT};

/// What a page is to the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Memory that was locked for a transfer.
    Locked,
    /// A common buffer that the processor caches.
    Common,
    /// A common buffer that it does not: nothing of it is ever in a cache.
    Uncached,
}

/// One tracked page.
#[derive(Debug)]
pub(super) struct Page {
    /// Address in the process.
    pub address: usize,
    /// Page frame.
    pub frame: u64,
    pub kind: Kind,
    /// The ranges that are locked; the same one may be there more than once.
    ranges: Vec<(u32, u32)>,
    pub lines: [Line; LINES],
    /// Whether lines of it that a device was given may be prefetched.
    prefetches: bool,
    /// The lines to which the adversary can do something, one bit each, as far as the model has
    /// seen: those in the cache, and absent ones that may be prefetched.
    possible: u64,
    /// Where the page stands among those of its kind.
    position: usize,
}

impl Page {
    /// A line has changed.
    fn note(&mut self, number: usize) {
        let (line, bit) = (&self.lines[number], 1 << number);
        let prefetched = self.prefetches && line.given != 0;
        let possible = line.locked != 0 && (prefetched || line.state != LineState::Absent);
        self.possible = if possible { self.possible | bit } else { self.possible & !bit };
    }

    /// Whether this line is one, or the processor has stored into it unseen.
    pub(super) fn is_possible(&self, line: usize) -> bool {
        self.possible >> line & 1 == 1 || self.lines[line].is_stored(self.place(line).address)
    }

    /// Whether KeFlushIoBuffers has nothing to do about a line.
    pub(super) fn is_flushed(&self, line: usize, read: bool) -> bool {
        let state = self.lines[line].state;
        let flushed = state == LineState::Absent || (state == LineState::Clean && !read);
        flushed && !self.lines[line].is_stored(self.place(line).address)
    }

    /// A line's place.
    pub(super) fn place(&self, line: usize) -> Place {
        let page = self.frame << PAGE_SHIFT;
        // CAST: below 64.
        Place { page, line: line as u8, address: self.address + line * LINE }
    }

    /// Adds a locked range.
    pub(super) fn lock(&mut self, from: usize, to: usize) {
        // CAST: offsets in a page.
        self.ranges.push((from as u32, to as u32));
    }

    /// Takes a locked range away.
    pub(super) fn unlock(&mut self, from: usize, to: usize) {
        // CAST: offsets in a page.
        let range = (from as u32, to as u32);
        if let Some(at) = self.ranges.iter().rposition(|&known| known == range) {
            self.ranges.swap_remove(at);
        }
    }

    /// Whether nothing is locked any more.
    pub(super) fn is_free(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The bytes of a line that the ranges lock.
    pub(super) fn locked(&self, line: usize) -> u64 {
        let start = line * LINE;
        // CAST: offsets in a page.
        self.ranges.iter().fold(0, |sum, &(from, to)| {
            let (from, to) = (from as usize, to as usize);
            let (from, to) = (from.max(start), to.min(start + LINE));
            if from < to { sum | mask(from - start, to - start) } else { sum }
        })
    }
}

impl Default for Page {
    /// A page of which nothing is tracked.
    fn default() -> Self {
        Self {
            address: 0,
            frame: 0,
            kind: Kind::Locked,
            ranges: Vec::with_capacity(2),
            lines: [const { Line::UNTRACKED }; LINES],
            prefetches: false,
            possible: 0,
            position: 0,
        }
    }
}

/// All tracked pages. They are numbered in the order of their first lock, which is the same in
/// every run with the same choices; addresses are not.
#[derive(Debug, Default)]
pub(super) struct Pages {
    slots: Vec<Option<Box<Page>>>,
    free: Vec<usize>,
    /// From page number in the process to slot.
    index: NumberMap<usize, usize>,
    /// The slots of the pages of each kind, in no order that means anything.
    kinds: [Vec<usize>; 3],
    /// Whether the processor prefetches.
    prefetches: bool,
    /// How many lines there are to which the adversary can do something, by slot.
    possible: Counts,
    /// Pages that are tracked no more, to be used again: none of their lines is.
    spare: Vec<Box<Page>>,
}

/// Spare pages kept: those of a megabyte.
const SPARE: usize = 256;

impl Pages {
    /// None, on a processor that prefetches or does not.
    pub(super) fn new(prefetches: bool) -> Self {
        Self { prefetches, ..Self::default() }
    }

    /// A line of a page has changed.
    pub(super) fn note(&mut self, slot: usize, line: usize) {
        let page = self.page_mut(slot);
        let before = page.possible;
        page.note(line);
        let after = page.possible;
        if after != before {
            self.possible.set(slot, after.count_ones());
        }
    }

    /// How many lines there are to which the adversary can do something.
    pub(super) fn possible(&self) -> u32 {
        self.possible.total()
    }

    /// Slot and number of the n-th of these lines.
    pub(super) fn nth_possible(&self, n: u32) -> Option<(usize, usize)> {
        let (slot, left) = self.possible.find(n)?;
        Some((slot, bytes_of(self.page(slot).possible).nth(left as usize)?))
    }

    /// The slot of the page at this address.
    pub(super) fn find(&self, address: usize) -> Option<usize> {
        self.index.get(&(address >> PAGE_SHIFT)).copied()
    }

    /// The slot of the page at this address, tracked from now on if it was not.
    pub(super) fn find_or_add(&mut self, address: usize, frame: u64, kind: Kind) -> usize {
        if let Some(slot) = self.find(address) {
            return slot;
        }
        let mut page = self.spare.pop().unwrap_or_default();
        (page.address, page.frame, page.kind) = (address & !(PAGE - 1), frame, kind);
        page.prefetches = self.prefetches && kind == Kind::Locked;
        page.position = self.kinds[kind as usize].len();
        let page = Some(page);
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot] = page;
                slot
            }
            None => {
                self.slots.push(page);
                self.slots.len() - 1
            }
        };
        self.index.insert(address >> PAGE_SHIFT, slot);
        self.kinds[kind as usize].push(slot);
        slot
    }

    /// Forgets a page.
    pub(super) fn remove(&mut self, slot: usize) {
        if let Some(mut page) = self.slots[slot].take() {
            page.possible = 0;
            self.possible.set(slot, 0);
            self.index.remove(&(page.address >> PAGE_SHIFT));
            self.free.push(slot);
            let kind = &mut self.kinds[page.kind as usize];
            kind.swap_remove(page.position);
            if let Some(&moved) = kind.get(page.position) {
                self.page_mut(moved).position = page.position;
            }
            let is_clear = page.ranges.is_empty() && page.lines.iter().all(|l| l.locked == 0);
            if is_clear && self.spare.len() < SPARE {
                self.spare.push(page);
            }
        }
    }

    /// The slots of the pages of a kind, in an order that is the same in every run.
    pub(super) fn of_kind(&self, kind: Kind) -> &[usize] {
        &self.kinds[kind as usize]
    }

    pub(super) fn page(&self, slot: usize) -> &Page {
        self.slots[slot].as_ref().expect("only slots of tracked pages are handed out")
    }

    pub(super) fn page_mut(&mut self, slot: usize) -> &mut Page {
        self.slots[slot].as_mut().expect("only slots of tracked pages are handed out")
    }

    /// Slots and pages, in order.
    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &Page)> {
        self.slots.iter().enumerate().filter_map(|(at, page)| page.as_deref().map(|p| (at, p)))
    }
}

/// The lines that bytes `from..to` of a page touch, each with the bytes of the line.
pub(super) fn lines_of(from: usize, to: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    debug_assert!(from <= to && to <= PAGE);
    let last = to.div_ceil(LINE).max(from / LINE);
    (from / LINE..last).map(move |line| {
        let start = line * LINE;
        (line, from.max(start) - start, to.min(start + LINE) - start)
    })
}

/// The pages that bytes of the process touch: address of the first byte, offset in the page of the
/// first and behind the last.
pub(super) fn pages_of(start: usize, length: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    let end = start + length;
    let mut at = start;
    std::iter::from_fn(move || {
        let address = at;
        let from = at % PAGE;
        let to = (from + (end - at)).min(PAGE);
        at += to - from;
        (from < to).then_some((address, from, to))
    })
}
