//! Everything the device's lock protects.

use dmaproof_protocol::{Limits, QueryReply, status};
use testdev::exerciser::{QUEUES, Status};
use wdk_dma::{Cached, PageSet, PieceLimits, Uncached};

use super::common_buffer::Pool;
use super::slot::{SLOT_COUNT, Slot, Stage};
use crate::engine::{Abilities, Ended, Run, exerciser};
use crate::sys::{NTSTATUS, STATUS_DEVICE_REMOVED, STATUS_IO_TIMEOUT, WDFREQUEST};

/// How a run of the engine ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finish {
    /// Everything was moved.
    Done,
    /// What was moved does not count: the run is begun again, unless its transfer ends.
    Undone,
    /// The device is gone.
    Gone,
}

/// One run of the engine, for the slot that has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Running {
    /// What the device calls it.
    pub(crate) tag: u32,
    /// Elements of the slot's list that it covers.
    pub(crate) elements: u32,
    length: u32,
    /// The device's queue that it is in.
    queue: usize,
    /// Nothing of its queue was before it when it last got its time.
    first: bool,
    /// When it counts as late, in interrupt time.
    deadline: u64,
    /// How often it did.
    expirations: u32,
    /// The device was told to stop it.
    pub(crate) stopping: bool,
    /// It ended, and its slot does not know yet.
    finished: Option<Finish>,
}

/// Bits of a tag that name the slot.
const TAG_SLOT: u32 = 0xFF;
const _: () = assert!(SLOT_COUNT <= TAG_SLOT as usize);

/// The device's DMA engine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Engine {
    pub(crate) abilities: Abilities,
    /// Slots with a run.
    pub(crate) running: u32,
    /// Slots whose run ended, a bit for each.
    finished: u64,
    /// Runs of each of the device's queues that have not ended.
    queued: [u32; QUEUES],
    /// Where it is worth looking, a bit for each queue; 0: nowhere.
    pub(crate) check: u32,
    /// The watchdog is set.
    pub(crate) armed: bool,
    /// The watchdog ran out.
    pub(crate) expired: bool,
    /// Only a reset helps.
    pub(crate) broken: bool,
    /// A reset is under way, and so often it was looked whether it is over.
    pub(crate) resetting: Option<u32>,
    /// Resets since the last run that ended by itself.
    pub(crate) resets: u32,
    /// Some request was told to end: its run may have to be stopped.
    pub(crate) told_to_end: bool,
    /// Makes tags different.
    generation: u32,
}

impl Engine {
    pub(crate) const IDLE: Self = Self {
        abilities: Abilities::EDU,
        running: 0,
        finished: 0,
        queued: [0; QUEUES],
        check: 0,
        armed: false,
        expired: false,
        broken: false,
        resetting: None,
        resets: 0,
        told_to_end: false,
        generation: 0,
    };

    /// Forgets all runs: what they use is given up.
    pub(crate) fn forget_runs(&mut self) {
        *self = Self { abilities: self.abilities, generation: self.generation, ..Self::IDLE };
    }

    /// A run enters a queue; whether it is the only one there.
    fn enter_queue(&mut self, queue: usize) -> bool {
        let Some(queued) = self.queued.get_mut(queue) else { return true };
        *queued = queued.saturating_add(1);
        *queued == 1
    }

    /// A run of a queue has ended.
    fn leave_queue(&mut self, queue: usize) {
        if let Some(queued) = self.queued.get_mut(queue) {
            *queued = queued.saturating_sub(1);
        }
    }

    /// Whether another run can be started.
    pub(crate) fn has_room(&self) -> bool {
        self.running < self.abilities.capacity && self.resetting.is_none() && !self.broken
    }
}

/// The bit of a slot.
pub(crate) const fn bit_of(index: usize) -> u64 {
    // CAST: below 64.
    1u64.wrapping_shl(index as u32)
}

/// The order in which requests arrived.
#[derive(Debug)]
pub(crate) struct Line {
    turns: [Turn; SLOT_COUNT],
    count: usize,
    /// Some request has left since it was last tidied.
    stale: bool,
}

/// A request's place in the line: its slot, which may since have got another one.
#[derive(Clone, Copy, Debug)]
struct Turn {
    slot: usize,
    sequence: u64,
}

