//! The pump: takes the steps of all transfers of a device, one after the other.

use dmaproof_protocol::status;
use wdk_dma::irql::{self, AtMostDispatch, Dispatch};
use wdk_dma::{Finished, Transfer};

use super::schedule::{Action, Ending};
use super::slot::Stage;
use super::state::State;
use super::{common_buffer, packet, pio, scatter_gather, system, v3, watch};
use crate::device::DeviceContext;
use crate::request::Request;
use crate::sync::Guard;
use crate::sys::{NTSTATUS, STATUS_IO_DEVICE_ERROR, STATUS_IO_TIMEOUT, STATUS_SUCCESS};

/// The device's state, held: a step that ends by changing it leaves it so for the next one.
pub(crate) type Held<'a> = Option<Guard<'a, State>>;

/// Ends a step by putting its slot into a stage.
pub(crate) fn leave<'a>(
    context: &'a DeviceContext,
    index: usize,
    stage: Stage,
    dispatch: &Dispatch,
) -> Held<'a> {
    let mut state = context.state.lock(dispatch);
    state.set(index, stage);
    Some(state)
}

/// Takes every step that can be taken now. What happened was recorded under the lock before.
///
/// If the pump is at work already, on this or another processor, that one sees what was recorded
/// and this call returns at once. No lock is held. IRQL: at most DISPATCH_LEVEL.
pub fn pump<L: AtMostDispatch>(context: &DeviceContext, level: &mut L) {
    pump_after(context, level, |_| true);
}

/// The same, after `record` has recorded under the lock what happened; not if it says so.
pub(crate) fn pump_after<L: AtMostDispatch>(
    context: &DeviceContext,
    level: &mut L,
    record: impl FnOnce(&mut State) -> bool,
) {
    // Raised first: a thread that claimed the pump and was then preempted would stop everybody.
    irql::raise(level, |dispatch| {
        let mut state = context.state.lock(dispatch);
        if record(&mut state) && !state.pumping {
            run(context, state, dispatch);
        }
    });
}

/// What the pump does next.
enum Step {
    Action(Action),
    /// A device with rings hears at the end of all that was started together.
    Ring,
}

/// Decides on the next step, and keeps the pump or gives it up.
fn decide(context: &DeviceContext, state: &mut State) -> Option<Step> {
    let action = state.next_action().map(Step::Action);
    let step = action.or_else(|| context.registers.is_untold().then_some(Step::Ring));
    state.pumping = step.is_some();
    step
}

/// Requests that are to be completed as soon as the lock is released.
struct Over {
    entries: [Option<(Transfer<Request>, Ending)>; Self::LENGTH],
    count: usize,
}

impl Over {
    const LENGTH: usize = 4;

    const fn new() -> Self {
        Self { entries: [const { None }; Self::LENGTH], count: 0 }
    }

    fn is_full(&self) -> bool {
        self.count >= Self::LENGTH
    }

    fn push(&mut self, transfer: Transfer<Request>, ending: Ending) {
        if let Some(place) = self.entries.get_mut(self.count) {
            *place = Some((transfer, ending));
            self.count = self.count.saturating_add(1);
        }
    }

    /// Completes them. No lock is held.
    fn complete(&mut self, context: &DeviceContext) {
        for entry in self.entries.iter_mut().take(self.count) {
            if let Some((transfer, ending)) = entry.take() {
                complete(context, transfer, ending);
            }
        }
        self.count = 0;
    }
}

fn run<'a>(context: &'a DeviceContext, mut state: Guard<'a, State>, dispatch: &Dispatch) {
    let mut over = Over::new();
    loop {
        let step = match decide(context, &mut state) {
            Some(Step::Action(Action::Complete(transfer, ending))) => {
                over.push(transfer, ending);
                if !over.is_full() {
                    continue;
                }
                None
            }
            None if over.count == 0 => return,
            step => step,
        };
        // Only what has completed everything has nothing left to do.
        state.pumping = true;
        drop(state);
        over.complete(context);
        let held = match step {
            Some(Step::Action(action)) => perform(context, action, dispatch),
            Some(Step::Ring) => {
                context.registers.ring(context.hardware().shared.as_ref(), dispatch);
                None
            }
            None => None,
        };
        state = held.unwrap_or_else(|| context.state.lock(dispatch));
    }
}

