//! What caches and adapters do by themselves, at any time: evict a line, prefetch one, drain a
//! FIFO. The deterministic scheduler chooses among the moves that are possible now; under the
//! straight one the adversary has a turn at each crossing, whose cost does not grow with the lines.

use super::lines::Mark;
use super::log::{LINE, LineState, Lost};
use super::pages::Kind;
use super::{Cache, Cause, LINES};
use crate::machine::choices::Choices;
use crate::memory::pages::mix;

/// How many places the adversary does not look at, beside those it does: a line is touched at one
/// crossing in so many.
const RELUCTANCE: usize = 64;

/// Pages of a kind that it looks at in one turn, at most. Beyond them a turn costs no more, and
/// each line is touched less often.
const PAGES: usize = 4;

/// Where the adversary looks.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// Slot of the page, and line.
    Line(usize, usize),
    /// Slot of the device.
    Fifo(usize),
}

impl Cache {
    /// How many moves are possible now: every line that is in the cache may be evicted; absent
    /// ones that a device was given may be prefetched, common buffers never are; every FIFO that
    /// holds something may be drained. A store shows at the line's next step, here as elsewhere.
    /// The same machine with the same choices has the same moves in the same order.
    pub(crate) fn moves(&self) -> u32 {
        // CAST: a few adapters.
        self.pages.possible() + self.fifos.waiting().count() as u32
    }

    /// Makes move number `n`, counted from 0, of those possible now.
    pub(crate) fn make_move(&mut self, n: u32) {
        if let Some(line) = self.pages.nth_possible(n) {
            return self.touch(line);
        }
        let left = n.saturating_sub(self.pages.possible());
        // CAST: a few adapters.
        let waiting = self.fifos.waiting().nth(left as usize);
        if let Some(adapter) = waiting {
            self.drain(adapter, Cause::FifoDrained);
        }
    }

    /// The adversary's turn where nobody asks what is possible: looks at a few lines, however many
    /// there are, and touches those that it can. So some losses happen and others do not.
    pub(super) fn turn(&mut self, choices: &Choices) {
        while let Some(looked_at) = self.look_somewhere(choices) {
            match looked_at {
                Place::Line(slot, line) => {
                    if self.pages.page(slot).is_possible(line) {
                        self.touch((slot, line));
                    }
                }
                Place::Fifo(adapter) => self.drain(adapter, Cause::FifoDrained),
            }
        }
    }

    /// A line or a FIFO, as the choices say, or none.
    fn look_somewhere(&self, choices: &Choices) -> Option<Place> {
        let [locked, common] = [Kind::Locked, Kind::Common].map(|kind| self.pages.of_kind(kind));
        let counts = [locked, common].map(|pages| pages.len().min(PAGES) * LINES);
        let fifos = self.fifos.waiting().count();
        let places = counts[0] + counts[1] + fifos;
        if places == 0 {
            return None;
        }
        let below = |bound: usize| choices.below(u32::try_from(bound).unwrap_or(u32::MAX)) as usize;
        let chosen = below(places + RELUCTANCE);
        let (pages, chosen) = match chosen.checked_sub(counts[0]) {
            None => (locked, chosen),
            Some(chosen) if chosen < counts[1] => (common, chosen),
            Some(chosen) => return self.fifos.waiting().nth(chosen - counts[1]).map(Place::Fifo),
        };
        let page = if pages.len() > PAGES { below(pages.len()) } else { chosen / LINES };
        Some(Place::Line(pages[page], chosen % LINES))
    }

    /// Evicts a line, or prefetches it if it is not there.
    fn touch(&mut self, at: (usize, usize)) {
        let page = self.pages.page(at.0);
        let (line, address) = (&page.lines[at.1], page.place(at.1).address);
        // What was stored has brought the line in.
        if line.state == LineState::Absent && !line.is_stored(address) {
            return self.step(at, Cause::Prefetch, (0, LINE), |line, _| {
                line.state = LineState::Clean;
            });
        }
        self.losing_step(at, Cause::Evict, Lost::WrittenOver, |line, address| {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{Machine, Profile};
    use crate::memory::PAGE;

    #[derive(Clone)]
    #[repr(align(4096))]
    struct Memory([u8; PAGE]);

    /// Evictions in a turn, of this many pages in which every line can be evicted.
    fn evictions(pages: usize) -> f64 {
        const TURNS: u32 = 400;
        let machine = Machine::builder(Profile::Nt).build();
        let mut cache = Cache::new(Profile::Nt, true).expect("it is not coherent");
        let mut memory = vec![Memory([0; PAGE]); pages];
        let start = memory.as_mut_ptr().expose_provenance();
        let choices = &machine.kernel.choices;
        cache.lock(choices, start, pages * PAGE, |page| page as u64);
        for turn in 0..TURNS {
            // CAST: whatever differs from the turn before.
            memory.iter_mut().for_each(|page| page.0.fill((turn % 250) as u8 + 1));
            cache.turn(choices);
        }
        let evictions = cache.steps().iter().filter(|step| step.cause == Cause::Evict).count();
        // CAST: a small number.
        evictions as f64 / f64::from(TURNS)
    }

    #[test]
    #[cfg_attr(miri, ignore = "it takes minutes")]
    fn a_line_is_touched_once_in_so_many_turns_and_a_turn_is_bounded() {
        for (pages, expected) in [(1, 1.0), (3, 3.0), (100, 4.0)] {
            let found = evictions(pages);
            assert!((found / expected - 1.0).abs() < 0.25, "{pages} pages: {found}");
        }
    }
}
