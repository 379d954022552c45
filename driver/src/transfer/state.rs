//! Everything the device's lock protects.

use dmaproof_protocol::{Limits, QueryReply};
use wdk_dma::{Cached, CommonBuffer, PieceLimits, Uncached};

use super::slot::{SLOT_COUNT, Slot, Stage};
use crate::sys::{NTSTATUS, STATUS_DEVICE_REMOVED, WDFREQUEST};

/// How a run of the engine ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finish {
    /// The engine is idle.
    Idle,
    /// The device is gone.
    Gone,
}

/// The device's one DMA engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Engine {
    /// The slot it works for.
    pub(crate) owner: Option<usize>,
    /// Its registers are worth a look.
    pub(crate) check: bool,
    /// When the run counts as late, in interrupt time; a watchdog that was set for an earlier run
    /// may still fire.
    pub(crate) deadline: u64,
    /// The watchdog ran out.
    pub(crate) expired: bool,
    /// How often it did for this run.
    pub(crate) expirations: u32,
    /// The device was told to stop it.
    pub(crate) stopping: bool,
    /// The run ended and its slot does not know yet.
    pub(crate) finished: Option<Finish>,
}

impl Engine {
    pub(crate) const IDLE: Self = Self {
        owner: None,
        check: false,
        deadline: 0,
        expired: false,
        expirations: 0,
        stopping: false,
        finished: None,
    };
}

/// What the lock protects.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) slots: [Slot; SLOT_COUNT],
    pub(crate) next_sequence: u64,
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
    pub(crate) cached: Option<CommonBuffer<Cached>>,
    pub(crate) uncached: Option<CommonBuffer<Uncached>>,
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

    /// Tells every transfer to end.
    pub(crate) fn end_all(&mut self, status: NTSTATUS) {
        for slot in self.slots.iter_mut().filter(|slot| !slot.handle.is_null()) {
            slot.end(status);
        }
    }

    /// Puts a slot into a stage.
    pub(crate) fn set(&mut self, index: usize, stage: Stage) {
        if let Some(slot) = self.slots.get_mut(index) {
            slot.stage = stage;
        }
    }

    /// Takes a slot's stage out; it is `Busy` until another one is set.
    pub(crate) fn take(&mut self, index: usize) -> Option<Stage> {
        self.slots.get_mut(index).map(Slot::take)
    }

    /// Notes that the engine is about to work for a slot.
    pub(crate) fn run(&mut self, index: usize, stage: Stage, deadline: u64) {
        self.engine = Engine { owner: Some(index), deadline, ..Engine::IDLE };
        self.set(index, stage);
    }

    /// Records how the engine's run ended.
    pub(crate) fn run_ended(&mut self, finish: Finish) {
        if self.engine.owner.is_some() {
            self.engine.finished = Some(finish);
        }
        if finish == Finish::Gone {
            self.device_is_gone();
        }
    }
}
