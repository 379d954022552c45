//! The cache model: processor caches that are not coherent with devices (docs/cache-model.md).
//!
//! * [`log`]: what it tells, the public part
//! * [`lines`]: one line
//! * [`pages`]: the lines that are tracked, by page
//! * [`transitions`]: what driver, HAL and devices do to lines
//! * [`adversary`]: what caches do by themselves
//! * [`counts`]: the n-th of what is counted by place
//! * [`fifo`]: the buffers of adapters
//! * [`flush`]: what KeFlushIoBuffers was called for, on every machine
//!
//! A coherent machine has no [`Cache`]. Lock order: an adapter's state, then the cache; nothing is
//! called from here but the machine's choices.

// UNSAFETY: see `lines`.

mod adversary;
mod counts;
mod fifo;
pub(crate) mod flush;
mod lines;
pub(crate) mod log;
mod pages;
#[cfg(test)]
mod tests;
mod transitions;

use parking_lot::{Mutex, MutexGuard};

use crate::machine::{Kernel, Profile, context};
use crate::memory::PAGE;
use fifo::Fifos;
use lines::Line;
use log::{Cause, LINE, LineState, Log, Loss, Lost, Moment, Place, Step};
use pages::Pages;
pub(crate) use transitions::{Given, Spoiled, Spoiler};

/// Lines of a page.
pub(crate) const LINES: usize = PAGE / LINE;

/// The caches of one machine that is not coherent.
#[derive(Debug)]
pub(crate) struct Cache {
    pages: Pages,
    fifos: Fifos,
    log: Log,
    /// What an instruction fetch would have seen of the last buffer that was unlocked.
    fetched: Option<(usize, Vec<u8>)>,
}

impl Cache {
    /// The caches of a machine of this profile; `None` if they are coherent.
    pub(crate) fn new(profile: Profile, recording: bool) -> Option<Self> {
        (!profile.is_coherent()).then(|| Self {
            pages: Pages::new(profile.prefetches()),
            fifos: Fifos::default(),
            log: Log { recording, ..Log::default() },
            fetched: None,
        })
    }

    /// The steps recorded so far.
    pub(crate) fn steps(&self) -> &[Step] {
        &self.log.steps
    }

    /// The losses so far.
    pub(crate) fn losses(&self) -> &[Loss] {
        &self.log.losses
    }

    /// Takes the losses so far.
    pub(crate) fn take_losses(&mut self) -> Vec<Loss> {
        std::mem::take(&mut self.log.losses)
    }

    /// Changes a tracked line, with what was stored into it until now seen first, and records the
    /// step. `bytes` are those concerned.
    fn step<R>(
        &mut self,
        (slot, line): (usize, usize),
        cause: Cause,
        bytes: (usize, usize),
        change: impl FnOnce(&mut Line, usize) -> R,
    ) -> R {
        let Self { pages, log, .. } = self;
        let page = pages.page_mut(slot);
        let place = page.place(line);
        let state = &mut page.lines[line];
        let old = state.state;
        let stored = state.look(place.address);
        if log.recording && stored != 0 && cause != Cause::BounceOut {
            let from = stored.trailing_zeros() as usize;
            let to = LINE - stored.leading_zeros() as usize;
            log.record(state, place, old, Cause::Store, (from, to - from));
        }
        let old = if cause == Cause::BounceOut { old } else { state.state };
        let result = change(state, place.address);
        state.check(place.address);
        if log.recording {
            log.record(state, place, old, cause, bytes);
        }
        pages.note(slot, line);
        result
    }

    /// A step whose loss, if there is one, is kept.
    fn losing_step(
        &mut self,
        at: (usize, usize),
        cause: Cause,
        how: Lost,
        change: impl FnOnce(&mut Line, usize) -> u64,
    ) {
        let lost = self.step(at, cause, (0, LINE), change);
        if lost != 0 {
            let place = self.pages.page_mut(at.0).place(at.1);
            self.log.lose(place, how, cause, lost);
        }
    }
}

impl Log {
    fn record(
        &mut self,
        line: &Line,
        place: Place,
        old: LineState,
        cause: Cause,
        bytes: (usize, usize),
    ) {
        // CAST: positions in a line.
        let bytes = (bytes.0 as u8, bytes.1 as u8);
        let (cpu, ram) = (line.cpu(place.address), line.ram);
        let (moment, new, fifo) = (self.now, line.state, [0; log::FIFO]);
        self.steps.push(Step { moment, place, old, new, cause, bytes, cpu, ram, fifo });
    }
}

impl Kernel {
    /// The caches, unless they are coherent.
    #[inline(always)]
    pub(crate) fn caches(&self) -> Option<MutexGuard<'_, Cache>> {
        self.memory.cache.as_ref().map(|cache| self.lock_caches(cache))
    }

    #[cold]
    fn lock_caches<'k>(&self, cache: &'k Mutex<Cache>) -> MutexGuard<'k, Cache> {
        let mut cache = cache.lock();
        cache.log.now = self.moment();
        cache
    }

    fn moment(&self) -> Moment {
        let event = self.events.load(std::sync::atomic::Ordering::Relaxed);
        let (callback, call) =
            context::with(|c| (c.callback.get(), c.ddi.get().map_or("", |ddi| ddi.name)));
        Moment { event, time: self.clock.now(), callback, call }
    }

    /// The cause of what the driver's present call does.
    pub(crate) fn present_call(&self) -> Cause {
        Cause::Call(context::with(|c| c.ddi.get().map_or("", |ddi| ddi.name)))
    }

    /// Lets the caches do something by themselves, or nothing, as the machine's choices say: the
    /// adversary's turn, under schedulers that have no task for it.
    #[cold]
    pub(crate) fn adversary_step(&self) {
        if let Some(mut cache) = self.caches() {
            cache.turn(&self.choices);
        }
    }
}