impl Line {
    pub(crate) const EMPTY: Self =
        Self { turns: [Turn { slot: 0, sequence: 0 }; SLOT_COUNT], count: 0, stale: false };

    /// The slots of the requests in the line that are among `these`, each with its place, from a
    /// place on: the next one.
    pub(crate) fn next(&self, from: usize, these: u64) -> Option<(usize, usize)> {
        let rest = self.turns.get(from..self.count)?;
        let found = rest.iter().position(|turn| these & bit_of(turn.slot) != 0)?;
        Some((from.saturating_add(found), rest.get(found)?.slot))
    }

    /// Takes those out that have left.
    pub(crate) fn tidy(&mut self, slots: &[Slot; SLOT_COUNT]) {
        if !core::mem::take(&mut self.stale) {
            return;
        }
        let mut kept = 0;
        for place in 0..self.count {
            let Some(turn) = self.turns.get(place).copied() else { break };
            let still = |slot: &Slot| !slot.handle.is_null() && slot.sequence == turn.sequence;
            if slots.get(turn.slot).is_some_and(still)
                && let Some(free) = self.turns.get_mut(kept)
            {
                *free = turn;
                kept = kept.saturating_add(1);
            }
        }
        self.count = kept;
    }

    /// Lets a request in at the end.
    fn enter(&mut self, slot: usize, sequence: u64, slots: &[Slot; SLOT_COUNT]) {
        self.tidy(slots);
        // One request for each slot, so there is room.
        if let Some(place) = self.turns.get_mut(self.count) {
            *place = Turn { slot, sequence };
            self.count = self.count.saturating_add(1);
        }
    }
}

/// What the lock protects.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) slots: [Slot; SLOT_COUNT],
    pub(crate) next_sequence: u64,
    /// Slots that may have a step to take, a bit for each: at least every one that
    /// [rests](Slot::rests), so that nobody has to look at all of them.
    pub(crate) resting: u64,
    /// Some slot may wait for another one's request.
    pub(crate) others_wait: bool,
    /// The [marks](wdk_dma::Footprint::marks) of each slot's buffer; none without a request.
    pub(crate) marks: [u64; SLOT_COUNT],
    pub(crate) line: Line,
    pub(crate) pages: PageSet,
    /// The pump is at work on some processor.
    pub(crate) pumping: bool,
    /// The device is in D0 and its interrupt is connected.
    pub(crate) powered: bool,
    /// Adapters, buffers and registers are there.
    pub(crate) present: bool,
    /// They are about to go: hold nothing of them.
    pub(crate) releasing: bool,
    /// The device does not answer any more.
    pub(crate) gone: bool,
    /// The system said that the device was removed.
    pub(crate) surprise_removed: bool,
    /// The driver said that the device has failed.
    pub(crate) failed: bool,
    /// The slot whose allocation or build is pending: at most one (DMA-17, DMA-35).
    pub(crate) pending: Option<usize>,
    /// AdapterControl has run for it. Only when it has returned as well, which the channel's DPC
    /// knows, may the next allocation be made (DMA-35).
    pub(crate) channel_taken: bool,
    pub(crate) engine: Engine,
    pub(crate) cached: Pool<Cached>,
    pub(crate) uncached: Pool<Uncached>,
    /// What bounds a piece on the version 2 adapter.
    pub(crate) pieces: PieceLimits,
    /// The same for the version 3 adapter.
    pub(crate) pieces_v3: PieceLimits,
    pub(crate) limits: Limits,
    pub(crate) reply: QueryReply,
}

impl State {
    /// The slot of a request.
    pub(crate) fn find(&mut self, request: WDFREQUEST) -> Option<&mut Slot> {
        self.slots.iter_mut().find(|slot| !request.is_null() && slot.handle == request)
    }

    /// The device is gone: whatever there is ends.
    pub(crate) fn device_is_gone(&mut self) {
        self.gone = true;
        self.end_all(STATUS_DEVICE_REMOVED);
    }