/// Takes a step. The state may be held afterwards.
fn perform<'a>(context: &'a DeviceContext, action: Action, dispatch: &Dispatch) -> Held<'a> {
    match action {
        // The pump has done it together with others.
        Action::Complete(transfer, ending) => complete(context, transfer, ending),
        Action::Look(mask) => return watch::look(context, mask, dispatch),
        Action::Stop(index, tag) => watch::stop(context, index, tag, dispatch),
        Action::Flush(index, mapping, finish) => {
            return packet::flush(context, index, mapping, finish, dispatch);
        }
        Action::Release(index, granted) => {
            return packet::release(context, index, granted, dispatch);
        }
        Action::RequestChannel(index, transfer) => {
            packet::request_channel(context, index, transfer, dispatch);
        }
        Action::StartMapped(index, granted) => {
            return packet::start(context, index, granted, dispatch);
        }
        Action::BuildList(index, transfer, plan) => {
            scatter_gather::build(context, index, transfer, plan, dispatch);
        }
        Action::StartElement(index, list) => {
            return scatter_gather::start(context, index, list, dispatch);
        }
        Action::Put(index, list) => return scatter_gather::put(context, index, list, dispatch),
        Action::CarryCached(index, transfer, buffer, length) => {
            return common_buffer::start(context, index, transfer, buffer, length, dispatch);
        }
        Action::CarryUncached(index, transfer, buffer, length) => {
            return common_buffer::start(context, index, transfer, buffer, length, dispatch);
        }
        Action::FinishCached(index, transfer, buffer, length, finish) => {
            return common_buffer::finish(
                context, index, transfer, buffer, length, finish, dispatch,
            );
        }
        Action::FinishUncached(index, transfer, buffer, length, finish) => {
            return common_buffer::finish(
                context, index, transfer, buffer, length, finish, dispatch,
            );
        }
        Action::RequestChannelV3(index, transfer) => {
            v3::request_channel(context, index, transfer, dispatch);
        }
        Action::CancelChannelV3(index) => v3::cancel_channel(context, index, dispatch),
        Action::MapV3(index, granted) => return v3::map(context, index, granted, dispatch),
        Action::StartElementV3(index, mapping) => {
            return v3::start(context, index, mapping, dispatch);
        }
        Action::FlushV3(index, mapping) => return v3::flush(context, index, mapping, dispatch),
        Action::ReleaseV3(index, granted) => {
            return v3::release(context, index, granted, dispatch);
        }
        Action::RequestSystem(index, transfer) => {
            system::request_channel(context, index, transfer, dispatch);
        }
        Action::StartSystem(index, held) => return system::start(context, index, held, dispatch),
        Action::FlushSystem(index, programmed, stopped) => {
            system::flush(context, index, programmed, stopped, dispatch);
        }
        Action::ReleaseSystem(index, held) => system::release(context, index, held, dispatch),
        Action::Pio(index, transfer) => pio::perform(context, index, transfer, dispatch),
    }
    None
}

/// Completes a request: nothing of it is mapped, and no lock is held.
fn complete(context: &DeviceContext, transfer: Transfer<Request>, ending: Ending) {
    let remaining = transfer.remaining();
    let Finished { owner, outcome, bytes } = transfer.finish();
    let status = match (ending.status, outcome) {
        (Some(status), _) => status,
        (None, Err(error)) => error.status(),
        (None, Ok(())) if remaining == 0 => STATUS_SUCCESS,
        (None, Ok(())) => STATUS_IO_DEVICE_ERROR,
    };
    count(context, status, &ending, bytes);
    let information = if status == STATUS_SUCCESS { bytes } else { 0 };
    // CAST: no more than the buffer's length, which fits.
    owner.complete(status, information as usize);
}

fn count(context: &DeviceContext, status: NTSTATUS, ending: &Ending, bytes: u64) {
    let statistics = &context.statistics;
    match status {
        STATUS_SUCCESS => {
            if let Some(asked) = &ending.asked {
                statistics.count_transfer(asked.path(), asked.direction(), bytes);
            }
        }
        status::CANCELLED => statistics.cancelled.increment(),
        STATUS_IO_TIMEOUT => statistics.timed_out.increment(),
        _ => statistics.errors.increment(),
    }
}
