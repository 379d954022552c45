//! The decision what to do next. Everything here runs under the device's lock and only looks at
//! what is recorded; the steps themselves are taken outside.

use dmaproof_protocol::Path;
use wdk_dma::scatter_gather::ListBuffer;
use wdk_dma::system::{OnChannel, Programmed};
use wdk_dma::v3::{GrantedV3, MappingV3};
use wdk_dma::{
    Cached, CommonBuffer, Granted, Mapping, NextPiece, PieceLimits, ReadyCommonBuffer,
    ScatterGatherList, Transfer, Uncached,
};

use super::slot::{Slot, Stage};
use super::state::{Finish, Running, State, bit_of};
use crate::request::Request;
use crate::sys::NTSTATUS;

/// A step of a transfer, taken without the lock. The numbers are slots.
#[derive(Debug)]
pub(crate) enum Action {
    Complete(Transfer<Request>, Ending),
    Look(u32),
    Flush(usize, Mapping<Request>, Finish),
    Release(usize, Granted<Request>),
    Put(usize, ScatterGatherList<Request>),
    FinishCached(usize, Transfer<Request>, ReadyCommonBuffer<Cached>, u32, Finish),
    FinishUncached(usize, Transfer<Request>, ReadyCommonBuffer<Uncached>, u32, Finish),
    RequestChannel(usize, Transfer<Request>),
    BuildList(usize, Transfer<Request>, ListPlan),
    StartMapped(usize, Granted<Request>),
    StartElement(usize, ScatterGatherList<Request>),
    CarryCached(usize, Transfer<Request>, CommonBuffer<Cached>, u32),
    CarryUncached(usize, Transfer<Request>, CommonBuffer<Uncached>, u32),
    RequestChannelV3(usize, Transfer<Request>),
    CancelChannelV3(usize),
    MapV3(usize, GrantedV3<Request>),
    StartElementV3(usize, MappingV3<Request>),
    FlushV3(usize, MappingV3<Request>),
    ReleaseV3(usize, GrantedV3<Request>),
    RequestSystem(usize, Transfer<Request>),
    StartSystem(usize, OnChannel<Request>),
    Stop(usize, u32),
    FlushSystem(usize, Programmed<Request>, bool),
    ReleaseSystem(usize, OnChannel<Request>),
    Pio(usize, Transfer<Request>),
}

/// How a request ends, as far as the slot knows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ending {
    pub(crate) status: Option<NTSTATUS>,
    pub(crate) asked: Option<dmaproof_protocol::Transfer>,
}

/// What a list is built with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ListPlan {
    pub(crate) buffer: ListBuffer,
    pub(crate) alignment: u32,
}

/// How a waiting transfer can go on.
enum Start {
    Channel,
    ChannelV3,
    List,
    Cached(u32),
    Uncached(u32),
    System,
    Pio,
}

impl State {
    /// Whether hardware may be started.
    fn can_start(&self) -> bool {
        let leaving = self.releasing || self.surprise_removed || self.gone || self.failed;
        self.powered && self.present && !leaving
    }

    /// The next step, if there is one to take.
    pub(crate) fn next_action(&mut self) -> Option<Action> {
        self.finish_run().or_else(|| self.settle()).or_else(|| self.start())
    }

    /// A run of the engine that ended, or may have.
    fn finish_run(&mut self) -> Option<Action> {
        while let Some((index, run, finish)) = self.take_finished() {
            let action = self.end_run(index, &run, finish);
            if action.is_some() {
                return action;
            }
        }
        let check = core::mem::take(&mut self.engine.check);
        if check != 0 && self.powered {
            return Some(Action::Look(check));
        }
        self.stop_run()
    }