    /// Whether the pump is at rest, no callback of the system's is to come, and no transfer holds
    /// anything of the adapters, unless the engine works for it.
    pub(crate) fn has_given_back(&self) -> bool {
        !self.pumping && self.pending.is_none() && !self.slots.iter().any(Slot::is_granted)
    }

    /// Tells every transfer to end.
    pub(crate) fn end_all(&mut self, status: NTSTATUS) {
        for slot in self.slots.iter_mut().filter(|slot| !slot.handle.is_null()) {
            slot.end(status);
        }
        self.engine.told_to_end = true;
    }

    /// A slot may have a step to take.
    fn wake(&mut self, index: usize) {
        self.resting |= bit_of(index);
    }

    /// Puts a request that has just taken a slot into the line, behind those that it shares memory
    /// with.
    pub(crate) fn line_up(&mut self, index: usize) {
        let sequence = self.next_sequence;
        self.next_sequence = sequence.saturating_add(1);
        let Some((chain, own)) = self.slots.get(index).and_then(|slot| slot.chain) else { return };
        let mut waits_for = 0u64;
        let pages = &mut self.pages;
        pages.forget();
        let marks = own.marks();
        let near = self.marks.iter().enumerate();
        for (other, _) in near.filter(|(_, theirs)| **theirs & marks != 0) {
            let theirs = self.slots.get(other).filter(|_| other != index);
            let theirs = theirs.and_then(|slot| slot.chain);
            if theirs.is_some_and(|(theirs, print)| chain.shares(own, theirs, print, pages)) {
                waits_for |= bit_of(other);
            }
        }
        if let Some(place) = self.marks.get_mut(index) {
            *place = marks;
        }
        self.others_wait |= waits_for != 0;
        if let Some(slot) = self.slots.get_mut(index) {
            slot.waits_for = waits_for;
            slot.sequence = sequence;
        }
        self.wake(index);
        self.line.enter(index, sequence, &self.slots);
    }

    /// Forgets a slot's request, whose transfer has been taken out; others need not wait for it.
    pub(crate) fn forget(&mut self, index: usize, stage: Stage) {
        let bit = bit_of(index);
        if core::mem::take(&mut self.others_wait) {
            for slot in &mut self.slots {
                slot.waits_for &= !bit;
                self.others_wait |= slot.waits_for != 0;
            }
        }
        if let Some(marks) = self.marks.get_mut(index) {
            *marks = 0;
        }
        if let Some(slot) = self.slots.get_mut(index) {
            slot.forget_request();
            slot.stage = stage;
        }
        self.line.stale = true;
    }

    /// Puts a slot into a stage.
    pub(crate) fn set(&mut self, index: usize, stage: Stage) {
        if let Some(slot) = self.slots.get_mut(index) {
            slot.stage = stage;
        }
        self.wake(index);
    }

    /// Takes a slot's stage out; it is `Busy` until another one is set.
    pub(crate) fn take(&mut self, index: usize) -> Option<Stage> {
        self.slots.get_mut(index).map(Slot::take)
    }

    /// Notes that the engine is about to work for a slot; returns the run's tag.
    pub(crate) fn run(&mut self, index: usize, stage: Stage, run: &Run, deadline: u64) -> u32 {
        self.engine.generation = self.engine.generation.wrapping_add(1);
        // CAST: less than the mask.
        let tag = self.engine.generation.wrapping_shl(8) | (index as u32 & TAG_SLOT);
        let queue = run.queue();
        let first = self.engine.enter_queue(queue);
        if let Some(slot) = self.slots.get_mut(index) {
            slot.stage = stage;
            slot.run = Some(Running {
                tag,
                elements: run.elements,
                length: run.length,
                queue,
                first,
                deadline,
                expirations: 0,
                stopping: false,
                finished: None,
            });
            self.engine.running = self.engine.running.saturating_add(1);
        }
        tag
    }

    /// Records how a slot's run ended; the first word counts.
    fn finish(&mut self, index: usize, finish: Finish) {
        let Some(run) = self.slots.get_mut(index).and_then(|slot| slot.run.as_mut()) else {
            return;
        };
        if run.finished.is_none() {
            run.finished = Some(finish);
            self.engine.leave_queue(run.queue);
        }
        self.engine.finished |= bit_of(index);
    }

