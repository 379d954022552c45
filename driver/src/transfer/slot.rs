//! Slots: where a transfer lives from its arrival to its completion.

use core::ffi::c_void;
use core::ptr;

use dmaproof_protocol as protocol;
use wdk_dma::scatter_gather::ListBuffer;
use wdk_dma::system::{OnChannel, Programmed};
use wdk_dma::v3::{Allocating, GrantedV3, MappingV3, TransferContext};
use wdk_dma::{
    Building, Cached, Footprint, Granted, Mapping, MdlChain, NextPiece, Ready, ReadyCommonBuffer,
    ScatterGatherList, Transfer, Uncached,
};

use super::state::Running;
use crate::device::DeviceContext;
use crate::request::Request;
use crate::sys::{
    NTSTATUS, STATUS_CANCELLED, WDFFILEOBJECT, WDFREQUEST, call_unsafe_wdf_function_binding,
};

/// Requests that the framework presents at a time.
pub(crate) const PRESENTED_REQUESTS: u32 = 32;

/// Slots: one for each presented request, and one more, because a slot outlives its request when
/// that is cancelled while its channel allocation is pending. At most one allocation is.
pub(crate) const SLOT_COUNT: usize = 33;

/// What a slot's transfer is doing.
#[derive(Debug)]
pub(crate) enum Stage {
    /// Nobody's.
    Free,
    /// The pump is taking a step with it.
    Busy,
    /// Nothing mapped, nothing held. The values of the FIFO.
    Waiting(Transfer<Request>),
    /// A channel allocation is pending.
    ChannelPending(Ready<Request>, u32),
    /// A channel allocation is pending, but its request is gone.
    Abandoned,
    /// Holds map registers and waits for the engine.
    Granted(Granted<Request>),
    /// The engine works on a mapped piece.
    Mapped(Mapping<Request>),
    /// A scatter/gather list is being built.
    ListPending(Building<Request>),
    /// Holds a list; waits for the engine, or the engine works on the current element.
    Listed(ScatterGatherList<Request>),
    /// A version 3 channel allocation is pending; the flag says that withdrawing it was tried.
    ChannelPendingV3(Allocating<Request>, u32, bool),
    /// Holds map registers of the version 3 adapter.
    GrantedV3(GrantedV3<Request>),
    /// Holds a mapped piece; waits for the engine, or the engine works on the current element.
    MappedV3(MappingV3<Request>),
    /// AdapterControl has kept a system DMA channel and is about to return.
    ChannelTaken(OnChannel<Request>),
    /// Holds a system DMA channel; waits for the engine.
    OnChannel(OnChannel<Request>),
    /// The engine works on the piece that its channel is set up for.
    Programmed(Programmed<Request>),
    /// The engine works on this many bytes in the cached common buffer.
    CarryingCached(Transfer<Request>, ReadyCommonBuffer<Cached>, u32),
    /// The engine works on this many bytes in the uncached common buffer.
    CarryingUncached(Transfer<Request>, ReadyCommonBuffer<Uncached>, u32),
    /// The engine never stopped working on it. The request is never completed.
    NeverStopped,
}

/// Whether the framework may call the cancel routine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cancel {
    /// No: never marked, unmarked, or the routine has run.
    Settled,
    /// Yes.
    Marked,
    /// It has begun to, and the request may be completed only after that (KMDF-27).
    Coming,
}

/// One slot.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) stage: Stage,
    /// The request's handle, for recognising it; null when there is none.
    pub(crate) handle: WDFREQUEST,
    /// The buffer, as long as there is a request.
    pub(crate) chain: Option<(MdlChain, Footprint)>,
    /// The slots whose requests came earlier and share memory with this one, a bit for each: it
    /// waits for them (DMA-51, DMA-94).
    pub(crate) waits_for: u64,
    /// What was asked for.
    pub(crate) asked: Option<protocol::Transfer>,
    /// Order of arrival.
    pub(crate) sequence: u64,
    pub(crate) cancel: Cancel,
    /// Set: the transfer goes no further and ends with this status.
    pub(crate) ending: Option<NTSTATUS>,
    /// The run of the engine for it.
    pub(crate) run: Option<Running>,
    /// The framework stopped it; no hardware access on its behalf until it resumes (KMDF-34).
    pub(crate) stopped: bool,
    /// Memory for its scatter/gather list.
    pub(crate) list_buffer: ListBuffer,
    /// Memory for its version 3 transfer context.
    pub(crate) transfer_context: TransferContext,
}

impl Slot {
    pub(crate) const FREE: Self = Self {
        stage: Stage::Free,
        handle: ptr::null_mut(),
        chain: None,
        waits_for: 0,
        asked: None,
        sequence: 0,
        cancel: Cancel::Settled,
        ending: None,
        run: None,
        stopped: false,
        list_buffer: ListBuffer::NONE,
        transfer_context: TransferContext::NONE,
    };

