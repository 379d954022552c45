//! What caches and adapters do by themselves, at any time: evict a line, prefetch one, drain a
//! FIFO. A scheduler chooses among the moves that are possible now.

use super::lines::{Mark, differing};
use super::log::{LINE, LineState, Lost};
use super::pages::{Kind, Page};
use super::{Cache, Cause, LINES};
use crate::machine::choices::Choices;
use crate::memory::pages::mix;

/// One move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Move {
    /// Page and line.
    Evict(usize, usize),
    /// Page and line.
    Prefetch(usize, usize),
    /// The device's slot.
    Drain(usize),
}

impl Cache {
    /// How many moves are possible now. The same machine with the same choices has the same moves
    /// in the same order.
    pub(crate) fn moves(&self) -> u32 {
        // CAST: a few lines for each page that is locked.
        self.possible().count() as u32
    }

    /// Makes move number `n`, counted from 0, of those possible now.
    pub(crate) fn make_move(&mut self, n: u32) {
        // CAST: a count of moves.
        let Some(chosen) = self.possible().nth(n as usize) else { return };
        match chosen {
            Move::Evict(page, line) => self.evict(page, line),
            Move::Prefetch(page, line) => {
                self.step((page, line), Cause::Prefetch, (0, LINE), |line, _| {
                    // What was stored a moment ago has brought the line in already.
                    if line.state == LineState::Absent {
                        line.state = LineState::Clean;
                    }
                });
            }
            Move::Drain(adapter) => self.drain(adapter, Cause::FifoDrained),
        }
    }

    /// The moves possible now: every line that is in the cache may be evicted; absent ones that a
    /// device was given may be prefetched, common buffers never are.
    fn possible(&self) -> impl Iterator<Item = Move> {
        let lines = self.pages.iter().filter(|(_, page)| page.kind != Kind::Uncached);
        let lines = lines.flat_map(move |(slot, page)| {
            (0..LINES).filter_map(move |line| self.move_of(slot, page, line))
        });
        lines.chain(self.fifos.waiting().map(Move::Drain))
    }

    fn move_of(&self, slot: usize, page: &Page, number: usize) -> Option<Move> {
        let line = &page.lines[number];
        if line.locked == 0 {
            return None;
        }
        let cpu = line.cpu(page.place(number).address);
        let stored = differing(&cpu, &line.snapshot, line.locked) != 0;
        if stored || line.state != LineState::Absent {
            return Some(Move::Evict(slot, number));
        }
        let prefetched = self.prefetches && page.kind == Kind::Locked && line.given != 0;
        prefetched.then_some(Move::Prefetch(slot, number))
    }

    fn evict(&mut self, page: usize, line: usize) {
        self.losing_step((page, line), Cause::Evict, Lost::WrittenOver, |line, address| {
            let lost = if line.state == LineState::Dirty { line.write_back(address) } else { 0 };
            line.invalidate(address);
            lost
        });
    }
}

/// What the lines of a buffer are like when it is locked: one draw for all of them, so that a
/// scheduler that explores has few branches.
#[derive(Clone, Copy, Debug)]
pub(super) struct Marks(u32);

impl Marks {
    pub(super) fn draw(choices: &Choices) -> Self {
        Self(choices.below(8))
    }

    /// The mark of a line of the `page`-th page of the buffer.
    pub(super) fn of(self, page: usize, line: usize) -> Mark {
        let kind = match self.0 {
            // A requester has just written its buffer: that is the usual case.
            0 | 1 => return Mark::Dirty,
            2 => return Mark::Clean,
            3 => return Mark::Absent,
            // CAST: small numbers to be mixed.
            mixed => mix((u64::from(mixed) << 48) ^ ((page as u64) << 8) ^ line as u64),
        };
        match kind % 4 {
            0 | 1 => Mark::Dirty,
            2 => Mark::Clean,
            _ => Mark::Absent,
        }
    }
}