    /// Records how all runs ended that have not yet.
    pub(crate) fn runs_ended(&mut self, finish: Finish) {
        for index in 0..SLOT_COUNT {
            self.finish(index, finish);
        }
        if finish == Finish::Gone {
            self.device_is_gone();
        }
    }

    /// Records the end of one run, as the device told it; `false` if there is no such run.
    pub(crate) fn run_ended(&mut self, ended: &Ended) -> bool {
        // CAST: less than the mask.
        let index = (ended.tag & TAG_SLOT) as usize;
        let Some(slot) = self.slots.get_mut(index) else { return false };
        let known = slot.run.filter(|run| run.tag == ended.tag && run.finished.is_none());
        let Some(run) = known else { return false };
        let failure = match exerciser::status_of(ended) {
            Some(Status::Done) if ended.bytes == u64::from(run.length) => None,
            // It moved less than it was told to.
            Some(Status::Done) => Some(status::DEVICE_DATA_ERROR),
            Some(Status::BusMiss | Status::BusPermission) => Some(status::ADAPTER_HARDWARE_ERROR),
            Some(Status::Aborted) if run.stopping => {
                self.finish(index, Finish::Undone);
                return true;
            }
            _ => Some(status::IO_DEVICE_ERROR),
        };
        if let Some(status) = failure {
            slot.end(status);
        }
        self.finish(index, if failure.is_none() { Finish::Done } else { Finish::Undone });
        self.engine.resets = 0;
        true
    }

    /// Takes a run that ended out of its slot.
    pub(crate) fn take_finished(&mut self) -> Option<(usize, Running, Finish)> {
        let index = self.engine.finished.trailing_zeros();
        self.engine.finished &= self.engine.finished.wrapping_sub(1);
        // CAST: at most 64.
        let slot = self.slots.get_mut(index as usize)?;
        let run = slot.run.take()?;
        self.engine.running = self.engine.running.saturating_sub(1);
        self.wake(index as usize);
        Some((index as usize, run, run.finished?))
    }

    /// The runs that have not ended.
    fn unfinished(&mut self) -> impl Iterator<Item = &mut Slot> {
        let waits = |slot: &&mut Slot| slot.run.is_some_and(|run| run.finished.is_none());
        self.slots.iter_mut().filter(waits)
    }

    /// When the first run that has not ended is late, in interrupt time.
    pub(crate) fn first_deadline(&mut self) -> Option<u64> {
        self.unfinished().filter_map(|slot| slot.run).map(|run| run.deadline).min()
    }

    /// The tag of the oldest run of each queue that has not ended: the one that the queue works on.
    fn oldest(&mut self) -> [Option<u32>; QUEUES] {
        let mut oldest = [None::<u32>; QUEUES];
        for run in self.unfinished().filter_map(|slot| slot.run) {
            let Some(place) = oldest.get_mut(run.queue) else { continue };
            // CAST: the sign says which of two tags came first.
            let is_older = |tag: u32| (run.tag.wrapping_sub(tag) as i32) < 0;
            if place.is_none_or(is_older) {
                *place = Some(run.tag);
            }
        }
        oldest
    }

    /// Times out the runs that are late, and gives them until `next`. Returns how often the worst
    /// of them has been; 0: none is late. A queue works on its runs one after the other, so only its
    /// oldest can be late, and only if it has been that for all of its time; the others have waited,
    /// and get their time anew.
    ///
    /// A request stays until its run stops: the device may still write (KMDF-29).
    pub(crate) fn expire(&mut self, now: u64, next: u64) -> u32 {
        let mut worst = 0;
        let oldest = self.oldest();
        for slot in self.unfinished() {
            if let Some(run) = slot.run.as_mut().filter(|run| run.deadline <= now) {
                run.deadline = next;
                let oldest = oldest.get(run.queue).is_none_or(|oldest| *oldest == Some(run.tag));
                if !core::mem::replace(&mut run.first, oldest) {
                    continue;
                }
                run.expirations = run.expirations.saturating_add(1);
                worst = worst.max(run.expirations);
                slot.end(STATUS_IO_TIMEOUT);
            }
        }
        self.engine.told_to_end |= worst != 0;
        worst
    }
}