    /// Tells the transfer to end; the first reason stays.
    pub(crate) fn end(&mut self, status: NTSTATUS) {
        self.ending = self.ending.or(Some(status));
    }

    /// Forgets the request; its transfer has been taken out of the stage.
    pub(crate) fn forget_request(&mut self) {
        self.handle = ptr::null_mut();
        self.chain = None;
        self.waits_for = 0;
        self.asked = None;
        self.cancel = Cancel::Settled;
        self.ending = None;
        self.stopped = false;
    }

    /// Whether its request was sent through this file.
    pub(crate) fn is_of(&self, file: WDFFILEOBJECT) -> bool {
        if self.handle.is_null() || file.is_null() {
            return false;
        }
        // SAFETY: the driver owns the request as long as the slot has its handle.
        let own =
            unsafe { call_unsafe_wdf_function_binding!(WdfRequestGetFileObject, self.handle) };
        own == file
    }

    /// Takes the stage out for a step.
    pub(crate) fn take(&mut self) -> Stage {
        core::mem::replace(&mut self.stage, Stage::Busy)
    }

    /// Whether the driver alone decides about the request from now on (KMDF-27). Under the lock,
    /// so that the cancel routine finds the request or never runs (KMDF-28).
    pub(crate) fn claim(&mut self) -> bool {
        if self.cancel == Cancel::Marked {
            // SAFETY: owned by the driver and marked cancelable (KMDF-27).
            let status = unsafe {
                call_unsafe_wdf_function_binding!(WdfRequestUnmarkCancelable, self.handle)
            };
            if status == STATUS_CANCELLED {
                self.cancel = Cancel::Coming;
                self.ending = Some(STATUS_CANCELLED);
            } else {
                self.cancel = Cancel::Settled;
            }
        }
        self.cancel == Cancel::Settled
    }

    /// Whether the pump completes the request without having to wait for device or system.
    pub(crate) fn ends_at_once(&self) -> bool {
        let waits = self.run.is_some()
            || matches!(
                self.stage,
                Stage::Busy
                    | Stage::ListPending(_)
                    | Stage::ChannelPendingV3(..)
                    | Stage::ChannelTaken(_)
                    | Stage::NeverStopped
            );
        self.ending.is_some() && !waits
    }

    /// Whether a step may have to be taken with it: the engine does not work for it, and it is
    /// in a stage that leads to another one.
    pub(crate) fn rests(&self) -> bool {
        let still = matches!(
            self.stage,
            Stage::Free | Stage::Busy | Stage::Abandoned | Stage::NeverStopped
        );
        self.run.is_none() && !still
    }

    /// Whether it has what it asked for, map registers, a list or a channel, and the engine does
    /// not work for it: it can start the engine, or has to give that back.
    pub(crate) fn is_granted(&self) -> bool {
        self.run.is_none()
            && matches!(
                self.stage,
                Stage::Granted(_)
                    | Stage::Listed(_)
                    | Stage::OnChannel(_)
                    | Stage::GrantedV3(_)
                    | Stage::MappedV3(_)
            )
    }

    /// Whether the transfer has to give something back or to be completed.
    pub(crate) fn has_to_settle(&self, releasing: bool) -> bool {
        let (running, ending) = (self.run.is_some(), self.ending.is_some());
        let leaves = ending || releasing;
        let mapped = |piece| matches!(piece, NextPiece::Mapped(_));
        match &self.stage {
            Stage::Waiting(transfer) => transfer.is_over() || ending,
            Stage::ChannelPending(..) => ending,
            Stage::ChannelPendingV3(_, _, tried) => leaves && !tried,
            Stage::Granted(granted) => leaves || !mapped(granted.next_piece()),
            Stage::GrantedV3(granted) => leaves || !mapped(granted.next_piece()),
            Stage::OnChannel(held) => leaves || !mapped(held.next_piece()),
            Stage::Listed(list) => !running && (leaves || list.current().is_none()),
            Stage::MappedV3(mapping) => !running && (leaves || mapping.current().is_none()),
            _ => false,
        }
    }
}

/// What the system's callbacks get as context: a slot of a device.
#[derive(Debug)]
pub(crate) struct Token {
    pub(crate) context: *const DeviceContext,
    pub(crate) index: usize,
}

impl Token {
    /// # Safety
    /// `pointer` is the context that the driver handed out with an allocation or a build, and the
    /// device still exists, as it does while one is pending.
    pub(crate) unsafe fn of<'a>(pointer: *mut c_void) -> (&'a DeviceContext, usize) {
        // SAFETY: a token of the device context by the caller's promise; tokens never change.
        let token: &Self = unsafe { &*pointer.cast::<Self>() };
        // SAFETY: the context that holds the token; it outlives what is pending.
        (unsafe { &*token.context }, token.index)
    }
}
