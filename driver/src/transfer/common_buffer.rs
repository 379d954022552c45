//! Transfers through a common buffer: copy, run the engine, copy back. Nothing is mapped.
//!
//! Cached and uncached buffers differ in their types only: making the cached one ready flushes the
//! processor's caches, for the uncached one there is nothing to flush.

use core::iter::once;

use wdk_dma::common_buffer::Kind;
use wdk_dma::irql::Dispatch;
use wdk_dma::{
    Cached, CommonBuffer, Direction, DmaError, Element, ReadyCommonBuffer, Transfer, Uncached,
};

use super::packet::{prepare, start_engine};
use super::pump::Held;
use super::slot::Stage;
use super::state::{Finish, State};
use crate::device::DeviceContext;
use crate::request::Request;
use crate::sys::STATUS_IO_DEVICE_ERROR;
use crate::trace::{Event, trace};

/// Common buffers that transfers go through: as many at a time as there are.
#[derive(Debug)]
pub(crate) struct Pool<K: Kind> {
    buffers: [Option<CommonBuffer<K>>; POOL_MAX],
}

/// The most common buffers of a kind.
pub(crate) const POOL_MAX: usize = 4;

impl<K: Kind> Pool<K> {
    pub(crate) const EMPTY: Self = Self { buffers: [const { None }; POOL_MAX] };

    /// Length of the next buffer, if one is free, bytes.
    pub(crate) fn length(&self) -> Option<u32> {
        self.buffers.iter().flatten().next().map(CommonBuffer::length)
    }

    /// Takes a buffer out.
    pub(crate) fn take(&mut self) -> Option<CommonBuffer<K>> {
        self.buffers.iter_mut().find_map(Option::take)
    }

    /// Puts a buffer in. There is room for as many as were allocated.
    pub(crate) fn give(&mut self, buffer: CommonBuffer<K>) {
        match self.buffers.iter_mut().find(|place| place.is_none()) {
            Some(place) => *place = Some(buffer),
            None => buffer.abandon(),
        }
    }
}

/// A kind of common buffer, with its place in the device's state.
pub(crate) trait Carrier: Kind + Sized {
    /// The stage while the engine works on the buffer.
    fn stage(transfer: Transfer<Request>, buffer: ReadyCommonBuffer<Self>, length: u32) -> Stage;

    /// Puts the buffer back for the next transfer.
    fn give_back(state: &mut State, buffer: CommonBuffer<Self>);
}

impl Carrier for Cached {
    fn stage(transfer: Transfer<Request>, buffer: ReadyCommonBuffer<Self>, length: u32) -> Stage {
        Stage::CarryingCached(transfer, buffer, length)
    }

    fn give_back(state: &mut State, buffer: CommonBuffer<Self>) {
        state.cached.give(buffer);
    }
}

impl Carrier for Uncached {
    fn stage(transfer: Transfer<Request>, buffer: ReadyCommonBuffer<Self>, length: u32) -> Stage {
        Stage::CarryingUncached(transfer, buffer, length)
    }

    fn give_back(state: &mut State, buffer: CommonBuffer<Self>) {
        state.uncached.give(buffer);
    }
}

/// Copies the next bytes to the buffer, where they go to the device, and starts the engine.
pub(crate) fn start<'a, K: Carrier>(
    context: &'a DeviceContext,
    index: usize,
    transfer: Transfer<Request>,
    mut buffer: CommonBuffer<K>,
    length: u32,
    dispatch: &Dispatch,
) -> Held<'a> {
    let direction = transfer.direction();
    let copied = match direction {
        Direction::ToDevice => transfer.copy_to(&mut buffer, length, dispatch),
        // What the device does not write must not be an earlier caller's data (SEC-08, DMA-96).
        Direction::FromDevice => {
            buffer.clear_first(length);
            Ok(())
        }
    };
    if let Err(error) = copied {
        return set_waiting(context, index, transfer.failed(error), buffer, dispatch);
    }
    let ready = buffer.make_ready(direction, dispatch);
    let element = Element { address: ready.address(), length };
    let run = prepare(context, index, transfer.done(), direction, &mut once(element), dispatch);
    let Some(run) = run else {
        // SAFETY: the device was never given the buffer.
        let buffer = unsafe { ready.finish() };
        let transfer = transfer.failed(DmaError::Refused(STATUS_IO_DEVICE_ERROR));
        return set_waiting(context, index, transfer, buffer, dispatch);
    };
    let stage = K::stage(transfer, ready, length);
    start_engine(context, index, stage, &run, dispatch)
}

/// Takes the buffer back after the engine has stopped, and copies what the device wrote.
pub(crate) fn finish<'a, K: Carrier>(
    context: &'a DeviceContext,
    index: usize,
    transfer: Transfer<Request>,
    ready: ReadyCommonBuffer<K>,
    length: u32,
    finish: Finish,
    dispatch: &Dispatch,
) -> Held<'a> {
    // SAFETY: the engine reads idle, or the device is gone.
    let buffer = unsafe { ready.finish() };
    trace(Event::PieceEnded);
    let transfer = match finish {
        Finish::Done => transfer.carried(&buffer, length, dispatch),
        // Nothing old may reach the caller (SEC-08).
        Finish::Undone | Finish::Gone => transfer,
    };
    set_waiting(context, index, transfer, buffer, dispatch)
}

fn set_waiting<'a, K: Carrier>(
    context: &'a DeviceContext,
    index: usize,
    transfer: Transfer<Request>,
    buffer: CommonBuffer<K>,
    dispatch: &Dispatch,
) -> Held<'a> {
    let mut state = context.state.lock(dispatch);
    K::give_back(&mut state, buffer);
    state.set(index, Stage::Waiting(transfer));
    Some(state)
}