    /// What follows on the end of a slot's run.
    fn end_run(&mut self, index: usize, run: &Running, finish: Finish) -> Option<Action> {
        let done = if finish == Finish::Done { run.elements } else { 0 };
        let slot = self.slots.get_mut(index)?;
        match slot.take() {
            Stage::Mapped(mapping) => Some(Action::Flush(index, mapping, finish)),
            Stage::CarryingCached(transfer, buffer, length) => {
                Some(Action::FinishCached(index, transfer, buffer, length, finish))
            }
            Stage::CarryingUncached(transfer, buffer, length) => {
                Some(Action::FinishUncached(index, transfer, buffer, length, finish))
            }
            Stage::Programmed(programmed) => {
                Some(Action::FlushSystem(index, programmed, run.stopping))
            }
            Stage::Listed(mut list) => {
                list.elements_done(done);
                slot.stage = Stage::Listed(list);
                None
            }
            Stage::MappedV3(mut mapping) => {
                mapping.elements_done(done);
                slot.stage = Stage::MappedV3(mapping);
                None
            }
            other => {
                slot.stage = other;
                None
            }
        }
    }

    /// A run that need not go on, on a device that can be stopped.
    fn stop_run(&mut self) -> Option<Action> {
        let can = self.engine.abilities.stoppable && self.powered;
        let none = !self.engine.told_to_end || self.engine.running == 0;
        if !can || none || self.engine.resetting.is_some() {
            return None;
        }
        let found = self.slots.iter_mut().enumerate().find_map(|(index, slot)| {
            let ends = slot.ending.is_some();
            let run = slot.run.as_mut().filter(|run| ends && !run.stopping)?;
            run.stopping = true;
            Some(Action::Stop(index, run.tag))
        });
        self.engine.told_to_end = found.is_some();
        found
    }

    /// A transfer that has to give something back or to be completed.
    fn settle(&mut self) -> Option<Action> {
        let mut left = self.resting;
        while left != 0 {
            // CAST: at most 64.
            let index = left.trailing_zeros() as usize;
            left &= left.wrapping_sub(1);
            if !self.slots.get(index).is_some_and(Slot::rests) {
                self.resting &= !bit_of(index);
                continue;
            }
            let action = self.settle_slot(index);
            if action.is_some() {
                return action;
            }
        }
        None
    }

    fn settle_slot(&mut self, index: usize) -> Option<Action> {
        let releasing = self.releasing;
        let slot = self.slots.get_mut(index)?;
        if !slot.has_to_settle(releasing) {
            return None;
        }
        // A request is the driver's alone before it is completed (KMDF-27).
        let completes = matches!(slot.stage, Stage::Waiting(_) | Stage::ChannelPending(..));
        if completes && !slot.claim() {
            return None;
        }
        let ending = Ending { status: slot.ending, asked: slot.asked };
        match slot.take() {
            Stage::Waiting(transfer) => {
                self.forget(index, Stage::Free);
                Some(Action::Complete(transfer, ending))
            }
            // The request need not wait for its channel; the slot does.
            Stage::ChannelPending(ready, _) => {
                self.forget(index, Stage::Abandoned);
                Some(Action::Complete(ready.cancel(), ending))
            }
            Stage::ChannelPendingV3(allocating, count, _) => {
                slot.stage = Stage::ChannelPendingV3(allocating, count, true);
                Some(Action::CancelChannelV3(index))
            }
            Stage::Granted(granted) => Some(Action::Release(index, granted)),
            Stage::GrantedV3(granted) => Some(Action::ReleaseV3(index, granted)),
            Stage::OnChannel(held) => Some(Action::ReleaseSystem(index, held)),
            Stage::Listed(list) => Some(Action::Put(index, list)),
            Stage::MappedV3(mapping) => Some(Action::FlushV3(index, mapping)),
            stage => {
                slot.stage = stage;
                None
            }
        }
    }

    /// A transfer that can go on.
    fn start(&mut self) -> Option<Action> {
        if self.resting == 0 || !self.can_start() {
            return None;
        }
        // Oldest first.
        self.line.tidy(&self.slots);
        let (mut from, mut left) = (0, self.resting);
        if left.is_power_of_two() {
            // CAST: at most 64.
            return self.start_slot(left.trailing_zeros() as usize);
        }
        while left != 0 {
            let (place, index) = self.line.next(from, left)?;
            if let Some(action) = self.start_slot(index) {
                return Some(action);
            }
            from = place.saturating_add(1);
            left &= !bit_of(index);
        }
        None
    }

