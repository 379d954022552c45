//! Transfers that keep a device busy: several under way on each handle, every byte verified.
//!
//! A handle's traffic has lanes. Each lane owns a part of the device's memory, knows what is there,
//! and has at most one transfer under way: it sends patterns, by any path, and reads parts of what
//! it sent, by any other.

mod judge;
mod lane;
mod tally;
#[cfg(test)]
mod tests;

use std::ops::Range;

use dmaproof_protocol::Limits;

use crate::history::History;
use crate::interrupt;
use crate::pattern::Codec;
use crate::random::Random;
use crate::route::Route;
use crate::sweep::reaches_memory;
use crate::target::Session;
pub use judge::Found;
use lane::Lane;
pub use tally::{PathCount, Tally, add_counts};

/// The most device memory that a lane uses, in bytes.
const WINDOW_MAX: u64 = 128 << 10;
/// One in so many transfers is cancelled as soon as it was asked for, and one in as many when it
/// is its turn to be waited for.
const CANCEL_ONE_IN: usize = 24;

/// What the traffic may meet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rough {
    /// It cancels some of its own transfers.
    pub cancels: bool,
    /// The device may go away.
    pub removals: bool,
}

/// The traffic of one handle.
#[derive(Debug)]
pub struct Traffic {
    limits: Limits,
    codec: Codec,
    random: Random,
    rough: Rough,
    routes: Vec<Route>,
    lanes: Vec<Lane>,
    /// The lane whose turn it is.
    turn: usize,
    history: History,
    gone: bool,
    tally: Tally,
}

/// The part of a device's memory that thread `number` of `count` may use.
#[must_use]
pub fn share(memory: &Range<u64>, number: usize, count: usize) -> Range<u64> {
    // CAST: numbers of threads are small.
    let (number, count) = (number as u64, count as u64);
    let length = (memory.end - memory.start) / count;
    let start = memory.start + number * length;
    start..start + length
}

impl Traffic {
    /// Traffic with so many lanes in this part of the device's memory. A device with less memory
    /// than lanes has one lane for each byte.
    #[must_use]
    pub fn new(
        limits: &Limits,
        memory: &Range<u64>,
        lanes: usize,
        seed: u64,
        rough: Rough,
    ) -> Self {
        let codec = Codec::new(seed);
        let routes: Vec<Route> =
            Route::ALL.into_iter().filter(|route| reaches_memory(limits, *route)).collect();
        let bytes = usize::try_from(memory.end - memory.start).unwrap_or(usize::MAX);
        let count = if routes.is_empty() { 0 } else { lanes.min(bytes) };
        let length_max = WINDOW_MAX.min(limits.transfer_length_max);
        let lane = |number| {
            let part = share(memory, number, count);
            Lane::new(codec, part.start..part.end.min(part.start + length_max))
        };
        Self {
            limits: *limits,
            codec,
            random: Random::new(seed ^ 0x7AFF),
            rough,
            routes,
            lanes: (0..count).map(lane).collect(),
            turn: 0,
            history: History::default(),
            gone: false,
            tally: Tally::default(),
        }
    }

    /// Whether there is nothing to move: no lane, or the device has no memory.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    /// What happened so far.
    #[must_use]
    pub const fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Ends the oldest transfer and begins another one in its lane. Every lane without a transfer
    /// gets one on the way.
    pub fn step(&mut self, session: &mut dyn Session) -> Option<Found> {
        self.begin(session);
        if self.lanes.is_empty() || self.gone {
            return None;
        }
        let at = self.turn;
        self.turn = (at + 1) % self.lanes.len();
        let found = self.finish(session, at);
        if !self.gone {
            self.ask(session, at);
        }
        found
    }

    /// Begins a transfer in every lane that has none.
    pub fn begin(&mut self, session: &mut dyn Session) {
        for at in 0..self.lanes.len() {
            if !self.gone && !self.lanes[at].is_busy() && !interrupt::happened() {
                self.ask(session, at);
            }
        }
    }

    /// Cancels all transfers under way, which are still to be waited for.
    pub fn cancel(&mut self) {
        for under_way in self.lanes.iter_mut().filter_map(|lane| lane.under_way.as_mut()) {
            under_way.pending.cancel();
            under_way.cancelled = true;
        }
    }

    /// Waits for all transfers under way; the first thing that is wrong.
    pub fn settle(&mut self, session: &mut dyn Session) -> Option<Found> {
        let mut first = None;
        for at in 0..self.lanes.len() {
            let found = self.finish(session, at);
            first = first.or(found);
        }
        first
    }

    /// Reads all that the device should hold; the first thing that is wrong. No transfer may be
    /// under way.
    pub fn verify(&mut self, session: &mut dyn Session) -> Option<Found> {
        for at in 0..self.lanes.len() {
            if !self.gone && self.lanes[at].known() {
                let window = self.lanes[at].window();
                self.receive(session, at, window);
                let found = self.finish(session, at);
                if found.is_some() {
                    return found;
                }
            }
        }
        None
    }

    /// Whether the device went away under the traffic; it has to be opened again.
    #[must_use]
    pub const fn is_gone(&self) -> bool {
        self.gone
    }

    /// Goes on with another device, about whose memory nothing is known.
    pub fn go_on(&mut self) {
        self.gone = false;
        for lane in &mut self.lanes {
            lane.forget();
        }
    }
}