    fn start_slot(&mut self, index: usize) -> Option<Action> {
        let slot = self.slots.get(index)?;
        if slot.stopped {
            return None;
        }
        if let Stage::Waiting(transfer) = &slot.stage {
            let start = self.waiting_start(index, transfer)?;
            return self.start_waiting(index, start);
        }
        if !slot.is_granted() || !self.engine.has_room() {
            return None;
        }
        let slot = self.slots.get_mut(index)?;
        match slot.take() {
            Stage::Granted(granted) => Some(Action::StartMapped(index, granted)),
            Stage::Listed(list) => Some(Action::StartElement(index, list)),
            Stage::OnChannel(held) => Some(Action::StartSystem(index, held)),
            Stage::GrantedV3(granted) => Some(Action::MapV3(index, granted)),
            Stage::MappedV3(mapping) => Some(Action::StartElementV3(index, mapping)),
            stage => {
                slot.stage = stage;
                None
            }
        }
    }

    /// How a waiting transfer goes on, if what it needs is free and no other transfer that is
    /// under way, or came earlier, shares memory with it (DMA-51, DMA-94).
    fn waiting_start(&self, index: usize, transfer: &Transfer<Request>) -> Option<Start> {
        let slot = self.slots.get(index)?;
        if slot.ending.is_some() || slot.waits_for != 0 || transfer.is_over() {
            return None;
        }
        let room = self.engine.has_room();
        let rest = u32::try_from(transfer.remaining()).unwrap_or(u32::MAX);
        let whole = |length: u32| rest.min(length);
        match slot.asked.as_ref()?.path() {
            Path::Pio => Some(Start::Pio),
            Path::CommonBufferCached => {
                self.cached.length().filter(|_| room).map(|length| Start::Cached(whole(length)))
            }
            Path::CommonBufferUncached => {
                self.uncached.length().filter(|_| room).map(|length| Start::Uncached(whole(length)))
            }
            path => match transfer.next_piece(self.piece_limits(path)) {
                NextPiece::None => None,
                NextPiece::Copied(length) => {
                    self.cached.length().filter(|_| room).map(|_| Start::Cached(length))
                }
                NextPiece::Mapped(_) if self.pending.is_some() => None,
                NextPiece::Mapped(_) if path == Path::ScatterGather => Some(Start::List),
                NextPiece::Mapped(_) if path == Path::Version3 => Some(Start::ChannelV3),
                NextPiece::Mapped(_) if path == Path::SystemDma => Some(Start::System),
                NextPiece::Mapped(_) => Some(Start::Channel),
            },
        }
    }

    fn piece_limits(&self, path: Path) -> &PieceLimits {
        if path == Path::Version3 { &self.pieces_v3 } else { &self.pieces }
    }

    fn start_waiting(&mut self, index: usize, start: Start) -> Option<Action> {
        let slot = self.slots.get_mut(index)?;
        let transfer = match slot.take() {
            Stage::Waiting(transfer) => transfer,
            other => {
                slot.stage = other;
                return None;
            }
        };
        let action = match start {
            Start::Pio => Action::Pio(index, transfer),
            Start::List => {
                let plan = ListPlan { buffer: slot.list_buffer, alignment: self.pieces.alignment };
                Action::BuildList(index, transfer, plan)
            }
            Start::Channel => Action::RequestChannel(index, transfer),
            Start::ChannelV3 => Action::RequestChannelV3(index, transfer),
            Start::System => Action::RequestSystem(index, transfer),
            Start::Cached(length) => match self.cached.take() {
                Some(buffer) => Action::CarryCached(index, transfer, buffer, length),
                None => return self.put_back(index, transfer),
            },
            Start::Uncached(length) => match self.uncached.take() {
                Some(buffer) => Action::CarryUncached(index, transfer, buffer, length),
                None => return self.put_back(index, transfer),
            },
        };
        if !matches!(action, Action::Pio(..) | Action::CarryCached(..) | Action::CarryUncached(..))
        {
            self.pending = Some(index);
        }
        Some(action)
    }

    fn put_back(&mut self, index: usize, transfer: Transfer<Request>) -> Option<Action> {
        self.set(index, Stage::Waiting(transfer));
        None
    }
}
